//! The real disk: plain system calls relative to an open directory.

use super::{DirEntry, Disk, DiskError, DiskErrorKind, DiskFile, OpenMode, Operation, Space, path};
use base::Timestamp;
use rustix::fs::{self, Advice, AtFlags, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags, preadv2, retry_on_intr};
use std::io::{IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// The kernel reads ahead, and forgets, in pieces of about this size.
const PROBE_BYTES: usize = 128 << 10;
/// Most slices that one vectored write may have on Linux.
const IOV_MAX: usize = 1024;

/// A data directory of this machine, held open so that changing the working directory does not matter.
#[derive(Debug)]
pub struct RealDisk {
    root: OwnedFd,
}

#[derive(Debug)]
struct RealFile {
    file: OwnedFd,
    path: Box<str>,
}

impl RealDisk {
    /// Opens an existing directory.
    ///
    /// # Errors
    /// `NotFound` without the directory, `Io`.
    pub fn open_root(root: &Path) -> Result<Self, DiskError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = retry_on_intr(|| fs::open(root, flags, Mode::empty()))
            .map_err(|errno| failed(errno, Operation::Open, &root.to_string_lossy()))?;
        Ok(Self { root })
    }

    /// Opens a directory, which is created with its parents if need be.
    ///
    /// # Errors
    /// `Io`, `NoSpace`.
    pub fn create_root(root: &Path) -> Result<Self, DiskError> {
        if let Err(error) = std::fs::create_dir_all(root) {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            return Err(failed(errno, Operation::CreateDir, &root.to_string_lossy()));
        }
        Self::open_root(root)
    }

    fn open_at(&self, path: &str, flags: OFlags, operation: Operation) -> Result<OwnedFd, DiskError> {
        path::check(path, operation)?;
        let target = if path.is_empty() { "." } else { path };
        let flags = flags | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
        retry_on_intr(|| fs::openat(&self.root, target, flags, mode))
            .map_err(|errno| failed(errno, operation, path))
    }

    fn open_dir(&self, path: &str, operation: Operation) -> Result<OwnedFd, DiskError> {
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, operation)
    }

    fn unlink(&self, path: &str, flags: AtFlags, operation: Operation) -> Result<(), DiskError> {
        path::check(path, operation)?;
        fs::unlinkat(&self.root, path, flags).map_err(|errno| failed(errno, operation, path))
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError> {
        let flags = match mode {
            OpenMode::Read => OFlags::RDONLY,
            OpenMode::Write => OFlags::RDWR,
            OpenMode::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            OpenMode::Replace => OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC,
        };
        let file = self.open_at(path, flags, Operation::Open)?;
        Ok(Arc::new(RealFile { file, path: path.into() }))
    }

    fn create_dir(&self, path: &str) -> Result<(), DiskError> {
        path::check(path, Operation::CreateDir)?;
        let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP;
        fs::mkdirat(&self.root, path, mode).map_err(|errno| failed(errno, Operation::CreateDir, path))
    }

    fn list(&self, dir: &str) -> Result<Vec<DirEntry>, DiskError> {
        let fail = |errno| failed(errno, Operation::List, dir);
        let opened = self.open_dir(dir, Operation::List)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&opened).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            // A name that is not UTF-8 is none of ours; neither are the links to here and upwards.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") {
                continue;
            }
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                let stat = fs::statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
                kind = FileType::from_raw_mode(stat.st_mode);
            }
            entries.push(DirEntry { name: name.to_owned(), is_dir: kind == FileType::Directory });
        }
        entries.sort();
        Ok(entries)
    }

    fn length(&self, path: &str) -> Result<u64, DiskError> {
        path::check(path, Operation::Length)?;
        let stat = fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed(errno, Operation::Length, path))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        path::check_rename(from, to)?;
        fs::renameat(&self.root, from, &self.root, to).map_err(|errno| failed(errno, Operation::Rename, from))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.unlink(path, AtFlags::empty(), Operation::Remove)
    }

    fn remove_dir(&self, path: &str) -> Result<(), DiskError> {
        self.unlink(path, AtFlags::REMOVEDIR, Operation::RemoveDir)
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        let opened = self.open_dir(dir, Operation::SyncDir)?;
        retry_on_intr(|| fs::fsync(&opened)).map_err(|errno| failed(errno, Operation::SyncDir, dir))
    }

    fn sync_fs(&self) -> Result<(), DiskError> {
        fs::syncfs(&self.root).map_err(|errno| failed(errno, Operation::SyncFs, ""))
    }

    fn space(&self) -> Result<Space, DiskError> {
        let stat = fs::fstatvfs(&self.root).map_err(|errno| failed(errno, Operation::Space, ""))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
    }

    fn lock(&self, path: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = self.open_at(path, OFlags::RDWR | OFlags::CREATE, Operation::Lock)?;
        // The first lock keeps our own processes out and belongs to the descriptor. The second is the kind
        // that Apache Kafka takes, so that the two never share a directory.
        fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .and_then(|()| fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive))
            .map_err(|errno| failed(errno, Operation::Lock, path))?;
        Ok(Arc::new(RealFile { file, path: path.into() }))
    }
}

impl RealFile {
    fn failed(&self, errno: Errno, operation: Operation) -> DiskError {
        failed(errno, operation, &self.path)
    }

    #[expect(unsafe_code, reason = "rustix does not know sync_file_range")]
    fn sync_range(&self, at: i64, length: i64, flags: libc::c_uint) -> Result<(), Errno> {
        let file = self.file.as_raw_fd();
        // SAFETY: the descriptor is open as long as `self`, and no memory is handed over.
        match unsafe { libc::sync_file_range(file, at, length, flags) } {
            0 => Ok(()),
            _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        }
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<usize, DiskError> {
        let mut done = 0;
        while done < buffer.len() {
            let rest = &mut buffer[done..];
            let read = retry_on_intr(|| rustix::io::pread(&self.file, &mut *rest, at + done as u64))
                .map_err(|errno| self.failed(errno, Operation::Read))?;
            if read == 0 {
                break;
            }
            done += read;
        }
        Ok(done)
    }

    fn write_at(&self, mut parts: &mut [IoSlice<'_>], at: u64) -> Result<(), DiskError> {
        let mut at = at;
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let turn = &parts[..parts.len().min(IOV_MAX)];
            let written = retry_on_intr(|| rustix::io::pwritev(&self.file, turn, at))
                .map_err(|errno| self.failed(errno, Operation::Write))?;
            if written == 0 {
                return Err(self.failed(Errno::IO, Operation::Write));
            }
            at += written as u64;
            IoSlice::advance_slices(&mut parts, written);
        }
        Ok(())
    }

    fn is_cached(&self, at: u64, length: u64) -> bool {
        let Some(last) = length.checked_sub(1).map(|last| at + last) else { return true };
        let mut byte = [0];
        let mut there = |position| {
            let read =
                preadv2(&self.file, &mut [IoSliceMut::new(&mut byte)], position, ReadWriteFlags::NOWAIT);
            // Whatever else is wrong is found out by the read itself.
            !matches!(read, Err(Errno::AGAIN))
        };
        (at..last).step_by(PROBE_BYTES).chain([last]).all(&mut there)
    }

    fn read_ahead(&self, at: u64, length: u64) {
        let _hint = fs::fadvise(&self.file, at, NonZeroU64::new(length), Advice::WillNeed);
    }

    fn write_behind(&self, at: u64, length: u64) {
        let (Ok(at), Ok(length)) = (i64::try_from(at), i64::try_from(length)) else { return };
        // What cannot be written is found out by the flush.
        let _hint = self.sync_range(at, length, libc::SYNC_FILE_RANGE_WRITE);
    }

    fn reserve(&self, at: u64, bytes: u64) {
        // Not every file system can, and a full one need not.
        let _hint = fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, at, bytes);
    }

    fn release(&self, length: u64) {
        // Cutting a file to the length that it has frees what lies behind it.
        let _hint = fs::ftruncate(&self.file, length);
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        retry_on_intr(|| fs::fdatasync(&self.file)).map_err(|errno| self.failed(errno, Operation::Sync))
    }

    fn check_written(&self) -> Result<(), DiskError> {
        retry_on_intr(|| self.sync_range(0, 0, libc::SYNC_FILE_RANGE_WAIT_BEFORE))
            .map_err(|errno| self.failed(errno, Operation::Sync))
    }

    fn truncate(&self, length: u64) -> Result<(), DiskError> {
        retry_on_intr(|| fs::ftruncate(&self.file, length))
            .map_err(|errno| self.failed(errno, Operation::Truncate))
    }

    fn length(&self) -> Result<u64, DiskError> {
        let stat = fs::fstat(&self.file).map_err(|errno| self.failed(errno, Operation::Length))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn modified(&self) -> Result<Timestamp, DiskError> {
        let stat = fs::fstat(&self.file).map_err(|errno| self.failed(errno, Operation::Length))?;
        let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Ok(Timestamp(stat.st_mtime.saturating_mul(1_000).saturating_add(nanos / 1_000_000)))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

fn failed(errno: Errno, operation: Operation, path: &str) -> DiskError {
    let kind = match errno {
        Errno::NOENT => DiskErrorKind::NotFound,
        Errno::EXIST | Errno::NOTEMPTY => DiskErrorKind::AlreadyExists,
        Errno::NOSPC | Errno::DQUOT => DiskErrorKind::NoSpace,
        Errno::WOULDBLOCK | Errno::ACCESS if operation == Operation::Lock => DiskErrorKind::Locked,
        other => DiskErrorKind::Io(other.raw_os_error()),
    };
    DiskError::new(kind, operation, path)
}
