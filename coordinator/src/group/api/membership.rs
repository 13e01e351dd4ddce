//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

use super::{Peer, code_of, copied, opt_str, str_of, str_or_empty};
use crate::group::command::{Heartbeat, JoinGroup, LeaveGroup, Leaver, Protocol, SyncGroup};
use crate::group::error::{HeartbeatError, LeaveError, SyncError};
use crate::group::ids::{Generation, GroupId, InstanceId, Label, MemberId, ProtocolName, ProtocolType};
use crate::group::reply::{JoinRefused, Joined, JoinedMember, Left, Synced};
use alloc::vec;
use alloc::vec::Vec;
use base::Span;
use wire::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use wire::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use wire::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse};
use wire::sync_group::{SyncGroupRequest, SyncGroupResponse};
use wire::{ErrorCode, Str};

/// What the version of a JoinGroup request says about the client.
#[derive(Clone, Copy, Debug)]
pub struct JoinAbilities {
    /// From version 4: a new dynamic member is given an id and asks again.
    pub is_id_required: bool,
    /// From version 9: a static leader that comes back may be told to keep its assignment.
    pub can_skip_assignment: bool,
}

/// A JoinGroup request. `random` is sixteen bytes that were never used before.
#[must_use]
pub fn join_command(
    request: &JoinGroupRequest,
    peer: Peer<'_>,
    abilities: JoinAbilities,
    random: [u8; 16],
) -> JoinGroup {
    // Version 0 knows one timeout for both; later ones never mean a negative one.
    let rebalance = request.rebalance_timeout_ms;
    let rebalance = if rebalance < 0 { request.session_timeout_ms } else { rebalance };
    JoinGroup {
        group: GroupId::from(request.group_id.as_str()),
        member: MemberId::from_wire(&request.member_id),
        instance: request.group_instance_id.as_deref().map(InstanceId::from),
        client_id: Label::from(peer.client_id),
        client_host: Label::from(peer.client_host),
        session_timeout: Span::from_wire_millis(request.session_timeout_ms.into()),
        rebalance_timeout: Span::from_wire_millis(rebalance.into()),
        protocol_type: ProtocolType::from(request.protocol_type.as_str()),
        protocols: request.protocols.iter().map(protocol).collect(),
        reason: reason(request.reason.as_deref()),
        random,
        is_id_required: abilities.is_id_required,
        can_skip_assignment: abilities.can_skip_assignment,
    }
}

/// Clients cut their reasons to 255 characters; a larger one is cut to so many bytes.
fn reason(text: Option<&str>) -> Option<Label> {
    text.map(|text| Label::from(&text[..text.floor_char_boundary(255)]))
}

fn protocol(offer: &JoinGroupRequestProtocol) -> Protocol {
    Protocol { name: ProtocolName::from(offer.name.as_str()), metadata: copied(&offer.metadata) }
}

/// The answer to a JoinGroup request.
#[must_use]
pub fn join_response(result: Result<Joined, JoinRefused>) -> JoinGroupResponse {
    match result {
        Ok(joined) => JoinGroupResponse {
            generation_id: joined.generation.0,
            protocol_type: opt_str(joined.protocol_type.as_ref()),
            protocol_name: opt_str(joined.protocol.as_ref()),
            leader: str_or_empty(joined.leader.as_ref()),
            skip_assignment: joined.skip_assignment,
            member_id: str_of(&joined.member),
            members: joined.members.iter().map(joined_member).collect(),
            ..JoinGroupResponse::default()
        },
        Err(JoinRefused { member, error }) => JoinGroupResponse {
            error_code: code_of(Some(error)),
            protocol_name: None,
            member_id: str_or_empty(member.as_ref()),
            ..JoinGroupResponse::default()
        },
    }
}

fn joined_member(member: &JoinedMember) -> JoinGroupResponseMember {
    JoinGroupResponseMember {
        member_id: str_of(&member.member),
        group_instance_id: opt_str(member.instance.as_ref()),
        metadata: member.metadata.clone(),
        ..JoinGroupResponseMember::default()
    }
}

/// For versions up to 6: they cannot say that there is no protocol.
pub fn downgrade_join(response: &mut JoinGroupResponse) {
    response.protocol_name.get_or_insert(Str::EMPTY);
}

/// A SyncGroup request.
#[must_use]
pub fn sync_command(request: &SyncGroupRequest) -> SyncGroup {
    let assignments = request.assignments.iter();
    SyncGroup {
        group: GroupId::from(request.group_id.as_str()),
        member: MemberId::from(request.member_id.as_str()),
        instance: request.group_instance_id.as_deref().map(InstanceId::from),
        generation: Generation(request.generation_id),
        protocol_type: request.protocol_type.as_deref().map(ProtocolType::from),
        protocol: request.protocol_name.as_deref().map(ProtocolName::from),
        assignments: assignments
            .map(|entry| (MemberId::from(entry.member_id.as_str()), copied(&entry.assignment)))
            .collect(),
    }
}

/// The answer to a SyncGroup request.
#[must_use]
pub fn sync_response(result: Result<Synced, SyncError>) -> SyncGroupResponse {
    match result {
        Ok(synced) => SyncGroupResponse {
            protocol_type: opt_str(synced.protocol_type.as_ref()),
            protocol_name: opt_str(synced.protocol.as_ref()),
            assignment: synced.assignment,
            ..SyncGroupResponse::default()
        },
        Err(error) => SyncGroupResponse { error_code: code_of(Some(error)), ..SyncGroupResponse::default() },
    }
}

/// A Heartbeat request.
#[must_use]
pub fn heartbeat_command(request: &HeartbeatRequest) -> Heartbeat {
    Heartbeat {
        group: GroupId::from(request.group_id.as_str()),
        member: MemberId::from(request.member_id.as_str()),
        instance: request.group_instance_id.as_deref().map(InstanceId::from),
        generation: Generation(request.generation_id),
    }
}

/// The answer to a Heartbeat request.
#[must_use]
pub fn heartbeat_response(result: Result<(), HeartbeatError>) -> HeartbeatResponse {
    HeartbeatResponse { error_code: code_of(result.err()), ..HeartbeatResponse::default() }
}

/// For versions up to 2, where one member leaves and is not in the list.
pub fn upgrade_leave(request: &mut LeaveGroupRequest) {
    let member_id = core::mem::take(&mut request.member_id);
    request.members = vec![MemberIdentity { member_id, ..MemberIdentity::default() }];
}

/// A LeaveGroup request.
#[must_use]
pub fn leave_command(request: &LeaveGroupRequest) -> LeaveGroup {
    let members = request.members.iter().map(|member| Leaver {
        member: MemberId::from_wire(&member.member_id),
        instance: member.group_instance_id.as_deref().map(InstanceId::from),
        reason: reason(member.reason.as_deref()),
    });
    LeaveGroup { group: GroupId::from(request.group_id.as_str()), members: members.collect() }
}

/// The answer to a LeaveGroup request.
#[must_use]
pub fn leave_response(result: Result<Vec<Left>, LeaveError>) -> LeaveGroupResponse {
    let error_code = code_of(result.as_ref().err().copied());
    let members = result.unwrap_or_default().into_iter().map(|left| MemberResponse {
        member_id: str_or_empty(left.member.as_ref()),
        group_instance_id: opt_str(left.instance.as_ref()),
        error_code: code_of(left.error),
        ..MemberResponse::default()
    });
    LeaveGroupResponse { error_code, members: members.collect(), ..LeaveGroupResponse::default() }
}

/// For versions up to 2: what became of the one member is what became of the request.
pub fn downgrade_leave(response: &mut LeaveGroupResponse) {
    let members = core::mem::take(&mut response.members);
    if response.error_code == ErrorCode::None.code() {
        response.error_code = members.first().map_or(0, |member| member.error_code);
    }
}
