//! The flusher of a data directory: self-clocking rounds, each covering whatever is dirty when it begins.
//!
//! An append schedules its partition; if no round is under way one starts, else the partition is part of the
//! next, which starts when this one ends. Nothing sleeps and no timer runs.

use crate::effects::{Effects, Mail, Owner};
use crate::job::Job;
use crate::replica::Replica;
use crate::view::View;
use base::{EndOffset, planted};
use seglog::PartitionName;
use seglog::dir::{FlushOutcome, LogDir};
use seglog::text::Offsets;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The flusher of one directory.
#[derive(Debug)]
pub(crate) struct Flusher {
    dir: Arc<LogDir>,
    /// What was known to be safe when the directory was last closed; empty unless that was a clean end: a checkpoint
    /// that is older than a crash may be of another topic of the same name.
    high_watermarks: Offsets,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Partitions with bytes that are not on the device; each at most once.
    dirty: Vec<Arc<Replica>>,
    /// True from the moment a round is asked for until its end has been handled.
    running: bool,
}

/// What a round reached.
#[derive(Debug)]
pub struct FlushDone {
    flushed: Vec<(Arc<Replica>, FlushOutcome)>,
    failed: Option<(String, Vec<Arc<Replica>>)>,
}

impl Flusher {
    pub(crate) fn new(dir: Arc<LogDir>) -> Self {
        let known = if dir.was_clean() { dir.read_high_watermarks().ok() } else { None };
        Self { dir, high_watermarks: known.unwrap_or_default(), state: Mutex::default() }
    }

    /// What was known to be safe of a partition at the last clean end.
    pub(crate) fn high_watermark(&self, name: &PartitionName) -> EndOffset {
        self.high_watermarks.get(name).copied().unwrap_or_default()
    }

    pub(crate) const fn dir(&self) -> &Arc<LogDir> {
        &self.dir
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a partition to the next round. The caller makes sure that it is not in it already.
    pub(crate) fn schedule(&self, replica: &Arc<Replica>, fx: &mut Effects) {
        let mut state = self.state();
        state.dirty.push(replica.clone());
        if !state.running {
            state.running = true;
            fx.jobs.push(Job::Flush);
        }
    }

    /// One round; waits for the device.
    pub(crate) fn run(&self) -> FlushDone {
        let dirty = core::mem::take(&mut self.state().dirty);
        let (replicas, jobs): (Vec<_>, Vec<_>) =
            dirty.into_iter().filter_map(|replica| replica.begin_flush().map(|job| (replica, job))).unzip();
        match self.dir.flush_round(jobs) {
            Ok(outcomes) => FlushDone { flushed: replicas.into_iter().zip(outcomes).collect(), failed: None },
            Err(error) => FlushDone { flushed: Vec::new(), failed: Some((error.to_string(), replicas)) },
        }
    }

    /// Flushes everything for a clean end: whatever is dirty, then the marker that says so.
    pub(crate) fn close(&self, view: &View) {
        for replica in view.replicas.values() {
            // So that the next start has nothing to look at; what fails costs it a scan.
            if let Some(checkpoint) = replica.owed_checkpoint() {
                let _scanned = replica.checkpointed(checkpoint.run());
            }
        }
        let all = view.replicas.values().cloned();
        let (replicas, jobs): (Vec<_>, Vec<_>) =
            all.filter_map(|replica| replica.begin_flush().map(|job| (replica, job))).unzip();
        let Ok(outcomes) = self.dir.flush_round(jobs) else { return };
        for (replica, outcome) in replicas.iter().zip(outcomes) {
            // The process ends: whoever follows hears that from the next leader.
            let _nobody_to_tell = replica.flushed(outcome, &mut Effects::default());
        }
        let (mut ends, mut starts, mut safe) = (Offsets::new(), Offsets::new(), Offsets::new());
        for bounds in view.replicas.values().filter_map(|replica| replica.bounds()) {
            ends.insert(bounds.name.clone(), bounds.end);
            starts.insert(bounds.name.clone(), bounds.start);
            safe.insert(bounds.name, bounds.high_watermark);
        }
        // What could not be written leaves the directory as after a crash, which is always safe.
        let epoch = view.image.broker(view.node.config.node_id).map_or(-1, |broker| broker.epoch);
        let _unclean =
            self.dir.write_high_watermarks(&safe).and_then(|()| self.dir.close(&ends, &starts, epoch));
    }

    /// Tells the partitions what the round reached and starts the next if there is something to do.
    pub(crate) fn finish(&self, done: FlushDone, fx: &mut Effects) {
        if let Some((error, replicas)) = done.failed {
            if planted!(B1) {
                replicas.iter().for_each(|replica| replica.flush_failed());
                self.state().dirty.extend(replicas);
                fx.jobs.push(Job::Flush);
                return;
            }
            // The only directory holds the metadata log too: going on would acknowledge what is not there (B1).
            fx.fatal = Some(format!("the data directory is fenced, a flush failed: {error}"));
            return;
        }
        let mut reporting = Vec::new();
        for (replica, outcome) in done.flushed {
            let after = replica.flushed(outcome, fx);
            if after.reports {
                reporting.push(replica.clone());
            }
            if after.again {
                self.state().dirty.push(replica);
            }
        }
        if !reporting.is_empty() {
            fx.tell(Owner::Replication, Mail::Replicas(reporting));
        }
        let mut state = self.state();
        state.running = !state.dirty.is_empty() || self.dir.wants_closing_round();
        if state.running {
            fx.jobs.push(Job::Flush);
        }
    }
}
