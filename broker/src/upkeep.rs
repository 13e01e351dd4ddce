//! What partitions need in the background once they were written to: checkpoints and compaction.
//!
//! Only partitions that were written to lately stand in a queue here; the idle ones cost nothing. A partition is
//! looked at a while after its first append and again for as long as it is written to. Few jobs run at a time,
//! so that a thousand busy partitions do not keep the flusher from its turn.

use crate::effects::{Effects, Level, Mail, Owner};
use crate::flusher::Flusher;
use crate::job::Job;
use crate::replica::{Compaction, Look, Replica};
use base::{Instant, Now, Span, hit};
use seglog::disk::DiskError;
use seglog::{CheckpointDone, CompactError, Compacted};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long after an append a partition is looked at.
const LOOK_AFTER: Span = Span::from_secs(5);
/// Checkpoints that run at a time.
const CHECKPOINTS_MAX: usize = 2;

/// Which partitions have something to be done for them.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Written to lately, in the order in which they are looked at; each at most once.
    busy: VecDeque<(Instant, Arc<Replica>)>,
    /// To be checkpointed as soon as others are done; each at most once.
    owing: VecDeque<Arc<Replica>>,
    checkpointing: usize,
    /// Partitions that may have something to compact; each at most once.
    compactable: VecDeque<Arc<Replica>>,
    /// How many of them are still to be looked at in this turn.
    turn: usize,
    next_turn: Option<Instant>,
    is_compacting: bool,
}

impl Upkeep {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A partition is written to that was not before, or that owes a checkpoint by now.
    pub(crate) fn stirred(&self, replica: &Arc<Replica>, stirred: Stirred, now: Now, fx: &mut Effects) {
        let mut state = self.state();
        match stirred {
            Stirred::No => {}
            Stirred::Awake => {
                if state.busy.is_empty() {
                    // Else the metadata owner knows already when to look.
                    fx.tell(Owner::Metadata, Mail::Upkeep);
                }
                state.busy.push_back((now.mono + LOOK_AFTER, replica.clone()));
            }
            Stirred::Owing => {
                state.owing.push_back(replica.clone());
                state.checkpoint_next(now, fx);
            }
        }
    }

    /// Looks at those whose time has come. Returns when to look again.
    pub(crate) fn look(&self, now: Now, backoff: Span, fx: &mut Effects) -> Option<Instant> {
        let mut state = self.state();
        while state.busy.front().is_some_and(|(at, _)| *at <= now.mono) {
            let Some((_, replica)) = state.busy.pop_front() else { break };
            let Look { owes, compacts, stays } = replica.look();
            if owes {
                state.owing.push_back(replica.clone());
            }
            if compacts {
                state.compactable.push_back(replica.clone());
            }
            if stays {
                state.busy.push_back((now.mono + LOOK_AFTER, replica));
            }
        }
        state.checkpoint_next(now, fx);
        state.begin_turn(now, backoff);
        state.compact_next(now, fx);
        let next = state.busy.front().map(|(at, _)| *at);
        next.into_iter().chain(state.next_turn).min()
    }

    /// A checkpoint has ended: its index goes with the next flush.
    pub(crate) fn checkpointed(
        &self,
        replica: &Arc<Replica>,
        outcome: Result<CheckpointDone, DiskError>,
        flusher: &Flusher,
        now: Now,
        fx: &mut Effects,
    ) {
        if let Err(error) = &outcome {
            fx.log(
                Level::Warn,
                format!("A checkpoint of {}-{} failed: {error}", replica.name, replica.index),
            );
        }
        if replica.checkpointed(outcome) {
            flusher.schedule(replica, fx);
        }
        let mut state = self.state();
        state.checkpointing -= 1;
        state.checkpoint_next(now, fx);
    }

    /// A compaction has ended; its files are to be put in place.
    pub(crate) fn compacted(
        &self,
        replica: &Arc<Replica>,
        outcome: Result<Option<Compacted>, CompactError>,
        now: Now,
        fx: &mut Effects,
    ) {
        if let Err(error) = &outcome {
            fx.log(
                Level::Warn,
                format!("A compaction of {}-{} failed: {error}", replica.name, replica.index),
            );
        }
        match replica.compacted(outcome) {
            Compaction::Swap(swap) => fx.jobs.push(Job::Swap { replica: replica.clone(), swap }),
            Compaction::Wait => self.next(Some(replica.clone()), now, fx),
            Compaction::Done => self.next(None, now, fx),
        }
    }

    /// The files of a compaction are in place, or a swap failed and is done when the log is next opened.
    pub(crate) fn swapped(
        &self,
        replica: &Arc<Replica>,
        outcome: &Result<(), DiskError>,
        now: Now,
        fx: &mut Effects,
    ) {
        match outcome {
            Ok(()) => {
                hit!(partition_compacted);
                replica.swapped();
            }
            Err(error) => {
                fx.log(
                    Level::Warn,
                    format!("Compacted files of {}-{}: {error}", replica.name, replica.index),
                );
            }
        }
        // Perhaps not all of it fitted into one pass.
        self.next(Some(replica.clone()), now, fx);
    }

    /// Goes on with the next partition of this turn; `again` is looked at in the next.
    fn next(&self, again: Option<Arc<Replica>>, now: Now, fx: &mut Effects) {
        let mut state = self.state();
        state.compactable.extend(again);
        state.is_compacting = false;
        state.compact_next(now, fx);
        if state.turn == 0 && !state.compactable.is_empty() {
            // The metadata owner decides when the next turn begins.
            fx.tell(Owner::Metadata, Mail::Upkeep);
        }
    }
}

impl State {
    fn checkpoint_next(&mut self, now: Now, fx: &mut Effects) {
        while self.checkpointing < CHECKPOINTS_MAX
            && let Some(replica) = self.owing.pop_front()
        {
            if let Some(checkpoint) = replica.checkpoint(now) {
                self.checkpointing += 1;
                fx.jobs.push(Job::Checkpoint { replica, checkpoint });
            }
        }
    }

    /// All that may need it are looked at once per turn.
    fn begin_turn(&mut self, now: Now, backoff: Span) {
        if self.compactable.is_empty() || self.turn > 0 || self.is_compacting {
            self.next_turn = None;
            return;
        }
        match self.next_turn {
            Some(at) if at <= now.mono => {
                self.next_turn = None;
                self.turn = self.compactable.len();
            }
            Some(_) => {}
            None => self.next_turn = Some(now.mono + backoff.max(Span::from_millis(1))),
        }
    }

    fn compact_next(&mut self, now: Now, fx: &mut Effects) {
        if self.is_compacting || self.turn == 0 {
            return;
        }
        self.turn -= 1;
        if let Some(replica) = self.compactable.pop_front() {
            self.is_compacting = true;
            fx.jobs.push(Job::Compact { replica, now });
        }
    }
}

/// What an append means for a partition's upkeep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stirred {
    /// Nothing new.
    No,
    /// It was idle before.
    Awake,
    /// So much was written that a checkpoint is due at once.
    Owing,
}
