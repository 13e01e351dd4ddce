//! Cutting a log from the end, as a follower must, and starting it over.
//!
//! Every durable claim about the log is lowered before a byte goes (rule B8), and the log is durable again
//! before it goes on.

use super::closed::Closed;
use super::open::{list_snapshots, read_error};
use super::retention::remove_segments;
use super::{Log, OpenLogError};
use crate::dir::{FlushPoint, Indexed};
use crate::disk::{DiskError, OpenMode};
use crate::durable::{sync_parent, write_small};
use crate::index::SegmentIndex;
use crate::names::{FileKind, LEADER_EPOCHS, Stage};
use crate::scan::ScanError;
use crate::segment::{Index, Segment, path};
use crate::text;
use base::{EndOffset, Now, hit};

impl Log {
    /// Drops the batches that end after `offset`; returns the log's new end, which is where the last batch that
    /// stays ends: at `offset`, or before it if that lies within a batch or a gap. Waits for the device.
    ///
    /// # Errors
    /// [`OpenLogError::Damaged`], `Fenced`, `Disk`. After an error the log must be opened anew.
    pub fn truncate_to(&mut self, offset: EndOffset, now: Now) -> Result<EndOffset, OpenLogError> {
        if offset >= self.end {
            return Ok(self.end);
        }
        hit!(log_truncated);
        if offset.0 <= self.first_base() {
            self.keep_snapshots(offset)?;
            return self.empty_at(offset, now);
        }
        let base = self.floor_base(offset.0);
        let cut = |segment: &Segment| {
            let position = segment.find(offset.0)?.map_or(segment.size, |spot| spot.position);
            Ok((position, segment.end_before(position)?))
        };
        let (position, end) = self.ask(base, cut).map_err(|error| OpenLogError::scan(base, error))?;
        let end = EndOffset(end);
        self.keep_snapshots(end)?;
        self.indexed = Indexed::default();
        // The start moves back with the end, as in Kafka: nothing can be read in between.
        let start = self.start.min(end);
        let point = FlushPoint { end: end.min(self.flushed), start, ..self.point() };
        let lowered = self.dir.points().lower(self.key, point);
        let generation = self.dir.fence_on_error(lowered)?;
        self.drop_segments_after(base)?;
        self.reopen_active(base, position).map_err(|error| OpenLogError::scan(base, error))?;
        self.epochs.truncate_end(end);
        self.set_bounds(start, end);
        self.finish_cut(generation, now)?;
        Ok(end)
    }

    /// Drops everything, what is known of producers too, and goes on at `offset`. Waits for the device.
    ///
    /// # Errors
    /// As [`Log::truncate_to`].
    pub fn start_over_at(&mut self, offset: EndOffset, now: Now) -> Result<EndOffset, OpenLogError> {
        hit!(log_started_over);
        self.checkpoint.invalidate(EndOffset(-1));
        self.settle_compaction(EndOffset(0))?;
        for snapshot in list_snapshots(&**self.dir.disk(), &self.path)? {
            self.remove_snapshot(snapshot)?;
        }
        self.empty_at(offset, now)
    }

    /// Writes what is pending of the producers before `end`, and lets nobody else write a snapshot.
    fn keep_snapshots(&mut self, end: EndOffset) -> Result<(), OpenLogError> {
        for snapshot in self.checkpoint.invalidate(end) {
            snapshot.write(&**self.dir.disk(), &self.path)?;
            self.snapshots.insert(snapshot.offset);
        }
        self.settle_compaction(end)
    }

    /// No compaction that began before the cut may put its segments in place after it.
    fn settle_compaction(&mut self, end: EndOffset) -> Result<(), OpenLogError> {
        self.compact.settle(end)?;
        crate::compact::remove_unfinished(&**self.dir.disk(), &self.path)?;
        Ok(self.dir.note_cleaned(&self.name, self.cleaned_to())?)
    }

    fn empty_at(&mut self, offset: EndOffset, now: Now) -> Result<EndOffset, OpenLogError> {
        let point = FlushPoint { end: offset, start: offset, ..FlushPoint::default() };
        let lowered = self.dir.points().lower(self.key, point);
        let generation = self.dir.fence_on_error(lowered)?;
        let mut bases = self.closed_bases();
        bases.push(self.active.base);
        self.closed.clear();
        let removed = remove_segments(&self.dir, &self.path, &bases);
        self.dir.fence_on_error(removed)?;
        let created = Segment::create(&**self.dir.disk(), &self.path, offset.0);
        self.active = self.dir.fence_on_error(created)?;
        self.epochs.clear();
        (self.start, self.end) = (offset, offset);
        (self.flushed, self.indexed) = (offset, Indexed::default());
        self.finish_cut(generation, now)?;
        Ok(offset)
    }

    fn drop_segments_after(&mut self, base: i64) -> Result<(), OpenLogError> {
        let mut gone: Vec<i64> = self.closed.range(base + 1..).map(|(base, _)| *base).collect();
        if base != self.active.base {
            gone.push(self.active.base);
        }
        let removed = remove_segments(&self.dir, &self.path, &gone);
        self.dir.fence_on_error(removed)?;
        self.closed.retain(|closed, _| *closed <= base);
        Ok(())
    }

    /// Makes the segment at `base` the active one, cut at `position`.
    fn reopen_active(&mut self, base: i64, position: u64) -> Result<(), ScanError> {
        let interval = self.config.index_interval_bytes;
        if base != self.active.base {
            let path = path(&self.path, base, FileKind::Log, Stage::Live);
            let file = self.dir.disk().open(&path, OpenMode::Write)?;
            let size = file.length()?;
            let closed = self.closed.remove(&base).and_then(Closed::into_open);
            let index = closed.map_or(Index::Memory(SegmentIndex::default()), |segment| segment.index);
            self.active = Segment::with_index(base, file, size, index);
        }
        self.active.cut(position, interval)?;
        Ok(self.active.trim_index_files(&**self.dir.disk(), &self.path)?)
    }

    /// Makes the cut durable and brings what is derived in line with it.
    fn finish_cut(&mut self, generation: u64, now: Now) -> Result<(), OpenLogError> {
        for snapshot in list_snapshots(&**self.dir.disk(), &self.path)?.split_off(&(self.end.0 + 1)) {
            self.remove_snapshot(snapshot)?;
        }
        let synced = self.sync_cut();
        self.dir.fence_on_error(synced)?;
        self.flush.note_truncated(generation, self.active.base);
        self.flush.note_epochs_written(self.epochs.changes());
        self.flushed = self.end;
        if self.producers.is_empty() {
            return Ok(());
        }
        self.producers.clear();
        let from = self.load_snapshot(i64::MAX)?;
        self.replay_producers(from.unwrap_or(i64::MIN)..i64::MAX, now).map_err(read_error)?;
        Ok(())
    }

    fn sync_cut(&self) -> Result<(), DiskError> {
        let disk = &**self.dir.disk();
        for file in self.flush.rolled() {
            file.sync_data()?;
        }
        self.active.file.sync_data()?;
        let epochs = format!("{}/{LEADER_EPOCHS}", self.path);
        write_small(disk, &epochs, text::encode_epochs(self.epochs.starts()).as_bytes())?;
        sync_parent(disk, &epochs)
    }
}
