//! The groups owner: the group coordinators that this node is.
//!
//! Every partition of `__consumer_offsets` that this node leads is a [`shard::Shard`] with a machine of its own.
//! The owner follows the view (partitions come and go, topics are deleted), asks the shards what requests ask,
//! gathers their answers, and sees to deadlines and the expiry of offsets. One thread drives it; what waits for
//! the disk is a job, so that a shard that is loaded keeps no other waiting.

mod census;
mod load;
mod shard;
mod waiting;
mod write;

pub use census::{CountedGroup, CountedOffset, GroupCensus, Teller};
pub(crate) use load::{Load, Loaded};
pub(crate) use waiting::Questions;

use crate::api::{self, GroupsContext, Malformed, OnGroups, Run, decode};
use crate::effects::{Asked, Effects, Input, Level, Mail, Owner};
use crate::job::JobDone;
use crate::replica::Replica;
use crate::scan::ScanError;
use crate::shared::Shared;
use crate::view::{OFFSETS_TOPIC, View};
use crate::wall::{Belief, WallClock};
use base::{Instant, LeaderEpoch, Now, PartitionIndex, Rng, Span, hit};
use cluster::config::NodeConfig;
use coordinator::Token;
use coordinator::group::{Command, DeletedTopic, GroupConfig, Reply};
use shard::{Answer, Shard};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use waiting::Parked;

/// Carries out an API of the group coordinators.
pub(crate) type Handler = fn(&mut Groups, Asked, Now, &mut Effects) -> Result<(), Malformed>;

/// What a batch needs besides its records, generously, in bytes.
const BATCH_OVERHEAD: u32 = 1_024;
/// The token of what this owner asks itself.
const OWN: Token = Token(u64::MAX);

/// What a shard needs for a step.
pub(crate) struct Io<'a> {
    shared: &'a Shared,
    now: Now,
    tickets: &'a mut u64,
    fx: &'a mut Effects,
}

impl Io<'_> {
    /// A name for something that is waited for; later ones are greater.
    fn ticket(&mut self) -> u64 {
        *self.tickets += 1;
        *self.tickets
    }
}

/// The group coordinators of a node.
#[derive(Debug)]
pub struct Groups {
    view: Arc<View>,
    shared: Arc<Shared>,
    rng: Rng,
    shards: BTreeMap<PartitionIndex, Shard>,
    parked: Parked,
    tickets: u64,
    /// When offsets are looked at for their age; none before the first input.
    next_expiry: Option<Instant>,
    wall_clock: Option<WallClock>,
}

impl Groups {
    pub(crate) fn new(view: Arc<View>, shared: Arc<Shared>, rng: Rng) -> Self {
        Self {
            view,
            shared,
            rng,
            shards: BTreeMap::new(),
            parked: Parked::default(),
            tickets: 0,
            next_expiry: None,
            wall_clock: None,
        }
    }

    /// Takes an input and says what follows.
    pub fn handle(&mut self, now: Now, input: Input, fx: &mut Effects) {
        match input {
            Input::Mail(mail) => self.mail(now, mail, fx),
            Input::JobDone(done) => self.job_done(now, done, fx),
            Input::Tick => {}
            Input::Connected { .. }
            | Input::Frame { .. }
            | Input::Closed { .. }
            | Input::Linked { .. }
            | Input::LinkFrame { .. }
            | Input::LinkDown { .. } => {
                fx.fatal = Some("the groups owner was sent a connection".into());
            }
        }
        self.expire_offsets(now, fx);
        self.wake_shards(now, fx);
    }

    fn mail(&mut self, now: Now, mail: Mail, fx: &mut Effects) {
        match mail {
            Mail::Asked(asked) => self.asked(now, asked, fx),
            Mail::View(view) => self.new_view(now, view, fx),
            Mail::Safe { ticket, part, kept } => self.safe(now, ticket, part, kept, fx),
            Mail::CountGroups(teller) => teller.tell(self.census()),
            Mail::Control { .. }
            | Mail::Controlled { .. }
            | Mail::Greeted(_)
            | Mail::Leave
            | Mail::Reply { .. }
            | Mail::Refused { .. }
            | Mail::Readable { .. }
            | Mail::Replicas(_)
            | Mail::Upkeep
            | Mail::Reopen(_)
            | Mail::Damaged(_) => {
                fx.fatal = Some("the groups owner was sent another owner's mail".into());
            }
        }
    }

    fn job_done(&mut self, now: Now, done: JobDone, fx: &mut Effects) {
        if let JobDone::ShardLoaded { shard, number, outcome } = done {
            self.shard_loaded(now, shard, number, outcome, fx);
        } else {
            self.shared.job_done(now, done, fx);
        }
    }

    // --- requests ---

    fn asked(&mut self, now: Now, asked: Asked, fx: &mut Effects) {
        let token = asked.token;
        let run = api::row(asked.head.api_key).map(|row| row.run);
        let Some(Run::Groups(handle)) = run else {
            fx.fatal = Some("the groups owner was sent a request for another owner".into());
            return;
        };
        if let Err(malformed) = handle(self, asked, now, fx) {
            let reason = format!("{malformed:?}");
            fx.tell(Owner::Reactor(token.reactor), Mail::Refused { token, reason });
        }
    }

    /// Asks the shards what a request asks.
    pub(crate) fn run<A: OnGroups>(
        &mut self,
        asked: Asked,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), Malformed> {
        let request = decode::<A>(&asked)?;
        let view = self.view.clone();
        let partitions = view.image.topic(OFFSETS_TOPIC).map_or(1, |topic| topic.partitions.len());
        let first = self.parked.next_token();
        let mut questions = Questions::new(first, u32::try_from(partitions).unwrap_or(u32::MAX));
        let shards: Vec<PartitionIndex> = self.shards.keys().copied().collect();
        let mut cx = GroupsContext { view: &view, asked: &asked, shards: &shards, rng: &mut self.rng };
        let response = A::ask(&mut cx, request, &mut questions);
        let commands = core::mem::take(&mut questions.commands);
        self.parked.park::<A>(&asked, response, questions, fx);
        for (token, (shard, command)) in (first..).map(Token).zip(commands) {
            let answers = self.with(now, shard, fx, |shard, _, io| shard.ask(token, command, io));
            let answers = answers.unwrap_or_else(|| vec![(token, Err(wire::ErrorCode::NotCoordinator))]);
            self.answer(now, shard, answers, fx);
        }
        Ok(())
    }

    /// Does something with a shard that is here.
    fn with<T>(
        &mut self,
        now: Now,
        index: PartitionIndex,
        fx: &mut Effects,
        step: impl FnOnce(&mut Shard, GroupConfig, &mut Io<'_>) -> T,
    ) -> Option<T> {
        let shard = self.shards.get_mut(&index)?;
        let config = group_config(&self.view.node.config, shard.batch_bytes_max());
        let mut io = Io { shared: &self.shared, now, tickets: &mut self.tickets, fx };
        Some(step(shard, config, &mut io))
    }

    /// Hands answers on to those who wait for them, and takes those that it asked for itself.
    fn answer(&mut self, now: Now, index: PartitionIndex, answers: Vec<Answer>, fx: &mut Effects) {
        let mut answers = VecDeque::from(answers);
        while let Some((token, outcome)) = answers.pop_front() {
            if token != OWN {
                self.parked.answer(&self.view, token, outcome, fx);
            } else if matches!(outcome, Ok(Reply::Expired { is_more: true })) {
                let more =
                    |shard: &mut Shard, _, io: &mut Io<'_>| shard.tell(Command::ExpireOffsets(OWN), io);
                answers.extend(self.with(now, index, fx, more).unwrap_or_default());
            }
        }
    }

    /// How the groups are, as far as `ottla.metrics.group.offsets.max` has room.
    fn census(&self) -> GroupCensus {
        let mut census = GroupCensus::with_room(self.view.node.config.metrics_group_offsets_max);
        self.shards.values().for_each(|shard| shard.count(&mut census));
        census
    }

    // --- the view ---

    fn new_view(&mut self, now: Now, view: Arc<View>, fx: &mut Effects) {
        self.view = view;
        self.follow_partitions(now, fx);
        self.forget_topics(now, fx);
    }

    /// Partitions of the offsets topic that this node leads.
    fn led(&self) -> BTreeMap<PartitionIndex, (Arc<Replica>, LeaderEpoch)> {
        let own = self.view.node.config.node_id;
        let Some(topic) = self.view.image.topic(OFFSETS_TOPIC) else { return BTreeMap::new() };
        let all = (0..).map(PartitionIndex).zip(&topic.partitions);
        let led = all.filter(|(_, state)| state.leader == Some(own));
        led.filter_map(|(index, state)| {
            let replica = self.view.replica(topic.id, index)?;
            // Metadata from before this start are not acted on.
            if !replica.leads_in(state.leader_epoch) {
                return None;
            }
            Some((index, (replica.clone(), state.leader_epoch)))
        })
        .collect()
    }

    /// Lets go of shards that went and loads those that came.
    fn follow_partitions(&mut self, now: Now, fx: &mut Effects) {
        let led = self.led();
        let is_led = |index: &PartitionIndex, shard: &Shard| {
            led.get(index).is_some_and(|(replica, epoch)| shard.is(replica, *epoch))
        };
        let gone: Vec<_> = self
            .shards
            .iter()
            .filter(|(index, shard)| !is_led(index, shard))
            .map(|(index, _)| *index)
            .collect();
        for index in gone {
            let answers = self.with(now, index, fx, |shard, _, io| shard.resign(io)).unwrap_or_default();
            self.shards.remove(&index);
            self.answer(now, index, answers, fx);
        }
        for (index, (replica, epoch)) in led {
            if self.shards.contains_key(&index) {
                self.with(now, index, fx, |shard, config, _| shard.configure(config));
                continue;
            }
            let config = group_config(&self.view.node.config, replica.config().max_message_bytes);
            let mut io = Io { shared: &self.shared, now, tickets: &mut self.tickets, fx: &mut *fx };
            self.shards.insert(index, Shard::new(index, replica, epoch, config, &mut io));
        }
    }

    /// Offsets of topics that are gone are forgotten.
    fn forget_topics(&mut self, now: Now, fx: &mut Effects) {
        let gone = self.view.news.removed.iter();
        let gone: Vec<_> = gone.map(|(id, name)| DeletedTopic { name: (&**name).into(), id: *id }).collect();
        if gone.is_empty() {
            return;
        }
        hit!(offsets_of_deleted_topics);
        self.tell_all(now, &Command::TopicsDeleted(gone), fx);
    }

    fn tell_all(&mut self, now: Now, command: &Command, fx: &mut Effects) {
        let shards: Vec<_> = self.shards.keys().copied().collect();
        for index in shards {
            let answers = self.with(now, index, fx, |shard, _, io| shard.tell(command.clone(), io));
            self.answer(now, index, answers.unwrap_or_default(), fx);
        }
    }

    // --- the disk ---

    fn shard_loaded(
        &mut self,
        now: Now,
        index: PartitionIndex,
        number: u64,
        outcome: Result<Loaded, ScanError>,
        fx: &mut Effects,
    ) {
        self.with(now, index, fx, |shard, config, io| shard.loaded(number, outcome, config, io));
    }

    fn safe(&mut self, now: Now, ticket: u64, part: u32, kept: bool, fx: &mut Effects) {
        let Ok(index) = i32::try_from(part).map(PartitionIndex) else { return };
        let answers = self.with(now, index, fx, |shard, config, io| shard.safe(ticket, kept, config, io));
        self.answer(now, index, answers.unwrap_or_default(), fx);
    }

    // --- time ---

    /// Every `offsets.retention.check.interval.ms`, unless the wall clock is in doubt.
    fn expire_offsets(&mut self, now: Now, fx: &mut Effects) {
        let every = self.view.node.config.offsets_retention_check.max(Span::from_millis(1));
        let due = *self.next_expiry.get_or_insert(now.mono + every);
        let clock = self.wall_clock.get_or_insert(WallClock::new(now));
        if now.mono < due {
            return fx.wake(due);
        }
        let next = now.mono + every;
        self.next_expiry = Some(next);
        fx.wake(next);
        match clock.look(now) {
            Belief::Sound => self.tell_all(now, &Command::ExpireOffsets(OWN), fx),
            Belief::Doubted => {}
            Belief::Jumped => {
                hit!(wall_clock_doubted);
                fx.log(
                    Level::Warn,
                    "The wall clock has jumped: no committed offset is forgotten for its age before the clock is set back, the node is restarted, or a day has passed",
                );
            }
        }
    }

    fn wake_shards(&mut self, now: Now, fx: &mut Effects) {
        let is_due = |shard: &Shard| shard.wake_at().is_some_and(|at| at <= now.mono);
        let due: Vec<_> =
            self.shards.iter().filter(|(_, shard)| is_due(shard)).map(|(index, _)| *index).collect();
        for index in due {
            let answers = self.with(now, index, fx, |shard, config, io| shard.wake(config, io));
            self.answer(now, index, answers.unwrap_or_default(), fx);
        }
        if let Some(at) = self.shards.values().filter_map(Shard::wake_at).min() {
            fx.wake(at);
        }
    }
}

/// The settings of a shard whose partition takes batches of up to `batch_bytes_max` bytes.
fn group_config(node: &NodeConfig, batch_bytes_max: u32) -> GroupConfig {
    GroupConfig {
        session_timeout_min: node.group_session_timeout_min,
        session_timeout_max: node.group_session_timeout_max,
        initial_rebalance_delay: node.group_initial_rebalance_delay,
        size_max: node.group_size_max as usize,
        offset_metadata_max: node.offset_metadata_bytes_max as usize,
        offsets_retention: node.offsets_retention,
        append_bytes_max: batch_bytes_max.saturating_sub(BATCH_OVERHEAD) as usize,
        ..GroupConfig::default()
    }
}

#[cfg(test)]
mod tests;
