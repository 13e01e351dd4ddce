//! One look at a node for its metrics: what should be here, what is, and how far each partition has come.

use crate::replica::Replica;
use crate::view::View;
use base::{EndOffset, PartitionIndex};
use cluster::PartitionState;
use std::sync::Arc;

/// What a look at a node's view finds.
#[derive(Debug, Default)]
pub struct Census {
    /// Brokers that serve.
    pub active_brokers: usize,
    /// Registered brokers that do not.
    pub fenced_brokers: usize,
    /// Topics of the cluster.
    pub topics: usize,
    /// Partitions of the cluster.
    pub partitions: usize,
    /// Partitions of the cluster that nobody leads.
    pub leaderless: usize,
    /// Partitions of the cluster that are led by another than their preferred leader.
    pub displaced: usize,
    /// Replicas that should be on this node.
    pub assigned: usize,
    /// Those of them that could not be opened or were lost.
    pub offline: usize,
    /// Partitions led by this node …
    pub led: usize,
    /// … of which some replica is not in sync.
    pub under_replicated: usize,
    /// … of which fewer replicas are in sync than acks=all needs.
    pub under_min_isr: usize,
    /// The partitions that are here.
    pub local: Vec<LocalPartition>,
}

/// How far a partition of this node has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPartition {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its number.
    pub index: PartitionIndex,
    /// The first offset.
    pub start: EndOffset,
    /// The first offset that is not safe.
    pub high_watermark: EndOffset,
    /// The first offset that is not taken.
    pub end: EndOffset,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Census {
    /// Counts. Takes each local partition's lock for a moment.
    #[must_use]
    pub fn take(view: &View) -> Self {
        let mut census = Self { topics: view.image.topic_count(), ..Self::default() };
        for broker in view.image.brokers() {
            let count = if broker.fenced { &mut census.fenced_brokers } else { &mut census.active_brokers };
            *count += 1;
        }
        for topic in view.image.topics() {
            for (index, state) in (0..).zip(&topic.partitions) {
                census.count(view, state, view.replica(topic.id, PartitionIndex(index)));
            }
        }
        census
    }

    fn count(&mut self, view: &View, state: &PartitionState, replica: Option<&Arc<Replica>>) {
        let own = view.node.config.node_id;
        self.partitions += 1;
        self.leaderless += usize::from(state.leader.is_none());
        self.displaced +=
            usize::from(state.leader.is_some() && state.leader != state.replicas.first().copied());
        if state.replicas.contains(&own) {
            self.assigned += 1;
            self.offline += usize::from(replica.is_none());
        }
        let Some((local, min_isr)) = replica.and_then(|replica| replica.census()) else { return };
        self.local.push(local);
        if let Some(min_isr) = min_isr {
            self.led += 1;
            self.under_replicated += usize::from(state.isr.len() < state.replicas.len());
            self.under_min_isr += usize::from(state.isr.len() < min_isr);
        }
    }
}
