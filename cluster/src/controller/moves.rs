//! Replicas and leaders that move because somebody asks for it.

use super::partitions::min_isr_of;
use super::topics::check_assignment;
use super::{Defaults, Outcome, Refusal, Reply, partitions};
use crate::image::{Delta, Image, Topic};
use crate::partition::PartitionState;
use crate::record::Record;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{BrokerId, PartitionIndex};
use wire::ErrorCode;

/// Where a partition's replicas are to go; `None` takes back a move that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub index: PartitionIndex,
    /// Its new replicas, the preferred leader first.
    pub to: Option<Vec<BrokerId>>,
}

/// How a leader is chosen on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// The preferred replica, if it is in sync.
    Preferred,
    /// Anybody who lives, where nobody else may lead: what only others have is lost.
    Unclean,
}

/// Each partition for itself.
pub(super) fn reassign(
    image: &Image,
    soft: &Defaults,
    moves: &[Move],
    may_change_factor: bool,
    records: &mut Vec<Record>,
) -> Reply {
    let mut image = image.clone();
    let mut one = |wanted: &Move| {
        let (topic, state) = find(&image, &wanted.topic, wanted.index)?;
        let next = moved(&image, soft, &topic, &state, wanted, may_change_factor)?;
        if next != state {
            let record = Record::Partition { topic: topic.id, index: wanted.index, state: next };
            image.replay(&record, &mut Delta::default());
            records.push(record);
        }
        Ok(())
    };
    Reply::Changed(moves.iter().map(&mut one).collect())
}

fn find(image: &Image, topic: &str, index: PartitionIndex) -> Outcome<(Arc<Topic>, PartitionState)> {
    let unknown = || {
        let message = format!("Unable to find partition {topic}-{index}.");
        Refusal::new(ErrorCode::UnknownTopicOrPartition, message)
    };
    let topic = image.topic(topic).ok_or_else(unknown)?;
    let state = topic.partition(index).ok_or_else(unknown)?.clone();
    Ok((topic.clone(), state))
}

fn moved(
    image: &Image,
    soft: &Defaults,
    topic: &Topic,
    state: &PartitionState,
    wanted: &Move,
    may_change_factor: bool,
) -> Outcome<PartitionState> {
    let min_isr = min_isr_of(image, soft, topic);
    let alive = |id: BrokerId| image.serves(id);
    let Some(to) = &wanted.to else {
        if !state.is_moving() {
            let code = ErrorCode::NoReassignmentInProgress;
            return Err(Refusal::new(code, code.message()));
        }
        return state.cancel_move(min_isr, alive).ok_or_else(|| {
            let message = "none of the replicas before the move is in sync: it cannot be taken back";
            Refusal::new(ErrorCode::InvalidReplicaAssignment, message)
        });
    };
    check_assignment(image, to, to.len())?;
    let before = state.settled_replicas().len();
    if !may_change_factor && to.len() != before {
        let message = format!("The replication factor is changed from {before} to {}", to.len());
        return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
    }
    Ok(state.move_to(to, min_isr, alive))
}

/// `None` for the partitions means all of them; those that need none are then not told of.
pub(super) fn elect(
    image: &Image,
    election: Election,
    partitions: Option<Vec<(String, PartitionIndex)>>,
    records: &mut Vec<Record>,
) -> Reply {
    let is_all = partitions.is_none();
    let partitions = partitions.unwrap_or_else(|| {
        let all = image.topics().flat_map(|topic| {
            (0..).map(PartitionIndex).zip(&topic.partitions).map(|(index, _)| (topic.name.to_string(), index))
        });
        all.collect()
    });
    let mut outcomes = Vec::new();
    for (topic, index) in partitions {
        let outcome = elect_one(image, election, &topic, index).map(|record| records.push(record));
        let is_news = !matches!(&outcome, Err(refusal) if refusal.code == ErrorCode::ElectionNotNeeded);
        if is_news || !is_all {
            outcomes.push((topic, index, outcome));
        }
    }
    Reply::Elected(outcomes)
}

fn elect_one(image: &Image, election: Election, topic: &str, index: PartitionIndex) -> Outcome<Record> {
    let (topic, state) = find(image, topic, index)?;
    let alive = |id: BrokerId| image.serves(id);
    let refuse =
        |code: ErrorCode, why: &str| Err(Refusal::new(code, format!("{}-{index}: {why}", topic.name)));
    let next = match election {
        Election::Preferred if state.leader == state.replicas.first().copied() => {
            return refuse(ErrorCode::ElectionNotNeeded, "the preferred replica leads already");
        }
        Election::Unclean if state.leader.is_some() => {
            return refuse(ErrorCode::ElectionNotNeeded, "it has a leader");
        }
        Election::Preferred => state.prefer(alive),
        Election::Unclean => state.elect_unclean(alive),
    };
    match (next, election) {
        (Some(state), _) => Ok(Record::Partition { topic: topic.id, index, state }),
        (None, Election::Preferred) => refuse(
            ErrorCode::PreferredLeaderNotAvailable,
            "the preferred replica is not in sync, or not there",
        ),
        (None, Election::Unclean) => {
            refuse(ErrorCode::EligibleLeadersNotAvailable, "none of its replicas is there")
        }
    }
}

/// A broker is forgotten. One that holds what nobody else has is not.
pub(super) fn unregister(image: &Image, soft: &Defaults, id: BrokerId, records: &mut Vec<Record>) -> Reply {
    let Some(broker) = image.broker(id) else {
        let message = format!("Broker ID {id} is not currently registered");
        return Reply::Done(Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, message)));
    };
    if let Some((topic, index)) = only_copy(image, id) {
        let message =
            format!("Broker {id} holds the only copy of {topic}-{index}: move it to another broker first.");
        return Reply::Done(Err(Refusal::new(ErrorCode::InvalidRequest, message)));
    }
    partitions::leave(image, soft, id, records);
    records.push(Record::UnregisterBroker { id, epoch: broker.epoch });
    Reply::Done(Ok(()))
}

/// A partition that is safe on this broker alone.
fn only_copy(image: &Image, id: BrokerId) -> Option<(Arc<str>, PartitionIndex)> {
    let is_only = |state: &PartitionState| {
        let mut holders = state.isr.iter().chain(&state.elr);
        state.is_on(id) && holders.clone().next().is_some() && holders.all(|holder| *holder == id)
    };
    image.topics().find_map(|topic| {
        let mut all = (0..).map(PartitionIndex).zip(&topic.partitions);
        all.find(|(_, state)| is_only(state)).map(|(index, _)| (topic.name.clone(), index))
    })
}
