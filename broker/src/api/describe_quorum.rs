//! DescribeQuorum (55): the controllers and how far each has replicated the metadata log.
//!
//! Version notes: from version 2 on the voters' addresses and directory ids are told (KIP-853).

use super::{Acl, Api, Malformed};
use crate::effects::{Asked, Effects};
use crate::metadata::METADATA_TOPIC;
use crate::metadata::{MemberReport, Metadata};
use base::Now;
use wire::ErrorCode;
use wire::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState, TopicData,
};

pub(super) struct DescribeQuorum;

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

pub(super) fn handle(
    metadata: &mut Metadata,
    asked: Asked,
    now: Now,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let request = super::decode::<DescribeQuorum>(&asked)?;
    if !is_of_metadata(&request) {
        let reply = super::encode::<DescribeQuorum>(&asked, refused(request));
        metadata.reply(&asked, reply, fx);
        return Ok(());
    }
    // Only who leads knows how far the others are.
    if !metadata.is_controller() {
        metadata.pass_on(now, asked, fx);
        return Ok(());
    }
    let topic = TopicData {
        topic_name: METADATA_TOPIC.into(),
        partitions: vec![partition(metadata, now)],
        ..TopicData::default()
    };
    let nodes = nodes(metadata);
    let response = DescribeQuorumResponse { topics: vec![topic], nodes, ..DescribeQuorumResponse::default() };
    let reply = super::encode::<DescribeQuorum>(&asked, response);
    metadata.reply(&asked, reply, fx);
    Ok(())
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

fn partition(metadata: &Metadata, now: Now) -> PartitionData {
    let (term, committed, members) = metadata.report();
    // Kafka counts metadata offsets exclusively: the end is one past the last index.
    let end = |index: u64| i64::try_from(index).unwrap_or(i64::MAX) + 1;
    let own = metadata.view().node.config.node_id;
    let state = |member: &MemberReport| {
        let heard = if member.is_active || member.node == own { now.wall.0 } else { -1 };
        ReplicaState {
            replica_id: member.node.0,
            replica_directory_id: member.directory,
            log_end_offset: end(if member.node == own { committed } else { member.matched }),
            last_fetch_timestamp: heard,
            last_caught_up_timestamp: if member.node == own || member.matched >= committed {
                heard
            } else {
                -1
            },
            ..ReplicaState::default()
        }
    };
    let of = |votes: bool| members.iter().filter(move |member| member.votes == votes).map(state).collect();
    PartitionData {
        leader_id: own.0,
        leader_epoch: i32::try_from(term).unwrap_or(i32::MAX),
        high_watermark: end(committed),
        current_voters: of(true),
        observers: of(false),
        ..PartitionData::default()
    }
}

fn nodes(metadata: &Metadata) -> Vec<Node> {
    let node = |broker: &std::sync::Arc<cluster::Registration>| {
        let endpoint = broker.peer_endpoint()?;
        let listener = Listener {
            name: endpoint.listener.as_str().into(),
            host: endpoint.host.as_str().into(),
            port: endpoint.port,
            ..Listener::default()
        };
        Some(Node { node_id: broker.id.0, listeners: vec![listener], ..Node::default() })
    };
    metadata.view().image.brokers().filter_map(node).collect()
}
