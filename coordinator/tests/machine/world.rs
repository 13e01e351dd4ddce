//! A shard in a test: the machine, its log, a clock that is turned by hand, and the laws that hold after
//! every step.

use base::{Decision, Instant, Machine, Now, Span, Timestamp};
use ottla_coordinator::Token;
use ottla_coordinator::group::codec::{self, Decoded, Encoded};
use ottla_coordinator::group::{
    Command, DescribedGroup, Event, GroupConfig, GroupMachine, GroupState, Hard, MemberMetadata, Record,
    Reply, Soft,
};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) struct World {
    pub(crate) hard: Hard,
    pub(crate) soft: Soft,
    pub(crate) log: Vec<Record>,
    pub(crate) now: Now,
    pub(crate) wake_at: Option<Instant>,
    /// Asked and not answered.
    pub(crate) waiting: BTreeSet<Token>,
    tokens: u64,
}

/// What one step brought about.
pub(crate) struct Step {
    pub(crate) records: Vec<Record>,
    pub(crate) replies: Vec<(Token, Reply)>,
    pub(crate) events: Vec<Event>,
}

impl World {
    pub(crate) fn new(config: GroupConfig) -> Self {
        let now = Now { mono: Instant::from_nanos(1_000_000_000), wall: Timestamp(1_700_000_000_000) };
        Self {
            hard: Hard::default(),
            soft: Soft::new(config),
            log: Vec::new(),
            now,
            wake_at: None,
            waiting: BTreeSet::new(),
            tokens: 0,
        }
    }

    pub(crate) fn token(&mut self) -> Token {
        self.tokens += 1;
        self.waiting.insert(Token(self.tokens));
        Token(self.tokens)
    }

    /// One command, and its records into the log and the state.
    pub(crate) fn step(&mut self, command: Command) -> Step {
        let Decision { records, replies, wake_at } =
            GroupMachine::decide(&self.hard, &mut self.soft, self.now, command);
        for record in &records {
            check_stored(record);
            GroupMachine::replay(&mut self.hard, record);
        }
        self.log.extend(records.iter().cloned());
        self.wake_at = wake_at;
        for (token, _) in &replies {
            assert!(self.waiting.remove(token), "{token:?} was answered twice or never asked");
        }
        let events = self.soft.take_events();
        self.check();
        Step { records, replies, events }
    }

    /// Lets `span` pass, stopping wherever the machine wants a tick.
    pub(crate) fn pass(&mut self, span: Span) -> Vec<Step> {
        let end = self.now.mono + span;
        let mut steps = Vec::new();
        while let Some(at) = self.wake_at.filter(|at| *at <= end) {
            assert!(steps.len() < 10_000, "the machine keeps waking itself");
            self.advance(at.since(self.now.mono));
            steps.push(self.step(Command::Tick));
        }
        self.advance(end.since(self.now.mono));
        steps
    }

    fn advance(&mut self, span: Span) {
        self.now.mono += span;
        self.now.wall = self.now.wall.plus(span);
    }

    /// As a crash, and the end of the log after `length` records was not committed.
    pub(crate) fn crash_back_to(&mut self, length: usize) {
        self.log.truncate(length);
        self.hard = Hard::default();
        self.log.iter().for_each(|record| self.hard.replay(record));
        self.crash();
    }

    /// The process dies and starts again: what is not in the log is gone, and so are the connections.
    pub(crate) fn crash(&mut self) {
        let config = *self.soft.config();
        self.soft = Soft::new(config);
        self.waiting.clear();
        self.wake_at = Some(self.now.mono);
    }

    /// The laws: the state is what the log says, also when compacted; what is stable is written.
    fn check(&mut self) {
        let mut whole = Hard::default();
        self.log.iter().for_each(|record| whole.replay(record));
        assert_eq!(whole, self.hard, "live state and log disagree");
        if let Some(kept) = newest(&self.log) {
            let mut compacted = Hard::default();
            kept.into_iter().for_each(|record| compacted.replay(record));
            assert_eq!(compacted, self.hard, "the compacted log says something else");
        }
        for group in self.describe_all() {
            self.check_written(&group);
        }
    }

    /// What the machine would say about every group of the log, asked without leaving a trace.
    pub(crate) fn describe_all(&mut self) -> Vec<DescribedGroup> {
        let ids = self.hard.groups().map(|(id, _)| id.clone()).collect();
        let command = Command::Describe(Token(0), ids);
        let mut decision = GroupMachine::decide(&self.hard, &mut self.soft, self.now, command);
        assert!(decision.records.is_empty(), "a read has written");
        match decision.replies.pop() {
            Some((_, Reply::Describe(groups))) => groups,
            other => panic!("not a description: {other:?}"),
        }
    }

    fn check_written(&self, group: &DescribedGroup) {
        let saved = self.hard.group(&group.group).and_then(|saved| saved.metadata.as_ref());
        let written = saved.map(|saved| saved.members.as_slice()).unwrap_or_default();
        match group.state {
            GroupState::Empty => assert!(written.is_empty(), "{}: members in the log only", group.group),
            GroupState::Stable => {
                let live: Vec<_> =
                    group.members.iter().map(|m| (&m.member, &m.instance, &m.assignment)).collect();
                let saved: Vec<_> = written.iter().map(assigned).collect();
                assert_eq!(live, saved, "{}: stable and not written", group.group);
            }
            GroupState::PreparingRebalance | GroupState::CompletingRebalance => {}
            GroupState::Dead => panic!("{}: dead and in the log", group.group),
        }
    }
}

type Assigned<'a> = (
    &'a ottla_coordinator::group::MemberId,
    &'a Option<ottla_coordinator::group::InstanceId>,
    &'a bytes::Bytes,
);

fn assigned(member: &MemberMetadata) -> Assigned<'_> {
    (&member.member, &member.instance, &member.assignment)
}

/// What a record says survives being written and read, within the bound that admitted it.
fn check_stored(record: &Record) {
    let (key, value, producer) = match codec::encode(record).unwrap() {
        Encoded::Plain { key, value } => (key, value, None),
        Encoded::Transactional { producer, key, value } => (key, Some(value), Some(producer)),
        Encoded::Marker { producer, marker } => {
            return assert_eq!(*record, Record::TransactionEnd { producer, marker });
        }
    };
    let size = key.len() + value.as_ref().map_or(0, bytes::Bytes::len);
    assert!(size <= record.size_bound(), "{size} bytes for {record:?}");
    assert_eq!(codec::decode(key, value, producer), Ok(Decoded::Record(record.clone())));
}

/// The log as compaction would leave it; none if it holds transactions, which compaction treats by their end.
fn newest(log: &[Record]) -> Option<Vec<&Record>> {
    let mut last = BTreeMap::new();
    for (at, record) in log.iter().enumerate() {
        let key = match record {
            Record::GroupMetadata { group, .. } => (group.clone(), None),
            Record::OffsetCommit { key, .. } => (key.group.clone(), Some((key.topic.clone(), key.partition))),
            Record::StagedOffset { .. } | Record::TransactionEnd { .. } => return None,
        };
        last.insert(key, at);
    }
    let mut kept: Vec<_> = last.into_values().collect();
    kept.sort_unstable();
    Some(kept.into_iter().map(|at| &log[at]).collect())
}
