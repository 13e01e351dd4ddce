//! What can go wrong with a file.

use std::fmt;

/// An operation on the disk failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// What went wrong.
    pub kind: DiskErrorKind,
    /// What was being done.
    pub operation: Operation,
    /// On which path, relative to the data directory.
    pub path: Box<str>,
}

impl Operation {
    /// True for what leaves nothing in doubt when it fails.
    #[must_use]
    pub const fn only_reads(self) -> bool {
        matches!(self, Self::Read | Self::Length | Self::List | Self::Space)
    }
}

/// Classes of failure that are handled differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskErrorKind {
    /// No such file or directory.
    NotFound,
    /// Already there, or a directory that is not empty.
    AlreadyExists,
    /// The file system or the quota is full.
    NoSpace,
    /// Somebody else holds the lock.
    Locked,
    /// The path leaves the data directory, or a rename leaves its parent.
    InvalidPath,
    /// The simulated machine has crashed; nothing was done.
    Crashed,
    /// Anything else, with the system's number.
    Io(i32),
}

/// The operations of the disk, for errors, counters, injected faults and latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// `Disk::open`
    Open,
    /// `DiskFile::read_at`
    Read,
    /// `DiskFile::write_at`
    Write,
    /// `DiskFile::sync_data`
    Sync,
    /// `DiskFile::truncate`
    Truncate,
    /// `DiskFile::length` and `DiskFile::modified`
    Length,
    /// `Disk::create_dir`
    CreateDir,
    /// `Disk::list`
    List,
    /// `Disk::rename`
    Rename,
    /// `Disk::remove`
    Remove,
    /// `Disk::remove_dir`
    RemoveDir,
    /// `Disk::sync_dir`
    SyncDir,
    /// `Disk::sync_fs`
    SyncFs,
    /// `Disk::space`
    Space,
    /// `Disk::lock`
    Lock,
}

impl DiskError {
    pub(crate) fn new(kind: DiskErrorKind, operation: Operation, path: &str) -> Self {
        Self { kind, operation, path: path.into() }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of '{}' failed: ", self.operation, self.path)?;
        match self.kind {
            DiskErrorKind::NotFound => f.write_str("not found"),
            DiskErrorKind::AlreadyExists => f.write_str("already exists"),
            DiskErrorKind::NoSpace => f.write_str("no space left"),
            DiskErrorKind::Locked => f.write_str("locked by another process"),
            DiskErrorKind::InvalidPath => f.write_str("path not allowed"),
            DiskErrorKind::Crashed => f.write_str("simulated crash"),
            DiskErrorKind::Io(number) => write!(f, "system error {number}"),
        }
    }
}

impl std::error::Error for DiskError {}
