//! The facts of the metadata log.

use crate::config::ResourceKind;
use crate::partition::PartitionState;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{BrokerId, PartitionIndex, ProducerId, TopicId, Uuid};

/// A config's owner: a kind and a name (empty for "all brokers").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name.
    pub name: Arc<str>,
}

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name.
    pub listener: String,
    /// The host that clients are told.
    pub host: String,
    /// The port that clients are told.
    pub port: u16,
}

/// A broker's registration. A later one of the same id replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The node's id.
    pub id: BrokerId,
    /// Made anew by every start of the process.
    pub incarnation: Uuid,
    /// The index of the entry that registered it; later requests carry it (KIP-903).
    pub epoch: i64,
    /// Where it listens.
    pub endpoints: Vec<Endpoint>,
    /// The listener by which other nodes reach it.
    pub peer_listener: String,
    /// Where it stands.
    pub rack: Option<String>,
    /// The ids of its data directories.
    pub directories: Vec<Uuid>,
    /// A fenced broker leads nothing.
    pub fenced: bool,
}

impl Registration {
    /// Where clients of a listener reach it.
    #[must_use]
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener == listener)
    }

    /// Where other nodes reach it.
    #[must_use]
    pub fn peer_endpoint(&self) -> Option<&Endpoint> {
        self.endpoint(&self.peer_listener)
    }
}

/// One fact. The order in the log is the order of truth; a decision's records are applied together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A topic exists. Its partitions follow.
    Topic {
        /// Its name.
        name: Arc<str>,
        /// Its identity.
        id: TopicId,
        /// True when nobody chose a replication factor: the planner raises it as brokers join.
        implicit_factor: bool,
    },
    /// A partition exists in this state.
    Partition {
        /// Its topic.
        topic: TopicId,
        /// Its number.
        index: PartitionIndex,
        /// Where it lives and who leads it.
        state: PartitionState,
    },
    /// A topic and all its partitions are gone for good.
    RemoveTopic {
        /// The topic.
        id: TopicId,
    },
    /// A config was set, or unset.
    Config {
        /// Its owner.
        resource: Resource,
        /// The key.
        key: String,
        /// The value; `None` unsets.
        value: Option<String>,
    },
    /// The cluster now speaks this level of a feature.
    FeatureLevel {
        /// The feature.
        name: String,
        /// The level; zero removes it.
        level: i16,
    },
    /// Producer ids below this one have been handed out.
    ProducerIds {
        /// Who received the last block.
        broker: BrokerId,
        /// The first id not handed out.
        next: ProducerId,
    },
    /// A broker started.
    RegisterBroker(Registration),
    /// A broker is fenced or unfenced.
    BrokerFence {
        /// The broker.
        id: BrokerId,
        /// The registration that this is about.
        epoch: i64,
        /// The new state.
        fenced: bool,
    },
    /// A decision that spans several entries begins: nothing of it counts before its end (KIP-868).
    Begin,
    /// It is complete.
    End,
    /// It will never be complete.
    Abort,
    /// A broker is no longer part of the cluster.
    UnregisterBroker {
        /// The broker.
        id: BrokerId,
        /// The registration that this is about.
        epoch: i64,
    },
}
