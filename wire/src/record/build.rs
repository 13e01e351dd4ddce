//! Building batches: by the client's producer, by coordinators, by the cleaner.

use super::attributes::{Attributes, Compression, TimestampType};
use super::crc::crc32c;
use super::header::BatchHeader;
use super::varint::{put_varlong, varlong_bytes};
use super::walk::RecordHeader;
use super::{
    CRC_START, HEADER_BYTES, LENGTH_PREFIX_BYTES, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE,
    NO_TIMESTAMP,
};
use alloc::vec::Vec;

/// What a batch says of itself besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMeta {
    /// Offset of the first record; zero in what a client sends.
    pub base_offset: i64,
    /// −1 in what a client sends.
    pub partition_leader_epoch: i32,
    /// What the timestamps mean.
    pub timestamp_type: TimestampType,
    /// Part of a transaction.
    pub transactional: bool,
    /// Written by the broker for the broker.
    pub control: bool,
    /// Milliseconds from which tombstones in the batch may go (KIP-534); replaces the base timestamp.
    pub delete_horizon: Option<i64>,
    /// −1 without idempotence.
    pub producer_id: i64,
    /// −1 without idempotence.
    pub producer_epoch: i16,
    /// −1 without idempotence.
    pub base_sequence: i32,
}

impl Default for BatchMeta {
    fn default() -> Self {
        Self {
            base_offset: 0,
            partition_leader_epoch: -1,
            timestamp_type: TimestampType::CreateTime,
            transactional: false,
            control: false,
            delete_horizon: None,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
        }
    }
}

/// What goes into one record.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordFields<'a> {
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// Null is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// Null is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// At most [`super::HEADERS_MAX`], or no reader of ours accepts the record.
    pub headers: &'a [RecordHeader<'a>],
}

/// Collects records and closes them into one batch.
///
/// A batch is at most 2³¹ bytes; who builds one bounds it far below by looking at
/// [`BatchBuilder::total_bytes`] before each record.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    meta: BatchMeta,
    /// Room for the header, then the records so far.
    buffer: Vec<u8>,
    count: i32,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new(meta: BatchMeta) -> Self {
        Self::with_buffer(meta, Vec::new())
    }

    /// An empty batch that takes over `buffer`'s memory.
    #[must_use]
    pub fn with_buffer(meta: BatchMeta, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(HEADER_BYTES, 0);
        let base_timestamp = meta.delete_horizon.unwrap_or(NO_TIMESTAMP);
        Self { meta, buffer, count: 0, last_offset_delta: -1, base_timestamp, max_timestamp: NO_TIMESTAMP }
    }

    /// Adds a record at the next offset.
    pub fn push(&mut self, record: &RecordFields<'_>) {
        self.push_at(self.last_offset_delta + 1, record);
    }

    /// Adds a record at a given distance from the base offset, beyond those of all records so far.
    pub fn push_at(&mut self, offset_delta: i32, record: &RecordFields<'_>) {
        assert!(offset_delta > self.last_offset_delta, "records are added in offset order");
        if self.count == 0 && self.meta.delete_horizon.is_none() {
            self.base_timestamp = record.timestamp;
        }
        let timestamp_delta = record.timestamp.wrapping_sub(self.base_timestamp);
        put_record(&mut self.buffer, timestamp_delta, offset_delta, record);
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        self.last_offset_delta = offset_delta;
        self.count += 1;
    }

    /// Lets the batch cover offsets up to `delta` although no record stands there, as compaction must.
    pub fn extend_to(&mut self, delta: i32) {
        self.last_offset_delta = self.last_offset_delta.max(delta);
    }

    /// Sets the latest timestamp, where it is not that of a record: with log append time, and where compaction
    /// has left no record.
    pub fn set_max_timestamp(&mut self, timestamp: i64) {
        self.max_timestamp = timestamp;
    }

    /// Number of records so far.
    #[must_use]
    pub const fn count(&self) -> i32 {
        self.count
    }

    /// Bytes of the batch if it were closed now, uncompressed.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes that `record` would add, at most.
    #[must_use]
    pub fn record_bytes_max(record: &RecordFields<'_>) -> usize {
        body_bytes(i64::MAX, i32::MAX, record) + varlong_bytes(i64::from(i32::MAX))
    }

    /// The records so far, to be compressed by the caller.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.buffer[HEADER_BYTES..]
    }

    /// Closes the batch with plain records.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let mut header = self.header(Compression::None, self.buffer.len());
        self.buffer[..HEADER_BYTES].copy_from_slice(&header.encode());
        header.crc = crc32c(&self.buffer[CRC_START..]);
        self.buffer[..HEADER_BYTES].copy_from_slice(&header.encode());
        self.buffer
    }

    /// Closes the batch with what the caller made of [`BatchBuilder::payload`].
    #[must_use]
    pub fn finish_compressed(mut self, codec: Compression, payload: &[u8]) -> Vec<u8> {
        let mut header = self.header(codec, HEADER_BYTES + payload.len());
        self.buffer.truncate(HEADER_BYTES);
        self.buffer.extend_from_slice(payload);
        self.buffer[..HEADER_BYTES].copy_from_slice(&header.encode());
        header.crc = crc32c(&self.buffer[CRC_START..]);
        self.buffer[..HEADER_BYTES].copy_from_slice(&header.encode());
        self.buffer
    }

    fn header(&self, codec: Compression, total: usize) -> BatchHeader {
        let attributes = Attributes::default()
            .with_compression(codec)
            .with_timestamp_type(self.meta.timestamp_type)
            .with_transactional(self.meta.transactional)
            .with_control(self.meta.control)
            .with_delete_horizon(self.meta.delete_horizon.is_some());
        BatchHeader {
            base_offset: self.meta.base_offset,
            batch_length: i32::try_from(total - LENGTH_PREFIX_BYTES).unwrap_or(i32::MAX),
            partition_leader_epoch: self.meta.partition_leader_epoch,
            crc: 0,
            attributes,
            last_offset_delta: self.last_offset_delta.max(0),
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.meta.producer_id,
            producer_epoch: self.meta.producer_epoch,
            base_sequence: self.meta.base_sequence,
            record_count: self.count,
        }
    }
}

fn put_record(out: &mut Vec<u8>, timestamp_delta: i64, offset_delta: i32, record: &RecordFields<'_>) {
    let body = body_bytes(timestamp_delta, offset_delta, record);
    put_varlong(out, length(body));
    out.push(0);
    put_varlong(out, timestamp_delta);
    put_varlong(out, i64::from(offset_delta));
    put_nullable(out, record.key);
    put_nullable(out, record.value);
    put_varlong(out, length(record.headers.len()));
    for header in record.headers {
        put_nullable(out, Some(header.key));
        put_nullable(out, header.value);
    }
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varlong(out, bytes.map_or(-1, |b| length(b.len())));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn body_bytes(timestamp_delta: i64, offset_delta: i32, record: &RecordFields<'_>) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|header| nullable_bytes(Some(header.key)) + nullable_bytes(header.value))
        .sum();
    1 + varlong_bytes(timestamp_delta)
        + varlong_bytes(i64::from(offset_delta))
        + nullable_bytes(record.key)
        + nullable_bytes(record.value)
        + varlong_bytes(length(record.headers.len()))
        + headers
}

fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |b| varlong_bytes(length(b.len())) + b.len())
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
