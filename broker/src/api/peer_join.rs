//! PeerJoin (ours): a node with an empty directory asks to become a member. The leader of the quorum admits it as one that
//! follows without a vote; whoever is asked and does not lead names the leader.

use super::{Acl, Api, Malformed};
use crate::effects::{Asked, Effects};
use crate::metadata::Metadata;
use crate::peer::Address;
use base::{BrokerId, Now, Uuid};
use bytes::Bytes;
use wire::ErrorCode;
use wire::peer_join::{PeerJoinRequest, PeerJoinResponse};

pub(crate) struct PeerJoin;

impl Api for PeerJoin {
    type Request = PeerJoinRequest;
    const ACL: Acl = Acl::Node;
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) enum Admission {
    /// It is a member of this cluster.
    Member(Uuid),
    /// Not here, but perhaps there.
    Elsewhere(BrokerId, Address),
    /// Not now.
    Refused(String),
}

pub(super) fn handle(
    metadata: &mut Metadata,
    asked: Asked,
    _now: Now,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let PeerJoinRequest { node_id, directory_id, .. } = super::decode::<PeerJoin>(&asked)?;
    metadata.admit(asked.without_body(), BrokerId(node_id), directory_id, fx);
    Ok(())
}

pub(crate) fn reply(asked: &Asked, admission: Admission) -> Result<Bytes, Malformed> {
    let refused =
        |code: ErrorCode| PeerJoinResponse { error_code: code as i16, ..PeerJoinResponse::default() };
    let response = match admission {
        Admission::Member(cluster_id) => PeerJoinResponse { cluster_id, ..PeerJoinResponse::default() },
        Admission::Elsewhere(node, Address { host, port }) => PeerJoinResponse {
            leader_id: node.0,
            leader_host: host.into(),
            leader_port: port,
            ..refused(ErrorCode::NotController)
        },
        Admission::Refused(text) => PeerJoinResponse {
            error_message: Some(text.into()),
            ..refused(ErrorCode::CoordinatorNotAvailable)
        },
    };
    super::encode::<PeerJoin>(asked, response)
}
