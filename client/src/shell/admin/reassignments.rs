//! Replicas that move from broker to broker (KIP-455).

use super::{Admin, AdminError};
use crate::core::Target;
use crate::core::error::code_of;
use wire::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use wire::list_partition_reassignments::ListPartitionReassignmentsRequest;

/// Where a partition's replicas are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassignment {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Its new replicas, the preferred leader first; `None` takes back a move that is under way.
    pub replicas: Option<Vec<i32>>,
}

/// A partition whose replicas move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OngoingReassignment {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Replicas that are on their way in.
    pub adding: Vec<i32>,
    /// Replicas that go once the others have come.
    pub removing: Vec<i32>,
}

impl Admin {
    /// Begins moves, or takes them back.
    ///
    /// # Errors
    /// The first that is refused; the others were begun.
    pub async fn reassign(&self, moves: &[Reassignment]) -> Result<(), AdminError> {
        let mut topics: Vec<ReassignableTopic> = Vec::new();
        for Reassignment { topic, partition, replicas } in moves {
            let partition = ReassignablePartition {
                partition_index: *partition,
                replicas: replicas.clone(),
                ..ReassignablePartition::default()
            };
            match topics.iter_mut().find(|known| known.name.as_str() == topic) {
                Some(known) => known.partitions.push(partition),
                None => topics.push(ReassignableTopic {
                    name: topic.as_str().into(),
                    partitions: vec![partition],
                    ..ReassignableTopic::default()
                }),
            }
        }
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms(),
            topics,
            ..AlterPartitionReassignmentsRequest::default()
        };
        let verdict = |r: &wire::alter_partition_reassignments::AlterPartitionReassignmentsResponse| {
            code_of(r.error_code)
        };
        let response = self.call_until(Target::Controller, 0..=0, request, verdict).await?;
        AdminError::check(response.error_code, "moves", response.error_message.as_ref())?;
        for topic in &response.responses {
            for partition in &topic.partitions {
                let subject = format!("{}-{}", topic.name, partition.partition_index);
                AdminError::check(partition.error_code, &subject, partition.error_message.as_ref())?;
            }
        }
        Ok(())
    }

    /// All partitions whose replicas move.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn list_reassignments(&self) -> Result<Vec<OngoingReassignment>, AdminError> {
        let request = ListPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms(),
            topics: None,
            ..ListPartitionReassignmentsRequest::default()
        };
        let verdict = |r: &wire::list_partition_reassignments::ListPartitionReassignmentsResponse| {
            code_of(r.error_code)
        };
        let response = self.call_until(Target::Controller, 0..=0, request, verdict).await?;
        AdminError::check(response.error_code, "moves", response.error_message.as_ref())?;
        let of_topic = |topic: &wire::list_partition_reassignments::OngoingTopicReassignment| {
            let name = topic.name.to_string();
            let one = move |partition: &wire::list_partition_reassignments::OngoingPartitionReassignment| {
                OngoingReassignment {
                    topic: name.clone(),
                    partition: partition.partition_index,
                    adding: partition.adding_replicas.clone(),
                    removing: partition.removing_replicas.clone(),
                }
            };
            topic.partitions.iter().map(one).collect::<Vec<_>>()
        };
        Ok(response.topics.iter().flat_map(of_topic).collect())
    }
}
