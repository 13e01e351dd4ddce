//! Topics.

use super::{Admin, AdminError};
use crate::core::Target;
use crate::core::error::code_of;
use crate::core::metadata::{Metadata, PartitionMetadata};
use base::Uuid;
use wire::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use wire::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use wire::delete_topics::DeleteTopicsRequest;
use wire::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use wire::{ErrorCode, Str};

/// A topic to be created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` is the cluster's default.
    pub partitions: Option<i32>,
    /// How many replicas of each; `None` is the cluster's default.
    pub replication_factor: Option<i16>,
    /// Topic configs by key.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with the cluster's defaults.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// A topic that was just created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub name: String,
    /// Its id; zero from brokers that have none.
    pub id: Uuid,
    /// How many partitions, if the broker says.
    pub partitions: Option<i32>,
    /// How many replicas, if the broker says.
    pub replication_factor: Option<i16>,
}

/// A topic in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicListing {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
    /// One of Kafka's own.
    pub is_internal: bool,
    /// How many partitions.
    pub partitions: usize,
    /// Replicas of the first partition.
    pub replication_factor: usize,
}

/// A topic in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
    /// One of Kafka's own.
    pub is_internal: bool,
    /// In order of index.
    pub partitions: Vec<PartitionMetadata>,
}

impl Admin {
    /// Creates a topic.
    ///
    /// # Errors
    /// `TOPIC_ALREADY_EXISTS`, `INVALID_PARTITIONS`, `INVALID_CONFIG` …
    pub async fn create_topic(&self, topic: NewTopic) -> Result<CreatedTopic, AdminError> {
        let config = |(name, value): &(String, String)| CreatableTopicConfig {
            name: name.into(),
            value: Some(value.into()),
            ..CreatableTopicConfig::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.name.as_str().into(),
                num_partitions: topic.partitions.unwrap_or(-1),
                replication_factor: topic.replication_factor.unwrap_or(-1),
                configs: topic.configs.iter().map(config).collect(),
                ..CreatableTopic::default()
            }],
            timeout_ms: self.timeout_ms(),
            ..CreateTopicsRequest::default()
        };
        // Not repeated after a lost answer: the repetition would say that the topic exists.
        let response = self.call(Target::Controller, 2..=7, request).await?;
        let result = response.topics.first().ok_or_else(|| AdminError::silent(&topic.name))?;
        AdminError::check(result.error_code, &topic.name, result.error_message.as_ref())?;
        Ok(CreatedTopic {
            name: topic.name,
            id: result.topic_id,
            partitions: Some(result.num_partitions).filter(|count| *count > 0),
            replication_factor: Some(result.replication_factor).filter(|factor| *factor > 0),
        })
    }

    /// Deletes a topic and all its records.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION` …
    pub async fn delete_topic(&self, name: &str) -> Result<(), AdminError> {
        let request = DeleteTopicsRequest {
            topic_names: vec![name.into()],
            timeout_ms: self.timeout_ms(),
            ..DeleteTopicsRequest::default()
        };
        let response = self.call(Target::Controller, 1..=5, request).await?;
        let result = response.responses.first().ok_or_else(|| AdminError::silent(name))?;
        AdminError::check(result.error_code, name, result.error_message.as_ref())
    }

    /// Raises the number of partitions of a topic to `total`.
    ///
    /// # Errors
    /// `INVALID_PARTITIONS` when it has as many or more.
    pub async fn create_partitions(&self, name: &str, total: i32) -> Result<(), AdminError> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: name.into(),
                count: total,
                assignments: None,
                ..CreatePartitionsTopic::default()
            }],
            timeout_ms: self.timeout_ms(),
            ..CreatePartitionsRequest::default()
        };
        let response = self.call(Target::Controller, 0..=3, request).await?;
        let result = response.results.first().ok_or_else(|| AdminError::silent(name))?;
        AdminError::check(result.error_code, name, result.error_message.as_ref())
    }

    /// All topics, in order of name.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>, AdminError> {
        let (metadata, _) = self.metadata(None).await?;
        let listing = |(name, topic): (&Str, &crate::core::TopicMetadata)| TopicListing {
            name: name.to_string(),
            id: topic.id,
            is_internal: topic.is_internal,
            partitions: topic.partitions.len(),
            replication_factor: topic.partitions.first().map_or(0, |p| p.replicas.len()),
        };
        Ok(metadata.topics.iter().map(listing).collect())
    }

    /// All topics in detail, in order of name; without those that are just coming or going.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn describe_all_topics(&self) -> Result<Vec<TopicDescription>, AdminError> {
        let (metadata, _) = self.metadata(None).await?;
        let there = metadata.topics.into_iter().filter(|(_, topic)| topic.error == ErrorCode::None);
        let describe = |(name, topic): (Str, crate::core::TopicMetadata)| TopicDescription {
            name: name.to_string(),
            id: topic.id,
            is_internal: topic.is_internal,
            partitions: topic.partitions,
        };
        Ok(there.map(describe).collect())
    }

    /// Topics in detail, as asked for.
    ///
    /// # Errors
    /// The first that does not exist or may not be seen.
    pub async fn describe_topics(&self, names: &[&str]) -> Result<Vec<TopicDescription>, AdminError> {
        let (mut metadata, _) = self.metadata(Some(names)).await?;
        let describe = |name: &&str| {
            let topic = metadata.topics.remove(*name).ok_or_else(|| AdminError::silent(name))?;
            AdminError::check(topic.error.code(), name, None)?;
            let (id, is_internal, partitions) = (topic.id, topic.is_internal, topic.partitions);
            Ok(TopicDescription { name: (*name).to_owned(), id, is_internal, partitions })
        };
        names.iter().map(describe).collect()
    }

    /// Metadata of some topics or all, read once more while a topic has no leader yet.
    pub(super) async fn metadata(
        &self,
        names: Option<&[&str]>,
    ) -> Result<(Metadata, MetadataResponse), AdminError> {
        let named = |name: &&str| MetadataRequestTopic {
            name: Some((*name).into()),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: names.map(|names| names.iter().map(named).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let verdict = |response: &MetadataResponse| {
            let codes = response.topics.iter().map(|topic| code_of(topic.error_code));
            codes.max_by_key(|code| *code == ErrorCode::LeaderNotAvailable).map_or(ErrorCode::None, |code| {
                if code == ErrorCode::LeaderNotAvailable { code } else { ErrorCode::None }
            })
        };
        let response = self.call_until(Target::Any, 4..=13, request, verdict).await?;
        let mut metadata = Metadata::default();
        metadata.update(&response, true);
        Ok((metadata, response))
    }
}
