//! A simulated disk: it can be asked for a state that is possible after a crash now.
//!
//! What was not synced survives or not, each file and each directory entry by itself, torn at 512 bytes; what
//! was synced stays; a name stays only if its directory was synced. Stricter than ext4, as POSIX allows.
//! Faults, a capacity, bit rot and latencies are injected from outside; the disk itself draws nothing at
//! random and keeps no time. Hard links and renames between directories do not exist.

mod content;
mod node;
mod state;

use super::{DirEntry, Disk, DiskError, DiskErrorKind, DiskFile, OpenMode, Operation, Space, path};
use base::{Rng, Span, Timestamp};
use node::NodeId;
use state::State;
use std::fmt;
use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How an injected operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO; a write leaves its first half behind, a sync leaves everything to a later one.
    Io,
    /// EIO of a sync after which the pages count as clean: later syncs succeed and the data is not there.
    LostSync,
    /// ENOSPC; a write leaves its first half behind.
    NoSpace,
}

/// The simulated disk. Clones share it, as processes share a device.
#[derive(Clone, Default)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct MemFile {
    disk: MemDisk,
    node: NodeId,
    path: Box<str>,
    holds_lock: bool,
}

impl MemDisk {
    /// An empty disk without faults or limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk in a state that is possible after a crash of this one now, without its faults, locks and open
    /// handles. `survive` is the chance in percent of each unsynced change to be there: 0 loses all, 100 none.
    #[must_use]
    pub fn crash_clone(&self, rng: &mut Rng, survive: u8) -> Self {
        let state = self.state().crashed(rng, u64::from(survive.min(100)));
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Operations begun so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// From the operation with number `first` on (the next one has the number [`MemDisk::operations`]),
    /// everything fails with `Crashed` and changes nothing. `None` ends that.
    pub fn fail_from(&self, first: Option<u64>) {
        self.state().fail_from = first;
    }

    /// Lets the `skip`+1-th operation of this kind from now on fail once.
    pub fn inject(&self, operation: Operation, skip: u64, fault: Fault) {
        self.state().inject(operation, skip, fault);
    }

    /// Takes back the faults that have not come up yet.
    pub fn clear_faults(&self) {
        self.state().clear_faults();
    }

    /// Limits the bytes in files; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Flips a bit of a file, in the cache and on the medium.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn flip_bit(&self, path: &str, bit: u64) -> Result<(), DiskError> {
        let mut state = self.state();
        let file = state.file_at(path, Operation::Write)?;
        file.current.flip(bit);
        file.durable.flip(bit);
        Ok(())
    }

    /// Forgets what is in memory of files without unsynced changes: it has to be read from the device again.
    pub fn drop_cache(&self) {
        self.state().drop_cache();
    }

    /// The time that files changed from now on bear.
    pub fn set_clock(&self, wall: Timestamp) {
        self.state().clock = wall;
    }

    /// From now on each operation of this kind adds `latency` to what [`MemDisk::take_latency`] returns.
    pub fn set_latency(&self, operation: Operation, latency: Span) {
        self.state().latencies.insert(operation, latency);
    }

    /// The time that operations since the last call should have taken.
    pub fn take_latency(&self) -> Span {
        std::mem::take(&mut self.state().elapsed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, node: NodeId, path: &str, holds_lock: bool) -> Arc<dyn DiskFile> {
        Arc::new(MemFile { disk: self.clone(), node, path: path.into(), holds_lock })
    }
}

impl fmt::Debug for MemDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemDisk").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

impl Disk for MemDisk {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError> {
        let mut state = self.state();
        state.begin(Operation::Open, path)?;
        let node = state.open(path, mode)?;
        Ok(self.handle(node, path, false))
    }

    fn create_dir(&self, path: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.begin(Operation::CreateDir, path)?;
        state.create_dir(path)
    }

    fn list(&self, dir: &str) -> Result<Vec<DirEntry>, DiskError> {
        let mut state = self.state();
        state.begin(Operation::List, dir)?;
        state.list(dir)
    }

    fn length(&self, path: &str) -> Result<u64, DiskError> {
        let mut state = self.state();
        state.begin(Operation::Length, path)?;
        Ok(state.file_at(path, Operation::Length)?.current.length())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.begin(Operation::Rename, from)?;
        state.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.begin(Operation::Remove, path)?;
        state.remove(path, false)
    }

    fn remove_dir(&self, path: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.begin(Operation::RemoveDir, path)?;
        state.remove(path, true)
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        state.begin(Operation::SyncDir, dir)?;
        let node = state.find(dir, Operation::SyncDir)?;
        state.sync_dir(node);
        Ok(())
    }

    fn sync_fs(&self) -> Result<(), DiskError> {
        let mut state = self.state();
        let lost = state.begin_sync(Operation::SyncFs, "")?;
        state.sync_all(lost.is_some());
        lost.map_or(Ok(()), Err)
    }

    fn space(&self) -> Result<Space, DiskError> {
        let mut state = self.state();
        state.begin(Operation::Space, "")?;
        Ok(state.space())
    }

    fn lock(&self, path: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        let mut state = self.state();
        state.begin(Operation::Lock, path)?;
        let node = state.lock(path)?;
        Ok(self.handle(node, path, true))
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<usize, DiskError> {
        let mut state = self.disk.state();
        state.begin(Operation::Read, &self.path)?;
        state.warm(self.node, at);
        Ok(state.file(self.node).map_or(0, |file| file.current.read(buffer, at)))
    }

    fn is_cached(&self, at: u64, _length: u64) -> bool {
        self.disk.state().file(self.node).is_none_or(|file| at >= file.cold)
    }

    fn write_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> Result<(), DiskError> {
        let data: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.disk.state().write(self.node, &self.path, at, &data)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        let mut state = self.disk.state();
        let lost = state.begin_sync(Operation::Sync, &self.path)?;
        state.sync_file(self.node, lost.is_some());
        lost.map_or(Ok(()), Err)
    }

    fn check_written(&self) -> Result<(), DiskError> {
        self.disk.state().begin(Operation::Sync, &self.path)
    }

    fn truncate(&self, length: u64) -> Result<(), DiskError> {
        let mut state = self.disk.state();
        state.begin(Operation::Truncate, &self.path)?;
        state.truncate(self.node, length);
        Ok(())
    }

    fn length(&self) -> Result<u64, DiskError> {
        let mut state = self.disk.state();
        state.begin(Operation::Length, &self.path)?;
        Ok(state.file(self.node).map_or(0, |file| file.current.length()))
    }

    fn modified(&self) -> Result<Timestamp, DiskError> {
        let mut state = self.disk.state();
        state.begin(Operation::Length, &self.path)?;
        Ok(state.file(self.node).map_or(Timestamp::NONE, |file| file.modified))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        self.disk.state().close(self.node, self.holds_lock);
    }
}
