//! The upkeep of a partition: checkpoints, compaction, and its end.

use super::look::Opener;
use super::{Inner, Replica};
use crate::job::Job;
use crate::upkeep::Stirred;
use base::Now;
use seglog::disk::DiskError;
use seglog::{CheckpointDone, CheckpointJob, CompactError, Compacted, SwapJob};

/// What owes less than this is not worth a checkpoint while it is written to: a start checks it in no time.
const OWED_MIN: u64 = 256 << 10;
/// Bytes of keys that a compaction keeps in memory.
const COMPACTION_MEMORY: usize = 16 << 20;

/// Where a partition stands in its upkeep.
#[derive(Debug, Default)]
pub(super) struct Tending {
    /// It will be looked at.
    is_awake: bool,
    /// A checkpoint is waited for or under way.
    is_owing: bool,
    /// It stands among those that may be compacted.
    is_compactable: bool,
    /// Bytes when it was last looked at.
    seen: u64,
    /// Base offset of the active segment when it was last compacted, or found to need none.
    compacted_at: i64,
}

impl Tending {
    /// Other rules of compaction may be in force.
    pub(super) const fn reconfigured(&mut self) {
        self.compacted_at = -1;
    }
}

/// What a look at a partition finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// It is to be checkpointed.
    pub(crate) owes: bool,
    /// It is to be compacted, perhaps.
    pub(crate) compacts: bool,
    /// It is written to and to be looked at again.
    pub(crate) stays: bool,
}

/// What follows a compaction.
#[derive(Debug)]
pub(crate) enum Compaction {
    /// Its files are to be put in place.
    Swap(SwapJob),
    /// There is something that will be old enough later.
    Wait,
    /// There is nothing to do before more is written.
    Done,
}

impl Inner {
    /// What the bytes that were just written, or found on opening, mean for the upkeep.
    pub(super) fn stir(&mut self) -> Stirred {
        if !self.tending.is_awake {
            self.tending.is_awake = true;
            return Stirred::Awake;
        }
        if !self.tending.is_owing && self.log.checkpoint_owed() >= self.log.config().checkpoint_bytes {
            self.tending.is_owing = true;
            return Stirred::Owing;
        }
        Stirred::No
    }

    fn may_compact(&self) -> bool {
        self.config.cleanup.compact
            && self.log.segments() > 1
            && self.log.active_base().0 != self.tending.compacted_at
    }
}

impl Replica {
    /// True if opening the partition left something for its upkeep.
    pub(crate) fn opened(&self) -> Stirred {
        let mut inner = self.inner();
        if inner.log.checkpoint_owed() > 0 || inner.may_compact() { inner.stir() } else { Stirred::No }
    }

    /// A while after an append: what is to be done now?
    pub(crate) fn look(&self) -> Look {
        let mut inner = self.inner();
        let is_here = !inner.role.is_gone();
        let owed = inner.log.checkpoint_owed();
        let stays = is_here && inner.bytes != inner.tending.seen;
        inner.tending.seen = inner.bytes;
        inner.tending.is_awake = stays;
        let owes = is_here && !inner.tending.is_owing && owed > 0 && (owed >= OWED_MIN || !stays);
        inner.tending.is_owing |= owes;
        let compacts = is_here && !inner.tending.is_compactable && inner.may_compact();
        inner.tending.is_compactable |= compacts;
        Look { owes, compacts, stays }
    }

    /// A checkpoint of the log as it is now.
    pub(crate) fn checkpoint(&self, now: Now) -> Option<CheckpointJob> {
        let mut inner = self.inner();
        let job = (!inner.role.is_gone()).then(|| inner.log.checkpoint_job(now)).flatten();
        inner.tending.is_owing &= job.is_some();
        job
    }

    /// A checkpoint for a clean end, if one is owed.
    pub(crate) fn owed_checkpoint(&self) -> Option<CheckpointJob> {
        let mut inner = self.inner();
        let owes = !inner.role.is_gone() && inner.log.checkpoint_owed() > 0;
        owes.then(|| inner.log.checkpoint_job(Now::default())).flatten()
    }

    /// Takes note of a checkpoint. True if the flusher is to be told.
    pub(crate) fn checkpointed(&self, outcome: Result<CheckpointDone, DiskError>) -> bool {
        let mut inner = self.inner();
        inner.tending.is_owing = false;
        match outcome {
            Ok(done) => inner.log.checkpointed(done),
            Err(_) => inner.log.checkpoint_failed(),
        }
        let flushes = !inner.role.is_gone() && !inner.scheduled && inner.log.is_dirty();
        inner.scheduled |= flushes;
        flushes
    }

    /// Compacts closed segments, if enough of them is new. Waits for the device.
    pub(crate) fn compact(&self, now: Now) -> Result<Option<Compacted>, CompactError> {
        let mut inner = self.inner();
        if inner.role.is_gone() {
            return Ok(None);
        }
        let high_watermark = inner.high_watermark();
        let job = inner.log.compaction_job(high_watermark, now).map_err(CompactError::from)?;
        let opener = Opener { bytes_max: inner.config.max_decompressed_bytes };
        drop(inner);
        job.map(|job| job.run(&opener, COMPACTION_MEMORY)).transpose()
    }

    /// Takes over what a compaction made.
    pub(crate) fn compacted(&self, outcome: Result<Option<Compacted>, CompactError>) -> Compaction {
        let mut inner = self.inner();
        let is_here = !inner.role.is_gone();
        let has_time_limits = inner.config.compaction_lag_min > base::Span::ZERO
            || inner.config.compaction_lag_max < base::Span::MAX;
        match outcome {
            Ok(Some(made)) => {
                if let Ok(Some(swap)) = inner.log.compacted(made) {
                    return Compaction::Swap(swap);
                }
            }
            Ok(None) => {}
            Err(_) => inner.log.compaction_failed(),
        }
        if is_here && has_time_limits && inner.may_compact() {
            return Compaction::Wait;
        }
        inner.tending.is_compactable = false;
        inner.tending.compacted_at = inner.log.active_base().0;
        Compaction::Done
    }

    /// The files of a compaction are in place.
    pub(crate) fn swapped(&self) {
        self.inner().log.swapped();
    }

    /// Segments that retention lets go, as a job; their files go at once, open handles read on.
    pub(crate) fn retention_job(self: &std::sync::Arc<Self>, now: Now) -> Option<Job> {
        let mut inner = self.inner();
        inner.log.expire_producers(now);
        let high_watermark = inner.high_watermark();
        let segments = inner.log.plan_retention(high_watermark, now).ok().flatten()?;
        base::hit!(retention_deleted);
        Some(Job::Retire { replica: self.clone(), segments })
    }
}
