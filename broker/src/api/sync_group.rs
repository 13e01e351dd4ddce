//! SyncGroup (14): get the assignment of a generation; the leader brings all of them. The answer waits until
//! they are there.

use super::{Acl, Api, GroupsContext, OnGroups, no_answer};
use crate::groups::Questions;
use crate::view::View;
use coordinator::group::api::{sync_command, sync_response};
use coordinator::group::{Command, Reply};
use wire::ErrorCode;
use wire::sync_group::{SyncGroupRequest, SyncGroupResponse};

pub(super) struct SyncGroup;

impl Api for SyncGroup {
    type Request = SyncGroupRequest;
    const ACL: Acl = Acl::ReadGroup;
}

impl OnGroups for SyncGroup {
    type Part = ();

    fn ask(
        _cx: &mut GroupsContext<'_>,
        request: SyncGroupRequest,
        questions: &mut Questions<()>,
    ) -> SyncGroupResponse {
        let command = sync_command(&request);
        let shard = questions.shard_of(&request.group_id);
        questions.ask(shard, (), |token| Command::Sync(token, command));
        SyncGroupResponse::default()
    }

    fn answered(
        _view: &View,
        response: &mut SyncGroupResponse,
        _part: (),
        outcome: Result<Reply, ErrorCode>,
    ) {
        *response = match outcome {
            Ok(Reply::Sync(result)) => sync_response(result),
            other => {
                SyncGroupResponse { error_code: no_answer(other).code(), ..SyncGroupResponse::default() }
            }
        };
    }
}
