//! One partition on disk: segments, indexes, checkpoint and snapshot files, recovery, retention, compaction.
//!
//! Synchronous over the small trait [`disk::Disk`], in Apache Kafka's file formats. Speaks bytes, offsets and
//! epochs; knows nothing of requests, replicas or sockets, reads no clock and starts no thread: slow work is
//! handed out as job values that somebody else runs.

mod compact;
pub mod dir;
pub mod disk;
pub mod durable;
mod epochs;
mod index;
mod log;
mod names;
pub mod producer;
mod scan;
mod segment;
pub mod text;

pub use compact::{CompactError, Compacted, CompactionJob};
pub use epochs::{EpochCache, EpochEnd};
pub use index::TimePoint;
pub use log::{
    AppendError, Appended, CheckpointDone, CheckpointJob, DeleteJob, Log, LogConfig, LogDamage, OpenLogError,
    OpenReport, Origin, ReadError, ReadSlice, RecordCodec, RemoveJob, SwapJob, TimeHit, Truncation,
    Unsettled,
};
pub use names::PartitionName;
pub use scan::Damage;
pub use text::EpochStart;
