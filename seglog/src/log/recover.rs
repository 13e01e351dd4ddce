//! Recovering a log's segments when it is opened.
//!
//! What is past the flush point is checked byte by byte, cut at the first bad batch, and in doubt until it is settled:
//! flushed, before anybody sees it (rule B6). What is below is walked by its headers from the last index entry on. The batch that ends at
//! the flush point says where the log ends, so it is compared with its checksum as well; all others are left to
//! their readers. Damage down there is refused, never cut (rule B9).

use super::checkpoint::CheckpointState;
use super::closed::Closed;
use super::compaction::CompactState;
use super::flush::FlushState;
use super::open::{Listing, OpenReport, Truncation, remove_segment};
use super::{Log, LogConfig, LogDamage, OpenLogError};
use crate::dir::{FlushPoint, Indexed, LogDir, PartitionKey};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::epochs::EpochCache;
use crate::index::{Entry, SegmentIndex, relative};
use crate::names::{FileKind, PartitionName, Stage};
use crate::producer::ProducerStates;
use crate::scan::{Damage, Hop, Order, Placed, ScanError, Sweep};
use crate::segment::{Index, Segment, Walked, path, read_index};
use base::{EndOffset, LeaderEpoch, Now, hit, planted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::record::BatchError;

/// A log on its way.
pub(super) struct Recovery<'d> {
    dir: &'d LogDir,
    path: &'d str,
    config: &'d LogConfig,
    point: Option<FlushPoint>,
    closed: BTreeMap<i64, Closed>,
    /// Segments that were looked at, in order.
    tail: Vec<Segment>,
    end: i64,
    /// Apache Kafka's cleaner may have taken away the end of the segment before the one that begins here.
    gap_before: Option<i64>,
    pub(super) epochs: Vec<(LeaderEpoch, i64)>,
    /// Something was kept or cut past the flush point.
    touched: bool,
    pub(super) report: OpenReport,
}

/// Where a recovered log takes its place.
pub(super) struct Seat {
    pub(super) dir: Arc<LogDir>,
    pub(super) name: PartitionName,
    pub(super) key: PartitionKey,
    pub(super) start: EndOffset,
    pub(super) now: Now,
}

impl<'d> Recovery<'d> {
    pub(super) fn new(
        dir: &'d LogDir,
        path: &'d str,
        config: &'d LogConfig,
        point: Option<FlushPoint>,
    ) -> Self {
        Self {
            dir,
            path,
            config,
            point,
            closed: BTreeMap::new(),
            tail: Vec::new(),
            end: 0,
            gap_before: None,
            epochs: Vec::new(),
            touched: false,
            report: OpenReport::default(),
        }
    }

    pub(super) fn run(mut self, listing: &Listing) -> Result<Self, OpenLogError> {
        let mut known = self.point.unwrap_or_default();
        if known.end <= known.start {
            // Nothing that counts is said to be durable; an interrupted new beginning looks like this.
            known.end = EndOffset::ZERO;
        }
        self.check_head(listing, known)?;
        // What lies before the start is deleted, perhaps not all of it yet: there may be holes.
        let floor = listing.bases.range(..=known.end.max(known.start).0).next_back();
        // A segment that was closed after the flush may have a tail that was cut off in memory only.
        let before = floor.filter(|base| **base == known.end.0 && known.start < known.end);
        self.gap_before = before.copied().filter(|_| self.dir.was_kafkas());
        let before = before.and_then(|base| listing.bases.range(..base).next_back());
        let floor = before.or(floor).or_else(|| listing.bases.first());
        let Some(floor) = floor.copied() else { return self.start_empty(known.start.0) };
        self.closed = listing.bases.range(..floor).map(|base| (*base, Closed::Unseen)).collect();
        self.end = floor;
        let tail: Vec<i64> = listing.bases.range(floor..).copied().collect();
        for (index, base) in tail.iter().enumerate() {
            if self.gap_before == Some(*base) {
                self.end = self.end.max(*base);
            }
            let follows = if self.is_unbroken() { *base == self.end } else { *base >= self.end };
            if !follows {
                self.stop(BatchError::OffsetsNotIncreasing { expected: self.end, found: *base });
            } else {
                self.recover_segment(*base, known.end.0)?;
            }
            if follows && tail.get(index + 1) == Some(&self.end) && self.report.truncation.take().is_some() {
                hit!(tail_of_closed_segment_cut);
            }
            if self.report.truncation.is_some() {
                let kept = index + usize::from(follows);
                self.remove_segments(&tail[kept..])?;
                break;
            }
        }
        if self.end < known.start.0 {
            return self.start_over(known.start.0);
        }
        Ok(self)
    }

    /// Past the flush point no compaction has made holes between segments. A log without a flush point was never
    /// compacted either, unless Apache Kafka did it.
    fn is_unbroken(&self) -> bool {
        self.point.is_some() || !self.dir.was_kafkas()
    }

    /// Whatever was durable must be there; that nothing is there at all is the same as being cut short.
    fn check_head(&self, listing: &Listing, known: FlushPoint) -> Result<(), OpenLogError> {
        if known.end <= known.start || planted!(B9) {
            return Ok(());
        }
        let damage = match listing.bases.first().copied().map(EndOffset) {
            None => LogDamage::Short { end: known.start, flushed: known.end },
            Some(first) if first > known.start => LogDamage::Beheaded { first, start: known.start },
            Some(_) => return Ok(()),
        };
        Err(OpenLogError::Damaged(damage))
    }

    fn start_empty(mut self, base: i64) -> Result<Self, OpenLogError> {
        self.tail.push(Segment::create(&**self.dir.disk(), self.path, base)?);
        self.end = base;
        Ok(self)
    }

    /// Everything that is there lies before the start: none of it counts.
    fn start_over(mut self, base: i64) -> Result<Self, OpenLogError> {
        let all: Vec<i64> =
            self.closed.keys().copied().chain(self.tail.iter().map(|segment| segment.base)).collect();
        self.remove_segments(&all)?;
        self.closed.clear();
        self.tail.clear();
        self.touched = false;
        self.start_empty(base)
    }

    /// Walks what was durable of a segment and checks the rest.
    fn recover_segment(&mut self, base: i64, flushed: i64) -> Result<(), OpenLogError> {
        let disk = self.dir.disk();
        let file = disk.open(&path(self.path, base, FileKind::Log, Stage::Live), OpenMode::Write)?;
        let size = file.length()?;
        let mut segment = Segment::with_index(base, file, size, Index::Memory(SegmentIndex::default()));
        let mut position = 0;
        self.end = base;
        if flushed > base {
            match self.walk_durable(&mut segment, flushed) {
                Ok(walked) => (position, self.end) = (walked.position, walked.end),
                Err(OpenLogError::Damaged(LogDamage::Batch { damage, .. })) if planted!(B9) => {
                    self.end = segment
                        .end_before(damage.position)
                        .map_err(|error| OpenLogError::scan(base, error))?;
                    return self.cut(segment, damage);
                }
                Err(error) => return Err(error),
            }
        }
        segment.trim_index_files(&**self.dir.disk(), self.path)?;
        self.sweep(segment, position)
    }

    /// Walks what was durable of a segment from its last index entry on. A log is only refused for what it says
    /// itself, so without its index (rule B7).
    fn walk_durable(&self, segment: &mut Segment, flushed: i64) -> Result<Walked, OpenLogError> {
        let index = self.read_indexes(segment.base)?;
        let is_short_cut = !index.offsets.is_empty();
        match self.walk_from(segment, index, flushed) {
            Err(OpenLogError::Damaged(_)) if is_short_cut => {
                hit!(index_dropped);
                self.walk_from(segment, SegmentIndex::default(), flushed)
            }
            walked => walked,
        }
    }

    fn walk_from(
        &self,
        segment: &mut Segment,
        index: SegmentIndex,
        flushed: i64,
    ) -> Result<Walked, OpenLogError> {
        segment.written = (index.offsets.len(), index.times.len());
        let walked = segment
            .resume(index, self.config.index_interval_bytes, Some(flushed))
            .and_then(|walked| self.check_last(segment, &walked, flushed).map(|()| walked))
            .map_err(|error| OpenLogError::scan(segment.base, error))?;
        if walked.end < flushed && self.gap_before != Some(flushed) && !planted!(B9) {
            let (end, flushed) = (EndOffset(walked.end), EndOffset(flushed));
            return Err(OpenLogError::Damaged(LogDamage::Short { end, flushed }));
        }
        Ok(walked)
    }

    /// The last batch of a walk must be what was written, and end where the flush ended: the log's end rests on
    /// it, and its base offset lies outside of its checksum.
    fn check_last(&self, segment: &Segment, walked: &Walked, flushed: i64) -> Result<(), ScanError> {
        let Some(last) = &walked.last else { return Ok(()) };
        let Placed { header, position } = last;
        let order = Order::Increasing;
        Sweep::new(&*segment.file, *position, walked.position, header.base_offset, order).next()?;
        // Apache Kafka's cleaner may have taken away what ended at its recovery point.
        let leaves_gap = self.dir.was_kafkas() && header.base_offset >= flushed;
        if walked.end > flushed && !leaves_gap {
            let (base_offset, last_offset_delta) = (header.base_offset, header.last_offset_delta);
            let cause = BatchError::InvalidOffsetRange { base_offset, last_offset_delta };
            return Err(ScanError::Damaged(Damage { position: *position, cause }));
        }
        Ok(())
    }

    /// The index entries of which it is said that they are complete; none if they are not all there.
    fn read_indexes(&self, base: i64) -> Result<SegmentIndex, OpenLogError> {
        let indexed = self.point.unwrap_or_default().indexed;
        if indexed.base != base || indexed.offsets == 0 {
            return Ok(SegmentIndex::default());
        }
        let disk = self.dir.disk();
        let mut offsets = read_entries_of(&**disk, self.path, base, FileKind::OffsetIndex)?;
        let mut times = read_entries_of(&**disk, self.path, base, FileKind::TimeIndex)?;
        if offsets.len() < indexed.offsets as usize || times.len() < indexed.times as usize {
            hit!(index_dropped);
            return Ok(SegmentIndex::default());
        }
        offsets.truncate(indexed.offsets as usize);
        times.truncate(indexed.times as usize);
        Ok(SegmentIndex::new(offsets, times))
    }

    /// Checks a segment's batches from `position` on, and cuts it at the first bad one.
    fn sweep(&mut self, mut segment: Segment, position: u64) -> Result<(), OpenLogError> {
        let strict = self.is_unbroken() && !self.config.compacts;
        let order = if strict { Order::Contiguous } else { Order::Increasing };
        let file = Arc::clone(&segment.file);
        let mut sweep = Sweep::new(&*file, position, segment.size, self.end, order);
        self.touched |= position < segment.size;
        self.report.checked_bytes += segment.size - position;
        loop {
            match sweep.next() {
                Ok(None) => break,
                Ok(Some(placed)) => {
                    let header = &placed.header;
                    // Where offsets may jump, a torn base offset shows in that no segment could name it.
                    if relative(segment.base, header.last_offset().0).is_none() {
                        let (base_offset, last_offset_delta) = (header.base_offset, header.last_offset_delta);
                        let cause = BatchError::InvalidOffsetRange { base_offset, last_offset_delta };
                        return self.cut(segment, Damage { position: placed.position, cause });
                    }
                    segment.note(header, placed.position, self.config.index_interval_bytes);
                    self.epochs.push((LeaderEpoch(header.partition_leader_epoch), header.base_offset));
                    self.end = header.end_offset().0;
                }
                Err(ScanError::Damaged(damage)) => match self.after_deleted(&segment, &damage)? {
                    Some(next) => {
                        hit!(damage_before_start_passed);
                        sweep =
                            Sweep::new(&*file, next.position, segment.size, next.header.base_offset, order);
                    }
                    None => return self.cut(segment, damage),
                },
                Err(error) => return Err(OpenLogError::scan(segment.base, error)),
            }
        }
        self.tail.push(segment);
        Ok(())
    }

    /// The next sound batch after a damaged one, if everything in between lies before the start: that is deleted, though it
    /// is still there, and must not take along what comes after it. The start may be on record before the flush point is.
    fn after_deleted(&self, segment: &Segment, damage: &Damage) -> Result<Option<Placed>, OpenLogError> {
        let start = self.point.unwrap_or_default().start.0;
        if self.end >= start || !matches!(damage.cause, BatchError::CrcMismatch { .. }) {
            return Ok(None);
        }
        let file = &*segment.file;
        let mut hop = Hop::new(file, damage.position, segment.size, self.end);
        while let Ok(Some(_)) = hop.next() {
            match Sweep::new(file, hop.position(), segment.size, self.end, Order::Increasing).next() {
                Ok(next) => return Ok(next.filter(|next| next.header.base_offset <= start)),
                Err(ScanError::Damaged(_)) => {}
                Err(error) => return Err(OpenLogError::scan(segment.base, error)),
            }
        }
        Ok(None)
    }

    fn cut(&mut self, mut segment: Segment, damage: Damage) -> Result<(), OpenLogError> {
        hit!(tail_cut);
        segment.file.truncate(damage.position)?;
        segment.size = damage.position;
        self.tail.push(segment);
        self.stop(damage.cause);
        Ok(())
    }

    /// The log ends here.
    fn stop(&mut self, cause: BatchError) {
        self.touched = true;
        self.report.truncation = Some(Truncation { end: EndOffset(self.end), cause });
    }

    fn remove_segments(&mut self, bases: &[i64]) -> Result<(), OpenLogError> {
        for base in bases.iter().rev() {
            hit!(segment_cut);
            remove_segment(&**self.dir.disk(), self.path, *base)?;
        }
        Ok(())
    }

    /// The files of the tail, if it may not be on the device as it is here.
    pub(super) fn in_doubt(&self) -> Vec<Arc<dyn DiskFile>> {
        let tail = self.tail.iter().filter(|_| self.touched);
        tail.map(|segment| Arc::clone(&segment.file)).collect()
    }

    pub(super) fn into_log(mut self, seat: Seat) -> Result<Log, OpenLogError> {
        let Seat { dir, name, key, start, now } = seat;
        let Some(active) = self.tail.pop() else {
            return Err(OpenLogError::Damaged(LogDamage::Short { end: start, flushed: start }));
        };
        let mut unsealed = Vec::new();
        for mut segment in self.tail {
            segment.note_end();
            unsealed.push(segment.base);
            self.closed.insert(segment.base, segment.into());
        }
        let first = self.closed.first_key_value().map_or(active.base, |(base, _)| *base);
        let end = EndOffset(self.end);
        let generation = dir.points().generation(key);
        let cleaned = dir.cleaned(&name);
        Ok(Log {
            flush: FlushState::new(generation, unsealed),
            checkpoint: CheckpointState::new(now, self.report.checked_bytes),
            path: self.path.into(),
            now,
            dir,
            name,
            key,
            config: self.config.clone(),
            closed: self.closed,
            active,
            start: start.max(EndOffset(first)),
            end,
            flushed: end,
            indexed: Indexed::default(),
            compact: CompactState::new(cleaned.min(end).0),
            epochs: EpochCache::default(),
            producers: ProducerStates::default(),
            snapshots: BTreeSet::new(),
        })
    }
}

fn read_entries_of<E: Entry>(
    disk: &dyn Disk,
    dir: &str,
    base: i64,
    kind: FileKind,
) -> Result<Vec<E>, OpenLogError> {
    Ok(read_index(disk, &path(dir, base, kind, Stage::Live))?)
}
