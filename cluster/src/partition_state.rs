//! Where a partition lives and who leads it, as the controller decided.

use alloc::vec::Vec;
use base::{BrokerId, LeaderEpoch};

/// The controller's view of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// All replicas, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// The in-sync replicas.
    pub isr: Vec<BrokerId>,
    /// Who leads; `None` while nobody may.
    pub leader: Option<BrokerId>,
    /// Counts leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts changes of this state.
    pub partition_epoch: i32,
}

impl PartitionState {
    /// A new partition on `replicas`, led by the first, all in sync.
    #[must_use]
    pub fn new(replicas: Vec<BrokerId>) -> Self {
        let leader = replicas.first().copied();
        Self { isr: replicas.clone(), replicas, leader, leader_epoch: LeaderEpoch(0), partition_epoch: 0 }
    }

    /// True when `broker` holds a replica.
    #[must_use]
    pub fn is_on(&self, broker: BrokerId) -> bool {
        self.replicas.contains(&broker)
    }
}
