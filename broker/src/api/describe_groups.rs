//! DescribeGroups (15): members and state of groups, each from the shard that keeps it.
//!
//! Version notes: up to version 5 a group that does not exist is dead, which is no error. From version 3 on a
//! client may ask what it is allowed to do.

use super::{Acl, Api, GroupsContext, OnGroups, no_answer, operations};
use crate::groups::Questions;
use crate::view::View;
use coordinator::group::api::{described_groups, downgrade_describe};
use coordinator::group::{Command, GroupId, Reply};
use wire::ErrorCode;
use wire::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup};

pub(super) struct DescribeGroups;

impl Api for DescribeGroups {
    type Request = DescribeGroupsRequest;
    const ACL: Acl = Acl::DescribeGroup;

    fn downgrade(version: i16, response: &mut DescribeGroupsResponse) {
        if version < 6 {
            downgrade_describe(response);
        }
    }
}

impl OnGroups for DescribeGroups {
    /// The places of the groups in the response.
    type Part = Vec<usize>;

    fn ask(
        _cx: &mut GroupsContext<'_>,
        request: DescribeGroupsRequest,
        questions: &mut Questions<Vec<usize>>,
    ) -> DescribeGroupsResponse {
        let names = &request.groups;
        for (shard, places) in questions.by_shard(names.iter().map(AsRef::as_ref)) {
            let groups = places.iter().map(|at| GroupId::from(names[*at].as_str())).collect();
            questions.ask(shard, places, |token| Command::Describe(token, groups));
        }
        let operations = operations::if_asked(request.include_authorized_operations, operations::ON_GROUP);
        let empty = |name: &wire::Str| DescribedGroup {
            group_id: name.clone(),
            authorized_operations: operations,
            ..DescribedGroup::default()
        };
        DescribeGroupsResponse {
            groups: names.iter().map(empty).collect(),
            ..DescribeGroupsResponse::default()
        }
    }

    fn answered(
        _view: &View,
        response: &mut DescribeGroupsResponse,
        places: Vec<usize>,
        outcome: Result<Reply, ErrorCode>,
    ) {
        match outcome {
            Ok(Reply::Describe(groups)) => {
                for (at, group) in places.into_iter().zip(described_groups(groups)) {
                    let place = &mut response.groups[at];
                    *place = DescribedGroup { authorized_operations: place.authorized_operations, ..group };
                }
            }
            other => {
                let code = no_answer(other).code();
                places.into_iter().for_each(|at| response.groups[at].error_code = code);
            }
        }
    }
}
