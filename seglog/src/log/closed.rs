//! Closed segments, opened on first use and forgotten again, but for their size.

use super::{Log, ReadError};
use crate::disk::DiskError;
use crate::names::{FileKind, Stage};
use crate::segment::{Segment, path};

/// A closed segment, as far as it was looked at.
#[derive(Debug, Default)]
pub(super) enum Closed {
    /// Nobody has asked for it since the log was opened.
    #[default]
    Unseen,
    /// It is not open, but so large.
    Measured(u64),
    Open(Box<Segment>),
}

impl Closed {
    pub(super) fn open(&self) -> Option<&Segment> {
        match self {
            Self::Open(segment) => Some(segment),
            Self::Unseen | Self::Measured(_) => None,
        }
    }

    pub(super) fn open_mut(&mut self) -> Option<&mut Segment> {
        match self {
            Self::Open(segment) => Some(segment),
            Self::Unseen | Self::Measured(_) => None,
        }
    }

    pub(super) fn into_open(self) -> Option<Segment> {
        match self {
            Self::Open(segment) => Some(*segment),
            Self::Unseen | Self::Measured(_) => None,
        }
    }

    /// Closes its files; its size cannot change any more.
    pub(super) fn release(&mut self) {
        if let Self::Open(segment) = self {
            *self = Self::Measured(segment.size);
        }
    }

    fn size(&mut self, measure: impl FnOnce() -> Result<u64, DiskError>) -> Result<u64, DiskError> {
        match self {
            Self::Open(segment) => Ok(segment.size),
            Self::Measured(size) => Ok(*size),
            Self::Unseen => {
                let size = measure()?;
                *self = Self::Measured(size);
                Ok(size)
            }
        }
    }
}

impl From<Segment> for Closed {
    fn from(segment: Segment) -> Self {
        Self::Open(Box::new(segment))
    }
}

impl Log {
    /// Bytes of all segments. Opens none: what nobody has looked at since the start is measured once, by its name.
    ///
    /// # Errors
    /// [`ReadError::Disk`].
    pub fn size(&mut self) -> Result<u64, ReadError> {
        let (disk, dir) = (self.dir.disk(), &self.path);
        let mut total = self.active.size;
        for (base, segment) in &mut self.closed {
            total += segment.size(|| disk.length(&path(dir, *base, FileKind::Log, Stage::Live)))?;
        }
        Ok(total)
    }
}
