//! One segment: a stretch of batches in one file, and its indexes.

use crate::dir::Indexed;
use crate::disk::{Disk, DiskError, DiskErrorKind, DiskFile, OpenMode};
use crate::index::{
    Entry, IndexFile, OffsetEntry, SegmentIndex, TimeEntry, TimePoint, encode_entries, read_entries, relative,
};
use crate::names::{FileKind, Stage, segment_file};
use crate::scan::{Damage, Hop, Placed, ScanError};
use base::{hit, planted};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use wire::record::{BatchError, BatchHeader};

/// Batches at the end of the active segment whose places are kept, so that readers at the tail read nothing.
const RECENT: usize = 32;

/// Where a segment's indexes are.
#[derive(Debug)]
pub(crate) enum Index {
    Memory(SegmentIndex),
    Files { offsets: IndexFile, times: IndexFile },
}

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: i64,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Bytes of the file that are batches.
    pub(crate) size: u64,
    pub(crate) index: Index,
    /// The latest timestamp in the segment.
    pub(crate) latest: TimePoint,
    /// Max timestamp of the first batch.
    pub(crate) first_timestamp: Option<i64>,
    /// Index entries that are in the files already.
    pub(crate) written: (usize, usize),
    recent: VecDeque<Spot>,
    /// Up to where the file system was asked for room.
    reserved: u64,
}

/// A segment that has grown so far will probably grow further: from here on room is asked for in advance, a
/// quarter of its size, but no more than so much. Appending a block that has its place already costs the kernel
/// two thirds of appending one that has none (0.25 against 0.35 CPU-s/GB in writes of 128 KiB on ext4).
const RESERVE_FROM: u64 = 4 << 20;
const RESERVE_MAX: u64 = 16 << 20;

/// Where a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    /// The byte after the last batch.
    pub(crate) position: u64,
    /// The offset after it.
    pub(crate) end: i64,
    /// The last batch, if there was one.
    pub(crate) last: Option<Placed>,
}

/// A batch's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) base_offset: i64,
    pub(crate) position: u64,
    pub(crate) bytes: u64,
}

impl From<Placed> for Spot {
    fn from(placed: Placed) -> Self {
        Self {
            base_offset: placed.header.base_offset,
            position: placed.position,
            bytes: placed.header.total_bytes(),
        }
    }
}

/// The path of a segment's file in the partition directory `dir`.
pub(crate) fn path(dir: &str, base: i64, kind: FileKind, stage: Stage) -> String {
    format!("{dir}/{}", segment_file(base, kind, stage))
}

impl Segment {
    /// Makes the files of an empty segment; what a failed attempt may have left under the name is emptied.
    pub(crate) fn create(disk: &dyn Disk, dir: &str, base: i64) -> Result<Self, DiskError> {
        let file = disk.open(&path(dir, base, FileKind::Log, Stage::Live), OpenMode::Replace)?;
        Ok(Self::with_index(base, file, 0, Index::Memory(SegmentIndex::default())))
    }

    pub(crate) fn with_index(base: i64, file: Arc<dyn DiskFile>, size: u64, index: Index) -> Self {
        let (latest, recent) = (TimePoint::NONE, VecDeque::new());
        Self { base, file, size, index, latest, first_timestamp: None, written: (0, 0), recent, reserved: 0 }
    }

    /// Prepares for an append that ends at `end`.
    pub(crate) fn reserve(&mut self, end: u64) {
        if end <= self.reserved || self.size < RESERVE_FROM {
            return;
        }
        let ahead = (self.size / 4).min(RESERVE_MAX);
        self.file.reserve(self.size, end - self.size + ahead);
        self.reserved = end + ahead;
    }

    /// The segment will not grow any more.
    pub(crate) fn release(&mut self) {
        if self.reserved > self.size {
            self.file.release(self.size);
        }
        self.reserved = 0;
    }

    /// The same file, without indexes, for a walk during which the log may change.
    pub(crate) fn view(&self) -> Self {
        let index = Index::Memory(SegmentIndex::default());
        Self::with_index(self.base, Arc::clone(&self.file), self.size, index)
    }

    /// Opens a closed segment, looking at nothing but the ends of its indexes; returns it with the offset after
    /// its last batch.
    pub(crate) fn open_closed(
        disk: &dyn Disk,
        dir: &str,
        base: i64,
    ) -> Result<(Self, Option<i64>), ScanError> {
        let file = disk.open(&path(dir, base, FileKind::Log, Stage::Live), OpenMode::Read)?;
        let size = file.length()?;
        let offsets = open_index::<OffsetEntry>(disk, &path(dir, base, FileKind::OffsetIndex, Stage::Live))?;
        let times = open_index::<TimeEntry>(disk, &path(dir, base, FileKind::TimeIndex, Stage::Live))?;
        let (Some(offsets), Some(times)) = (offsets, times) else {
            return Self::rebuild_to_end(disk, dir, base, file, size);
        };
        let last_offset = offsets.last::<OffsetEntry>()?;
        let last_time = times.last::<TimeEntry>()?;
        let mut segment = Self::with_index(base, file, size, Index::Files { offsets, times });
        if let Some(entry) = last_time {
            segment.latest =
                TimePoint { timestamp: entry.timestamp, offset: base + i64::from(entry.relative) };
        }
        match segment.end_if_true(last_offset) {
            Err(ScanError::Damaged(_)) | Ok(None) if !planted!(B7) => {
                Self::rebuild_to_end(disk, dir, base, segment.file, size)
            }
            Ok(end) => Ok((segment, end)),
            Err(error) => Err(error),
        }
    }

    /// Where the segment ends, if its indexes can be believed: the last entry of the offset index names a batch;
    /// the last of the time index names the one with the latest timestamp, as far as can be seen without walking
    /// the whole segment (rule B7).
    fn end_if_true(&self, last: Option<OffsetEntry>) -> Result<Option<i64>, ScanError> {
        if self.size == 0 {
            return Ok(Some(self.base));
        }
        let named = self.find_placed(self.latest.offset)?;
        if named.is_none_or(|placed| placed.header.max_timestamp != self.latest.timestamp) {
            return Ok(None);
        }
        let mut hop = self.walk_from(last)?;
        while let Some(placed) = hop.next()? {
            if placed.header.max_timestamp > self.latest.timestamp {
                return Ok(None);
            }
        }
        Ok(Some(hop.expected()))
    }

    /// A walk from the batch that an entry names, which must be the one it says.
    fn landing(&self, entry: OffsetEntry) -> Result<Hop<'_>, ScanError> {
        let position = u64::from(entry.position);
        let expected = self.base + i64::from(entry.relative);
        let mut hop = Hop::new(&*self.file, position, self.size, self.base);
        let cause = match hop.next()? {
            Some(placed) if placed.header.last_offset().0 == expected || planted!(B7) => {
                hop.rewind(position, self.base);
                return Ok(hop);
            }
            Some(placed) => {
                BatchError::OffsetsNotIncreasing { expected, found: placed.header.last_offset().0 }
            }
            None => BatchError::Truncated { needed: 1, present: 0 },
        };
        Err(ScanError::Damaged(Damage { position, cause }))
    }

    /// Makes the indexes from the log and writes their files, which are only a convenience for the next time.
    pub(crate) fn rebuild(
        disk: &dyn Disk,
        dir: &str,
        base: i64,
        file: Arc<dyn DiskFile>,
        size: u64,
    ) -> Result<Self, ScanError> {
        Self::rebuild_to_end(disk, dir, base, file, size).map(|(segment, _)| segment)
    }

    fn rebuild_to_end(
        disk: &dyn Disk,
        dir: &str,
        base: i64,
        file: Arc<dyn DiskFile>,
        size: u64,
    ) -> Result<(Self, Option<i64>), ScanError> {
        hit!(index_rebuilt);
        let mut segment = Self::with_index(base, file, size, Index::Memory(SegmentIndex::default()));
        let walked = segment.resume(SegmentIndex::default(), crate::log::INDEX_INTERVAL_DEFAULT, None)?;
        segment.note_end();
        for write in segment.index_writes(dir, true) {
            // A failure leaves the index in memory, which is as good.
            let _ = write.run(disk);
        }
        Ok((segment, Some(walked.end)))
    }

    /// Notes a batch that is in the file.
    pub(crate) fn note(&mut self, header: &BatchHeader, position: u64, interval: u32) {
        let stamp = TimePoint { timestamp: header.max_timestamp, offset: header.last_offset().0 };
        if stamp.timestamp > self.latest.timestamp {
            self.latest = stamp;
        }
        if position == 0 {
            self.first_timestamp = Some(header.max_timestamp);
        }
        if let Index::Memory(index) = &mut self.index {
            index.note(self.base, header, position, self.latest, interval);
        }
    }

    /// Keeps the place of a batch that was just appended.
    pub(crate) fn note_recent(&mut self, spot: Spot) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(spot);
    }

    /// Bytes of the longer index, if it is in memory.
    pub(crate) fn index_bytes(&self) -> usize {
        match &self.index {
            Index::Memory(index) => index.bytes(),
            Index::Files { .. } => 0,
        }
    }

    /// Drops the places that only speed up reading.
    pub(crate) fn forget_recent(&mut self) {
        self.recent = VecDeque::new();
    }

    /// No batch will follow: the time index gets its last entry, as Kafka wants it.
    pub(crate) fn note_end(&mut self) {
        if let Index::Memory(index) = &mut self.index {
            index.note_time(self.base, self.latest);
        }
    }

    /// The first batch that ends at or after `target`. `None` if all end before.
    pub(crate) fn find(&self, target: i64) -> Result<Option<Spot>, ScanError> {
        if let Some(spot) = self.find_recent(target) {
            return Ok(Some(spot));
        }
        let entry = match relative(self.base, target) {
            None => None,
            Some(target) => match &self.index {
                Index::Memory(index) => index.floor_offset(target),
                Index::Files { offsets, .. } => {
                    offsets.search::<OffsetEntry>(|entry| entry.relative <= target)?
                }
            },
        };
        Ok(self.walk_to(entry, target)?.map(Spot::from))
    }

    /// As [`Segment::find`], with the header.
    pub(crate) fn find_placed(&self, target: i64) -> Result<Option<Placed>, ScanError> {
        let Some(spot) = self.find(target)? else { return Ok(None) };
        Hop::new(&*self.file, spot.position, self.size, self.base).next()
    }

    /// The offset after the last batch before `position`, where a batch begins or the segment ends.
    pub(crate) fn end_before(&self, position: u64) -> Result<i64, ScanError> {
        let Some(before) = position.checked_sub(1) else { return Ok(self.base) };
        let start = self.floor_position(before)?.unwrap_or(0);
        let mut hop = Hop::new(&*self.file, start, position, self.base);
        while hop.next()?.is_some() {}
        Ok(hop.expected())
    }

    fn find_recent(&self, target: i64) -> Option<Spot> {
        let first = self.recent.front()?;
        if target < first.base_offset {
            return None;
        }
        let after = self.recent.partition_point(|spot| spot.base_offset <= target);
        self.recent.get(after.checked_sub(1)?).copied()
    }

    fn walk_to(&self, entry: Option<OffsetEntry>, target: i64) -> Result<Option<Placed>, ScanError> {
        let mut hop = self.walk_from(entry)?;
        while let Some(placed) = hop.next()? {
            if placed.header.last_offset().0 >= target {
                return Ok(Some(placed));
            }
        }
        Ok(None)
    }

    /// A walk from an entry's batch, or from the beginning.
    pub(crate) fn walk_from(&self, entry: Option<OffsetEntry>) -> Result<Hop<'_>, ScanError> {
        match entry {
            Some(entry) => self.landing(entry),
            None => Ok(Hop::new(&*self.file, 0, self.size, self.base)),
        }
    }

    /// The position of the last indexed batch at or before `target`, if there is one.
    pub(crate) fn floor_position(&self, target: u64) -> Result<Option<u64>, DiskError> {
        let entry = match &self.index {
            Index::Memory(index) => index.floor_position(target),
            Index::Files { offsets, .. } => {
                offsets.search::<OffsetEntry>(|entry| u64::from(entry.position) <= target)?
            }
        };
        Ok(entry.map(|entry| u64::from(entry.position)))
    }

    /// An offset before which no batch has a timestamp of at least `target`. The entry that says so is compared
    /// with the batch that it names.
    pub(crate) fn offset_before_time(&self, target: i64) -> Result<i64, ScanError> {
        let entry = match &self.index {
            Index::Memory(index) => index.before_time(target),
            Index::Files { times, .. } => times.search::<TimeEntry>(|entry| entry.timestamp < target)?,
        };
        let Some(entry) = entry else { return Ok(self.base) };
        let offset = self.base + i64::from(entry.relative);
        self.check_time(entry.timestamp, offset)?;
        Ok(offset)
    }

    /// The batch that a time entry names must have the timestamp that it says.
    fn check_time(&self, timestamp: i64, offset: i64) -> Result<(), ScanError> {
        let named = self.find_placed(offset)?;
        if named.is_some_and(|placed| placed.header.max_timestamp == timestamp || planted!(B7)) {
            return Ok(());
        }
        let position = named.map_or(self.size, |placed| placed.position);
        let cause = BatchError::OffsetsNotIncreasing { expected: offset, found: offset };
        Err(ScanError::Damaged(Damage { position, cause }))
    }

    /// What of the indexes in memory is not in their files. `last` says that no entry will follow.
    pub(crate) fn index_writes(&self, dir: &str, last: bool) -> Vec<IndexWrite> {
        self.index_writes_as(dir, last, Stage::Live)
    }

    /// As [`Segment::index_writes`], for files of another stage.
    pub(crate) fn index_writes_as(&self, dir: &str, last: bool, stage: Stage) -> Vec<IndexWrite> {
        let Index::Memory(index) = &self.index else { return Vec::new() };
        let (offsets, times) = self.written;
        let write = |kind, bytes: Vec<u8>, at: usize| IndexWrite {
            path: path(dir, self.base, kind, stage),
            bytes,
            at: at as u64,
            last,
        };
        let new_offsets = encode_entries(index.offsets.get(offsets..).unwrap_or_default());
        let new_times = encode_entries(index.times.get(times..).unwrap_or_default());
        vec![
            write(FileKind::OffsetIndex, new_offsets, offsets * OffsetEntry::BYTES),
            write(FileKind::TimeIndex, new_times, times * TimeEntry::BYTES),
        ]
    }

    /// Cuts off what the index files have beyond the entries that were taken over from them.
    pub(crate) fn trim_index_files(&self, disk: &dyn Disk, dir: &str) -> Result<(), DiskError> {
        let (offsets, times) = self.written;
        for (kind, length) in [
            (FileKind::OffsetIndex, offsets * OffsetEntry::BYTES),
            (FileKind::TimeIndex, times * TimeEntry::BYTES),
        ] {
            match disk.open(&path(dir, self.base, kind, Stage::Live), OpenMode::Write) {
                Ok(file) if file.length()? > length as u64 => file.truncate(length as u64)?,
                Ok(_) => {}
                Err(error) if error.kind == DiskErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The entries that [`Segment::index_writes`] hands out are now in the files.
    pub(crate) fn mark_written(&mut self) {
        if let Index::Memory(index) = &self.index {
            self.written = (index.offsets.len(), index.times.len());
        }
    }

    /// What of the index is in memory now, to be said of its files once it is in them.
    pub(crate) fn indexed(&self) -> Indexed {
        let count = |entries: usize| u32::try_from(entries).unwrap_or(0);
        match &self.index {
            Index::Memory(index) => Indexed {
                base: self.base,
                offsets: count(index.offsets.len()),
                times: count(index.times.len()),
            },
            Index::Files { .. } => Indexed { base: self.base, ..Indexed::default() },
        }
    }

    /// These entries are now in the files.
    pub(crate) fn mark_written_to(&mut self, indexed: Indexed) {
        self.written =
            (self.written.0.max(indexed.offsets as usize), self.written.1.max(indexed.times as usize));
    }

    /// Cuts the segment at `position`, where a batch begins. The latest timestamp is found again by walking
    /// from the last index entry.
    pub(crate) fn cut(&mut self, position: u64, interval: u32) -> Result<(), ScanError> {
        self.file.truncate(position)?;
        self.size = position;
        self.forget_recent();
        let mut index = match std::mem::replace(&mut self.index, Index::Memory(SegmentIndex::default())) {
            Index::Memory(index) => index,
            Index::Files { offsets, times } => {
                let index = SegmentIndex::new(offsets.read_all()?, times.read_all()?);
                self.written = (index.offsets.len(), index.times.len());
                index
            }
        };
        index.truncate(position);
        self.written = (self.written.0.min(index.offsets.len()), self.written.1.min(index.times.len()));
        self.resume(index, interval, None).map(|_| ())
    }

    /// Takes over an index of the file's beginning and notes the batches after it, up to the one that ends at
    /// or after `until`, or to the end. An index that does not fit the log is dropped (rule B7).
    pub(crate) fn resume(
        &mut self,
        index: SegmentIndex,
        interval: u32,
        until: Option<i64>,
    ) -> Result<Walked, ScanError> {
        let from = self.take_index(index)?;
        self.load_first_timestamp()?;
        let file = Arc::clone(&self.file);
        let mut hop = Hop::new(&*file, from, self.size, self.base);
        let mut last = None;
        while until.is_none_or(|until| hop.expected() < until) {
            let Some(placed) = hop.next()? else { break };
            self.note(&placed.header, placed.position, interval);
            last = Some(placed);
        }
        Ok(Walked { position: hop.position(), end: hop.expected(), last })
    }

    /// Takes over an index if the last entry of each kind names the batch that it says. Returns where the batch
    /// of the last entry begins.
    fn take_index(&mut self, index: SegmentIndex) -> Result<u64, ScanError> {
        let last = (index.offsets.last().copied(), index.times.last().copied());
        self.index = Index::Memory(index);
        self.latest = TimePoint::NONE;
        match self.ends_of_index(last) {
            Ok((position, latest)) => {
                self.latest = latest;
                Ok(position)
            }
            Err(ScanError::Damaged(_)) => {
                hit!(index_dropped);
                self.written = (0, 0);
                self.index = Index::Memory(SegmentIndex::default());
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    fn ends_of_index(
        &self,
        (offset, time): (Option<OffsetEntry>, Option<TimeEntry>),
    ) -> Result<(u64, TimePoint), ScanError> {
        let position = self.walk_from(offset)?.position();
        let Some(entry) = time else { return Ok((position, TimePoint::NONE)) };
        let offset = self.base + i64::from(entry.relative);
        self.check_time(entry.timestamp, offset)?;
        Ok((position, TimePoint { timestamp: entry.timestamp, offset }))
    }

    /// Finds out when the segment began, by its first batch.
    pub(crate) fn load_first_timestamp(&mut self) -> Result<(), ScanError> {
        if self.first_timestamp.is_none() && self.size > 0 {
            let first = Hop::new(&*self.file, 0, self.size, self.base).next()?;
            self.first_timestamp = first.map(|placed| placed.header.max_timestamp);
        }
        Ok(())
    }
}

/// Index entries on their way to a file. Entries are only ever added, so that running it late or twice changes
/// nothing; only the last one of a segment cuts off what may stand behind.
#[derive(Debug)]
pub(crate) struct IndexWrite {
    path: String,
    bytes: Vec<u8>,
    at: u64,
    last: bool,
}

impl IndexWrite {
    /// Writes the entries; the caller flushes the file if it must.
    pub(crate) fn run(&self, disk: &dyn Disk) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = match disk.open(&self.path, OpenMode::Write) {
            Err(error) if error.kind == DiskErrorKind::NotFound => disk.open(&self.path, OpenMode::Create)?,
            other => other?,
        };
        file.write_at(&mut [IoSlice::new(&self.bytes)], self.at)?;
        if self.last {
            file.truncate(self.at + self.bytes.len() as u64)?;
        }
        Ok(file)
    }
}

/// The entries of an index file that need not be there.
pub(crate) fn read_index<E: Entry>(disk: &dyn Disk, path: &str) -> Result<Vec<E>, DiskError> {
    match disk.open(path, OpenMode::Read) {
        Ok(file) => read_entries(&*file),
        Err(error) if error.kind == DiskErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn open_index<E: Entry>(disk: &dyn Disk, path: &str) -> Result<Option<IndexFile>, DiskError> {
    match disk.open(path, OpenMode::Read) {
        Ok(file) => IndexFile::new::<E>(file),
        Err(error) if error.kind == DiskErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
