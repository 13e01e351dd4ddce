//! One partition on disk: segments, indexes, checkpoint and snapshot files, recovery, retention, compaction.
//!
//! Synchronous over the small trait [`disk::Disk`], in Apache Kafka's file formats. Speaks bytes, offsets and
//! epochs; knows nothing of requests, replicas or sockets, reads no clock and starts no thread: slow work is
//! handed out as job values that somebody else runs.
#![forbid(unsafe_code)]

pub mod disk;
pub mod durable;
mod epochs;
mod names;
pub mod producer;
pub mod text;

pub use epochs::{EpochCache, EpochEnd};
pub use names::PartitionName;
pub use text::EpochStart;
