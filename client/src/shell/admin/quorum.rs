//! The controllers: who leads them, and how far each has the metadata log.

use super::{Admin, AdminError};
use crate::core::Target;
use crate::core::error::code_of;
use base::Uuid;
use wire::ErrorCode;
use wire::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, PartitionData, ReplicaState, RequestPartitionData,
    RequestTopicData,
};

/// What Kafka calls the metadata log; it has one partition.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// The controllers as their leader sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumDescription {
    /// Who leads: the active controller.
    pub leader: Option<i32>,
    /// Rises with each election.
    pub epoch: i32,
    /// The end of what is committed.
    pub high_watermark: i64,
    /// Who votes, in order of id.
    pub voters: Vec<QuorumMember>,
    /// Who follows without a vote, in order of id.
    pub observers: Vec<QuorumMember>,
}

/// A node that has the metadata log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumMember {
    /// Its `node.id`.
    pub id: i32,
    /// Its directory; zero from clusters that do not say.
    pub directory: Uuid,
    /// The end of what it has of the log; `None` if the leader does not know.
    pub log_end: Option<i64>,
    /// When it was last seen to have all, in milliseconds since 1970; `None` if that is not known.
    pub caught_up_ms: Option<i64>,
}

impl QuorumDescription {
    /// How many records a member lacks; `None` if that is not known.
    #[must_use]
    pub fn lag(&self, member: &QuorumMember) -> Option<i64> {
        let of_leader = self.voters.iter().find(|voter| Some(voter.id) == self.leader)?.log_end?;
        Some((of_leader - member.log_end?).max(0))
    }
}

impl Admin {
    /// The controllers.
    ///
    /// # Errors
    /// When none answers, or the cluster has no quorum of its own (Kafka with ZooKeeper).
    pub async fn describe_quorum(&self) -> Result<QuorumDescription, AdminError> {
        let partition = RequestPartitionData { partition_index: 0, ..RequestPartitionData::default() };
        let topic = RequestTopicData {
            topic_name: METADATA_TOPIC.into(),
            partitions: vec![partition],
            ..RequestTopicData::default()
        };
        let request = DescribeQuorumRequest { topics: vec![topic], ..DescribeQuorumRequest::default() };
        let response = self.call_until(Target::Any, 0..=2, request, verdict).await?;
        AdminError::check(response.error_code, "quorum", response.error_message.as_ref())?;
        let partition = of_metadata(&response).ok_or_else(|| AdminError::silent("quorum"))?;
        AdminError::check(partition.error_code, "quorum", partition.error_message.as_ref())?;
        Ok(QuorumDescription {
            leader: Some(partition.leader_id).filter(|id| *id >= 0),
            epoch: partition.leader_epoch,
            high_watermark: partition.high_watermark,
            voters: members(&partition.current_voters),
            observers: members(&partition.observers),
        })
    }
}

fn of_metadata(response: &DescribeQuorumResponse) -> Option<&PartitionData> {
    response.topics.first()?.partitions.first()
}

fn verdict(response: &DescribeQuorumResponse) -> ErrorCode {
    let of_partition = of_metadata(response).map_or(0, |partition| partition.error_code);
    code_of(if response.error_code == 0 { of_partition } else { response.error_code })
}

fn members(states: &[ReplicaState]) -> Vec<QuorumMember> {
    let known = |number: i64| Some(number).filter(|number| *number >= 0);
    let member = |state: &ReplicaState| QuorumMember {
        id: state.replica_id,
        directory: state.replica_directory_id,
        log_end: known(state.log_end_offset),
        caught_up_ms: known(state.last_caught_up_timestamp),
    };
    let mut members: Vec<_> = states.iter().map(member).collect();
    members.sort_by_key(|member| member.id);
    members
}
