//! AddRaftVoter (80): a member that follows the metadata log gets a vote (KIP-853).
//!
//! Version notes: from version 1 on the answer may come before the change has committed; it never does here.

use super::{Acl, Api, Malformed};
use crate::effects::{Asked, Effects};
use crate::metadata::{Metadata, VoterChange};
use base::{BrokerId, Now};
use bytes::Bytes;
use cluster::controller::Outcome;
use wire::ErrorCode;
use wire::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};

pub(crate) struct AddRaftVoter;

impl Api for AddRaftVoter {
    type Request = AddRaftVoterRequest;
    const ACL: Acl = Acl::AlterCluster;
}

pub(super) fn handle(
    metadata: &mut Metadata,
    asked: Asked,
    now: Now,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let request = super::decode::<AddRaftVoter>(&asked)?;
    let cluster = request.cluster_id.as_ref().map(|id| id.as_str());
    if !metadata.is_this_cluster(cluster) {
        let refused = Err(super::cluster_refusal(ErrorCode::InconsistentClusterId));
        metadata.reply(&asked, reply(&asked, &refused), fx);
        return Ok(());
    }
    let change = VoterChange::Add(BrokerId(request.voter_id), request.voter_directory_id);
    metadata.change_voters(now, asked, change, fx);
    Ok(())
}

pub(crate) fn reply(asked: &Asked, outcome: &Outcome<()>) -> Result<Bytes, Malformed> {
    let (error_code, error_message) = super::outcome(outcome);
    let response = AddRaftVoterResponse { error_code, error_message, ..AddRaftVoterResponse::default() };
    super::encode::<AddRaftVoter>(asked, response)
}
