//! One shard: a partition of the offsets topic that this node leads, and the machine whose log it is.
//!
//! A shard is loaded, then serves, until its partition is lost or a write fails: then the machine is dropped with
//! all it knew and the log is read anew. Replies wait until what they rest on is safe (D1); those that rest on
//! nothing new wait for what was written before them. Requests are taken only by a shard that serves (D5).

use super::Io;
use super::census::GroupCensus;
use super::load::{Load, Loaded};
use super::write::{Written, append, code_of};
use crate::effects::{Level, Owner};
use crate::job::Job;
use crate::replica::{Replica, Waiter};
use crate::scan::ScanError;
use base::{Instant, LeaderEpoch, Machine, PartitionIndex, Span, hit, planted};
use coordinator::Token;
use coordinator::group::{Command, Event, GroupConfig, GroupMachine, Hard, Reply, Soft};
use std::collections::VecDeque;
use std::sync::Arc;
use wire::ErrorCode;

/// How long after a failure a shard is loaded again, or a deadline is looked at again.
const AGAIN_AFTER: Span = Span::from_secs(1);

/// What becomes of a question: the machine's answer, or why there is none.
pub(super) type Answer = (Token, Result<Reply, ErrorCode>);

/// One partition of the offsets topic.
#[derive(Debug)]
pub(super) struct Shard {
    index: PartitionIndex,
    replica: Arc<Replica>,
    /// The leader epoch that this node leads it in.
    epoch: LeaderEpoch,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The log is being read by the job of this number.
    Loading { number: u64, since: Instant },
    /// The log has been read; its end is not safe yet.
    Settling { ticket: u64, hard: Hard, since: Instant },
    /// Requests are taken.
    Active(Box<Active>),
    /// The log could not be read, or not be written.
    Failed { again_at: Instant },
}

#[derive(Debug)]
struct Active {
    hard: Hard,
    soft: Soft,
    wake_at: Option<Instant>,
    /// The last thing written that is not safe yet.
    unsafe_at: Option<u64>,
    /// Replies and what they wait for, in order.
    parked: VecDeque<(u64, Vec<(Token, Reply)>)>,
}

impl Shard {
    /// Begins to load a partition that this node leads from now on.
    pub(super) fn new(
        index: PartitionIndex,
        replica: Arc<Replica>,
        epoch: LeaderEpoch,
        config: GroupConfig,
        io: &mut Io<'_>,
    ) -> Self {
        let mut shard = Self { index, replica, epoch, phase: Phase::Failed { again_at: io.now.mono } };
        shard.load(config, io);
        shard
    }

    /// True if this is that partition under that leader epoch.
    pub(super) fn is(&self, replica: &Arc<Replica>, epoch: LeaderEpoch) -> bool {
        self.epoch == epoch && Arc::ptr_eq(&self.replica, replica)
    }

    /// The largest batch that its partition takes, in bytes.
    pub(super) fn batch_bytes_max(&self) -> u32 {
        self.replica.config().max_message_bytes
    }

    /// Reads the log, or begins with nothing if there is nothing.
    fn load(&mut self, config: GroupConfig, io: &mut Io<'_>) {
        let (start, end) = self.replica.extent();
        if start == end || planted!(D5) {
            return self.activate(Hard::default(), config, io.now.mono, io);
        }
        let number = io.ticket();
        self.phase = Phase::Loading { number, since: io.now.mono };
        let load = Load { replica: self.replica.clone(), shard: self.index, number };
        io.fx.jobs.push(Job::LoadShard(load));
    }

    /// The job has read the log. The end of an older job is no news.
    pub(super) fn loaded(
        &mut self,
        number: u64,
        outcome: Result<Loaded, ScanError>,
        config: GroupConfig,
        io: &mut Io<'_>,
    ) {
        let since = match self.phase {
            Phase::Loading { number: awaited, since } if awaited == number => since,
            Phase::Loading { .. } | Phase::Settling { .. } | Phase::Active(_) | Phase::Failed { .. } => {
                hit!(late_load_dropped);
                return;
            }
        };
        let Loaded { hard, end } = match outcome {
            Ok(loaded) => loaded,
            Err(error) => return self.fail(&error.to_string(), io),
        };
        let ticket = io.ticket();
        let part = self.index.0.unsigned_abs();
        match self.replica.is_safe_or_wait(end, Waiter { owner: Owner::Groups, ticket, part }) {
            Ok(true) => self.activate(hard, config, since, io),
            Ok(false) => self.phase = Phase::Settling { ticket, hard, since },
            Err(code) => self.fail(&code.to_string(), io),
        }
    }

    fn fail(&mut self, reason: &str, io: &mut Io<'_>) {
        io.fx.log(Level::Error, format!("The groups of partition {} cannot be loaded: {reason}", self.index));
        self.phase = Phase::Failed { again_at: io.now.mono + AGAIN_AFTER };
    }

    fn activate(&mut self, hard: Hard, config: GroupConfig, since: Instant, io: &mut Io<'_>) {
        io.shared.counters.shard_loaded(io.now.mono.since(since));
        let soft = Soft::new(config);
        let active = Active { hard, soft, wake_at: None, unsafe_at: None, parked: VecDeque::new() };
        self.phase = Phase::Active(Box::new(active));
        // Arms the sessions of all members. Nobody waits yet, so there is nobody to answer.
        let _nobody = self.decide(Command::Tick, io);
    }

    /// Counts its groups, if it serves them.
    pub(super) fn count(&self, census: &mut GroupCensus) {
        let Phase::Active(active) = &self.phase else { return };
        for (id, group) in active.hard.groups() {
            let (state, members) = active.soft.standing(id);
            let offsets = group.offsets().iter().flat_map(|(topic, partitions)| {
                partitions.iter().map(|(partition, committed)| (topic.as_str(), *partition, committed.offset))
            });
            census.count((id.as_str(), state.name(), members), offsets);
        }
    }

    /// Puts other settings in force.
    pub(super) fn configure(&mut self, config: GroupConfig) {
        if let Phase::Active(active) = &mut self.phase
            && *active.soft.config() != config
        {
            active.soft.set_config(config);
        }
    }

    /// Asks the machine, if requests are taken.
    pub(super) fn ask(&mut self, token: Token, command: Command, io: &mut Io<'_>) -> Vec<Answer> {
        let refused = match &self.phase {
            Phase::Active(_) => self.replica.check_own().err().map(code_of),
            // A failed load is tried again: the shard is still this node's.
            Phase::Loading { .. } | Phase::Settling { .. } | Phase::Failed { .. } => {
                Some(ErrorCode::CoordinatorLoadInProgress)
            }
        };
        match refused {
            Some(code) => vec![(token, Err(code))],
            None => self.decide(command, io),
        }
    }

    /// Tells the machine something that nobody waits for.
    pub(super) fn tell(&mut self, command: Command, io: &mut Io<'_>) -> Vec<Answer> {
        match &self.phase {
            Phase::Active(_) if self.replica.check_own().is_ok() => self.decide(command, io),
            Phase::Active(_) | Phase::Loading { .. } | Phase::Settling { .. } | Phase::Failed { .. } => {
                Vec::new()
            }
        }
    }

    fn decide(&mut self, command: Command, io: &mut Io<'_>) -> Vec<Answer> {
        let Phase::Active(active) = &mut self.phase else { return Vec::new() };
        let decision = GroupMachine::decide(&active.hard, &mut active.soft, io.now, command);
        active.wake_at = decision.wake_at;
        for event in active.soft.take_events() {
            narrate(&event, io);
        }
        if decision.records.is_empty() {
            return active.answer(decision.replies);
        }
        match append(&self.replica, self.index, &decision.records, io) {
            Ok(written) => {
                for record in &decision.records {
                    GroupMachine::replay(&mut active.hard, record);
                }
                active.wrote(written, decision.replies)
            }
            Err(code) => {
                hit!(group_append_failed);
                let failed = decision.replies.into_iter().map(|(token, _)| (token, Err(code)));
                failed.chain(self.lose(io)).collect()
            }
        }
    }

    /// What was written can no longer be relied on: everybody who waits is sent away, and the log is read anew.
    fn lose(&mut self, io: &mut Io<'_>) -> Vec<Answer> {
        hit!(shard_lost);
        io.fx.log(Level::Warn, format!("The groups of partition {} are loaded anew", self.index));
        // The shard stays this node's: a list without its groups would not be whole.
        let answers = self.send_away(ErrorCode::CoordinatorLoadInProgress, io);
        self.phase = Phase::Failed { again_at: io.now.mono + AGAIN_AFTER };
        answers
    }

    /// Sends everybody away who waits: the shard is somebody else's.
    pub(super) fn resign(&mut self, io: &mut Io<'_>) -> Vec<Answer> {
        self.send_away(ErrorCode::NotCoordinator, io)
    }

    fn send_away(&mut self, lists: ErrorCode, io: &mut Io<'_>) -> Vec<Answer> {
        let again_at = io.now.mono;
        let phase = core::mem::replace(&mut self.phase, Phase::Failed { again_at });
        let Phase::Active(mut active) = phase else { return Vec::new() };
        let decision = GroupMachine::decide(&active.hard, &mut active.soft, io.now, Command::Resign);
        let parked = active.parked.into_iter().flat_map(|(_, replies)| replies);
        let refused = parked.map(|(token, reply)| {
            let is_list = matches!(reply, Reply::List(_));
            (token, Err(if is_list { lists } else { ErrorCode::NotCoordinator }))
        });
        let waiting = decision.replies.into_iter().map(|(token, reply)| (token, Ok(reply)));
        refused.chain(waiting).collect()
    }

    /// The partition says that what a ticket stands for is safe, or that it can no longer become so.
    pub(super) fn safe(
        &mut self,
        ticket: u64,
        kept: bool,
        config: GroupConfig,
        io: &mut Io<'_>,
    ) -> Vec<Answer> {
        match &mut self.phase {
            Phase::Settling { ticket: awaited, hard, since } if *awaited == ticket => {
                let (hard, since) = (core::mem::take(hard), *since);
                if kept {
                    self.activate(hard, config, since, io);
                } else {
                    self.fail("the partition was lost", io);
                }
                Vec::new()
            }
            Phase::Active(active) if kept => active.safe(ticket),
            Phase::Active(active) if active.awaits(ticket) => self.lose(io),
            // Of an earlier time of this shard, or of a part of a write whose end is not safe.
            Phase::Active(_) | Phase::Loading { .. } | Phase::Settling { .. } | Phase::Failed { .. } => {
                Vec::new()
            }
        }
    }

    /// Does what is due by now.
    pub(super) fn wake(&mut self, config: GroupConfig, io: &mut Io<'_>) -> Vec<Answer> {
        if self.wake_at().is_none_or(|at| at > io.now.mono) {
            return Vec::new();
        }
        let Phase::Active(active) = &mut self.phase else {
            self.load(config, io);
            return Vec::new();
        };
        // Nothing can be decided while the partition takes no writes.
        active.wake_at = Some(io.now.mono + AGAIN_AFTER);
        self.tell(Command::Tick, io)
    }

    /// When something is due.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Active(active) => active.wake_at,
            Phase::Failed { again_at } => Some(*again_at),
            Phase::Loading { .. } | Phase::Settling { .. } => None,
        }
    }
}

impl Active {
    /// Replies that rest on nothing new wait for all that was written before.
    fn answer(&mut self, replies: Vec<(Token, Reply)>) -> Vec<Answer> {
        match self.unsafe_at {
            Some(ticket) if !replies.is_empty() => {
                self.parked.push_back((ticket, replies));
                Vec::new()
            }
            Some(_) | None => answers(replies),
        }
    }

    fn wrote(&mut self, written: Written, replies: Vec<(Token, Reply)>) -> Vec<Answer> {
        match written {
            Written::Safe => {
                self.unsafe_at = None;
                let parked = core::mem::take(&mut self.parked).into_iter().flat_map(|(_, replies)| replies);
                answers(parked.chain(replies).collect())
            }
            Written::At(ticket) => {
                self.unsafe_at = Some(ticket);
                self.answer(replies)
            }
        }
    }

    fn awaits(&self, ticket: u64) -> bool {
        self.unsafe_at.is_some_and(|last| ticket <= last)
    }

    /// What is written in order becomes safe in order.
    fn safe(&mut self, ticket: u64) -> Vec<Answer> {
        if self.unsafe_at.is_some_and(|last| last <= ticket) {
            self.unsafe_at = None;
        }
        let ready = self.parked.partition_point(|(awaited, _)| *awaited <= ticket);
        answers(self.parked.drain(..ready).flat_map(|(_, replies)| replies).collect())
    }
}

fn answers(replies: Vec<(Token, Reply)>) -> Vec<Answer> {
    replies.into_iter().map(|(token, reply)| (token, Ok(reply))).collect()
}

/// Says to operators what they would otherwise have to guess. A generation is a line, a request is none.
fn narrate(event: &Event, io: &mut Io<'_>) {
    let text = match event {
        Event::Rebalancing { group, generation, reason } => {
            format!("Group {group} ends its generation {generation}: {reason}")
        }
        Event::Formed { group, generation, members } => {
            format!("Group {group} has a generation {generation} of {members} members")
        }
        Event::Lost { group, member } => format!("Group {group} has lost its member {member}"),
        Event::Expired { group, offsets } => {
            format!("{offsets} offsets of group {group} are forgotten for their age")
        }
        Event::Assigned { .. } => return,
    };
    io.fx.log(Level::Info, text);
}
