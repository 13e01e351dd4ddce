//! Checkpoints: what spares the next start a scan. Producer snapshots, written here, and the active segment's
//! index, which goes with the next flush so that a flush point can say how far it is complete.

use super::Log;
use crate::dir::LogDir;
use crate::disk::{Disk, DiskError, DiskFile};
use crate::durable::{remove_if_there, write_small};
use crate::names::{FileKind, Stage};
use crate::producer::{self, ProducerStates};
use crate::segment::path;
use base::{EndOffset, Instant, Now, hit};
use std::sync::{Arc, Mutex, PoisonError};

/// What a log remembers about its checkpoints.
#[derive(Debug)]
pub(super) struct CheckpointState {
    at: Instant,
    rolled_at: Instant,
    /// Bytes that the next start would have to look at: appended, or checked when the log was opened, since the
    /// last checkpoint.
    owed: u64,
    in_flight: bool,
    /// Snapshots that were taken and are not known to be on the device.
    pending: Vec<Snapshot>,
    /// Counts truncations. Whoever writes a snapshot holds the lock meanwhile, so that none of a log before a
    /// cut appears after it.
    guard: Arc<Mutex<u64>>,
    /// What the guard says, to be read without waiting for whoever holds it.
    generation: u64,
}

/// What the guard says once the partition is deleted: its directory's name may be another's by now.
const GONE: u64 = u64::MAX;

/// Producer state before an offset, encoded.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) offset: i64,
    bytes: Arc<[u8]>,
}

impl Snapshot {
    pub(super) fn take(offset: i64, producers: &ProducerStates) -> Self {
        Self { offset, bytes: producer::encode(producers).into() }
    }

    /// Writes the snapshot into a partition directory. Waits for the device.
    pub(super) fn write(&self, disk: &dyn Disk, dir: &str) -> Result<(), DiskError> {
        write_small(disk, &path(dir, self.offset, FileKind::Snapshot, Stage::Live), &self.bytes)
    }
}

/// Files to be written; made by the log under its lock, run without.
#[derive(Debug)]
pub struct CheckpointJob {
    dir: Arc<LogDir>,
    path: Arc<str>,
    snapshots: Vec<Snapshot>,
    obsolete: Vec<i64>,
    lease: Lease,
    active: Arc<dyn DiskFile>,
    size: u64,
}

/// Allows what is derived from the log to be written, until the log is cut.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    guard: Arc<Mutex<u64>>,
    generation: u64,
}

impl Lease {
    /// Which cut it was made after.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Runs `write` unless the partition was deleted; a deletion waits for it. `None` if it did not run.
    pub(crate) fn hold_if_there<T>(
        &self,
        write: impl FnOnce() -> Result<T, DiskError>,
    ) -> Result<Option<T>, DiskError> {
        let generation = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        if *generation == GONE {
            hit!(job_of_deleted_partition);
            return Ok(None);
        }
        write().map(Some)
    }

    /// Runs `write` unless the log was cut since; a cut waits for it. Returns whether it ran.
    pub(crate) fn hold(&self, write: impl FnOnce() -> Result<(), DiskError>) -> Result<bool, DiskError> {
        let generation = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        if *generation == self.generation { write().map(|()| true) } else { Ok(false) }
    }
}

/// What a [`CheckpointJob`] did; the log takes it back.
#[derive(Debug)]
pub struct CheckpointDone {
    snapshots: Vec<i64>,
    obsolete: Vec<i64>,
}

impl CheckpointState {
    pub(super) fn new(now: Now, owed: u64) -> Self {
        Self {
            at: now.mono,
            rolled_at: now.mono,
            owed,
            in_flight: false,
            pending: Vec::new(),
            guard: Arc::new(Mutex::new(0)),
            generation: 0,
        }
    }

    pub(super) const fn note_appended(&mut self, bytes: u64) {
        self.owed += bytes;
    }

    /// When the active segment began.
    pub(super) const fn rolled_at(&self) -> Instant {
        self.rolled_at
    }

    pub(super) fn note_rolled(&mut self, now: Now, base: i64, producers: &ProducerStates) {
        self.rolled_at = now.mono;
        self.note_snapshot(base, producers);
    }

    /// Keeps the state before `offset` until it is written.
    pub(super) fn note_snapshot(&mut self, offset: i64, producers: &ProducerStates) {
        if !producers.is_empty() {
            self.pending.push(Snapshot::take(offset, producers));
        }
    }

    /// Waits until no snapshot is being written and keeps jobs made before from writing any. Returns those
    /// that were pending up to `end`.
    pub(super) fn invalidate(&mut self, end: EndOffset) -> Vec<Snapshot> {
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        *guard += 1;
        self.generation = *guard;
        drop(guard);
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|snapshot| snapshot.offset <= end.0);
        pending
    }

    /// The pending snapshot at an offset.
    pub(super) fn pending_at(&self, offset: i64) -> Option<Snapshot> {
        self.pending.iter().find(|snapshot| snapshot.offset == offset).cloned()
    }

    pub(super) fn lease(&self) -> Lease {
        Lease { guard: Arc::clone(&self.guard), generation: self.generation }
    }
}

impl Log {
    /// Bytes that the next start would have to look at for want of a checkpoint.
    #[must_use]
    pub const fn checkpoint_owed(&self) -> u64 {
        self.checkpoint.owed
    }

    /// True if enough was written, or long enough ago, that a checkpoint should be taken.
    #[must_use]
    pub fn checkpoint_due(&self, now: Now) -> bool {
        let state = &self.checkpoint;
        let due = state.owed >= self.config.checkpoint_bytes
            || now.mono.since(state.at) >= self.config.checkpoint_time;
        (state.owed > 0 || !state.pending.is_empty()) && due && !state.in_flight
    }

    /// The partition is deleted: jobs that were made for it touch nothing any more under its directory's name,
    /// which another may bear soon. Waits for one that is at it.
    pub fn abandon(&mut self) {
        *self.checkpoint.guard.lock().unwrap_or_else(PoisonError::into_inner) = GONE;
        self.checkpoint.generation = GONE;
    }

    /// A checkpoint of the log as it is now. `None` if one is under way.
    pub fn checkpoint_job(&mut self, now: Now) -> Option<CheckpointJob> {
        if self.checkpoint.in_flight {
            return None;
        }
        let pending = self.checkpoint.pending.last().map(|snapshot| snapshot.offset);
        let latest = pending.or(self.snapshots.last().copied());
        // Where there are no producers the flush point says so, and no file is needed.
        if latest != Some(self.end.0) {
            self.checkpoint.note_snapshot(self.end.0, &self.producers);
        }
        let snapshots = self.checkpoint.pending.clone();
        let newest = snapshots.last().map(|snapshot| snapshot.offset);
        let job = CheckpointJob {
            dir: Arc::clone(&self.dir),
            path: Arc::clone(&self.path),
            obsolete: newest.map(|newest| self.obsolete_snapshots(newest)).unwrap_or_default(),
            snapshots,
            lease: self.checkpoint.lease(),
            active: Arc::clone(&self.active.file),
            size: self.active.size,
        };
        self.flush.want_index();
        self.checkpoint.in_flight = true;
        (self.checkpoint.at, self.checkpoint.owed) = (now.mono, 0);
        Some(job)
    }

    /// Takes back what became of a checkpoint.
    pub fn checkpointed(&mut self, done: CheckpointDone) {
        self.checkpoint.in_flight = false;
        self.checkpoint.pending.retain(|snapshot| !done.snapshots.contains(&snapshot.offset));
        self.snapshots.extend(done.snapshots);
        for offset in done.obsolete {
            self.snapshots.remove(&offset);
        }
    }

    /// A checkpoint failed, for want of space perhaps: the next one tries again.
    pub fn checkpoint_failed(&mut self) {
        self.checkpoint.in_flight = false;
        self.checkpoint.owed += 1;
    }

    /// Snapshots that neither belong to a segment nor are among the two newest nor the newest that a crash
    /// would leave.
    fn obsolete_snapshots(&self, newest: i64) -> Vec<i64> {
        let mut older = self.snapshots.range(..newest).rev();
        older.next();
        let safe = self.newest_safe_snapshot();
        let bound = |offset: &&i64| {
            **offset != self.active.base && !self.closed.contains_key(offset) && Some(**offset) != safe
        };
        older.filter(bound).copied().collect()
    }

    /// The newest snapshot of a state that is on the device: later ones are dropped with the tail they are of.
    pub(super) fn newest_safe_snapshot(&self) -> Option<i64> {
        self.snapshots.range(..=self.flushed.0).next_back().copied()
    }
}

impl CheckpointJob {
    /// Writes the files. Waits for the device.
    ///
    /// # Errors
    /// As the disk. Nothing depends on what was not written; after an error other than `NoSpace` the directory
    /// is fenced.
    pub fn run(&self) -> Result<CheckpointDone, DiskError> {
        self.dir.fence_on_error(self.write())
    }

    fn write(&self) -> Result<CheckpointDone, DiskError> {
        let disk = &**self.dir.disk();
        // The flush that follows finds the device at work already.
        self.active.write_behind(0, self.size);
        let mut done = CheckpointDone { snapshots: Vec::new(), obsolete: Vec::new() };
        let valid = self.lease.hold(|| {
            let mut snapshots = self.snapshots.iter();
            snapshots.try_for_each(|snapshot| snapshot.write(disk, &self.path))
        })?;
        if valid {
            done.snapshots = self.snapshots.iter().map(|snapshot| snapshot.offset).collect();
            let removed = self.lease.hold_if_there(|| {
                let mut obsolete = self.obsolete.iter();
                obsolete.try_for_each(|offset| {
                    remove_if_there(disk, &path(&self.path, *offset, FileKind::Snapshot, Stage::Live))
                })
            })?;
            done.obsolete = removed.map(|()| self.obsolete.clone()).unwrap_or_default();
        }
        Ok(done)
    }
}
