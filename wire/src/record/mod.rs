//! Record batch format v2 (KIP-98): header, checksum, walking batches and records, building batches.
//!
//! Reading borrows and is bounded by the bytes present; nothing here trusts a length or a count before it has
//! been compared with them. Compression is not done here: a compressed payload is opaque, and whoever
//! decompresses it hands the plain bytes to [`Records`]. Formats older than v2 are refused, as Kafka 4 does
//! (KIP-896).

mod attributes;
mod build;
mod check;
mod control;
mod crc;
mod error;
mod header;
mod stamp;
mod varint;
mod walk;

#[cfg(test)]
mod tests;

pub use attributes::{Attributes, Compression, TimestampType};
pub use build::{BatchBuilder, BatchMeta, RecordFields};
pub use check::{Batches, CheckedBatches, CheckedIter, parse_batches};
pub use control::{EndTxn, EndTxnMarker};
pub use crc::{Crc32c, crc32c, crc32c_after_prefix_change};
pub use error::{BatchError, RecordError};
pub use header::{Batch, BatchHeader};
pub use stamp::stamp_log_append_time;
pub use walk::{HEADERS_MAX, Headers, Record, RecordHeader, Records};

/// Bytes of a v2 batch before its records.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the part that `batch_length` counts: base offset and the length itself.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// Where the checksummed part of a batch begins: at the attributes.
pub const CRC_START: usize = 21;
/// The only record format this platform stores or serves.
pub const MAGIC_V2: i8 = 2;
/// Kafka's "no producer id".
pub const NO_PRODUCER_ID: i64 = -1;
/// Kafka's "no producer epoch".
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// Kafka's "no sequence".
pub const NO_SEQUENCE: i32 = -1;
/// Kafka's "no timestamp".
pub const NO_TIMESTAMP: i64 = -1;

/// The least a record can take: seven one-byte fields.
pub(crate) const RECORD_BYTES_MIN: usize = 7;

const _: () = assert!(LENGTH_PREFIX_BYTES < CRC_START && CRC_START < HEADER_BYTES);
