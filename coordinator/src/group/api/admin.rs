//! ListGroups, DescribeGroups, DeleteGroups.

use super::{code_of, group_ids, labels, opt_str, str_of, str_or_empty};
use crate::group::command::ListGroups;
use crate::group::error::DeleteError;
use crate::group::ids::GroupId;
use crate::group::reply::{self, DescribedMember, GroupState};
use alloc::format;
use alloc::vec::Vec;
use wire::delete_groups::{DeletableGroupResult, DeleteGroupsRequest};
use wire::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use wire::list_groups::{ListGroupsRequest, ListedGroup};
use wire::{ErrorCode, Str};

/// A ListGroups request, which goes to every shard.
#[must_use]
pub fn list_command(request: &ListGroupsRequest) -> ListGroups {
    ListGroups { states: labels(&request.states_filter), types: labels(&request.types_filter) }
}

/// One shard's part of the answer to a ListGroups request.
#[must_use]
pub fn listed_groups(groups: Vec<reply::ListedGroup>) -> Vec<ListedGroup> {
    let listed = groups.into_iter().map(|listed| ListedGroup {
        group_id: str_of(&listed.group),
        protocol_type: str_or_empty(listed.protocol_type.as_ref()),
        group_state: Str::from_static(listed.state.name()),
        group_type: Str::from_static("classic"),
        ..ListedGroup::default()
    });
    listed.collect()
}

/// The groups that a DescribeGroups request asks about, which may belong to several shards.
#[must_use]
pub fn describe_command(request: &DescribeGroupsRequest) -> Vec<GroupId> {
    group_ids(&request.groups)
}

/// One shard's part of the answer to a DescribeGroups request. The broker adds the authorized operations.
#[must_use]
pub fn described_groups(groups: Vec<reply::DescribedGroup>) -> Vec<DescribedGroup> {
    groups.into_iter().map(described_group).collect()
}

fn described_group(group: reply::DescribedGroup) -> DescribedGroup {
    let is_dead = group.state == GroupState::Dead;
    DescribedGroup {
        error_code: code_of(is_dead.then_some(ErrorCode::GroupIdNotFound)),
        error_message: is_dead.then(|| format!("Group {} not found.", group.group).into()),
        group_id: str_of(&group.group),
        group_state: Str::from_static(group.state.name()),
        protocol_type: str_or_empty(group.protocol_type.as_ref()),
        protocol_data: str_or_empty(group.protocol.as_ref()),
        members: group.members.into_iter().map(described_member).collect(),
        ..DescribedGroup::default()
    }
}

fn described_member(member: DescribedMember) -> DescribedGroupMember {
    DescribedGroupMember {
        member_id: str_of(&member.member),
        group_instance_id: opt_str(member.instance.as_ref()),
        client_id: str_of(&member.client_id),
        client_host: str_of(&member.client_host),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
        ..DescribedGroupMember::default()
    }
}

/// For versions up to 5: a group that does not exist is dead, which is no error.
pub fn downgrade_describe(response: &mut DescribeGroupsResponse) {
    for group in &mut response.groups {
        if group.error_code == ErrorCode::GroupIdNotFound.code() {
            group.error_code = ErrorCode::None.code();
            group.error_message = None;
        }
    }
}

/// The groups that a DeleteGroups request names, which may belong to several shards.
#[must_use]
pub fn delete_command(request: &DeleteGroupsRequest) -> Vec<GroupId> {
    group_ids(&request.groups_names)
}

/// One shard's part of the answer to a DeleteGroups request.
#[must_use]
pub fn deleted_groups(results: Vec<(GroupId, Result<(), DeleteError>)>) -> Vec<DeletableGroupResult> {
    let results = results.into_iter().map(|(group, result)| DeletableGroupResult {
        group_id: str_of(&group),
        error_code: code_of(result.err()),
        ..DeletableGroupResult::default()
    });
    results.collect()
}
