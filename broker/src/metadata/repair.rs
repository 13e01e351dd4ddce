//! Replicas whose files lack what was durable (bit rot, a lost file): the controller is told that they are in no directory
//! any more, so that this node does not count as one that holds what is safe. Once it does not, its copy is fetched anew from
//! those who do; if there is nobody else, the files stay as they are, for the operator to decide.

use super::partitions::Remaining;
use super::remote::{Asker, Errand};
use super::{FULL_RETRY, Metadata};
use crate::effects::{Effects, Level};
use crate::replica::Replica;
use crate::view::{News, Replicas};
use base::{BrokerId, Instant, Now, PartitionIndex, Span, TopicId, Uuid, hit};
use cluster::Image;
use cluster::controller::{Assignment, Command, Refusal, Reply};
use std::collections::BTreeSet;
use std::sync::Arc;
use wire::ErrorCode;

/// The pause before the controller is told once more.
const AGAIN: Span = Span::from_secs(10);

type Key = (TopicId, PartitionIndex);

/// Damaged partitions that have not been replaced.
#[derive(Debug, Default)]
pub(super) struct Damage {
    partitions: BTreeSet<Key>,
    /// Those of them that are in use all the same: whoever reads what is whole is served.
    open: BTreeSet<Key>,
    /// Of these nobody else holds all that is safe: the operator knows it.
    hopeless: BTreeSet<Key>,
    /// What the controller is being told.
    telling: Vec<Key>,
    /// Not to be told before.
    from: Instant,
}

impl Damage {
    pub(super) const fn partitions(&self) -> &BTreeSet<Key> {
        &self.partitions
    }

    /// Takes note of what was found when partitions were opened. What has been replaced, or is not to be here any more, is
    /// forgotten.
    pub(super) fn found(&mut self, found: &Remaining, replicas: &Replicas, image: &Image, own: BrokerId) {
        let is_on = |(topic, index): &Key| {
            let state = image.topic_by_id(*topic).and_then(|topic| topic.partition(*index));
            state.is_some_and(|state| state.is_on(own))
        };
        self.open.retain(|key| !found.replaced.contains(key));
        let Self { partitions, open, hopeless, .. } = self;
        partitions.retain(|key| (open.contains(key) || !replicas.contains_key(key)) && is_on(key));
        open.retain(|key| partitions.contains(key));
        hopeless.retain(|key| partitions.contains(key));
        found.damaged.iter().for_each(|key| self.add(*key));
    }

    fn add(&mut self, key: Key) {
        if self.partitions.insert(key) {
            self.from = Instant::ZERO;
        }
    }
}

impl Metadata {
    /// A batch of an open partition is damaged.
    pub(super) fn damaged(&mut self, replica: &Arc<Replica>, fx: &mut Effects) {
        let key = (replica.topic, replica.index);
        if self.is_current(replica) && self.damage.open.insert(key) {
            hit!(damage_found_by_a_reader);
            fx.log(Level::Error, format!("A batch of {}-{} is damaged", replica.name, replica.index));
            self.damage.add(key);
        }
    }

    /// A log that cannot go on as it is: it is closed, and opened anew a little later.
    pub(super) fn reopen(&mut self, replica: &Arc<Replica>, now: Now, fx: &mut Effects) {
        if !self.is_current(replica) {
            return;
        }
        hit!(partition_reopened);
        let mut replicas = self.view.replicas.clone();
        replicas.remove_mut(&(replica.topic, replica.index));
        let news = News { partitions: vec![(replica.topic, replica.index)], ..News::default() };
        self.publish(replicas, news, fx);
        self.open_later(&[replica.topic], now.mono + FULL_RETRY);
    }

    fn is_current(&self, replica: &Arc<Replica>) -> bool {
        let known = self.view.replicas.get(&(replica.topic, replica.index));
        known.is_some_and(|known| Arc::ptr_eq(known, replica))
    }

    /// Tells the controller what is damaged here.
    pub(super) fn tell_damage(&mut self, now: Now, fx: &mut Effects) {
        let is_idle = self.damage.telling.is_empty() && !self.damage.partitions.is_empty();
        let Some(epoch) = self.own.epoch().filter(|_| is_idle && self.has_roles) else { return };
        if now.mono < self.damage.from {
            return fx.wake(self.damage.from);
        }
        hit!(damage_told);
        self.damage.from = now.mono + AGAIN;
        self.damage.telling = self.damage.partitions.iter().copied().collect();
        let lost = |(topic, index): &Key| Assignment { topic: *topic, index: *index, directory: Uuid::LOST };
        let command = Command::AssignReplicas {
            broker: self.node.config.node_id,
            epoch,
            assignments: self.damage.telling.iter().map(lost).collect(),
        };
        self.put(now, Asker::Repair, Errand::Command(command), fx);
    }

    /// The controller knows. What follows from it comes with the metadata.
    pub(super) fn damage_known(&mut self, now: Now, answer: &Reply, fx: &mut Effects) {
        let told = core::mem::take(&mut self.damage.telling);
        self.damage.from = now.mono + AGAIN;
        let Reply::Changed(outcomes) = answer else { return };
        for (key, outcome) in told.into_iter().zip(outcomes) {
            let Err(refusal) = outcome else { continue };
            if self.damage.hopeless.insert(key) {
                hit!(damage_without_another_copy);
                let name = self.committed.topic_by_id(key.0).map_or("a deleted topic", |topic| &topic.name);
                fx.log(
                    Level::Error,
                    format!("{name}-{} is damaged and not replaced: {}", key.1, why(refusal)),
                );
            }
        }
        fx.wake(self.damage.from);
    }
}

fn why(refusal: &Refusal) -> &str {
    if refusal.code == ErrorCode::EligibleLeadersNotAvailable {
        "no other broker is known to hold all that is safe of it. Restore its directory from a backup, or give up what others \
         lack by an unclean election"
    } else {
        &refusal.message
    }
}
