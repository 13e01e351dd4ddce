//! JoinGroup (11): be a member of a group's next generation. The answer waits until the rebalance is over.
//!
//! Version notes: from version 4 on a new dynamic member is given an id and asks again (KIP-394), from 9 on a
//! static leader that comes back may be told to keep its assignment (KIP-814). Up to version 6 a response cannot
//! say that there is no protocol.

use super::{Acl, Api, GroupsContext, OnGroups, no_answer};
use crate::groups::Questions;
use crate::view::View;
use coordinator::group::api::{JoinAbilities, Peer, downgrade_join, join_command, join_response};
use coordinator::group::{Command, Reply};
use wire::join_group::{JoinGroupRequest, JoinGroupResponse};
use wire::{ErrorCode, Str};

pub(super) struct JoinGroup;

impl Api for JoinGroup {
    type Request = JoinGroupRequest;
    const ACL: Acl = Acl::ReadGroup;

    fn downgrade(version: i16, response: &mut JoinGroupResponse) {
        if version < 7 {
            downgrade_join(response);
        }
    }
}

const fn abilities(version: i16) -> JoinAbilities {
    JoinAbilities { is_id_required: version >= 4, can_skip_assignment: version >= 9 }
}

impl OnGroups for JoinGroup {
    /// The id that the member sent, which a refusal repeats.
    type Part = Str;

    fn ask(
        cx: &mut GroupsContext<'_>,
        request: JoinGroupRequest,
        questions: &mut Questions<Str>,
    ) -> JoinGroupResponse {
        let head = &cx.asked.head;
        // Kafka writes addresses as Java does.
        let client_host = format!("/{}", cx.asked.peer);
        let peer =
            Peer { client_id: head.client_id.as_deref().unwrap_or_default(), client_host: &client_host };
        let mut random = [0; 16];
        cx.rng.fill(&mut random);
        let command = join_command(&request, peer, abilities(head.version), random);
        let shard = questions.shard_of(&request.group_id);
        questions.ask(shard, request.member_id, |token| Command::Join(token, command));
        JoinGroupResponse::default()
    }

    fn answered(
        _view: &View,
        response: &mut JoinGroupResponse,
        member_id: Str,
        outcome: Result<Reply, ErrorCode>,
    ) {
        *response = match outcome {
            Ok(Reply::Join(result)) => join_response(result),
            other => {
                let error_code = no_answer(other).code();
                JoinGroupResponse {
                    error_code,
                    member_id,
                    protocol_name: None,
                    ..JoinGroupResponse::default()
                }
            }
        };
    }
}
