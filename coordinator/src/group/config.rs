//! What an operator can choose about groups.

use base::Span;

/// The settings of the group machine. Keys and defaults are Kafka's; parsing them is the config table's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`
    pub session_timeout_min: Span,
    /// `group.max.session.timeout.ms`
    pub session_timeout_max: Span,
    /// `group.initial.rebalance.delay.ms`: how long the first rebalance of an empty group waits for company.
    pub initial_rebalance_delay: Span,
    /// How long a new member may wait in its first join. Kafka has no public key for it.
    pub new_member_join_timeout: Span,
    /// `group.max.size`: members per group.
    pub size_max: usize,
    /// Members per group that were given an id and have not joined with it yet. Kafka has no such bound.
    pub pending_max: usize,
    /// `offset.metadata.max.bytes`, which Kafka counts in UTF-16 units.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`
    pub offsets_retention: Span,
    /// What one decision may append, in bytes: `max.message.bytes` of the offsets topic less the overhead of
    /// a batch. A larger assignment is refused before anything is decided.
    pub append_bytes_max: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_min: Span::from_secs(6),
            session_timeout_max: Span::from_secs(1_800),
            initial_rebalance_delay: Span::from_secs(3),
            new_member_join_timeout: Span::from_secs(300),
            size_max: 0x7fff_ffff,
            pending_max: 10_000,
            offset_metadata_max: 4_096,
            offsets_retention: Span::from_secs(7 * 24 * 3_600),
            append_bytes_max: 1_048_588 - 1_024,
        }
    }
}
