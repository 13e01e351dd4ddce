//! What happens to partitions: their leaders ask for other replicas in sync, their brokers come and go.

use super::{Defaults, Outcome, Refusal, Reply, lifecycle};
use crate::config::{Durability, TopicConfig};
use crate::image::{Delta, Image, Topic};
use crate::partition::{IsrChange, PartitionState, Refused};
use crate::record::Record;
use alloc::format;
use alloc::vec::Vec;
use base::{BrokerId, PartitionIndex, TopicId, Uuid, planted};
use wire::ErrorCode;

/// A leader's wish for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionChange {
    /// Its topic.
    pub topic: TopicId,
    /// Its number.
    pub index: PartitionIndex,
    /// What is wanted.
    pub change: IsrChange,
}

/// A replica, and the directory that its broker has it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Its topic.
    pub topic: TopicId,
    /// Its partition's number.
    pub index: PartitionIndex,
    /// The directory's id.
    pub directory: Uuid,
}

/// Each partition for itself; a partition that is named twice is decided against its first change.
pub(super) fn alter(
    image: &Image,
    soft: &Defaults,
    asker: (BrokerId, i64),
    changes: &[PartitionChange],
    records: &mut Vec<Record>,
) -> Reply {
    let decided = each(image, asker, changes, records, |image, wanted| {
        Ok((wanted.topic, wanted.index, alter_one(image, soft, wanted)?))
    });
    decided.map_or_else(|refusal| Reply::Done(Err(refusal)), Reply::Partitions)
}

/// A replica that is in no directory which its broker has is lost: it is neither in sync nor eligible, unless no other
/// holds what is safe. Then the partition stays as it is, for the operator to decide.
pub(super) fn assign(
    image: &Image,
    soft: &Defaults,
    asker: (BrokerId, i64),
    assignments: &[Assignment],
    records: &mut Vec<Record>,
) -> Reply {
    let decided = each(image, asker, assignments, records, |image, assigned| {
        Ok((assigned.topic, assigned.index, assign_one(image, soft, asker.0, assigned)?))
    });
    match decided {
        Ok(states) => Reply::Changed(states.into_iter().map(|state| state.map(drop)).collect()),
        Err(refusal) => Reply::Done(Err(refusal)),
    }
}

/// What becomes of each of the partitions that a broker names, each decided against what was decided before it.
fn each<T>(
    image: &Image,
    (broker, epoch): (BrokerId, i64),
    wanted: &[T],
    records: &mut Vec<Record>,
    decide: impl Fn(&Image, &T) -> Outcome<(TopicId, PartitionIndex, PartitionState)>,
) -> Outcome<Vec<Outcome<PartitionState>>> {
    lifecycle::known(image, broker, epoch)?;
    let mut image = image.clone();
    let mut one = |wanted: &T| {
        let (topic, index, state) = decide(&image, wanted)?;
        if image.topic_by_id(topic).and_then(|topic| topic.partition(index)) != Some(&state) {
            let record = Record::Partition { topic, index, state: state.clone() };
            image.replay(&record, &mut Delta::default());
            records.push(record);
        }
        Ok(state)
    };
    Ok(wanted.iter().map(&mut one).collect())
}

fn partition_of(image: &Image, id: TopicId, index: PartitionIndex) -> Outcome<(&Topic, &PartitionState)> {
    let topic = image
        .topic_by_id(id)
        .ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicId, format!("There is no topic {id}.")))?;
    let state = topic.partition(index).ok_or_else(|| {
        let message = format!("{} has no partition {index}.", topic.name);
        Refusal::new(ErrorCode::UnknownTopicOrPartition, message)
    })?;
    Ok((topic, state))
}

fn assign_one(
    image: &Image,
    soft: &Defaults,
    broker: BrokerId,
    assigned: &Assignment,
) -> Outcome<PartitionState> {
    let (topic, state) = partition_of(image, assigned.topic, assigned.index)?;
    let name = format!("{}-{}", topic.name, assigned.index);
    if !state.is_on(broker) {
        let message = format!("Broker {broker} has no replica of {name}.");
        return Err(Refusal::new(ErrorCode::NotLeaderOrFollower, message));
    }
    if image.broker(broker).is_some_and(|broker| broker.directories.contains(&assigned.directory)) {
        return Ok(state.clone());
    }
    if !state.isr.iter().chain(&state.elr).any(|holder| *holder != broker) {
        let message = format!("No other broker holds all that is safe of {name}.");
        return Err(Refusal::new(ErrorCode::EligibleLeadersNotAvailable, message));
    }
    let is_alive = |id: BrokerId| id != broker && image.serves(id);
    Ok(state.forget(broker, min_isr_of(image, soft, topic), is_alive))
}

fn alter_one(image: &Image, soft: &Defaults, wanted: &PartitionChange) -> Outcome<PartitionState> {
    let PartitionChange { topic: id, index, change } = wanted;
    let (topic, state) = partition_of(image, *id, *index)?;
    // Who stays in sync and has not been heard of is not claimed to be in any life.
    let eligible = |id: BrokerId, epoch: i64| {
        let is_seen = |known: i64| epoch == -1 || epoch == known || planted!(A10);
        image.broker(id).is_some_and(|broker| (!broker.fenced || planted!(A9)) && is_seen(broker.epoch))
    };
    let min_isr = min_isr_of(image, soft, topic);
    state.change_isr(change, min_isr, eligible).map_err(|refused| {
        let (code, why) = match refused {
            Refused::Fenced => (ErrorCode::FencedLeaderEpoch, "somebody else leads by now".into()),
            Refused::Ahead => (ErrorCode::NotController, "the asker knows a later controller".into()),
            Refused::Outdated => (ErrorCode::InvalidUpdateVersion, "it has changed since".into()),
            Refused::Ineligible(id) => {
                (ErrorCode::IneligibleReplica, format!("broker {id} is fenced, or not the one that was seen"))
            }
            Refused::Invalid => {
                (ErrorCode::InvalidRequest, "these are not replicas, the leader among them, each once".into())
            }
        };
        Refusal::new(code, format!("{}-{index}: {why}.", topic.name))
    })
}

/// A broker may not lead any more: it is fenced, or started anew. Each of its partitions gets another leader, or none.
/// Even where it will lead again nothing may be written under the old epoch: what was at the end of its log may be gone,
/// and two records must not share an offset and an epoch.
pub(super) fn leave(image: &Image, soft: &Defaults, broker: BrokerId, records: &mut Vec<Record>) {
    let is_alive = |id: BrokerId| id != broker && image.serves(id);
    change(image, soft, records, |state, config| {
        let concerned = state.leader == Some(broker) || state.isr.contains(&broker);
        concerned.then(|| state.leave(broker, config.min_insync_replicas as usize, is_alive))
    });
}

/// What of its replicas a broker still has when it starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It closed its directory.
    All,
    /// What it had to keep on disk.
    Flushed,
    /// Its disk is another one.
    Nothing,
}

/// A broker has started anew. Where it may lack what was safe it is no holder of that any more: if it did not close its
/// directory, unless there is no other holder (KIP-966); if its disk is another one, in any case. Who has nothing must not
/// lead and make the others throw away what they have: then nobody leads before the operator decides.
pub(super) fn come_back(
    image: &Image,
    soft: &Defaults,
    broker: BrokerId,
    kept: Kept,
    records: &mut Vec<Record>,
) {
    let is_alive = |id: BrokerId| id != broker && image.serves(id);
    change(image, soft, records, |state, config| {
        let min_isr = config.min_insync_replicas as usize;
        let has_all = match kept {
            Kept::All => true,
            Kept::Flushed => {
                let is_last = !state.isr.iter().chain(&state.elr).any(|holder| *holder != broker);
                is_last || config.durability == Durability::Flushed
            }
            Kept::Nothing => false,
        };
        let concerned =
            state.leader == Some(broker) || state.isr.contains(&broker) || state.elr.contains(&broker);
        concerned.then(|| {
            if has_all {
                state.leave(broker, min_isr, is_alive)
            } else {
                state.forget(broker, min_isr, is_alive)
            }
        })
    });
}

/// A broker may lead again: partitions that nobody leads may have a leader.
pub(super) fn revive(image: &Image, soft: &Defaults, broker: BrokerId, records: &mut Vec<Record>) {
    let is_alive = |id: BrokerId| id == broker || image.serves(id);
    change(image, soft, records, |state, config| {
        let revives = state.leader.is_none() && state.is_on(broker);
        revives.then(|| state.revive(config.min_insync_replicas as usize, is_alive))
    });
}

/// Records of all partitions that become something else.
fn change(
    image: &Image,
    soft: &Defaults,
    records: &mut Vec<Record>,
    next: impl Fn(&PartitionState, &TopicConfig) -> Option<PartitionState>,
) {
    for topic in image.topics() {
        let mut config = None;
        for (index, state) in (0..).map(PartitionIndex).zip(&topic.partitions) {
            let config = config.get_or_insert_with(|| config_of(image, soft, topic));
            let next = next(state, config).filter(|next| *next != **state);
            records.extend(next.map(|state| Record::Partition { topic: topic.id, index, state }));
        }
    }
}

pub(super) fn min_isr_of(image: &Image, soft: &Defaults, topic: &Topic) -> usize {
    config_of(image, soft, topic).min_insync_replicas as usize
}

fn config_of(image: &Image, soft: &Defaults, topic: &Topic) -> TopicConfig {
    // No broker's own settings: what a topic asks for is the same everywhere.
    image.topic_config(&topic.name, BrokerId(-1), &soft.fixed)
}
