//! LeaveGroup (13): members leave their group, or an operator removes them.
//!
//! Version notes: up to version 2 one member leaves, and what became of it is what became of the request.

use super::{Acl, Api, GroupsContext, OnGroups, no_answer};
use crate::groups::Questions;
use crate::view::View;
use coordinator::group::api::{downgrade_leave, leave_command, leave_response, upgrade_leave};
use coordinator::group::{Command, Reply};
use wire::ErrorCode;
use wire::leave_group::{LeaveGroupRequest, LeaveGroupResponse};

pub(super) struct LeaveGroup;

impl Api for LeaveGroup {
    type Request = LeaveGroupRequest;
    const ACL: Acl = Acl::ReadGroup;

    fn upgrade(version: i16, request: &mut LeaveGroupRequest) {
        if version < 3 {
            upgrade_leave(request);
        }
    }

    fn downgrade(version: i16, response: &mut LeaveGroupResponse) {
        if version < 3 {
            downgrade_leave(response);
        }
    }
}

impl OnGroups for LeaveGroup {
    type Part = ();

    fn ask(
        _cx: &mut GroupsContext<'_>,
        request: LeaveGroupRequest,
        questions: &mut Questions<()>,
    ) -> LeaveGroupResponse {
        let command = leave_command(&request);
        let shard = questions.shard_of(&request.group_id);
        questions.ask(shard, (), |token| Command::Leave(token, command));
        LeaveGroupResponse::default()
    }

    fn answered(
        _view: &View,
        response: &mut LeaveGroupResponse,
        _part: (),
        outcome: Result<Reply, ErrorCode>,
    ) {
        *response = match outcome {
            Ok(Reply::Leave(result)) => leave_response(result),
            other => {
                LeaveGroupResponse { error_code: no_answer(other).code(), ..LeaveGroupResponse::default() }
            }
        };
    }
}
