//! The follower's side of replication: where it goes on, what it does with what its leader sends, what it reports.

use super::lead::Written;
use super::role::Role;
use super::{Inner, Replica, Told, Waiter, tell};
use crate::effects::Effects;
use crate::job::Job;
use crate::upkeep::Stirred;
use base::{BrokerId, EndOffset, LeaderEpoch, Now, hit};
use cluster::config::Durability;
use cluster::partition::{Answer, EpochEnd, Follower, Position, Step};
use seglog::{AppendError, OpenLogError};
use std::sync::Arc;
use wire::record::{BatchError, CheckedBatches};

/// Where a follower goes on, and what it tells its leader besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Going {
    pub(crate) position: Position,
    pub(crate) log_start: EndOffset,
    pub(crate) high_watermark: EndOffset,
}

/// What a leader sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served<'a> {
    /// What it was asked.
    pub(crate) asked: Position,
    /// Where its log parts from the one that was asked for.
    pub(crate) diverging: Option<EpochEnd>,
    pub(crate) high_watermark: EndOffset,
    pub(crate) log_start: EndOffset,
    pub(crate) records: &'a [u8],
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Took {
    /// It is an answer to something else than what the log is now.
    Nothing,
    /// The log has to be cut first: a job.
    Cut(Cut),
    /// The records are in the log.
    Copied(Copied),
}

/// What follows from records in the log.
#[derive(Debug)]
pub(crate) struct Copied {
    /// Bytes written.
    pub(crate) bytes: u64,
    /// The flusher is to be told.
    pub(crate) dirty: bool,
    /// What it means for the partition's upkeep.
    pub(crate) stirred: Stirred,
    /// The leader is to be told of this disk.
    pub(crate) reports: bool,
    /// Who reads here hears of what is safe now.
    told: Vec<(Waiter, Told)>,
    /// What the leader has deleted goes here, too.
    pub(crate) retire: Option<Box<Job>>,
}

/// Why what a leader sent is not in the log.
#[derive(Debug)]
pub(crate) enum TakeError {
    /// The bytes are no batches, or damaged: to be fetched again (B9).
    Damaged(BatchError),
    /// The log refused.
    Append(AppendError),
}

/// How a log is shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// At its end.
    To(EndOffset),
    /// All of it goes; it goes on at this offset.
    StartOver(EndOffset),
}

impl Copied {
    /// Tells those who read here.
    pub(crate) fn tell(&mut self, fx: &mut Effects) {
        tell(core::mem::take(&mut self.told), fx);
    }
}

impl Replica {
    /// Where it goes on, if it follows that leader.
    pub(crate) fn going(&self, leader: BrokerId) -> Option<Going> {
        let inner = self.inner();
        let Role::Follows(follows) = &inner.role else { return None };
        let position = follows.follower.position(&Written::of(&inner.log));
        let high_watermark = follows.follower.high_watermark();
        let going = Going { position, log_start: inner.durable_start, high_watermark };
        (follows.leader == leader).then_some(going)
    }

    /// Takes what the leader sent.
    pub(crate) fn take(self: &Arc<Self>, served: &Served<'_>, now: Now) -> Result<Took, TakeError> {
        // The CRC is checked without the lock (B9).
        let batches = CheckedBatches::from_leader(served.records, served.asked.offset);
        let mut inner = self.inner();
        let answer = Answer {
            asked_in: served.asked.leader_epoch,
            diverging: served.diverging,
            high_watermark: served.high_watermark,
        };
        let Inner { role, log, .. } = &mut *inner;
        let Role::Follows(follows) = role else { return Ok(Took::Nothing) };
        match follows.follower.answered(&answer, &Written::of(log)) {
            Step::Drop => {
                hit!(late_answer_dropped);
                Ok(Took::Nothing)
            }
            Step::Truncate(end) => Ok(Took::Cut(Cut::To(end))),
            // What was asked for is what comes, unless the log has moved since.
            Step::Append if served.asked.offset != log.end() => {
                hit!(repeated_answer_dropped);
                Ok(Took::Nothing)
            }
            Step::Append => {
                let batches = match batches {
                    // A log without records may begin within a batch, of which it has to have the whole.
                    Err(BatchError::OffsetsNotIncreasing { found, .. })
                        if log.start() == log.end() && found < served.asked.offset.0 =>
                    {
                        hit!(follower_begins_with_the_batch);
                        return Ok(Took::Cut(Cut::StartOver(EndOffset(found))));
                    }
                    other => other.map_err(TakeError::Damaged)?,
                };
                let mut copied = inner.copy(batches.as_ref(), &answer, now)?;
                let retire = |segments| Box::new(Job::Retire { replica: self.clone(), segments });
                copied.retire = inner.follow_start(served.log_start).map(retire);
                Ok(Took::Copied(copied))
            }
        }
    }

    /// Shortens the log of a follower, if it still follows in that epoch. Waits for the device with the lock held: nobody
    /// else has any use for the log meanwhile. After an error the log has to be opened anew, by the next start.
    pub(crate) fn cut(&self, epoch: LeaderEpoch, cut: Cut, now: Now) -> Result<(), OpenLogError> {
        let mut inner = self.inner();
        let Inner { role, log, .. } = &mut *inner;
        let Role::Follows(follows) = role else { return Ok(()) };
        if follows.follower.epoch() != epoch {
            return Ok(());
        }
        hit!(follower_cut);
        let done = match cut {
            Cut::To(end) => log.truncate_to(end, now).map(|end| follows.follower.truncated(end)),
            Cut::StartOver(at) => {
                follows.start_min = follows.start_min.max(log.start());
                log.start_over_at(at, now).map(|at| {
                    follows.follower = Follower::new(epoch, at, at, at);
                })
            }
        };
        follows.reported = None;
        if done.is_err() {
            inner.role = Role::Gone;
        }
        let high_watermark = inner.high_watermark();
        inner.safe_to = inner.safe_to.min(high_watermark);
        let start = inner.log.start();
        inner.durable_start = match cut {
            Cut::To(_) => inner.durable_start.min(start),
            Cut::StartOver(_) => start,
        };
        done
    }

    /// What its leader is to be told of this disk, if it follows that leader.
    pub(crate) fn report(&self, leader: BrokerId) -> Option<(LeaderEpoch, EndOffset)> {
        let mut inner = self.inner();
        let Role::Follows(follows) = &mut inner.role else { return None };
        if follows.leader != leader {
            return None;
        }
        let flushed = follows.follower.report()?;
        follows.reported = Some(flushed);
        Some((follows.follower.epoch(), flushed))
    }

    /// From where on it may start over when its leader has nothing at the end of its log: what is known to be safe here
    /// is there, too, or was deleted there.
    pub(crate) fn start_over_at(&self, leader_start: EndOffset) -> Option<(LeaderEpoch, EndOffset)> {
        let inner = self.inner();
        let Role::Follows(follows) = &inner.role else { return None };
        let is_safe = leader_start >= follows.follower.high_watermark();
        let epoch = follows.follower.epoch();
        (is_safe && leader_start != inner.log.end()).then_some((epoch, leader_start))
    }
}

impl Inner {
    fn copy(
        &mut self,
        batches: Option<&CheckedBatches<'_>>,
        answer: &Answer,
        now: Now,
    ) -> Result<Copied, TakeError> {
        let mut bytes = 0;
        if let Some(batches) = batches {
            bytes = self.log.append_as_follower(batches, now).map_err(TakeError::Append)?.bytes;
        }
        let Role::Follows(follows) = &mut self.role else {
            return Ok(Copied {
                bytes,
                dirty: false,
                stirred: Stirred::No,
                reports: false,
                told: Vec::new(),
                retire: None,
            });
        };
        let known = follows.follower.high_watermark();
        follows.follower.appended(self.log.end(), answer);
        let is_flushed = self.config.durability == Durability::Flushed;
        let reports = is_flushed && follows.follower.report() != follows.reported;
        self.bytes += bytes;
        let dirty = is_flushed && bytes > 0 && !self.scheduled;
        self.scheduled |= dirty;
        let stirred = if bytes > 0 { self.stir() } else { Stirred::No };
        let moved = self.high_watermark() > known;
        let told = self.wake_if(moved);
        Ok(Copied { bytes, dirty, stirred, reports, told, retire: None })
    }

    /// Deletes what the leader has deleted, as far as it is safe.
    fn follow_start(&mut self, leader_start: EndOffset) -> Option<seglog::DeleteJob> {
        let high_watermark = self.high_watermark();
        // What was deleted here before the log started over does not come back either (B15).
        let start_min = match &self.role {
            Role::Follows(follows) => follows.start_min,
            Role::Leads(_) | Role::StandsBy { .. } | Role::Gone => EndOffset::ZERO,
        };
        let start = leader_start.max(start_min).min(high_watermark);
        if start <= self.log.start() {
            return None;
        }
        hit!(follower_start_moved);
        self.log.delete_records(start, high_watermark).ok().flatten()
    }

    /// Takes note of a flush; true if the leader is to be told.
    pub(super) fn follower_flushed(&mut self, flushed: EndOffset) -> bool {
        let Role::Follows(follows) = &mut self.role else { return false };
        follows.follower.flushed_to(flushed);
        follows.follower.report() != follows.reported && self.config.durability == Durability::Flushed
    }
}
