//! `ottla topic …`

use crate::connect::{Connect, Done, Failure, block_on};
use crate::members::usable;
use crate::moves::{Brokers, Manner, carry_out, to_factor};
use crate::output::{Json, Output, list, note, say, show, table};
use clap::{Args, Subcommand};
use client::{Admin, AlterOp, ConfigResource, CreatedTopic, ErrorCode, NewTopic, TopicDescription};

/// `ottla topic …`
#[derive(Debug, Subcommand)]
pub(crate) enum Topic {
    /// Create topics.
    Create(Create),
    /// List topics.
    List(List),
    /// Show topics with their partitions and configs.
    Describe(Describe),
    /// Change configs, or raise the number of partitions.
    Alter(Alter),
    /// Delete topics and all their records.
    Delete(Delete),
}

/// `ottla topic create`
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The names.
    #[arg(required = true)]
    names: Vec<String>,
    /// How many partitions; the cluster's default if not given.
    #[arg(short, long, value_name = "N")]
    partitions: Option<i32>,
    /// How many replicas of each; the cluster's default if not given.
    #[arg(short, long, value_name = "N")]
    replication_factor: Option<i16>,
    /// A config of the topic. May be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    config: Vec<(String, String)>,
    /// Take it for success if a topic exists.
    #[arg(long)]
    if_not_exists: bool,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// `ottla topic list`
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Show Kafka's own topics too.
    #[arg(long)]
    internal: bool,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// `ottla topic describe`
#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// The names.
    #[arg(required = true)]
    names: Vec<String>,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// `ottla topic alter`
#[derive(Debug, Args)]
pub(crate) struct Alter {
    /// The name.
    name: String,
    /// How many partitions there should be; only more is possible.
    #[arg(short, long, value_name = "N")]
    partitions: Option<i32>,
    /// How many replicas each partition should have.
    #[arg(short, long, value_name = "N")]
    replication_factor: Option<u16>,
    /// Wait until the replicas have moved.
    #[arg(long)]
    wait: bool,
    /// Copy at most so many bytes a second from and to each broker.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    throttle: Option<u64>,
    /// A config to set. May be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    config: Vec<(String, String)>,
    /// A config to return to its default. May be repeated.
    #[arg(long, value_name = "KEY")]
    delete_config: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

/// `ottla topic delete`
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The names.
    #[arg(required = true)]
    names: Vec<String>,
    /// Take it for success if a topic does not exist.
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Topic {
    pub(crate) fn run(self) -> Done {
        match self {
            Self::Create(create) => block_on(create.run()),
            Self::List(list) => block_on(list.run()),
            Self::Describe(describe) => block_on(describe.run()),
            Self::Alter(alter) => block_on(alter.run()),
            Self::Delete(delete) => block_on(delete.run()),
        }
    }
}

impl Create {
    async fn run(self) -> Done {
        let admin = self.connect.admin()?;
        let mut created = Vec::new();
        for name in &self.names {
            let topic = NewTopic {
                name: name.clone(),
                partitions: self.partitions,
                replication_factor: self.replication_factor,
                configs: self.config.clone(),
            };
            match admin.create_topic(topic).await {
                Ok(topic) => created.push(topic),
                Err(error) if self.if_not_exists && error.code() == ErrorCode::TopicAlreadyExists => {
                    note(&format!("{name} exists"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        show(self.output, || created_table(&created), || created.iter().map(created_json).collect())
    }
}

fn created_table(created: &[CreatedTopic]) -> String {
    let count = |n: Option<i64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let row = |topic: &CreatedTopic| {
        let replicas = topic.replication_factor.map(i64::from);
        vec![
            topic.name.clone(),
            count(topic.partitions.map(i64::from)),
            count(replicas),
            topic.id.to_string(),
        ]
    };
    table(&["created", "partitions", "replicas", "id"], created.iter().map(row))
}

fn created_json(topic: &CreatedTopic) -> Json {
    Json::Object(vec![
        ("name", topic.name.as_str().into()),
        ("id", topic.id.to_string().into()),
        ("partitions", topic.partitions.into()),
        ("replication_factor", topic.replication_factor.map(i32::from).into()),
    ])
}

impl List {
    async fn run(self) -> Done {
        let mut topics = self.connect.admin()?.list_topics().await?;
        topics.retain(|topic| self.internal || !topic.is_internal);
        let row = |topic: &client::TopicListing| {
            vec![topic.name.clone(), topic.partitions.to_string(), topic.replication_factor.to_string()]
        };
        let json = |topic: &client::TopicListing| {
            Json::Object(vec![
                ("name", topic.name.as_str().into()),
                ("id", topic.id.to_string().into()),
                ("internal", topic.is_internal.into()),
                ("partitions", topic.partitions.into()),
                ("replication_factor", topic.replication_factor.into()),
            ])
        };
        show(
            self.output,
            || table(&["topic", "partitions", "replicas"], topics.iter().map(row)),
            || topics.iter().map(json).collect(),
        )
    }
}

impl Describe {
    async fn run(self) -> Done {
        let admin = self.connect.admin()?;
        let names: Vec<_> = self.names.iter().map(String::as_str).collect();
        let topics = admin.describe_topics(&names).await?;
        let mut described = Vec::new();
        for topic in &topics {
            described.push(Described::read(&admin, topic).await?);
        }
        let text = || described.iter().map(Described::text).collect::<Vec<_>>().join("\n\n");
        show(self.output, text, || described.iter().map(Described::json).collect())
    }
}

/// A topic with all that is shown of it.
struct Described<'a> {
    topic: &'a TopicDescription,
    /// First and next offset, by place in `topic.partitions`; `None` without a leader.
    ends: Vec<Option<(i64, i64)>>,
    configs: Vec<(String, String)>,
}

impl<'a> Described<'a> {
    async fn read(admin: &Admin, topic: &'a TopicDescription) -> Done<Self> {
        let led: Vec<i32> = topic.partitions.iter().filter(|p| p.leader.is_some()).map(|p| p.index).collect();
        let starts = admin.list_offsets(&topic.name, Some(&led), client::OffsetSpec::Earliest).await?;
        let ends = admin.list_offsets(&topic.name, Some(&led), client::OffsetSpec::Latest).await?;
        let find = |all: &[client::OffsetAt], index: i32| {
            all.iter().find(|at| at.partition == index).and_then(|at| at.offset).map(|offset| offset.0)
        };
        let both = |index| Some((find(&starts, index)?, find(&ends, index)?));
        let ends = topic.partitions.iter().map(|p| both(p.index)).collect();
        let configs = admin.describe_configs(&ConfigResource::Topic(topic.name.clone()), None).await?;
        let set = configs.into_iter().filter(|config| config.source == client::ConfigSource::Topic);
        let configs = set.map(|config| (config.name, config.value.unwrap_or_default())).collect();
        Ok(Self { topic, ends, configs })
    }

    fn text(&self) -> String {
        let topic = self.topic;
        let configs: Vec<_> = self.configs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let configs = if configs.is_empty() { "all at their defaults".to_owned() } else { configs.join(" ") };
        let row = |(p, ends): (&client::core::PartitionMetadata, &Option<(i64, i64)>)| {
            let ends = ends.map_or(("-".to_owned(), "-".to_owned()), |(a, b)| (a.to_string(), b.to_string()));
            let leader = p.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
            vec![p.index.to_string(), leader, list(&p.replicas), list(&p.isr), ends.0, ends.1]
        };
        let rows = topic.partitions.iter().zip(&self.ends).map(row);
        let partitions = table(&["partition", "leader", "replicas", "isr", "first", "next"], rows);
        format!("{}  id {}\nconfigs: {configs}\n{partitions}", topic.name, topic.id)
    }

    fn json(&self) -> Json {
        let partition = |(p, ends): (&client::core::PartitionMetadata, &Option<(i64, i64)>)| {
            Json::Object(vec![
                ("partition", p.index.into()),
                ("leader", p.leader.into()),
                ("leader_epoch", p.leader_epoch.into()),
                ("replicas", p.replicas.iter().copied().collect()),
                ("isr", p.isr.iter().copied().collect()),
                ("start_offset", ends.map(|ends| ends.0).into()),
                ("end_offset", ends.map(|ends| ends.1).into()),
            ])
        };
        let configs = self.configs.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        Json::Object(vec![
            ("name", self.topic.name.as_str().into()),
            ("id", self.topic.id.to_string().into()),
            ("internal", self.topic.is_internal.into()),
            ("partitions", self.topic.partitions.iter().zip(&self.ends).map(partition).collect()),
            ("configs", Json::Map(configs)),
        ])
    }
}

impl Alter {
    async fn run(self) -> Done {
        let counts = self.partitions.is_some() || self.replication_factor.is_some();
        if !counts && self.config.is_empty() && self.delete_config.is_empty() {
            return Err(Failure::usage(
                "nothing to change: give --partitions, --replication-factor, --config or --delete-config",
            ));
        }
        let admin = self.connect.admin()?;
        let set = self.config.iter().map(|(key, value)| (key.clone(), AlterOp::Set(value.clone())));
        let delete = self.delete_config.iter().map(|key| (key.clone(), AlterOp::Delete));
        let changes: Vec<_> = set.chain(delete).collect();
        if !changes.is_empty() {
            admin.alter_configs(&ConfigResource::Topic(self.name.clone()), &changes).await?;
        }
        if let Some(total) = self.partitions {
            admin.create_partitions(&self.name, total).await?;
        }
        if let Some(factor) = self.replication_factor {
            self.move_replicas(&admin, factor.into()).await?;
        }
        say(&format!("changed {}", self.name))
    }

    async fn move_replicas(&self, admin: &Admin, factor: usize) -> Done {
        if factor == 0 {
            return Err(Failure::usage("--replication-factor 0: a topic without replicas holds nothing"));
        }
        let (cluster, topics) = (admin.describe_cluster().await?, admin.describe_all_topics().await?);
        let topic = topics.iter().find(|topic| topic.name == self.name);
        let topic = topic.ok_or_else(|| Failure::not_found(format!("there is no topic {}", self.name)))?;
        let usable = usable(admin, &cluster.brokers, None).await?;
        let moves = to_factor(factor, topic, &mut Brokers::new(usable, &topics))?;
        carry_out(admin, &moves, &topics, Manner { waits: self.wait, throttle: self.throttle }).await
    }
}

impl Delete {
    async fn run(self) -> Done {
        let admin = self.connect.admin()?;
        for name in &self.names {
            match admin.delete_topic(name).await {
                Ok(()) => say(&format!("deleted {name}"))?,
                Err(error) if self.if_exists && error.is_not_found() => {
                    note(&format!("{name} does not exist"))
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// `key=value` of the command line.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    if key.is_empty() { Err(format!("{text:?} has no key")) } else { Ok((key.to_owned(), value.to_owned())) }
}
