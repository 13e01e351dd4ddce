//! Requests that are encoded once and patched from then on.

use super::socket::CLIENT_ID;
use crate::connect::{Done, Failure};
use base::{Rng, Timestamp, Uuid};
use client::{Acks, Codec};
use wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::record::{
    BatchBuilder, BatchMeta, CRC_START, Compression, HEADER_BYTES, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
    NO_SEQUENCE, RecordFields, crc32c, crc32c_after_prefix_change,
};
use wire::{Records, encode_request};

/// Where the correlation id stands in a frame: after size, API key and version.
const CORRELATION: std::ops::Range<usize> = 8..12;
/// Where CRC and sequence stand in a batch.
const CRC: std::ops::Range<usize> = 17..21;
const SEQUENCE: std::ops::Range<usize> = 53..57;

/// The vocabulary of the values.
const WORDS: usize = 64;
const WORD_BYTES: usize = 6;

/// What a batch is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) records: usize,
    pub(super) record_bytes: usize,
    pub(super) codec: Codec,
    pub(super) acks: Acks,
    /// Producer id and epoch, for idempotent runs.
    pub(super) producer: Option<(i64, i16)>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Destination<'a> {
    pub(super) topic: &'a str,
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
    pub(super) version: i16,
}

/// A Produce request with one batch for one partition.
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    batch: std::ops::Range<usize>,
    records: i32,
    idempotent: bool,
    sequence: i32,
}

impl Frame {
    /// Encodes the request. Values are random words of a small vocabulary, so that they compress about as logs
    /// do.
    pub(super) fn encode(shape: &Shape, to: &Destination<'_>, seed: u64) -> Done<Self> {
        let batch = batch(shape, seed)?;
        let request = ProduceRequest {
            acks: shape.acks.code(),
            timeout_ms: 30_000,
            topic_data: vec![TopicProduceData {
                name: to.topic.into(),
                topic_id: to.topic_id,
                partition_data: vec![PartitionProduceData {
                    index: to.partition,
                    records: Some(Records::Bytes(batch.clone().into())),
                    ..PartitionProduceData::default()
                }],
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        };
        let encoded = encode_request(0, Some(&CLIENT_ID), to.version, &request);
        let bytes = Vec::from(encoded.map_err(|error| Failure::failed(error.to_string()))?.bytes);
        // After the records come the empty tagged fields of partition, topic and request, where there are any.
        let end = bytes.len() - if to.version >= 9 { 3 } else { 0 };
        let start = end - batch.len();
        assert!(bytes[start..end] == batch[..], "the batch stands at the end of its request");
        let records = i32::try_from(shape.records).unwrap_or(i32::MAX);
        Ok(Self { bytes, batch: start..end, records, idempotent: shape.producer.is_some(), sequence: 0 })
    }

    /// Makes it the next request: this correlation id, the next sequence.
    pub(super) fn patch(&mut self, correlation: i32) {
        self.bytes[CORRELATION].copy_from_slice(&correlation.to_be_bytes());
        if self.idempotent {
            self.patch_sequence();
        }
    }

    /// The checksum follows from the change alone; the payload is not read.
    fn patch_sequence(&mut self) {
        let batch = &mut self.bytes[self.batch.clone()];
        let suffix = (batch.len() - SEQUENCE.end) as u64;
        let mut old = [0; SEQUENCE.end - CRC_START];
        old.copy_from_slice(&batch[CRC_START..SEQUENCE.end]);
        batch[SEQUENCE].copy_from_slice(&self.sequence.to_be_bytes());
        let mut crc = [0; 4];
        crc.copy_from_slice(&batch[CRC]);
        let new = &batch[CRC_START..SEQUENCE.end];
        let crc = crc32c_after_prefix_change(u32::from_be_bytes(crc), &old, new, suffix);
        batch[CRC].copy_from_slice(&crc.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(self.records) & i32::MAX;
    }

    /// Writes `stamp` over the first eight bytes of the value of a batch with one plain record.
    pub(super) fn patch_stamp(&mut self, stamp: u64, value_bytes: usize) {
        let batch = &mut self.bytes[self.batch.clone()];
        // The value is followed by the count of headers, one byte.
        let value = batch.len() - 1 - value_bytes;
        batch[value..value + 8].copy_from_slice(&stamp.to_be_bytes());
        let crc = crc32c(&batch[CRC_START..]);
        batch[CRC].copy_from_slice(&crc.to_be_bytes());
    }

    #[cfg(test)]
    fn batch(&self) -> &[u8] {
        &self.bytes[self.batch.clone()]
    }
}

fn batch(shape: &Shape, seed: u64) -> Done<Vec<u8>> {
    let (producer_id, producer_epoch) = shape.producer.unwrap_or((NO_PRODUCER_ID, NO_PRODUCER_EPOCH));
    let base_sequence = if shape.producer.is_some() { 0 } else { NO_SEQUENCE };
    let meta = BatchMeta { producer_id, producer_epoch, base_sequence, ..BatchMeta::default() };
    let mut builder = BatchBuilder::new(meta);
    let mut rng = Rng::new(seed);
    let mut words = [[0u8; WORD_BYTES]; WORDS];
    words.iter_mut().for_each(|word| rng.fill(word));
    let mut value = vec![0; shape.record_bytes];
    for _ in 0..shape.records {
        for part in value.chunks_mut(WORD_BYTES) {
            part.copy_from_slice(&words[rng.index(WORDS)][..part.len()]);
        }
        builder.push(&RecordFields { timestamp: now().0, value: Some(&value), ..RecordFields::default() });
    }
    if shape.codec == Codec::None {
        return Ok(builder.finish());
    }
    let payload = client_codec(shape.codec, builder.payload())?;
    let compression = Compression::from_id(i16::from(shape.codec.id())).unwrap_or_default();
    let bytes = builder.finish_compressed(compression, &payload);
    assert!(bytes.len() > HEADER_BYTES, "a batch has records");
    Ok(bytes)
}

fn client_codec(codec: Codec, payload: &[u8]) -> Done<Vec<u8>> {
    client::compress(codec, payload).map_err(|error| Failure::failed(error.to_string()))
}

/// The time that records carry.
#[expect(clippy::disallowed_methods, reason = "a load generator measures time")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::record::CheckedBatches;

    const TO: Destination<'_> =
        Destination { topic: "t", topic_id: Uuid([1; 16]), partition: 0, version: 13 };

    #[test]
    fn patched_sequences_keep_the_checksum_right_with_every_codec() {
        for codec in Codec::ALL {
            let shape =
                Shape { records: 10, record_bytes: 100, codec, acks: Acks::All, producer: Some((5, 0)) };
            let mut frame = Frame::encode(&shape, &TO, 1).unwrap();
            for expected in [0, 10, 20] {
                frame.patch(expected);
                let checked = CheckedBatches::from_produce(frame.batch()).unwrap();
                assert_eq!(checked.first().base_sequence, expected);
                assert_eq!(frame.bytes[CORRELATION], expected.to_be_bytes());
            }
        }
    }

    #[test]
    fn a_stamp_arrives_in_the_value() {
        let shape =
            Shape { records: 1, record_bytes: 100, codec: Codec::None, acks: Acks::All, producer: None };
        for version in [3, 13] {
            let mut frame = Frame::encode(&shape, &Destination { version, ..TO }, 1).unwrap();
            frame.patch_stamp(0x0102_0304_0506_0708, 100);
            CheckedBatches::from_produce(frame.batch()).unwrap();
            let payload = &frame.batch()[HEADER_BYTES..];
            let record = wire::record::Records::new(payload, 1).next().unwrap().unwrap();
            assert_eq!(record.value.unwrap()[..9], [1, 2, 3, 4, 5, 6, 7, 8, record.value.unwrap()[8]]);
            assert_eq!(record.value.unwrap().len(), 100);
        }
    }
}
