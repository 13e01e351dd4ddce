//! `ottla cluster …`

use crate::connect::{Connect, Done, block_on};
use crate::members::{Add, Drain, Remove};
use crate::output::{Json, Output, list, show, table};
use crate::throttle::Unthrottle;
use clap::{Args, Subcommand};
use client::core::PartitionMetadata;
use client::{
    Admin, BrokerDescription, ClusterDescription, LogDir, QuorumDescription, QuorumMember, TopicDescription,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a broker may take to say what is on its disks: one that does not answer must not hide the others.
const DISKS_MAX: Duration = Duration::from_secs(3);

/// `ottla cluster …`
#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Show the nodes, who leads them, and which partitions lack something.
    Info(Info),
    /// Give a node a vote: it may lead the cluster.
    Add(Add),
    /// Move everything away from a node.
    Drain(Drain),
    /// Take a node that has ended out of the cluster.
    Remove(Remove),
    /// Let copies go as fast as they can again.
    Unthrottle(Unthrottle),
}

/// `ottla cluster info`
#[derive(Debug, Args)]
pub(crate) struct Info {
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

impl Cluster {
    pub(crate) fn run(self) -> Done {
        match self {
            Self::Info(info) => block_on(info.run()),
            Self::Add(add) => add.run(),
            Self::Drain(drain) => drain.run(),
            Self::Remove(remove) => remove.run(),
            Self::Unthrottle(unthrottle) => unthrottle.run(),
        }
    }
}

impl Info {
    async fn run(self) -> Done {
        let admin = self.connect.admin()?;
        let cluster = admin.describe_cluster().await?;
        let topics = admin.describe_all_topics().await?;
        // Not every cluster has a quorum of its own, and one without a leader cannot tell of it.
        let quorum = admin.describe_quorum().await.ok();
        let bytes = bytes_on_disks(&admin, &cluster).await;
        let picture = Picture { cluster, topics, quorum, bytes };
        show(self.output, || picture.text(), || picture.json())
    }
}

/// Bytes of the logs on each broker that says so.
async fn bytes_on_disks(admin: &Admin, cluster: &ClusterDescription) -> BTreeMap<i32, i64> {
    let mut bytes = BTreeMap::new();
    for broker in cluster.brokers.iter().filter(|broker| !broker.is_fenced) {
        let asked = tokio::time::timeout(DISKS_MAX, admin.describe_log_dirs_of(broker.id)).await;
        if let Ok(Ok(dirs)) = asked {
            let partitions = dirs.iter().flat_map(|dir: &LogDir| &dir.partitions);
            bytes.insert(broker.id, partitions.map(|partition| partition.bytes).sum());
        }
    }
    bytes
}

/// All that is known of a cluster.
struct Picture {
    cluster: ClusterDescription,
    topics: Vec<TopicDescription>,
    quorum: Option<QuorumDescription>,
    bytes: BTreeMap<i32, i64>,
}

/// A partition with the name of its topic.
type Partition<'a> = (&'a str, &'a PartitionMetadata);

impl Picture {
    /// The node that decides.
    fn controller(&self) -> Option<i32> {
        let leader = self.quorum.as_ref().and_then(|quorum| quorum.leader);
        leader.or(self.cluster.controller)
    }

    fn partitions(&self) -> impl Iterator<Item = Partition<'_>> {
        self.topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.as_str(), p)))
    }

    fn under_replicated(&self) -> Vec<Partition<'_>> {
        self.partitions().filter(|(_, p)| p.replicas.iter().any(|id| !p.isr.contains(id))).collect()
    }

    fn leaderless(&self) -> Vec<Partition<'_>> {
        self.partitions().filter(|(_, p)| p.leader.is_none()).collect()
    }

    /// Brokers, and controllers that are no brokers.
    fn nodes(&self) -> Vec<Node<'_>> {
        let brokers: BTreeMap<_, _> = self.cluster.brokers.iter().map(|broker| (broker.id, broker)).collect();
        let of_quorum = self.quorum.iter().flat_map(|q| q.voters.iter().chain(&q.observers));
        let ids: BTreeSet<i32> = brokers.keys().copied().chain(of_quorum.map(|member| member.id)).collect();
        ids.into_iter().map(|id| Node { id, broker: brokers.get(&id).copied(), picture: self }).collect()
    }

    fn text(&self) -> String {
        let (short, leaderless) = (self.under_replicated(), self.leaderless());
        let head = [
            ("topics", self.topics.len()),
            ("partitions", self.partitions().count()),
            ("under-replicated", short.len()),
            ("without a leader", leaderless.len()),
        ];
        let head = head.map(|(what, count)| format!("{count} {what}")).join(", ");
        let quorum = match (&self.quorum, self.controller()) {
            (Some(quorum), Some(id)) => format!("controller: node {id}, epoch {}", quorum.epoch),
            (Some(_), None) => "controller: none is elected".to_owned(),
            (None, _) => "controller: not known".to_owned(),
        };
        let columns = [
            "node",
            "address",
            "rack",
            "state",
            "quorum",
            "lag",
            "leads",
            "replicas",
            "out of sync",
            "bytes",
        ];
        let nodes = table(&columns, self.nodes().iter().map(Node::row));
        let mut text = format!("cluster {}  {head}\n{quorum}\n{nodes}", self.cluster.id);
        for (title, partitions) in [("under-replicated", short), ("without a leader", leaderless)] {
            if !partitions.is_empty() {
                let columns = [title, "partition", "leader", "replicas", "isr"];
                text.push_str("\n\n");
                text.push_str(&table(&columns, partitions.into_iter().map(partition_row)));
            }
        }
        text
    }

    fn json(&self) -> Json {
        let nodes = self.nodes();
        Json::Object(vec![
            ("cluster_id", self.cluster.id.as_str().into()),
            ("controller", self.controller().into()),
            ("brokers", nodes.iter().filter_map(Node::json).collect()),
            ("topics", self.topics.len().into()),
            ("partitions", self.partitions().count().into()),
            ("quorum", self.quorum.as_ref().map(quorum_json).into()),
            ("under_replicated", self.under_replicated().into_iter().map(partition_json).collect()),
            ("leaderless", self.leaderless().into_iter().map(partition_json).collect()),
        ])
    }
}

/// A node of the picture.
struct Node<'a> {
    id: i32,
    broker: Option<&'a BrokerDescription>,
    picture: &'a Picture,
}

impl Node<'_> {
    fn member(&self) -> Option<(&'static str, &QuorumMember)> {
        let quorum = self.picture.quorum.as_ref()?;
        let find = |members: &'_ [QuorumMember]| members.iter().position(|member| member.id == self.id);
        let voter = find(&quorum.voters).map(|at| &quorum.voters[at]);
        let learner = find(&quorum.observers).map(|at| &quorum.observers[at]);
        match (voter, learner) {
            (Some(voter), Some(learner)) if learner.log_end > voter.log_end => {
                Some(("learner, old disk votes", learner))
            }
            (Some(voter), _) if quorum.leader == Some(self.id) => Some(("leader", voter)),
            (Some(voter), _) => Some(("voter", voter)),
            (None, learner) => Some(("learner", learner?)),
        }
    }

    fn lag(&self) -> Option<i64> {
        let (_, member) = self.member()?;
        self.picture.quorum.as_ref()?.lag(member)
    }

    fn count(&self, of: impl Fn(&PartitionMetadata) -> bool) -> usize {
        self.picture.partitions().filter(|(_, partition)| of(partition)).count()
    }

    fn leads(&self) -> usize {
        self.count(|p| p.leader == Some(self.id))
    }

    fn replicas(&self) -> usize {
        self.count(|p| p.replicas.contains(&self.id))
    }

    fn out_of_sync(&self) -> usize {
        self.count(|p| p.replicas.contains(&self.id) && !p.isr.contains(&self.id))
    }

    fn row(&self) -> Vec<String> {
        let state = match self.broker {
            Some(broker) if broker.is_fenced => "fenced",
            Some(_) => "serving",
            None => "no broker",
        };
        let known = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        vec![
            self.id.to_string(),
            self.broker.map_or_else(|| "-".to_owned(), |broker| broker.address.to_string()),
            self.broker.and_then(|broker| broker.rack.clone()).unwrap_or_default(),
            state.to_owned(),
            self.member().map_or("-", |(role, _)| role).to_owned(),
            known(self.lag()),
            self.leads().to_string(),
            self.replicas().to_string(),
            self.out_of_sync().to_string(),
            known(self.picture.bytes.get(&self.id).copied()),
        ]
    }

    fn json(&self) -> Option<Json> {
        let broker = self.broker?;
        Some(Json::Object(vec![
            ("id", self.id.into()),
            ("host", broker.address.host.as_str().into()),
            ("port", i32::from(broker.address.port).into()),
            ("rack", broker.rack.as_deref().into()),
            ("controller", (Some(self.id) == self.picture.controller()).into()),
            ("log_bytes", self.picture.bytes.get(&self.id).copied().into()),
            ("fenced", broker.is_fenced.into()),
            ("leads", self.leads().into()),
            ("replicas", self.replicas().into()),
            ("out_of_sync", self.out_of_sync().into()),
        ]))
    }
}

fn quorum_json(quorum: &QuorumDescription) -> Json {
    let member = |(member, votes): (&QuorumMember, bool)| {
        Json::Object(vec![
            ("id", member.id.into()),
            ("votes", votes.into()),
            ("directory", member.directory.to_string().into()),
            ("log_end_offset", member.log_end.into()),
            ("lag", quorum.lag(member).into()),
            ("caught_up_ms", member.caught_up_ms.into()),
        ])
    };
    let voters = quorum.voters.iter().map(|voter| (voter, true));
    let observers = quorum.observers.iter().map(|observer| (observer, false));
    Json::Object(vec![
        ("leader", quorum.leader.into()),
        ("epoch", quorum.epoch.into()),
        ("high_watermark", quorum.high_watermark.into()),
        ("members", voters.chain(observers).map(member).collect()),
    ])
}

fn partition_row((topic, p): Partition<'_>) -> Vec<String> {
    let leader = p.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
    vec![topic.to_owned(), p.index.to_string(), leader, list(&p.replicas), list(&p.isr)]
}

fn partition_json((topic, p): Partition<'_>) -> Json {
    Json::Object(vec![
        ("topic", topic.into()),
        ("partition", p.index.into()),
        ("leader", p.leader.into()),
        ("replicas", p.replicas.iter().copied().collect()),
        ("isr", p.isr.iter().copied().collect()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Address;

    fn broker(id: i32, is_fenced: bool) -> BrokerDescription {
        let address = Address { host: format!("h{id}"), port: 9092 };
        BrokerDescription { id, address, rack: None, is_fenced }
    }

    fn member(id: i32, log_end: Option<i64>) -> QuorumMember {
        QuorumMember { id, directory: base::Uuid::ZERO, log_end, caught_up_ms: None }
    }

    fn partition(index: i32, leader: Option<i32>, isr: &[i32]) -> PartitionMetadata {
        let (replicas, isr) = (vec![1, 2, 3], isr.to_vec());
        PartitionMetadata { index, leader, leader_epoch: 1, replicas, isr, offline: Vec::new() }
    }

    /// Three brokers of which one is fenced, and a controller that is no broker.
    fn picture() -> Picture {
        let brokers = vec![broker(1, false), broker(2, false), broker(3, true)];
        let partitions =
            vec![partition(0, Some(1), &[1, 2, 3]), partition(1, Some(2), &[2]), partition(2, None, &[])];
        let topic =
            TopicDescription { name: "t".to_owned(), id: base::Uuid::ZERO, is_internal: false, partitions };
        let quorum = QuorumDescription {
            leader: Some(9),
            epoch: 4,
            high_watermark: 90,
            voters: vec![member(1, Some(70)), member(9, Some(100))],
            observers: vec![member(2, None)],
        };
        Picture {
            cluster: ClusterDescription { id: "c".to_owned(), controller: Some(2), brokers },
            topics: vec![topic],
            quorum: Some(quorum),
            bytes: BTreeMap::from([(1, 5)]),
        }
    }

    #[test]
    fn every_node_has_a_row_with_what_it_lacks() {
        let text = picture().text();
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(
            text.starts_with("cluster c  1 topics, 3 partitions, 2 under-replicated, 1 without a leader")
        );
        assert_eq!(words[1], ["controller:", "node", "9,", "epoch", "4"]);
        assert_eq!(words[3], ["1", "h1:9092", "serving", "voter", "30", "1", "3", "2", "5"]);
        assert_eq!(words[4], ["2", "h2:9092", "serving", "learner", "-", "1", "3", "1", "-"]);
        assert_eq!(words[5], ["3", "h3:9092", "fenced", "-", "-", "0", "3", "2", "-"]);
        assert_eq!(words[6], ["9", "-", "no", "broker", "leader", "0", "0", "0", "0", "-"]);
        assert_eq!(words[9], ["t", "1", "2", "1,2,3", "2"]);
        assert_eq!(words.last().unwrap()[..3], ["t", "2", "none"]);
    }

    #[test]
    fn a_node_with_a_new_disk_is_a_learner_whose_old_disk_votes() {
        let mut picture = picture();
        let quorum = picture.quorum.as_mut().unwrap();
        quorum.observers.push(member(1, Some(100)));
        let row = picture.nodes()[0].row();
        assert_eq!(row[4..6], ["learner, old disk votes", "0"]);
    }

    #[test]
    fn scripts_get_the_same() {
        let json = picture().json().to_string();
        assert!(json.contains("\"controller\":9,\"brokers\":[{\"id\":1,"), "{json}");
        assert!(json.contains("\"leaderless\":[{\"topic\":\"t\",\"partition\":2,\"leader\":null"), "{json}");
        let without = Picture { quorum: None, ..picture() }.json().to_string();
        assert!(without.contains("\"controller\":2,") && without.contains("\"quorum\":null"), "{without}");
    }
}
