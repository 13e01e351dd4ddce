//! Consumer groups, seen from outside.

use super::retry::Failed;
use super::{Admin, AdminError};
use crate::core::error::code_of;
use crate::core::{Address, Target};
use base::EndOffset;
use bytes::Bytes;
use wire::consumer_protocol::ConsumerProtocolAssignment;
use wire::delete_groups::DeleteGroupsRequest;
use wire::describe_groups::{DescribeGroupsRequest, DescribedGroupMember};
use wire::find_coordinator::FindCoordinatorRequest;
use wire::list_groups::ListGroupsRequest;
use wire::offset_fetch::OffsetFetchRequest;
use wire::{ErrorCode, Message as _};

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupListing {
    /// Its id.
    pub id: String,
    /// What its members are: `consumer`, `connect` …
    pub protocol_type: String,
    /// Its state, if the broker says (Kafka 2.6 and later).
    pub state: String,
}

/// A group in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub id: String,
    /// `Stable`, `Empty`, `PreparingRebalance` …
    pub state: String,
    /// What its members are.
    pub protocol_type: String,
    /// The assignor that was agreed on.
    pub protocol: String,
    /// The coordinator.
    pub coordinator: i32,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The coordinator's name for it.
    pub id: String,
    /// Its own name, for static members (KIP-345).
    pub instance_id: Option<String>,
    /// The client's `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// Its partitions; empty where the assignment is not a consumer's.
    pub partitions: Vec<(String, i32)>,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Where the group goes on.
    pub offset: EndOffset,
    /// What was committed beside it.
    pub metadata: String,
}

impl Admin {
    /// All groups of all brokers, in order of id.
    ///
    /// # Errors
    /// When a broker does not answer.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, AdminError> {
        let mut all = Vec::new();
        for broker in self.brokers().await? {
            let request = ListGroupsRequest::default();
            let target = Target::Broker(broker);
            let response = self.call_until(target, 0..=5, request, |r| code_of(r.error_code)).await?;
            AdminError::check(response.error_code, "groups", None)?;
            all.extend(response.groups.iter().map(|group| GroupListing {
                id: group.group_id.to_string(),
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
            }));
        }
        all.sort();
        Ok(all)
    }

    /// A group and its members.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`; brokers before 4.0 describe a group that does not exist as `Dead` instead.
    pub async fn describe_group(&self, id: &str) -> Result<GroupDescription, AdminError> {
        let request = DescribeGroupsRequest { groups: vec![id.into()], ..DescribeGroupsRequest::default() };
        let attempt = async || {
            let coordinator = self.coordinator(id).await?;
            let response = self.call(Target::Broker(coordinator), 0..=6, request.clone()).await?;
            let group = response.groups.into_iter().next().ok_or_else(|| AdminError::silent(id))?;
            AdminError::check(group.error_code, id, group.error_message.as_ref())
                .map_err(Failed::answered)?;
            Ok((coordinator, group))
        };
        let (coordinator, group) = self.repeat(attempt).await?;
        if group.group_state == "Dead" {
            let code = ErrorCode::GroupIdNotFound;
            return Err(AdminError::Refused { code, subject: id.to_owned(), message: None });
        }
        Ok(GroupDescription {
            id: id.to_owned(),
            state: group.group_state.to_string(),
            protocol_type: group.protocol_type.to_string(),
            protocol: group.protocol_data.to_string(),
            coordinator,
            members: group.members.iter().map(member).collect(),
        })
    }

    /// Deletes a group without members, and its offsets.
    ///
    /// # Errors
    /// `NON_EMPTY_GROUP`, `GROUP_ID_NOT_FOUND`.
    pub async fn delete_group(&self, id: &str) -> Result<(), AdminError> {
        let request = DeleteGroupsRequest { groups_names: vec![id.into()], ..DeleteGroupsRequest::default() };
        let attempt = async || {
            let coordinator = self.coordinator(id).await?;
            // Whether a lost request was carried out is for the caller to find out.
            let answer = self.call(Target::Broker(coordinator), 0..=3, request.clone()).await;
            let response = answer.map_err(|error| Failed::ForGood(AdminError::Call(error)))?;
            let result = response.results.first().ok_or_else(|| AdminError::silent(id))?;
            AdminError::check(result.error_code, id, result.error_message.as_ref()).map_err(Failed::answered)
        };
        self.repeat(attempt).await
    }

    /// The offsets that a group has committed, in order of partition.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub async fn group_offsets(&self, id: &str) -> Result<Vec<GroupOffset>, AdminError> {
        let request =
            OffsetFetchRequest { group_id: id.into(), topics: None, ..OffsetFetchRequest::default() };
        let attempt = async || {
            let coordinator = self.coordinator(id).await?;
            let response = self.call(Target::Broker(coordinator), 2..=7, request.clone()).await?;
            AdminError::check(response.error_code, id, None).map_err(Failed::answered)?;
            Ok(response)
        };
        let response = self.repeat(attempt).await?;
        let mut all = Vec::new();
        for topic in &response.topics {
            for partition in &topic.partitions {
                let subject = format!("{}-{}", topic.name, partition.partition_index);
                AdminError::check(partition.error_code, &subject, None)?;
                if partition.committed_offset >= 0 {
                    all.push(GroupOffset {
                        topic: topic.name.to_string(),
                        partition: partition.partition_index,
                        offset: EndOffset(partition.committed_offset),
                        metadata: partition.metadata.as_ref().map(ToString::to_string).unwrap_or_default(),
                    });
                }
            }
        }
        all.sort();
        Ok(all)
    }

    /// The coordinator of a group; afterwards the client can call it.
    async fn coordinator(&self, group: &str) -> Result<i32, AdminError> {
        self.wait_for_metadata().await?;
        let request = FindCoordinatorRequest { key: group.into(), ..FindCoordinatorRequest::default() };
        let response = self.call_until(Target::Any, 1..=3, request, |r| code_of(r.error_code)).await?;
        AdminError::check(response.error_code, group, response.error_message.as_ref())?;
        if let Ok(port) = u16::try_from(response.port) {
            let address = Address { host: response.host.to_string(), port };
            self.driver.act(|core, _, _| core.learn_broker(response.node_id, address));
        }
        Ok(response.node_id)
    }
}

fn member(member: &DescribedGroupMember) -> GroupMember {
    GroupMember {
        id: member.member_id.to_string(),
        instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        partitions: assigned(&member.member_assignment).unwrap_or_default(),
    }
}

/// The partitions of an assignment: two bytes of version, then what that version says.
fn assigned(bytes: &Bytes) -> Option<Vec<(String, i32)>> {
    let version = i16::from_be_bytes(*bytes.first_chunk()?).min(3);
    let assignment = ConsumerProtocolAssignment::from_bytes(bytes.slice(2..), version).ok()?;
    let partitions = assignment
        .assigned_partitions
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic.to_string(), *partition)));
    Some(partitions.collect())
}
