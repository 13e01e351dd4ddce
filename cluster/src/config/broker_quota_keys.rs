//! Broker keys that exist only while somebody has set them: rates that Kafka's tools set and remove again.

use super::key::{ConfigKey, Effect, Kind, Update, Valid, row};
use super::throttle::{FOLLOWER_RATE_KEY, LEADER_RATE_KEY};

/// They are described only where they are set, as Kafka does.
#[rustfmt::skip] // one row per key reads as the table it is
pub(super) const BROKER_QUOTA_KEYS: &[ConfigKey] = &[
    row(FOLLOWER_RATE_KEY, Kind::Long, Some("9223372036854775807"), Valid::AtLeast(0), Update::Dynamic, None, Effect::Used("The most bytes a second that the node fetches of replicas in `follower.replication.throttled.replicas` while they are out of sync (KIP-73).")),
    row(LEADER_RATE_KEY, Kind::Long, Some("9223372036854775807"), Valid::AtLeast(0), Update::Dynamic, None, Effect::Used("The most bytes a second that the node hands to replicas out of sync of what is in `leader.replication.throttled.replicas` (KIP-73).")),
    row("replica.alter.log.dirs.io.max.bytes.per.second", Kind::Long, Some("9223372036854775807"), Valid::AtLeast(0), Update::Dynamic, None, Effect::None),
];
