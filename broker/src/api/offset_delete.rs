//! OffsetDelete (47): forget committed offsets of topics that the group does not read.

use super::{Acl, Api, GroupsContext, OnGroups, admit_known, no_answer};
use crate::groups::Questions;
use crate::view::View;
use base::Uuid;
use coordinator::group::api::{delete_offsets_command, delete_offsets_response};
use coordinator::group::{Command, Reply};
use wire::ErrorCode;
use wire::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};

pub(super) struct OffsetDelete;

impl Api for OffsetDelete {
    type Request = OffsetDeleteRequest;
    const ACL: Acl = Acl::DeleteGroup;
}

impl OnGroups for OffsetDelete {
    type Part = ();

    fn ask(
        cx: &mut GroupsContext<'_>,
        request: OffsetDeleteRequest,
        questions: &mut Questions<()>,
    ) -> OffsetDeleteResponse {
        let (command, response) =
            delete_offsets_command(&request, |name| admit_known(cx.view, name, Uuid::ZERO));
        let shard = questions.shard_of(&request.group_id);
        questions.ask(shard, (), |token| Command::DeleteOffsets(token, command));
        response
    }

    fn answered(
        _view: &View,
        response: &mut OffsetDeleteResponse,
        _part: (),
        outcome: Result<Reply, ErrorCode>,
    ) {
        match outcome {
            Ok(Reply::DeleteOffsets(result)) => delete_offsets_response(response, result),
            other => {
                let error_code = no_answer(other).code();
                *response = OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() };
            }
        }
    }
}
