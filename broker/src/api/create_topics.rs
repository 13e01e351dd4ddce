//! CreateTopics (19).
//!
//! Version notes: from version 5 on the answer tells partitions, factor and configs (KIP-525), from version 7
//! on the topic's id.

use super::{Acl, Answer, Api, OnController, ResponseOf, ToController, ViewContext, outcome};
use base::{BrokerId, TopicId};
use cluster::config::{self, Described};
use cluster::controller::{Command, CreatedTopic, NewTopic, Outcome, Refusal, Reply};
use wire::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicConfigs,
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

pub(crate) struct CreateTopics;

impl Api for CreateTopics {
    type Request = CreateTopicsRequest;
    const ACL: Acl = Acl::CreateTopic;
}

impl OnController for CreateTopics {
    fn ask(request: CreateTopicsRequest) -> Answer<ResponseOf<Self>> {
        let validate_only = request.validate_only;
        let topics = request.topics.iter().map(new_topic).collect();
        Answer::Ask(Command::CreateTopics { topics, validate_only })
    }

    fn answer(cx: &ViewContext<'_>, request: CreateTopicsRequest, reply: Reply) -> CreateTopicsResponse {
        let Reply::Created(outcomes) = reply else { return CreateTopicsResponse::default() };
        let results = request.topics.into_iter().zip(outcomes);
        let mut topics: Vec<_> = results.map(|(topic, outcome)| result(cx, topic, outcome)).collect();
        // A name that was asked for twice is refused once.
        super::keep_first(&mut topics, |topic| topic.name.clone());
        CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }
    }
}

impl ToController for CreateTopics {
    fn request(command: &Command) -> Option<CreateTopicsRequest> {
        let Command::CreateTopics { topics, validate_only } = command else { return None };
        Some(CreateTopicsRequest {
            topics: topics.iter().map(asked_for).collect(),
            validate_only: *validate_only,
            ..CreateTopicsRequest::default()
        })
    }

    fn reply(response: CreateTopicsResponse) -> Reply {
        let outcome = |topic: CreatableTopicResult| match super::refusal(topic.error_code) {
            Some(code) => {
                let message = topic.error_message.as_ref().map_or(code.message(), |text| text.as_str());
                Err(Refusal { code, message: message.to_owned() })
            }
            None => Ok(CreatedTopic {
                id: TopicId(topic.topic_id),
                partitions: topic.num_partitions,
                replication_factor: topic.replication_factor,
                configs: Vec::new(),
            }),
        };
        Reply::Created(response.topics.into_iter().map(outcome).collect())
    }
}

fn asked_for(topic: &NewTopic) -> CreatableTopic {
    let assignment = |(index, brokers): &(i32, Vec<BrokerId>)| CreatableReplicaAssignment {
        partition_index: *index,
        broker_ids: brokers.iter().map(|id| id.0).collect(),
        ..CreatableReplicaAssignment::default()
    };
    let config = |(name, value): &(String, Option<String>)| CreatableTopicConfig {
        name: name.as_str().into(),
        value: value.as_deref().map(Into::into),
        ..CreatableTopicConfig::default()
    };
    CreatableTopic {
        name: topic.name.as_str().into(),
        num_partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        assignments: topic.assignments.iter().map(assignment).collect(),
        configs: topic.configs.iter().map(config).collect(),
        ..CreatableTopic::default()
    }
}

fn new_topic(topic: &CreatableTopic) -> NewTopic {
    let assignment = |a: &wire::create_topics::CreatableReplicaAssignment| {
        (a.partition_index, a.broker_ids.iter().copied().map(BrokerId).collect())
    };
    NewTopic {
        name: topic.name.as_str().to_owned(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic.assignments.iter().map(assignment).collect(),
        configs: topic
            .configs
            .iter()
            .map(|c| (c.name.as_str().to_owned(), c.value.as_ref().map(|v| v.as_str().to_owned())))
            .collect(),
    }
}

fn result(
    cx: &ViewContext<'_>,
    topic: CreatableTopic,
    created: Outcome<CreatedTopic>,
) -> CreatableTopicResult {
    let (error_code, error_message) = outcome(&created);
    let mut result = CreatableTopicResult {
        name: topic.name,
        error_code,
        error_message,
        ..CreatableTopicResult::default()
    };
    if let Ok(created) = created {
        result.topic_id = created.id.0;
        result.num_partitions = created.partitions;
        result.replication_factor = created.replication_factor;
        result.configs = Some(configs(cx, created.configs));
    }
    result
}

/// All settings of the new topic, as DescribeConfigs would tell them.
fn configs(cx: &ViewContext<'_>, set: Vec<(String, String)>) -> Vec<CreatableTopicConfigs> {
    let overrides = set.into_iter().collect();
    cx.view.with_layers(|layers| {
        let describe = |key| {
            let Described { key, value, source, .. } = layers.describe_topic(&overrides, key);
            CreatableTopicConfigs {
                name: key.name.into(),
                value: value.map(Into::into),
                config_source: source as i8,
                is_sensitive: key.is_sensitive(),
                ..CreatableTopicConfigs::default()
            }
        };
        config::topic_keys().map(describe).collect()
    })
}
