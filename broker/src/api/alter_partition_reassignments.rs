//! AlterPartitionReassignments (45): replicas are to move, or a move is to be taken back (KIP-455).
//!
//! Version notes: from version 1 on a move may be bound to leave the number of replicas as it is.

use super::{Acl, Answer, Api, OnController, ResponseOf, ViewContext, outcome};
use base::{BrokerId, PartitionIndex};
use cluster::controller::{Command, Move, Reply};
use wire::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartitionResponse,
    ReassignableTopic, ReassignableTopicResponse,
};

pub(super) struct AlterPartitionReassignments;

impl Api for AlterPartitionReassignments {
    type Request = AlterPartitionReassignmentsRequest;
    const ACL: Acl = Acl::AlterCluster;
}

impl OnController for AlterPartitionReassignments {
    fn ask(request: AlterPartitionReassignmentsRequest) -> Answer<ResponseOf<Self>> {
        Answer::Ask(Command::ReassignPartitions {
            moves: request.topics.iter().flat_map(moves).collect(),
            may_change_factor: request.allow_replication_factor_change,
        })
    }

    fn answer(
        _: &ViewContext<'_>,
        request: AlterPartitionReassignmentsRequest,
        reply: Reply,
    ) -> AlterPartitionReassignmentsResponse {
        let allow_replication_factor_change = request.allow_replication_factor_change;
        let Reply::Changed(outcomes) = reply else {
            return AlterPartitionReassignmentsResponse {
                allow_replication_factor_change,
                error_code: super::refusal_code(&reply) as i16,
                ..AlterPartitionReassignmentsResponse::default()
            };
        };
        let mut outcomes = outcomes.into_iter();
        let mut topic = |asked: ReassignableTopic| {
            let partition = |(partition, moved)| {
                let (error_code, error_message) = outcome(&moved);
                let partition: wire::alter_partition_reassignments::ReassignablePartition = partition;
                ReassignablePartitionResponse {
                    partition_index: partition.partition_index,
                    error_code,
                    error_message,
                    ..ReassignablePartitionResponse::default()
                }
            };
            let partitions = asked.partitions.into_iter().zip(outcomes.by_ref()).map(partition).collect();
            ReassignableTopicResponse { name: asked.name, partitions, ..ReassignableTopicResponse::default() }
        };
        let responses = request.topics.into_iter().map(&mut topic).collect();
        AlterPartitionReassignmentsResponse {
            allow_replication_factor_change,
            responses,
            ..AlterPartitionReassignmentsResponse::default()
        }
    }
}

fn moves(topic: &ReassignableTopic) -> impl Iterator<Item = Move> + '_ {
    topic.partitions.iter().map(|partition| Move {
        topic: topic.name.as_str().to_owned(),
        index: PartitionIndex(partition.partition_index),
        to: partition.replicas.as_ref().map(|ids| ids.iter().copied().map(BrokerId).collect()),
    })
}
