//! The groups owner in a whole node, asked through encoded frames.

mod failures;
mod versions;

use crate::test_node::{Hold, Sent, TestNode};
use wire::heartbeat::HeartbeatRequest;
use wire::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use wire::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use wire::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use wire::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use wire::{ErrorCode, Str};

fn join_request(group: &str, member_id: &Str) -> JoinGroupRequest {
    let protocol =
        JoinGroupRequestProtocol { name: "range".into(), metadata: "m".into(), ..Default::default() };
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 20_000,
        member_id: member_id.clone(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    }
}

/// Joins with the id that a first attempt gives; the answer may have to wait.
fn begin_join(node: &mut TestNode, group: &str) -> Sent {
    let first = node.latest(&join_request(group, &Str::EMPTY));
    assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
    node.send(9, &join_request(group, &first.member_id))
}

/// Joins an empty group and takes its assignment.
fn join(node: &mut TestNode, group: &str) -> JoinGroupResponse {
    let sent = begin_join(node, group);
    let joined = node.reply::<JoinGroupRequest>(sent).unwrap();
    assert_eq!((joined.error_code, &joined.leader), (0, &joined.member_id));
    let assignment = SyncGroupRequestAssignment {
        member_id: joined.member_id.clone(),
        assignment: "everything".into(),
        ..Default::default()
    };
    let synced = node.latest(&SyncGroupRequest {
        group_id: group.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: vec![assignment],
        ..Default::default()
    });
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"everything"[..]));
    joined
}

fn heartbeat(node: &mut TestNode, group: &str, member: &JoinGroupResponse) -> ErrorCode {
    let response = node.latest(&HeartbeatRequest {
        group_id: group.into(),
        generation_id: member.generation_id,
        member_id: member.member_id.clone(),
        ..Default::default()
    });
    ErrorCode::from_code(response.error_code)
}

/// A commit by name of one offset for each of some partitions of a topic.
fn commit_request(group: &str, topic: &str, partitions: &[i32], offset: i64) -> OffsetCommitRequest {
    let entry = |index: &i32| OffsetCommitRequestPartition {
        partition_index: *index,
        committed_offset: offset,
        committed_metadata: Some("note".into()),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: topic.into(),
        partitions: partitions.iter().map(entry).collect(),
        ..Default::default()
    };
    OffsetCommitRequest { group_id: group.into(), topics: vec![topic], ..Default::default() }
}

fn commit_codes(response: &OffsetCommitResponse) -> Vec<(i32, ErrorCode)> {
    let all = response.topics.iter().flat_map(|topic| &topic.partitions);
    all.map(|part| (part.partition_index, ErrorCode::from_code(part.error_code))).collect()
}

fn commit(node: &mut TestNode, group: &str, topic: &str, offset: i64) {
    let response = node.ask(9, &commit_request(group, topic, &[0], offset));
    assert_eq!(commit_codes(&response), [(0, ErrorCode::None)]);
}

/// A fetch by name of a partition's offset in some groups.
fn fetch_request(groups: &[&str], topic: &str) -> OffsetFetchRequest {
    let topic =
        OffsetFetchRequestTopics { name: topic.into(), partition_indexes: vec![0], ..Default::default() };
    let group = |group: &&str| OffsetFetchRequestGroup {
        group_id: (*group).into(),
        topics: Some(vec![topic.clone()]),
        ..Default::default()
    };
    OffsetFetchRequest { groups: groups.iter().map(group).collect(), ..Default::default() }
}

fn offsets(response: &OffsetFetchResponse) -> Vec<i64> {
    let topics = response.groups.iter().flat_map(|group| &group.topics);
    topics.flat_map(|topic| &topic.partitions).map(|part| part.committed_offset).collect()
}

fn committed(node: &mut TestNode, group: &str, topic: &str) -> i64 {
    let response = node.ask(9, &fetch_request(&[group], topic));
    assert_eq!(response.groups[0].error_code, 0);
    offsets(&response)[0]
}

#[test]
fn a_commit_is_answered_once_it_is_safe_and_reads_wait_for_it() {
    let mut node = TestNode::new();
    node.hold = Hold::Flushes;
    let written = node.send(9, &commit_request("g", "t", &[0], 5));
    let read = node.send(9, &fetch_request(&["g"], "t"));
    assert!(node.reply::<OffsetCommitRequest>(written).is_none());
    assert!(node.reply::<OffsetFetchRequest>(read).is_none());
    // Groups of other shards do not wait for it.
    assert_eq!(committed(&mut node, "other", "t"), -1);
    node.release();
    assert_eq!(commit_codes(&node.reply::<OffsetCommitRequest>(written).unwrap()), [(0, ErrorCode::None)]);
    assert_eq!(offsets(&node.reply::<OffsetFetchRequest>(read).unwrap()), [5]);
}

#[test]
fn a_group_and_its_offsets_survive_a_crash() {
    let mut node = TestNode::new();
    let member = join(&mut node, "g");
    let mut request = commit_request("g", "t", &[0], 41);
    request.member_id = member.member_id.clone();
    request.generation_id_or_member_epoch = member.generation_id;
    assert_eq!(commit_codes(&node.ask(9, &request)), [(0, ErrorCode::None)]);
    node.crash();
    assert_eq!(committed(&mut node, "g", "t"), 41);
    assert_eq!(heartbeat(&mut node, "g", &member), ErrorCode::None);
    // Nobody has to join again, and whoever stays silent is put out by the session of the new coordinator.
    node.advance(9);
    assert_eq!(heartbeat(&mut node, "g", &member), ErrorCode::None);
    node.advance(11);
    assert_eq!(heartbeat(&mut node, "g", &member), ErrorCode::UnknownMemberId);
}

#[test]
fn a_second_member_waits_for_the_first_and_shares() {
    let mut node = TestNode::new();
    let first = join(&mut node, "g");
    let second = begin_join(&mut node, "g");
    assert!(node.reply::<JoinGroupRequest>(second).is_none());
    assert_eq!(heartbeat(&mut node, "g", &first), ErrorCode::RebalanceInProgress);
    let again = node.latest(&join_request("g", &first.member_id));
    assert_eq!((again.error_code, again.members.len()), (0, 2));
    let second = node.reply::<JoinGroupRequest>(second).unwrap();
    assert_eq!((second.error_code, second.generation_id), (0, again.generation_id));
    assert_ne!(second.member_id, again.member_id);
}

#[test]
fn members_that_stay_silent_during_a_rebalance_are_left_behind() {
    let mut node = TestNode::new();
    let first = join(&mut node, "g");
    let second = begin_join(&mut node, "g");
    node.advance(12);
    let joined = node.reply::<JoinGroupRequest>(second).unwrap();
    assert_eq!((joined.error_code, joined.members.len()), (0, 1));
    assert_eq!(heartbeat(&mut node, "g", &first), ErrorCode::UnknownMemberId);
    assert!(node.log.iter().any(|line| line.contains("lost its member")), "{:?}", node.log);
}

#[test]
fn offsets_of_a_deleted_topic_are_forgotten() {
    let mut node = TestNode::new();
    node.create("u", 1);
    for group in ["g", "h", "i"] {
        commit(&mut node, group, "t", 3);
        commit(&mut node, group, "u", 4);
    }
    node.delete("t");
    node.create("t", 1);
    for group in ["g", "h", "i"] {
        assert_eq!((committed(&mut node, group, "t"), committed(&mut node, group, "u")), (-1, 4), "{group}");
    }
    commit(&mut node, "g", "t", 8);
    node.crash();
    assert_eq!((committed(&mut node, "g", "t"), committed(&mut node, "h", "t")), (8, -1));
}

#[test]
fn offsets_are_forgotten_for_their_age_unless_the_clock_has_jumped() {
    let mut node = TestNode::new();
    commit(&mut node, "g", "t", 3);
    node.advance(59 * 60);
    assert_eq!(committed(&mut node, "g", "t"), 3);
    // Ten minutes are the period of the check.
    node.advance(11 * 60);
    assert_eq!(committed(&mut node, "g", "t"), -1);
    commit(&mut node, "g", "t", 4);
    node.now.wall = node.now.wall.plus(base::Span::from_secs(10 * 3_600));
    node.advance(11 * 60);
    assert_eq!(committed(&mut node, "g", "t"), 4);
    assert!(node.log.iter().any(|line| line.contains("clock has jumped")), "{:?}", node.log);
}
