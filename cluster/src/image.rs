//! The cluster's metadata at one point of its log: immutable, cheap to clone, shared by `Arc`.
//!
//! Persistent maps share structure, so that a change copies a path and not the whole. `replay` is the only
//! way to make a new one, and says in a [`Delta`] what differs.

use crate::config::{Layers, Overrides, ResourceKind, TopicConfig, is_cordoned};
use crate::partition::PartitionState;
use crate::record::{Record, Registration, Resource};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{BrokerId, PartitionIndex, ProducerId, TopicId, Uuid};
use rpds::RedBlackTreeMapSync as Map;

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub id: TopicId,
    /// True when nobody chose a replication factor.
    pub implicit_factor: bool,
    /// Its partitions, by number; each shared between images for as long as it stays as it is.
    pub partitions: Vec<Arc<PartitionState>>,
}

impl Topic {
    /// The partition of this number.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionState> {
        self.partitions.get(usize::try_from(index.0).ok()?).map(|state| &**state)
    }

    /// True for topics that belong to the platform and not to a user.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }
}

/// True for the names of topics that belong to the platform.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

/// The whole of the metadata.
#[derive(Clone, Debug)]
pub struct Image {
    /// The cluster's id, fixed when it was formed.
    pub cluster_id: Uuid,
    /// The log index up to which this image is true.
    pub index: u64,
    /// The Raft term of that entry.
    pub term: u64,
    /// The first producer id that nobody has.
    pub next_producer_id: ProducerId,
    topics: Map<Arc<str>, Arc<Topic>>,
    names: Map<TopicId, Arc<str>>,
    brokers: Map<BrokerId, Arc<Registration>>,
    configs: Map<Resource, Arc<Overrides>>,
    features: Map<String, i16>,
}

/// What a replay changed, for those who must act on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Topics that came into being or whose partitions changed.
    pub topics: Vec<TopicId>,
    /// Topics that are gone, with the names they had.
    pub removed: Vec<(TopicId, Arc<str>)>,
    /// Owners whose configs changed.
    pub configs: Vec<Resource>,
    /// Brokers whose registration changed.
    pub brokers: Vec<BrokerId>,
}

impl Image {
    /// The metadata of a cluster of which nothing is known but its id.
    #[must_use]
    pub fn new(cluster_id: Uuid) -> Self {
        Self {
            cluster_id,
            index: 0,
            term: 0,
            next_producer_id: ProducerId(0),
            topics: Map::default(),
            names: Map::default(),
            brokers: Map::default(),
            configs: Map::default(),
            features: Map::default(),
        }
    }

    /// The topic of this name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// The topic of this id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.names.get(&id).and_then(|name| self.topics.get(name))
    }

    /// All topics by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// The topics whose names sort at or after `from`.
    pub fn topics_from<'a>(&'a self, from: &'a str) -> impl Iterator<Item = &'a Arc<Topic>> {
        let start: Arc<str> = from.into();
        self.topics.range(start..).map(|(_, topic)| topic)
    }

    /// How many topics there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.size()
    }

    /// The broker of this id.
    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&Arc<Registration>> {
        self.brokers.get(&id)
    }

    /// Whether a broker is registered and not fenced.
    #[must_use]
    pub fn serves(&self, id: BrokerId) -> bool {
        self.broker(id).is_some_and(|broker| !broker.fenced)
    }

    /// All registered brokers by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<Registration>> {
        self.brokers.values()
    }

    /// True for a broker that may get replicas: it serves, and nobody keeps them away from it.
    #[must_use]
    pub fn takes_replicas(&self, broker: &Registration) -> bool {
        let name = alloc::format!("{}", broker.id);
        let set = self.overrides(ResourceKind::Broker, &name);
        !broker.fenced && !set.is_some_and(|set| is_cordoned(set))
    }

    /// What was set for an owner of configs.
    #[must_use]
    pub fn overrides(&self, kind: ResourceKind, name: &str) -> Option<&Arc<Overrides>> {
        self.configs.get(&Resource { kind, name: name.into() })
    }

    /// All owners of configs with what was set for them.
    pub fn configs(&self) -> impl Iterator<Item = (&Resource, &Arc<Overrides>)> {
        self.configs.iter()
    }

    /// The finalized level of each feature.
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features.iter().map(|(name, level)| (name.as_str(), *level))
    }

    /// The settings of a topic as `broker` with these fixed settings sees them.
    #[must_use]
    pub fn topic_config(&self, name: &str, broker: BrokerId, fixed: &Overrides) -> TopicConfig {
        let none = Overrides::new();
        let own = self.overrides(ResourceKind::Topic, name).map_or(&none, |set| set);
        self.with_layers(broker, fixed, |layers| TopicConfig::resolve(layers, own))
    }

    /// Calls `use_layers` with the settings that apply to `broker`.
    pub fn with_layers<T>(
        &self,
        broker: BrokerId,
        fixed: &Overrides,
        use_layers: impl FnOnce(&Layers<'_>) -> T,
    ) -> T {
        let none = Overrides::new();
        let of = |name: &str| self.overrides(ResourceKind::Broker, name);
        let name = alloc::format!("{broker}");
        let layers = Layers {
            broker: of(&name).map_or(&none, |set| set),
            cluster: of("").map_or(&none, |set| set),
            fixed,
        };
        use_layers(&layers)
    }

    /// Applies one fact and notes what it changed. A fact about something that does not exist changes nothing:
    /// it was decided against a state that had it, and a later fact removed it.
    pub fn replay(&mut self, record: &Record, delta: &mut Delta) {
        match record {
            Record::Topic { name, id, implicit_factor } => {
                self.replay_topic(name, *id, *implicit_factor, delta)
            }
            Record::Partition { topic, index, state } => self.replay_partition(*topic, *index, state, delta),
            Record::RemoveTopic { id } => self.replay_remove_topic(*id, delta),
            Record::Config { resource, key, value } => {
                self.replay_config(resource, key, value.as_ref(), delta)
            }
            Record::FeatureLevel { name, level: 0 } => {
                self.features.remove_mut(name);
            }
            Record::FeatureLevel { name, level } => {
                self.features.insert_mut(name.clone(), *level);
            }
            Record::ProducerIds { next, .. } => self.next_producer_id = *next,
            Record::RegisterBroker(registration) => {
                self.brokers.insert_mut(registration.id, Arc::new(registration.clone()));
                delta.brokers.push(registration.id);
            }
            Record::BrokerFence { id, epoch, fenced } => self.replay_fence(*id, *epoch, *fenced, delta),
            // The reader of the log acts on these.
            Record::Begin | Record::End | Record::Abort => {}
            Record::UnregisterBroker { id, epoch } => {
                if self.brokers.get(id).is_some_and(|broker| broker.epoch == *epoch) {
                    self.brokers.remove_mut(id);
                    delta.brokers.push(*id);
                }
            }
        }
    }

    fn replay_topic(&mut self, name: &Arc<str>, id: TopicId, implicit_factor: bool, delta: &mut Delta) {
        let topic = Topic { name: name.clone(), id, implicit_factor, partitions: Vec::new() };
        self.topics.insert_mut(name.clone(), Arc::new(topic));
        self.names.insert_mut(id, name.clone());
        delta.note_topic(id);
    }

    fn replay_partition(
        &mut self,
        id: TopicId,
        index: PartitionIndex,
        state: &PartitionState,
        delta: &mut Delta,
    ) {
        let Some(topic) = self.names.get(&id).and_then(|name| self.topics.get_mut(name)) else { return };
        let partitions = &mut Arc::make_mut(topic).partitions;
        match usize::try_from(index.0) {
            Ok(at) if at < partitions.len() => partitions[at] = Arc::new(state.clone()),
            Ok(at) if at == partitions.len() => partitions.push(Arc::new(state.clone())),
            // Partitions are written in the order of their numbers, so a gap cannot come from our own log.
            Ok(_) | Err(_) => return,
        }
        delta.note_topic(id);
    }

    fn replay_remove_topic(&mut self, id: TopicId, delta: &mut Delta) {
        let Some(name) = self.names.get(&id).cloned() else { return };
        self.names.remove_mut(&id);
        self.topics.remove_mut(&name);
        self.configs.remove_mut(&Resource { kind: ResourceKind::Topic, name: name.clone() });
        delta.topics.retain(|topic| *topic != id);
        delta.removed.push((id, name));
    }

    fn replay_config(&mut self, resource: &Resource, key: &str, value: Option<&String>, delta: &mut Delta) {
        let mut set = self.configs.get(resource).map(|set| (**set).clone()).unwrap_or_default();
        match value {
            Some(value) => set.insert(key.into(), value.clone()),
            None => set.remove(key),
        };
        if set.is_empty() {
            self.configs.remove_mut(resource);
        } else {
            self.configs.insert_mut(resource.clone(), Arc::new(set));
        }
        if !delta.configs.contains(resource) {
            delta.configs.push(resource.clone());
        }
    }

    fn replay_fence(&mut self, id: BrokerId, epoch: i64, fenced: bool, delta: &mut Delta) {
        let Some(broker) = self.brokers.get(&id).filter(|broker| broker.epoch == epoch) else { return };
        let changed = Registration { fenced, ..(**broker).clone() };
        self.brokers.insert_mut(id, Arc::new(changed));
        delta.brokers.push(id);
    }

    /// What a later image has that differs from this one: for who has skipped what lies between.
    #[must_use]
    pub fn difference(&self, later: &Self) -> Delta {
        let mut delta = Delta::default();
        for topic in self.topics() {
            if later.topic_by_id(topic.id).is_none() {
                delta.removed.push((topic.id, topic.name.clone()));
            }
        }
        let is_new = |topic: &&Arc<Topic>| {
            !self.topic_by_id(topic.id).is_some_and(|old| Arc::ptr_eq(old, topic) || old == *topic)
        };
        delta.topics.extend(later.topics().filter(is_new).map(|topic| topic.id));
        let differs =
            |(resource, set): &(&Resource, &Arc<Overrides>)| self.configs.get(*resource) != Some(*set);
        delta.configs.extend(later.configs().filter(differs).map(|(resource, _)| resource.clone()));
        let is_gone = |resource: &&Resource| later.configs.get(*resource).is_none();
        delta.configs.extend(self.configs.keys().filter(is_gone).cloned());
        let differs = |broker: &&Arc<Registration>| self.broker(broker.id) != Some(*broker);
        delta.brokers.extend(later.brokers().filter(differs).map(|broker| broker.id));
        let is_gone = |broker: &&Arc<Registration>| later.broker(broker.id).is_none();
        delta.brokers.extend(self.brokers().filter(is_gone).map(|broker| broker.id));
        delta
    }

    /// The records that make this image out of an empty one: the content of a snapshot.
    pub fn snapshot(&self) -> impl Iterator<Item = Record> + '_ {
        let ids = Record::ProducerIds { broker: BrokerId(-1), next: self.next_producer_id };
        let features = self
            .features
            .iter()
            .map(|(name, level)| Record::FeatureLevel { name: name.clone(), level: *level });
        let brokers = self.brokers.values().map(|broker| Record::RegisterBroker((**broker).clone()));
        let topics = self.topics.values().flat_map(|topic| topic_records(topic));
        let configs = self.configs.iter().flat_map(|(resource, set)| {
            let record = |(key, value): (&String, &String)| Record::Config {
                resource: resource.clone(),
                key: key.clone(),
                value: Some(value.clone()),
            };
            set.iter().map(record)
        });
        core::iter::once(ids).chain(features).chain(brokers).chain(topics).chain(configs)
    }
}

impl Delta {
    /// Adds what changed after that.
    pub fn extend(&mut self, later: Self) {
        let is_gone = |id: &TopicId| later.removed.iter().any(|(removed, _)| removed == id);
        self.topics.retain(|id| !is_gone(id));
        self.topics.extend(later.topics);
        self.removed.extend(later.removed);
        self.configs.extend(later.configs);
        self.brokers.extend(later.brokers);
    }

    fn note_topic(&mut self, id: TopicId) {
        // A topic's partitions follow each other in the log: looking at the last is enough.
        if self.topics.last() != Some(&id) {
            self.topics.push(id);
        }
    }

    /// True when nothing changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.topics.is_empty()
            && self.removed.is_empty()
            && self.configs.is_empty()
            && self.brokers.is_empty()
    }
}

fn topic_records(topic: &Topic) -> impl Iterator<Item = Record> + '_ {
    let head =
        Record::Topic { name: topic.name.clone(), id: topic.id, implicit_factor: topic.implicit_factor };
    let partition = |(index, state): (usize, &Arc<PartitionState>)| Record::Partition {
        topic: topic.id,
        index: PartitionIndex(i32::try_from(index).unwrap_or(i32::MAX)),
        state: (**state).clone(),
    };
    core::iter::once(head).chain(topic.partitions.iter().enumerate().map(partition))
}
