//! `ottla config …`

use crate::connect::{Connect, Done, Failure, block_on};
use crate::output::{Json, Output, say, show, table};
use crate::topic::key_value;
use clap::{Args, Subcommand};
use client::{AlterOp, ConfigEntry, ConfigResource};
use std::path::PathBuf;

/// `ottla config …`
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Check a config file without starting anything.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Show the configs of a topic, a broker or all brokers.
    Get(Get),
    /// Change configs at run time.
    Set(Set),
}

/// What has configs.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Of {
    /// A topic.
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// A broker by its id.
    #[arg(long, value_name = "ID")]
    broker: Option<i32>,
    /// The defaults of all brokers.
    #[arg(long)]
    brokers: bool,
    /// The log levels of a broker, by its id: keys are loggers.
    #[arg(long, value_name = "ID")]
    loggers: Option<i32>,
    /// A group.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
}

/// `ottla config get`
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The keys; all that were set if none is given.
    keys: Vec<String>,
    #[command(flatten)]
    of: Of,
    /// Show defaults too.
    #[arg(short, long)]
    all: bool,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// `ottla config set`
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// What to set.
    #[arg(value_name = "KEY=VALUE", value_parser = key_value)]
    changes: Vec<(String, String)>,
    /// A key to return to its default. May be repeated.
    #[arg(short, long, value_name = "KEY")]
    delete: Vec<String>,
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    connect: Connect,
}

impl Config {
    pub(crate) fn run(self) -> Done {
        match self {
            Self::Check { file } => {
                crate::serve::check(&file).map_err(|error| Failure::failed(error.to_string()))
            }
            Self::Get(get) => block_on(get.run()),
            Self::Set(set) => block_on(set.run()),
        }
    }
}

impl Of {
    fn resource(&self) -> ConfigResource {
        match (&self.topic, self.broker, self.loggers, &self.group) {
            (Some(topic), ..) => ConfigResource::Topic(topic.clone()),
            (None, Some(id), ..) => ConfigResource::Broker(id),
            (None, None, Some(id), _) => ConfigResource::BrokerLogger(id),
            (None, None, None, Some(group)) => ConfigResource::Group(group.clone()),
            (None, None, None, None) => ConfigResource::Brokers,
        }
    }
}

impl Get {
    async fn run(self) -> Done {
        let keys: Vec<_> = self.keys.iter().map(String::as_str).collect();
        let wanted = (!keys.is_empty()).then_some(keys.as_slice());
        let mut configs = self.connect.admin()?.describe_configs(&self.of.resource(), wanted).await?;
        if let Some(missing) = keys.iter().find(|key| !configs.iter().any(|config| config.name == **key)) {
            return Err(Failure::not_found(format!(
                "there is no config {missing}; --all shows those there are"
            )));
        }
        configs.retain(|config| self.all || wanted.is_some() || is_set(config));
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        let row =
            |config: &ConfigEntry| vec![config.name.clone(), value(config), config.source.name().to_owned()];
        show(
            self.output,
            || table(&["key", "value", "source"], configs.iter().map(row)),
            || configs.iter().map(json).collect(),
        )
    }
}

/// Whether somebody chose the value.
fn is_set(config: &ConfigEntry) -> bool {
    config.source != client::ConfigSource::Default
}

fn value(config: &ConfigEntry) -> String {
    let hidden = if config.is_sensitive { "(hidden)" } else { "(none)" };
    config.value.clone().unwrap_or_else(|| hidden.to_owned())
}

fn json(config: &ConfigEntry) -> Json {
    Json::Object(vec![
        ("key", config.name.as_str().into()),
        ("value", config.value.as_deref().into()),
        ("source", config.source.name().into()),
        ("read_only", config.is_read_only.into()),
        ("sensitive", config.is_sensitive.into()),
    ])
}

impl Set {
    async fn run(self) -> Done {
        if self.changes.is_empty() && self.delete.is_empty() {
            return Err(Failure::usage("nothing to change: give KEY=VALUE or --delete KEY"));
        }
        let set = self.changes.iter().map(|(key, value)| (key.clone(), AlterOp::Set(value.clone())));
        let delete = self.delete.iter().map(|key| (key.clone(), AlterOp::Delete));
        let changes: Vec<_> = set.chain(delete).collect();
        self.connect.admin()?.alter_configs(&self.of.resource(), &changes).await?;
        let keys: Vec<_> = changes.iter().map(|(key, _)| key.as_str()).collect();
        say(&format!("changed {}", keys.join(", ")))
    }
}
