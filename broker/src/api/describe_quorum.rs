//! DescribeQuorum (55): the controllers and how far each has replicated the metadata log.
//!
//! Version notes: from version 2 on the voters' addresses and directory ids are told (KIP-853).

use super::{Acl, Answer, Api, OnView, ViewContext};
use wire::ErrorCode;
use wire::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState, TopicData,
};

pub(super) struct DescribeQuorum;

/// What Kafka calls the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";

impl Api for DescribeQuorum {
    type Request = DescribeQuorumRequest;
    const ACL: Acl = Acl::DescribeCluster;

    fn downgrade(version: i16, response: &mut DescribeQuorumResponse) {
        if version >= 2 {
            return;
        }
        response.nodes.clear();
        let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        for voter in partitions.flat_map(|partition| &mut partition.current_voters) {
            voter.replica_directory_id = base::Uuid::ZERO;
        }
    }
}

impl OnView for DescribeQuorum {
    fn handle(cx: &ViewContext<'_>, request: DescribeQuorumRequest) -> Answer<DescribeQuorumResponse> {
        if !is_of_metadata(&request) {
            return Answer::Reply(refused(request));
        }
        let topic = TopicData {
            topic_name: METADATA_TOPIC.into(),
            partitions: vec![partition(cx)],
            ..TopicData::default()
        };
        Answer::Reply(DescribeQuorumResponse {
            topics: vec![topic],
            nodes: nodes(cx),
            ..DescribeQuorumResponse::default()
        })
    }
}

/// There is one quorum: that of the metadata.
fn is_of_metadata(request: &DescribeQuorumRequest) -> bool {
    let [topic] = request.topics.as_slice() else { return false };
    let [partition] = topic.partitions.as_slice() else { return false };
    topic.topic_name.as_str() == METADATA_TOPIC && partition.partition_index == 0
}

fn refused(request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let code = ErrorCode::UnknownTopicOrPartition;
    let partition = |index| PartitionData {
        partition_index: index,
        error_code: code as i16,
        error_message: Some(code.message().into()),
        ..PartitionData::default()
    };
    let topics = request.topics.into_iter().map(|topic| TopicData {
        topic_name: topic.topic_name,
        partitions: topic.partitions.iter().map(|asked| partition(asked.partition_index)).collect(),
        ..TopicData::default()
    });
    DescribeQuorumResponse { topics: topics.collect(), ..DescribeQuorumResponse::default() }
}

fn partition(cx: &ViewContext<'_>) -> PartitionData {
    let node = &cx.view.node;
    // Kafka counts metadata offsets exclusively: the end is one past the last index.
    let end = i64::try_from(cx.view.image.index).unwrap_or(i64::MAX) + 1;
    let own = ReplicaState {
        replica_id: node.config.node_id.0,
        replica_directory_id: node.directory_id,
        log_end_offset: end,
        last_fetch_timestamp: cx.now.wall.0,
        last_caught_up_timestamp: cx.now.wall.0,
        ..ReplicaState::default()
    };
    PartitionData {
        leader_id: node.config.node_id.0,
        leader_epoch: i32::try_from(cx.view.image.term).unwrap_or(i32::MAX),
        high_watermark: end,
        current_voters: vec![own],
        ..PartitionData::default()
    }
}

fn nodes(cx: &ViewContext<'_>) -> Vec<Node> {
    let node = |endpoint: crate::view::BrokerEndpoint<'_>| {
        let listener = Listener {
            name: endpoint.listener.into(),
            host: endpoint.host.into(),
            port: endpoint.port,
            ..Listener::default()
        };
        Node { node_id: endpoint.id.0, listeners: vec![listener], ..Node::default() }
    };
    cx.view.brokers().map(node).collect()
}
