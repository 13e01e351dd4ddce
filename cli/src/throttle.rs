//! Copies that leave room for clients (KIP-73): which keys a move sets, and how they are taken away again. The keys and what
//! stands in them are those of Kafka's `kafka-reassign-partitions`, so that either tool can end what the other began.

use crate::connect::{Connect, Done, Failure, block_on};
use crate::output::{note, say};
use clap::Args;
use client::{Admin, AlterOp, ConfigResource, ConfigSource, Reassignment, TopicDescription};
use cluster::config::{FOLLOWER_RATE_KEY, FOLLOWER_THROTTLED_KEY, LEADER_RATE_KEY, LEADER_THROTTLED_KEY};
use std::collections::{BTreeMap, BTreeSet};

/// What takes a throttle away that nobody waited with.
const LATER: &str = "`ottla cluster unthrottle` takes the throttle away once everything has moved";

/// `ottla cluster unthrottle`
#[derive(Debug, Args)]
pub(crate) struct Unthrottle {
    #[command(flatten)]
    connect: Connect,
}

/// What a move throttles.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Throttle {
    /// By topic: the replicas that hand out, and those that fetch.
    topics: BTreeMap<String, (Vec<String>, Vec<String>)>,
    brokers: BTreeSet<i32>,
}

impl Throttle {
    /// Whoever has a partition hands it out, whoever gets it fetches it.
    pub(crate) fn of(moves: &[Reassignment], topics: &[TopicDescription]) -> Self {
        let mut throttle = Self::default();
        for Reassignment { topic, partition, replicas } in moves {
            let described = topics.iter().find(|described| described.name == *topic);
            let state = described.and_then(|it| it.partitions.iter().find(|p| p.index == *partition));
            let has = state.map(|state| state.replicas.as_slice()).unwrap_or_default();
            let gets = replicas.iter().flatten().filter(|id| !has.contains(id));
            let (leaders, followers) = throttle.topics.entry(topic.clone()).or_default();
            leaders.extend(has.iter().map(|id| format!("{partition}:{id}")));
            followers.extend(gets.clone().map(|id| format!("{partition}:{id}")));
            throttle.brokers.extend(has.iter().chain(gets));
        }
        throttle
    }

    /// Sets it, at so many bytes a second for each broker. Those that do not serve copy nothing.
    pub(crate) async fn begin(&self, admin: &Admin, rate: u64) -> Done {
        for (topic, (leaders, followers)) in &self.topics {
            let more = |list: &[String]| AlterOp::Append(list.join(","));
            let changes = [
                (LEADER_THROTTLED_KEY.to_owned(), more(leaders)),
                (FOLLOWER_THROTTLED_KEY.to_owned(), more(followers)),
            ];
            admin.alter_configs(&ConfigResource::Topic(topic.clone()), &changes).await?;
        }
        let rates = [LEADER_RATE_KEY, FOLLOWER_RATE_KEY];
        let rates = rates.map(|key| (key.to_owned(), AlterOp::Set(rate.to_string())));
        for broker in self.serving(admin).await? {
            admin.alter_configs(&ConfigResource::Broker(broker), &rates).await?;
        }
        note(&format!("{} brokers copy at most {rate} bytes a second each", self.brokers.len()));
        Ok(())
    }

    /// Takes it away.
    async fn end(&self, admin: &Admin) -> Done {
        for topic in self.topics.keys() {
            let lists = [LEADER_THROTTLED_KEY, FOLLOWER_THROTTLED_KEY];
            let lists = lists.map(|key| (key.to_owned(), AlterOp::Delete));
            admin.alter_configs(&ConfigResource::Topic(topic.clone()), &lists).await?;
        }
        let rates = [LEADER_RATE_KEY, FOLLOWER_RATE_KEY].map(|key| (key.to_owned(), AlterOp::Delete));
        for broker in self.serving(admin).await? {
            admin.alter_configs(&ConfigResource::Broker(broker), &rates).await?;
        }
        Ok(())
    }

    async fn serving(&self, admin: &Admin) -> Done<Vec<i32>> {
        let brokers = admin.describe_cluster().await?.brokers;
        let serving = brokers.iter().filter(|it| !it.is_fenced && self.brokers.contains(&it.id));
        Ok(serving.map(|broker| broker.id).collect())
    }

    /// After the moves have been begun, or are done if that was waited for.
    pub(crate) async fn settle(&self, admin: &Admin, is_done: bool) -> Done {
        if is_done {
            return self.end(admin).await;
        }
        note(LATER);
        Ok(())
    }

    /// All that there is in a cluster.
    async fn find(admin: &Admin) -> Done<Self> {
        let mut throttle = Self::default();
        for topic in admin.describe_all_topics().await? {
            let keys = [LEADER_THROTTLED_KEY, FOLLOWER_THROTTLED_KEY];
            let resource = ConfigResource::Topic(topic.name.clone());
            let configs = admin.describe_configs(&resource, Some(&keys)).await?;
            if configs.iter().any(|config| config.source == ConfigSource::Topic) {
                throttle.topics.insert(topic.name, Default::default());
            }
        }
        for broker in admin.describe_cluster().await?.brokers.iter().filter(|broker| !broker.is_fenced) {
            let keys = [LEADER_RATE_KEY, FOLLOWER_RATE_KEY];
            let configs = admin.describe_configs(&ConfigResource::Broker(broker.id), Some(&keys)).await?;
            if configs.iter().any(|config| config.source == ConfigSource::Broker) {
                throttle.brokers.insert(broker.id);
            }
        }
        Ok(throttle)
    }
}

impl Unthrottle {
    pub(crate) fn run(self) -> Done {
        block_on(self.unthrottle())
    }

    async fn unthrottle(self) -> Done {
        let admin = self.connect.admin()?;
        let moving = admin.list_reassignments().await?.len();
        if moving > 0 {
            return Err(Failure::failed(format!(
                "{moving} partitions still move: run this again when they are done"
            )));
        }
        let throttle = Throttle::find(&admin).await?;
        throttle.end(&admin).await?;
        let (topics, brokers) = (throttle.topics.len(), throttle.brokers.len());
        say(&format!("{topics} topics and {brokers} brokers are not throttled any more"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::core::PartitionMetadata;

    #[test]
    fn who_has_a_partition_hands_it_out_and_who_gets_it_fetches() {
        let partition = |index, replicas: &[i32]| PartitionMetadata {
            index,
            leader: replicas.first().copied(),
            leader_epoch: 0,
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
            offline: Vec::new(),
        };
        let partitions = vec![partition(0, &[1, 2]), partition(1, &[2, 3])];
        let topics =
            [TopicDescription { name: "t".into(), id: base::Uuid::ZERO, is_internal: false, partitions }];
        let to = |partition, replicas: &[i32]| Reassignment {
            topic: "t".into(),
            partition,
            replicas: Some(replicas.to_vec()),
        };
        let throttle = Throttle::of(&[to(0, &[1, 3]), to(1, &[2, 4])], &topics);
        let (leaders, followers) = &throttle.topics["t"];
        assert_eq!(leaders.join(","), "0:1,0:2,1:2,1:3");
        assert_eq!(followers.join(","), "0:3,1:4");
        assert_eq!(throttle.brokers, BTreeSet::from([1, 2, 3, 4]));
    }
}
