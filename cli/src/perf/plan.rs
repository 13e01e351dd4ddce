//! What is measured against: the topic with its partitions and their leaders.

use crate::connect::{Connect, Done, Failure, block_on};
use base::Uuid;
use client::core::Address;
use client::{ErrorCode, NewTopic, OffsetSpec};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a socket may be silent.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A topic, and where its partitions are.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) topic: String,
    pub(super) topic_id: Uuid,
    pub(super) leaders: Vec<Leader>,
}

/// A broker and those of the topic's partitions that it leads.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    pub(super) address: Address,
    pub(super) partitions: Vec<i32>,
}

impl Plan {
    /// Looks the topic up; creates it first if `create` says with how many partitions.
    pub(super) fn make(connect: &Connect, topic: &str, create: Option<i32>) -> Done<Self> {
        block_on(Self::look_up(connect, topic, create))
    }

    async fn look_up(connect: &Connect, topic: &str, create: Option<i32>) -> Done<Self> {
        let admin = connect.admin()?;
        if let Some(partitions) = create {
            let wanted = NewTopic { partitions: Some(partitions), ..NewTopic::named(topic) };
            match admin.create_topic(wanted).await {
                Ok(_) => {}
                Err(error) if error.code() == ErrorCode::TopicAlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        let described = admin.describe_topics(&[topic]).await?;
        // A topic that was just created is known before its leaders serve; this waits until they do.
        admin.list_offsets(topic, None, OffsetSpec::Earliest).await?;
        let cluster = admin.describe_cluster().await?;
        let described = described.into_iter().next().ok_or_else(|| Failure::not_found(topic))?;
        let mut leaders: BTreeMap<i32, Leader> = BTreeMap::new();
        for partition in &described.partitions {
            let id = partition.leader.ok_or_else(|| {
                Failure::unhealthy(format!("{topic}-{} has no leader at the moment", partition.index))
            })?;
            let broker = cluster.brokers.iter().find(|broker| broker.id == id);
            let broker = broker.ok_or_else(|| Failure::unhealthy(format!("broker {id} is not there")))?;
            let fresh = || Leader { address: broker.address.clone(), partitions: Vec::new() };
            leaders.entry(id).or_insert_with(fresh).partitions.push(partition.index);
        }
        let leaders = leaders.into_values().collect();
        Ok(Self { topic: topic.to_owned(), topic_id: described.id, leaders })
    }

    /// One share of the partitions per connection, `per_leader` connections to each leader at most.
    pub(super) fn connections(&self, per_leader: usize) -> Vec<Leader> {
        let mut all = Vec::new();
        for leader in &self.leaders {
            let count = per_leader.clamp(1, leader.partitions.len());
            all.extend((0..count).map(|k| Leader {
                address: leader.address.clone(),
                partitions: leader.partitions.iter().skip(k).step_by(count).copied().collect(),
            }));
        }
        all
    }
}
