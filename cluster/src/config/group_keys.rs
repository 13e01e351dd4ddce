//! Group keys: Kafka 4.4's names, types and defaults.

use super::key::{ConfigKey, Effect, Kind, Update, Valid, row};

/// Every group key, sorted by name.
#[rustfmt::skip] // one row per key reads as the table it is
pub(super) const GROUP_KEYS: &[ConfigKey] = &[
    row("consumer.assignment.interval.ms", Kind::Int, Some("1000"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("consumer.heartbeat.interval.ms", Kind::Int, Some("5000"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("consumer.session.timeout.ms", Kind::Int, Some("45000"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("errors.deadletterqueue.copy.record.enable", Kind::Boolean, Some("false"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("errors.deadletterqueue.topic.name", Kind::String, Some(""), Valid::Any, Update::Dynamic, None, Effect::None),
    row("share.assignment.interval.ms", Kind::Int, Some("1000"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("share.auto.offset.reset", Kind::String, Some("latest"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("share.delivery.count.limit", Kind::Int, Some("5"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("share.heartbeat.interval.ms", Kind::Int, Some("5000"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("share.isolation.level", Kind::String, Some("read_uncommitted"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("share.partition.max.record.locks", Kind::Int, Some("2000"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("share.record.lock.duration.ms", Kind::Int, Some("30000"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("share.renew.acknowledge.enable", Kind::Boolean, Some("true"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("share.session.timeout.ms", Kind::Int, Some("45000"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("streams.assignment.interval.ms", Kind::Int, Some("1000"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("streams.assignor.name", Kind::String, Some("sticky"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("streams.heartbeat.interval.ms", Kind::Int, Some("5000"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("streams.initial.rebalance.delay.ms", Kind::Int, Some("3000"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("streams.num.standby.replicas", Kind::Int, Some("0"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("streams.rack.aware.assignment.tags", Kind::List, Some(""), Valid::Any, Update::Dynamic, None, Effect::None),
    row("streams.session.timeout.ms", Kind::Int, Some("45000"), Valid::Any, Update::Dynamic, None, Effect::None),
];
