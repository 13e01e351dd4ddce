//! Deleting from the front: by age, by size, by request.
//!
//! One predicate decides for all tiers (rule F7). The log's new start is durable before a file goes (B15).

use super::checkpoint::{Lease, Snapshot};
use super::open::remove_segment;
use super::{AppendError, Log, ReadError};
use crate::dir::{LogDir, PartitionKey};
use crate::disk::{DiskError, DiskErrorKind};
use crate::durable::remove_if_there;
use crate::names::{FileKind, Stage};
use crate::scan::ScanError;
use crate::segment::{Segment, path};
use base::{EndOffset, Now, Span, Timestamp, hit, planted};
use std::sync::Arc;

/// How far beyond a file's last change a record's timestamp is believed.
const FUTURE_MAX: Span = Span::from_secs(3600);

/// Moves the start of a log durably and renames the files in front of it.
#[derive(Debug)]
pub struct DeleteJob {
    dir: Arc<LogDir>,
    path: Arc<str>,
    key: PartitionKey,
    start: EndOffset,
    bases: Vec<i64>,
    /// Producer state that is nowhere but in the data that goes.
    snapshot: Option<Snapshot>,
    lease: Lease,
    obsolete: Vec<i64>,
}

/// Removes renamed files, after `file.delete.delay.ms` or at once: open handles go on reading.
#[derive(Debug)]
pub struct RemoveJob {
    dir: Arc<LogDir>,
    paths: Vec<String>,
    lease: Lease,
}

/// What the predicate looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// First offset after the segment.
    pub(super) end: i64,
    pub(super) bytes: u64,
    /// When its youngest record was written, as far as that can be believed.
    pub(super) youngest: Timestamp,
    pub(super) is_active: bool,
}

/// The limits in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) time: Option<Span>,
    pub(super) bytes: Option<u64>,
    pub(super) start: i64,
    pub(super) high_watermark: i64,
    pub(super) now: Timestamp,
}

/// The retention predicate: may this segment, the first of a log of `total` bytes, be deleted? Lower bounds
/// only: data is kept at least as long and as much as the limits say.
pub(super) fn may_delete(candidate: &Candidate, total: u64, limits: &Limits) -> bool {
    if candidate.end > limits.high_watermark || (candidate.is_active && candidate.bytes == 0) {
        return false;
    }
    let before_start = !candidate.is_active && candidate.end <= limits.start;
    let too_old = limits.time.is_some_and(|limit| limits.now.since(candidate.youngest) > limit);
    let too_much = limits.bytes.is_some_and(|limit| total.saturating_sub(candidate.bytes) >= limit);
    before_start || too_old || too_much
}

/// When a segment's youngest record was written. A timestamp from the future (rule F6) or none at all is
/// replaced by the time at which the file last changed.
pub(super) fn believable(latest: i64, modified: Timestamp) -> Timestamp {
    let bogus = latest < 0 || Timestamp(latest) > modified.plus(FUTURE_MAX);
    if bogus { modified } else { Timestamp(latest) }
}

impl Log {
    /// Decides what has to go by now, moves the start in memory and returns the job that does it on disk.
    /// `None` if everything may stay. Nothing at or after `high_watermark` is touched.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn plan_retention(
        &mut self,
        high_watermark: EndOffset,
        now: Now,
    ) -> Result<Option<DeleteJob>, ReadError> {
        let limits = Limits {
            time: self.config.retention_time.filter(|_| self.config.deletes),
            bytes: self.config.retention_bytes.filter(|_| self.config.deletes),
            start: self.start.0,
            high_watermark: high_watermark.min(self.end).0,
            now: now.wall,
        };
        let mut total = if limits.bytes.is_some() { self.size()? } else { 0 };
        let mut start = self.start.0;
        let mut base = self.first_base();
        loop {
            let candidate = self.candidate(base).map_err(|error| ReadError::scan(base, error))?;
            if !may_delete(&candidate, total, &limits) {
                break;
            }
            total = total.saturating_sub(candidate.bytes);
            start = start.max(candidate.end);
            if candidate.is_active {
                // Without a new segment to go on with, this one stays until the next time.
                if let Err(AppendError::NoSpace) = self.roll(now) {
                    start = start.min(base);
                }
                break;
            }
            base = candidate.end;
        }
        Ok(self.delete_before(start))
    }

    /// Moves the start by request (DeleteRecords), at most to `high_watermark`; the job makes it durable, and
    /// only after it may the request be answered. `None` if the start is there already.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] beyond the high watermark.
    pub fn delete_records(
        &mut self,
        start: EndOffset,
        high_watermark: EndOffset,
    ) -> Result<Option<DeleteJob>, ReadError> {
        if start > high_watermark.min(self.end) {
            return Err(ReadError::OutOfRange { start: self.start, end: high_watermark });
        }
        let first = self.first_base();
        let job = (start > self.start).then(|| self.delete_before(start.0)).flatten();
        debug_assert!(self.first_base() >= first, "a log is only ever deleted from the front");
        Ok(job)
    }

    pub(super) fn delete_before(&mut self, start: i64) -> Option<DeleteJob> {
        let start = EndOffset(start).max(self.start);
        let wait = self.compact.is_swapping();
        let bases: Vec<i64> = self
            .closed
            .keys()
            .copied()
            .take_while(|base| !wait && self.next_base(*base).is_some_and(|next| next <= start.0))
            .collect();
        if bases.is_empty() && start == self.start {
            return None;
        }
        hit!(log_start_moved);
        let first = bases.last().and_then(|base| self.next_base(*base));
        let snapshot = first.and_then(|first| self.snapshot_for(first));
        self.snapshots.extend(snapshot.iter().map(|snapshot| snapshot.offset));
        self.closed.retain(|base, _| !bases.contains(base));
        self.set_bounds(start, self.end);
        self.epochs.truncate_start(start);
        self.flush.note_deleted(self.first_base());
        Some(DeleteJob {
            dir: Arc::clone(&self.dir),
            path: Arc::clone(&self.path),
            key: self.key,
            start,
            snapshot,
            lease: self.checkpoint.lease(),
            obsolete: self.take_snapshots_before(self.first_base()),
            bases,
        })
    }

    /// What has to be written so that producers outlive their data (rule C11): the state at `first`, before
    /// which everything goes. If nobody has it, it is read from the data one last time.
    fn snapshot_for(&mut self, first: i64) -> Option<Snapshot> {
        if self.snapshots.contains(&first) || self.producers.is_empty() {
            return None;
        }
        if let Some(pending) = self.checkpoint.pending_at(first) {
            return Some(pending);
        }
        let live = std::mem::take(&mut self.producers);
        let from = self.load_snapshot(first).ok().flatten().unwrap_or(i64::MIN);
        let replayed = self.replay_producers(from..first, self.now);
        let then = std::mem::replace(&mut self.producers, live);
        replayed.is_ok().then(|| Snapshot::take(first, &then))
    }

    /// Snapshots that belong to deleted segments, but for the newest that a crash would leave.
    fn take_snapshots_before(&mut self, first: i64) -> Vec<i64> {
        let safe = self.newest_safe_snapshot().unwrap_or(i64::MIN);
        let gone: Vec<i64> = self.snapshots.range(..first.min(safe)).copied().collect();
        self.snapshots = self.snapshots.split_off(&first.min(safe));
        gone
    }

    fn candidate(&mut self, base: i64) -> Result<Candidate, ScanError> {
        let is_active = base == self.active.base;
        let end = self.next_base(base).unwrap_or(self.end.0);
        // What the index says of time was compared with the log when the segment was opened (rule B7).
        let segment: &Segment = self.segment(base)?;
        let youngest = believable(segment.latest.timestamp, segment.file.modified()?);
        Ok(Candidate { end, bytes: segment.size, youngest, is_active })
    }
}

impl DeleteJob {
    /// The log's start, durable once the job has run.
    #[must_use]
    pub const fn start(&self) -> EndOffset {
        self.start
    }

    /// Moves the start durably, then takes the files away from the log by renaming them. Waits for the device.
    ///
    /// # Errors
    /// As the disk; after an error other than `NoSpace` the directory is fenced. What was not renamed is dropped
    /// when the log is next opened.
    pub fn run(self) -> Result<RemoveJob, DiskError> {
        let dir = Arc::clone(&self.dir);
        dir.fence_on_error(self.delete())
    }

    fn delete(self) -> Result<RemoveJob, DiskError> {
        if planted!(B15) {
            self.rename_files()?;
        }
        if let Some(snapshot) = &self.snapshot {
            match self.lease.hold(|| snapshot.write(&**self.dir.disk(), &self.path)) {
                // On a full disk, making room comes first.
                Err(error) if error.kind == DiskErrorKind::NoSpace => hit!(snapshot_without_space),
                other => _ = other?,
            }
        }
        self.dir.set_start(self.key, self.start)?;
        let mut paths = self.rename_files()?;
        let snapshot = |offset: &i64| path(&self.path, *offset, FileKind::Snapshot, Stage::Live);
        paths.extend(self.obsolete.iter().map(snapshot));
        Ok(RemoveJob { dir: self.dir, paths, lease: self.lease })
    }

    /// Not if the partition was deleted meanwhile: the names may be another's.
    fn rename_files(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.lease.hold_if_there(|| self.rename_all())?.unwrap_or_default())
    }

    fn rename_all(&self) -> Result<Vec<String>, DiskError> {
        let disk = self.dir.disk();
        let mut renamed = Vec::new();
        for base in &self.bases {
            for kind in [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::TxnIndex] {
                let target = path(&self.path, *base, kind, Stage::Deleted);
                match disk.rename(&path(&self.path, *base, kind, Stage::Live), &target) {
                    Ok(()) => renamed.push(target),
                    Err(error) if error.kind == DiskErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(renamed)
    }
}

impl RemoveJob {
    /// Removes the files.
    ///
    /// # Errors
    /// As the disk. What stays is removed when the log is next opened.
    pub fn run(&self) -> Result<(), DiskError> {
        let remove = || self.paths.iter().try_for_each(|path| remove_if_there(&**self.dir.disk(), path));
        self.lease.hold_if_there(remove).map(|_| ())
    }
}

/// Removes the files of segments at once.
pub(super) fn remove_segments(dir: &LogDir, path: &str, bases: &[i64]) -> Result<(), DiskError> {
    bases.iter().rev().try_for_each(|base| remove_segment(&**dir.disk(), path, *base))
}
