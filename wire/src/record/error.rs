//! Why a batch or a record is refused. Each variant names the error code with which Kafka refuses it.

use core::fmt;

/// A batch that cannot be accepted or trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// Fewer bytes than the batch, or its length field, needs. In a Produce this counts as "no batch"
    /// (`INVALID_RECORD`); at a log's end it is a torn write.
    Truncated {
        /// Bytes that the batch claims, or the least that any batch has.
        needed: u64,
        /// Bytes that are there.
        present: u64,
    },
    /// The length field is below what any v2 batch has (`CORRUPT_MESSAGE`).
    TooShort {
        /// The length field as stored.
        length: i32,
    },
    /// Not format v2: `INVALID_RECORD` for 0 and 1 in a Produce, `CORRUPT_MESSAGE` for what never existed.
    UnsupportedMagic {
        /// The magic byte as stored.
        magic: i8,
    },
    /// The stored CRC-32C does not match the bytes (`CORRUPT_MESSAGE`).
    CrcMismatch {
        /// As stored in the batch.
        stored: u32,
        /// Of the bytes that are there.
        computed: u32,
    },
    /// A codec id that no version defines (Kafka fails without a proper code; ours is `INVALID_RECORD`).
    UnknownCompression {
        /// The codec id as stored.
        id: i16,
    },
    /// Offsets that run backwards or overflow (`INVALID_RECORD`).
    InvalidOffsetRange {
        /// First offset as stored.
        base_offset: i64,
        /// Relative last offset as stored.
        last_offset_delta: i32,
    },
    /// The record count contradicts the offset range, or the bytes cannot hold it (`INVALID_RECORD`).
    CountMismatch {
        /// The record count as stored.
        count: i32,
        /// What the offsets or the bytes allow.
        expected: i64,
    },
    /// A Produce must carry exactly one batch per partition (`INVALID_RECORD`).
    NotOneBatch {
        /// Whole batches found, two standing for "more than one".
        found: usize,
    },
    /// A client's batch must start at offset zero (`INVALID_RECORD`).
    BaseOffsetNotZero {
        /// First offset as stored.
        base_offset: i64,
    },
    /// Only the broker writes control batches (`INVALID_RECORD`).
    ControlFromClient,
    /// A producer id without a sequence (`INVALID_RECORD`).
    NegativeSequence {
        /// The base sequence as stored.
        base_sequence: i32,
    },
    /// Batches given with offsets must follow one another (`INVALID_RECORD`; a bug or damage at the leader).
    OffsetsNotIncreasing {
        /// The least offset that could follow.
        expected: i64,
        /// First offset as stored.
        found: i64,
    },
}

/// A record that cannot be parsed (`INVALID_RECORD`; `CORRUPT_MESSAGE` when a stored log is read).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// A number runs past the bytes or is longer than its type allows.
    BadVarint,
    /// A length is negative where it may not be, or exceeds the bytes present.
    BadLength {
        /// The length as stored.
        length: i64,
        /// Bytes that are there.
        present: u64,
    },
    /// More headers than [`super::HEADERS_MAX`], fewer than none, or more than the bytes can hold.
    BadHeaderCount {
        /// The count as stored.
        count: i64,
    },
    /// The record's own length disagrees with its fields.
    TrailingBytes {
        /// Bytes left over within the record.
        left: u64,
    },
    /// The payload ends before or goes on after the declared number of records.
    CountMismatch {
        /// Records declared by the batch.
        declared: i32,
        /// Records found.
        found: i32,
    },
    /// Offset deltas must count up by one from zero in what a client sends.
    OffsetDeltaNotSequential {
        /// The delta that should stand there.
        expected: i32,
        /// The delta that does.
        found: i32,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { needed, present } => {
                write!(f, "batch needs {needed} bytes and {present} are there")
            }
            Self::TooShort { length } => write!(f, "batch length {length} is below the least possible"),
            Self::UnsupportedMagic { magic } => write!(f, "record format v{magic} is not supported"),
            Self::CrcMismatch { stored, computed } => {
                write!(f, "stored CRC {stored:08x} does not match computed CRC {computed:08x}")
            }
            Self::UnknownCompression { id } => write!(f, "unknown compression type {id}"),
            Self::InvalidOffsetRange { base_offset, last_offset_delta } => {
                write!(f, "invalid offset range: base {base_offset}, last delta {last_offset_delta}")
            }
            Self::CountMismatch { count, expected } => {
                write!(f, "record count {count} where {expected} fits")
            }
            Self::NotOneBatch { found } => write!(f, "expected exactly one record batch, found {found}"),
            Self::BaseOffsetNotZero { base_offset } => {
                write!(f, "base offset should be 0, but it is {base_offset}")
            }
            Self::ControlFromClient => f.write_str("clients are not allowed to write control records"),
            Self::NegativeSequence { base_sequence } => {
                write!(f, "invalid sequence number {base_sequence} with a producer id")
            }
            Self::OffsetsNotIncreasing { expected, found } => {
                write!(f, "batch at offset {found} where {expected} or later must follow")
            }
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BadVarint => f.write_str("malformed variable-length number"),
            Self::BadLength { length, present } => {
                write!(f, "length {length} does not fit the {present} bytes present")
            }
            Self::BadHeaderCount { count } => write!(f, "impossible number of record headers: {count}"),
            Self::TrailingBytes { left } => write!(f, "{left} bytes left over within a record"),
            Self::CountMismatch { declared, found } => {
                write!(f, "batch declares {declared} records and holds {found}")
            }
            Self::OffsetDeltaNotSequential { expected, found } => {
                write!(f, "record has offset delta {found}, expected {expected}")
            }
        }
    }
}

impl core::error::Error for BatchError {}
impl core::error::Error for RecordError {}
