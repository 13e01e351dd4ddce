use super::*;

fn lone(hard_state: HardState, entries: Vec<Entry>) -> Quorum {
    let membership = Membership { voters: vec![RaftId(1)], learners: vec![] };
    let snapshot = SnapshotPoint { index: 0, term: 0, membership };
    Quorum::new(Start { id: RaftId(1), seed: 3, snapshot, hard_state, entries }).unwrap()
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
    quorum.campaign();
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
    quorum.campaign();
    let (_, committed) = settle(&mut quorum);
    assert_eq!(committed.len(), 3);
    assert_eq!(committed[1], Committed::Data { index: 2, term: 1, data: Bytes::from_static(b"kept") });
    assert_eq!(committed[2], Committed::Data { index: 3, term: 2, data: Bytes::new() });
}

#[test]
fn compaction_keeps_the_tail() {
    let mut quorum = lone(HardState::default(), vec![]);
    quorum.campaign();
    let _ = settle(&mut quorum);
    for _ in 0..5 {
        let _ = quorum.propose(&Bytes::from_static(b"x")).unwrap();
    }
    let _ = settle(&mut quorum);
    quorum.compact(4);
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
        entries,
    };
    assert!(Quorum::new(start(HardState { term: 1, vote: 1, commit: 0 }, gap)).is_err());
    let ahead = vec![Entry { index: 1, term: 5, kind: EntryKind::Normal, data: Bytes::new() }];
    assert!(Quorum::new(start(HardState { term: 1, vote: 1, commit: 0 }, ahead)).is_err());
}

#[test]
fn messages_that_must_not_come_from_the_network_are_dropped() {
    let mut quorum = lone(HardState::default(), vec![]);
    quorum.campaign();
    let _ = settle(&mut quorum);
    let mut proposal = eraftpb::Message::new();
    proposal.set_msg_type(MessageType::MsgPropose);
    proposal.to = 1;
    proposal.from = 2;
    quorum.step(&proposal.write_to_bytes().unwrap());
    quorum.step(b"\xff\xff\xff\xff");
    let output = quorum.output();
    assert!(output.persist.is_none() && output.send.is_empty());
}
