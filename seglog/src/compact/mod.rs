//! Compaction: of each key only the latest value stays.
//!
//! Closed segments are copied without what newer records have made void, in groups that become one segment
//! each. The copy replaces its sources by Apache Kafka's protocol: `.cleaned` while it is written, `.swap` once
//! it is complete and durable, then the sources go, then it takes their name. A crash leaves the old or the
//! new, never both and never neither.
//!
//! Stays whatever the rules say must: control batches (F3), the last batch of every producer (F5) and of every
//! group, if need be without records; tombstones for `delete.retention.ms` after compaction first met them
//! (F4). Aborted records go and void nothing. Offsets never change.

mod keys;
mod outcomes;
mod rewrite;
mod swap;
#[cfg(test)]
mod tests;

pub(crate) use swap::{Swap, complete_swaps, remove_unfinished};

use crate::dir::{LogDir, PartitionKey};
use crate::disk::{DiskError, OpenMode};
use crate::log::{LogConfig, LogDamage, ReadError, RecordCodec};
use crate::names::{FileKind, Stage};
use crate::scan::{Damage, Hop, Placed, ScanError};
use crate::segment::{Segment, path};
use base::{EndOffset, Timestamp, hit};
use keys::LatestKeys;
use outcomes::Outcomes;
use rewrite::Rewriter;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Segments to be compacted; made by the log under its lock, run without.
#[derive(Debug)]
pub struct CompactionJob {
    pub(crate) dir: Arc<LogDir>,
    pub(crate) path: Arc<str>,
    pub(crate) key: PartitionKey,
    pub(crate) config: LogConfig,
    /// Base offsets of the closed segments below the bound, and the bound.
    pub(crate) bases: Vec<i64>,
    pub(crate) bound: i64,
    /// The log's start.
    pub(crate) start: EndOffset,
    /// What was compacted before: keys are looked for from here on.
    pub(crate) dirty_from: i64,
    /// Last offsets of the batches that hold a producer's last sequence.
    pub(crate) producer_lasts: BTreeSet<i64>,
    pub(crate) now: Timestamp,
    pub(crate) lease: crate::log::Lease,
}

/// New segments, complete and durable under their `.swap` names; the log takes them over.
#[derive(Debug)]
pub struct Compacted {
    pub(crate) groups: Vec<Group>,
    /// Everything before this offset has been compacted.
    pub(crate) cleaned_to: EndOffset,
    /// Bytes before and after.
    pub(crate) bytes: (u64, u64),
    /// Of the lease under which it was made.
    pub(crate) generation: u64,
}

/// Segments that become one.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) sources: Vec<i64>,
    pub(crate) segment: Segment,
}

/// Why a compaction ended without a result. The log is as before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompactError {
    /// The log was cut or its segments deleted meanwhile.
    Overtaken,
    /// A source is damaged; nothing of it is copied, so that damage does not get a fresh checksum.
    Damaged(LogDamage),
    /// The disk failed, or is full.
    Disk(DiskError),
}

impl CompactionJob {
    /// The bytes of keys that are kept in memory are at most `memory`; what does not fit waits for the next
    /// time. Waits for the device.
    ///
    /// # Errors
    /// Any [`CompactError`].
    pub fn run(&self, codec: &dyn RecordCodec, memory: usize) -> Result<Compacted, CompactError> {
        let result = self.compact_all(codec, memory);
        if let Err(CompactError::Disk(error)) = &result {
            let _ = self.dir.fence_on_error::<()>(Err(error.clone()));
        }
        result
    }

    fn compact_all(&self, codec: &dyn RecordCodec, memory: usize) -> Result<Compacted, CompactError> {
        let outcomes = self.find_outcomes()?;
        let bound = outcomes.bound(self.bound);
        let keys = self.find_keys(codec, &outcomes, bound, memory)?;
        let cleaned_to = keys.end();
        let mut compacted = Compacted {
            groups: Vec::new(),
            cleaned_to: EndOffset(cleaned_to),
            bytes: (0, 0),
            generation: self.lease.generation(),
        };
        if cleaned_to <= self.dirty_from {
            return Ok(compacted);
        }
        for sources in self.group(cleaned_to)? {
            let group = self.compact(codec, &outcomes, &keys, sources, &mut compacted.bytes)?;
            compacted.groups.push(group);
        }
        self.publish(&compacted)?;
        Ok(compacted)
    }

    /// Walks everything by header for the ends of transactions.
    fn find_outcomes(&self) -> Result<Outcomes, CompactError> {
        let mut outcomes = Outcomes::default();
        self.each_batch(0, i64::MAX, |segment, placed| {
            let marker = crate::scan::read_marker(&*segment.file, placed).map_err(ScanError::from)?;
            outcomes.note(&placed.header, marker);
            Ok(true)
        })?;
        Ok(outcomes)
    }

    /// The latest offset of each key in the dirty part, as far as memory allows.
    fn find_keys(
        &self,
        codec: &dyn RecordCodec,
        outcomes: &Outcomes,
        bound: i64,
        memory: usize,
    ) -> Result<LatestKeys, CompactError> {
        let mut keys = LatestKeys::new(self.dirty_from, memory);
        self.each_batch(self.dirty_from, bound, |segment, placed| {
            let header = &placed.header;
            if header.attributes.is_control() || outcomes.is_aborted(header) {
                keys.pass(header.end_offset().0);
                return Ok(true);
            }
            match rewrite::read_sound(segment, placed, codec)? {
                Some(records) => Ok(keys.note(header, &records)),
                // What cannot be read voids nothing and is not touched.
                None => {
                    keys.pass(header.end_offset().0);
                    Ok(true)
                }
            }
        })?;
        Ok(keys)
    }

    /// Calls `visit` for each batch that ends after `from` and ends at or before `until`, while it says so.
    fn each_batch(
        &self,
        from: i64,
        until: i64,
        mut visit: impl FnMut(&Segment, &Placed) -> Result<bool, ScanError>,
    ) -> Result<(), CompactError> {
        for (index, base) in self.bases.iter().enumerate() {
            let next = self.bases.get(index + 1).copied().unwrap_or(self.bound);
            if next <= from {
                continue;
            }
            let failed = |error| CompactError::scan(*base, error);
            let segment = self.open(*base).map_err(failed)?;
            let mut hop = Hop::new(&*segment.file, 0, segment.size, *base);
            while let Some(placed) = hop.next().map_err(failed)? {
                let header = &placed.header;
                if header.end_offset().0 > until {
                    return Ok(());
                }
                if header.end_offset().0 > from && !visit(&segment, &placed).map_err(failed)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn open(&self, base: i64) -> Result<Segment, ScanError> {
        let disk = self.dir.disk();
        let file = disk.open(&path(&self.path, base, FileKind::Log, Stage::Live), OpenMode::Read)?;
        let size = file.length()?;
        Ok(Segment::with_index(
            base,
            file,
            size,
            crate::segment::Index::Memory(crate::index::SegmentIndex::default()),
        ))
    }

    /// Consecutive segments that fit into one together.
    fn group(&self, cleaned_to: i64) -> Result<Vec<Vec<i64>>, CompactError> {
        let mut groups: Vec<Vec<i64>> = Vec::new();
        let mut bytes = 0;
        for (index, base) in self.bases.iter().enumerate() {
            let end = self.bases.get(index + 1).copied().unwrap_or(self.bound);
            if *base >= cleaned_to {
                break;
            }
            let size = self.open(*base).map_err(|error| CompactError::scan(*base, error))?.size;
            let fits = groups.last().and_then(|group| group.first()).is_some_and(|first| {
                bytes + size <= u64::from(self.config.segment_bytes) && end - first <= i64::from(i32::MAX)
            });
            match groups.last_mut() {
                Some(group) if fits => group.push(*base),
                Some(_) | None => {
                    groups.push(vec![*base]);
                    bytes = 0;
                }
            }
            bytes += size;
        }
        Ok(groups)
    }

    fn compact(
        &self,
        codec: &dyn RecordCodec,
        outcomes: &Outcomes,
        keys: &LatestKeys,
        sources: Vec<i64>,
        bytes: &mut (u64, u64),
    ) -> Result<Group, CompactError> {
        let (Some(first), Some(last)) = (sources.first().copied(), sources.last().copied()) else {
            return Err(CompactError::Overtaken);
        };
        let end = self.bases.iter().copied().find(|base| *base > last).unwrap_or(self.bound);
        let mut rewriter = Rewriter::create(self, first, codec, outcomes, keys)?;
        for base in &sources {
            let segment = self.open(*base).map_err(|error| CompactError::scan(*base, error))?;
            bytes.0 += segment.size;
            rewriter.copy(&segment, end).map_err(|error| CompactError::scan(*base, error))?;
        }
        let segment = rewriter.finish(end)?;
        bytes.1 += segment.size;
        Ok(Group { sources, segment })
    }

    /// Gives the complete copies their `.swap` names, durably: from here on recovery puts them in place.
    fn publish(&self, compacted: &Compacted) -> Result<(), CompactError> {
        let disk = &**self.dir.disk();
        let renamed = self.lease.hold(|| {
            // Recovery looks byte by byte at what is past the recorded flush point, and there gaps end a log.
            self.dir.points().raise(self.key, self.start, EndOffset(self.bound))?;
            for group in &compacted.groups {
                swap::rename(disk, &self.path, group.segment.base, Stage::Cleaned, Stage::Swap)?;
            }
            disk.sync_dir(&self.path)
        })?;
        if renamed { Ok(()) } else { Err(CompactError::Overtaken) }
    }
}

impl Compacted {
    /// Bytes of the segments before and after.
    #[must_use]
    pub const fn bytes(&self) -> (u64, u64) {
        self.bytes
    }

    /// Everything before this offset has been compacted.
    #[must_use]
    pub const fn cleaned_to(&self) -> EndOffset {
        self.cleaned_to
    }
}

impl CompactError {
    pub(crate) fn scan(segment: i64, error: ScanError) -> Self {
        match error {
            ScanError::Disk(error) => error.into(),
            ScanError::Damaged(damage) => {
                hit!(compaction_met_damage);
                Self::Damaged(LogDamage::Batch { segment, damage })
            }
        }
    }
}

impl From<ReadError> for CompactError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Disk(error) => error.into(),
            ReadError::Damaged(damage) => Self::Damaged(damage),
            ReadError::OutOfRange { .. } => Self::Overtaken,
        }
    }
}

impl From<DiskError> for CompactError {
    fn from(error: DiskError) -> Self {
        // A source that is gone was deleted.
        if error.kind == crate::disk::DiskErrorKind::NotFound { Self::Overtaken } else { Self::Disk(error) }
    }
}

impl fmt::Display for CompactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overtaken => f.write_str("the log was cut or deleted meanwhile"),
            Self::Damaged(LogDamage::Batch { segment, damage: Damage { position, cause } }) => {
                write!(f, "damaged batch at byte {position} of segment {segment}: {cause}")
            }
            Self::Damaged(damage) => fmt::Display::fmt(damage, f),
            Self::Disk(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for CompactError {}
