//! PeerProgress (20005, Ottla's own): how far a follower's disk is, which Fetch cannot say. Never answered.

use super::{Acl, Api, Malformed};
use crate::effects::{Asked, Effects, Reply};
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
            if let Some(replica) = replica {
                let (epoch, flushed) = (LeaderEpoch(part.leader_epoch), EndOffset(part.flushed_offset));
                replica.reported(from, epoch, flushed, now.mono, fx);
            }
        }
    }
    Ok(())
}
