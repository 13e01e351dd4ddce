//! DescribeTopicPartitions (75): topics page by page, with the replicas that may still lead (KIP-966).

use super::{Acl, Answer, Api, OnView, ViewContext, operations};
use cluster::Topic;
use cluster::controller::check_topic_name;
use wire::ErrorCode;
use wire::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};

pub(super) struct DescribeTopicPartitions;

/// Kafka's `max.request.partition.size.limit`.
const PARTITIONS_PER_PAGE_MAX: usize = 2_000;

impl Api for DescribeTopicPartitions {
    type Request = DescribeTopicPartitionsRequest;
    const ACL: Acl = Acl::DescribeTopic;
}

impl OnView for DescribeTopicPartitions {
    fn handle(
        cx: &ViewContext<'_>,
        request: DescribeTopicPartitionsRequest,
    ) -> Answer<DescribeTopicPartitionsResponse> {
        if request.cursor.as_ref().is_some_and(|cursor| !is_within(cursor, &request)) {
            return Answer::Reply(refused(&request));
        }
        let wanted = usize::try_from(request.response_partition_limit).unwrap_or(0);
        let mut page = Page { left: wanted.clamp(1, PARTITIONS_PER_PAGE_MAX), ..Page::default() };
        let (from_topic, from_index) = match &request.cursor {
            Some(cursor) => {
                (cursor.topic_name.as_str(), usize::try_from(cursor.partition_index).unwrap_or(0))
            }
            None => ("", 0),
        };
        for name in names(cx, &request).into_iter().filter(|name| name.as_str() >= from_topic) {
            let first = if name == from_topic { from_index } else { 0 };
            page.add(cx, &name, first);
            if page.next.is_some() {
                break;
            }
        }
        Answer::Reply(DescribeTopicPartitionsResponse {
            topics: page.topics,
            next_cursor: page.next,
            ..DescribeTopicPartitionsResponse::default()
        })
    }
}

/// False for a cursor that no page of this request could have ended with.
fn is_within(cursor: &Cursor, request: &DescribeTopicPartitionsRequest) -> bool {
    let named = request.topics.iter().any(|topic| topic.name == cursor.topic_name);
    cursor.partition_index >= 0 && (named || request.topics.is_empty())
}

fn refused(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest as i16,
        name: Some(topic.name.clone()),
        topic_authorized_operations: operations::NOT_ASKED,
        ..DescribeTopicPartitionsResponseTopic::default()
    });
    DescribeTopicPartitionsResponse { topics: topics.collect(), ..DescribeTopicPartitionsResponse::default() }
}

/// The names to describe, sorted: those of the request, or all.
fn names(cx: &ViewContext<'_>, request: &DescribeTopicPartitionsRequest) -> Vec<String> {
    if request.topics.is_empty() {
        let from = request.cursor.as_ref().map_or("", |cursor| cursor.topic_name.as_str());
        return cx.view.image.topics_from(from).map(|topic| topic.name.to_string()).collect();
    }
    let mut names: Vec<String> = request.topics.iter().map(|topic| topic.name.as_str().to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[derive(Default)]
struct Page {
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    left: usize,
    next: Option<Cursor>,
}

impl Page {
    fn add(&mut self, cx: &ViewContext<'_>, name: &str, first: usize) {
        if self.left == 0 {
            self.next = Some(cursor(name, first));
            return;
        }
        let Some(topic) = cx.view.image.topic(name) else {
            self.topics.push(unknown(name));
            return;
        };
        let end = topic.partitions.len().min(first + self.left);
        let partitions: Vec<_> = (first..end).filter_map(|index| partition(topic, index)).collect();
        self.left -= partitions.len();
        self.topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(name.into()),
            topic_id: topic.id.0,
            is_internal: topic.is_internal(),
            partitions,
            topic_authorized_operations: operations::ON_TOPIC,
            ..DescribeTopicPartitionsResponseTopic::default()
        });
        if end < topic.partitions.len() {
            self.next = Some(cursor(name, end));
        }
    }
}

fn cursor(name: &str, index: usize) -> Cursor {
    let partition_index = i32::try_from(index).unwrap_or(i32::MAX);
    Cursor { topic_name: name.into(), partition_index, ..Cursor::default() }
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let legal = check_topic_name(name).is_ok();
    let code = if legal { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopicException };
    DescribeTopicPartitionsResponseTopic {
        error_code: code as i16,
        name: Some(name.into()),
        topic_authorized_operations: operations::ON_TOPIC,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn partition(topic: &Topic, index: usize) -> Option<DescribeTopicPartitionsResponsePartition> {
    let state = topic.partitions.get(index)?;
    let code = if state.leader.is_some() { ErrorCode::None } else { ErrorCode::LeaderNotAvailable };
    Some(DescribeTopicPartitionsResponsePartition {
        error_code: code as i16,
        partition_index: i32::try_from(index).ok()?,
        leader_id: state.leader.map_or(-1, |id| id.0),
        leader_epoch: state.leader_epoch.0,
        replica_nodes: state.replicas.iter().map(|id| id.0).collect(),
        isr_nodes: state.isr.iter().map(|id| id.0).collect(),
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        ..DescribeTopicPartitionsResponsePartition::default()
    })
}
