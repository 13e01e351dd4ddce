//! A partition's log: one allocator of offsets over a row of segments.
//!
//! Bytes first, then what is derived from them: the log's end moves with the write, and indexes, epochs and
//! producer states follow from the same headers, live and on recovery alike. Whatever waits for the device is
//! handed out as a job. The high watermark is not kept here; callers say up to where readers may see.

mod append;
mod checkpoint;
mod claim;
mod closed;
mod compaction;
mod config;
mod error;
mod flush;
mod open;
mod read;
mod recover;
mod retention;
mod search;
#[cfg(test)]
mod tests;
mod truncate;
mod unsettled;

pub use append::{Appended, Origin};
pub(crate) use checkpoint::Lease;
pub use checkpoint::{CheckpointDone, CheckpointJob};
pub use compaction::SwapJob;
pub(crate) use config::INDEX_INTERVAL_DEFAULT;
pub use config::LogConfig;
pub use error::{AppendError, LogDamage, OpenLogError, ReadError};
pub use open::{OpenReport, Truncation};
pub use read::ReadSlice;
pub use retention::{DeleteJob, RemoveJob};
pub use search::{RecordCodec, TimeHit};
pub(crate) use search::{read_batch, read_records};
pub use unsettled::Unsettled;

use crate::dir::{Indexed, LogDir, PartitionKey};
use crate::epochs::{EpochCache, EpochEnd};
use crate::names::PartitionName;
use crate::producer::ProducerStates;
use crate::scan::{Damage, Placed, ScanError, read_marker};
use crate::segment::Segment;
use base::{EndOffset, LeaderEpoch, Now, TopicId, hit, planted};
use checkpoint::CheckpointState;
use closed::Closed;
use compaction::CompactState;
use flush::FlushState;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::record::BatchError;

/// One partition's log. Whoever owns it serialises its use.
#[derive(Debug)]
pub struct Log {
    dir: Arc<LogDir>,
    name: PartitionName,
    /// The partition's directory.
    path: Arc<str>,
    key: PartitionKey,
    config: LogConfig,
    /// The latest time that the log was told.
    now: Now,
    /// All segments but the last, by base offset; opened on first use.
    closed: BTreeMap<i64, Closed>,
    active: Segment,
    // Always start ≤ end and flushed ≤ end, moved together by `set_bounds` and `append`.
    start: EndOffset,
    end: EndOffset,
    flushed: EndOffset,
    /// What of the active segment's index is durable.
    indexed: Indexed,
    epochs: EpochCache,
    producers: ProducerStates,
    /// Offsets of the producer snapshots that are there.
    snapshots: BTreeSet<i64>,
    flush: FlushState,
    checkpoint: CheckpointState,
    compact: CompactState,
}

impl Log {
    /// The partition's name.
    #[must_use]
    pub const fn name(&self) -> &PartitionName {
        &self.name
    }

    /// The partition's identity.
    #[must_use]
    pub const fn key(&self) -> PartitionKey {
        self.key
    }

    /// The topic's identity.
    #[must_use]
    pub const fn topic(&self) -> TopicId {
        self.key.topic
    }

    /// The data directory that the log lies in.
    #[must_use]
    pub const fn dir(&self) -> &Arc<LogDir> {
        &self.dir
    }

    /// The settings in force.
    #[must_use]
    pub const fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Puts other settings in force.
    pub fn configure(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// The first offset that can be read. It may lie within a batch.
    #[must_use]
    pub const fn start(&self) -> EndOffset {
        self.start
    }

    /// The offset that the next record gets.
    #[must_use]
    pub const fn end(&self) -> EndOffset {
        self.end
    }

    /// Everything before this offset is on the device.
    #[must_use]
    pub const fn flushed(&self) -> EndOffset {
        self.flushed
    }

    /// What is known of producers.
    #[must_use]
    pub const fn producers(&self) -> &ProducerStates {
        &self.producers
    }

    /// The leader epochs of the log.
    #[must_use]
    pub const fn epochs(&self) -> &EpochCache {
        &self.epochs
    }

    /// Number of segments.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.closed.len() + 1
    }

    /// Base offset of the segment that is written to.
    #[must_use]
    pub const fn active_base(&self) -> EndOffset {
        EndOffset(self.active.base)
    }

    /// Notes that a leader with this epoch begins to write here.
    pub fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        self.epochs.assign(epoch, self.end);
    }

    /// Forgets an epoch in which nothing was written: a follower's epochs are those of its records, and an empty one at
    /// the end would count against what the leader sends.
    pub fn forget_unwritten_epoch(&mut self) {
        self.epochs.truncate_end(self.end);
    }

    /// Where a leader epoch ends (KIP-101). An answer that the log contradicts makes the epochs be read from
    /// the log anew.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn end_of_epoch(&mut self, epoch: LeaderEpoch) -> Result<Option<EpochEnd>, ReadError> {
        let answer = self.epochs.end_of(epoch, self.end);
        if self.epoch_end_is_true(epoch, answer)? {
            return Ok(answer);
        }
        hit!(epochs_rebuilt);
        self.rebuild_epochs()?;
        Ok(self.epochs.end_of(epoch, self.end))
    }

    /// Forgets producers that were not heard of for long.
    pub fn expire_producers(&mut self, now: Now) {
        self.producers.expire(now.wall, self.config.producer_expiration);
    }

    /// Closes files and drops caches that the next use opens again.
    pub fn release(&mut self) {
        self.active.forget_recent();
        if self.compact.is_swapping() {
            // The new segments cannot be opened by name yet.
            return;
        }
        let unsealed = self.flush.unsealed();
        for (base, slot) in &mut self.closed {
            if !unsealed.contains(base) {
                slot.release();
            }
        }
    }

    fn closed_bases(&self) -> Vec<i64> {
        self.closed.keys().copied().collect()
    }

    /// Base offset of the segment that may hold `offset`: the last that begins at or before it.
    fn floor_base(&self, offset: i64) -> i64 {
        if offset >= self.active.base {
            return self.active.base;
        }
        let floor = self.closed.range(..=offset).next_back().or_else(|| self.closed.first_key_value());
        floor.map_or(self.active.base, |(base, _)| *base)
    }

    /// Base offset of the segment after the one at `base`.
    fn next_base(&self, base: i64) -> Option<i64> {
        if base >= self.active.base {
            return None;
        }
        Some(self.closed.range(base + 1..).next().map_or(self.active.base, |(base, _)| *base))
    }

    /// The segment at `base`, opened if need be.
    fn segment(&mut self, base: i64) -> Result<&Segment, ScanError> {
        if base == self.active.base {
            return Ok(&self.active);
        }
        if self.closed.get(&base).and_then(Closed::open).is_none() {
            let segment = self.open_closed(base)?;
            self.closed.insert(base, segment.into());
        }
        Ok(self.closed.get(&base).and_then(Closed::open).unwrap_or(&self.active))
    }

    /// Opens a closed segment, which must reach up to the next: else records are missing, and whoever read on
    /// would not notice (rule B9). Our cleaner keeps the end of each segment, Apache Kafka's does not; a follower
    /// may skip what was cleaned at its leader.
    fn open_closed(&self, base: i64) -> Result<Segment, ScanError> {
        let (segment, end) = Segment::open_closed(&**self.dir.disk(), &self.path, base)?;
        let may_have_gaps = self.config.compacts || self.dir.was_kafkas();
        match end.zip(self.next_base(base)) {
            Some((end, next)) if next != end && !may_have_gaps => {
                let cause = BatchError::OffsetsNotIncreasing { expected: end, found: next };
                Err(ScanError::Damaged(Damage { position: segment.size, cause }))
            }
            Some(_) | None => Ok(segment),
        }
    }

    /// Asks a segment something; if its index and its log contradict each other, the index is made anew and
    /// the segment is asked once more (rule B7).
    fn ask<T>(
        &mut self,
        base: i64,
        question: impl Fn(&Segment) -> Result<T, ScanError>,
    ) -> Result<T, ScanError> {
        match question(self.segment(base)?) {
            Err(ScanError::Damaged(_)) if !planted!(B7) => {
                self.rebuild_index(base)?;
                question(self.segment(base)?)
            }
            answer => answer,
        }
    }

    fn rebuild_index(&mut self, base: i64) -> Result<(), ScanError> {
        let segment = self.segment(base)?;
        let (file, size) = (Arc::clone(&segment.file), segment.size);
        let rebuilt = Segment::rebuild(&**self.dir.disk(), &self.path, base, file, size)?;
        if base == self.active.base {
            self.active = rebuilt;
        } else {
            self.closed.insert(base, rebuilt.into());
        }
        Ok(())
    }

    /// Calls `visit` for every batch that ends after `from` and begins before `until`, in order. In segments before the start, which
    /// nobody can read any more, damage ends the segment and nothing else.
    fn for_each_batch(
        &mut self,
        range: std::ops::Range<i64>,
        mut visit: impl FnMut(&mut Self, &Segment, &Placed) -> Result<(), ScanError>,
    ) -> Result<(), ReadError> {
        let mut base = Some(self.floor_base(range.start));
        while let Some(current) = base.filter(|base| *base < range.end) {
            base = self.next_base(current);
            match self.visit_segment(current, &range, &mut visit) {
                Err(ScanError::Damaged(_)) if base.is_some_and(|next| next <= self.start.0) => {
                    hit!(damage_before_start);
                }
                result => result.map_err(|error| ReadError::scan(current, error))?,
            }
        }
        Ok(())
    }

    fn visit_segment(
        &mut self,
        base: i64,
        range: &std::ops::Range<i64>,
        visit: &mut impl FnMut(&mut Self, &Segment, &Placed) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        let Some(first) = self.ask(base, |segment| segment.find_placed(range.start))? else {
            return Ok(());
        };
        let view = self.segment(base)?.view();
        let mut hop = crate::scan::Hop::new(&*view.file, first.position, view.size, base);
        while let Some(placed) = hop.next()?.filter(|placed| placed.header.base_offset < range.end) {
            visit(self, &view, &placed)?;
        }
        Ok(())
    }

    /// Notes what a batch in the log says of its producer.
    fn note_producer(&mut self, segment: &Segment, placed: &Placed, now: Now) -> Result<(), ScanError> {
        if placed.header.has_producer() {
            let marker = read_marker(&*segment.file, placed)?;
            self.producers.apply(&placed.header, marker, now.wall);
        }
        Ok(())
    }

    fn rebuild_epochs(&mut self) -> Result<(), ReadError> {
        self.epochs.clear();
        self.for_each_batch(i64::MIN..i64::MAX, |log, _, placed| {
            let epoch = LeaderEpoch(placed.header.partition_leader_epoch);
            log.epochs.assign(epoch, EndOffset(placed.header.base_offset));
            Ok(())
        })?;
        self.epochs.truncate_start(self.start);
        Ok(())
    }

    /// The batches on both sides of an epoch's end are of epochs that the answer allows.
    fn epoch_end_is_true(&mut self, asked: LeaderEpoch, answer: Option<EpochEnd>) -> Result<bool, ReadError> {
        let end = answer.map_or(self.end, |answer| answer.end);
        let before = if end > self.start { self.epoch_at(end.0 - 1)? } else { None };
        let Some(answer) = answer else {
            return Ok(asked == LeaderEpoch::UNKNOWN || before.is_none_or(|before| before < asked));
        };
        let after = if end < self.end { self.epoch_at(end.0)? } else { None };
        let entry = self.epochs.starts().iter().find(|entry| entry.epoch == answer.epoch);
        // An epoch in which nothing was written has no batch to speak for it.
        let before_is_true = match entry {
            Some(entry) if entry.start < end => before.is_none_or(|before| before == answer.epoch),
            Some(_) => true,
            None => before.is_none(),
        };
        Ok(before_is_true && after.is_none_or(|after| after > asked))
    }

    /// The epoch of the first batch that ends at or after `offset`.
    fn epoch_at(&mut self, offset: i64) -> Result<Option<LeaderEpoch>, ReadError> {
        let base = self.floor_base(offset);
        let placed = self
            .ask(base, |segment| segment.find_placed(offset))
            .map_err(|error| ReadError::scan(base, error))?;
        Ok(placed.map(|placed| LeaderEpoch(placed.header.partition_leader_epoch)))
    }

    /// Moves the bounds of the log together (rule A15).
    fn set_bounds(&mut self, start: EndOffset, end: EndOffset) {
        assert!(start <= end, "a log begins before it ends");
        self.start = start;
        self.end = end;
        self.flushed = self.flushed.min(end);
    }
}
