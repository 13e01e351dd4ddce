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
}

impl OnView for DescribeQuorum {
    fn handle(cx: &ViewContext<'_>, request: DescribeQuorumRequest) -> Answer<DescribeQuorumResponse> {
        let [topic] = request.topics.as_slice() else { return Answer::Reply(refused()) };
        let only_partition = topic.partitions.len() == 1 && topic.partitions[0].partition_index == 0;
        if topic.topic_name.as_str() != METADATA_TOPIC || !only_partition {
            return Answer::Reply(refused());
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

fn refused() -> DescribeQuorumResponse {
    let code = ErrorCode::UnknownTopicOrPartition;
    DescribeQuorumResponse {
        error_code: code as i16,
        error_message: Some(code.message().into()),
        ..DescribeQuorumResponse::default()
    }
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
