//! The 61 bytes in front of a batch's records.

use super::attributes::Attributes;
use super::crc::crc32c;
use super::error::BatchError;
use super::{CRC_START, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC_V2, NO_PRODUCER_ID};
use base::{EndOffset, LastOffset};

/// A decoded batch header. The fields are as stored: whoever needs them sane asks [`BatchHeader::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record, kept by compaction even if that record is gone. Outside the CRC.
    pub base_offset: i64,
    /// Bytes after the length field.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch. Outside the CRC.
    pub partition_leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec, timestamp type, transactional, control, delete horizon.
    pub attributes: Attributes,
    /// Offset of the last record relative to the base, kept by compaction.
    pub last_offset_delta: i32,
    /// Milliseconds; what the records' timestamp deltas add to, or the delete horizon (KIP-534).
    pub base_timestamp: i64,
    /// Milliseconds; the latest of the records.
    pub max_timestamp: i64,
    /// −1 without idempotence.
    pub producer_id: i64,
    /// −1 without idempotence.
    pub producer_epoch: i16,
    /// Sequence of the first record; −1 without idempotence.
    pub base_sequence: i32,
    /// Number of records in the payload.
    pub record_count: i32,
}

/// One whole v2 batch: a decoded header and all bytes, of which the header says there are as many.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl BatchHeader {
    /// Decodes the header at the beginning of `bytes`, checking length field and magic, not the CRC.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] if even the header is not all there, [`BatchError::TooShort`],
    /// [`BatchError::UnsupportedMagic`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(raw) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(decode_short(bytes));
        };
        let header = Self::decode_unchecked(raw);
        let magic = raw[16].cast_signed();
        check_start(header.batch_length, magic)?;
        Ok(header)
    }

    fn decode_unchecked(raw: &[u8; HEADER_BYTES]) -> Self {
        Self {
            base_offset: i64::from_be_bytes(field(raw, 0)),
            batch_length: i32::from_be_bytes(field(raw, 8)),
            partition_leader_epoch: i32::from_be_bytes(field(raw, 12)),
            crc: u32::from_be_bytes(field(raw, 17)),
            attributes: Attributes(i16::from_be_bytes(field(raw, 21))),
            last_offset_delta: i32::from_be_bytes(field(raw, 23)),
            base_timestamp: i64::from_be_bytes(field(raw, 27)),
            max_timestamp: i64::from_be_bytes(field(raw, 35)),
            producer_id: i64::from_be_bytes(field(raw, 43)),
            producer_epoch: i16::from_be_bytes(field(raw, 51)),
            base_sequence: i32::from_be_bytes(field(raw, 53)),
            record_count: i32::from_be_bytes(field(raw, 57)),
        }
    }

    /// The header as it is stored.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut raw = [0; HEADER_BYTES];
        raw[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        raw[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        raw[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        raw[16] = MAGIC_V2.cast_unsigned();
        raw[17..21].copy_from_slice(&self.crc.to_be_bytes());
        raw[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        raw[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        raw[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        raw[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        raw[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        raw[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        raw[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        raw[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        raw
    }

    /// Bytes of the whole batch, never less than [`HEADER_BYTES`] in a decoded header.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        u64::from(self.batch_length.unsigned_abs()) + LENGTH_PREFIX_BYTES as u64
    }

    /// The last offset that the batch covers, whether or not a record still stands there.
    #[must_use]
    pub const fn last_offset(&self) -> LastOffset {
        LastOffset(self.base_offset.saturating_add(self.last_offset_delta as i64))
    }

    /// The first offset after the batch.
    #[must_use]
    pub const fn end_offset(&self) -> EndOffset {
        EndOffset(self.last_offset().0.saturating_add(1))
    }

    /// True if an idempotent producer wrote the batch.
    #[must_use]
    pub const fn has_producer(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// Sequence of the last record; sequences wrap from 2³¹−1 to 0. −1 without idempotence.
    #[must_use]
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    /// Checks what a header alone can show: codec, offset range, count against the bytes.
    ///
    /// # Errors
    /// [`BatchError::UnknownCompression`], [`BatchError::InvalidOffsetRange`], [`BatchError::CountMismatch`].
    pub fn check(&self) -> Result<(), BatchError> {
        let plain = self.attributes.compression()? == super::Compression::None;
        let range_ok = self.base_offset >= 0
            && self.last_offset_delta >= 0
            && self.base_offset.checked_add(i64::from(self.last_offset_delta)).is_some_and(|o| o < i64::MAX);
        if !range_ok {
            let Self { base_offset, last_offset_delta, .. } = *self;
            return Err(BatchError::InvalidOffsetRange { base_offset, last_offset_delta });
        }
        let payload = self.total_bytes().saturating_sub(HEADER_BYTES as u64);
        let fits = if plain { payload / super::RECORD_BYTES_MIN as u64 } else { u64::MAX };
        let range = i64::from(self.last_offset_delta) + 1;
        let most = range.min(i64::try_from(fits).unwrap_or(i64::MAX));
        if self.record_count < 0 || i64::from(self.record_count) > most {
            return Err(BatchError::CountMismatch { count: self.record_count, expected: most });
        }
        Ok(())
    }

    /// What [`BatchHeader::check`] does, and that no offset of the range is without its record, as in every
    /// batch that a producer sends and compaction has not thinned.
    ///
    /// # Errors
    /// As [`BatchHeader::check`].
    pub fn check_full(&self) -> Result<(), BatchError> {
        self.check()?;
        let expected = i64::from(self.last_offset_delta) + 1;
        if i64::from(self.record_count) != expected {
            return Err(BatchError::CountMismatch { count: self.record_count, expected });
        }
        Ok(())
    }
}

impl<'a> Batch<'a> {
    /// The batch at the beginning of `bytes`, which may go on after it.
    ///
    /// # Errors
    /// As [`BatchHeader::decode`]; [`BatchError::Truncated`] if the batch is not all there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::decode(bytes)?;
        let needed = header.total_bytes();
        let whole = usize::try_from(needed).ok().and_then(|n| bytes.get(..n));
        let Some(bytes) = whole else {
            return Err(BatchError::Truncated { needed, present: bytes.len() as u64 });
        };
        Ok(Self { header, bytes })
    }

    /// The decoded header.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// All bytes of the batch, header included.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records, compressed as the attributes say.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// Compares the stored CRC with the bytes.
    ///
    /// # Errors
    /// [`BatchError::CrcMismatch`].
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c(self.bytes.get(CRC_START..).unwrap_or_default());
        let stored = self.header.crc;
        if stored == computed { Ok(()) } else { Err(BatchError::CrcMismatch { stored, computed }) }
    }
}

fn field<const N: usize>(raw: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&raw[at..at + N]);
    out
}

/// The bytes do not hold a header; what is there may still show damage rather than a torn end.
fn decode_short(bytes: &[u8]) -> BatchError {
    let length = bytes.get(8..12).and_then(|b| b.try_into().ok()).map(i32::from_be_bytes);
    let magic = bytes.get(16).map_or(MAGIC_V2, |b| b.cast_signed());
    match length.map(|length| check_start(length, magic)) {
        Some(Err(error)) => error,
        Some(Ok(())) | None => {
            BatchError::Truncated { needed: HEADER_BYTES as u64, present: bytes.len() as u64 }
        }
    }
}

/// Magic first: a v0 or v1 message may be shorter than a v2 header and is not damage.
fn check_start(length: i32, magic: i8) -> Result<(), BatchError> {
    const LENGTH_MIN: usize = HEADER_BYTES - LENGTH_PREFIX_BYTES;
    const LEGACY_LENGTH_MIN: i32 = 14;
    if length < LEGACY_LENGTH_MIN {
        return Err(BatchError::TooShort { length });
    }
    if magic != MAGIC_V2 {
        return Err(BatchError::UnsupportedMagic { magic });
    }
    if usize::try_from(length).is_ok_and(|length| length >= LENGTH_MIN) {
        Ok(())
    } else {
        Err(BatchError::TooShort { length })
    }
}
