//! Checkpoints: what spares the next start a scan. Index entries and producer snapshots, never evidence.

use super::Log;
use crate::disk::{Disk, DiskError};
use crate::durable::{remove_if_there, write_small};
use crate::names::{FileKind, Stage};
use crate::producer::{self, ProducerStates};
use crate::segment::{IndexWrite, path};
use base::{Instant, Now};
use std::sync::{Arc, Mutex, PoisonError};

/// What a log remembers about its checkpoints.
#[derive(Debug)]
pub(super) struct CheckpointState {
    at: Instant,
    rolled_at: Instant,
    /// End of the log at the last checkpoint.
    end: i64,
    /// Size of the active segment then, or zero if it is another.
    size: u64,
    in_flight: bool,
    /// Snapshots taken at rolls, to be written.
    snapshots: Vec<(i64, Vec<u8>)>,
    /// Counts truncations. Whoever writes a snapshot holds the lock meanwhile, so that none of a log before a
    /// cut appears after it.
    guard: Arc<Mutex<u64>>,
}

/// Files to be written; made by the log under its lock, run without.
#[derive(Debug)]
pub struct CheckpointJob {
    disk: Arc<dyn Disk>,
    dir: Arc<str>,
    indexes: Vec<IndexWrite>,
    snapshots: Vec<(i64, Vec<u8>)>,
    obsolete: Vec<i64>,
    guard: Arc<Mutex<u64>>,
    generation: u64,
}

/// What a [`CheckpointJob`] did; the log takes it back.
#[derive(Debug)]
pub struct CheckpointDone {
    snapshots: Vec<i64>,
    obsolete: Vec<i64>,
}

impl CheckpointState {
    pub(super) fn new(now: Now, end: i64, size: u64) -> Self {
        Self {
            at: now.mono,
            rolled_at: now.mono,
            end,
            size,
            in_flight: false,
            snapshots: Vec::new(),
            guard: Arc::new(Mutex::new(0)),
        }
    }

    /// When the active segment began.
    pub(super) const fn rolled_at(&self) -> Instant {
        self.rolled_at
    }

    pub(super) fn note_rolled(&mut self, now: Now, base: i64, producers: &ProducerStates) {
        self.rolled_at = now.mono;
        self.size = 0;
        if !producers.is_empty() {
            self.snapshots.push((base, producer::encode(producers)));
        }
    }

    /// Waits until no snapshot is being written and keeps jobs made before from writing any.
    pub(super) fn invalidate(&mut self) {
        *self.guard.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.snapshots.clear();
        self.size = 0;
    }

    fn generation(&self) -> u64 {
        *self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// True if enough was written, or long enough ago, that a checkpoint should be taken.
    #[must_use]
    pub fn checkpoint_due(&self, now: Now) -> bool {
        let state = &self.checkpoint;
        let bytes = self.active.size.saturating_sub(state.size);
        let dirty = self.end.0 != state.end || !state.snapshots.is_empty();
        let due = bytes >= self.config.checkpoint_bytes
            || now.mono.since(state.at) >= self.config.checkpoint_time
            || !state.snapshots.is_empty();
        dirty && due && !state.in_flight
    }

    /// A checkpoint of the log as it is now. `None` if one is under way.
    pub fn checkpoint_job(&mut self, now: Now) -> Option<CheckpointJob> {
        if self.checkpoint.in_flight {
            return None;
        }
        let mut snapshots = std::mem::take(&mut self.checkpoint.snapshots);
        let latest = snapshots.last().map(|(offset, _)| *offset).or(self.snapshots.last().copied());
        // Where there are no producers the flush point says so, and no file is needed.
        let wanted = !self.producers.is_empty() || latest.is_some();
        if wanted && latest != Some(self.end.0) {
            snapshots.push((self.end.0, producer::encode(&self.producers)));
        }
        let newest = snapshots.last().map(|(offset, _)| *offset);
        let job = CheckpointJob {
            disk: Arc::clone(self.dir.disk()),
            dir: Arc::clone(&self.path),
            indexes: self.active.index_writes(&self.path),
            obsolete: newest.map(|newest| self.obsolete_snapshots(newest)).unwrap_or_default(),
            snapshots,
            guard: Arc::clone(&self.checkpoint.guard),
            generation: self.checkpoint.generation(),
        };
        self.active.mark_written();
        self.checkpoint.in_flight = true;
        (self.checkpoint.at, self.checkpoint.end) = (now.mono, self.end.0);
        self.checkpoint.size = self.active.size;
        Some(job)
    }

    /// Takes back what became of a checkpoint.
    pub fn checkpointed(&mut self, done: CheckpointDone) {
        self.checkpoint.in_flight = false;
        self.snapshots.extend(done.snapshots);
        for offset in done.obsolete {
            self.snapshots.remove(&offset);
        }
    }

    /// A checkpoint failed, for want of space perhaps: the next one tries again.
    pub fn checkpoint_failed(&mut self) {
        self.checkpoint.in_flight = false;
        self.checkpoint.end = -1;
        self.active.written = (0, 0);
    }

    /// Snapshots that neither belong to a segment nor are among the two newest.
    fn obsolete_snapshots(&self, newest: i64) -> Vec<i64> {
        let mut older = self.snapshots.range(..newest).rev();
        older.next();
        let bound = |offset: &&i64| **offset != self.active.base && !self.closed.contains_key(offset);
        older.filter(bound).copied().collect()
    }
}

impl CheckpointJob {
    /// Writes the files. Waits for the device.
    ///
    /// # Errors
    /// As the disk. Nothing depends on what was not written.
    pub fn run(&self) -> Result<CheckpointDone, DiskError> {
        for index in &self.indexes {
            index.run(&*self.disk)?;
        }
        let mut done = CheckpointDone { snapshots: Vec::new(), obsolete: Vec::new() };
        let generation = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        if *generation != self.generation {
            return Ok(done);
        }
        for (offset, bytes) in &self.snapshots {
            write_small(&*self.disk, &path(&self.dir, *offset, FileKind::Snapshot, Stage::Live), bytes)?;
            done.snapshots.push(*offset);
        }
        for offset in &self.obsolete {
            remove_if_there(&*self.disk, &path(&self.dir, *offset, FileKind::Snapshot, Stage::Live))?;
            done.obsolete.push(*offset);
        }
        Ok(done)
    }
}
