//! The config table: Kafka's keys, types, defaults and scopes; the only place that knows key strings.
//!
//! Everything else receives a typed struct ([`TopicConfig`], [`NodeConfig`]) that was built here once.

mod broker_keys_a;
mod broker_keys_z;
mod broker_quota_keys;
mod connections;
mod group_keys;
mod key;
mod layers;
mod listeners;
mod node;
mod throttle;
mod topic;
mod topic_keys;

pub use connections::ConnectionLimits;
pub use key::{ConfigError, ConfigKey, Effect, Kind, Update, Valid, items};
pub use layers::{Described, Layers, Overrides, Source, Synonym};
pub use node::{Listener, NodeConfig, Roles, Voter};
pub use throttle::{
    FOLLOWER_RATE_KEY, FOLLOWER_THROTTLED_KEY, LEADER_RATE_KEY, LEADER_THROTTLED_KEY, ThrottleRates,
    Throttled,
};
pub use topic::{Cleanup, Compression, Durability, TimestampType, TopicConfig};

use alloc::format;

/// The key that sets the durability of topics that do not choose their own: `flushed` or `replicated`.
pub const DURABILITY_KEY: &str = "ottla.durability";

/// The key that keeps new replicas away from a broker (KIP-1066).
pub const CORDON_KEY: &str = "cordoned.log.dirs";

/// Whether the settings of a broker keep new replicas away from it.
pub(crate) fn is_cordoned(set: &Overrides) -> bool {
    set.get(CORDON_KEY).is_some_and(|dirs| !dirs.trim().is_empty())
}

/// The switch of the plan that moves replicas and preferred leaders to brokers that have fewer.
pub const BALANCER_KEY: &str = "ottla.balancer.enable";

/// Whether it is on.
pub(crate) fn is_balanced(layers: &Layers<'_>) -> bool {
    layers.broker_value(BALANCER_KEY).0.is_some_and(|value| value.trim() == "true")
}

/// Where our default is not Kafka's: the key, Kafka's default, and why.
pub const OWN_DEFAULTS: &[(&str, &str, &str)] = &[
    ("controller.listener.names", "none", "A node needs no file."),
    ("listeners", "PLAINTEXT://:9092", "A node that nobody has configured is there for its own machine."),
    ("max.connections", "2147483647", "Who is refused knows why; who meets an exhausted machine does not."),
    (
        "max.connections.per.ip",
        "2147483647",
        "One client cannot take the place of all; loopback is not counted.",
    ),
    ("node.id", "none", "A node needs no file."),
    ("process.roles", "none", "A node needs no file."),
    ("queued.max.request.bytes", "-1", "Memory has an end, whatever clients send."),
];

/// What kind of thing a config belongs to; the numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// A topic, by name.
    Topic = 2,
    /// A broker by id, or all brokers when the name is empty.
    Broker = 4,
    /// The log levels of a broker.
    BrokerLogger = 8,
    /// Metrics that clients push.
    ClientMetrics = 16,
    /// A group, by id.
    Group = 32,
}

impl ResourceKind {
    /// The kind of a wire number.
    #[must_use]
    pub const fn from_wire(kind: i8) -> Option<Self> {
        match kind {
            2 => Some(Self::Topic),
            4 => Some(Self::Broker),
            8 => Some(Self::BrokerLogger),
            16 => Some(Self::ClientMetrics),
            32 => Some(Self::Group),
            _ => None,
        }
    }
}

/// Every topic key.
pub fn topic_keys() -> impl Iterator<Item = &'static ConfigKey> {
    topic_keys::TOPIC_KEYS.iter()
}

/// Every broker key, our own last.
pub fn broker_keys() -> impl Iterator<Item = &'static ConfigKey> {
    let kafkas = broker_keys_a::BROKER_KEYS_A.iter().chain(broker_keys_z::BROKER_KEYS_Z);
    kafkas.chain(broker_quota_keys::BROKER_QUOTA_KEYS).chain(node::OWN_KEYS)
}

/// True for a broker key that is not described where nobody has set it.
#[must_use]
pub fn is_hidden_unset(key: &ConfigKey) -> bool {
    broker_quota_keys::BROKER_QUOTA_KEYS.iter().any(|quota| quota.name == key.name)
}

/// Every group key.
pub fn group_keys() -> impl Iterator<Item = &'static ConfigKey> {
    group_keys::GROUP_KEYS.iter()
}

/// The topic key of this name.
#[must_use]
pub fn topic_key(name: &str) -> Option<&'static ConfigKey> {
    topic_keys().find(|key| key.name == name)
}

/// The broker key of this name.
#[must_use]
pub fn broker_key(name: &str) -> Option<&'static ConfigKey> {
    broker_keys().find(|key| key.name == name)
}

/// Checks one topic override.
///
/// # Errors
/// For an unknown key (naming the nearest known one) or a value that does not fit.
pub fn check_topic(name: &str, value: &str) -> Result<(), ConfigError> {
    match topic_key(name) {
        Some(key) => key.check(value),
        None => Err(unknown("topic", name, topic_keys())),
    }
}

/// Checks one broker setting.
///
/// # Errors
/// For an unknown key (naming the nearest known one) or a value that does not fit.
pub fn check_broker(name: &str, value: &str) -> Result<(), ConfigError> {
    match broker_key(name) {
        Some(key) => key.check(value),
        None => Err(unknown("broker", name, broker_keys())),
    }
}

fn unknown(what: &str, name: &str, keys: impl Iterator<Item = &'static ConfigKey>) -> ConfigError {
    let nearest = keys.min_by_key(|key| distance(name, key.name)).map_or("", |key| key.name);
    ConfigError(format!("Unknown {what} config name: {name}. Did you mean {nearest}?"))
}

/// How many insertions, deletions and replacements turn one name into the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: alloc::vec::Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
