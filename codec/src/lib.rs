//! Kafka's compression codecs behind one interface: gzip, snappy, lz4, zstd.
//!
//! Compression takes a whole record set and gives bytes that every Kafka client reads. Decompression streams, so
//! that records can be walked without holding them all, and stops at a ceiling that the caller sets: input
//! comes from the network, and a kilobyte of it can claim to be a gigabyte.
//!
//! Knows nothing of record batches; keeps no state between calls, though a [`Workspace`] may keep memory.
#![forbid(unsafe_code)]

mod compress;
mod decoder;
mod snappy;
mod workspace;

pub use compress::{compress, compress_into};
pub use decoder::{Decoder, RATIO_CHECK_FROM, RATIO_MAX, decompress};
pub use workspace::Workspace;

use std::fmt;
use std::io;
use std::ops::RangeInclusive;

/// A codec, numbered as in the attributes of a record batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Not compressed.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// In the framing of the xerial library, as Kafka's own clients write it; read raw as well.
    Snappy = 2,
    /// The LZ4 frame format.
    Lz4 = 3,
    /// RFC 8878 (KIP-110).
    Zstd = 4,
}

impl Codec {
    /// Every codec in order of number.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The number in the attributes of a batch.
    #[must_use]
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The codec of that number.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// The name as in `compression.type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// The levels of `compression.CODEC.level` (KIP-390); `None` if the codec has none. Gzip also takes −1, its
    /// default.
    #[must_use]
    pub const fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Self::None | Self::Snappy => None,
            Self::Gzip => Some(1..=9),
            Self::Lz4 => Some(1..=17),
            Self::Zstd => Some(-131_072..=22),
        }
    }

    /// Kafka's default of `compression.CODEC.level`.
    #[must_use]
    pub const fn default_level(self) -> Option<i32> {
        match self {
            Self::None | Self::Snappy => None,
            Self::Gzip => Some(-1),
            Self::Lz4 => Some(9),
            Self::Zstd => Some(3),
        }
    }

    /// Whether Kafka takes `level` for this codec.
    #[must_use]
    pub fn accepts_level(self, level: i32) -> bool {
        self.levels().is_some_and(|levels| levels.contains(&level)) || self.default_level() == Some(level)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why bytes were not compressed or decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// The input is not, or not all of, what the codec writes.
    Corrupt {
        /// The codec asked for.
        codec: Codec,
    },
    /// There is more output than the caller allows.
    TooLarge {
        /// Bytes allowed.
        ceiling: u64,
    },
    /// The output is large and out of all proportion to the input.
    Disproportionate {
        /// Bytes of input.
        input: u64,
        /// Bytes of output when it was noticed.
        output: u64,
    },
    /// The codec has no such level.
    InvalidLevel {
        /// The codec asked for.
        codec: Codec,
        /// The level asked for.
        level: i32,
    },
    /// The compressor failed, which means that memory ran out inside it.
    Failed {
        /// The codec asked for.
        codec: Codec,
    },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { codec } => write!(f, "not valid {codec} data"),
            Self::TooLarge { ceiling } => write!(f, "decompresses to more than {ceiling} bytes"),
            Self::Disproportionate { input, output } => {
                write!(f, "{input} bytes decompress to {output} and more")
            }
            Self::InvalidLevel { codec, level } => write!(f, "{codec} has no level {level}"),
            Self::Failed { codec } => write!(f, "{codec} compression failed"),
        }
    }
}

impl std::error::Error for CodecError {}

impl From<CodecError> for io::Error {
    fn from(error: CodecError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl CodecError {
    /// The error that a [`Decoder`] put into `error`, if it did.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

#[cfg(test)]
mod tests;
