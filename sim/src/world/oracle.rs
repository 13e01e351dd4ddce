//! What must hold of the cluster as a whole, whatever its nodes believe.

use super::World;
use crate::history::base_name;
use crate::logs::{Contents, LogOnDisk, difference, read_logs};
use crate::node::SimNode;
use base::{BrokerId, PartitionIndex, TopicId, Uuid};
use cluster::record_codec::encode_entry;
use cluster::{Image, PartitionState, Record};
use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};

/// What was seen of the cluster so far.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// The one cluster that there is.
    cluster: Option<Uuid>,
    /// A hash of the metadata at each index, and who had it first.
    images: BTreeMap<u64, (u64, usize)>,
    /// The index that was looked at last, per life of a node.
    looked: BTreeMap<(usize, u64), u64>,
    leaders: BTreeMap<(TopicId, i32, i32), BrokerId>,
    /// The states of partitions that anybody knew, for the trace.
    states: BTreeSet<(TopicId, i32, i32, i32)>,
    contents: Contents,
    pub(super) safety: super::safety::Safety,
    /// What a crash has brought to light.
    pub(super) wrong: Option<String>,
}

impl World {
    /// A node may have learned something new: all who have come as far know the same.
    pub(super) fn look_at_metadata(&mut self, node: usize) -> Result<(), String> {
        let (incarnation, node) = (self.nodes[node].incarnation, &self.nodes[node]);
        let Some(image) = image_of(node) else { return Ok(()) };
        if self.oracle.looked.insert((node.index, incarnation), image.index) == Some(image.index) {
            return Ok(());
        }
        let cluster = *self.oracle.cluster.get_or_insert(image.cluster_id);
        if image.cluster_id != cluster {
            return Err(format!("node {} belongs to another cluster: {}", node.index + 1, image.cluster_id));
        }
        let hash = hash_of(&image);
        let (first, by) = *self.oracle.images.entry(image.index).or_insert((hash, node.index));
        if first != hash {
            let (one, other) = (node.index + 1, by + 1);
            return Err(format!("nodes {one} and {other} know different metadata at index {}", image.index));
        }
        for topic in image.topics() {
            for (index, state) in (0..).zip(&topic.partitions) {
                if self.oracle.states.insert((topic.id, index, state.leader_epoch.0, state.partition_epoch)) {
                    let name = &topic.name;
                    self.trace.event(self.now.as_nanos(), "state", || format!("{name}-{index} {state:?}"));
                }
                check_state(&image, state).map_err(|wrong| format!("{}-{index}: {wrong}", topic.name))?;
                if let Some(leader) = state.leader {
                    let key = (topic.id, index, state.leader_epoch.0);
                    let first = *self.oracle.leaders.entry(key).or_insert(leader);
                    if first != leader {
                        return Err(format!(
                            "{}-{index}: both {first} and {leader} lead in {:?}",
                            topic.name, state.leader_epoch
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// What lies on a disk must agree with whatever lay on any.
    pub(super) fn look_at_logs(&mut self, node: usize) -> Result<Vec<LogOnDisk>, String> {
        self.trace_logs(node);
        let logs = read_logs(&self.nodes[node].disk);
        for log in &logs {
            if !self.is_kept_as_written(&log.name) {
                continue;
            }
            self.oracle.contents.compare(log).map_err(|wrong| format!("node {}: {wrong}", node + 1))?;
        }
        Ok(logs)
    }

    /// What a node has, for those who read traces.
    pub(super) fn trace_logs(&mut self, node: usize) {
        if self.options.keep_trace == 0 {
            return;
        }
        if let Some(booted) = self.nodes[node].booted() {
            let line = booted.metadata.quorum_line();
            self.trace.event(self.now.as_nanos(), "quorum", || format!("n{}: {line}", node + 1));
        }
        for log in read_logs(&self.nodes[node].disk) {
            self.trace.event(self.now.as_nanos(), "log", || format!("n{} {}", node + 1, log.extent()));
        }
    }

    /// Compaction writes batches anew.
    pub(super) fn is_kept_as_written(&self, topic: &str) -> bool {
        topic.starts_with('t') && !self.history.traits(topic).is_compacted
    }

    /// Whether files may be damaged there.
    fn is_rotten_on(&self, id: BrokerId) -> bool {
        self.rotten.is_some_and(|node| i32::try_from(node + 1) == Ok(id.0))
    }

    /// What was damaged and is whole again, as it is to be, must be readable to the last record.
    pub(super) fn look_at_repairs(&mut self) {
        let Some(node) = self.rotten else { return };
        for log in read_logs(&self.nodes[node].disk) {
            let partition = (log.name, log.index);
            if self.history.is_damaged(&partition) {
                self.report.count(if log.is_whole { "damage repaired" } else { "damage not noticed" });
                if log.is_whole {
                    self.history.repaired(&partition);
                }
            }
        }
    }

    /// Nothing of it is ever deleted.
    fn is_kept_from_zero(&self, topic: &str) -> bool {
        let traits = self.history.traits(topic);
        !traits.is_short && !traits.is_trimmed && !traits.is_compacted
    }

    /// Why the cluster is not at rest.
    pub(super) fn unsettled(&self) -> Option<String> {
        if let Some(idle) = self.nodes.iter().find(|node| !node.is_serving()) {
            return Some(format!("node {} does not serve", idle.index + 1));
        }
        if !self.is_cluster() {
            return None;
        }
        let images: Vec<_> = self.nodes.iter().filter_map(image_of).collect();
        let latest = images.iter().max_by_key(|image| image.index)?;
        if let Some(late) = images.iter().position(|image| image.index != latest.index) {
            return Some(format!("node {} does not know the latest metadata", late + 1));
        }
        if !self.nodes.iter().any(SimNode::is_controller) {
            return Some("there is no controller".into());
        }
        let live = latest.brokers().filter(|broker| !broker.fenced).count();
        if live != self.layout.brokers() {
            return Some(format!("{live} brokers are not fenced"));
        }
        let broken = latest.topics().find_map(|topic| {
            let name = self.history.lives.latest(&topic.name);
            let is_bad = |at: usize| {
                !is_whole(&topic.partitions[at]) && !self.is_stuck(&name, at, &topic.partitions[at])
            };
            let at = (0..topic.partitions.len()).find(|at| is_bad(*at))?;
            Some(format!("{}-{at} is not whole: {:?}", topic.name, topic.partitions[at]))
        });
        broken.or_else(|| self.lost_votes())
    }

    /// Who leads has a damaged batch, and nobody else holds all that is safe: who is behind cannot get past it.
    fn is_stuck(&self, topic: &str, index: usize, state: &PartitionState) -> bool {
        let partition = (topic.to_owned(), i32::try_from(index).unwrap_or(-1));
        let is_only = |leader| state.isr.iter().chain(&state.elr).all(|holder| *holder == leader);
        self.history.is_damaged(&partition)
            && state.leader.is_some_and(|leader| self.is_rotten_on(leader) && is_only(leader))
    }

    /// Nothing is left on a disk of topics that are deleted, nor of partitions that are elsewhere; but for what its node cannot
    /// know to be deleted, and has told its operator of.
    pub(super) fn check_leftovers(&self) -> Result<(), String> {
        let Some(image) = self.nodes.first().and_then(image_of) else { return Ok(()) };
        for node in &self.nodes {
            let id = BrokerId(i32::try_from(node.index + 1).unwrap_or(0));
            let is_here = |log: &LogOnDisk| {
                let topic = image.topic_by_id(log.topic);
                topic
                    .and_then(|topic| topic.partition(PartitionIndex(log.index)))
                    .is_some_and(|p| p.is_on(id))
                    || self.strays.contains(&(node.index, format!("{}-{}", log.name, log.index)))
            };
            let strays = read_logs(&node.disk).into_iter().filter(|log| log.name.starts_with('t'));
            if let Some(stray) = strays.into_iter().find(|log| !is_here(log)) {
                return Err(format!("node {id} still has {} of topic {}", stray.extent(), stray.topic));
            }
        }
        Ok(())
    }

    /// All replicas hold what is safe and not deleted: what was read at the end.
    pub(super) fn compare_replicas(
        &mut self,
        read: &BTreeMap<(String, i32), Range<i64>>,
    ) -> Result<(), String> {
        let mut logs = Vec::new();
        for node in 0..self.nodes.len() {
            logs.push(self.look_at_logs(node)?);
        }
        let Some(image) = self.nodes.first().and_then(image_of) else { return Ok(()) };
        for ((name, index), read) in read.iter().filter(|((name, _), _)| self.is_kept_as_written(name)) {
            let Some(topic) = image.topic(base_name(name)) else { continue };
            if self.history.lives.id(name).is_some_and(|id| id != topic.id.0) {
                return Err(format!("{name} is {} and not what it was made as", topic.id));
            }
            let Some(state) = topic.partition(PartitionIndex(*index)) else { continue };
            let held_by = |id: &BrokerId| {
                let on_disk = usize::try_from(id.0 - 1).ok().and_then(|at| logs.get(at));
                let own = |log: &&LogOnDisk| log.topic == topic.id && log.index == *index;
                on_disk
                    .and_then(|logs| logs.iter().find(own))
                    .ok_or_else(|| format!("{name}-{index}: node {id} has no log"))
            };
            let is_sound =
                |id: &BrokerId| held_by(id).is_ok_and(|log| log.is_whole) || !self.is_rotten_on(*id);
            let sound: Vec<BrokerId> = state.isr.iter().copied().filter(is_sound).collect();
            for id in sound.iter().filter(|_| self.is_kept_from_zero(name)) {
                if held_by(id)?.batches.first().is_some_and(|batch| batch.base != 0) {
                    return Err(format!("{name}-{index}: node {id} lacks the beginning"));
                }
            }
            let Some((first, others)) = sound.split_first() else { continue };
            for other in others {
                if let Some(where_) = difference(held_by(first)?, held_by(other)?, read) {
                    return Err(format!("{name}-{index}: nodes {first} and {other} hold {where_}"));
                }
            }
        }
        Ok(())
    }
}

/// The metadata as a node knows it.
pub(super) fn image_of(node: &SimNode) -> Option<std::sync::Arc<Image>> {
    node.booted().map(|booted| booted.metadata.view().image.clone())
}

fn hash_of(image: &Image) -> u64 {
    let records: Vec<Record> = image.snapshot().collect();
    let encoded = encode_entry(&records).map(|entry| entry.to_vec()).unwrap_or_default();
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    encoded.iter().fold(0xcbf2_9ce4_8422_2325, fold)
}

/// What holds of a partition whatever has happened.
fn check_state(image: &Image, state: &PartitionState) -> Result<(), String> {
    let is_live = |id: &BrokerId| image.serves(*id);
    let stray = state.isr.iter().chain(&state.elr).find(|id| !state.replicas.contains(id));
    if let Some(stray) = stray {
        return Err(format!("{stray} is no replica and in sync: {state:?}"));
    }
    if state.elr.iter().any(|id| state.isr.contains(id)) {
        return Err(format!("in sync and eligible: {state:?}"));
    }
    match state.leader {
        Some(leader) if !state.isr.contains(&leader) => Err(format!("its leader is not in sync: {state:?}")),
        Some(leader) if !is_live(&leader) => Err(format!("its leader is fenced: {state:?}")),
        Some(_) if !state.isr.iter().all(is_live) => Err(format!("a fenced replica is in sync: {state:?}")),
        Some(_) | None => Ok(()),
    }
}

/// True if nothing is left to be made good.
fn is_whole(state: &PartitionState) -> bool {
    state.leader.is_some() && state.isr.len() == state.replicas.len() && state.elr.is_empty()
}
