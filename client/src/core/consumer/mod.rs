//! The consumer: positions, fetch sessions, records; alone by assignment, or as a member of a group.
//!
//! Each partition holds at most one answer that was not read yet and is asked for again once that is read, so
//! that memory is bounded by the partitions times their fetch size, and a slow reader slows the fetching.
//! Transactions are respected: what was aborted is skipped with `read_committed`.

mod fetch;
mod group;
mod membership;
mod positions;
mod records;
mod session;
mod settings;

#[cfg(test)]
mod tests;

pub use group::{Assignor, GroupSettings};
pub use records::ConsumerRecord;
pub use settings::{ConsumerSettings, Isolation, OffsetReset};

use super::cluster::Cluster;
use super::error::CallError;
use super::{CallId, Core, Effect, Input};
use base::{EndOffset, Instant, Now, Timestamp};
use group::Membership;
use membership::Group;
use records::Unread;
use session::Session;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use wire::{ErrorCode, Str};

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Str,
    /// The partition.
    pub partition: i32,
}

/// Where to go on reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// At this offset.
    Offset(EndOffset),
    /// At the first record there is.
    Beginning,
    /// At the next record to come.
    End,
    /// At the first record with this or a later timestamp; at the end if there is none.
    Time(Timestamp),
}

/// What a consumer has to tell besides records.
#[derive(Clone, Debug, PartialEq)]
pub enum ConsumerEvent {
    /// All records of the partition have been handed out; more may come.
    End(TopicPartition),
    /// The partition cannot be read; it is tried again if the code is retriable.
    Partition {
        /// Which.
        partition: TopicPartition,
        /// Why.
        error: ConsumeError,
    },
    /// The group gave us these partitions to read, beside those we have.
    Assigned(Vec<TopicPartition>),
    /// The group wants these back. Finish what was read from them; the next poll gives them up.
    Revoked(Vec<TopicPartition>),
    /// These went to others, for instance because we were silent too long; commits for them will fail.
    Lost(Vec<TopicPartition>),
    /// The group will not have us; subscribe again to try again.
    Refused(ErrorCode),
    /// A commit has ended.
    Committed {
        /// What was to be committed.
        offsets: Vec<(TopicPartition, EndOffset)>,
        /// Whether it was, or the first code against it.
        outcome: Result<(), ErrorCode>,
    },
}

/// Why reading does not go on.
#[derive(Clone, Debug, PartialEq)]
pub enum ConsumeError {
    /// The broker refused.
    Refused(ErrorCode),
    /// No usable answer came.
    Call(CallError),
    /// The position is outside the log, and the settings forbid to move it.
    OutOfRange {
        /// The position.
        offset: EndOffset,
    },
    /// The batch at the position is damaged; to go on, seek beyond it.
    Corrupt {
        /// The position.
        offset: EndOffset,
        /// What is wrong.
        reason: String,
    },
}

/// How far the reader of a partition is.
#[derive(Debug)]
enum Position {
    /// To be looked up.
    Wanted(Seek),
    /// Being looked up.
    Asked(Seek),
    /// To be looked up at the group's coordinator.
    Committed,
    /// Being looked up there.
    CommittedAsked,
    /// Known.
    At(EndOffset),
    /// Cannot go on until somebody seeks.
    Stuck,
}

struct Partition {
    position: Position,
    paused: bool,
    unread: Option<Unread>,
    /// A fetch that includes it is under way.
    fetching: bool,
    /// The back-off after an error.
    not_before: Instant,
    failures: u32,
    /// Leader epoch of the last batch read, −1 before.
    last_epoch: i32,
    /// End of what may be read, as of the last answer.
    end: Option<EndOffset>,
    /// That the end was reached has been told.
    told_end: bool,
    /// Told errors, so that a repetition is not told again.
    told: Option<ConsumeError>,
    /// Distinguishes this assignment of the partition from earlier ones.
    generation: u64,
}

/// The consumer as a machine; see [`Core`] for how it is driven.
pub struct Consumer {
    settings: ConsumerSettings,
    cluster: Cluster,
    partitions: BTreeMap<TopicPartition, Partition>,
    sessions: BTreeMap<i32, Session>,
    calls: BTreeMap<CallId, Call>,
    events: VecDeque<ConsumerEvent>,
    /// Where the next reading begins, so that every partition has its turn.
    turn: Option<TopicPartition>,
    generations: u64,
    wake_at: Option<Instant>,
    group: Option<Group>,
}

/// What a call under way is for. The numbers are the partitions' generations.
enum Call {
    Fetch { broker: i32, partitions: Vec<(TopicPartition, u64)> },
    Offsets { partitions: Vec<(TopicPartition, u64)> },
    Committed { partitions: Vec<(TopicPartition, u64)> },
    Commit { offsets: Vec<(TopicPartition, EndOffset)> },
}

impl Consumer {
    /// A consumer that has not connected yet; `seed` decides between equals.
    #[must_use]
    pub fn new(settings: ConsumerSettings, seed: u64) -> Self {
        Self {
            cluster: Cluster::new(settings.cluster.clone(), seed),
            partitions: BTreeMap::new(),
            sessions: BTreeMap::new(),
            calls: BTreeMap::new(),
            events: VecDeque::new(),
            turn: None,
            generations: 0,
            wake_at: None,
            group: settings.group.clone().map(|group| Group::new(Membership::new(group))),
            settings,
        }
    }

    /// Reads these partitions from now on and no others; those it read before keep their positions. Not for
    /// members of a group.
    pub fn assign(&mut self, now: Now, partitions: &[(TopicPartition, Seek)]) {
        self.partitions.retain(|old, _| partitions.iter().any(|(new, _)| new == old));
        for (partition, seek) in partitions {
            if !self.partitions.contains_key(partition) {
                self.add(partition.clone(), Position::from(*seek));
            }
        }
        self.advance(now);
    }

    fn add(&mut self, partition: TopicPartition, position: Position) {
        self.cluster.watch(&partition.topic);
        self.generations += 1;
        let generation = self.generations;
        self.partitions.insert(partition, Partition::new(position, generation));
    }

    /// The partitions that are read.
    pub fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.keys()
    }

    /// Goes on reading elsewhere; what was fetched and not read is dropped. False if the partition is not
    /// assigned.
    pub fn seek(&mut self, now: Now, partition: &TopicPartition, seek: Seek) -> bool {
        self.generations += 1;
        let generation = self.generations;
        let Some(state) = self.partitions.get_mut(partition) else { return false };
        let paused = state.paused;
        *state = Partition { paused, ..Partition::new(seek.into(), generation) };
        self.advance(now);
        true
    }

    /// Stops handing out records of a partition, or goes on.
    pub fn pause(&mut self, now: Now, partition: &TopicPartition, paused: bool) {
        if let Some(state) = self.partitions.get_mut(partition) {
            state.paused = paused;
        }
        self.advance(now);
    }

    /// The offset of the next record that will be handed out, once it is known.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<EndOffset> {
        self.partitions.get(partition)?.offset()
    }

    /// How many offsets lie between the position and the end of the log as of the last answer.
    #[must_use]
    pub fn lag(&self, partition: &TopicPartition) -> Option<i64> {
        let state = self.partitions.get(partition)?;
        Some((state.end?.0 - state.offset()?.0).max(0))
    }

    /// Hands out at most `max` records, partition by partition, and fetches more.
    pub fn poll_records(&mut self, now: Now, max: usize) -> Vec<ConsumerRecord> {
        self.proceed(now);
        let mut records = Vec::new();
        for partition in self.order() {
            if records.len() >= max {
                self.turn = Some(partition);
                break;
            }
            self.read(&partition, max, &mut records);
        }
        if let Some(group) = self.group.as_mut().filter(|_| !records.is_empty()) {
            group.processed = false;
        }
        self.advance(now);
        records
    }

    /// The partitions with something to read, beginning with the one whose turn it is.
    fn order(&self) -> Vec<TopicPartition> {
        let readable = self.partitions.iter().filter(|(_, state)| state.unread.is_some() && !state.paused);
        let mut order: Vec<_> = readable.map(|(partition, _)| partition.clone()).collect();
        let first = order.iter().position(|p| self.turn.as_ref().is_some_and(|turn| p >= turn)).unwrap_or(0);
        order.rotate_left(first);
        order
    }

    fn read(&mut self, partition: &TopicPartition, max: usize, records: &mut Vec<ConsumerRecord>) {
        let Some(state) = self.partitions.get_mut(partition) else { return };
        let Some(mut unread) = state.unread.take() else { return };
        while records.len() < max {
            match unread.next(partition) {
                Ok(Some(record)) => {
                    state.last_epoch = record.leader_epoch;
                    records.push(record);
                }
                Ok(None) => {
                    state.position = Position::At(unread.position());
                    state.tell_end(partition, &mut self.events);
                    return;
                }
                Err(reason) => {
                    let offset = unread.position();
                    state.position = Position::Stuck;
                    let error = ConsumeError::Corrupt { offset, reason };
                    self.events.push_back(ConsumerEvent::Partition { partition: partition.clone(), error });
                    return;
                }
            }
        }
        state.position = Position::At(unread.position());
        state.unread = Some(unread);
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<ConsumerEvent> {
        self.events.pop_front()
    }

    /// Whether [`Consumer::poll_records`] would give something.
    #[must_use]
    pub fn has_records(&self) -> bool {
        self.partitions.values().any(|state| state.unread.is_some() && !state.paused)
    }

    /// Whether [`Consumer::poll_event`] would give something.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The connections and the metadata of this consumer.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Closes the connections.
    pub fn close(&mut self) {
        self.cluster.close();
    }

    /// Does everything that can be done now.
    fn advance(&mut self, now: Now) {
        while let Some(done) = self.cluster.poll_completion() {
            match self.calls.remove(&done.call) {
                Some(Call::Fetch { broker, partitions }) => {
                    self.settle_fetch(now, broker, &partitions, done.outcome);
                }
                Some(Call::Offsets { partitions }) => self.settle_offsets(now, &partitions, done.outcome),
                Some(Call::Committed { partitions }) => self.settle_committed(now, &partitions, done.outcome),
                Some(Call::Commit { offsets }) => self.settle_commit(now, offsets, done.outcome),
                None => {
                    if let Some(group) = &mut self.group {
                        group.membership.settle(now, &done, &mut self.cluster);
                    }
                }
            }
        }
        self.wake_at = None;
        self.advance_group(now);
        self.look_up_positions(now);
        self.fetch(now);
    }

    fn wake(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |old| old.min(at)));
    }

    /// Notes an error of a partition, tells it once, and asks who leads now if that may help.
    fn fail(&mut self, now: Now, partition: &TopicPartition, error: ConsumeError) {
        let retriable = error.is_retriable();
        let Some(state) = self.partitions.get_mut(partition) else { return };
        state.failures += 1;
        state.not_before = now.mono + self.settings.cluster.retry_pause(state.failures);
        if !retriable {
            state.position = Position::Stuck;
        }
        // Leaders move; only what lasts is worth telling.
        if state.told.as_ref() != Some(&error) && (!retriable || state.failures > TOLD_FROM_FAILURE) {
            state.told = Some(error.clone());
            self.events.push_back(ConsumerEvent::Partition { partition: partition.clone(), error });
        }
        if retriable {
            self.cluster.request_refresh();
        }
    }
}

/// Failures in a row after which a retriable error is told.
const TOLD_FROM_FAILURE: u32 = 3;

impl Partition {
    const fn new(position: Position, generation: u64) -> Self {
        Self {
            position,
            paused: false,
            unread: None,
            fetching: false,
            not_before: Instant::ZERO,
            failures: 0,
            last_epoch: -1,
            end: None,
            told_end: false,
            told: None,
            generation,
        }
    }

    fn offset(&self) -> Option<EndOffset> {
        match self.position {
            Position::At(offset) => Some(offset),
            Position::Wanted(Seek::Offset(offset)) => Some(offset),
            Position::Wanted(_)
            | Position::Asked(_)
            | Position::Committed
            | Position::CommittedAsked
            | Position::Stuck => None,
        }
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        self.told = None;
    }

    /// Tells that everything was read, once per end.
    fn tell_end(&mut self, partition: &TopicPartition, events: &mut VecDeque<ConsumerEvent>) {
        let at_end = matches!((self.offset(), self.end), (Some(offset), Some(end)) if offset >= end);
        if at_end && !self.told_end {
            events.push_back(ConsumerEvent::End(partition.clone()));
        }
        self.told_end = at_end;
    }
}

impl From<Seek> for Position {
    fn from(seek: Seek) -> Self {
        match seek {
            Seek::Offset(offset) => Self::At(offset),
            Seek::Beginning | Seek::End | Seek::Time(_) => Self::Wanted(seek),
        }
    }
}

impl ConsumeError {
    /// Whether the consumer goes on by itself.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::Refused(code) => code.is_retriable(),
            Self::Call(error) => error.is_retriable(),
            Self::OutOfRange { .. } | Self::Corrupt { .. } => false,
        }
    }
}

impl Core for Consumer {
    fn handle(&mut self, now: Now, input: Input) {
        self.cluster.handle(now, input);
        self.advance(now);
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.cluster.poll_effect()
    }

    fn wake_at(&self) -> Option<Instant> {
        [self.cluster.wake_at(), self.wake_at].into_iter().flatten().min()
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Display for ConsumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code) => write!(f, "{}: {}", code.name(), code.message()),
            Self::Call(error) => error.fmt(f),
            Self::OutOfRange { offset } => write!(f, "offset {offset} is outside the log"),
            Self::Corrupt { offset, reason } => write!(f, "damaged batch at offset {offset}: {reason}"),
        }
    }
}

impl std::error::Error for ConsumeError {}
