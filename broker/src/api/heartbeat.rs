//! Heartbeat (12): a member of a group is alive, and hears whether it has to join again.

use super::{Acl, Api, GroupsContext, OnGroups, no_answer};
use crate::groups::Questions;
use crate::view::View;
use coordinator::group::api::{heartbeat_command, heartbeat_response};
use coordinator::group::{Command, Reply};
use wire::ErrorCode;
use wire::heartbeat::{HeartbeatRequest, HeartbeatResponse};

pub(super) struct Heartbeat;

impl Api for Heartbeat {
    type Request = HeartbeatRequest;
    const ACL: Acl = Acl::ReadGroup;
}

impl OnGroups for Heartbeat {
    type Part = ();

    fn ask(
        _cx: &mut GroupsContext<'_>,
        request: HeartbeatRequest,
        questions: &mut Questions<()>,
    ) -> HeartbeatResponse {
        let command = heartbeat_command(&request);
        let shard = questions.shard_of(&request.group_id);
        questions.ask(shard, (), |token| Command::Heartbeat(token, command));
        HeartbeatResponse::default()
    }

    fn answered(
        _view: &View,
        response: &mut HeartbeatResponse,
        _part: (),
        outcome: Result<Reply, ErrorCode>,
    ) {
        *response = match outcome {
            Ok(Reply::Heartbeat(result)) => heartbeat_response(result),
            // A shard that is being loaded knows its members soon: Kafka does not alarm them.
            Err(ErrorCode::CoordinatorLoadInProgress) => HeartbeatResponse::default(),
            other => {
                HeartbeatResponse { error_code: no_answer(other).code(), ..HeartbeatResponse::default() }
            }
        };
    }
}
