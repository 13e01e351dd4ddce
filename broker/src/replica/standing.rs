//! Where a replica stands, for whoever compares all replicas of a cluster with each other: the simulator's oracle.

use super::Replica;
use super::role::Role;
use base::{EndOffset, LeaderEpoch};
use cluster::config::Durability;

/// Where a replica stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The leader epoch in which it has a role; `None` before its process is known to the controller.
    pub epoch: Option<LeaderEpoch>,
    /// It leads in that epoch.
    pub leads: bool,
    /// Where its log begins.
    pub start: EndOffset,
    /// Where its log ends.
    pub end: EndOffset,
    /// The end of what is on its disk.
    pub flushed: EndOffset,
    /// The end of what it takes for safe.
    pub high_watermark: EndOffset,
    /// Where a record has to be before it counts as safe.
    pub durability: Durability,
}

impl Replica {
    /// Where it stands; `None` once the partition is gone.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        let inner = self.inner();
        let epoch = inner.role.epoch()?;
        Some(Standing {
            epoch: (epoch != LeaderEpoch::UNKNOWN).then_some(epoch),
            leads: matches!(inner.role, Role::Leads(_)),
            start: inner.log.start(),
            end: inner.log.end(),
            flushed: inner.log.flushed(),
            high_watermark: inner.role.high_watermark(),
            durability: inner.config.durability,
        })
    }

    /// The epoch in which the record at `offset` was written, as far as is known.
    #[must_use]
    pub fn epoch_at(&self, offset: EndOffset) -> Option<LeaderEpoch> {
        self.inner().log.epochs().epoch_of(offset)
    }
}
