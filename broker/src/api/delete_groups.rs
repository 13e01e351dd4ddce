//! DeleteGroups (42): forget groups that have no members, each at the shard that keeps it.

use super::{Acl, Api, GroupsContext, OnGroups, no_answer};
use crate::groups::Questions;
use crate::view::View;
use coordinator::group::api::deleted_groups;
use coordinator::group::{Command, GroupId, Reply};
use wire::ErrorCode;
use wire::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};

pub(super) struct DeleteGroups;

impl Api for DeleteGroups {
    type Request = DeleteGroupsRequest;
    const ACL: Acl = Acl::DeleteGroup;
}

impl OnGroups for DeleteGroups {
    /// The places of the groups in the response.
    type Part = Vec<usize>;

    fn ask(
        _cx: &mut GroupsContext<'_>,
        request: DeleteGroupsRequest,
        questions: &mut Questions<Vec<usize>>,
    ) -> DeleteGroupsResponse {
        let mut names = request.groups_names;
        super::keep_first(&mut names, Clone::clone);
        for (shard, places) in questions.by_shard(names.iter().map(AsRef::as_ref)) {
            let groups = places.iter().map(|at| GroupId::from(names[*at].as_str())).collect();
            questions.ask(shard, places, |token| Command::Delete(token, groups));
        }
        let empty = |name: &wire::Str| DeletableGroupResult { group_id: name.clone(), ..Default::default() };
        DeleteGroupsResponse { results: names.iter().map(empty).collect(), ..DeleteGroupsResponse::default() }
    }

    fn answered(
        _view: &View,
        response: &mut DeleteGroupsResponse,
        places: Vec<usize>,
        outcome: Result<Reply, ErrorCode>,
    ) {
        match outcome {
            Ok(Reply::Delete(results)) => {
                for (at, result) in places.into_iter().zip(deleted_groups(results)) {
                    response.results[at] = result;
                }
            }
            other => {
                let code = no_answer(other).code();
                places.into_iter().for_each(|at| response.results[at].error_code = code);
            }
        }
    }
}
