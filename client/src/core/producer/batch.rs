//! One batch on its way: its bytes, the records whose outcome it decides, its sequence.

use super::{DeliveryId, ProduceError, ProducerRecord, ProducerSettings};
use base::{Instant, Timestamp};
use bytes::Bytes;
use codec::Codec;
use wire::record::{
    BatchBuilder, BatchHeader, BatchMeta, CRC_START, Compression, HEADER_BYTES, RecordFields, RecordHeader,
    crc32c,
};

/// Producer id, epoch and first sequence of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) sequence: i32,
}

/// A record of a batch, as its outcome needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) id: DeliveryId,
    pub(super) bytes: usize,
    pub(super) timestamp: Timestamp,
}

/// A batch that still takes records.
#[derive(Debug)]
pub(super) struct OpenBatch {
    builder: BatchBuilder,
    members: Vec<Member>,
    pub(super) opened_at: Instant,
}

/// A closed batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Bytes,
    pub(super) members: Vec<Member>,
    /// Place among the batches of its partition.
    pub(super) order: u64,
    pub(super) deadline: Instant,
    pub(super) stamp: Option<Stamp>,
    pub(super) attempts: u32,
    /// An attempt was sent and nobody knows how it ended.
    pub(super) uncertain: bool,
    /// What the last attempt ended with.
    pub(super) last: Option<String>,
}

/// Bytes that a record adds to a batch, at most.
pub(super) fn record_bytes(record: &ProducerRecord) -> usize {
    with_fields(record, BatchBuilder::record_bytes_max) + HEADER_BYTES
}

fn with_fields<T>(record: &ProducerRecord, then: impl FnOnce(&RecordFields<'_>) -> T) -> T {
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|header| RecordHeader { key: &header.key, value: header.value.as_deref() })
        .collect();
    then(&RecordFields {
        timestamp: record.timestamp.unwrap_or(Timestamp::NONE).0,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
    })
}

impl OpenBatch {
    pub(super) fn new(opened_at: Instant) -> Self {
        Self { builder: BatchBuilder::new(BatchMeta::default()), members: Vec::new(), opened_at }
    }

    /// Whether `bytes` more stay within `limit`; an empty batch takes anything.
    pub(super) fn fits(&self, bytes: usize, limit: usize) -> bool {
        self.members.is_empty() || self.builder.total_bytes() + bytes <= limit + HEADER_BYTES
    }

    pub(super) fn is_full(&self, limit: usize) -> bool {
        self.builder.total_bytes() >= limit
    }

    pub(super) fn push(&mut self, id: DeliveryId, record: &ProducerRecord, bytes: usize) {
        with_fields(record, |fields| self.builder.push(fields));
        let timestamp = record.timestamp.unwrap_or(Timestamp::NONE);
        self.members.push(Member { id, bytes, timestamp });
    }

    /// Closes the batch; on failure its members come back with the reason.
    pub(super) fn close(
        self,
        order: u64,
        settings: &ProducerSettings,
    ) -> Result<Batch, (Vec<Member>, ProduceError)> {
        let bytes = match compressed(self.builder, settings) {
            Ok(bytes) => bytes,
            Err(error) => return Err((self.members, ProduceError::Compression(error))),
        };
        Ok(Batch {
            bytes,
            members: self.members,
            order,
            deadline: self.opened_at + settings.delivery_timeout,
            stamp: None,
            attempts: 0,
            uncertain: false,
            last: None,
        })
    }
}

fn compressed(builder: BatchBuilder, settings: &ProducerSettings) -> Result<Bytes, codec::CodecError> {
    if settings.codec == Codec::None {
        return Ok(builder.finish().into());
    }
    let payload = codec::compress(settings.codec, settings.level, builder.payload())?;
    let compression = Compression::from_id(i16::from(settings.codec.id())).unwrap_or_default();
    Ok(builder.finish_compressed(compression, &payload).into())
}

impl Batch {
    pub(super) fn count(&self) -> i32 {
        i32::try_from(self.members.len()).unwrap_or(i32::MAX)
    }

    /// Writes producer id, epoch and sequence into the header.
    pub(super) fn stamp(&mut self, stamp: Stamp) {
        self.stamp = Some(stamp);
        let mut raw = Vec::from(std::mem::take(&mut self.bytes));
        // Our own batch: its header is sound.
        if let Ok(mut header) = BatchHeader::decode(&raw) {
            header.producer_id = stamp.producer_id;
            header.producer_epoch = stamp.epoch;
            header.base_sequence = stamp.sequence;
            raw[..HEADER_BYTES].copy_from_slice(&header.encode());
            header.crc = crc32c(&raw[CRC_START..]);
            raw[..HEADER_BYTES].copy_from_slice(&header.encode());
        }
        self.bytes = raw.into();
    }
}
