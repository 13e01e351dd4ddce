//! Closing a directory whose device cannot be believed any more.
//!
//! After a failed flush the kernel may count the pages as clean although they are not on the device, so that
//! a second flush "succeeds" (rule B1). The directory is therefore closed at once and for good in this boot;
//! a marker keeps it closed over restarts of the process until the machine has booted anew, when what is read
//! comes from the device again, or until the operator removes it.

use crate::disk::{Disk, DiskError, DiskErrorKind};
use crate::durable::{read_small, remove_if_there, seal, sync_parent, unseal, write_small};
use crate::names::FENCED;
use base::{hit, planted};
use std::sync::{Mutex, OnceLock, PoisonError};

const MAGIC: [u8; 4] = *b"OTFE";
const VERSION: u32 = 1;

/// Whether a directory is closed, and why.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    cause: OnceLock<DiskError>,
    /// Held while the whole file system is flushed, until the fence says what came of it.
    flushing: Mutex<()>,
}

impl Fence {
    /// The error that closed the directory.
    pub(crate) fn cause(&self) -> Option<&DiskError> {
        self.cause.get()
    }

    /// Flushes the whole file system, and closes the directory if that fails. One at a time: the kernel tells of a
    /// failed write once, and whoever hears of it speaks for all who wait here (rule B1).
    pub(crate) fn sync_fs(&self, disk: &dyn Disk, boot: &str) -> Result<(), DiskError> {
        let _alone = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        if planted!(B1) {
            return disk.sync_fs();
        }
        self.cause().map_or(Ok(()), |cause| Err(cause.clone()))?;
        disk.sync_fs().inspect_err(|error| self.trip(disk, boot, error))
    }

    /// Closes the directory. Memory first, so that nothing is acknowledged after this; the marker as well as
    /// the device still allows.
    pub(crate) fn trip(&self, disk: &dyn Disk, boot: &str, cause: &DiskError) {
        // A simulated crash is the end of the process, not of the device.
        if cause.kind == DiskErrorKind::Crashed {
            return;
        }
        if self.cause.set(cause.clone()).is_ok() {
            hit!(directory_fenced);
            let _ = write_small(disk, FENCED, &seal(MAGIC, VERSION, boot.as_bytes()));
        }
    }
}

/// True if a marker of this boot keeps the directory closed. A marker of an earlier boot is removed.
pub(crate) fn is_closed(disk: &dyn Disk, boot: &str) -> Result<bool, DiskError> {
    let Some(sealed) = read_small(disk, FENCED)? else { return Ok(false) };
    // A marker that cannot be read was written while the device failed: believe that it is of this boot only
    // if nothing speaks against it.
    let closed = unseal(MAGIC, &sealed).is_none_or(|(_, body)| body == boot.as_bytes());
    if !closed {
        remove_if_there(disk, FENCED)?;
        sync_parent(disk, FENCED)?;
    }
    Ok(closed)
}
