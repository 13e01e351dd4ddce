//! InitProducerId (22): an id under which a producer numbers its batches.
//!
//! Version notes: from version 3 on a producer may bring its old id and epoch (KIP-360), which matters to
//! transactions only. Those are not served: a transactional id is refused at once with an error that no client
//! retries.

use super::{Acl, Answer, Api, OnView, ViewContext};
use cluster::controller::Command;
use wire::ErrorCode;
use wire::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

pub(super) struct InitProducerId;

impl Api for InitProducerId {
    type Request = InitProducerIdRequest;
    const ACL: Acl = Acl::IdempotentWrite;
    // Version 6 is two-phase commit, which a real broker does not advertise either (KIP-939, unstable).
    const ADVERTISED: core::ops::RangeInclusive<i16> = 0..=5;
}

impl OnView for InitProducerId {
    fn handle(cx: &ViewContext<'_>, request: InitProducerIdRequest) -> Answer<InitProducerIdResponse> {
        let refuse = |code: ErrorCode| {
            Answer::Reply(InitProducerIdResponse {
                error_code: code as i16,
                producer_id: -1,
                producer_epoch: -1,
                ..InitProducerIdResponse::default()
            })
        };
        if let Some(id) = &request.transactional_id {
            let empty = id.is_empty();
            return refuse(if empty {
                ErrorCode::InvalidRequest
            } else {
                ErrorCode::TransactionalIdAuthorizationFailed
            });
        }
        if (request.producer_id == -1) != (request.producer_epoch == -1) {
            return refuse(ErrorCode::InvalidRequest);
        }
        match cx.producer_ids.next() {
            Some(id) => Answer::Reply(InitProducerIdResponse {
                producer_id: id.0,
                producer_epoch: 0,
                ..InitProducerIdResponse::default()
            }),
            None if cx.asked_controller => refuse(ErrorCode::CoordinatorLoadInProgress),
            None => Answer::Ask(Command::AllocateProducerIds { broker: cx.view.node.config.node_id }),
        }
    }
}
