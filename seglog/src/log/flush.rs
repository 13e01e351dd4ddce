//! The log's side of a flush: what to make durable, and what it then knows.

use super::Log;
use super::closed::Closed;
use crate::dir::{FlushJob, FlushOutcome, FlushPoint, Flushed, Indexed};
use crate::disk::DiskFile;
use crate::names::LEADER_EPOCHS;
use crate::segment::{IndexWrite, Segment};
use crate::text;
use base::hit;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is not durable yet.
#[derive(Debug)]
pub(super) struct FlushState {
    /// Counts truncations; a flush that began before one says nothing about the log after it.
    generation: u64,
    /// Files of closed segments, and the partition's identity.
    rolled: Vec<Arc<dyn DiskFile>>,
    /// Closed segments whose indexes are not in their files.
    unsealed: BTreeSet<i64>,
    /// The partition directory has names that are not durable.
    dir_dirty: bool,
    /// The partition directory's own name is not durable.
    is_new: bool,
    /// Change number of the leader epochs in the file; `None` if nobody knows what is in it.
    epochs_written: Option<u64>,
    /// A checkpoint wants the active segment's index in its files.
    index_wanted: bool,
    in_flight: Option<InFlight>,
}

/// What a job that is under way took along.
#[derive(Debug)]
struct InFlight {
    files: usize,
    sealed: Vec<i64>,
    /// What of the active segment's index went along.
    indexed: Option<Indexed>,
    dir_dirty: bool,
    is_new: bool,
}

impl FlushState {
    pub(super) fn new(generation: u64, unsealed: Vec<i64>) -> Self {
        Self {
            generation,
            rolled: Vec::new(),
            unsealed: unsealed.into_iter().collect(),
            dir_dirty: false,
            is_new: false,
            epochs_written: Some(0),
            index_wanted: false,
            in_flight: None,
        }
    }

    /// The log was just created, and its identity written to `metadata`.
    pub(super) fn mark_new(&mut self, metadata: Arc<dyn DiskFile>) {
        self.rolled.push(metadata);
        self.is_new = true;
        self.dir_dirty = true;
    }

    pub(super) const fn want_index(&mut self) {
        self.index_wanted = true;
    }

    pub(super) const fn note_dir_dirty(&mut self) {
        self.dir_dirty = true;
    }

    pub(super) fn note_rolled(&mut self, segment: &Segment) {
        self.rolled.push(Arc::clone(&segment.file));
        self.unsealed.insert(segment.base);
        self.dir_dirty = true;
    }

    /// The log was cut and what is left of it made durable.
    pub(super) fn note_truncated(&mut self, generation: u64, first_gone: i64) {
        self.generation = generation;
        self.rolled.clear();
        self.unsealed.retain(|base| *base < first_gone);
    }

    /// Segments before `first` are gone.
    pub(super) fn note_deleted(&mut self, first: i64) {
        self.unsealed.retain(|base| *base >= first);
    }

    /// Files that may not be durable, the active segment's aside.
    pub(super) fn rolled(&self) -> &[Arc<dyn DiskFile>] {
        &self.rolled
    }

    /// Segments whose indexes exist in memory only.
    pub(super) const fn unsealed(&self) -> &BTreeSet<i64> {
        &self.unsealed
    }

    /// The leader epochs' file has this change.
    pub(super) const fn note_epochs_written(&mut self, change: u64) {
        self.epochs_written = Some(change);
    }

    fn restore(&mut self, taken: &InFlight, is_there: impl Fn(i64) -> bool) {
        self.dir_dirty |= taken.dir_dirty;
        self.is_new |= taken.is_new;
        self.index_wanted |= taken.indexed.is_some();
        self.unsealed.extend(taken.sealed.iter().filter(|base| is_there(**base)));
    }
}

impl Log {
    /// True if a flush would do something.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        let state = &self.flush;
        self.end > self.flushed
            || !state.rolled.is_empty()
            || !state.unsealed.is_empty()
            || state.dir_dirty
            || state.index_wanted
            || state.epochs_written != Some(self.epochs.changes())
    }

    /// What has to be flushed, for [`crate::dir::LogDir::flush_round`]. `None` if nothing is dirty or a flush is
    /// under way already.
    pub fn flush_job(&mut self) -> Option<FlushJob> {
        if self.flush.in_flight.is_some() || !self.is_dirty() {
            return None;
        }
        let mut files = self.flush.rolled.clone();
        let rolled = files.len();
        if self.end > self.flushed {
            files.push(Arc::clone(&self.active.file));
        }
        let sealed: Vec<i64> = std::mem::take(&mut self.flush.unsealed).into_iter().collect();
        let segments = sealed.iter().filter_map(|base| self.closed.get(base)?.open());
        let mut indexes: Vec<IndexWrite> =
            segments.flat_map(|segment| segment.index_writes(&self.path, true)).collect();
        let indexed = self.flush.index_wanted.then(|| self.active.indexed());
        if indexed.is_some() {
            indexes.extend(self.active.index_writes(&self.path, false));
        }
        let (dir_dirty, is_new) = (self.flush.dir_dirty || !indexes.is_empty(), self.flush.is_new);
        (self.flush.dir_dirty, self.flush.is_new, self.flush.index_wanted) = (false, false, false);
        self.flush.in_flight = Some(InFlight { files: rolled, sealed, indexed, dir_dirty, is_new });
        let mut point = FlushPoint { no_producers: self.producers.is_empty(), ..self.point() };
        point.indexed = indexed.unwrap_or(point.indexed);
        Some(FlushJob {
            key: self.key,
            point,
            generation: self.flush.generation,
            files,
            indexes,
            dir: dir_dirty.then(|| Arc::clone(&self.path)),
            is_new,
            epochs: self.epochs_to_write(),
            lease: self.checkpoint.lease(),
        })
    }

    /// Takes back what became of a flush job.
    pub fn flushed_to(&mut self, outcome: &FlushOutcome) {
        let Some(taken) = self.flush.in_flight.take() else { return };
        let stale = outcome.generation != self.flush.generation;
        match outcome.flushed {
            Flushed::To(end) if !stale => {
                assert!(end <= self.end, "a log does not shrink without a new generation");
                self.flushed = self.flushed.max(end);
                self.flush.rolled.drain(..taken.files);
                self.mark_indexed(&taken);
                if outcome.epochs.is_some() {
                    self.flush.epochs_written = outcome.epochs;
                }
            }
            Flushed::To(_) | Flushed::Postponed => {
                hit!(flush_of_another_generation);
                self.flush.restore(&taken, |base| self.closed.contains_key(&base));
                // The stale job may have put the epochs of before the cut into the file.
                self.flush.epochs_written = None;
            }
        }
    }

    /// The flush round failed: nothing of it counts. The directory is fenced then.
    pub fn flush_failed(&mut self) {
        if let Some(taken) = self.flush.in_flight.take() {
            self.flush.restore(&taken, |base| self.closed.contains_key(&base));
        }
    }

    /// From where to where the log reaches now.
    pub(super) const fn point(&self) -> FlushPoint {
        FlushPoint { end: self.end, start: self.start, indexed: self.indexed, no_producers: false }
    }

    pub(super) fn first_base(&self) -> i64 {
        self.closed.first_key_value().map_or(self.active.base, |(base, _)| *base)
    }

    fn mark_indexed(&mut self, taken: &InFlight) {
        for base in &taken.sealed {
            if let Some(segment) = self.closed.get_mut(base).and_then(Closed::open_mut) {
                segment.mark_written();
            }
        }
        if let Some(indexed) = taken.indexed.filter(|indexed| indexed.base == self.active.base) {
            self.indexed = indexed;
            self.active.mark_written_to(indexed);
        }
    }

    fn epochs_to_write(&self) -> Option<(String, String, u64)> {
        let change = self.epochs.changes();
        if self.flush.epochs_written == Some(change) {
            return None;
        }
        Some((format!("{}/{LEADER_EPOCHS}", self.path), text::encode_epochs(self.epochs.starts()), change))
    }
}
