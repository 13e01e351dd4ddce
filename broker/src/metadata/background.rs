//! What the metadata owner does without being asked: tries again what a full disk refused, takes snapshots,
//! applies retention, looks after partitions.

use super::{Metadata, StoreError};
use crate::effects::{Effects, Level};
use crate::job::Job;
use crate::wall::Belief;
use base::{Instant, Now, Span, TopicId, hit};
use quorum::SnapshotPoint;
use std::sync::Arc;

impl Metadata {
    /// Tries again what a full disk has refused.
    pub(super) fn retry_when_due(&mut self, now: Now, fx: &mut Effects) {
        let Some((at, persist)) = self.full.take() else { return };
        if now.mono >= at {
            fx.jobs.push(Job::PersistRaft { store: self.store.clone(), persist: persist.clone() });
            // Kept to know that the disk was full; the next outcome replaces it.
            self.full = Some((Instant::from_nanos(u64::MAX), persist));
        } else {
            fx.wake(at);
            self.full = Some((at, persist));
        }
    }

    /// Opens the partitions that found no room on the disk before, and those that were too many.
    pub(super) fn open_when_due(&mut self, now: Now, fx: &mut Effects) {
        match self.unopened.take() {
            Some((at, topics)) if now.mono >= at => {
                self.open_missing_of(topics, now, fx);
                if let Some((at, _)) = &self.unopened {
                    fx.wake(*at);
                }
            }
            Some((at, topics)) => {
                fx.wake(at);
                self.unopened = Some((at, topics));
            }
            None => {}
        }
    }

    /// Opens what is missing of these topics at this moment.
    pub(super) fn open_later(&mut self, topics: &[TopicId], at: Instant) {
        if topics.is_empty() {
            return;
        }
        let (due, waiting) = self.unopened.get_or_insert_with(|| (at, Vec::new()));
        *due = at.min(*due);
        waiting.extend(topics);
        waiting.sort_unstable();
        waiting.dedup();
    }

    pub(super) fn snapshot_if_due(&mut self, fx: &mut Effects) {
        // What an open decision has so far is in the log only: it must not be compacted away. So must deletions
        // whose directories are still there: the next start has to know of them (B11).
        let is_due =
            self.snapshot_wanted || self.quorum.entries_in_memory() >= self.node.config.snapshot_entries;
        if !is_due
            || self.snapshotting
            || self.removals > 0
            || (!self.removed.is_empty() && !self.has_all_open())
            || self.open.is_some()
        {
            return;
        }
        let Some(point) = self.quorum.applied_point() else { return };
        self.snapshot_wanted = false;
        // Entries that do not commit make no newer one.
        if point.index <= self.quorum.snapshot_point().index {
            return;
        }
        self.snapshotting = true;
        let image = Arc::new(self.committed.clone());
        fx.jobs.push(Job::SnapshotMetadata { store: self.store.clone(), image, point });
    }

    /// True if whatever is deleted from now on is among the replicas, and so removed at once.
    fn has_all_open(&self) -> bool {
        self.is_serving() && self.unopened.is_none()
    }

    /// A snapshot is written, or is not.
    pub(super) fn snapshotted(&mut self, outcome: Result<Box<SnapshotPoint>, StoreError>, fx: &mut Effects) {
        self.snapshotting = false;
        match outcome {
            Ok(point) => self.quorum.compact(*point),
            Err(error) => {
                fx.log(Level::Error, format!("a snapshot of the metadata cannot be written: {error}"))
            }
        }
    }

    /// Every `log.retention.check.interval.ms`, unless the wall clock is in doubt.
    pub(super) fn apply_retention(&mut self, now: Now, fx: &mut Effects) {
        if now.mono < self.next_retention {
            return fx.wake(self.next_retention);
        }
        self.next_retention = now.mono + self.node.config.retention_check.max(Span::from_millis(1));
        fx.wake(self.next_retention);
        match self.wall_clock.look(now) {
            Belief::Sound => {
                for replica in self.view.replicas.values() {
                    if let Some(job) = replica.retention_job(now) {
                        replica.nudge(fx);
                        fx.jobs.push(job);
                    }
                }
            }
            Belief::Doubted => {}
            Belief::Jumped => {
                hit!(retention_doubts_clock);
                fx.log(
                    Level::Warn,
                    "The wall clock has jumped: no record is deleted for its age before the clock is set back, the node is restarted, or a day has passed",
                );
            }
        }
    }

    /// Looks after the partitions that were written to lately.
    pub(super) fn look_after_partitions(&mut self, now: Now, fx: &mut Effects) {
        if let Some(at) = self.shared.upkeep.look(now, self.node.config.cleaner_backoff, fx) {
            fx.wake(at);
        }
    }
}
