//! BrokerHeartbeat (63): a broker is alive and has replayed the metadata so far. Also how this node says so.

use super::{Acl, Answer, Api, OnController, ResponseOf, ToController, ViewContext};
use base::BrokerId;
use cluster::controller::{Alive, Command, Heartbeat, Reply};
use wire::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};

pub(crate) struct BrokerHeartbeat;

impl Api for BrokerHeartbeat {
    type Request = BrokerHeartbeatRequest;
    const ACL: Acl = Acl::Node;
}

impl OnController for BrokerHeartbeat {
    fn ask(request: BrokerHeartbeatRequest) -> Answer<ResponseOf<Self>> {
        Answer::Ask(Command::Heartbeat(Heartbeat {
            broker: BrokerId(request.broker_id),
            epoch: request.broker_epoch,
            replayed: u64::try_from(request.current_metadata_offset).unwrap_or(0),
            wants_fence: request.want_fence,
        }))
    }

    fn answer(_: &ViewContext<'_>, _: BrokerHeartbeatRequest, reply: Reply) -> BrokerHeartbeatResponse {
        let Reply::Alive(Alive { is_caught_up, is_fenced }) = reply else {
            let error_code = super::refusal_code(&reply) as i16;
            return BrokerHeartbeatResponse { error_code, ..BrokerHeartbeatResponse::default() };
        };
        BrokerHeartbeatResponse { is_caught_up, is_fenced, ..BrokerHeartbeatResponse::default() }
    }
}

impl ToController for BrokerHeartbeat {
    fn request(command: &Command) -> Option<BrokerHeartbeatRequest> {
        let Command::Heartbeat(Heartbeat { broker, epoch, replayed, wants_fence }) = command else {
            return None;
        };
        Some(BrokerHeartbeatRequest {
            broker_id: broker.0,
            broker_epoch: *epoch,
            current_metadata_offset: i64::try_from(*replayed).unwrap_or(i64::MAX),
            want_fence: *wants_fence,
            ..BrokerHeartbeatRequest::default()
        })
    }

    fn reply(response: BrokerHeartbeatResponse) -> Reply {
        let BrokerHeartbeatResponse { error_code, is_caught_up, is_fenced, .. } = response;
        super::refusal(error_code).map_or(Reply::Alive(Alive { is_caught_up, is_fenced }), super::refused)
    }
}
