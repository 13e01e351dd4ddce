//! From the bytes of a Produce to a batch that a log may append: everything that needs no lock.
//!
//! An uncompressed batch is walked, so that no malformed record is stored. A compressed one is taken by header
//! and CRC, and opened only where a rule of the topic needs its records: compaction (keys), a bound on old
//! timestamps, another codec than the topic's.

use super::ProduceError;
use base::{Now, hit};
use bytes::Bytes;
use cluster::config::{Compression as Wanted, TimestampType, TopicConfig};
use codec::{Codec, CodecError, Workspace};
use wire::ErrorCode;
use wire::record::{
    Batch, BatchBuilder, BatchError, BatchMeta, CheckedBatches, Compression, RecordError, RecordFields,
    Records, TimestampType as Stamp,
};

/// The bytes of one batch as it is to be stored.
pub(super) enum Accepted<'a> {
    /// As the client sent it.
    AsSent(CheckedBatches<'a>),
    /// Compressed anew.
    Again(Bytes),
}

/// Memory to open compressed batches in, kept by whoever opens many.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    workspace: Workspace,
    payload: Vec<u8>,
}

/// What is kept of it between two batches.
const KEPT_BYTES_MAX: usize = 1 << 20;

impl Opened {
    /// Opens a batch in place of the one before.
    fn open(
        &mut self,
        batch: &Batch<'_>,
        sent: Compression,
        config: &TopicConfig,
    ) -> Result<&[u8], ProduceError> {
        if self.payload.capacity() > KEPT_BYTES_MAX {
            self.payload = Vec::new();
        }
        let ceiling = u64::from(config.max_decompressed_bytes);
        self.workspace
            .decompress_into(codec_of(sent), batch.payload(), ceiling, &mut self.payload)
            .map_err(unreadable)?;
        Ok(&self.payload)
    }
}

/// Checks what a client wants to store on a topic with these settings.
pub(super) fn accept<'a>(
    checked: CheckedBatches<'a>,
    config: &TopicConfig,
    now: Now,
    opened: &mut Opened,
) -> Result<Accepted<'a>, ProduceError> {
    let header = checked.first();
    if header.total_bytes() > u64::from(config.max_message_bytes) {
        return Err(too_large(header.total_bytes(), config.max_message_bytes));
    }
    if header.attributes.is_transactional() {
        return Err(ProduceError::new(
            ErrorCode::TransactionalIdAuthorizationFailed,
            "Transactions are not served by this version.",
        ));
    }
    check_newest(header.max_timestamp, config, now)?;
    let Some(batch) = checked.iter().next() else { return Err(BatchError::NotOneBatch { found: 0 }.into()) };
    let sent = header.attributes.compression().map_err(ProduceError::from)?;
    let target = match config.compression {
        Wanted::Producer => sent,
        Wanted::Fixed { codec, .. } => Compression::from_id(i16::from(codec)).unwrap_or(sent),
    };
    let plain = sent == Compression::None;
    if plain || target != sent || needs_records(config) {
        let payload = if plain { batch.payload() } else { opened.open(&batch, sent, config)? };
        check_records(&batch, payload, config, now)?;
        if target != sent {
            hit!(batch_recompressed);
            return compress_again(&batch, payload, target, config).map(Accepted::Again);
        }
    }
    Ok(Accepted::AsSent(checked))
}

fn needs_records(config: &TopicConfig) -> bool {
    config.cleanup.compact || config.timestamp_before_max.is_some()
}

/// The newest timestamp stands in the header, under the CRC.
fn check_newest(newest: i64, config: &TopicConfig, now: Now) -> Result<(), ProduceError> {
    let Some(ahead) = config.timestamp_after_max else { return Ok(()) };
    if config.timestamp_type == TimestampType::LogAppendTime || newest <= now.wall.plus(ahead).0 {
        return Ok(());
    }
    hit!(timestamp_in_the_future);
    Err(ProduceError::new(ErrorCode::InvalidTimestamp, out_of_range(newest, now)))
}

fn out_of_range(timestamp: i64, now: Now) -> String {
    format!("Timestamp {timestamp} of a message is out of the accepted range around {}", now.wall.0)
}

fn unreadable(error: CodecError) -> ProduceError {
    let code = match error {
        CodecError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        CodecError::Corrupt { .. }
        | CodecError::Disproportionate { .. }
        | CodecError::InvalidLevel { .. }
        | CodecError::Failed { .. } => ErrorCode::CorruptMessage,
    };
    ProduceError::new(code, error.to_string())
}

pub(crate) fn codec_of(compression: Compression) -> Codec {
    match compression {
        Compression::None => Codec::None,
        Compression::Gzip => Codec::Gzip,
        Compression::Snappy => Codec::Snappy,
        Compression::Lz4 => Codec::Lz4,
        Compression::Zstd => Codec::Zstd,
    }
}

fn check_records(
    batch: &Batch<'_>,
    payload: &[u8],
    config: &TopicConfig,
    now: Now,
) -> Result<(), ProduceError> {
    let records = || Records::new(payload, batch.header().record_count);
    records().check_sequential()?;
    if !needs_records(config) {
        return Ok(());
    }
    let oldest =
        config.timestamp_before_max.map(|before| now.wall.0.saturating_sub_unsigned(before.as_millis()));
    let mut refused = Vec::new();
    let mut code = ErrorCode::InvalidRecord;
    for (index, record) in (0..).zip(records()) {
        let record = record?;
        if config.cleanup.compact && record.key.is_none() {
            hit!(null_key_refused);
            refused.push((index, "Compacted topic cannot accept message without key.".to_owned()));
        }
        let timestamp = batch.header().base_timestamp + record.timestamp_delta;
        let stamped_here = config.timestamp_type == TimestampType::LogAppendTime;
        if oldest.is_some_and(|oldest| timestamp < oldest) && !stamped_here {
            code = ErrorCode::InvalidTimestamp;
            refused.push((index, out_of_range(timestamp, now)));
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    let error = ProduceError::new(code, "One or more records have been rejected");
    Err(ProduceError { records: refused, ..error })
}

/// The same records under another codec.
fn compress_again(
    batch: &Batch<'_>,
    payload: &[u8],
    target: Compression,
    config: &TopicConfig,
) -> Result<Bytes, ProduceError> {
    let header = batch.header();
    let meta = BatchMeta {
        timestamp_type: Stamp::CreateTime,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        ..BatchMeta::default()
    };
    let mut builder = BatchBuilder::new(meta);
    for record in Records::new(payload, header.record_count) {
        let record = record?;
        let headers: Vec<_> = record.headers().collect();
        builder.push(&RecordFields {
            timestamp: header.base_timestamp + record.timestamp_delta,
            key: record.key,
            value: record.value,
            headers: &headers,
        });
    }
    if target == Compression::None {
        return Ok(builder.finish().into());
    }
    let level = match config.compression {
        Wanted::Fixed { level, .. } => level,
        Wanted::Producer => None,
    };
    let compressed = codec::compress(codec_of(target), level, builder.payload())
        .map_err(|error| ProduceError::new(ErrorCode::CorruptMessage, error.to_string()))?;
    Ok(builder.finish_compressed(target, &compressed).into())
}

pub(super) fn too_large(bytes: u64, max: u32) -> ProduceError {
    ProduceError::new(
        ErrorCode::MessageTooLarge,
        format!(
            "The record batch size is {bytes} bytes which exceeds the maximum configured value of {max}."
        ),
    )
}

impl From<BatchError> for ProduceError {
    fn from(error: BatchError) -> Self {
        let code = match error {
            BatchError::CrcMismatch { .. } | BatchError::TooShort { .. } => ErrorCode::CorruptMessage,
            BatchError::UnsupportedMagic { magic } if !(0..=1).contains(&magic) => ErrorCode::CorruptMessage,
            BatchError::Truncated { .. }
            | BatchError::UnsupportedMagic { .. }
            | BatchError::UnknownCompression { .. }
            | BatchError::InvalidOffsetRange { .. }
            | BatchError::CountMismatch { .. }
            | BatchError::NotOneBatch { .. }
            | BatchError::BaseOffsetNotZero { .. }
            | BatchError::ControlFromClient
            | BatchError::NegativeSequence { .. }
            | BatchError::OffsetsNotIncreasing { .. } => ErrorCode::InvalidRecord,
        };
        Self::new(code, error.to_string())
    }
}

impl From<RecordError> for ProduceError {
    fn from(error: RecordError) -> Self {
        Self::new(ErrorCode::InvalidRecord, error.to_string())
    }
}
