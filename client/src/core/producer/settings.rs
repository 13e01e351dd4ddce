//! What a producer can be told.

use crate::core::Address;
use crate::core::cluster::ClusterSettings;
use base::Span;
use codec::Codec;

/// When a record counts as delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// When it is sent.
    None,
    /// When the leader has it.
    Leader,
    /// When all replicas in sync have it.
    #[default]
    All,
}

impl Acks {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How a producer works. The names are Kafka's; see each for its key.
#[derive(Clone, Debug)]
pub struct ProducerSettings {
    /// How to connect.
    pub cluster: ClusterSettings,
    /// `acks`.
    pub acks: Acks,
    /// `enable.idempotence`; without acks=all it has no effect.
    pub idempotence: bool,
    /// `linger.ms`: how long a batch may wait for more records.
    pub linger: Span,
    /// `batch.size`: bytes of a full batch before compression. Larger records get batches of their own.
    pub batch_bytes: usize,
    /// `max.request.size`, for records and, together, for the batches of one request.
    pub request_bytes_max: usize,
    /// `buffer.memory`: bytes of records without an outcome.
    pub buffer_bytes: usize,
    /// `compression.type`.
    pub codec: Codec,
    /// `compression.CODEC.level`; `None` is Kafka's default.
    pub level: Option<i32>,
    /// `delivery.timeout.ms`: from acceptance to the last attempt.
    pub delivery_timeout: Span,
    /// `max.block.ms`: how long a record waits for its topic to be known.
    pub metadata_timeout: Span,
}

impl ProducerSettings {
    /// Kafka's defaults for a client of these brokers.
    #[must_use]
    pub fn new(bootstrap: Vec<Address>) -> Self {
        Self {
            cluster: ClusterSettings::new(bootstrap),
            acks: Acks::All,
            idempotence: true,
            linger: Span::from_millis(5),
            batch_bytes: 16 << 10,
            request_bytes_max: 1 << 20,
            buffer_bytes: 32 << 20,
            codec: Codec::None,
            level: None,
            delivery_timeout: Span::from_secs(120),
            metadata_timeout: Span::from_secs(60),
        }
    }

    pub(super) fn is_idempotent(&self) -> bool {
        self.idempotence && self.acks == Acks::All
    }
}
