//! ListGroups, DescribeGroups, DeleteGroups, and the end of a shard.

use super::command::ListGroups;
use super::error::{DeleteError, JoinError, SyncError};
use super::hard::{Hard, HardGroup};
use super::ids::{GroupId, Label, MemberId, ProtocolName};
use super::live::{LiveGroup, Member, Waiting};
use super::record::Record;
use super::reply::{DescribedGroup, DescribedMember, GroupState, JoinRefused, ListedGroup, Reply};
use super::soft::Soft;
use super::turn::Outcome;
use alloc::vec::Vec;
use bytes::Bytes;

/// The state of a group that exists. What is not alive has no members.
pub(super) fn state_of(soft: &Soft, group: &GroupId) -> GroupState {
    soft.live(group).map_or(GroupState::Empty, LiveGroup::state)
}

pub(super) fn list(hard: &Hard, soft: &Soft, filter: &ListGroups) -> Vec<ListedGroup> {
    if !filter.types.is_empty() && !filter.types.iter().any(|name| is_called(name, "classic")) {
        return Vec::new();
    }
    let listed = hard.groups().map(|(id, group)| listed(soft, id, group));
    let states = &filter.states;
    listed
        .filter(|group| states.is_empty() || states.iter().any(|name| is_called(name, group.state.name())))
        .collect()
}

fn is_called(filter: &Label, name: &str) -> bool {
    filter.as_str().trim().eq_ignore_ascii_case(name)
}

fn listed(soft: &Soft, id: &GroupId, group: &HardGroup) -> ListedGroup {
    let protocol_type = match soft.live(id) {
        Some(live) => live.protocol_type.clone(),
        None => group.metadata.as_ref().and_then(|metadata| metadata.protocol_type.clone()),
    };
    ListedGroup { group: id.clone(), protocol_type, state: state_of(soft, id) }
}

pub(super) fn describe(hard: &Hard, soft: &Soft, ids: Vec<GroupId>) -> Vec<DescribedGroup> {
    ids.into_iter().map(|id| describe_one(hard, soft, id)).collect()
}

fn describe_one(hard: &Hard, soft: &Soft, id: GroupId) -> DescribedGroup {
    let Some(group) = hard.group(&id) else {
        let state = GroupState::Dead;
        return DescribedGroup { group: id, state, protocol_type: None, protocol: None, members: Vec::new() };
    };
    let ListedGroup { group: id, protocol_type, state } = listed(soft, &id, group);
    let live = soft.live(&id);
    // Before the group is stable its protocol is a plan.
    let protocol = live.filter(|_| state == GroupState::Stable).and_then(|live| live.protocol.clone());
    let members = live.map(|live| describe_members(live, protocol.as_ref())).unwrap_or_default();
    DescribedGroup { group: id, state, protocol_type, protocol, members }
}

fn describe_members(live: &LiveGroup, protocol: Option<&ProtocolName>) -> Vec<DescribedMember> {
    live.roster.iter().map(|(id, member)| describe_member(id, member, protocol)).collect()
}

fn describe_member(id: &MemberId, member: &Member, protocol: Option<&ProtocolName>) -> DescribedMember {
    DescribedMember {
        member: id.clone(),
        instance: member.instance.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        metadata: protocol.map_or(Bytes::new(), |_| member.metadata(protocol)),
        assignment: member.assignment.clone(),
    }
}

/// Each group goes with its offsets. The records may be appended in several batches: a group that lost a part
/// of its offsets is one that is being deleted.
pub(super) fn delete(
    hard: &Hard,
    soft: &mut Soft,
    ids: Vec<GroupId>,
    out: &mut Outcome,
) -> Vec<(GroupId, Result<(), DeleteError>)> {
    let mut results = Vec::<(GroupId, _)>::with_capacity(ids.len());
    for id in ids {
        let is_repeated = results.iter().any(|(done, result)| *done == id && matches!(result, Ok(())));
        let result =
            if is_repeated { Err(DeleteError::GroupIdNotFound) } else { delete_one(hard, soft, &id, out) };
        results.push((id, result));
    }
    results
}

fn delete_one(hard: &Hard, soft: &mut Soft, id: &GroupId, out: &mut Outcome) -> Result<(), DeleteError> {
    let group = hard.group(id).ok_or(DeleteError::GroupIdNotFound)?;
    if state_of(soft, id) != GroupState::Empty {
        return Err(DeleteError::NonEmptyGroup);
    }
    out.records.extend(group.offset_tombstones(id));
    out.record(Record::GroupMetadata { group: id.clone(), metadata: None });
    soft.forget(id);
    Ok(())
}

/// Everybody who waits is sent to the new coordinator.
pub(super) fn dismiss_all(live: &LiveGroup, out: &mut Outcome) {
    for (id, member) in live.roster.iter() {
        match member.waiting() {
            Waiting::Nothing => {}
            Waiting::Join { token, .. } => {
                let refused = JoinRefused { member: Some(id.clone()), error: JoinError::NotCoordinator };
                out.answer(token, Reply::Join(Err(refused)));
            }
            Waiting::Sync { token } => {
                out.answer(token, Reply::Sync(Err(SyncError::NotCoordinator)));
            }
        }
    }
}
