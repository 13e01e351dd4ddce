//! DescribeProducers (61): the idempotent producers that a partition remembers.

use super::{Acl, Answer, Api, OnView, ViewContext};
use base::LeaderEpoch;
use wire::ErrorCode;
use wire::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};

pub(super) struct DescribeProducers;

impl Api for DescribeProducers {
    type Request = DescribeProducersRequest;
    const ACL: Acl = Acl::ReadTopic;
}

impl OnView for DescribeProducers {
    fn handle(cx: &ViewContext<'_>, request: DescribeProducersRequest) -> Answer<DescribeProducersResponse> {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions =
                topic.partition_indexes.iter().map(|index| partition(cx, &topic.name, *index)).collect();
            TopicResponse { name: topic.name, partitions, ..TopicResponse::default() }
        });
        Answer::Reply(DescribeProducersResponse {
            topics: topics.collect(),
            ..DescribeProducersResponse::default()
        })
    }
}

fn partition(cx: &ViewContext<'_>, topic: &str, index: i32) -> PartitionResponse {
    let blank = PartitionResponse { partition_index: index, ..PartitionResponse::default() };
    let led = super::find_replica(cx.view, topic, index).and_then(|replica| {
        replica.check_epoch(LeaderEpoch::UNKNOWN).map(|()| replica).map_err(|error| error.code)
    });
    match led {
        Ok(replica) => PartitionResponse { active_producers: replica.producers(producer), ..blank },
        Err(code) => {
            let code = if code == ErrorCode::UnknownTopicOrPartition {
                code
            } else {
                ErrorCode::NotLeaderOrFollower
            };
            PartitionResponse { error_code: code as i16, error_message: Some(code.message().into()), ..blank }
        }
    }
}

fn producer(known: &crate::replica::KnownProducer) -> ProducerState {
    ProducerState {
        producer_id: known.id.0,
        producer_epoch: i32::from(known.epoch.0),
        last_sequence: known.last_sequence,
        last_timestamp: known.last_timestamp.0,
        coordinator_epoch: -1,
        current_txn_start_offset: -1,
        ..ProducerState::default()
    }
}
