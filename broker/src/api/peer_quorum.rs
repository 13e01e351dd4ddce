//! PeerQuorum (ours): a message of the metadata quorum. Not answered: the quorum's own messages are the answers.

use super::{Acl, Api};
use wire::peer_quorum::PeerQuorumRequest;

pub(crate) struct PeerQuorum;

impl Api for PeerQuorum {
    type Request = PeerQuorumRequest;
    const ACL: Acl = Acl::Node;
}
