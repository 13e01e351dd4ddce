//! Offsets that say whether they include what they name.

use core::fmt;

/// The first offset *not* covered: log end, high watermark, last stable offset, committed offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndOffset(pub i64);

/// An offset that is covered: a record's own, a batch's last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LastOffset(pub i64);

impl EndOffset {
    /// The beginning of every log.
    pub const ZERO: Self = Self(0);

    /// The end after `count` more records.
    #[must_use]
    pub const fn plus(self, count: i64) -> Self {
        Self(self.0 + count)
    }
}

impl LastOffset {
    /// The end offset just after this record.
    #[must_use]
    pub const fn end(self) -> EndOffset {
        EndOffset(self.0 + 1)
    }
}

impl fmt::Display for EndOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for LastOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
