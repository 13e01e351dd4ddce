//! ListGroups (16): all groups that this node coordinates. Every shard is asked.
//!
//! Version notes: states from version 4 on, types from 5 on; older clients are not told.

use super::{Acl, Api, GroupsContext, OnGroups, no_answer};
use crate::groups::Questions;
use crate::view::View;
use coordinator::group::api::{list_command, listed_groups};
use coordinator::group::{Command, Reply};
use wire::ErrorCode;
use wire::list_groups::{ListGroupsRequest, ListGroupsResponse};

pub(super) struct ListGroups;

impl Api for ListGroups {
    type Request = ListGroupsRequest;
    const ACL: Acl = Acl::DescribeGroup;
}

impl OnGroups for ListGroups {
    type Part = ();

    fn ask(
        cx: &mut GroupsContext<'_>,
        request: ListGroupsRequest,
        questions: &mut Questions<()>,
    ) -> ListGroupsResponse {
        let command = list_command(&request);
        for shard in cx.shards {
            questions.ask(*shard, (), |token| Command::List(token, command.clone()));
        }
        ListGroupsResponse::default()
    }

    /// One shard that cannot answer spoils the list, unless it is somebody else's by now.
    fn answered(
        _view: &View,
        response: &mut ListGroupsResponse,
        _part: (),
        outcome: Result<Reply, ErrorCode>,
    ) {
        match outcome {
            Ok(Reply::List(groups)) if response.error_code == ErrorCode::None.code() => {
                response.groups.extend(listed_groups(groups));
            }
            Ok(Reply::List(_)) | Err(ErrorCode::NotCoordinator) => {}
            other => {
                response.error_code = no_answer(other).code();
                response.groups.clear();
            }
        }
    }
}
