//! PeerProgress (20005, Ottla's own): how far a follower's disk is, and what it cannot take of what its leader
//! sends; Fetch can say neither. Never answered.

use super::{Acl, Api, Malformed};
use crate::effects::{Asked, Effects, Reply};
use crate::job::Job;
use crate::reactor::Reactor;
use base::{BrokerId, EndOffset, LeaderEpoch, Now, PartitionIndex, TopicId, hit};
use cluster::partition::Incarnation;
use wire::peer_progress::PeerProgressRequest;

pub(super) struct PeerProgress;

impl Api for PeerProgress {
    type Request = PeerProgressRequest;
    const ACL: Acl = Acl::Node;
}

pub(super) fn handle(
    reactor: &mut Reactor,
    asked: Asked,
    now: Now,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let request = super::decode::<PeerProgress>(&asked)?;
    reactor.complete(asked.token, Reply::default(), fx);
    if asked.node != Some(BrokerId(request.replica_id)) {
        hit!(report_of_a_stranger);
        fx.close.push(asked.token.conn);
        return Ok(());
    }
    let from = Incarnation { id: BrokerId(request.replica_id), epoch: request.replica_epoch };
    for topic in request.topics {
        for part in topic.partitions {
            let replica = reactor.view.replica(TopicId(topic.topic_id), PartitionIndex(part.partition_index));
            let Some(replica) = replica else { continue };
            let epoch = LeaderEpoch(part.leader_epoch);
            if part.flushed_offset >= 0 {
                replica.reported(from, epoch, EndOffset(part.flushed_offset), now.mono, fx);
            }
            if part.damaged_offset >= 0 && replica.leads_in(epoch) {
                // It may have happened on the way: this node looks for itself.
                let from = EndOffset(part.damaged_offset);
                let most = reactor.view.node.config.replica_fetch_bytes_max;
                let bytes_max = u64::try_from(most).unwrap_or(0);
                fx.jobs.push(Job::Verify { replica: replica.clone(), from, bytes_max });
            }
        }
    }
    Ok(())
}
