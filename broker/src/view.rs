//! What every owner may look at: the node, the metadata, the local partitions. Immutable, swapped whole.

use crate::departures::Departures;
use crate::peer::Address;
use crate::replica::Replica;
use base::{BrokerId, LeaderEpoch, PartitionIndex, TopicId, Uuid};
use cluster::config::{ConfigError, ConnectionLimits, Layers, NodeConfig, Overrides};
use cluster::controller::NewTopic;
use cluster::{Image, PartitionState, Topic};
use rpds::RedBlackTreeMapSync;
use std::sync::Arc;

/// The topic of committed offsets.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Node {
    /// The node's settings.
    pub config: NodeConfig,
    /// The settings of its file, environment and command line, by key.
    pub fixed: Overrides,
    /// The cluster's id, as text.
    pub cluster_id: String,
    /// The data directory's id.
    pub directory_id: Uuid,
    /// The data directory's path, as the operator knows it.
    pub directory: String,
}

/// The partitions that live here.
pub type Replicas = RedBlackTreeMapSync<(TopicId, PartitionIndex), Arc<Replica>>;

/// One consistent look at everything.
#[derive(Clone, Debug)]
pub struct View {
    /// This node.
    pub node: Arc<Node>,
    /// The metadata.
    pub image: Arc<Image>,
    /// The partitions that live here.
    pub replicas: Replicas,
    /// Nodes that have gone lately.
    pub(crate) departures: Departures,
    /// What differs from the view before this one. Every owner is sent every view, so that none looks at all there is to find
    /// what is news to it.
    pub(crate) news: Arc<News>,
}

/// What a view has that the one before it had not.
#[derive(Clone, Debug, Default)]
pub(crate) struct News {
    /// Partitions that changed, or whose replica here came or went; those of a topic follow each other.
    pub(crate) partitions: Vec<(TopicId, PartitionIndex)>,
    /// Topics that are gone, with the names they had.
    pub(crate) removed: Vec<(TopicId, Arc<str>)>,
    /// The registration of a broker changed.
    pub(crate) has_brokers: bool,
}

/// A broker as clients see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BrokerEndpoint<'a> {
    pub(crate) id: BrokerId,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) rack: Option<&'a str>,
    pub(crate) fenced: bool,
}

impl View {
    /// All registered brokers that clients of a listener can reach.
    pub(crate) fn brokers<'a>(&'a self, listener: &'a str) -> impl Iterator<Item = BrokerEndpoint<'a>> {
        self.image.brokers().filter_map(move |broker| {
            let endpoint = broker.endpoint(listener)?;
            Some(BrokerEndpoint {
                id: broker.id,
                host: &endpoint.host,
                port: endpoint.port,
                rack: broker.rack.as_deref(),
                fenced: broker.fenced,
            })
        })
    }

    /// A broker that serves, as clients of a listener see it.
    pub(crate) fn endpoint_of<'a>(&'a self, id: BrokerId, listener: &'a str) -> Option<BrokerEndpoint<'a>> {
        self.live_brokers(listener).find(|broker| broker.id == id)
    }

    /// The brokers of them that serve.
    pub(crate) fn live_brokers<'a>(&'a self, listener: &'a str) -> impl Iterator<Item = BrokerEndpoint<'a>> {
        self.brokers(listener).filter(|broker| !broker.fenced)
    }

    /// Clients that ask for the controller get any broker: each forwards to it. This one costs a way less.
    pub(crate) fn any_live_broker(&self, listener: &str) -> Option<BrokerId> {
        let own = self.node.config.node_id;
        let mut all = self.live_brokers(listener).map(|broker| broker.id);
        let first = all.next();
        if first == Some(own) { first } else { all.find(|id| *id == own).or(first) }
    }

    /// Where other nodes reach a broker.
    pub(crate) fn peer_address(&self, id: BrokerId) -> Option<Address> {
        let endpoint = self.image.broker(id)?.peer_endpoint()?;
        Some(Address { host: endpoint.host.clone(), port: endpoint.port })
    }

    /// Calls `use_layers` with the settings that apply to this node.
    pub(crate) fn with_layers<T>(&self, use_layers: impl FnOnce(&Layers<'_>) -> T) -> T {
        self.image.with_layers(self.node.config.node_id, &self.node.fixed, use_layers)
    }

    /// What bounds connections at the moment.
    ///
    /// # Errors
    /// Never for settings that were checked when they were made.
    pub fn connection_limits(&self) -> Result<ConnectionLimits, ConfigError> {
        self.with_layers(ConnectionLimits::resolve)
    }

    /// The partition of `__consumer_offsets` that keeps `group`, once the topic exists.
    pub(crate) fn group_partition(&self, group: &str) -> Option<(PartitionIndex, &PartitionState)> {
        let topic = self.image.topic(OFFSETS_TOPIC)?;
        let count = u32::try_from(topic.partitions.len()).ok()?;
        let index = coordinator::shard_of(group, count);
        Some((index, topic.partition(index)?))
    }

    /// A topic that nobody asked to create in so many words.
    pub(crate) fn auto_created(&self, name: &str) -> NewTopic {
        let config = &self.node.config;
        let internal = name == OFFSETS_TOPIC;
        let set = |key: &str, value: String| (key.to_owned(), Some(value));
        let configs = vec![
            set("cleanup.policy", "compact".into()),
            set("compression.type", "producer".into()),
            set("segment.bytes", config.offsets_segment_bytes.to_string()),
        ];
        NewTopic {
            name: name.to_owned(),
            partitions: if internal { config.offsets_partitions } else { -1 },
            replication_factor: -1,
            assignments: Vec::new(),
            configs: if internal { configs } else { Vec::new() },
        }
    }

    /// The local replica of a partition.
    pub(crate) fn replica(&self, topic: TopicId, index: PartitionIndex) -> Option<&Arc<Replica>> {
        self.replicas.get(&(topic, index))
    }

    /// Who leads a partition, as far as this node knows: a replica that is here may have heard of it before this view.
    pub(crate) fn leader_of(
        &self,
        topic: &Topic,
        index: PartitionIndex,
    ) -> Option<(Option<BrokerId>, LeaderEpoch)> {
        let state = topic.partition(index)?;
        let followed = self.replica(topic.id, index).and_then(|replica| replica.followed());
        let newer = followed.filter(|(_, epoch)| *epoch > state.leader_epoch);
        Some(newer.map_or((state.leader, state.leader_epoch), |(leader, epoch)| (Some(leader), epoch)))
    }

    /// The topic that a request names by id where it can, else by name.
    pub(crate) fn topic_of(&self, name: &str, id: Uuid) -> Option<&Arc<Topic>> {
        if id.is_zero() { self.image.topic(name) } else { self.image.topic_by_id(TopicId(id)) }
    }
}
