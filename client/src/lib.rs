//! A client for Apache Kafka and everything that speaks its protocol: producer, consumer, admin.
//!
//! [`core`] is the whole client without I/O, for simulators and for other runtimes; the rest of the crate is a
//! thin tokio shell around it. Nothing here knows of any particular broker.
#![forbid(unsafe_code)]

pub mod core;
#[cfg(feature = "tokio")]
mod shell;

pub use crate::core::consumer::{
    Assignor, ConsumeError, ConsumerEvent, ConsumerRecord, ConsumerSettings, GroupSettings, Isolation,
    OffsetReset, Seek, TopicPartition,
};
pub use crate::core::partitioner::{PartitionChoice, Partitioner};
pub use crate::core::producer::{
    Acks, Delivered, Header, ProduceError, ProducerRecord, ProducerSettings, SendError,
};
pub use crate::core::{Address, CallError, ClusterSettings};
pub use codec::{Codec, CodecError};
#[cfg(feature = "tokio")]
pub use shell::*;
pub use wire::{ErrorCode, Str};

/// Compresses the records of a batch at Kafka's default level, for those who build batches themselves.
///
/// # Errors
/// When memory runs out inside the compressor.
pub fn compress(codec: Codec, payload: &[u8]) -> Result<Vec<u8>, CodecError> {
    codec::compress(codec, None, payload)
}
