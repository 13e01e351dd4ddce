//! Logs that no broker writes: members without protocols, leaders that are nobody, names twice, no timeouts.
//! They may cost a rebalance and never a panic or a machine that wakes itself without end.

use base::{EndOffset, Instant, LeaderEpoch, Machine, Now, PartitionIndex, Rng, Span, Timestamp, TopicId};
use bytes::Bytes;
use ottla_coordinator::Token;
use ottla_coordinator::group::{
    Command, CommittedOffset, Generation, GroupId, GroupMachine, GroupMetadata, Hard, InstanceId, JoinGroup,
    Label, LeaveGroup, Leaver, MemberId, MemberMetadata, OffsetKey, Protocol, ProtocolName, ProtocolType,
    Record, Soft, SyncGroup, TopicName,
};

/// Replays a random log and acts on it at random.
pub(crate) fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut hard = Hard::default();
    for _ in 0..rng.below(12) {
        GroupMachine::replay(&mut hard, &record(&mut rng));
    }
    let mut soft = Soft::default();
    let mut now = Now { mono: Instant::from_nanos(1), wall: Timestamp(1_700_000_000_000) };
    let mut ticks_at_once = 0;
    for step in 0..300 {
        let command = if step % 2 == 0 { Command::Tick } else { command(&mut rng, step) };
        let decision = GroupMachine::decide(&hard, &mut soft, now, command);
        decision.records.iter().for_each(|record| GroupMachine::replay(&mut hard, record));
        if decision.wake_at.is_some_and(|at| at <= now.mono) {
            ticks_at_once += 1;
        } else {
            let longest = decision.wake_at.map_or(Span::from_secs(5), |at| at.since(now.mono));
            now.mono += Span::from_nanos(rng.below(longest.as_nanos().saturating_mul(2).saturating_add(1)));
            ticks_at_once = 0;
        }
        assert!(ticks_at_once < 50, "the machine keeps waking itself");
    }
}

fn record(rng: &mut Rng) -> Record {
    if rng.chance(1, 3) {
        let key = OffsetKey { group: group(rng), topic: TopicName::from("t"), partition: PartitionIndex(-3) };
        return Record::OffsetCommit { key, value: rng.chance(2, 3).then(offset) };
    }
    let metadata = GroupMetadata {
        generation: Generation([i32::MAX, i32::MIN, -1, 7][rng.index(4)]),
        protocol_type: rng.chance(2, 3).then(|| ProtocolType::from("consumer")),
        protocol: rng.chance(2, 3).then(|| ProtocolName::from("range")),
        leader: rng.chance(2, 3).then(|| member_id(rng)),
        state_timestamp: rng.chance(1, 2).then_some(Timestamp(i64::MAX)),
        members: (0..rng.below(4)).map(|_| member(rng)).collect(),
    };
    Record::GroupMetadata { group: group(rng), metadata: rng.chance(5, 6).then_some(metadata) }
}

fn offset() -> CommittedOffset {
    CommittedOffset {
        offset: EndOffset(i64::MIN),
        leader_epoch: Some(LeaderEpoch(i32::MIN)),
        metadata: Label::from(""),
        commit_timestamp: Timestamp(i64::MIN),
        expire_timestamp: Some(Timestamp(i64::MAX)),
        topic_id: TopicId::ZERO,
    }
}

fn member(rng: &mut Rng) -> MemberMetadata {
    MemberMetadata {
        member: member_id(rng),
        instance: rng.chance(1, 2).then(|| instance(rng)),
        client_id: Label::from(""),
        client_host: Label::from(""),
        rebalance_timeout: timeout(rng),
        session_timeout: timeout(rng),
        subscription: Bytes::from_static(b"\0\x01\xff\xff\xff\xff"),
        assignment: Bytes::new(),
    }
}

fn timeout(rng: &mut Rng) -> Span {
    [Span::ZERO, Span::from_secs(10), Span::from_millis(0x7fff_ffff)][rng.index(3)]
}

fn group(rng: &mut Rng) -> GroupId {
    GroupId::from(["", "g"][rng.index(2)])
}

fn member_id(rng: &mut Rng) -> MemberId {
    MemberId::from(["", "a", "b"][rng.index(3)])
}

fn instance(rng: &mut Rng) -> InstanceId {
    InstanceId::from(["", "i"][rng.index(2)])
}

fn command(rng: &mut Rng, step: u64) -> Command {
    let (token, group) = (Token(step), group(rng));
    match rng.below(5) {
        0 => Command::Leave(
            token,
            LeaveGroup {
                group,
                members: vec![Leaver { member: Some(member_id(rng)), instance: None, reason: None }],
            },
        ),
        1 => Command::Sync(token, sync(rng, group)),
        2 => Command::ExpireOffsets(token),
        3 => Command::Describe(token, vec![group]),
        _ => Command::Join(token, join(rng, group)),
    }
}

fn sync(rng: &mut Rng, group: GroupId) -> SyncGroup {
    SyncGroup {
        group,
        member: member_id(rng),
        instance: None,
        generation: Generation([0, 1, 7, 8][rng.index(4)]),
        protocol_type: None,
        protocol: None,
        assignments: vec![(member_id(rng), Bytes::new()), (member_id(rng), Bytes::new())],
    }
}

fn join(rng: &mut Rng, group: GroupId) -> JoinGroup {
    let offer = Protocol { name: ProtocolName::from("range"), metadata: Bytes::new() };
    JoinGroup {
        group,
        member: rng.chance(1, 2).then(|| member_id(rng)),
        instance: rng.chance(1, 2).then(|| instance(rng)),
        client_id: Label::from("c"),
        client_host: Label::from(""),
        session_timeout: Span::from_secs(10),
        rebalance_timeout: timeout(rng),
        protocol_type: ProtocolType::from("consumer"),
        protocols: vec![offer.clone(), offer],
        reason: None,
        random: [u8::try_from(rng.below(256)).unwrap(); 16],
        is_id_required: rng.chance(1, 2),
        can_skip_assignment: rng.chance(1, 2),
    }
}
