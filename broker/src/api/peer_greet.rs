//! PeerGreet (ours): a node says who it is and hears whom it has reached. The first request of every link.

use super::{Acl, Api, Malformed};
use crate::effects::{Asked, Effects, Reply};
use crate::peer::{Address, Identity};
use crate::reactor::Reactor;
use base::{BrokerId, Now, Uuid, hit};
use wire::ErrorCode;
use wire::peer_greet::{PeerApi, PeerGreetRequest, PeerGreetResponse};

pub(super) struct PeerGreet;

impl Api for PeerGreet {
    type Request = PeerGreetRequest;
    const ACL: Acl = Acl::Open;
}

/// What this node takes from others, and in which versions: nodes of two releases speak as the older one does.
pub(crate) fn taken() -> Vec<PeerApi> {
    let taken = |row: &super::Row| PeerApi {
        api_key: row.key as i16,
        min_version: *row.served.start(),
        max_version: *row.served.end(),
        ..PeerApi::default()
    };
    super::TABLE.iter().chain(super::PEER_TABLE).map(taken).collect()
}

pub(super) fn handle(
    reactor: &mut Reactor,
    asked: Asked,
    _now: Now,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let request = super::decode::<PeerGreet>(&asked)?;
    let node = reactor.view.node.clone();
    let own: Uuid = reactor.view.image.cluster_id;
    let is_other = !request.cluster_id.is_zero() && request.cluster_id != own;
    let response = if is_other {
        hit!(stranger_refused);
        PeerGreetResponse {
            error_code: ErrorCode::InconsistentClusterId as i16,
            error_message: Some(
                format!(
                    "node {} belongs to cluster {own}, not to {}",
                    node.config.node_id, request.cluster_id
                )
                .into(),
            ),
            ..PeerGreetResponse::default()
        }
    } else {
        let who = Identity {
            cluster_id: request.cluster_id,
            node: BrokerId(request.node_id),
            directory: request.directory_id,
            address: Address { host: request.host.as_str().to_owned(), port: request.port },
            is_controller: request.is_controller,
        };
        reactor.greeted(asked.token.conn, who, fx);
        PeerGreetResponse {
            cluster_id: own,
            node_id: node.config.node_id.0,
            directory_id: node.directory_id,
            apis: taken(),
            ..PeerGreetResponse::default()
        }
    };
    let reply = super::encode::<PeerGreet>(&asked, response)?;
    reactor.complete(asked.token, Reply::bytes(reply), fx);
    Ok(())
}
