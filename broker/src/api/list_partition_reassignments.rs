//! ListPartitionReassignments (46): replicas on the move (KIP-455).

use super::{Acl, Answer, Api, OnView, ViewContext};
use base::BrokerId;
use cluster::{PartitionState, Topic};
use std::sync::Arc;
use wire::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, OngoingPartitionReassignment,
    OngoingTopicReassignment,
};

pub(super) struct ListPartitionReassignments;

impl Api for ListPartitionReassignments {
    type Request = ListPartitionReassignmentsRequest;
    const ACL: Acl = Acl::DescribeCluster;
}

impl OnView for ListPartitionReassignments {
    fn handle(
        cx: &ViewContext<'_>,
        request: ListPartitionReassignmentsRequest,
    ) -> Answer<ListPartitionReassignmentsResponse> {
        let image = &cx.view.image;
        let topics = match request.topics {
            None => image.topics().filter_map(|topic| of_topic(topic, None)).collect(),
            // What is unknown does not move.
            Some(asked) => asked
                .iter()
                .filter_map(|asked| of_topic(image.topic(&asked.name)?, Some(&asked.partition_indexes)))
                .collect(),
        };
        Answer::Reply(ListPartitionReassignmentsResponse {
            topics,
            ..ListPartitionReassignmentsResponse::default()
        })
    }
}

fn of_topic(topic: &Arc<Topic>, only: Option<&Vec<i32>>) -> Option<OngoingTopicReassignment> {
    let wanted = |index: &i32| only.is_none_or(|only| only.contains(index));
    let all = (0..).zip(&topic.partitions).filter(|(index, state)| wanted(index) && state.is_moving());
    let partitions: Vec<_> = all.map(|(index, state)| of_partition(index, state)).collect();
    (!partitions.is_empty()).then(|| OngoingTopicReassignment {
        name: topic.name.as_ref().into(),
        partitions,
        ..OngoingTopicReassignment::default()
    })
}

fn of_partition(index: i32, state: &PartitionState) -> OngoingPartitionReassignment {
    let numbers = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
    OngoingPartitionReassignment {
        partition_index: index,
        replicas: numbers(&state.replicas),
        adding_replicas: numbers(&state.adding),
        removing_replicas: numbers(&state.removing),
        ..OngoingPartitionReassignment::default()
    }
}
