use super::*;
use crate::Token;
use crate::group::command::Command;
use crate::group::error::{CommitError, DeleteOffsetsError, HeartbeatError, JoinError, LeaveError};
use crate::group::ids::{Generation, MemberId, TopicName};
use crate::group::reply::{
    DescribedGroup, FetchedOffset, FetchedTopic, GroupState, JoinRefused, Left, Reply, TopicOutcome,
};
use crate::group::{GroupConfig, GroupMachine, Hard, Soft};
use base::{Instant, Machine, Now, PartitionIndex, Span, Timestamp, TopicId};
use std::vec;
use std::vec::Vec;
use wire::describe_groups::DescribeGroupsResponse;
use wire::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use wire::leave_group::LeaveGroupRequest;
use wire::offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_delete::{OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic, OffsetFetchResponse};
use wire::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use wire::{Message, Request};

const PEER: Peer<'_> = Peer { client_id: "app", client_host: "/10.0.0.1" };

fn join_request() -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\0\xff\xff\xff\xff"),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn join(request: &JoinGroupRequest, is_id_required: bool) -> crate::group::JoinGroup {
    join_command(request, PEER, JoinAbilities { is_id_required, can_skip_assignment: false }, [7; 16])
}

/// Topics have four partitions; one topic is nobody's business.
fn admit(name: &str) -> Result<Admitted, ErrorCode> {
    let admitted = Admitted { name: TopicName::from(name), id: TopicId::ZERO, partitions: 4 };
    if name == "secret" { Err(ErrorCode::TopicAuthorizationFailed) } else { Ok(admitted) }
}

/// A shard, driven by wire messages alone.
#[derive(Default)]
struct Shard {
    hard: Hard,
    soft: Soft,
    millis: u64,
}

impl Shard {
    fn ask(&mut self, command: Command) -> Vec<Reply> {
        let now = Now { mono: Instant::ZERO + Span::from_millis(self.millis), wall: Timestamp(1_000) };
        let decision = GroupMachine::decide(&self.hard, &mut self.soft, now, command);
        decision.records.iter().for_each(|record| GroupMachine::replay(&mut self.hard, record));
        decision.replies.into_iter().map(|(_, reply)| reply).collect()
    }
}

/// Every version of a response can be said, once downgraded.
fn encodes<R: Request>(response: &R::Response, downgrade: impl Fn(i16, &mut R::Response)) {
    for version in R::VERSIONS {
        let mut response = response.clone();
        downgrade(version, &mut response);
        response.to_bytes(version).unwrap_or_else(|error| panic!("v{version}: {error}"));
    }
}

#[test]
fn a_member_comes_and_goes_by_wire_messages() {
    let mut shard = Shard { soft: Soft::new(GroupConfig::default()), ..Shard::default() };
    assert!(shard.ask(Command::Join(Token(1), join(&join_request(), false))).is_empty());
    shard.millis = 3_000;
    let Some(Reply::Join(result)) = shard.ask(Command::Tick).pop() else { panic!("no answer") };
    let joined = join_response(result);
    assert_eq!((joined.error_code, joined.generation_id, joined.members.len()), (0, 1, 1));
    assert_eq!(joined.leader, joined.member_id);
    assert!(joined.member_id.starts_with("app-"));

    let sync = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: joined.member_id.clone(),
        protocol_name: Some("range".into()),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: joined.member_id.clone(),
            assignment: Bytes::from_static(b"work"),
            ..Default::default()
        }],
        ..Default::default()
    };
    let Some(Reply::Sync(result)) = shard.ask(Command::Sync(Token(2), sync_command(&sync))).pop() else {
        panic!("no answer")
    };
    let synced = sync_response(result);
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"work"[..]));

    let described = shard.ask(Command::Describe(Token(3), group_ids(&["g".into()]))).pop();
    let Some(Reply::Describe(groups)) = described else { panic!("no answer") };
    let described = described_groups(groups).remove(0);
    assert_eq!((&described.group_state[..], &described.protocol_data[..]), ("Stable", "range"));
    assert_eq!(described.members[0].client_host, "/10.0.0.1");

    let mut leave =
        LeaveGroupRequest { group_id: "g".into(), member_id: joined.member_id, ..Default::default() };
    upgrade_leave(&mut leave);
    let Some(Reply::Leave(result)) = shard.ask(Command::Leave(Token(4), leave_command(&leave))).pop() else {
        panic!("no answer")
    };
    assert_eq!(leave_response(result).members[0].error_code, 0);
}

#[test]
fn one_timeout_serves_for_both_where_only_one_was_sent() {
    let request = JoinGroupRequest { rebalance_timeout_ms: -1, ..join_request() };
    assert_eq!(join(&request, true).rebalance_timeout, Span::from_secs(10));
}

#[test]
fn commands_do_not_share_the_frame() {
    let frame = Bytes::from(vec![1; 1_000]);
    let mut request = join_request();
    request.protocols[0].metadata = frame.slice(10..20);
    let command = join(&request, true);
    drop(request);
    assert_eq!(command.protocols[0].metadata, frame.slice(10..20));
    assert!(frame.is_unique(), "the command keeps the frame alive");
}

#[test]
fn refusals_can_be_said_in_every_version() {
    let refused = JoinRefused { member: Some(MemberId::from("m")), error: JoinError::MemberIdRequired };
    let response = join_response(Err(refused));
    assert_eq!((response.error_code, response.generation_id), (79, -1));
    encodes::<JoinGroupRequest>(&response, |version, response| {
        if version < 7 {
            downgrade_join(response);
        }
    });
    let left = Left { member: None, instance: None, error: Some(LeaveError::UnknownMemberId) };
    let response = leave_response(Ok(vec![left]));
    encodes::<LeaveGroupRequest>(&response, |version, response| {
        if version < 3 {
            downgrade_leave(response);
            assert_eq!(response.error_code, 25);
        }
    });
    assert_eq!(leave_response(Err(LeaveError::InvalidGroupId)).error_code, 24);
    assert_eq!(heartbeat_response(Err(HeartbeatError::RebalanceInProgress)).error_code, 27);
}

#[test]
fn commits_say_all_and_old_clients_hear_what_they_know() {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 9,
        committed_leader_epoch: -1,
        ..Default::default()
    };
    let topic = |name: &str| OffsetCommitRequestTopic {
        name: name.into(),
        partitions: vec![partition(3), partition(4)],
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        topics: vec![topic("a"), topic("secret")],
        retention_time_ms: -1,
        ..Default::default()
    };
    let (command, mut response) = commit_command(&request, |topic| admit(&topic.name));
    assert_eq!((command.generation, command.member, command.retention), (Generation::NONE, None, None));
    assert_eq!(command.topics.len(), 1);
    assert_eq!(command.topics[0].partitions.len(), 1, "partition 4 does not exist");
    assert_eq!(command.topics[0].partitions[0].leader_epoch, None);

    let error = Some(CommitError::GroupIdNotFound);
    let outcome = TopicOutcome {
        name: TopicName::from("a"),
        id: TopicId::ZERO,
        partitions: vec![(PartitionIndex(3), error)],
    };
    commit_response(&mut response, vec![outcome]);
    encodes::<OffsetCommitRequest>(&response, |version, response| {
        let known = if version < 9 { ErrorCode::IllegalGeneration } else { ErrorCode::GroupIdNotFound };
        if version < 9 {
            downgrade_commit(response);
        }
        let all = response.topics.iter().flat_map(|topic| &topic.partitions);
        let codes: Vec<_> = all.map(|partition| (partition.partition_index, partition.error_code)).collect();
        assert_eq!(codes, [(4, 3), (3, 29), (4, 29), (3, known.code())], "v{version}");
    });
}

#[test]
fn one_group_and_many_groups_are_fetched_alike() {
    let topic = |name: &str| OffsetFetchRequestTopic {
        name: name.into(),
        partition_indexes: vec![0, 1],
        ..Default::default()
    };
    let topics = Some(vec![topic("t"), topic("secret")]);
    let mut request = OffsetFetchRequest { group_id: "g".into(), topics, ..Default::default() };
    upgrade_fetch(&mut request);
    let (command, mut answer) = fetch_command(&request.groups[0], false, |topic| admit(&topic.name));
    assert_eq!(command.topics.as_ref().map(Vec::len), Some(1));
    let mut all = OffsetFetchRequest { group_id: "g".into(), topics: None, ..Default::default() };
    upgrade_fetch(&mut all);
    assert!(fetch_command(&all.groups[0], false, |topic| admit(&topic.name)).0.topics.is_none());

    let fetched = FetchedTopic {
        name: TopicName::from("t"),
        id: TopicId::ZERO,
        partitions: vec![
            (PartitionIndex(0), FetchedOffset::None),
            (PartitionIndex(1), FetchedOffset::Unstable),
        ],
    };
    fetch_response(&mut answer, vec![fetched]);
    let response = OffsetFetchResponse { groups: vec![answer], ..Default::default() };
    let expected = [(0, -1, 29), (1, -1, 29), (0, -1, 0), (1, -1, 88)];
    let all = response.groups[0].topics.iter().flat_map(|topic| &topic.partitions);
    let seen: Vec<_> = all.map(|p| (p.partition_index, p.committed_offset, p.error_code)).collect();
    assert_eq!(seen, expected);
    encodes::<OffsetFetchRequest>(&response, |version, response| {
        if version < 8 {
            downgrade_fetch(response);
            let all = response.topics.iter().flat_map(|topic| &topic.partitions);
            let seen: Vec<_> = all.map(|p| (p.partition_index, p.committed_offset, p.error_code)).collect();
            assert_eq!(seen, expected);
        }
    });
}

#[test]
fn offsets_are_forgotten_where_they_may_be() {
    let topic = |name: &str| OffsetDeleteRequestTopic {
        name: name.into(),
        partitions: [3, 4].map(|partition_index| OffsetDeleteRequestPartition { partition_index }).to_vec(),
    };
    let request = OffsetDeleteRequest { group_id: "g".into(), topics: vec![topic("a"), topic("secret")] };
    let (command, refused) = delete_offsets_command(&request, admit);
    assert_eq!(command.topics, [(TopicName::from("a"), vec![PartitionIndex(3)])]);
    let mut response = refused.clone();
    delete_offsets_response(&mut response, Err(DeleteOffsetsError::GroupIdNotFound));
    assert_eq!((response.error_code, response.topics.len()), (69, 0));
    let mut response = refused;
    let partitions = vec![(PartitionIndex(3), Some(DeleteOffsetsError::GroupSubscribedToTopic))];
    let outcome = TopicOutcome { name: TopicName::from("a"), id: TopicId::ZERO, partitions };
    delete_offsets_response(&mut response, Ok(vec![outcome]));
    let all = response.topics.iter().flat_map(|topic| &topic.partitions);
    let seen: Vec<_> = all.map(|p| (p.partition_index, p.error_code)).collect();
    assert_eq!(seen, [(4, 3), (3, 29), (4, 29), (3, 86)]);
    encodes::<OffsetDeleteRequest>(&response, |_, _| {});
}

#[test]
fn a_group_that_is_not_there() {
    let dead = DescribedGroup {
        group: GroupId::from("g"),
        state: GroupState::Dead,
        protocol_type: None,
        protocol: None,
        members: Vec::new(),
    };
    let groups = described_groups(vec![dead]);
    assert_eq!((groups[0].error_code, &groups[0].group_state[..]), (69, "Dead"));
    let mut response = DescribeGroupsResponse { groups, ..Default::default() };
    downgrade_describe(&mut response);
    assert_eq!(response.groups[0].error_code, 0);
    response.to_bytes(0).unwrap();
}
