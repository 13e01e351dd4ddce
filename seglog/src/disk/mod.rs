//! The only door to files: a small synchronous trait with a real and a simulated implementation.
//!
//! Paths are relative to one data directory and use `/`. Calls made inline touch only the page cache;
//! [`DiskFile::sync_data`], [`Disk::sync_dir`] and [`Disk::sync_fs`] wait for the device and belong into jobs.
//! There is no mmap and nothing asynchronous here.

mod error;
mod mem;
mod path;
mod real;

#[cfg(test)]
mod tests;

pub use error::{DiskError, DiskErrorKind, Operation};
pub use mem::{Fault, MemDisk};
pub use real::RealDisk;

use base::Timestamp;
use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// A data directory. Object-safe, shared by all logs in it.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Opens a file. The handle stays usable after the file has been renamed or removed.
    ///
    /// # Errors
    /// `NotFound` or `AlreadyExists` as the mode says, `NoSpace`, `Io`.
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// Creates a directory whose parent exists.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` without the parent, `NoSpace`, `Io`.
    fn create_dir(&self, path: &str) -> Result<(), DiskError>;

    /// The entries of a directory, sorted by name; the data directory itself is `""`.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    fn list(&self, dir: &str) -> Result<Vec<DirEntry>, DiskError>;

    /// The length of a file, without opening it.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    fn length(&self, path: &str) -> Result<u64, DiskError>;

    /// Renames a file or directory within its parent directory, replacing a file of that name atomically.
    /// Durable after [`Disk::sync_dir`] of the parent, and the content only if it was synced before.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` for a directory that is not empty, `InvalidPath` across directories, `Io`.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    fn remove(&self, path: &str) -> Result<(), DiskError>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` if it is not empty, `Io`.
    fn remove_dir(&self, path: &str) -> Result<(), DiskError>;

    /// Makes the entries of a directory durable: creations, renames, removals.
    ///
    /// # Errors
    /// `NotFound`, `Io`. After an error nothing may be acknowledged from this directory (rule B1).
    fn sync_dir(&self, dir: &str) -> Result<(), DiskError>;

    /// Makes the whole file system durable, names included; cheaper than many [`DiskFile::sync_data`]. On Linux it
    /// tells of writes that failed since 5.8 (syncfs(2)), of each failure once: two of these calls at a time might
    /// have one hear what was the other's. What failed before the directory was opened and another program was told
    /// of is not told again; [`DiskFile::check_written`] knows of it.
    ///
    /// # Errors
    /// `Io`. After an error nothing may be acknowledged from this directory (rule B1).
    fn sync_fs(&self) -> Result<(), DiskError>;

    /// How much room the file system has.
    ///
    /// # Errors
    /// `Io`.
    fn space(&self) -> Result<Space, DiskError>;

    /// Creates the file if need be and locks it against every other process until the handle, and all its
    /// clones, are dropped. The lock belongs to the descriptor: removing the file does not free it (B17).
    ///
    /// # Errors
    /// `Locked` if somebody holds it, `Io`.
    fn lock(&self, path: &str) -> Result<Arc<dyn DiskFile>, DiskError>;
}

/// An open file. All positions are bytes from the beginning.
pub trait DiskFile: Send + Sync + std::fmt::Debug {
    /// Reads until `buffer` is full or the file ends; returns how many bytes were read.
    ///
    /// # Errors
    /// `Io`.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<usize, DiskError>;

    /// Writes all `parts` one after the other from `at` on. After an error any part of them may be there.
    /// The slices are advanced as they are written and are of no use afterwards.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    fn write_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> Result<(), DiskError>;

    /// True if a range can very likely be read without waiting for the device.
    fn is_cached(&self, _at: u64, _length: u64) -> bool {
        true
    }

    /// Asks for a range to be read from the device in the background: a hint, which promises nothing.
    fn read_ahead(&self, _at: u64, _length: u64) {}

    /// Asks for a range to be written to the device in the background: a hint, which promises nothing. A `length` of
    /// zero reaches to the end of the file.
    fn write_behind(&self, _at: u64, _length: u64) {}

    /// Has room for `bytes` from `at` on found ahead of the writes to come; content and length stay as they are.
    /// A hint: nothing depends on it, and a disk without room for it says nothing.
    fn reserve(&self, _at: u64, _bytes: u64) {}

    /// Gives back what was reserved beyond the file's `length`. A hint as well.
    fn release(&self, _length: u64) {}

    /// Makes content and length durable; the directory entry needs [`Disk::sync_dir`] of its own.
    ///
    /// # Errors
    /// `Io`, `NoSpace`. Must never be retried: the pages look clean and are not (rule B1).
    fn sync_data(&self) -> Result<(), DiskError>;

    /// Waits for writes to the device that are under way, and tells whether one of this file has failed of which
    /// nobody was told through any handle: as [`DiskFile::sync_data`] would, but it begins no write and makes nothing
    /// durable. After [`Disk::sync_fs`] it costs next to nothing.
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn check_written(&self) -> Result<(), DiskError>;

    /// Cuts or extends (with zeros) the file.
    ///
    /// # Errors
    /// `Io`, `NoSpace`.
    fn truncate(&self, length: u64) -> Result<(), DiskError>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// `Io`.
    fn length(&self) -> Result<u64, DiskError>;

    /// When the content last changed, by the system's clock.
    ///
    /// # Errors
    /// `Io`.
    fn modified(&self) -> Result<Timestamp, DiskError>;

    /// The descriptor for `sendfile`; a simulated file has none.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// How [`Disk::open`] opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A file that must not exist yet.
    Create,
    /// A file that is created if need be and emptied if not.
    Replace,
}

/// What [`Disk::list`] finds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The last component of the path.
    pub name: String,
    /// True for a directory, false for a file and whatever else there may be.
    pub is_dir: bool,
}

/// Room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Size of the file system.
    pub total: u64,
    /// What an ordinary user may still write.
    pub free: u64,
}
