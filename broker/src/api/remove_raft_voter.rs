//! RemoveRaftVoter (81): a member loses its vote and follows on (KIP-853).

use super::{Acl, Api, Malformed};
use crate::effects::{Asked, Effects};
use crate::metadata::{Metadata, VoterChange};
use base::{BrokerId, Now};
use bytes::Bytes;
use cluster::controller::Outcome;
use wire::ErrorCode;
use wire::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};

pub(crate) struct RemoveRaftVoter;

impl Api for RemoveRaftVoter {
    type Request = RemoveRaftVoterRequest;
    const ACL: Acl = Acl::AlterCluster;
}

pub(super) fn handle(
    metadata: &mut Metadata,
    asked: Asked,
    now: Now,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let request = super::decode::<RemoveRaftVoter>(&asked)?;
    let cluster = request.cluster_id.as_ref().map(|id| id.as_str());
    if !metadata.is_this_cluster(cluster) {
        let refused = Err(super::cluster_refusal(ErrorCode::InconsistentClusterId));
        metadata.reply(&asked, reply(&asked, &refused), fx);
        return Ok(());
    }
    let change = VoterChange::Remove(BrokerId(request.voter_id), request.voter_directory_id);
    metadata.change_voters(now, asked, change, fx);
    Ok(())
}

pub(crate) fn reply(asked: &Asked, outcome: &Outcome<()>) -> Result<Bytes, Malformed> {
    let (error_code, error_message) = super::outcome(outcome);
    let response =
        RemoveRaftVoterResponse { error_code, error_message, ..RemoveRaftVoterResponse::default() };
    super::encode::<RemoveRaftVoter>(asked, response)
}
