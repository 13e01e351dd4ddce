//! Walking the batches of a file: by header alone, or byte by byte with checksums.
//!
//! Memory is bounded whatever the file says: headers alone are read through a small window, whole batches through a
//! larger one; a batch need not fit in it.

use crate::disk::{DiskError, DiskFile};
use wire::record::{BatchError, BatchHeader, CRC_START, Crc32c, EndTxnMarker, HEADER_BYTES, Records};

const HEADER_WINDOW: usize = 4 << 10;
const CHECKSUM_WINDOW: usize = 256 << 10;
/// A control batch holds one small record; more than this is none.
const MARKER_BYTES_MAX: usize = 4 << 10;

/// A batch and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) header: BatchHeader,
    /// Byte position of the batch in its file.
    pub(crate) position: u64,
}

impl Placed {
    /// Byte position after the batch.
    pub(crate) fn end_position(&self) -> u64 {
        self.position + self.header.total_bytes()
    }
}

/// A file does not hold the batches that it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where the bad batch begins.
    pub position: u64,
    /// What is wrong with it.
    pub cause: BatchError,
}

/// A walk ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScanError {
    Disk(DiskError),
    Damaged(Damage),
}

impl From<DiskError> for ScanError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// What must hold from one batch to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Each offset follows the one before, as in every log that was not compacted.
    Contiguous,
    /// Offsets increase.
    Increasing,
}

/// Walks headers, hopping over the records.
pub(crate) struct Hop<'f> {
    file: &'f dyn DiskFile,
    position: u64,
    /// First byte not to be looked at.
    end: u64,
    /// The least offset that may come next.
    expected: i64,
    window: Box<[u8]>,
    window_at: u64,
    window_filled: usize,
}

impl<'f> Hop<'f> {
    /// A walk of `file` from `position`, where a batch with a base offset of at least `expected` begins, to
    /// `end`.
    pub(crate) fn new(file: &'f dyn DiskFile, position: u64, end: u64, expected: i64) -> Self {
        Self::through(HEADER_WINDOW, file, position, end, expected)
    }

    fn through(window: usize, file: &'f dyn DiskFile, position: u64, end: u64, expected: i64) -> Self {
        let window = vec![0; window].into_boxed_slice();
        Self { file, position, end, expected, window, window_at: 0, window_filled: 0 }
    }

    /// Goes back to a batch, keeping what was read.
    pub(crate) const fn rewind(&mut self, position: u64, expected: i64) {
        self.position = position;
        self.expected = expected;
    }

    /// Where the next batch would begin.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// The least offset that the next batch may have.
    pub(crate) const fn expected(&self) -> i64 {
        self.expected
    }

    /// The next batch; `None` at the end. After an error the walk does not move on.
    pub(crate) fn next(&mut self) -> Result<Option<Placed>, ScanError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let position = self.position;
        let damaged = |cause| ScanError::Damaged(Damage { position, cause });
        let header = BatchHeader::decode(self.head()?).map_err(damaged)?;
        header.check().map_err(damaged)?;
        let (needed, present) = (header.total_bytes(), self.end - position);
        if needed > present {
            return Err(damaged(BatchError::Truncated { needed, present }));
        }
        if header.base_offset < self.expected {
            let (expected, found) = (self.expected, header.base_offset);
            return Err(damaged(BatchError::OffsetsNotIncreasing { expected, found }));
        }
        self.expected = header.end_offset().0;
        self.position += needed;
        Ok(Some(Placed { header, position }))
    }

    /// The bytes at the position, as many as a header has if there are so many.
    fn head(&mut self) -> Result<&[u8], DiskError> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let wanted = left.min(HEADER_BYTES);
        if self.known(self.position, wanted).len() < wanted {
            self.fill(self.position)?;
        }
        Ok(self.known(self.position, wanted))
    }

    /// Some bytes from there on, no more than `most`; none if the file has no more.
    fn some(&mut self, from: u64, most: usize) -> Result<&[u8], DiskError> {
        if self.known(from, most).is_empty() {
            self.fill(from)?;
        }
        Ok(self.known(from, most))
    }

    /// What has been read of so many bytes from there on.
    fn known(&self, from: u64, most: usize) -> &[u8] {
        let start = from.checked_sub(self.window_at).and_then(|start| usize::try_from(start).ok());
        let rest = start.and_then(|start| self.window[..self.window_filled].get(start..)).unwrap_or_default();
        &rest[..rest.len().min(most)]
    }

    fn fill(&mut self, from: u64) -> Result<(), DiskError> {
        let left = usize::try_from(self.end.saturating_sub(from)).unwrap_or(usize::MAX);
        let fill = left.min(self.window.len());
        self.window_filled = self.file.read_at(&mut self.window[..fill], from)?;
        self.window_at = from;
        Ok(())
    }
}

/// Walks batches and compares their checksums.
pub(crate) struct Sweep<'f> {
    hop: Hop<'f>,
    order: Order,
}

impl<'f> Sweep<'f> {
    pub(crate) fn new(file: &'f dyn DiskFile, position: u64, end: u64, expected: i64, order: Order) -> Self {
        let bytes = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX);
        let window = bytes.clamp(HEADER_BYTES, CHECKSUM_WINDOW);
        Self { hop: Hop::through(window, file, position, end, expected), order }
    }

    /// The next batch, whole and sound; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Placed>, ScanError> {
        let expected = self.hop.expected();
        let Some(placed) = self.hop.next()? else { return Ok(None) };
        let Placed { header, position } = placed;
        let damaged = |cause| ScanError::Damaged(Damage { position, cause });
        if self.order == Order::Contiguous && header.base_offset != expected {
            let found = header.base_offset;
            return Err(damaged(BatchError::OffsetsNotIncreasing { expected, found }));
        }
        let computed = self.checksum(&placed)?;
        if computed != header.crc {
            return Err(damaged(BatchError::CrcMismatch { stored: header.crc, computed }));
        }
        Ok(Some(placed))
    }

    /// Through the window that the header was read by: batches are mostly smaller, and then one read serves several.
    fn checksum(&mut self, placed: &Placed) -> Result<u32, DiskError> {
        let mut crc = Crc32c::new();
        let mut at = placed.position + CRC_START as u64;
        let end = placed.end_position();
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let read = self.hop.some(at, left)?;
            if read.is_empty() {
                break;
            }
            crc.update(read);
            at += read.len() as u64;
        }
        Ok(crc.finish())
    }
}

/// What a control batch of `file` says, if it ends a transaction.
pub(crate) fn read_marker(file: &dyn DiskFile, placed: &Placed) -> Result<Option<EndTxnMarker>, DiskError> {
    if !placed.header.attributes.is_control() {
        return Ok(None);
    }
    let payload = placed.header.total_bytes().saturating_sub(HEADER_BYTES as u64);
    let mut bytes = vec![0; usize::try_from(payload).unwrap_or(usize::MAX).min(MARKER_BYTES_MAX)];
    let read = file.read_at(&mut bytes, placed.position + HEADER_BYTES as u64)?;
    let first = Records::new(&bytes[..read], placed.header.record_count).next();
    Ok(first.and_then(Result::ok).and_then(|record| EndTxnMarker::parse(&record)))
}
