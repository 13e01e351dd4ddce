//! Who is to be in sync where this node leads: followers that have come far enough are to join, those that have not had
//! everything for too long are to leave. The controller decides; one batch of wishes is under way at a time.
//!
//! A wish stands until the controller has decided: what the leader has asked for counts already when it asks what is safe
//! (A8), so that a wish without an answer is asked for again and never dropped.

use super::Key;
use crate::effects::{Effects, Level, Mail, Owner};
use crate::replica::Replica;
use crate::view::View;
use base::{BrokerId, Instant, Span, TopicId, hit, planted};
use cluster::PartitionState;
use cluster::controller::{Command, PartitionChange, Reply};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::ErrorCode;

/// How long the controller may take to decide.
const ANSWER_MAX: Span = Span::from_secs(3);
/// The pause after wishes that were not granted.
const PAUSE: Span = Span::from_millis(200);
/// More changes than these at a time are counted in the log and not named.
const TOLD_MAX: usize = 10;
/// Wishes that go in one batch.
const BATCH_MAX: usize = 1_000;

/// The wishes of a node that leads.
#[derive(Debug, Default)]
pub(super) struct InSync {
    /// Partitions that this node leads and others follow.
    led: BTreeMap<Key, Led>,
    /// Those whose followers have to be looked at.
    looks: BTreeSet<Key>,
    asking: Option<Asking>,
    paused_until: Option<Instant>,
    next_sweep: Option<Instant>,
    tickets: u64,
}

#[derive(Debug)]
struct Led {
    replica: Arc<Replica>,
    /// Some replica is not in sync.
    is_short: bool,
}

/// A batch that the controller has not answered.
#[derive(Debug)]
struct Asking {
    ticket: u64,
    until: Instant,
    changes: Vec<(Key, i32)>,
}

impl InSync {
    /// Notes whether this node leads a partition (`led`), and what the controller has decided of it.
    pub(super) fn follow(&mut self, key: Key, led: Option<&Arc<Replica>>, state: &PartitionState) {
        match led.filter(|_| state.replicas.len() > 1) {
            Some(replica) => {
                let is_short = state.isr.len() < state.replicas.len();
                self.led.insert(key, Led { replica: replica.clone(), is_short });
            }
            None => {
                self.led.remove(&key);
                self.looks.remove(&key);
            }
        }
    }

    pub(super) fn forget(&mut self, gone: &BTreeSet<TopicId>) {
        self.led.retain(|(topic, _), _| !gone.contains(topic));
        self.looks.retain(|(topic, _)| !gone.contains(topic));
    }

    /// Brokers that may be in sync again have perhaps come far enough before.
    pub(super) fn new_view(&mut self, now: Instant, view: &View) {
        if view.news.has_brokers {
            self.looks.extend(self.led.iter().filter(|(_, led)| led.is_short).map(|(key, _)| *key));
        }
        if self.led.is_empty() {
            self.next_sweep = None;
        } else if self.next_sweep.is_none() {
            self.next_sweep = Some(now + sweep_every(view));
        }
    }

    /// A follower of a partition has come far enough to join.
    pub(super) fn look_at(&mut self, replica: Arc<Replica>) {
        let key = (replica.topic, replica.index);
        // If the view that says that this node leads is still on its way, it is not the last to be looked at.
        self.led.entry(key).or_insert(Led { replica, is_short: true });
        self.looks.insert(key);
    }

    /// Looks at what there is to look at and asks the controller.
    pub(super) fn go_on(&mut self, now: Instant, view: &View, fx: &mut Effects) {
        if self.asking.as_ref().is_some_and(|asking| asking.until <= now) {
            hit!(in_sync_change_not_answered);
            self.ask_again_later(now);
        }
        self.sweep(now, view);
        self.paused_until = self.paused_until.filter(|until| *until > now);
        if self.asking.is_none() && self.paused_until.is_none() && !self.looks.is_empty() {
            self.ask(now, view, fx);
        }
        let asking = self.asking.as_ref().map(|asking| asking.until);
        let paused = self.paused_until.filter(|_| !self.looks.is_empty());
        if let Some(at) = asking.into_iter().chain(paused).chain(self.next_sweep).min() {
            fx.wake(at);
        }
    }

    /// Who lags is found out by looking at all partitions, twice in the time that a follower may lag.
    fn sweep(&mut self, now: Instant, view: &View) {
        if self.next_sweep.is_some_and(|at| at <= now) {
            self.next_sweep = Some(now + sweep_every(view));
            self.looks.extend(self.led.keys());
        }
    }

    fn ask(&mut self, now: Instant, view: &View, fx: &mut Effects) {
        let id = view.node.config.node_id;
        let Some(own) = view.image.broker(id) else { return };
        let is_eligible = |id: BrokerId, epoch: i64| {
            let is_seen = |known: i64| known == epoch || planted!(A10);
            let known = view.image.broker(id);
            known.is_some_and(|broker| (!broker.fenced || planted!(A9)) && is_seen(broker.epoch))
        };
        let lag_max = view.node.config.replica_lag_max;
        let mut changes: Vec<PartitionChange> = Vec::new();
        while changes.len() < BATCH_MAX
            && let Some(key) = self.looks.pop_first()
        {
            let led = self.led.get(&key);
            changes.extend(led.and_then(|led| led.replica.proposal(now, lag_max, is_eligible)));
        }
        if changes.is_empty() {
            return;
        }
        self.tickets += 1;
        let named = changes.iter().map(|it| ((it.topic, it.index), it.change.partition_epoch)).collect();
        self.asking = Some(Asking { ticket: self.tickets, until: now + ANSWER_MAX, changes: named });
        let command = Command::AlterPartitions { broker: id, epoch: own.epoch, changes };
        let from = Owner::Replication;
        fx.tell(Owner::Metadata, Mail::Control { from, ticket: self.tickets, command });
    }

    fn ask_again_later(&mut self, now: Instant) {
        let asking = self.asking.take();
        self.looks.extend(asking.into_iter().flat_map(|asking| asking.changes).map(|(key, _)| key));
        self.paused_until = Some(now + PAUSE);
    }

    /// The controller has answered.
    pub(super) fn answered(&mut self, now: Instant, ticket: u64, reply: Reply, fx: &mut Effects) {
        if self.asking.as_ref().is_none_or(|asking| asking.ticket != ticket) {
            return;
        }
        let Reply::Partitions(outcomes) = reply else { return self.ask_again_later(now) };
        let Some(asking) = self.asking.take() else { return };
        let is_few = outcomes.len() <= TOLD_MAX;
        if !is_few {
            fx.log(Level::Info, format!("{} partitions have other replicas in sync", outcomes.len()));
        }
        for ((key, partition_epoch), outcome) in asking.changes.into_iter().zip(outcomes) {
            let Some(led) = self.led.get(&key) else { continue };
            match outcome {
                Ok(state) => {
                    hit!(in_sync_changed);
                    if is_few {
                        tell(&led.replica, &state, fx);
                    }
                    led.replica.decided(&state, now, fx);
                }
                Err(refusal) => {
                    // Only these say that it was not done and will not be; of others it is not known.
                    if matches!(refusal.code, ErrorCode::IneligibleReplica | ErrorCode::InvalidRequest) {
                        led.replica.refused(partition_epoch, fx);
                    }
                    self.looks.insert(key);
                    self.paused_until = Some(now + PAUSE);
                }
            }
        }
    }
}

fn tell(replica: &Replica, state: &PartitionState, fx: &mut Effects) {
    let ids: Vec<_> = state.isr.iter().map(ToString::to_string).collect();
    fx.log(Level::Info, format!("{}-{}: in sync are {}", replica.name, replica.index, ids.join(", ")));
}

fn sweep_every(view: &View) -> Span {
    Span::from_millis(view.node.config.replica_lag_max.as_millis() / 2).max(Span::from_millis(1))
}
