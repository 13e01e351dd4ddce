//! Where replicas go: plans that leave no choices, and carrying them out in small steps.

use crate::connect::{Done, Failure};
use crate::output::note;
use crate::throttle::Throttle;
use client::core::PartitionMetadata;
use client::{Admin, Reassignment, TopicDescription};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Partitions that move at a time: copies share the network with clients.
const MOVING_MAX: usize = 20;
/// How often it is looked at how far they are.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Brokers that may get replicas, and how many each has.
#[derive(Debug)]
pub(crate) struct Brokers {
    replicas: BTreeMap<i32, usize>,
}

impl Brokers {
    /// The usable ones, with what the topics put there.
    pub(crate) fn new(usable: impl IntoIterator<Item = i32>, topics: &[TopicDescription]) -> Self {
        let mut replicas: BTreeMap<i32, usize> = usable.into_iter().map(|id| (id, 0)).collect();
        let partitions = topics.iter().flat_map(|topic| &topic.partitions);
        for id in partitions.flat_map(|partition| &partition.replicas) {
            if let Some(count) = replicas.get_mut(id) {
                *count += 1;
            }
        }
        Self { replicas }
    }

    /// The one with the fewest replicas that is not among `taken`.
    fn take_beside(&mut self, taken: &[i32]) -> Option<i32> {
        let free = self.replicas.iter().filter(|(id, _)| !taken.contains(id));
        let id = free.min_by_key(|(id, count)| (**count, **id)).map(|(id, _)| *id)?;
        *self.replicas.entry(id).or_default() += 1;
        Some(id)
    }
}

/// All partitions that have a replica on `node` get another one instead, or one less if there is no other place.
pub(crate) fn drain(node: i32, topics: &[TopicDescription], brokers: &mut Brokers) -> Vec<Reassignment> {
    let on_node = |partition: &&PartitionMetadata| partition.replicas.contains(&node);
    let mut moves = Vec::new();
    for topic in topics {
        for partition in topic.partitions.iter().filter(on_node) {
            let other = brokers.take_beside(&partition.replicas);
            let replaced =
                partition.replicas.iter().filter_map(|id| if *id == node { other } else { Some(*id) });
            moves.push(Reassignment {
                topic: topic.name.clone(),
                partition: partition.index,
                replicas: Some(replaced.collect()),
            });
        }
    }
    moves
}

/// Every partition of a topic gets so many replicas. Those in sync stay before others do.
pub(crate) fn to_factor(
    factor: usize,
    topic: &TopicDescription,
    brokers: &mut Brokers,
) -> Done<Vec<Reassignment>> {
    let mut moves = Vec::new();
    for partition in &topic.partitions {
        let mut replicas = partition.replicas.clone();
        if replicas.len() > factor {
            replicas.sort_by_key(|id| !partition.isr.contains(id));
            replicas.truncate(factor);
        }
        while replicas.len() < factor {
            let next = brokers.take_beside(&replicas).ok_or_else(|| {
                Failure::failed(format!(
                    "{factor} replicas need {factor} brokers that serve and take new replicas"
                ))
            })?;
            replicas.push(next);
        }
        if replicas != partition.replicas {
            moves.push(Reassignment {
                topic: topic.name.clone(),
                partition: partition.index,
                replicas: Some(replicas),
            });
        }
    }
    Ok(moves)
}

/// How moves are carried out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Until all of them are done.
    pub(crate) waits: bool,
    /// Bytes per second and broker.
    pub(crate) throttle: Option<u64>,
}

/// Begins moves, so many at a time, no faster than is wanted, and waits until all of them are done if that is wanted.
pub(crate) async fn carry_out(
    admin: &Admin,
    moves: &[Reassignment],
    topics: &[TopicDescription],
    Manner { waits, throttle }: Manner,
) -> Done {
    let Some(rate) = throttle.filter(|_| !moves.is_empty()) else { return begin(admin, moves, waits).await };
    let throttle = Throttle::of(moves, topics);
    throttle.begin(admin, rate).await?;
    begin(admin, moves, waits).await?;
    throttle.settle(admin, waits).await
}

async fn begin(admin: &Admin, moves: &[Reassignment], waits: bool) -> Done {
    let (mut begun, total) = (0, moves.len());
    let mut told = usize::MAX;
    while begun < total || waits {
        let under_way = ours_under_way(admin, &moves[..begun]).await?;
        let room = MOVING_MAX.saturating_sub(under_way);
        let next = &moves[begun..total.min(begun + room)];
        if !next.is_empty() {
            admin.reassign(next).await?;
            begun += next.len();
        } else if under_way == 0 {
            break;
        }
        let done = begun.saturating_sub(under_way + next.len());
        if told != done {
            told = done;
            note(&format!("{done} of {total} partitions have moved"));
        }
        if begun < total || waits {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    if waits && total > 0 {
        note(&format!("{total} of {total} partitions have moved"));
    }
    Ok(())
}

async fn ours_under_way(admin: &Admin, begun: &[Reassignment]) -> Done<usize> {
    let ours: BTreeSet<(&str, i32)> = begun.iter().map(|m| (m.topic.as_str(), m.partition)).collect();
    let all = admin.list_reassignments().await?;
    Ok(all.iter().filter(|m| ours.contains(&(m.topic.as_str(), m.partition))).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(partitions: &[&[i32]]) -> TopicDescription {
        let partition = |(index, replicas): (i32, &&[i32])| PartitionMetadata {
            index,
            leader: replicas.first().copied(),
            leader_epoch: 0,
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
            offline: Vec::new(),
        };
        let partitions = (0..).zip(partitions).map(partition).collect();
        TopicDescription { name: "t".into(), id: base::Uuid::ZERO, is_internal: false, partitions }
    }

    fn targets(moves: Vec<Reassignment>) -> Vec<(i32, Vec<i32>)> {
        moves.into_iter().map(|m| (m.partition, m.replicas.unwrap())).collect()
    }

    #[test]
    fn what_is_on_a_node_goes_where_the_least_is_and_keeps_its_place() {
        let topics = [topic(&[&[1, 2], &[2, 3], &[3, 1], &[2, 4]])];
        let mut brokers = Brokers::new([1, 3, 4], &topics);
        let moves = targets(drain(2, &topics, &mut brokers));
        assert_eq!(moves, [(0, vec![1, 4]), (1, vec![1, 3]), (3, vec![3, 4])]);
    }

    #[test]
    fn without_another_place_there_is_one_replica_less() {
        let topics = [topic(&[&[1, 2, 3]])];
        let mut brokers = Brokers::new([1, 2], &topics);
        assert_eq!(targets(drain(3, &topics, &mut brokers)), [(0, vec![1, 2])]);
    }

    #[test]
    fn a_factor_grows_beside_what_is_there_and_shrinks_by_what_is_not_in_sync() {
        let mut grown = topic(&[&[1], &[2, 3]]);
        let mut brokers = Brokers::new([1, 2, 3], std::slice::from_ref(&grown));
        assert_eq!(targets(to_factor(2, &grown, &mut brokers).unwrap()), [(0, vec![1, 2])]);
        assert!(to_factor(4, &grown, &mut brokers).is_err());
        grown.partitions[1].isr = vec![3];
        assert_eq!(targets(to_factor(1, &grown, &mut brokers).unwrap()), [(1, vec![3])]);
    }
}
