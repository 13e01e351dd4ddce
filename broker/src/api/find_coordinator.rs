//! FindCoordinator (10): which broker keeps a group.
//!
//! Version notes: up to version 3 one key, from version 4 on many. The coordinator of a group leads the
//! partition of `__consumer_offsets` that the group's name hashes to; asking creates that topic. Transactions
//! and share groups have no coordinator yet and are refused by name.

use super::{Acl, Answer, Api, OnView, ViewContext};
use crate::view::OFFSETS_TOPIC;
use cluster::controller::Command;
use wire::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use wire::{ErrorCode, Str};

pub(super) struct FindCoordinator;

/// The key type of groups.
const GROUP: i8 = 0;
/// The key type of transactions.
const TRANSACTION: i8 = 1;
/// The key type of share groups.
const SHARE: i8 = 2;

impl Api for FindCoordinator {
    type Request = FindCoordinatorRequest;
    const ACL: Acl = Acl::DescribeGroup;

    fn upgrade(version: i16, request: &mut FindCoordinatorRequest) {
        if version < 4 {
            request.coordinator_keys = vec![core::mem::take(&mut request.key)];
        }
    }

    fn downgrade(version: i16, response: &mut FindCoordinatorResponse) {
        if version < 4
            && let Some(only) = response.coordinators.pop()
        {
            response.error_code = only.error_code;
            response.error_message = only.error_message;
            response.node_id = only.node_id;
            response.host = only.host;
            response.port = only.port;
        }
    }
}

impl OnView for FindCoordinator {
    fn handle(cx: &ViewContext<'_>, request: FindCoordinatorRequest) -> Answer<FindCoordinatorResponse> {
        let view = cx.view;
        if request.key_type == GROUP && view.image.topic(OFFSETS_TOPIC).is_none() && !cx.asked_controller {
            let topics = vec![view.auto_created(OFFSETS_TOPIC)];
            return Answer::Ask(Command::CreateTopics { topics, validate_only: false });
        }
        let find = |key: Str| match request.key_type {
            GROUP => group(cx, key),
            TRANSACTION => refused(
                key,
                ErrorCode::TransactionalIdAuthorizationFailed,
                "Transactions are not served by this version.",
            ),
            SHARE => refused(key, ErrorCode::InvalidRequest, "Share groups are not served by this version."),
            _ => refused(key, ErrorCode::InvalidRequest, "Unknown coordinator key type."),
        };
        let coordinators = request.coordinator_keys.into_iter().map(find).collect();
        Answer::Reply(FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() })
    }
}

fn refused(key: Str, code: ErrorCode, message: &'static str) -> Coordinator {
    Coordinator {
        key,
        node_id: -1,
        port: -1,
        error_code: code as i16,
        error_message: Some(message.into()),
        ..Coordinator::default()
    }
}

fn group(cx: &ViewContext<'_>, key: Str) -> Coordinator {
    let leader = cx.view.group_partition(&key).and_then(|(_, state)| state.leader);
    match leader.and_then(|id| cx.view.endpoint_of(id, cx.listener)) {
        Some(broker) => Coordinator {
            key,
            node_id: broker.id.0,
            host: broker.host.into(),
            port: i32::from(broker.port),
            ..Coordinator::default()
        },
        None => refused(key, ErrorCode::CoordinatorNotAvailable, "The coordinator is not available."),
    }
}
