//! Why an operation on a log is refused.

use crate::disk::{DiskError, DiskErrorKind};
use crate::producer::ProducerError;
use crate::scan::{Damage, ScanError};
use base::{EndOffset, TopicId};
use std::fmt;

/// The log does not hold what it should, below what was said to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogDamage {
    /// A batch cannot be read.
    Batch {
        /// Base offset of its segment.
        segment: i64,
        /// Where in the segment, and what is wrong.
        damage: Damage,
    },
    /// The log ends before its flush point.
    Short {
        /// Where the log ends.
        end: EndOffset,
        /// Everything before this offset was durable.
        flushed: EndOffset,
    },
    /// The log begins after its start offset.
    Beheaded {
        /// Where the log begins.
        first: EndOffset,
        /// Where it should.
        start: EndOffset,
    },
}

/// Why a log cannot be created or opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenLogError {
    /// The partition directory belongs to another topic of the same name.
    WrongTopic {
        /// The topic that the directory belongs to.
        found: TopicId,
    },
    /// Durable data is missing or bad: nothing was changed, and the log is to be repaired from elsewhere (B9).
    Damaged(LogDamage),
    /// The data directory is fenced.
    Fenced,
    /// The disk failed.
    Disk(DiskError),
}

/// Why an append is refused. Nothing was written, or what was written has been cut off again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// A batch is larger than `max.message.bytes` (`MESSAGE_TOO_LARGE`).
    BatchTooLarge {
        /// Bytes of the batch.
        bytes: u64,
        /// The limit.
        max: u32,
    },
    /// All batches together are larger than a segment (`RECORD_LIST_TOO_LARGE`).
    BatchesTooLarge {
        /// Bytes of the batches.
        bytes: u64,
        /// The limit.
        max: u32,
    },
    /// The producer's state does not allow it.
    Producer(ProducerError),
    /// What a leader sent does not follow the end of the log.
    UnexpectedOffset {
        /// The end of the log.
        expected: EndOffset,
        /// First offset of the batches.
        found: i64,
    },
    /// The disk is full (a retriable error, such as `KAFKA_STORAGE_ERROR`).
    NoSpace,
    /// The data directory is fenced (`KAFKA_STORAGE_ERROR`): nothing is acknowledged any more (B1, B2).
    Fenced(DiskError),
}

/// Why a read is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Before the start or after the end (`OFFSET_OUT_OF_RANGE`).
    OutOfRange {
        /// The first offset that can be read.
        start: EndOffset,
        /// The end of the log.
        end: EndOffset,
    },
    /// The log is damaged there.
    Damaged(LogDamage),
    /// The disk failed.
    Disk(DiskError),
}

impl OpenLogError {
    pub(crate) fn scan(segment: i64, error: ScanError) -> Self {
        match error {
            ScanError::Disk(error) => Self::Disk(error),
            ScanError::Damaged(damage) => Self::Damaged(LogDamage::Batch { segment, damage }),
        }
    }
}

impl ReadError {
    pub(crate) fn scan(segment: i64, error: ScanError) -> Self {
        match error {
            ScanError::Disk(error) => Self::Disk(error),
            ScanError::Damaged(damage) => Self::Damaged(LogDamage::Batch { segment, damage }),
        }
    }
}

impl From<DiskError> for OpenLogError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl From<DiskError> for ReadError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl From<ProducerError> for AppendError {
    fn from(error: ProducerError) -> Self {
        Self::Producer(error)
    }
}

impl From<DiskError> for AppendError {
    fn from(error: DiskError) -> Self {
        if error.kind == DiskErrorKind::NoSpace { Self::NoSpace } else { Self::Fenced(error) }
    }
}

impl fmt::Display for LogDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch { segment, damage: Damage { position, cause } } => {
                write!(f, "damaged batch at byte {position} of segment {segment}: {cause}")
            }
            Self::Short { end, flushed } => {
                write!(f, "log ends at offset {end} although it was durable up to {flushed}")
            }
            Self::Beheaded { first, start } => {
                write!(f, "log begins at offset {first} although it should begin at {start}")
            }
        }
    }
}

impl fmt::Display for OpenLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongTopic { found } => write!(f, "the directory belongs to the topic with id {found}"),
            Self::Damaged(damage) => fmt::Display::fmt(damage, f),
            Self::Fenced => f.write_str("the data directory is fenced"),
            Self::Disk(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BatchTooLarge { bytes, max } => {
                write!(f, "batch of {bytes} bytes exceeds the maximum of {max}")
            }
            Self::BatchesTooLarge { bytes, max } => {
                write!(f, "batches of {bytes} bytes exceed a segment of {max}")
            }
            Self::Producer(error) => fmt::Display::fmt(error, f),
            Self::UnexpectedOffset { expected, found } => {
                write!(f, "batch at offset {found} does not follow the log's end {expected}")
            }
            Self::NoSpace => f.write_str("no space left on the data directory's file system"),
            Self::Fenced(cause) => write!(f, "the data directory is fenced: {cause}"),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { start, end } => write!(f, "offset is not within {start} and {end}"),
            Self::Damaged(damage) => fmt::Display::fmt(damage, f),
            Self::Disk(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for OpenLogError {}
impl std::error::Error for AppendError {}
impl std::error::Error for ReadError {}
