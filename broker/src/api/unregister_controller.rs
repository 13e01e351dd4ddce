//! UnregisterController (94): a controller that has no vote any more and has ended is forgotten (KIP-1312). Who has a vote is
//! not; and a member that is registered as a broker stays one, since it follows the metadata as such.

use super::{Acl, Api, Malformed};
use crate::effects::{Asked, Effects};
use crate::metadata::Metadata;
use base::{BrokerId, Now};
use bytes::Bytes;
use cluster::controller::Outcome;
use wire::unregister_controller::{UnregisterControllerRequest, UnregisterControllerResponse};

pub(crate) struct UnregisterController;

impl Api for UnregisterController {
    type Request = UnregisterControllerRequest;
    const ACL: Acl = Acl::AlterCluster;
}

pub(super) fn handle(
    metadata: &mut Metadata,
    asked: Asked,
    now: Now,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let request = super::decode::<UnregisterController>(&asked)?;
    metadata.forget_controller(now, asked, BrokerId(request.controller_id), fx);
    Ok(())
}

pub(crate) fn reply(asked: &Asked, outcome: &Outcome<()>) -> Result<Bytes, Malformed> {
    let (error_code, error_message) = super::outcome(outcome);
    let response =
        UnregisterControllerResponse { error_code, error_message, ..UnregisterControllerResponse::default() };
    super::encode::<UnregisterController>(asked, response)
}
