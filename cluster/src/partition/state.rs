//! Where a partition lives and who leads it, as the controller decided.
//!
//! Two sets may lead without loss: the in-sync replicas, and the eligible ones (KIP-966): those that were in sync when
//! the in-sync replicas became fewer than `min.insync.replicas`. From then on nothing counts as safe any more, so
//! that they still hold all that does.

use alloc::vec::Vec;
use base::{BrokerId, LeaderEpoch};

/// The controller's view of one partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionState {
    /// All replicas, the preferred leader first; while they move, those that go stand last.
    pub replicas: Vec<BrokerId>,
    /// Those of them that are new (KIP-455). Once all of these are in sync, the move is done.
    pub adding: Vec<BrokerId>,
    /// Those of them that go then.
    pub removing: Vec<BrokerId>,
    /// The in-sync replicas.
    pub isr: Vec<BrokerId>,
    /// Replicas outside of `isr` that hold all that is safe. Empty unless `isr` is smaller than the minimum.
    pub elr: Vec<BrokerId>,
    /// Who leads; `None` while nobody may.
    pub leader: Option<BrokerId>,
    /// Counts leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts changes of this state.
    pub partition_epoch: i32,
}

/// A leader's wish to have other replicas in sync.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IsrChange {
    /// Who asks.
    pub from: BrokerId,
    /// The epoch in which it leads.
    pub leader_epoch: LeaderEpoch,
    /// The state that it knows.
    pub partition_epoch: i32,
    /// The replicas that shall be in sync, each with the broker epoch in which it was seen (KIP-903).
    pub isr: Vec<(BrokerId, i64)>,
}

/// Why an [`IsrChange`] is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There was an election since: FENCED_LEADER_EPOCH.
    Fenced,
    /// The asker knows of more than this controller: NOT_CONTROLLER.
    Ahead,
    /// The asker knows an earlier state: INVALID_UPDATE_VERSION.
    Outdated,
    /// A replica that may not be in sync: fenced, about to stop, or started anew since: INELIGIBLE_REPLICA.
    Ineligible(BrokerId),
    /// Not a set of replicas that the asker belongs to: INVALID_REQUEST.
    Invalid,
}

impl PartitionState {
    /// A new partition on `replicas`, led by the first, all in sync.
    #[must_use]
    pub fn new(replicas: Vec<BrokerId>) -> Self {
        let leader = replicas.first().copied();
        Self {
            isr: replicas.clone(),
            replicas,
            adding: Vec::new(),
            removing: Vec::new(),
            elr: Vec::new(),
            leader,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
        }
    }

    /// True when `broker` holds a replica.
    #[must_use]
    pub fn is_on(&self, broker: BrokerId) -> bool {
        self.replicas.contains(&broker)
    }

    /// The state after a leader's change of the in-sync replicas. `is_eligible` knows which brokers are unfenced, not
    /// about to stop, and registered with the given epoch (A9, A10).
    ///
    /// # Errors
    /// Any [`Refused`].
    pub fn change_isr(
        &self,
        change: &IsrChange,
        min_isr: usize,
        is_eligible: impl Fn(BrokerId, i64) -> bool,
    ) -> Result<Self, Refused> {
        if change.leader_epoch < self.leader_epoch {
            return Err(Refused::Fenced);
        }
        if change.leader_epoch > self.leader_epoch || change.partition_epoch > self.partition_epoch {
            return Err(Refused::Ahead);
        }
        if self.leader != Some(change.from) {
            return Err(Refused::Invalid);
        }
        if change.partition_epoch < self.partition_epoch {
            return Err(Refused::Outdated);
        }
        let named = |id: BrokerId| change.isr.iter().filter(|(other, _)| *other == id).count() == 1;
        if !named(change.from) || !change.isr.iter().all(|(id, _)| self.is_on(*id) && named(*id)) {
            return Err(Refused::Invalid);
        }
        if let Some((id, _)) = change.isr.iter().find(|(id, epoch)| !is_eligible(*id, *epoch)) {
            return Err(Refused::Ineligible(*id));
        }
        let isr: Vec<_> = change.isr.iter().map(|(id, _)| *id).collect();
        let is_alive = |id: BrokerId| is_eligible(id, -1);
        Ok(self.with_isr(&isr, min_isr).moved_if_done(min_isr, is_alive).counted(self))
    }

    /// The state once `broker` may not lead or be in sync any more: it is fenced or stops. Its log is whole, so that it
    /// stays eligible while others are too few.
    #[must_use]
    pub fn leave(&self, broker: BrokerId, min_isr: usize, is_alive: impl Fn(BrokerId) -> bool) -> Self {
        let rest: Vec<_> = self.isr.iter().copied().filter(|id| *id != broker).collect();
        let mut next = self.with_isr(&rest, min_isr);
        if next.leader == Some(broker) {
            next.leader = None;
        }
        next.elect(min_isr, is_alive).counted(self)
    }

    /// The state once `broker` has come back with a log that may lack what was safe: it is neither in sync nor eligible.
    #[must_use]
    pub fn forget(&self, broker: BrokerId, min_isr: usize, is_alive: impl Fn(BrokerId) -> bool) -> Self {
        let mut next = self.leave(broker, min_isr, is_alive);
        next.elr.retain(|id| *id != broker);
        (next.partition_epoch, next.leader_epoch) = (self.partition_epoch, self.leader_epoch);
        next.counted(self)
    }

    /// The state once somebody has come back: a partition without a leader may have one again.
    #[must_use]
    pub fn revive(&self, min_isr: usize, is_alive: impl Fn(BrokerId) -> bool) -> Self {
        self.clone().elect(min_isr, is_alive).counted(self)
    }

    /// Other in-sync replicas; who was in sync or eligible stays eligible as long as they are too few.
    pub(super) fn with_isr(&self, isr: &[BrokerId], min_isr: usize) -> Self {
        let ordered = |set: &dyn Fn(&BrokerId) -> bool| self.replicas.iter().copied().filter(set).collect();
        let enough = isr.len() >= self.effective(min_isr);
        let was = |id: &BrokerId| (self.isr.contains(id) || self.elr.contains(id)) && self.is_on(*id);
        let elr = if enough { Vec::new() } else { ordered(&|id| was(id) && !isr.contains(id)) };
        Self { isr: ordered(&|id| isr.contains(id)), elr, ..self.clone() }
    }

    /// Finds a leader if there is none: first among those in sync, then among the eligible. Who leads is in sync.
    pub(super) fn elect(mut self, min_isr: usize, is_alive: impl Fn(BrokerId) -> bool) -> Self {
        if self.leader.is_some() {
            return self;
        }
        let first =
            |set: &[BrokerId]| self.replicas.iter().copied().find(|id| set.contains(id) && is_alive(*id));
        if let Some(leader) = first(&self.isr).or_else(|| first(&self.elr)) {
            if !self.isr.contains(&leader) {
                let mut isr = self.isr.clone();
                isr.push(leader);
                self = self.with_isr(&isr, min_isr);
            }
            self.leader = Some(leader);
        }
        self
    }

    /// No more can be asked for than there are.
    fn effective(&self, min_isr: usize) -> usize {
        min_isr.clamp(1, self.replicas.len().max(1))
    }

    /// Counts what differs from `before`: the leader, and the state.
    pub(super) fn counted(mut self, before: &Self) -> Self {
        if self.leader != before.leader {
            self.leader_epoch = LeaderEpoch(before.leader_epoch.0 + 1);
        }
        if self != *before {
            self.partition_epoch = before.partition_epoch + 1;
        }
        self
    }
}
