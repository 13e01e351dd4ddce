//! A topic's settings as the broker uses them: built once per change, passed by reference, no strings inside.

use super::key::items;
use super::layers::{Layers, Overrides};
use super::throttle::{FOLLOWER_THROTTLED_KEY, LEADER_THROTTLED_KEY, Throttled};
use alloc::borrow::Cow;
use base::Span;

/// When a record counts as safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// On the disks of the in-sync replicas: survives the power failing everywhere at once.
    Flushed,
    /// In the memory of the in-sync replicas, as Kafka does.
    Replicated,
}

/// What happens to old segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanup {
    /// Deleted by age and size.
    pub delete: bool,
    /// Reduced to the latest record of each key.
    pub compact: bool,
}

/// What batches are stored with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Whatever the client chose.
    Producer,
    /// A codec of the broker's own: the number is Kafka's attribute (0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd).
    Fixed {
        /// Kafka's number of the codec.
        codec: u8,
        /// The level, where the codec has one.
        level: Option<i32>,
    },
}

/// Whose clock stamps records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, at append.
    LogAppendTime,
}

/// All settings of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// When a record counts as safe.
    pub durability: Durability,
    /// What happens to old segments.
    pub cleanup: Cleanup,
    /// What batches are stored with.
    pub compression: Compression,
    /// Whose clock stamps records.
    pub timestamp_type: TimestampType,
    /// How far a record's timestamp may lie before the broker's clock; `None` for no limit.
    pub timestamp_before_max: Option<Span>,
    /// How far a record's timestamp may lie after the broker's clock; `None` for no limit.
    pub timestamp_after_max: Option<Span>,
    /// The largest batch in bytes, its header included.
    pub max_message_bytes: u32,
    /// The most that a batch may expand to, in bytes.
    pub max_decompressed_bytes: u32,
    /// How many in-sync replicas acks=all needs.
    pub min_insync_replicas: u32,
    /// How long records are kept; `None` for ever.
    pub retention: Option<Span>,
    /// How many bytes of a partition are kept; `None` for all.
    pub retention_bytes: Option<u64>,
    /// The size at which a segment is closed.
    pub segment_bytes: u32,
    /// The age at which a segment is closed.
    pub segment_age: Span,
    /// The most that is taken off that age at random.
    pub segment_jitter: Span,
    /// Bytes between two index entries.
    pub index_interval_bytes: u32,
    /// The largest index of a segment, in bytes.
    pub segment_index_bytes: u32,
    /// How long a deleted segment's file stays.
    pub file_delete_delay: Span,
    /// How long a tombstone stays readable after compaction.
    pub delete_retention: Span,
    /// How young a record is not compacted yet.
    pub compaction_lag_min: Span,
    /// How old a record is compacted whatever else.
    pub compaction_lag_max: Span,
    /// How much of a partition is not compacted yet, in percent, before it is compacted.
    pub dirty_percent_min: u32,
    /// Whether a replica outside the in-sync set may lead when no other can.
    pub unclean_leader_election: bool,
    /// What its leaders hand to replicas out of sync no faster than they may.
    pub leader_throttled: Throttled,
    /// Who fetches no faster than it may while it is out of sync.
    pub follower_throttled: Throttled,
}

impl TopicConfig {
    /// The settings of a topic with these overrides on a node with these layers. Values were checked when
    /// they were set; one that slipped through falls back to the key's default.
    #[must_use]
    pub fn resolve(layers: &Layers<'_>, topic: &Overrides) -> Self {
        let get = Getter { layers, topic };
        Self {
            durability: get.durability(),
            cleanup: get.cleanup(),
            compression: get.compression(),
            timestamp_type: get.timestamp_type(),
            timestamp_before_max: get.limit("message.timestamp.before.max.ms"),
            timestamp_after_max: get.limit("message.timestamp.after.max.ms"),
            max_message_bytes: get.unsigned("max.message.bytes"),
            max_decompressed_bytes: get.unsigned("max.decompressed.message.bytes"),
            min_insync_replicas: get.unsigned("min.insync.replicas"),
            retention: get.limit("retention.ms"),
            retention_bytes: u64::try_from(get.number("retention.bytes")).ok(),
            segment_bytes: get.unsigned("segment.bytes"),
            segment_age: get.span("segment.ms"),
            segment_jitter: get.span("segment.jitter.ms"),
            index_interval_bytes: get.unsigned("index.interval.bytes"),
            segment_index_bytes: get.unsigned("segment.index.bytes"),
            file_delete_delay: get.span("file.delete.delay.ms"),
            delete_retention: get.span("delete.retention.ms"),
            compaction_lag_min: get.span("min.compaction.lag.ms"),
            compaction_lag_max: get.span("max.compaction.lag.ms"),
            dirty_percent_min: get.percent("min.cleanable.dirty.ratio"),
            unclean_leader_election: get.text("unclean.leader.election.enable") == "true",
            leader_throttled: Throttled::parse(&get.text(LEADER_THROTTLED_KEY)),
            follower_throttled: Throttled::parse(&get.text(FOLLOWER_THROTTLED_KEY)),
        }
    }
}

struct Getter<'a> {
    layers: &'a Layers<'a>,
    topic: &'a Overrides,
}

impl<'a> Getter<'a> {
    fn text(&self, name: &str) -> Cow<'a, str> {
        self.layers.topic_value(self.topic, name).0.unwrap_or_default()
    }

    fn number(&self, name: &str) -> i64 {
        let fallback = || super::topic_key(name).and_then(|key| key.default?.parse().ok()).unwrap_or(0);
        self.text(name).trim().parse().unwrap_or_else(|_| fallback())
    }

    /// A ratio between zero and one in whole percent.
    fn percent(&self, name: &str) -> u32 {
        let text = self.text(name);
        let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        let part: alloc::string::String = part.chars().chain("00".chars()).take(2).collect();
        match (whole.parse::<u32>(), part.parse::<u32>()) {
            (Ok(whole), Ok(part)) => (whole.saturating_mul(100).saturating_add(part)).min(100),
            _ => 50,
        }
    }

    fn unsigned(&self, name: &str) -> u32 {
        u32::try_from(self.number(name)).unwrap_or(0)
    }

    fn span(&self, name: &str) -> Span {
        Span::from_wire_millis(self.number(name))
    }

    /// Negative and Kafka's maximum both mean "no limit".
    fn limit(&self, name: &str) -> Option<Span> {
        let millis = self.number(name);
        (0..i64::MAX).contains(&millis).then(|| Span::from_wire_millis(millis))
    }

    fn durability(&self) -> Durability {
        // Kafka's key counts records between flushes. Anything short of its maximum asks for a flush, and we
        // flush before every acknowledgement.
        if self.number("flush.messages") == i64::MAX { Durability::Replicated } else { Durability::Flushed }
    }

    fn cleanup(&self) -> Cleanup {
        let text = self.text("cleanup.policy");
        let has = |word| items(&text).any(|item| item == word);
        Cleanup { delete: has("delete"), compact: has("compact") }
    }

    fn timestamp_type(&self) -> TimestampType {
        if self.text("message.timestamp.type") == "LogAppendTime" {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    fn compression(&self) -> Compression {
        let level = |name| i32::try_from(self.number(name)).ok();
        let (codec, level) = match self.text("compression.type").trim() {
            "uncompressed" => (0, None),
            "gzip" => (1, level("compression.gzip.level")),
            "snappy" => (2, None),
            "lz4" => (3, level("compression.lz4.level")),
            "zstd" => (4, level("compression.zstd.level")),
            _ => return Compression::Producer,
        };
        Compression::Fixed { codec, level }
    }
}
