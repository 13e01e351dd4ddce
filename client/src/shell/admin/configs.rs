//! Configs of topics, brokers, groups.

use super::{Admin, AdminError};
use crate::core::Target;
use crate::core::error::code_of;
use wire::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use wire::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

/// What has configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigResource {
    /// A topic.
    Topic(String),
    /// A broker.
    Broker(i32),
    /// The default of all brokers.
    Brokers,
    /// The log levels of a broker, by logger.
    BrokerLogger(i32),
    /// A group (KIP-848).
    Group(String),
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on the broker, at run time.
    Broker,
    /// Set for all brokers, at run time.
    Brokers,
    /// From the broker's file.
    Static,
    /// Kafka's default.
    Default,
    /// The level that a logger has, whoever set it.
    Logger,
    /// Set on the group.
    Group,
    /// Something this client has no name for.
    Other(i8),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: String,
    /// The value; `None` if it has none or is a secret.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Cannot be changed at run time.
    pub is_read_only: bool,
    /// Its value is not shown.
    pub is_sensitive: bool,
}

/// One change of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlterOp {
    /// Set to this value.
    Set(String),
    /// Back to the default.
    Delete,
    /// Add to a list.
    Append(String),
    /// Take out of a list.
    Subtract(String),
}

impl ConfigResource {
    const fn kind(&self) -> i8 {
        match self {
            Self::Topic(_) => 2,
            Self::Broker(_) | Self::Brokers => 4,
            Self::BrokerLogger(_) => 8,
            Self::Group(_) => 32,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Topic(name) | Self::Group(name) => name.clone(),
            Self::Broker(id) | Self::BrokerLogger(id) => id.to_string(),
            Self::Brokers => String::new(),
        }
    }

    /// A broker's own settings and levels are known to that broker alone.
    const fn target(&self) -> Target {
        match self {
            Self::Broker(id) | Self::BrokerLogger(id) => Target::Broker(*id),
            Self::Topic(_) | Self::Brokers | Self::Group(_) => Target::Any,
        }
    }
}

impl ConfigSource {
    const fn from_wire(source: i8) -> Self {
        match source {
            1 => Self::Topic,
            2 => Self::Broker,
            3 => Self::Brokers,
            4 => Self::Static,
            5 => Self::Default,
            6 => Self::Logger,
            8 => Self::Group,
            other => Self::Other(other),
        }
    }

    /// A word for people and scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Broker => "broker",
            Self::Brokers => "brokers",
            Self::Static => "static",
            Self::Default => "default",
            Self::Logger => "logger",
            Self::Group => "group",
            Self::Other(_) => "other",
        }
    }
}

impl Admin {
    /// Configs of a resource: those named, or all.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION` for a topic that does not exist …
    pub async fn describe_configs(
        &self,
        resource: &ConfigResource,
        keys: Option<&[&str]>,
    ) -> Result<Vec<ConfigEntry>, AdminError> {
        self.prepare(resource).await?;
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: resource.kind(),
                resource_name: resource.name().into(),
                configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
                ..DescribeConfigsResource::default()
            }],
            ..DescribeConfigsRequest::default()
        };
        let verdict = |r: &wire::describe_configs::DescribeConfigsResponse| {
            let code = code_of(r.results.first().map_or(0, |result| result.error_code));
            // A topic that is not there is an answer, although Kafka calls it worth a retry.
            if code == wire::ErrorCode::UnknownTopicOrPartition { wire::ErrorCode::None } else { code }
        };
        let response = self.call_until(resource.target(), 1..=4, request, verdict).await?;
        let result = response.results.first().ok_or_else(|| AdminError::silent(&resource.name()))?;
        AdminError::check(result.error_code, &resource.name(), result.error_message.as_ref())?;
        Ok(result.configs.iter().map(entry).collect())
    }

    /// Changes configs of a resource; keys not named stay as they are.
    ///
    /// # Errors
    /// `INVALID_CONFIG` with the broker's words; nothing is changed then.
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[(String, AlterOp)],
    ) -> Result<(), AdminError> {
        self.prepare(resource).await?;
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: resource.kind(),
                resource_name: resource.name().into(),
                configs: changes.iter().map(change).collect(),
                ..AlterConfigsResource::default()
            }],
            ..IncrementalAlterConfigsRequest::default()
        };
        let target = match resource.target() {
            Target::Any => Target::Controller,
            own @ (Target::Controller | Target::Broker(_) | Target::Coordinator(_)) => own,
        };
        let response = self.call(target, 0..=1, request).await?;
        let result = response.responses.first().ok_or_else(|| AdminError::silent(&resource.name()))?;
        AdminError::check(result.error_code, &resource.name(), result.error_message.as_ref())
    }

    async fn prepare(&self, resource: &ConfigResource) -> Result<(), AdminError> {
        match resource {
            ConfigResource::Broker(_) | ConfigResource::BrokerLogger(_) => self.wait_for_metadata().await,
            ConfigResource::Topic(_) | ConfigResource::Brokers | ConfigResource::Group(_) => Ok(()),
        }
    }
}

fn entry(config: &DescribeConfigsResourceResult) -> ConfigEntry {
    ConfigEntry {
        name: config.name.to_string(),
        value: config.value.as_ref().map(ToString::to_string),
        source: ConfigSource::from_wire(config.config_source),
        is_read_only: config.read_only,
        is_sensitive: config.is_sensitive,
    }
}

fn change((name, op): &(String, AlterOp)) -> AlterableConfig {
    let (code, value) = match op {
        AlterOp::Set(value) => (0, Some(value)),
        AlterOp::Delete => (1, None),
        AlterOp::Append(value) => (2, Some(value)),
        AlterOp::Subtract(value) => (3, Some(value)),
    };
    AlterableConfig {
        name: name.into(),
        config_operation: code,
        value: value.map(Into::into),
        ..AlterableConfig::default()
    }
}
