use super::*;
use crate::io::MembershipRefused;

fn lone(hard_state: HardState, entries: Vec<Entry>) -> Quorum {
    let snapshot =
        SnapshotPoint { membership: Membership::of_voters([RaftId(1)]), ..SnapshotPoint::default() };
    Quorum::new(Start { id: RaftId(1), seed: 3, snapshot, hard_state, membership: None, entries }).unwrap()
}

/// Confirms writes until nothing more follows; returns what was persisted and what committed.
fn settle(quorum: &mut Quorum) -> (Vec<Persist>, Vec<Committed>) {
    let (mut persisted, mut committed) = (vec![], vec![]);
    loop {
        let output = quorum.output();
        committed.extend(output.committed);
        let Some(persist) = output.persist else { return (persisted, committed) };
        assert!(quorum.output().persist.is_none(), "one write at a time");
        let _sent = quorum.persisted(persist.number);
        persisted.push(persist);
    }
}

#[test]
fn a_lone_voter_leads_at_once_and_commits_only_what_is_durable() {
    let mut quorum = lone(HardState::default(), vec![]);
    let (persisted, committed) = settle(&mut quorum);
    assert_eq!(quorum.role(), Role::Leader);
    assert_eq!(persisted[0].hard_state.map(|s| (s.term, s.vote)), Some((1, 1)));
    assert_eq!(committed, [Committed::Data { index: 1, term: 1, data: Bytes::new() }]);

    let id = quorum.propose(&Bytes::from_static(b"one")).unwrap();
    assert_eq!(id, ProposalId { index: 2, term: 1 });
    let output = quorum.output();
    assert!(output.committed.is_empty(), "nothing commits before it is durable");
    let persist = output.persist.unwrap();
    assert_eq!(persist.hard_state, None, "a proposal costs one fsync, not two");
    let _sent = quorum.persisted(persist.number);
    assert_eq!(
        quorum.output().committed,
        [Committed::Data { index: 2, term: 1, data: Bytes::from_static(b"one") }]
    );
}

#[test]
fn a_restart_commits_the_old_entries_again_in_a_new_term() {
    let entries = vec![
        Entry { index: 1, term: 1, kind: EntryKind::Normal, data: Bytes::new() },
        Entry { index: 2, term: 1, kind: EntryKind::Normal, data: Bytes::from_static(b"kept") },
    ];
    let mut quorum = lone(HardState { term: 1, vote: 1, commit: 0 }, entries);
    let (_, committed) = settle(&mut quorum);
    assert_eq!(committed.len(), 3);
    assert_eq!(committed[1], Committed::Data { index: 2, term: 1, data: Bytes::from_static(b"kept") });
    assert_eq!(committed[2], Committed::Data { index: 3, term: 2, data: Bytes::new() });
}

#[test]
fn compaction_keeps_the_tail() {
    let mut quorum = lone(HardState::default(), vec![]);
    let _ = settle(&mut quorum);
    for _ in 0..5 {
        let _ = quorum.propose(&Bytes::from_static(b"x")).unwrap();
    }
    let _ = settle(&mut quorum);
    let point = SnapshotPoint { index: 4, ..quorum.applied_point().unwrap() };
    quorum.compact(point);
    assert_eq!(quorum.snapshot_point().index, 4);
    assert_eq!(quorum.entries_in_memory(), 2);
    let _ = quorum.propose(&Bytes::from_static(b"y")).unwrap();
    let (_, committed) = settle(&mut quorum);
    assert_eq!(committed, [Committed::Data { index: 7, term: 1, data: Bytes::from_static(b"y") }]);
}

#[test]
fn contradictions_on_disk_are_refused() {
    let gap = vec![Entry { index: 2, term: 1, kind: EntryKind::Normal, data: Bytes::new() }];
    let start = |hard_state, entries| Start {
        id: RaftId(1),
        seed: 0,
        snapshot: SnapshotPoint::default(),
        hard_state,
        membership: None,
        entries,
    };
    assert!(Quorum::new(start(HardState { term: 1, vote: 1, commit: 0 }, gap)).is_err());
    let ahead = vec![Entry { index: 1, term: 5, kind: EntryKind::Normal, data: Bytes::new() }];
    assert!(Quorum::new(start(HardState { term: 1, vote: 1, commit: 0 }, ahead)).is_err());
}

#[test]
fn messages_that_must_not_come_from_the_network_are_dropped() {
    let mut quorum = lone(HardState::default(), vec![]);
    let _ = settle(&mut quorum);
    let mut misdirected = eraftpb::Message::new();
    misdirected.set_msg_type(MessageType::MsgHeartbeat);
    (misdirected.to, misdirected.from, misdirected.term) = (7, 2, 9);
    quorum.step(&message::encode(&misdirected).unwrap()).unwrap();
    quorum.step(b"\xff\xff\xff\xff").unwrap();
    let output = quorum.output();
    assert!(output.persist.is_none() && output.send.is_empty());
}

#[test]
fn a_leader_that_would_lose_its_vote_must_hand_over_first() {
    let mut quorum = lone(HardState::default(), vec![]);
    let _ = settle(&mut quorum);
    let refused = |voters: &[u64], quorum: &mut Quorum| {
        let voters: Vec<_> = voters.iter().copied().map(RaftId).collect();
        quorum.propose_membership(&voters, &[]).unwrap_err()
    };
    assert_eq!(refused(&[2], &mut quorum), MembershipRefused::WithoutLeader);
    assert_eq!(refused(&[1], &mut quorum), MembershipRefused::Unchanged);
    quorum.propose_membership(&[RaftId(1)], &[RaftId(2)]).unwrap();
    assert_eq!(refused(&[1], &mut quorum), MembershipRefused::Pending);
}

#[test]
fn a_membership_is_durable_before_anything_follows_from_it() {
    let mut quorum = lone(HardState::default(), vec![]);
    let _ = settle(&mut quorum);
    quorum.propose_membership(&[RaftId(1)], &[RaftId(2)]).unwrap();
    let (persisted, _) = settle(&mut quorum);
    let memberships: Vec<_> = persisted.into_iter().filter_map(|persist| persist.membership).collect();
    assert_eq!(memberships.len(), 2, "the joint one and the one after it");
    assert!(memberships[0].1.is_joint());
    let last = memberships.last().unwrap();
    assert_eq!((&last.1, last.0), (quorum.membership(), 3));
    assert_eq!(last.1.learners, [RaftId(2)]);
}

#[test]
fn a_restart_counts_on_the_membership_that_is_durable_and_not_on_the_snapshot() {
    let entries = vec![Entry { index: 1, term: 1, kind: EntryKind::Normal, data: Bytes::new() }];
    let snapshot =
        SnapshotPoint { membership: Membership::of_voters([RaftId(1)]), ..SnapshotPoint::default() };
    let three = Membership::of_voters([1, 2, 3].map(RaftId));
    let hard_state = HardState { term: 1, vote: 1, commit: 0 };
    let start = Start { id: RaftId(1), seed: 3, snapshot, hard_state, membership: Some((1, three)), entries };
    let mut quorum = Quorum::new(start).unwrap();
    let (persisted, committed) = settle(&mut quorum);
    assert!(persisted.is_empty() && committed.len() == 1);
    assert_eq!(quorum.role(), Role::Follower { leader: None }, "it must not elect itself alone");
}

#[test]
fn a_heartbeat_that_knows_more_than_the_disk_stops_the_member() {
    let snapshot =
        SnapshotPoint { membership: Membership::of_voters([1, 2].map(RaftId)), ..SnapshotPoint::default() };
    let hard_state = HardState { term: 1, vote: 0, commit: 0 };
    let start = Start { id: RaftId(1), seed: 3, snapshot, hard_state, membership: None, entries: vec![] };
    let mut quorum = Quorum::new(start).unwrap();
    let mut heartbeat = eraftpb::Message::new();
    heartbeat.set_msg_type(MessageType::MsgHeartbeat);
    (heartbeat.from, heartbeat.to, heartbeat.term, heartbeat.commit) = (2, 1, 1, 5);
    let error = quorum.step(&message::encode(&heartbeat).unwrap()).unwrap_err();
    assert!(error.to_string().contains("has lost data"), "{error}");
}

/// A message as a leader, member 2, sends it to member 1 in term 1.
fn from_leader(kind: MessageType) -> eraftpb::Message {
    let mut message = eraftpb::Message::new();
    message.set_msg_type(kind);
    (message.from, message.to, message.term) = (2, 1, 1);
    message
}

#[test]
fn a_slow_disk_under_a_snapshot_begins_no_election() {
    let three = Membership::of_voters([1, 2, 3].map(RaftId));
    let snapshot = SnapshotPoint { membership: three.clone(), ..SnapshotPoint::default() };
    let hard_state = HardState { term: 1, vote: 0, commit: 0 };
    let start = Start { id: RaftId(1), seed: 3, snapshot, hard_state, membership: None, entries: vec![] };
    let mut quorum = Quorum::new(start).unwrap();
    let point = SnapshotPoint { index: 9, term: 1, membership: three, seal: Bytes::new() };
    let mut offer = from_leader(MessageType::MsgSnapshot);
    offer.set_snapshot(point.to_raft());
    quorum.step(&message::encode(&offer).unwrap()).unwrap();
    assert!(quorum.output().fetch.is_some());
    quorum.fetched(true);
    let persist = quorum.output().persist.expect("the snapshot is to be put in place");

    for _ in 0..3 * ELECTION_TICKS {
        quorum.tick();
    }
    quorum.step(&message::encode(&from_leader(MessageType::MsgTimeoutNow)).unwrap()).unwrap();
    quorum.leader_is_gone(RaftId(2));
    quorum.tick();
    assert_eq!(quorum.term(), 1);
    let _answers = quorum.persisted(persist.number);
    for _ in 0..GONE_TICKS {
        quorum.tick();
    }
    assert!(quorum.output().send.iter().any(|(to, _)| *to == RaftId(3)), "it asks for votes once it is done");
}
