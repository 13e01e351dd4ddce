//! Reading a whole log back: the metadata log at boot, a coordinator's partition when it is loaded.

use base::EndOffset;
use seglog::disk::DiskError;
use seglog::{Log, ReadError, ReadSlice};
use wire::record::{Batch, BatchError, parse_batches};

/// Bytes that are read at a time; one batch may be larger.
pub(crate) const CHUNK_BYTES: u64 = 1 << 20;

/// Why a log cannot be read back.
#[derive(Debug)]
pub enum ScanError {
    /// The log refused.
    Read(ReadError),
    /// The disk failed.
    Disk(DiskError),
    /// A batch is damaged.
    Batch(BatchError),
    /// What a batch holds makes no sense to its reader.
    Content(String),
}

impl core::fmt::Display for ScanError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Disk(error) => error.fmt(f),
            Self::Batch(error) => error.fmt(f),
            Self::Content(text) => f.write_str(text),
        }
    }
}

/// Calls `visit` with every batch of a log between two offsets, in order, its CRC checked.
pub(crate) fn each_batch(
    log: &mut Log,
    from: EndOffset,
    to: EndOffset,
    visit: impl FnMut(&Batch<'_>) -> Result<(), ScanError>,
) -> Result<(), ScanError> {
    each_batch_of(|next| log.read(next, CHUNK_BYTES, to, true), from, to, visit)
}

/// The same for a log that is behind something: `read` finds at most [`CHUNK_BYTES`] (or one batch) from an
/// offset on, or nothing if nothing is left.
pub(crate) fn each_batch_of(
    mut read: impl FnMut(EndOffset) -> Result<Option<ReadSlice>, ReadError>,
    from: EndOffset,
    to: EndOffset,
    mut visit: impl FnMut(&Batch<'_>) -> Result<(), ScanError>,
) -> Result<(), ScanError> {
    let mut next = from;
    while next < to {
        let Some(slice) = read(next).map_err(ScanError::Read)? else { return Ok(()) };
        let bytes = bytes_of(&slice)?;
        let before = next;
        for batch in parse_batches(&bytes) {
            let batch = match batch {
                Ok(batch) => batch,
                // A chunk may end within a batch: the next one begins with it.
                Err(BatchError::Truncated { .. }) if next > before => break,
                Err(error) => return Err(ScanError::Batch(error)),
            };
            batch.check_crc().map_err(ScanError::Batch)?;
            visit(&batch)?;
            next = batch.header().end_offset();
        }
        if next <= before {
            return Err(ScanError::Content(format!("no batch at offset {before}")));
        }
    }
    Ok(())
}

fn bytes_of(slice: &ReadSlice) -> Result<Vec<u8>, ScanError> {
    let mut buffer = vec![0; usize::try_from(slice.length).unwrap_or(usize::MAX)];
    let read = slice.file.read_at(&mut buffer, slice.position).map_err(ScanError::Disk)?;
    buffer.truncate(read);
    Ok(buffer)
}
