//! What is copied no faster than an operator allows (KIP-73): which replicas, and how many bytes a second.

use super::key::{items, replica};
use super::layers::{Layers, Overrides};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{BrokerId, PartitionIndex};

/// The most bytes that a broker hands to replicas out of sync in a second.
pub const LEADER_RATE_KEY: &str = "leader.replication.throttled.rate";
/// The most bytes that a broker fetches in a second while it is out of sync.
pub const FOLLOWER_RATE_KEY: &str = "follower.replication.throttled.rate";
/// The replicas that leaders hold back.
pub const LEADER_THROTTLED_KEY: &str = "leader.replication.throttled.replicas";
/// The replicas that hold themselves back.
pub const FOLLOWER_THROTTLED_KEY: &str = "follower.replication.throttled.replicas";

/// Replicas of a topic that are throttled in one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Throttled {
    /// None of them.
    #[default]
    Nobody,
    /// All of them.
    All,
    /// These, in order: the partition, and the broker that is held back.
    These(Arc<[(PartitionIndex, BrokerId)]>),
}

impl Throttled {
    /// What a value of the key says; items that say nothing are left out.
    pub(super) fn parse(text: &str) -> Self {
        if text.trim() == "*" {
            return Self::All;
        }
        let mut these: Vec<_> = items(text).filter_map(replica).collect();
        these.sort_unstable();
        if these.is_empty() { Self::Nobody } else { Self::These(these.into()) }
    }

    /// The followers that a topic with these overrides throttles.
    #[must_use]
    pub fn of_followers(topic: &Overrides) -> Self {
        topic.get(FOLLOWER_THROTTLED_KEY).map_or(Self::Nobody, |text| Self::parse(text))
    }

    /// Whether a broker is held back at a partition.
    #[must_use]
    pub fn holds(&self, index: PartitionIndex, broker: BrokerId) -> bool {
        match self {
            Self::Nobody => false,
            Self::All => true,
            Self::These(these) => these.binary_search(&(index, broker)).is_ok(),
        }
    }
}

/// How many bytes a second a broker copies of throttled replicas that are out of sync; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottleRates {
    /// Hands out.
    pub leader: Option<u64>,
    /// Fetches.
    pub follower: Option<u64>,
}

impl ThrottleRates {
    /// The rates with these layers.
    #[must_use]
    pub fn resolve(layers: &Layers<'_>) -> Self {
        let rate = |name| {
            let value: Option<i64> = layers.broker_value(name).0.and_then(|text| text.trim().parse().ok());
            value.filter(|rate| *rate < i64::MAX).and_then(|rate| u64::try_from(rate).ok())
        };
        Self { leader: rate(LEADER_RATE_KEY), follower: rate(FOLLOWER_RATE_KEY) }
    }
}
