//! `ottla cluster …`

use crate::connect::{Connect, Done, block_on};
use crate::output::{Json, Output, show, table};
use clap::{Args, Subcommand};
use client::{ClusterDescription, LogDir};

/// `ottla cluster …`
#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Show the brokers and what is on their disks.
    Info(Info),
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
        let Self::Info(info) = self;
        block_on(info.run())
    }
}

impl Info {
    async fn run(self) -> Done {
        let admin = self.connect.admin()?;
        let cluster = admin.describe_cluster().await?;
        let topics = admin.list_topics().await?;
        let dirs = admin.describe_log_dirs().await?;
        let partitions: usize = topics.iter().map(|topic| topic.partitions).sum();
        let counts = [("topics", topics.len()), ("partitions", partitions)];
        show(self.output, || text(&cluster, &dirs, counts), || json(&cluster, &dirs, counts))
    }
}

fn bytes_on(dirs: &[LogDir], broker: i32) -> i64 {
    let own = dirs.iter().filter(|dir| dir.broker == broker);
    own.flat_map(|dir| &dir.partitions).map(|partition| partition.bytes).sum()
}

fn text(cluster: &ClusterDescription, dirs: &[LogDir], counts: [(&'static str, usize); 2]) -> String {
    let row = |broker: &client::BrokerDescription| {
        let role = if Some(broker.id) == cluster.controller { "controller" } else { "" };
        let bytes = bytes_on(dirs, broker.id).to_string();
        let rack = broker.rack.clone().unwrap_or_default();
        vec![broker.id.to_string(), broker.address.to_string(), rack, bytes, role.to_owned()]
    };
    let brokers = table(&["broker", "address", "rack", "bytes", ""], cluster.brokers.iter().map(row));
    let counts = counts.map(|(what, count)| format!("{count} {what}")).join(", ");
    format!("cluster {}  {counts}\n{brokers}", cluster.id)
}

fn json(cluster: &ClusterDescription, dirs: &[LogDir], counts: [(&'static str, usize); 2]) -> Json {
    let broker = |broker: &client::BrokerDescription| {
        Json::Object(vec![
            ("id", broker.id.into()),
            ("host", broker.address.host.as_str().into()),
            ("port", i32::from(broker.address.port).into()),
            ("rack", broker.rack.as_deref().into()),
            ("controller", (Some(broker.id) == cluster.controller).into()),
            ("log_bytes", bytes_on(dirs, broker.id).into()),
        ])
    };
    let mut fields = vec![
        ("cluster_id", cluster.id.as_str().into()),
        ("controller", cluster.controller.into()),
        ("brokers", cluster.brokers.iter().map(broker).collect()),
    ];
    fields.extend(counts.map(|(what, count)| (what, count.into())));
    Json::Object(fields)
}
