//! Kafka's offset and time indexes: sparse, sorted, derived from the log and never evidence against it (B7).
//!
//! An offset entry names a batch by its last offset and its position. A time entry says that no batch up to
//! the one with this last offset has a later timestamp. The active segment's entries are in memory; closed
//! segments are searched in their files, entry by entry, without loading them.

use crate::disk::{DiskError, DiskFile};
use std::sync::Arc;
use wire::record::BatchHeader;

pub(crate) const OFFSET_ENTRY_BYTES: usize = 8;
pub(crate) const TIME_ENTRY_BYTES: usize = 12;

/// A batch's last offset, relative to the segment, and its position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) relative: u32,
    pub(crate) position: u32,
}

/// The latest timestamp up to the batch with this relative last offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: i64,
    pub(crate) relative: u32,
}

/// A timestamp and the last offset of the first batch that has it as its latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimePoint {
    /// Milliseconds; −1 for none.
    pub timestamp: i64,
    /// Last offset of the batch.
    pub offset: i64,
}

impl TimePoint {
    pub(crate) const NONE: Self = Self { timestamp: -1, offset: -1 };
}

/// A fixed-size entry of an index file.
pub(crate) trait Entry: Copy {
    const BYTES: usize;
    fn decode(raw: &[u8]) -> Option<Self>;
    fn encode(&self, out: &mut Vec<u8>);
    /// True if `self` may stand right after `before`.
    fn follows(&self, before: &Self) -> bool;
}

impl Entry for OffsetEntry {
    const BYTES: usize = OFFSET_ENTRY_BYTES;

    fn decode(raw: &[u8]) -> Option<Self> {
        let relative = u32::from_be_bytes(raw.get(..4)?.try_into().ok()?);
        let position = u32::from_be_bytes(raw.get(4..8)?.try_into().ok()?);
        Some(Self { relative, position })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn follows(&self, before: &Self) -> bool {
        self.relative > before.relative && self.position > before.position
    }
}

impl Entry for TimeEntry {
    const BYTES: usize = TIME_ENTRY_BYTES;

    fn decode(raw: &[u8]) -> Option<Self> {
        let timestamp = i64::from_be_bytes(raw.get(..8)?.try_into().ok()?);
        let relative = u32::from_be_bytes(raw.get(8..12)?.try_into().ok()?);
        Some(Self { timestamp, relative })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.relative.to_be_bytes());
    }

    fn follows(&self, before: &Self) -> bool {
        self.timestamp > before.timestamp && self.relative >= before.relative
    }
}

/// The indexes of one segment in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct SegmentIndex {
    pub(crate) offsets: Vec<OffsetEntry>,
    pub(crate) times: Vec<TimeEntry>,
    bytes_since_entry: u64,
}

impl SegmentIndex {
    /// An index of entries that were read.
    pub(crate) const fn new(offsets: Vec<OffsetEntry>, times: Vec<TimeEntry>) -> Self {
        Self { offsets, times, bytes_since_entry: 0 }
    }

    /// Notes a batch at `position`; `latest` is the latest timestamp up to and with this batch.
    pub(crate) fn note(
        &mut self,
        base: i64,
        header: &BatchHeader,
        position: u64,
        latest: TimePoint,
        interval: u32,
    ) {
        if self.bytes_since_entry > u64::from(interval) {
            if let (Some(relative), Ok(position)) =
                (relative(base, header.last_offset().0), u32::try_from(position))
            {
                self.offsets.push(OffsetEntry { relative, position });
                self.note_time(base, latest);
            }
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += header.total_bytes();
    }

    /// Adds the latest timestamp, if it is later than what the index has.
    pub(crate) fn note_time(&mut self, base: i64, latest: TimePoint) {
        let Some(relative) = relative(base, latest.offset) else { return };
        let entry = TimeEntry { timestamp: latest.timestamp, relative };
        if entry.timestamp >= 0 && self.times.last().is_none_or(|last| entry.follows(last)) {
            self.times.push(entry);
        }
    }

    /// Forgets entries of batches at or after `position`.
    pub(crate) fn truncate(&mut self, position: u64) {
        let keep = self.offsets.partition_point(|entry| u64::from(entry.position) < position);
        self.offsets.truncate(keep);
        let last = self.offsets.last().map(|entry| entry.relative);
        let keep = self.times.partition_point(|entry| last.is_some_and(|last| entry.relative <= last));
        self.times.truncate(keep);
        self.bytes_since_entry = 0;
    }

    /// The last entry at or before a relative offset.
    pub(crate) fn floor_offset(&self, target: u32) -> Option<OffsetEntry> {
        let after = self.offsets.partition_point(|entry| entry.relative <= target);
        after.checked_sub(1).and_then(|index| self.offsets.get(index)).copied()
    }

    /// The last entry at or before a position.
    pub(crate) fn floor_position(&self, target: u64) -> Option<OffsetEntry> {
        let after = self.offsets.partition_point(|entry| u64::from(entry.position) <= target);
        after.checked_sub(1).and_then(|index| self.offsets.get(index)).copied()
    }

    /// The last entry with a timestamp before `target`.
    pub(crate) fn before_time(&self, target: i64) -> Option<TimeEntry> {
        let after = self.times.partition_point(|entry| entry.timestamp < target);
        after.checked_sub(1).and_then(|index| self.times.get(index)).copied()
    }

    /// Entries of the longer index.
    pub(crate) fn bytes(&self) -> usize {
        (self.offsets.len() * OFFSET_ENTRY_BYTES).max(self.times.len() * TIME_ENTRY_BYTES)
    }
}

/// An index file that is searched where it is.
#[derive(Clone, Debug)]
pub(crate) struct IndexFile {
    file: Arc<dyn DiskFile>,
    entries: u64,
}

impl IndexFile {
    /// Takes a file whose length must be whole entries.
    pub(crate) fn new<E: Entry>(file: Arc<dyn DiskFile>) -> Result<Option<Self>, DiskError> {
        let length = file.length()?;
        let bytes = E::BYTES as u64;
        Ok((length % bytes == 0).then(|| Self { file, entries: length / bytes }))
    }

    /// All entries that are in order.
    pub(crate) fn read_all<E: Entry>(&self) -> Result<Vec<E>, DiskError> {
        read_entries(&*self.file)
    }

    /// The entry with this number.
    pub(crate) fn get<E: Entry>(&self, number: u64) -> Result<Option<E>, DiskError> {
        let mut raw = [0; TIME_ENTRY_BYTES];
        let raw = &mut raw[..E::BYTES];
        let read = self.file.read_at(raw, number * E::BYTES as u64)?;
        Ok(if read == E::BYTES { E::decode(raw) } else { None })
    }

    pub(crate) fn last<E: Entry>(&self) -> Result<Option<E>, DiskError> {
        self.entries.checked_sub(1).map_or(Ok(None), |number| self.get(number))
    }

    /// The last entry of those at the beginning for which `before` holds.
    pub(crate) fn search<E: Entry>(&self, before: impl Fn(&E) -> bool) -> Result<Option<E>, DiskError> {
        let (mut low, mut high) = (0, self.entries);
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get::<E>(middle)? {
                Some(entry) if before(&entry) => {
                    found = Some(entry);
                    low = middle + 1;
                }
                Some(_) | None => high = middle,
            }
        }
        Ok(found)
    }
}

/// Reads the entries of a file up to the first that cannot follow the one before it: the rest is the zeros of
/// a preallocated file, a torn end, or damage.
pub(crate) fn read_entries<E: Entry>(file: &dyn DiskFile) -> Result<Vec<E>, DiskError> {
    let mut raw = vec![0; usize::try_from(file.length()?).unwrap_or(0)];
    let read = file.read_at(&mut raw, 0)?;
    let mut entries: Vec<E> = Vec::new();
    for entry in raw[..read].chunks_exact(E::BYTES).filter_map(E::decode) {
        if entries.last().is_some_and(|last| !entry.follows(last)) {
            break;
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// The bytes of entries.
pub(crate) fn encode_entries<E: Entry>(entries: &[E]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * E::BYTES);
    for entry in entries {
        entry.encode(&mut out);
    }
    out
}

/// An offset relative to a segment's base, as an index can hold it: 31 bits.
pub(crate) fn relative(base: i64, offset: i64) -> Option<u32> {
    offset
        .checked_sub(base)
        .and_then(|delta| i32::try_from(delta).ok())
        .and_then(|delta| u32::try_from(delta).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, MemDisk, OpenMode};
    use std::io::IoSlice;

    fn times(entries: &[(i64, u32)]) -> Vec<TimeEntry> {
        entries
            .iter()
            .map(|(timestamp, relative)| TimeEntry { timestamp: *timestamp, relative: *relative })
            .collect()
    }

    fn stored(bytes: &[u8]) -> Arc<dyn DiskFile> {
        let file = MemDisk::new().open("f", OpenMode::Create).unwrap();
        file.write_at(&mut [IoSlice::new(bytes)], 0).unwrap();
        file
    }

    #[test]
    fn files_and_memory_find_the_same() {
        let entries: Vec<_> =
            (0..100).map(|k| OffsetEntry { relative: k * 3, position: k * 10 + 1 }).collect();
        let file = IndexFile::new::<OffsetEntry>(stored(&encode_entries(&entries))).unwrap().unwrap();
        let index = SegmentIndex { offsets: entries.clone(), ..SegmentIndex::default() };
        for target in 0..310 {
            let on_disk = file.search::<OffsetEntry>(|entry| entry.relative <= target).unwrap();
            assert_eq!(on_disk, index.floor_offset(target), "{target}");
        }
        assert_eq!(file.last::<OffsetEntry>().unwrap(), entries.last().copied());
        assert_eq!(index.floor_position(0), None);
        assert_eq!(index.floor_position(995), entries.get(99).copied());
        assert!(IndexFile::new::<OffsetEntry>(stored(&[0; 12])).unwrap().is_none());
    }

    #[test]
    fn reading_stops_where_order_ends() {
        let good = times(&[(5, 0), (6, 0), (9, 4)]);
        let mut bytes = encode_entries(&good);
        bytes.extend_from_slice(&[0; 30]);
        assert_eq!(read_entries::<TimeEntry>(&*stored(&bytes)).unwrap(), good);
    }

    #[test]
    fn timestamps_only_grow_and_truncation_forgets_later_ones() {
        let mut index = SegmentIndex::default();
        for (timestamp, offset) in [(5, 100), (5, 101), (3, 102), (9, 103), (-1, 104)] {
            index.note_time(100, TimePoint { timestamp, offset });
        }
        assert_eq!(index.times, times(&[(5, 0), (9, 3)]));
        assert_eq!(index.before_time(5), None);
        assert_eq!(index.before_time(9), times(&[(5, 0)]).first().copied());
        assert_eq!(index.before_time(99), times(&[(9, 3)]).first().copied());
        index.offsets =
            vec![OffsetEntry { relative: 2, position: 50 }, OffsetEntry { relative: 3, position: 90 }];
        index.truncate(90);
        assert_eq!((index.offsets.len(), index.times.len()), (1, 1));
        index.truncate(0);
        assert_eq!((index.offsets.len(), index.times.len()), (0, 0));
    }

    #[test]
    fn relative_offsets_are_31_bits() {
        assert_eq!(relative(10, 10), Some(0));
        assert_eq!(relative(10, 9), None);
        assert_eq!(relative(0, i64::from(i32::MAX)), Some(0x7fff_ffff));
        assert_eq!(relative(0, i64::from(i32::MAX) + 1), None);
        assert_eq!(relative(i64::MIN, i64::MAX), None);
    }
}
