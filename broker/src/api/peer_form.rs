//! PeerForm (ours): what nodes say to each other before there is a cluster. A member tells those who ask that there is one.

use super::{Acl, Api};
use wire::peer_form::PeerFormRequest;

pub(crate) struct PeerForm;

impl Api for PeerForm {
    type Request = PeerFormRequest;
    const ACL: Acl = Acl::Node;
}
