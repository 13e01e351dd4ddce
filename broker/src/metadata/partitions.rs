//! From metadata to partitions: opens what this node is to hold, lets go of what it is not.

use crate::effects::{Effects, Level};
use crate::replica::{Opening, Replica};
use crate::shared::Shared;
use crate::view::{Node, Replicas};
use base::{Now, PartitionIndex, TopicId, hit};
use cluster::config::{ResourceKind, TopicConfig};
use cluster::{Delta, Image, Topic};
use seglog::OpenLogError;
use seglog::disk::DiskErrorKind;
use std::sync::Arc;

/// A delta that names all topics: what a start from a snapshot has to open.
pub(super) fn everything(image: &Image) -> Delta {
    Delta { topics: image.topics().map(|topic| topic.id).collect(), ..Delta::default() }
}

/// Carries a delta out on the local partitions. Returns the topics of which a partition found no room on the
/// disk: they are to be tried again.
pub(super) fn apply(
    target: &Target<'_>,
    delta: &Delta,
    replicas: &mut Replicas,
    now: Now,
    fx: &mut Effects,
) -> Vec<TopicId> {
    for (id, name) in &delta.removed {
        let gone: Vec<_> = replicas.keys().filter(|(topic, _)| topic == id).copied().collect();
        for key in gone {
            if let Some(replica) = replicas.get(&key) {
                let job = replica.delete(fx);
                fx.jobs.push(job);
            }
            replicas.remove_mut(&key);
        }
        fx.log(Level::Info, format!("Topic {name} is deleted"));
    }
    let mut waiting = Vec::new();
    for topic in delta.topics.iter().filter_map(|id| target.image.topic_by_id(*id)) {
        if !target.open_topic(topic, replicas, now, fx) {
            waiting.push(topic.id);
        }
    }
    target.configure(delta, replicas, fx);
    waiting
}

/// What the partitions are to become.
pub(super) struct Target<'a> {
    pub(super) node: &'a Node,
    pub(super) shared: &'a Shared,
    pub(super) image: &'a Image,
}

impl Target<'_> {
    fn config(&self, topic: &str) -> Arc<TopicConfig> {
        Arc::new(self.image.topic_config(topic, self.node.config.node_id, &self.node.fixed))
    }

    /// False if a partition found no room on the disk.
    fn open_topic(&self, topic: &Topic, replicas: &mut Replicas, now: Now, fx: &mut Effects) -> bool {
        let mut all = true;
        let own = self.node.config.node_id;
        let config = self.config(&topic.name);
        for (index, state) in (0..).map(PartitionIndex).zip(&topic.partitions) {
            if !state.is_on(own) || replicas.contains_key(&(topic.id, index)) {
                continue;
            }
            let opening = Opening {
                dir: self.shared.flusher.dir(),
                topic: topic.id,
                name: &topic.name,
                index,
                config: config.clone(),
                producer_expiration: self.node.config.producer_id_expiration,
            };
            match Replica::open(opening, own, state, now) {
                Ok(replica) => {
                    replicas.insert_mut((topic.id, index), Arc::new(replica));
                }
                Err(OpenLogError::Disk(error)) if error.kind == DiskErrorKind::NoSpace => {
                    hit!(partition_waits_for_space);
                    all = false;
                }
                // The partition stays away: its clients hear NOT_LEADER_OR_FOLLOWER, nothing is overwritten.
                Err(error) => {
                    fx.log(Level::Error, format!("{}-{index} cannot be opened: {error}", topic.name))
                }
            }
        }
        all
    }

    fn configure(&self, delta: &Delta, replicas: &Replicas, fx: &mut Effects) {
        let all = delta.configs.iter().any(|resource| resource.kind == ResourceKind::Broker);
        for topic in self.image.topics() {
            let named =
                |name: &str| delta.configs.iter().any(|r| r.kind == ResourceKind::Topic && *r.name == *name);
            if !all && !named(&topic.name) {
                continue;
            }
            let config = self.config(&topic.name);
            let indexes = (0..).map(PartitionIndex).take(topic.partitions.len());
            for replica in indexes.filter_map(|index| replicas.get(&(topic.id, index))) {
                replica.configure(config.clone(), self.node.config.producer_id_expiration, fx);
            }
        }
    }
}
