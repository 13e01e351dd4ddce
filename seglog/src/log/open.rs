//! Creating, opening and recovering a log.
//!
//! Opening lists the directory and looks at the segment that holds the flush point and at those after it,
//! nothing else: what it costs does not grow with the log. How those are recovered stands in `recover`.

use super::claim::claim;
use super::recover::{Recovery, Seat};
use super::{Log, LogConfig, LogDamage, OpenLogError, ReadError, Unsettled};
use crate::compact::complete_swaps;
use crate::dir::{FlushPoint, LogDir, PartitionKey};
use crate::disk::{Disk, DiskErrorKind};
use crate::durable::{read_small, remove_if_there, sync_parent};
use crate::epochs::EpochCache;
use crate::names::{FileKind, LEADER_EPOCHS, PARTITION_METADATA, PartitionName, Stage, parse_segment_file};
use crate::producer::{self, ProducerStates};
use crate::scan::{Hop, read_marker};
use crate::segment::path;
use crate::text;
use base::{EndOffset, LeaderEpoch, Now, Timestamp, TopicId, hit, planted};
use std::collections::BTreeSet;
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
pub(super) struct Listing {
    pub(super) bases: BTreeSet<i64>,
    snapshots: BTreeSet<i64>,
    /// Paths of what a crash left behind.
    leftovers: Vec<String>,
    /// A compaction was interrupted when its result was whole.
    has_swaps: bool,
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
        Self::create_unsettled(dir, name, topic, config, now)?.settle()
    }

    /// As [`Log::create`], but what was recovered is left to be made durable.
    ///
    /// # Errors
    /// Any [`OpenLogError`].
    pub fn create_unsettled(
        dir: &Arc<LogDir>,
        name: &PartitionName,
        topic: TopicId,
        config: LogConfig,
        now: Now,
    ) -> Result<Unsettled, OpenLogError> {
        match dir.disk().create_dir(&name.to_string()) {
            Err(error) if error.kind == DiskErrorKind::AlreadyExists => {}
            other => other?,
        }
        Self::open_unsettled(dir, name, topic, config, now)
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
        let unsettled = Self::open_unsettled(dir, name, topic, config, now)?;
        let report = unsettled.report();
        Ok((unsettled.settle()?, report))
    }

    /// As [`Log::open`], but what was recovered is left to be made durable. Waits for the device only where something
    /// was interrupted that has to be completed first.
    ///
    /// # Errors
    /// Any [`OpenLogError`].
    pub fn open_unsettled(
        dir: &Arc<LogDir>,
        name: &PartitionName,
        topic: TopicId,
        config: LogConfig,
        now: Now,
    ) -> Result<Unsettled, OpenLogError> {
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
        let in_doubt = recovery.in_doubt();
        let name = name.clone();
        let mut log = recovery.into_log(Seat { dir: Arc::clone(dir), name, key, start, now })?;
        log.load_epochs(&epochs)?;
        log.load_producers(listing.snapshots, point, now)?;
        if let Some(metadata) = metadata {
            log.flush.mark_new(metadata);
        }
        Ok(Unsettled::new(log, in_doubt, report))
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
    pub(super) fn finish_deletion(&mut self) -> Result<(), OpenLogError> {
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

pub(super) fn read_error(error: ReadError) -> OpenLogError {
    match error {
        ReadError::Disk(error) => OpenLogError::Disk(error),
        ReadError::Damaged(damage) => OpenLogError::Damaged(damage),
        ReadError::OutOfRange { start, end } => {
            OpenLogError::Damaged(LogDamage::Short { end, flushed: start })
        }
    }
}
