//! What a replica is to its partition: it leads, follows, stands by, or is gone. The controller says which.

use super::{Inner, Replica, Told, Waiter, rules, tell};
use crate::effects::Effects;
use base::{BrokerId, EndOffset, Instant, LeaderEpoch, hit};
use cluster::partition::Follower;
use cluster::{Leader, PartitionState, Progress};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What a replica is at the moment.
#[derive(Debug)]
pub(super) enum Role {
    /// It gives out the offsets.
    Leads(Box<Leads>),
    /// It copies what its leader has.
    Follows(Follows),
    /// Nobody leads, or nobody has said yet who does: the log stays as it is.
    StandsBy { epoch: LeaderEpoch, high_watermark: EndOffset },
    /// The partition was deleted, or a cut of its log failed half way: nothing is done with it any more.
    Gone,
}

/// A leader, and what it keeps of its followers besides.
#[derive(Debug)]
pub(super) struct Leads {
    pub(super) leader: Leader,
    pub(super) lags: BTreeMap<BrokerId, Lag>,
    /// Where the followers' logs begin, on their disks.
    pub(super) starts: BTreeMap<BrokerId, EndOffset>,
    /// What was deleted here by request is to be deleted by all who are in sync.
    pub(super) start_min: EndOffset,
    /// The replication owner has been told that the replicas in sync may have to change.
    pub(super) is_noted: bool,
}

/// Until when a follower had everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lag {
    caught_up_at: Instant,
    /// The end of the leader's log at an earlier time, which the follower has not reached yet.
    target: EndOffset,
    target_at: Instant,
}

/// A follower.
#[derive(Debug)]
pub(super) struct Follows {
    pub(super) leader: BrokerId,
    pub(super) follower: Follower,
    /// What the leader was last told of this disk.
    pub(super) reported: Option<EndOffset>,
    /// Nothing before it comes back.
    pub(super) start_min: EndOffset,
}

impl Lag {
    pub(super) const fn new(now: Instant, end: EndOffset) -> Self {
        Self { caught_up_at: now, target: end, target_at: now }
    }

    /// The follower has everything before `has`, and the leader's log ends at `end`.
    pub(super) fn note(&mut self, has: EndOffset, end: EndOffset, now: Instant) {
        if has >= self.target {
            self.caught_up_at = if has >= end { now } else { self.target_at };
            (self.target, self.target_at) = (end, now);
        }
    }

    pub(super) const fn caught_up_at(&self) -> Instant {
        self.caught_up_at
    }
}

impl Leads {
    fn new(leader: Leader, start_min: EndOffset, now: Instant) -> Self {
        let end = leader.own().log_end;
        let in_sync = leader.state().isr.iter();
        let lags = in_sync.map(|id| (*id, Lag::new(now, end))).collect();
        Self { leader, lags, starts: BTreeMap::new(), start_min, is_noted: false }
    }

    /// Who joins has everything that is safe, which may be long ago; it gets as much time for the rest as anybody.
    fn decided(&mut self, state: &PartitionState, now: Instant) -> bool {
        let before = self.leader.state().isr.clone();
        let moved = self.leader.decided(state);
        let end = self.leader.own().log_end;
        for id in self.leader.state().isr.iter().filter(|id| !before.contains(id)) {
            self.lags.insert(*id, Lag::new(now, end));
        }
        moved
    }
}

impl Role {
    pub(super) const fn is_gone(&self) -> bool {
        matches!(self, Self::Gone)
    }

    pub(super) fn leader(&self) -> Option<&Leader> {
        match self {
            Self::Leads(leads) => Some(&leads.leader),
            Self::Follows(_) | Self::StandsBy { .. } | Self::Gone => None,
        }
    }

    pub(super) fn leader_mut(&mut self) -> Option<&mut Leader> {
        match self {
            Self::Leads(leads) => Some(&mut leads.leader),
            Self::Follows(_) | Self::StandsBy { .. } | Self::Gone => None,
        }
    }

    /// The leader epoch that it is in; `None` if it will never be in another.
    pub(super) fn epoch(&self) -> Option<LeaderEpoch> {
        match self {
            Self::Leads(leads) => Some(leads.leader.epoch),
            Self::Follows(follows) => Some(follows.follower.epoch()),
            Self::StandsBy { epoch, .. } => Some(*epoch),
            Self::Gone => None,
        }
    }

    pub(super) fn high_watermark(&self) -> EndOffset {
        match self {
            Self::Leads(leads) => leads.leader.high_watermark(),
            Self::Follows(follows) => follows.follower.high_watermark(),
            Self::StandsBy { high_watermark, .. } => *high_watermark,
            Self::Gone => EndOffset::ZERO,
        }
    }
}

impl Replica {
    /// Becomes what the controller has decided, if that is news.
    pub(crate) fn assume(&self, own: BrokerId, state: &PartitionState, now: Instant, fx: &mut Effects) {
        let told = self.inner().assume(own, state, now);
        tell(told, fx);
    }

    /// True if it leads in that epoch.
    pub(crate) fn leads_in(&self, epoch: LeaderEpoch) -> bool {
        self.inner().role.leader().is_some_and(|leader| leader.epoch == epoch)
    }

    /// Whom it follows, and in which epoch.
    pub(crate) fn followed(&self) -> Option<(BrokerId, LeaderEpoch)> {
        match &self.inner().role {
            Role::Follows(follows) => Some((follows.leader, follows.follower.epoch())),
            Role::Leads(_) | Role::StandsBy { .. } | Role::Gone => None,
        }
    }
}

impl Inner {
    fn assume(&mut self, own: BrokerId, state: &PartitionState, now: Instant) -> Vec<(Waiter, Told)> {
        let Some(known) = self.role.epoch() else { return Vec::new() };
        match known.cmp(&state.leader_epoch) {
            Ordering::Less => self.take_role(own, state, now),
            Ordering::Equal => self.take_decision(state, now),
            Ordering::Greater => Vec::new(),
        }
    }

    /// A new epoch: whoever waits for what the one before promised hears that it is over, unless this replica led then
    /// and leads on.
    fn take_role(&mut self, own: BrokerId, state: &PartitionState, now: Instant) -> Vec<(Waiter, Told)> {
        self.replicas = state.replicas.len();
        let led = self.role.leader().is_some();
        let epoch = state.leader_epoch;
        let high_watermark = self.role.high_watermark();
        let progress = Progress { log_end: self.log.end(), flushed: self.log.flushed() };
        match state.leader {
            Some(leader) if leader == own => {
                if self.log.epochs().latest().is_some() {
                    hit!(partition_led_anew);
                }
                // What is appended from now on is told apart from what was.
                self.log.begin_epoch(epoch);
                let leader = Leader::new(own, state, rules(&self.config), progress, high_watermark);
                self.role = Role::Leads(Box::new(Leads::new(leader, self.log.start(), now)));
                return self.wake_if(true);
            }
            Some(leader) if state.is_on(own) => {
                self.log.forget_unwritten_epoch();
                let follower = Follower::new(epoch, progress.log_end, progress.flushed, high_watermark);
                let start_min = self.log.start();
                self.role = Role::Follows(Follows { leader, follower, reported: None, start_min });
            }
            Some(_) | None => {
                self.log.forget_unwritten_epoch();
                self.role = Role::StandsBy { epoch, high_watermark };
            }
        }
        if led {
            hit!(leadership_lost);
        }
        self.waiters.all_gone()
    }

    /// The same leader goes on, with other replicas in sync perhaps.
    pub(super) fn take_decision(&mut self, state: &PartitionState, now: Instant) -> Vec<(Waiter, Told)> {
        self.replicas = state.replicas.len();
        let Role::Leads(leads) = &mut self.role else { return Vec::new() };
        let moved = leads.decided(state, now);
        let mut told = self.wake_if(moved);
        told.extend(self.wake_trims());
        told
    }
}
