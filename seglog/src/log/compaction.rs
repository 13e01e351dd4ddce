//! The log's side of compaction: what may be compacted, and taking over the result.

use super::{Log, ReadError};
use crate::compact::{Compacted, CompactionJob, Swap};
use crate::disk::DiskError;
use crate::names::PartitionName;
use base::{EndOffset, Now, Span, Timestamp, hit};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// What a log remembers about its compaction.
#[derive(Debug, Default)]
pub(super) struct CompactState {
    /// Everything before this offset has been compacted.
    cleaned_to: i64,
    /// A job is out.
    in_flight: bool,
    /// New segments whose files are not in place yet.
    swap: Option<Arc<Swap>>,
}

/// Puts the files of compacted segments in place; the log uses the segments already.
#[derive(Debug)]
pub struct SwapJob {
    swap: Arc<Swap>,
    name: PartitionName,
    cleaned_to: EndOffset,
}

impl SwapJob {
    /// Removes the sources, renames the new files, notes how far the log is compacted. Waits for the device.
    ///
    /// # Errors
    /// As the disk. What is not done is done when the log is next opened.
    pub fn run(&self) -> Result<(), DiskError> {
        let dir = &self.swap.dir;
        let result = self.swap.run().and_then(|()| dir.note_cleaned(&self.name, self.cleaned_to));
        dir.fence_on_error(result)
    }
}

impl CompactState {
    pub(super) const fn new(cleaned_to: i64) -> Self {
        Self { cleaned_to, in_flight: false, swap: None }
    }

    /// True while files under live names are not those that the log reads.
    pub(super) const fn is_swapping(&self) -> bool {
        self.swap.is_some()
    }

    /// The log is cut: a swap is brought to its end, anything before is forgotten.
    pub(super) fn settle(&mut self, end: EndOffset) -> Result<(), DiskError> {
        self.cleaned_to = self.cleaned_to.min(end.0);
        match self.swap.take() {
            Some(swap) => swap.run(),
            None => Ok(()),
        }
    }
}

impl Log {
    /// Everything before this offset has been compacted.
    #[must_use]
    pub const fn cleaned_to(&self) -> EndOffset {
        EndOffset(self.compact.cleaned_to)
    }

    /// A compaction of the closed segments below `high_watermark` (rule F1), if the topic compacts and enough
    /// is dirty: `min.cleanable.dirty.ratio`, or anything once `max.compaction.lag.ms` has passed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn compaction_job(
        &mut self,
        high_watermark: EndOffset,
        now: Now,
    ) -> Result<Option<CompactionJob>, ReadError> {
        if !self.config.compacts || self.compact.in_flight || self.compact.is_swapping() {
            return Ok(None);
        }
        let dirty_from = self.compact.cleaned_to.max(self.first_base());
        let (bases, bound) = self.compactable(high_watermark, now)?;
        if bound <= dirty_from || !self.is_dirty_enough(&bases, dirty_from, now)? {
            return Ok(None);
        }
        self.compact.in_flight = true;
        Ok(Some(CompactionJob {
            dir: Arc::clone(&self.dir),
            path: Arc::clone(&self.path),
            key: self.key,
            config: self.config.clone(),
            bases,
            bound,
            start: self.start,
            dirty_from,
            producer_lasts: self.producer_lasts(),
            now: now.wall,
            lease: self.checkpoint.lease(),
        }))
    }

    /// Closed segments that are committed, durable, and old enough (`min.compaction.lag.ms`).
    fn compactable(&mut self, high_watermark: EndOffset, now: Now) -> Result<(Vec<i64>, i64), ReadError> {
        let limit = high_watermark.min(self.flushed).0.min(self.active.base);
        let mut bases = Vec::new();
        let mut bound = self.first_base();
        for base in self.closed_bases() {
            let end = self.next_base(base).unwrap_or(self.active.base);
            let latest = self.segment(base).map_err(|error| ReadError::scan(base, error))?.latest;
            let too_young = now.wall.since(Timestamp(latest.timestamp)) < self.config.compaction_lag_min;
            // What waits for a flush to write its index must not change its files meanwhile.
            if end > limit || too_young || self.flush.unsealed().contains(&base) {
                break;
            }
            bases.push(base);
            bound = end;
        }
        Ok((bases, bound))
    }

    fn is_dirty_enough(&mut self, bases: &[i64], dirty_from: i64, now: Now) -> Result<bool, ReadError> {
        let (mut dirty, mut total, mut overdue) = (0u64, 0u64, false);
        for base in bases {
            let segment = self.segment(*base).map_err(|error| ReadError::scan(*base, error))?;
            total += segment.size;
            if *base >= dirty_from {
                dirty += segment.size;
                overdue = overdue || self.age(*base, now)? > self.config.compaction_lag_max;
            }
        }
        let ratio = u64::from(self.config.dirty_percent_min);
        Ok(dirty > 0 && (overdue || dirty.saturating_mul(100) >= total.saturating_mul(ratio)))
    }

    /// How long ago a segment began.
    fn age(&mut self, base: i64, now: Now) -> Result<Span, ReadError> {
        if self.config.compaction_lag_max == Span::MAX {
            return Ok(Span::ZERO);
        }
        let first = self.ask(base, |segment| segment.find_placed(i64::MIN));
        let first = first.map_err(|error| ReadError::scan(base, error))?;
        Ok(first.map_or(Span::ZERO, |placed| now.wall.since(Timestamp(placed.header.max_timestamp))))
    }

    /// Last offsets of the batches that hold what is known of each producer.
    fn producer_lasts(&self) -> BTreeSet<i64> {
        let lasts = self.producers.iter().filter_map(|(_, state)| state.batches().last());
        lasts.map(|batch| batch.last_offset).collect()
    }

    /// Takes over what a compaction made; the job puts the files in place. `None` if there is nothing to do, or
    /// if segments were deleted meanwhile: then the copies are dropped.
    ///
    /// # Errors
    /// As the disk.
    pub fn compacted(&mut self, result: Compacted) -> Result<Option<SwapJob>, DiskError> {
        self.compact.in_flight = false;
        let sources = result.groups.iter().flat_map(|group| &group.sources);
        let all_there = sources.clone().all(|base| self.closed.contains_key(base));
        let valid = result.generation == self.checkpoint.lease().generation();
        if result.groups.is_empty() || !all_there || !valid {
            hit!(compaction_dropped);
            let lease = self.checkpoint.lease();
            lease.hold_if_there(|| crate::compact::remove_unfinished(&**self.dir.disk(), &self.path))?;
            return Ok(None);
        }
        let mut groups = Vec::new();
        for group in result.groups {
            for base in &group.sources {
                self.closed.remove(base);
            }
            groups.push((group.segment.base, group.sources));
            self.closed.insert(group.segment.base, group.segment.into());
        }
        let (dir, path) = (Arc::clone(&self.dir), Arc::clone(&self.path));
        let swap =
            Arc::new(Swap { dir, path, groups, done: Mutex::new(false), lease: self.checkpoint.lease() });
        self.compact.swap = Some(Arc::clone(&swap));
        self.compact.cleaned_to = self.compact.cleaned_to.max(result.cleaned_to.0);
        Ok(Some(SwapJob { swap, name: self.name.clone(), cleaned_to: result.cleaned_to }))
    }

    /// The files are in place.
    pub fn swapped(&mut self) {
        self.compact.swap = None;
    }

    /// A compaction or a swap failed; the next one tries again, a swap at the latest when the log is opened.
    pub fn compaction_failed(&mut self) {
        self.compact.in_flight = false;
    }
}
