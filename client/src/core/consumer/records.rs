//! From the bytes of an answer to records, one by one.
//!
//! Keys, values and headers share the buffer of the answer, or that of the decompressed batch: nothing is
//! copied. A batch that is cut off at the end of an answer is left for the next one.

use super::{ConsumerSettings, Isolation, TopicPartition};
use crate::core::producer::Header;
use base::{EndOffset, LastOffset, Timestamp};
use bytes::Bytes;
use codec::Codec;
use std::collections::{BTreeSet, VecDeque};
use wire::Str;
use wire::record::{Batch, BatchError, BatchHeader, EndTxn, EndTxnMarker, Record, Records, TimestampType};

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// Its topic.
    pub topic: Str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: LastOffset,
    /// Milliseconds since 1970.
    pub timestamp: Timestamp,
    /// Whether the broker set the timestamp.
    pub timestamp_type: TimestampType,
    /// Epoch of the leader that wrote it.
    pub leader_epoch: i32,
    /// The key; null is not the same as empty.
    pub key: Option<Bytes>,
    /// The value; null is a tombstone in a compacted topic.
    pub value: Option<Bytes>,
    /// In order; keys may repeat.
    pub headers: Vec<Header>,
}

/// The part of an answer that was not read yet.
pub(super) struct Unread {
    bytes: Bytes,
    position: EndOffset,
    /// Transactions of the answer that were aborted: producer and first offset, ascending by offset.
    aborted: VecDeque<(i64, i64)>,
    /// Producers whose records are being skipped.
    aborting: BTreeSet<i64>,
    rules: Rules,
    open: Option<OpenBatch>,
}

#[derive(Clone, Copy)]
struct Rules {
    committed_only: bool,
    check_crcs: bool,
    decompressed_bytes_max: u64,
}

struct OpenBatch {
    header: BatchHeader,
    payload: Bytes,
    /// Bytes of the payload that were read, records that were read.
    at: usize,
    read: i32,
}

impl Unread {
    pub(super) fn new(
        bytes: Bytes,
        position: EndOffset,
        mut aborted: Vec<(i64, i64)>,
        settings: &ConsumerSettings,
    ) -> Self {
        aborted.sort_by_key(|(_, first)| *first);
        let rules = Rules {
            committed_only: settings.isolation == Isolation::ReadCommitted,
            check_crcs: settings.check_crcs,
            decompressed_bytes_max: settings.decompressed_bytes_max,
        };
        Self { bytes, position, aborted: aborted.into(), aborting: BTreeSet::new(), rules, open: None }
    }

    /// The offset after the last record that was handed out or skipped.
    pub(super) const fn position(&self) -> EndOffset {
        self.position
    }

    /// The next record, or `None` at the end of the answer.
    pub(super) fn next(&mut self, partition: &TopicPartition) -> Result<Option<ConsumerRecord>, String> {
        loop {
            let Some(open) = &mut self.open else {
                match self.open_batch()? {
                    true => continue,
                    false => return Ok(None),
                }
            };
            let Some(record) = open.next(partition)? else {
                self.position = self.position.max(open.header.end_offset());
                self.open = None;
                continue;
            };
            // Answers begin with the whole batch that holds the position.
            if record.offset.end() > self.position {
                self.position = record.offset.end();
                return Ok(Some(record));
            }
        }
    }

    /// Opens the next batch that has something to read; false at the end.
    fn open_batch(&mut self) -> Result<bool, String> {
        loop {
            if self.bytes.is_empty() {
                return Ok(false);
            }
            let batch = match Batch::parse(&self.bytes) {
                Ok(batch) => batch,
                Err(BatchError::Truncated { .. }) => return Ok(false),
                Err(error) => return Err(error.to_string()),
            };
            let header = *batch.header();
            if self.rules.check_crcs {
                batch.check_crc().map_err(|error| error.to_string())?;
            }
            let whole = batch.bytes().len();
            let payload = self.bytes.slice_ref(batch.payload());
            let skip = self.is_skipped(&header, &payload);
            let rest = self.bytes.slice(whole..);
            if !skip && header.end_offset() > self.position {
                let payload = decompressed(&header, payload, self.rules.decompressed_bytes_max)?;
                self.open = Some(OpenBatch { header, payload, at: 0, read: 0 });
                self.bytes = rest;
                return Ok(true);
            }
            self.position = self.position.max(header.end_offset());
            self.bytes = rest;
        }
    }

    /// Control batches and aborted transactions are not for readers.
    fn is_skipped(&mut self, header: &BatchHeader, payload: &Bytes) -> bool {
        let producer = header.producer_id;
        while let Some((producer, _)) =
            self.aborted.pop_front_if(|(_, first)| *first <= header.last_offset().0)
        {
            self.aborting.insert(producer);
        }
        if header.attributes.is_control() {
            let mut records = Records::new(payload, header.record_count);
            let marker = records.next().and_then(Result::ok).and_then(|record| EndTxnMarker::parse(&record));
            if marker.is_some_and(|marker| marker.end == EndTxn::Abort) {
                self.aborting.remove(&producer);
            }
            return true;
        }
        self.rules.committed_only && header.attributes.is_transactional() && self.aborting.contains(&producer)
    }
}

fn decompressed(header: &BatchHeader, payload: Bytes, ceiling: u64) -> Result<Bytes, String> {
    let compression = header.attributes.compression().map_err(|error| error.to_string())?;
    let codec = u8::try_from(compression.id()).ok().and_then(Codec::from_id).unwrap_or_default();
    if codec == Codec::None {
        return Ok(payload);
    }
    codec::decompress(codec, &payload, ceiling).map(Bytes::from).map_err(|error| error.to_string())
}

impl OpenBatch {
    fn next(&mut self, partition: &TopicPartition) -> Result<Option<ConsumerRecord>, String> {
        let left = self.header.record_count - self.read;
        if left <= 0 {
            return Ok(None);
        }
        let rest = self.payload.slice(self.at..);
        let (length, prefix) = record_length(&rest).ok_or("a record's length is unreadable")?;
        let end = prefix + length;
        let bytes = rest.get(..end).ok_or("a record is longer than its batch")?;
        let record =
            Records::new(bytes, 1).next().ok_or("a record is missing")?.map_err(|error| error.to_string())?;
        let converted = self.convert(partition, &rest, &record);
        self.at += end;
        self.read += 1;
        Ok(Some(converted))
    }

    fn convert(&self, partition: &TopicPartition, buffer: &Bytes, record: &Record<'_>) -> ConsumerRecord {
        let share = |bytes: Option<&[u8]>| bytes.map(|bytes| buffer.slice_ref(bytes));
        let timestamp_type = self.header.attributes.timestamp_type();
        let timestamp = match timestamp_type {
            TimestampType::CreateTime => self.header.base_timestamp.saturating_add(record.timestamp_delta),
            TimestampType::LogAppendTime => self.header.max_timestamp,
        };
        let headers = record.headers().map(|header| Header {
            key: buffer.slice_ref(header.key),
            value: header.value.map(|value| buffer.slice_ref(value)),
        });
        ConsumerRecord {
            topic: partition.topic.clone(),
            partition: partition.partition,
            offset: LastOffset(self.header.base_offset.saturating_add(i64::from(record.offset_delta))),
            timestamp: Timestamp(timestamp),
            timestamp_type,
            leader_epoch: self.header.partition_leader_epoch,
            key: share(record.key),
            value: share(record.value),
            headers: headers.collect(),
        }
    }
}

/// The length of a record, a zigzag varint of at most five bytes, and how many bytes it takes.
fn record_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut raw = 0u64;
    for (k, byte) in bytes.iter().take(5).enumerate() {
        raw |= u64::from(byte & 0x7f) << (7 * k);
        if byte & 0x80 == 0 {
            // An odd number would be negative.
            return if raw & 1 == 0 { Some((usize::try_from(raw >> 1).ok()?, k + 1)) } else { None };
        }
    }
    None
}
