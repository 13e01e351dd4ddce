//! Topic keys: Kafka 4.4's names, types and defaults, and which of them have an effect here.

use super::key::{ConfigKey, Effect, Kind, Update, Valid, row};
use super::throttle::{FOLLOWER_THROTTLED_KEY, LEADER_THROTTLED_KEY};

/// Every topic key, sorted by name.
#[rustfmt::skip] // one row per key reads as the table it is
pub(super) const TOPIC_KEYS: &[ConfigKey] = &[
    row("cleanup.policy", Kind::List, Some("delete"), Valid::OneOf(&["compact", "delete"]), Update::Dynamic, Some("log.cleanup.policy"), Effect::Used("What happens to old segments: delete, compact or both; empty keeps everything.")),
    row("compression.gzip.level", Kind::Int, Some("-1"), Valid::Levels { low: 1, high: 9, also: -1 }, Update::Dynamic, Some("compression.gzip.level"), Effect::Used("The gzip level when the broker recompresses.")),
    row("compression.lz4.level", Kind::Int, Some("9"), Valid::Range { low: 1, high: 17 }, Update::Dynamic, Some("compression.lz4.level"), Effect::Used("The lz4 level when the broker recompresses.")),
    row("compression.type", Kind::String, Some("producer"), Valid::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Update::Dynamic, Some("compression.type"), Effect::Used("The codec that batches are stored with; producer keeps what the client chose.")),
    row("compression.zstd.level", Kind::Int, Some("3"), Valid::Range { low: -131072, high: 22 }, Update::Dynamic, Some("compression.zstd.level"), Effect::Used("The zstd level when the broker recompresses.")),
    row("delete.retention.ms", Kind::Long, Some("86400000"), Valid::AtLeast(0), Update::Dynamic, Some("log.cleaner.delete.retention.ms"), Effect::Used("How long a tombstone stays readable after compaction.")),
    row("errors.deadletterqueue.group.enable", Kind::Boolean, Some("false"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("file.delete.delay.ms", Kind::Long, Some("60000"), Valid::AtLeast(0), Update::Dynamic, Some("log.segment.delete.delay.ms"), Effect::Used("How long a deleted segment's file stays on disk.")),
    row("flush.messages", Kind::Long, Some("9223372036854775807"), Valid::AtLeast(1), Update::Dynamic, Some("log.flush.interval.messages"), Effect::Used("Durability: 1 acknowledges only what is flushed to disk, the maximum only what the in-sync replicas have in memory.")),
    row("flush.ms", Kind::Long, Some("9223372036854775807"), Valid::AtLeast(0), Update::Dynamic, Some("log.flush.interval.ms"), Effect::None),
    row(FOLLOWER_THROTTLED_KEY, Kind::List, Some(""), Valid::Replicas, Update::Dynamic, None, Effect::Used("Replicas that fetch no faster than their broker's `follower.replication.throttled.rate` while they are out of sync, as PARTITION:BROKER,…, or `*`.")),
    row("index.interval.bytes", Kind::Int, Some("4096"), Valid::AtLeast(0), Update::Dynamic, Some("log.index.interval.bytes"), Effect::Used("Bytes of records between two entries of the offset index.")),
    row(LEADER_THROTTLED_KEY, Kind::List, Some(""), Valid::Replicas, Update::Dynamic, None, Effect::Used("Replicas whose broker, where it leads, hands them to others out of sync no faster than its `leader.replication.throttled.rate`, as PARTITION:BROKER,…, or `*`.")),
    row("local.retention.bytes", Kind::Long, Some("-2"), Valid::AtLeast(-2), Update::Dynamic, Some("log.local.retention.bytes"), Effect::None),
    row("local.retention.ms", Kind::Long, Some("-2"), Valid::AtLeast(-2), Update::Dynamic, Some("log.local.retention.ms"), Effect::None),
    row("max.compaction.lag.ms", Kind::Long, Some("9223372036854775807"), Valid::AtLeast(1), Update::Dynamic, Some("log.cleaner.max.compaction.lag.ms"), Effect::Used("How old a record of a compacted topic gets before it is compacted whatever else.")),
    row("max.decompressed.message.bytes", Kind::Int, Some("2147483639"), Valid::AtLeast(1), Update::Dynamic, Some("max.decompressed.message.bytes"), Effect::Used("The most that one compressed batch may expand to when the broker has to look inside.")),
    row("max.message.bytes", Kind::Int, Some("1048588"), Valid::AtLeast(0), Update::Dynamic, Some("message.max.bytes"), Effect::Used("The largest record batch that is accepted.")),
    row("message.timestamp.after.max.ms", Kind::Long, Some("3600000"), Valid::AtLeast(0), Update::Dynamic, Some("log.message.timestamp.after.max.ms"), Effect::Used("How far after the broker's clock a record's timestamp may lie.")),
    row("message.timestamp.before.max.ms", Kind::Long, Some("9223372036854775807"), Valid::AtLeast(0), Update::Dynamic, Some("log.message.timestamp.before.max.ms"), Effect::Used("How far before the broker's clock a record's timestamp may lie.")),
    row("message.timestamp.type", Kind::String, Some("CreateTime"), Valid::OneOf(&["CreateTime", "LogAppendTime"]), Update::Dynamic, Some("log.message.timestamp.type"), Effect::Used("Whose clock stamps records: the producer's (CreateTime) or the broker's (LogAppendTime).")),
    row("min.cleanable.dirty.ratio", Kind::Double, Some("0.5"), Valid::Any, Update::Dynamic, Some("log.cleaner.min.cleanable.ratio"), Effect::Used("How much of a compacted partition must be new before it is compacted again, in whole percent.")),
    row("min.compaction.lag.ms", Kind::Long, Some("0"), Valid::AtLeast(0), Update::Dynamic, Some("log.cleaner.min.compaction.lag.ms"), Effect::Used("How long a record of a compacted topic stays as it is.")),
    row("min.insync.replicas", Kind::Int, Some("1"), Valid::AtLeast(1), Update::Dynamic, Some("min.insync.replicas"), Effect::Used("How many in-sync replicas acks=all needs.")),
    row("preallocate", Kind::Boolean, Some("false"), Valid::Any, Update::Dynamic, Some("log.preallocate"), Effect::None),
    row("remote.copy.lag.bytes", Kind::Long, Some("-1"), Valid::Any, Update::Dynamic, Some("log.remote.copy.lag.bytes"), Effect::None),
    row("remote.copy.lag.ms", Kind::Long, Some("0"), Valid::Any, Update::Dynamic, Some("log.remote.copy.lag.ms"), Effect::None),
    row("remote.log.copy.disable", Kind::Boolean, Some("false"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("remote.log.delete.on.disable", Kind::Boolean, Some("false"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("remote.storage.enable", Kind::Boolean, Some("false"), Valid::Any, Update::Dynamic, None, Effect::None),
    row("retention.bytes", Kind::Long, Some("-1"), Valid::Any, Update::Dynamic, Some("log.retention.bytes"), Effect::Used("How many bytes of a partition are kept; −1 for no limit.")),
    row("retention.ms", Kind::Long, Some("604800000"), Valid::AtLeast(-1), Update::Dynamic, Some("log.retention.ms"), Effect::Used("How long records are kept; −1 for ever.")),
    row("segment.bytes", Kind::Int, Some("1073741824"), Valid::AtLeast(1048576), Update::Dynamic, Some("log.segment.bytes"), Effect::Used("The size at which a segment is closed and the next begun.")),
    row("segment.index.bytes", Kind::Int, Some("10485760"), Valid::AtLeast(4), Update::Dynamic, Some("log.index.size.max.bytes"), Effect::Used("The largest index of a segment.")),
    row("segment.jitter.ms", Kind::Long, Some("0"), Valid::AtLeast(0), Update::Dynamic, Some("log.roll.jitter.ms"), Effect::Used("The most that is subtracted at random from the roll age.")),
    row("segment.ms", Kind::Long, Some("604800000"), Valid::AtLeast(1), Update::Dynamic, Some("log.roll.ms"), Effect::Used("The age at which a segment is closed.")),
    row("unclean.leader.election.enable", Kind::Boolean, Some("false"), Valid::Any, Update::Dynamic, Some("unclean.leader.election.enable"), Effect::Used("Whether a replica outside the in-sync set may lead when no other can.")),
];
