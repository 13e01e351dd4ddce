//! The only way in which small state is written: temporary file, flush, rename, flush of the directory.
//!
//! After a crash such a file has its old content or its new one (rules B3 and B4). Formats of our own are
//! sealed with magic, version and checksum; Kafka's formats are written as they are.

use crate::disk::{Disk, DiskError, DiskErrorKind, OpenMode};
use base::planted;
use std::io::IoSlice;
use wire::record::crc32c;

/// Most bytes that a small file may have; a longer one is damaged or hostile.
const SMALL_BYTES_MAX: u64 = 256 << 20;
/// Magic, version, checksum.
const SEAL_BYTES: usize = 12;

/// Replaces the content of `path` durably. Waits for the device.
///
/// # Errors
/// As the disk. The old content, if any, is then still there or the new one already is.
pub fn write_small(disk: &dyn Disk, path: &str, content: &[u8]) -> Result<(), DiskError> {
    let temp = format!("{path}.tmp");
    if let Err(error) = write_temp(disk, &temp, content) {
        // On a full disk the attempt must not take the last bytes.
        let _ = disk.remove(&temp);
        return Err(error);
    }
    disk.rename(&temp, path)?;
    sync_parent(disk, path)
}

fn write_temp(disk: &dyn Disk, temp: &str, content: &[u8]) -> Result<(), DiskError> {
    let file = disk.open(temp, OpenMode::Replace)?;
    file.write_at(&mut [IoSlice::new(content)], 0)?;
    if planted!(B4) { Ok(()) } else { file.sync_data() }
}

/// Flushes the directory that holds `path`.
pub(crate) fn sync_parent(disk: &dyn Disk, path: &str) -> Result<(), DiskError> {
    if planted!(B3) {
        return Ok(());
    }
    disk.sync_dir(path.rsplit_once('/').map_or("", |(parent, _)| parent))
}

/// Reads a whole small file; `None` if there is none.
///
/// # Errors
/// As the disk; `NoSpace` for a file that is too large to be small.
pub fn read_small(disk: &dyn Disk, path: &str) -> Result<Option<Vec<u8>>, DiskError> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.length()?;
    if length > SMALL_BYTES_MAX {
        return Err(DiskError::new(DiskErrorKind::NoSpace, crate::disk::Operation::Read, path));
    }
    let mut content = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = file.read_at(&mut content, 0)?;
    content.truncate(read);
    Ok(Some(content))
}

/// Removes a file that may be gone already.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &str) -> Result<(), DiskError> {
    match disk.remove(path) {
        Err(error) if error.kind == DiskErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Puts magic, version and checksum before a body.
#[must_use]
pub fn seal(magic: [u8; 4], version: u32, body: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(SEAL_BYTES + body.len());
    sealed.extend_from_slice(&magic);
    sealed.extend_from_slice(&version.to_be_bytes());
    sealed.extend_from_slice(&crc32c(body).to_be_bytes());
    sealed.extend_from_slice(body);
    sealed
}

/// The version and the body of what [`seal`] made; `None` if magic or checksum are wrong.
#[must_use]
pub fn unseal(magic: [u8; 4], sealed: &[u8]) -> Option<(u32, &[u8])> {
    let (head, body) = sealed.split_at_checked(SEAL_BYTES)?;
    let version = u32::from_be_bytes(head[4..8].try_into().ok()?);
    let stored = u32::from_be_bytes(head[8..12].try_into().ok()?);
    (head[..4] == magic && stored == crc32c(body)).then_some((version, body))
}
