//! Metadata (3): brokers, topics, leaders; may create a topic that somebody asks for.
//!
//! Version notes: in version 0 an empty list of topics means all; from version 1 on null does and an empty
//! list means none. Versions 10 and 11 cannot ask by topic id although the field exists (KAFKA-10774).
//!
//! An answer that names another node as the leader of a replicated partition waits 5 ms for the news of that node's end, and
//! if it has hung up, up to a second for a successor: later replies on the connection wait with it. A broker that was fenced
//! a few seconds ago is told of, too. (A real broker does neither; why we do: `departures.rs`.)
//!
//! A topic that is created on the way is answered as existing: the request waits for the controller. (A real
//! broker answers UNKNOWN_TOPIC_OR_PARTITION first and lets the client try again.)

use super::{Acl, Answer, Api, OnView, ViewContext, operations};
use base::{BrokerId, Instant, TopicId};
use cluster::controller::{Command, NewTopic, check_topic_name};
use cluster::{PartitionState, Topic};
use std::sync::Arc;
use wire::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use wire::{ErrorCode, Str};

pub(super) struct Metadata;

impl Api for Metadata {
    type Request = MetadataRequest;
    const ACL: Acl = Acl::DescribeTopic;

    fn upgrade(version: i16, request: &mut MetadataRequest) {
        if version == 0 && request.topics.as_ref().is_some_and(Vec::is_empty) {
            request.topics = None;
        }
        // Before version 4 every metadata request could create topics.
        if version < 4 {
            request.allow_auto_topic_creation = true;
        }
    }

    fn downgrade(version: i16, response: &mut MetadataResponse) {
        // Only from version 12 on may a topic be without a name.
        if version < 12 {
            for topic in &mut response.topics {
                topic.name.get_or_insert(Str::EMPTY);
            }
        }
        // Older clients do not know that a listener may be missing and retry on LEADER_NOT_AVAILABLE.
        if version == 0 {
            for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                if partition.error_code == ErrorCode::ListenerNotFound as i16 {
                    partition.error_code = ErrorCode::LeaderNotAvailable as i16;
                }
            }
        }
    }
}

impl OnView for Metadata {
    fn handle(cx: &ViewContext<'_>, request: MetadataRequest) -> Answer<MetadataResponse> {
        let missing = to_create(cx, &request);
        if !missing.is_empty() {
            return Answer::Ask(Command::CreateTopics { topics: missing, validate_only: false });
        }
        let awaited = match &request.topics {
            None => awaited(cx, cx.view.image.topics()),
            Some(asked) => awaited(cx, asked.iter().filter_map(|topic| find(cx, topic).ok())),
        };
        if let Some(until) = awaited {
            return Answer::AwaitLeaders(until);
        }
        let topics = match &request.topics {
            None => cx.view.image.topics().map(|topic| known(cx, &request, topic)).collect(),
            Some(asked) => asked.iter().map(|topic| answer_one(cx, &request, topic)).collect(),
        };
        Answer::Reply(response(cx, &request, topics))
    }
}

/// Until when it is worth waiting for other leaders than those that are known, if it is.
fn awaited<'a>(cx: &ViewContext<'_>, topics: impl Iterator<Item = &'a Arc<Topic>>) -> Option<Instant> {
    let own = cx.view.node.config.node_id;
    let replicated = topics.flat_map(|topic| &topic.partitions).filter(|state| state.replicas.len() > 1);
    let others = replicated.filter_map(|state| leader(cx, state)).filter(|leader| *leader != own);
    others.filter_map(|leader| cx.view.departures.awaited(leader, cx.came, cx.now)).max()
}

fn to_create(cx: &ViewContext<'_>, request: &MetadataRequest) -> Vec<NewTopic> {
    if !request.allow_auto_topic_creation || !cx.view.node.config.auto_create_topics || cx.asked_controller {
        return Vec::new();
    }
    let asked = request.topics.iter().flatten();
    let missing = |topic: &&Str| cx.view.image.topic(topic).is_none() && check_topic_name(topic).is_ok();
    let mut names: Vec<&Str> = asked.filter_map(|topic| topic.name.as_ref()).filter(missing).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| cx.view.auto_created(name)).collect()
}

fn find<'a>(cx: &ViewContext<'a>, asked: &MetadataRequestTopic) -> Result<&'a Arc<Topic>, ErrorCode> {
    match &asked.name {
        Some(name) if asked.topic_id.is_zero() => match cx.view.image.topic(name) {
            Some(topic) => Ok(topic),
            None if check_topic_name(name).is_err() => Err(ErrorCode::InvalidTopicException),
            None => Err(ErrorCode::UnknownTopicOrPartition),
        },
        Some(_) | None => cx.view.image.topic_by_id(TopicId(asked.topic_id)).ok_or(ErrorCode::UnknownTopicId),
    }
}

fn answer_one(
    cx: &ViewContext<'_>,
    request: &MetadataRequest,
    asked: &MetadataRequestTopic,
) -> MetadataResponseTopic {
    let unknown = |code: ErrorCode| MetadataResponseTopic {
        error_code: code as i16,
        name: asked.name.clone(),
        topic_id: asked.topic_id,
        is_internal: asked.name.as_ref().is_some_and(|name| cluster::is_internal(name)),
        topic_authorized_operations: operations::NOT_ASKED,
        ..MetadataResponseTopic::default()
    };
    find(cx, asked).map_or_else(unknown, |topic| known(cx, request, topic))
}

fn known(cx: &ViewContext<'_>, request: &MetadataRequest, topic: &Arc<Topic>) -> MetadataResponseTopic {
    let asked = request.include_topic_authorized_operations;
    let partitions = (0..).zip(&topic.partitions).map(|(index, state)| partition(cx, index, state)).collect();
    MetadataResponseTopic {
        error_code: ErrorCode::None as i16,
        name: Some(topic.name.as_ref().into()),
        topic_id: topic.id.0,
        is_internal: topic.is_internal(),
        partitions,
        topic_authorized_operations: operations::if_asked(asked, operations::ON_TOPIC),
        ..MetadataResponseTopic::default()
    }
}

/// Who leads a partition, and serves.
fn leader(cx: &ViewContext<'_>, state: &PartitionState) -> Option<BrokerId> {
    state.leader.filter(|id| cx.view.image.serves(*id))
}

fn partition(cx: &ViewContext<'_>, index: i32, state: &PartitionState) -> MetadataResponsePartition {
    let leader = leader(cx, state);
    let code = if leader.is_some() { ErrorCode::None } else { ErrorCode::LeaderNotAvailable };
    MetadataResponsePartition {
        error_code: code as i16,
        partition_index: index,
        leader_id: leader.map_or(-1, |id| id.0),
        leader_epoch: state.leader_epoch.0,
        replica_nodes: state.replicas.iter().map(|id| id.0).collect(),
        isr_nodes: state.isr.iter().map(|id| id.0).collect(),
        offline_replicas: state
            .replicas
            .iter()
            .filter(|id| !cx.view.image.serves(**id))
            .map(|id| id.0)
            .collect(),
        ..MetadataResponsePartition::default()
    }
}

fn response(
    cx: &ViewContext<'_>,
    request: &MetadataRequest,
    topics: Vec<MetadataResponseTopic>,
) -> MetadataResponse {
    let asked = request.include_cluster_authorized_operations;
    let broker = |endpoint: crate::view::BrokerEndpoint<'_>| MetadataResponseBroker {
        node_id: endpoint.id.0,
        host: endpoint.host.into(),
        port: i32::from(endpoint.port),
        rack: endpoint.rack.map(Into::into),
        ..MetadataResponseBroker::default()
    };
    let is_told = |endpoint: &crate::view::BrokerEndpoint<'_>| {
        !endpoint.fenced || cx.view.departures.is_told(endpoint.id, cx.now)
    };
    MetadataResponse {
        brokers: cx.view.brokers(cx.listener).filter(is_told).map(broker).collect(),
        cluster_id: Some(cx.view.node.cluster_id.as_str().into()),
        controller_id: cx.view.any_live_broker(cx.listener).map_or(-1, |id| id.0),
        topics,
        cluster_authorized_operations: operations::if_asked(asked, operations::ON_CLUSTER),
        ..MetadataResponse::default()
    }
}
