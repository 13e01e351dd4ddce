//! Creating, opening and recovering a log.
//!
//! Opening lists the directory and looks at the segment that holds the flush point and at those after it,
//! nothing else. What is past the flush point is checked byte by byte, cut at the first bad batch, and flushed
//! before anybody sees it (rule B6). What is below is believed, and if it cannot even be walked it is refused,
//! never cut (rule B9).

use super::checkpoint::CheckpointState;
use super::claim::claim;
use super::compaction::CompactState;
use super::flush::FlushState;
use super::{Log, LogConfig, LogDamage, OpenLogError, ReadError};
use crate::compact::complete_swaps;
use crate::dir::{FlushPoint, Indexed, LogDir, PartitionKey};
use crate::disk::{Disk, DiskErrorKind, OpenMode};
use crate::durable::{read_small, remove_if_there, sync_parent};
use crate::epochs::EpochCache;
use crate::index::{Entry, SegmentIndex};
use crate::names::{FileKind, LEADER_EPOCHS, PARTITION_METADATA, PartitionName, Stage, parse_segment_file};
use crate::producer::{self, ProducerStates};
use crate::scan::{Damage, Hop, Order, ScanError, Sweep, read_marker};
use crate::segment::{Index, Segment, path, read_index};
use crate::text;
use base::{EndOffset, LeaderEpoch, Now, Timestamp, TopicId, hit, planted};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use wire::record::BatchError;

/// How far back a snapshot's producer windows are looked for.
const WINDOW_STRETCH: u64 = 256 << 10;

/// What opening a log found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Bytes past the flush point that were checked.
    pub checked_bytes: u64,
    /// What was cut off.
    pub truncation: Option<Truncation>,
}

/// A tail that was cut off because it was not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Where the log ends now.
    pub end: EndOffset,
    /// Why it does not go on.
    pub cause: BatchError,
}

/// Files of a partition directory that opening works with.
#[derive(Debug, Default)]
struct Listing {
    bases: BTreeSet<i64>,
    snapshots: BTreeSet<i64>,
    /// Paths of what a crash left behind.
    leftovers: Vec<String>,
    /// A compaction was interrupted when its result was whole.
    has_swaps: bool,
}

/// A log on its way.
struct Recovery<'d> {
    dir: &'d LogDir,
    path: &'d str,
    config: &'d LogConfig,
    point: Option<FlushPoint>,
    closed: BTreeMap<i64, Option<Box<Segment>>>,
    /// Segments that were looked at, in order.
    tail: Vec<Segment>,
    end: i64,
    epochs: Vec<(LeaderEpoch, i64)>,
    /// Something was kept or cut past the flush point.
    touched: bool,
    report: OpenReport,
}

/// Where a recovered log takes its place.
struct Seat {
    dir: Arc<LogDir>,
    name: PartitionName,
    key: PartitionKey,
    start: EndOffset,
    now: Now,
}

impl Log {
    /// Opens the log of a partition, creating its directory and first segment if there are none; only then it
    /// does not wait for the device.
    ///
    /// # Errors
    /// Any [`OpenLogError`].
    pub fn create(
        dir: &Arc<LogDir>,
        name: &PartitionName,
        topic: TopicId,
        config: LogConfig,
        now: Now,
    ) -> Result<Self, OpenLogError> {
        match dir.disk().create_dir(&name.to_string()) {
            Err(error) if error.kind == DiskErrorKind::AlreadyExists => {}
            other => other?,
        }
        Self::open(dir, name, topic, config, now).map(|(log, _)| log)
    }

    /// Opens the log in an existing partition directory and recovers it. Waits for the device.
    ///
    /// # Errors
    /// Any [`OpenLogError`].
    pub fn open(
        dir: &Arc<LogDir>,
        name: &PartitionName,
        topic: TopicId,
        config: LogConfig,
        now: Now,
    ) -> Result<(Self, OpenReport), OpenLogError> {
        if dir.fenced().is_some() {
            return Err(OpenLogError::Fenced);
        }
        let path: Arc<str> = name.to_string().into();
        let key = PartitionKey { topic, partition: name.partition() };
        let metadata = claim(dir, &path, topic, dir.flush_point(key, name).is_some())?;
        let mut listing = Listing::read(&**dir.disk(), &path)?;
        if listing.has_swaps {
            complete_swaps(&**dir.disk(), &path).map_err(|error| OpenLogError::scan(0, error))?;
            listing = Listing::read(&**dir.disk(), &path)?;
        }
        let point = listing.flush_point(dir, key, name);
        listing.remove_leftovers(&**dir.disk())?;
        let start = point.unwrap_or_default().start;
        let recovery = Recovery::new(dir, &path, &config, point).run(&listing)?;
        let (report, epochs) = (recovery.report, recovery.epochs.clone());
        let name = name.clone();
        let mut log = recovery.into_log(Seat { dir: Arc::clone(dir), name, key, start, now })?;
        log.load_epochs(&epochs)?;
        log.load_producers(listing.snapshots, point, now)?;
        log.finish_deletion()?;
        if let Some(metadata) = metadata {
            log.flush.mark_new(metadata);
        }
        Ok((log, report))
    }

    /// The topic that a partition directory belongs to.
    ///
    /// # Errors
    /// As the disk.
    pub fn topic_of(dir: &LogDir, name: &PartitionName) -> Result<Option<TopicId>, OpenLogError> {
        let text = read_small(&**dir.disk(), &format!("{name}/{PARTITION_METADATA}"))?;
        Ok(text.and_then(|text| text::decode_partition_metadata(&text)))
    }

    /// Reads the checkpoint, and from the log what the checkpoint cannot say.
    fn load_epochs(&mut self, swept: &[(LeaderEpoch, i64)]) -> Result<(), OpenLogError> {
        let file = read_small(&**self.dir.disk(), &format!("{}/{LEADER_EPOCHS}", self.path))?;
        match file.as_deref().and_then(text::decode_epochs) {
            Some(starts) => self.epochs = EpochCache::new(starts),
            None if self.end > self.start => {
                hit!(epochs_rebuilt);
                self.rebuild_epochs().map_err(read_error)?;
            }
            None => {}
        }
        if let Some((_, first)) = swept.first() {
            // What the file says of batches past the flush point may be of batches that are gone.
            self.epochs.truncate_end(EndOffset(*first));
        }
        for (epoch, offset) in swept {
            self.epochs.assign(*epoch, EndOffset(*offset));
        }
        self.epochs.truncate_end(self.end);
        self.epochs.truncate_start(self.start);
        Ok(())
    }

    /// Takes the newest snapshot that is sound and replays what came after it.
    fn load_producers(
        &mut self,
        mut snapshots: BTreeSet<i64>,
        point: Option<FlushPoint>,
        now: Now,
    ) -> Result<(), OpenLogError> {
        let beyond = snapshots.split_off(&(self.end.0 + 1));
        for offset in &beyond {
            self.remove_snapshot(*offset)?;
        }
        if !beyond.is_empty() {
            // Else one of them might come back when the log has grown past it with other batches.
            sync_parent(&**self.dir.disk(), &format!("{}/", self.path))?;
        }
        self.snapshots = snapshots;
        let from = self.load_snapshot(i64::MAX)?.or_else(|| {
            point.filter(|point| point.no_producers && point.end <= self.end).map(|point| point.end.0)
        });
        if planted!(C11) {
            self.producers = ProducerStates::default();
            return Ok(());
        }
        self.replay_producers(from.unwrap_or(i64::MIN)..i64::MAX, now).map_err(read_error)?;
        self.expire_producers(now);
        if from != Some(self.end.0) {
            self.checkpoint.note_snapshot(self.end.0, &self.producers);
        }
        Ok(())
    }

    /// Removes segments before the start, whose deletion was interrupted. Only now: their batches may have been
    /// needed to know the producers.
    fn finish_deletion(&mut self) -> Result<(), OpenLogError> {
        match self.delete_before(self.start.0) {
            Some(job) => Ok(job.run()?.run()?),
            None => Ok(()),
        }
    }

    /// Applies what batches of `range` say of their producers.
    pub(super) fn replay_producers(&mut self, range: Range<i64>, now: Now) -> Result<(), ReadError> {
        if range.start >= self.end.0 {
            return Ok(());
        }
        let from = range.start;
        self.for_each_batch(range, |log, segment, placed| {
            if placed.header.base_offset < from {
                return Ok(());
            }
            if placed.position == 0 && segment.base > from && !log.snapshots.contains(&segment.base) {
                // As if the log had just rolled: what is deleted or cut later may need it.
                log.checkpoint.note_snapshot(segment.base, &log.producers);
            }
            log.note_producer(segment, placed, now)
        })
    }

    /// Loads the newest sound snapshot at or before `until`, removing others on the way; returns its offset.
    pub(super) fn load_snapshot(&mut self, until: i64) -> Result<Option<i64>, OpenLogError> {
        while let Some(offset) = self.snapshots.range(..=until).next_back().copied() {
            let path = path(&self.path, offset, FileKind::Snapshot, Stage::Live);
            let bytes = read_small(&**self.dir.disk(), &path)?;
            if let Some(states) = bytes.as_deref().and_then(producer::decode) {
                self.producers = states;
                self.refill_windows(offset);
                return Ok(Some(offset));
            }
            hit!(snapshot_dropped);
            self.remove_snapshot(offset)?;
        }
        Ok(None)
    }

    /// A snapshot keeps one batch per producer; up to five are wanted, so that a client that had them in flight
    /// gets its answers after a restart too. Looks at a bounded stretch of the log and is no loss if it fails.
    fn refill_windows(&mut self, snapshot: i64) {
        if self.producers.is_empty() || snapshot <= self.first_base() || planted!(C11) {
            return;
        }
        let base = self.floor_base(snapshot - 1);
        let from = self.ask(base, |segment| {
            let end = segment.find(snapshot)?.map_or(segment.size, |spot| spot.position);
            let start = segment.floor_position(end.saturating_sub(WINDOW_STRETCH))?.unwrap_or(0);
            let first = Hop::new(&*segment.file, start, segment.size, base).next()?;
            Ok(first.map_or(snapshot, |placed| placed.header.base_offset))
        });
        let Ok(from) = from else { return };
        let mut seen = ProducerStates::default();
        let _ = self.for_each_batch(from..snapshot, |_, segment, placed| {
            if placed.header.has_producer() {
                seen.apply(&placed.header, read_marker(&*segment.file, placed)?, Timestamp::NONE);
            }
            Ok(())
        });
        self.producers.refill(&seen);
    }

    pub(super) fn remove_snapshot(&mut self, offset: i64) -> Result<(), OpenLogError> {
        self.snapshots.remove(&offset);
        let path = path(&self.path, offset, FileKind::Snapshot, Stage::Live);
        Ok(remove_if_there(&**self.dir.disk(), &path)?)
    }
}

impl Listing {
    fn read(disk: &dyn Disk, dir: &str) -> Result<Self, OpenLogError> {
        let mut listing = Self::default();
        let mut indexes = Vec::new();
        for entry in disk.list(dir)? {
            let path = || format!("{dir}/{}", entry.name);
            match parse_segment_file(&entry.name) {
                Some((base, FileKind::Log, Stage::Live)) => {
                    listing.bases.insert(base);
                }
                Some((offset, FileKind::Snapshot, Stage::Live)) => {
                    listing.snapshots.insert(offset);
                }
                Some((base, _, Stage::Live)) => indexes.push((base, path())),
                Some((_, FileKind::Log, Stage::Swap)) => listing.has_swaps = true,
                Some(_) => listing.leftovers.push(path()),
                None if entry.name.ends_with(".tmp") => listing.leftovers.push(path()),
                None => {}
            }
        }
        let strays = indexes.into_iter().filter(|(base, _)| !listing.bases.contains(base));
        let strays: Vec<String> = strays.map(|(_, path)| path).collect();
        listing.leftovers.extend(strays);
        Ok(listing)
    }

    /// What is durably known. Kafka notes a start only where it is not the first segment's.
    fn flush_point(&self, dir: &LogDir, key: PartitionKey, name: &PartitionName) -> Option<FlushPoint> {
        let mut point = dir.flush_point(key, name)?;
        if !dir.is_recorded(key) {
            let first = self.bases.first().copied().unwrap_or_default();
            point.start = point.start.max(EndOffset(first));
        }
        Some(point)
    }

    fn remove_leftovers(&mut self, disk: &dyn Disk) -> Result<(), OpenLogError> {
        for path in self.leftovers.drain(..) {
            remove_if_there(disk, &path)?;
        }
        Ok(())
    }
}

impl<'d> Recovery<'d> {
    fn new(dir: &'d LogDir, path: &'d str, config: &'d LogConfig, point: Option<FlushPoint>) -> Self {
        Self {
            dir,
            path,
            config,
            point,
            closed: BTreeMap::new(),
            tail: Vec::new(),
            end: 0,
            epochs: Vec::new(),
            touched: false,
            report: OpenReport::default(),
        }
    }

    fn run(mut self, listing: &Listing) -> Result<Self, OpenLogError> {
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
        let before = before.and_then(|base| listing.bases.range(..base).next_back());
        let floor = before.or(floor).or_else(|| listing.bases.first());
        let Some(floor) = floor.copied() else { return self.start_empty(known.start.0) };
        self.closed = listing.bases.range(..floor).map(|base| (*base, None)).collect();
        self.end = floor;
        let tail: Vec<i64> = listing.bases.range(floor..).copied().collect();
        for (index, base) in tail.iter().enumerate() {
            let follows = if self.point.is_some() { *base == self.end } else { *base >= self.end };
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
        self.make_durable()?;
        Ok(self)
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
            let index = self.read_indexes(base)?;
            segment.written = (index.offsets.len(), index.times.len());
            match segment.resume(index, self.config.index_interval_bytes, Some(flushed)) {
                Ok(walked) => (position, self.end) = walked,
                Err(ScanError::Damaged(damage)) if planted!(B9) => return self.cut(segment, damage),
                Err(error) => return Err(OpenLogError::scan(base, error)),
            }
            if self.end < flushed && !planted!(B9) {
                let (end, flushed) = (EndOffset(self.end), EndOffset(flushed));
                return Err(OpenLogError::Damaged(LogDamage::Short { end, flushed }));
            }
        }
        segment.trim_index_files(&**self.dir.disk(), self.path)?;
        self.sweep(segment, position)
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
        let strict = self.point.is_some() && !self.config.compacts;
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
                    segment.note(header, placed.position, self.config.index_interval_bytes);
                    self.epochs.push((LeaderEpoch(header.partition_leader_epoch), header.base_offset));
                    self.end = header.end_offset().0;
                }
                Err(ScanError::Damaged(damage)) => return self.cut(segment, damage),
                Err(error) => return Err(OpenLogError::scan(segment.base, error)),
            }
        }
        self.tail.push(segment);
        Ok(())
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

    /// Nobody sees the tail before it is on the device (rule B6).
    fn make_durable(&self) -> Result<(), OpenLogError> {
        if !self.touched || planted!(B6) {
            return Ok(());
        }
        for segment in &self.tail {
            self.dir.fence_on_error(segment.file.sync_data())?;
        }
        self.dir.fence_on_error(sync_parent(&**self.dir.disk(), &format!("{}/", self.path)))?;
        Ok(())
    }

    fn into_log(mut self, seat: Seat) -> Result<Log, OpenLogError> {
        let Seat { dir, name, key, start, now } = seat;
        let Some(active) = self.tail.pop() else {
            return Err(OpenLogError::Damaged(LogDamage::Short { end: start, flushed: start }));
        };
        let mut unsealed = Vec::new();
        for mut segment in self.tail {
            segment.note_end();
            unsealed.push(segment.base);
            self.closed.insert(segment.base, Some(Box::new(segment)));
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

/// Offsets of the snapshots in a partition directory.
pub(super) fn list_snapshots(disk: &dyn Disk, dir: &str) -> Result<BTreeSet<i64>, OpenLogError> {
    let names = disk.list(dir)?.into_iter();
    let snapshots = names.filter_map(|entry| match parse_segment_file(&entry.name) {
        Some((offset, FileKind::Snapshot, Stage::Live)) => Some(offset),
        Some(_) | None => None,
    });
    Ok(snapshots.collect())
}

/// Removes all files of a segment, the log first: without it the others mean nothing.
pub(super) fn remove_segment(disk: &dyn Disk, dir: &str, base: i64) -> Result<(), crate::disk::DiskError> {
    for kind in [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::TxnIndex] {
        remove_if_there(disk, &path(dir, base, kind, Stage::Live))?;
    }
    Ok(())
}

fn read_entries_of<E: Entry>(
    disk: &dyn Disk,
    dir: &str,
    base: i64,
    kind: FileKind,
) -> Result<Vec<E>, OpenLogError> {
    Ok(read_index(disk, &path(dir, base, kind, Stage::Live))?)
}

pub(super) fn read_error(error: ReadError) -> OpenLogError {
    match error {
        ReadError::Disk(error) => OpenLogError::Disk(error),
        ReadError::Damaged(damage) => OpenLogError::Damaged(damage),
        ReadError::OutOfRange { start, end } => {
            OpenLogError::Damaged(LogDamage::Short { end, flushed: start })
        }
    }
}
