//! BrokerRegistration (62): a broker has started. Also how this node asks for its own.

use super::{Acl, Answer, Api, OnController, ResponseOf, ToController, ViewContext};
use base::BrokerId;
use cluster::Endpoint;
use cluster::controller::{Command, Refusal, Reply};
use wire::ErrorCode;
use wire::broker_registration::{BrokerRegistrationRequest, BrokerRegistrationResponse, Listener};

pub(crate) struct BrokerRegistration;

impl Api for BrokerRegistration {
    type Request = BrokerRegistrationRequest;
    const ACL: Acl = Acl::Node;
}

impl OnController for BrokerRegistration {
    fn ask(request: BrokerRegistrationRequest) -> Answer<ResponseOf<Self>> {
        let endpoint = |listener: &Listener| Endpoint {
            listener: listener.name.as_str().to_owned(),
            host: listener.host.as_str().to_owned(),
            port: listener.port,
        };
        Answer::Ask(Command::RegisterBroker {
            id: BrokerId(request.broker_id),
            incarnation: request.incarnation_id,
            endpoints: request.listeners.iter().map(endpoint).collect(),
            peer_listener: request.peer_listener.as_str().to_owned(),
            rack: request.rack.as_ref().map(|rack| rack.as_str().to_owned()),
            directories: request.log_dirs,
            closed_in: request.previous_broker_epoch,
        })
    }

    fn answer(_: &ViewContext<'_>, _: BrokerRegistrationRequest, reply: Reply) -> BrokerRegistrationResponse {
        let Reply::Registered { epoch } = reply else {
            let error_code = super::refusal_code(&reply) as i16;
            return BrokerRegistrationResponse { error_code, ..BrokerRegistrationResponse::default() };
        };
        BrokerRegistrationResponse { broker_epoch: epoch, ..BrokerRegistrationResponse::default() }
    }
}

impl ToController for BrokerRegistration {
    fn request(command: &Command) -> Option<BrokerRegistrationRequest> {
        let Command::RegisterBroker {
            id,
            incarnation,
            endpoints,
            peer_listener,
            rack,
            directories,
            closed_in,
        } = command
        else {
            return None;
        };
        let listener = |endpoint: &Endpoint| Listener {
            name: endpoint.listener.as_str().into(),
            host: endpoint.host.as_str().into(),
            port: endpoint.port,
            ..Listener::default()
        };
        Some(BrokerRegistrationRequest {
            broker_id: id.0,
            incarnation_id: *incarnation,
            listeners: endpoints.iter().map(listener).collect(),
            peer_listener: peer_listener.as_str().into(),
            rack: rack.as_deref().map(Into::into),
            log_dirs: directories.clone(),
            previous_broker_epoch: *closed_in,
            ..BrokerRegistrationRequest::default()
        })
    }

    fn reply(response: BrokerRegistrationResponse) -> Reply {
        match super::refusal(response.error_code) {
            None => Reply::Registered { epoch: response.broker_epoch },
            Some(code) if code == ErrorCode::DuplicateBrokerRegistration => Reply::Done(Err(Refusal {
                code,
                message: "another broker of this id lives: give each node its own node.id".into(),
            })),
            Some(code) => super::refused(code),
        }
    }
}
