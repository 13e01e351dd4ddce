//! What is safe is on every replica that may lead, at any moment, whatever anybody believes (LeaderCandidateCompleteness of
//! KIP-966, StrongIsr of the kafka-specification).
//!
//! It is looked at again and again while a run lasts: a replica that lacks what is safe shows itself, though by the end the
//! lack may be made good, or never have mattered.

use super::World;
use super::oracle::image_of;
use crate::node::SimNode;
use base::{BrokerId, EndOffset, LeaderEpoch, PartitionIndex, TopicId};
use broker::Standing;
use cluster::config::Durability;
use cluster::{Image, PartitionState, Topic};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Steps between two looks.
const EVERY: u64 = 40;

/// How far a partition is safe, and the epoch of its last safe record.
type Safe = (EndOffset, Option<LeaderEpoch>);

/// What was seen to be safe so far.
#[derive(Debug, Default)]
pub(super) struct Safety {
    /// Of topics whose records survive the loss of power.
    flushed: BTreeMap<(TopicId, PartitionIndex), Safe>,
    /// The latest metadata that anybody has known. Those who know them may be down.
    latest: Option<Arc<Image>>,
}

impl World {
    /// One look, now and then.
    pub(super) fn look_at_safety_again(&mut self) -> Result<(), String> {
        if self.steps.is_multiple_of(EVERY) { self.look_at_safety() } else { Ok(()) }
    }

    /// One look at all replicas of all partitions.
    pub(super) fn look_at_safety(&mut self) -> Result<(), String> {
        if !self.is_cluster() {
            return Ok(());
        }
        let known = self.nodes.iter().filter_map(image_of).chain(self.oracle.safety.latest.take());
        let Some(image) = known.max_by_key(|image| image.index) else { return Ok(()) };
        self.oracle.safety.latest = Some(image.clone());
        self.look_at_brokers(&image)?;
        for topic in image.topics() {
            for (index, state) in (0..).map(PartitionIndex).zip(&topic.partitions) {
                self.look_at_replicas(topic, index, state)
                    .map_err(|wrong| format!("{}-{index}: {wrong}: {state:?}", topic.name))?;
            }
        }
        Ok(())
    }

    /// Who serves knows at least of its own registration.
    fn look_at_brokers(&self, image: &Image) -> Result<(), String> {
        let mut all = self.nodes.iter().filter_map(|node| Some((node.index, node.booted()?)));
        let is_blind = |(index, booted): &(usize, &broker::Booted)| {
            let broker = image.broker(id_of(*index)).filter(|broker| !broker.fenced);
            let own = broker.filter(|broker| booted.metadata.broker_epoch() == Some(broker.epoch));
            own.is_some_and(|own| {
                i64::try_from(booted.metadata.view().image.index).is_ok_and(|index| index < own.epoch)
            })
        };
        match all.find(is_blind) {
            Some((index, _)) => {
                Err(format!("node {} is unfenced and does not know its registration", index + 1))
            }
            None => Ok(()),
        }
    }

    fn look_at_replicas(
        &mut self,
        topic: &Topic,
        index: PartitionIndex,
        state: &PartitionState,
    ) -> Result<(), String> {
        let standing = |node: &SimNode| {
            let booted = node.booted()?;
            let replica = booted.metadata.view().replicas.get(&(topic.id, index))?;
            let standing = replica.standing().filter(|standing| standing.epoch.is_some())?;
            let safe = standing.high_watermark;
            let epoch = |end: EndOffset| {
                (standing.start < end).then(|| replica.epoch_at(EndOffset(end.0 - 1))).flatten()
            };
            Some((node.index, standing, (safe, epoch(safe)), replica.clone()))
        };
        let all: Vec<_> = self.nodes.iter().filter_map(standing).collect();
        let Some(safe) = self.safe_of((topic.id, index), state, all.iter().map(|it| (it.0, it.1, it.2)))
        else {
            return Ok(());
        };
        let keeps_epochs = self.is_kept_as_written(&topic.name);
        for (node, standing, _, replica) in &all {
            let id = id_of(*node);
            if !state.isr.contains(&id) && !state.elr.contains(&id) {
                continue;
            }
            let has = match standing.durability {
                Durability::Flushed => standing.flushed.min(standing.end),
                Durability::Replicated => standing.end,
            };
            if has < safe.0 {
                return Err(format!("{id} may lead with {standing:?}, and {} is safe", safe.0));
            }
            let epoch = (standing.start < safe.0 && keeps_epochs && self.rotten != Some(*node))
                .then(|| replica.epoch_at(EndOffset(safe.0.0 - 1)))
                .flatten();
            if let (Some(own), Some(safe_epoch)) = (epoch, safe.1)
                && own != safe_epoch
            {
                return Err(format!("{id} may lead, and has of {own:?} what is safe of {safe_epoch:?}"));
            }
        }
        Ok(())
    }

    /// How far a partition is safe. What a power cut may take counts only as long as its leader has it.
    fn safe_of(
        &mut self,
        key: (TopicId, PartitionIndex),
        state: &PartitionState,
        all: impl Iterator<Item = (usize, Standing, Safe)>,
    ) -> Option<Safe> {
        let mut leaders = all.filter(|(_, standing, _)| standing.leads);
        let is_current = |(node, standing, _): &(usize, Standing, Safe)| {
            state.leader == Some(id_of(*node)) && standing.epoch == Some(state.leader_epoch)
        };
        let mut volatile = None;
        let known = &mut self.oracle.safety.flushed;
        for leader in &mut leaders {
            match leader.1.durability {
                Durability::Flushed => {
                    let known = known.entry(key).or_insert(leader.2);
                    if known.0 < leader.2.0 {
                        *known = leader.2;
                    }
                }
                Durability::Replicated if is_current(&leader) => volatile = Some(leader.2),
                Durability::Replicated => {}
            }
        }
        volatile.or_else(|| known.get(&key).copied())
    }
}

fn id_of(node: usize) -> BrokerId {
    BrokerId(i32::try_from(node + 1).unwrap_or(0))
}
