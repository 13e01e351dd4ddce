//! What a topic's configuration means for its logs.

use base::Span;
use wire::record::TimestampType;

/// Kafka's default of `index.interval.bytes`.
pub(crate) const INDEX_INTERVAL_DEFAULT: u32 = 4096;

/// The settings of one log. Names and defaults are those of Kafka's topic configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`, at most 2³¹−1.
    pub segment_bytes: u32,
    /// `segment.ms`.
    pub segment_time: Span,
    /// `segment.index.bytes`.
    pub index_bytes_max: u32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`: of one batch, from a client.
    pub message_bytes_max: u32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `retention.ms`; `None` for no limit.
    pub retention_time: Option<Span>,
    /// `retention.bytes`; `None` for no limit.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy` contains `delete`.
    pub deletes: bool,
    /// `cleanup.policy` contains `compact`.
    pub compacts: bool,
    /// `delete.retention.ms`: how long a tombstone can be read after compaction first met it.
    pub delete_retention: Span,
    /// `min.compaction.lag.ms`.
    pub compaction_lag_min: Span,
    /// `max.compaction.lag.ms`.
    pub compaction_lag_max: Span,
    /// `min.cleanable.dirty.ratio` in percent.
    pub dirty_percent_min: u32,
    /// `producer.id.expiration.ms`.
    pub producer_expiration: Span,
    /// Bytes after which a checkpoint is due.
    pub checkpoint_bytes: u64,
    /// Time after which a checkpoint is due if anything was written.
    pub checkpoint_time: Span,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_time: Span::from_secs(7 * 24 * 3600),
            index_bytes_max: 10 << 20,
            index_interval_bytes: INDEX_INTERVAL_DEFAULT,
            message_bytes_max: (1 << 20) + 12,
            timestamp_type: TimestampType::CreateTime,
            retention_time: Some(Span::from_secs(7 * 24 * 3600)),
            retention_bytes: None,
            deletes: true,
            compacts: false,
            delete_retention: Span::from_secs(24 * 3600),
            compaction_lag_min: Span::ZERO,
            compaction_lag_max: Span::MAX,
            dirty_percent_min: 50,
            producer_expiration: Span::from_secs(24 * 3600),
            checkpoint_bytes: 64 << 20,
            checkpoint_time: Span::from_secs(5),
        }
    }
}
