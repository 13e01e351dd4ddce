//! What the client knows of the cluster: brokers, controller, topics with their leaders.

use super::Address;
use super::error::code_of;
use base::Uuid;
use std::collections::BTreeMap;
use wire::metadata::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};
use wire::{ErrorCode, Str};

/// A broker and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerEndpoint {
    /// Its `node.id`.
    pub id: i32,
    /// Where clients connect.
    pub address: Address,
    /// Its rack, if it has one.
    pub rack: Option<Str>,
}

/// A topic as the last answer described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// `None`, or why the broker describes nothing.
    pub error: ErrorCode,
    /// All zeros from brokers that have no topic ids (KIP-516).
    pub id: Uuid,
    /// One of Kafka's own.
    pub is_internal: bool,
    /// In order of index.
    pub partitions: Vec<PartitionMetadata>,
}

/// A partition as the last answer described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Its number.
    pub index: i32,
    /// The broker to write to and read from; `None` while there is none.
    pub leader: Option<i32>,
    /// −1 if the broker does not say.
    pub leader_epoch: i32,
    /// Where it should be.
    pub replicas: Vec<i32>,
    /// Where it is complete.
    pub isr: Vec<i32>,
    /// Replicas that are down.
    pub offline: Vec<i32>,
}

/// A picture of the cluster, as far as this client has asked.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// The cluster's id.
    pub cluster_id: Option<Str>,
    /// The broker that takes changes.
    pub controller: Option<i32>,
    /// By id.
    pub brokers: BTreeMap<i32, BrokerEndpoint>,
    /// By name.
    pub topics: BTreeMap<Str, TopicMetadata>,
    names: BTreeMap<Uuid, Str>,
}

impl Metadata {
    /// The leader of a partition, if it has one.
    #[must_use]
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.partition(topic, partition)?.leader
    }

    /// A partition, if the topic is known and has it.
    #[must_use]
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionMetadata> {
        let topic = self.topics.get(topic)?;
        let near = usize::try_from(partition).ok().and_then(|k| topic.partitions.get(k));
        near.filter(|p| p.index == partition)
    }

    /// The topic with this id.
    #[must_use]
    pub fn name(&self, id: Uuid) -> Option<&Str> {
        self.names.get(&id)
    }

    /// Takes over what an answer says; `all` drops topics that it does not mention.
    pub(crate) fn update(&mut self, response: &MetadataResponse, all: bool) {
        self.cluster_id = response.cluster_id.as_ref().map(Str::detached);
        self.controller = Some(response.controller_id).filter(|id| *id >= 0);
        self.brokers = response.brokers.iter().filter_map(broker).map(|b| (b.id, b)).collect();
        if all {
            self.topics.clear();
        }
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            self.topics.insert(name.detached(), described(topic));
        }
        self.names = self.topics.iter().map(|(name, topic)| (topic.id, name.clone())).collect();
        self.names.remove(&Uuid::ZERO);
    }

    /// Forgets who leads a partition, so that nobody asks there again before the next answer.
    pub(crate) fn forget_leader(&mut self, topic: &str, partition: i32) {
        let found =
            self.topics.get_mut(topic).and_then(|t| t.partitions.iter_mut().find(|p| p.index == partition));
        if let Some(found) = found {
            found.leader = None;
        }
    }
}

fn broker(broker: &wire::metadata::MetadataResponseBroker) -> Option<BrokerEndpoint> {
    let port = u16::try_from(broker.port).ok()?;
    let address = Address { host: broker.host.to_string(), port };
    Some(BrokerEndpoint { id: broker.node_id, address, rack: broker.rack.as_ref().map(Str::detached) })
}

fn described(topic: &MetadataResponseTopic) -> TopicMetadata {
    let mut partitions: Vec<_> = topic.partitions.iter().map(partition).collect();
    partitions.sort_by_key(|p| p.index);
    TopicMetadata {
        error: code_of(topic.error_code),
        id: topic.topic_id,
        is_internal: topic.is_internal,
        partitions,
    }
}

fn partition(partition: &MetadataResponsePartition) -> PartitionMetadata {
    PartitionMetadata {
        index: partition.partition_index,
        leader: Some(partition.leader_id).filter(|id| *id >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes.clone(),
        isr: partition.isr_nodes.clone(),
        offline: partition.offline_replicas.clone(),
    }
}
