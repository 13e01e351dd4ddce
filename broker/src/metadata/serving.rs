//! A node's way to serving: elected, registered, unfenced.

use super::{Asker, Metadata, Phase, partitions};
use crate::effects::{Effects, Level};
use crate::job::Job;
use base::{BrokerId, Now, hit};
use cluster::controller::{self, Command};
use cluster::record_codec::encode_entry;
use cluster::{Delta, Record};

impl Metadata {
    /// Registers this broker, unfences it, and serves.
    pub(super) fn step_towards_serving(&mut self, now: Now, fx: &mut Effects) {
        if self.phase != Phase::Electing || self.speculative.is_none() {
            return;
        }
        self.phase = Phase::Registering;
        if self.open.is_some() {
            hit!(unfinished_decision_aborted);
            self.abort_open();
        }
        let command = Command::RegisterBroker {
            id: self.node.config.node_id,
            incarnation: self.incarnation,
            endpoints: self.endpoints.clone(),
            rack: self.node.config.rack.clone(),
            directories: vec![self.node.directory_id],
        };
        self.decide(now, Asker::Own, command, fx);
    }

    /// A leader that went away in the middle of a decision cannot finish it: nobody was told that it happened.
    pub(super) fn abort_open(&mut self) {
        if let Ok(entry) = encode_entry(&[Record::Abort]) {
            // Refused only if this node does not lead any more; the next leader then aborts.
            let _refused = self.quorum.propose(&entry);
        }
    }

    pub(super) fn own_answer(&mut self, now: Now, answer: &controller::Reply, fx: &mut Effects) {
        match (self.phase, answer) {
            (Phase::Registering, controller::Reply::Registered { epoch }) => {
                self.phase = Phase::Unfencing;
                let id: BrokerId = self.node.config.node_id;
                self.decide(now, Asker::Own, Command::UnfenceBroker { id, epoch: *epoch }, fx);
                self.finalize_features(now, fx);
            }
            (Phase::Unfencing, controller::Reply::Done(Ok(()))) => {
                self.phase = Phase::Serving;
                self.clear_up(now, fx);
                fx.log(Level::Info, format!("Node {} serves", self.node.config.node_id));
            }
            (Phase::Serving, controller::Reply::Done(Ok(()))) => {}
            (phase, other) => fx.log(Level::Error, format!("unexpected answer while {phase:?}: {other:?}")),
        }
    }

    /// A fresh cluster finalizes what this program serves.
    pub(super) fn finalize_features(&mut self, now: Now, fx: &mut Effects) {
        let known = |name: &str| self.committed.features().any(|(finalized, _)| finalized == name);
        let missing = controller::FEATURES.iter().filter(|(name, _, high)| *high > 0 && !known(name));
        let update = |(name, _, high): &(&str, i16, i16)| controller::FeatureUpdate {
            name: (*name).to_owned(),
            level: *high,
        };
        let updates: Vec<_> = missing.map(update).collect();
        if !updates.is_empty() {
            self.decide(now, Asker::Own, Command::UpdateFeatures { updates, validate_only: false }, fx);
        }
    }

    /// Now that all of the metadata is known: opens what had to wait for that, and lets go of what deletions
    /// have left behind.
    fn clear_up(&mut self, now: Now, fx: &mut Effects) {
        if let Some((_, topics)) = self.unopened.take() {
            self.apply_delta(&Delta { topics, ..Delta::default() }, now, fx);
        }
        let removed = core::mem::take(&mut self.removed);
        match partitions::sweep(self.shared.flusher.dir(), &self.committed, &removed) {
            Ok((left, strays)) => {
                self.removals += left.len();
                fx.jobs.extend(left.into_iter().map(Job::Remove));
                for stray in strays {
                    fx.log(
                        Level::Warn,
                        format!("The directory {stray} belongs to no topic; it is left alone"),
                    );
                }
            }
            Err(error) => {
                // As long as no snapshot is taken the next start knows what is deleted.
                self.removals += 1;
                fx.log(
                    Level::Warn,
                    format!("Directories of deleted topics are left for the next start: {error}"),
                );
            }
        }
    }
}
