//! Topics: created, grown, deleted. Placement leaves no choice to whoever carries it out.

use super::names::{can_collide, check_topic_name, collide};
use super::{Defaults, Outcome, PARTITIONS_PER_REQUEST_MAX, Refusal, Reply, configs};
use crate::image::{Image, Topic};
use crate::partition::PartitionState;
use crate::record::Record;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use base::{BrokerId, PartitionIndex, TopicId};
use wire::ErrorCode;

/// How many replicas a new topic gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// What the user said.
    Explicit(i16),
    /// As many as the target allows; raised as brokers join.
    Implicit,
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; −1 for the default.
    pub partitions: i32,
    /// How many replicas; −1 for "implicit".
    pub replication_factor: i16,
    /// A manual placement: partition numbers with their replicas; empty for none.
    pub assignments: Vec<(i32, Vec<BrokerId>)>,
    /// Its configs.
    pub configs: Vec<(String, Option<String>)>,
}

/// What was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its identity.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: i32,
    /// Its replicas per partition.
    pub replication_factor: i16,
    /// The configs that were set.
    pub configs: Vec<(String, String)>,
}

/// A topic to delete, by name or by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef {
    /// By name.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// A topic to grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrowTopic {
    /// Its name.
    pub name: String,
    /// How many partitions it shall have in all.
    pub total: i32,
    /// The replicas of each new partition; `None` lets the planner choose.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

pub(super) fn create(
    image: &Image,
    defaults: &mut Defaults,
    topics: Vec<NewTopic>,
    validate_only: bool,
    records: &mut Vec<Record>,
) -> Reply {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for topic in &topics {
        *seen.entry(topic.name.clone()).or_default() += 1;
    }
    let mut room = PARTITIONS_PER_REQUEST_MAX;
    let mut placement = Placement::new(image);
    let outcomes = topics.into_iter().map(|topic| {
        if seen.get(&topic.name).is_some_and(|times| *times > 1) {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."));
        }
        let (created, decided) = create_one(image, defaults, &mut placement, &topic)?;
        room -= created.partitions;
        if room < 0 {
            return Err(Refusal::new(
                ErrorCode::PolicyViolation,
                format!("Unable to perform excessively large batch operation: at most {PARTITIONS_PER_REQUEST_MAX} partitions at once."),
            ));
        }
        if !validate_only {
            records.extend(decided);
        }
        Ok(created)
    });
    Reply::Created(outcomes.collect())
}

fn create_one(
    image: &Image,
    defaults: &mut Defaults,
    placement: &mut Placement<'_>,
    topic: &NewTopic,
) -> Outcome<(CreatedTopic, Vec<Record>)> {
    check_new_name(image, &topic.name)?;
    let config_records = configs::for_new_topic(&topic.name, &topic.configs)?;
    let replicas = if topic.assignments.is_empty() {
        place_automatically(defaults, placement, topic)?
    } else {
        place_manually(image, topic)?
    };
    let id = defaults.next_topic_id();
    let created = CreatedTopic {
        id,
        partitions: i32::try_from(replicas.len()).unwrap_or(i32::MAX),
        replication_factor: replicas.first().map_or(-1, |r| i16::try_from(r.len()).unwrap_or(i16::MAX)),
        configs: topic.configs.iter().filter_map(|(k, v)| Some((k.clone(), v.clone()?))).collect(),
    };
    let implicit_factor = topic.assignments.is_empty() && topic.replication_factor == -1;
    let mut records = alloc::vec![Record::Topic { name: topic.name.as_str().into(), id, implicit_factor }];
    records.extend(partition_records(id, 0, replicas));
    records.extend(config_records);
    Ok((created, records))
}

fn partition_records(
    topic: TopicId,
    first: i32,
    replicas: Vec<Vec<BrokerId>>,
) -> impl Iterator<Item = Record> {
    let record = move |(index, replicas)| Record::Partition {
        topic,
        index: PartitionIndex(index),
        state: PartitionState::new(replicas),
    };
    (first..).zip(replicas).map(record)
}

fn check_new_name(image: &Image, name: &str) -> Outcome<()> {
    check_topic_name(name)?;
    if image.topic(name).is_some() {
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
    }
    if !can_collide(name) {
        return Ok(());
    }
    match image.topics().find(|topic| collide(name, &topic.name)) {
        Some(other) => Err(Refusal::new(
            ErrorCode::InvalidTopicException,
            format!("Topic '{name}' collides with existing topic: {}", other.name),
        )),
        None => Ok(()),
    }
}

fn place_automatically(
    defaults: &Defaults,
    placement: &mut Placement<'_>,
    topic: &NewTopic,
) -> Outcome<Vec<Vec<BrokerId>>> {
    let count = match topic.partitions {
        -1 => defaults.num_partitions,
        count if count < 1 => {
            return Err(Refusal::new(
                ErrorCode::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.",
            ));
        }
        count => count,
    };
    if count > PARTITIONS_PER_REQUEST_MAX {
        return Err(Refusal::new(
            ErrorCode::PolicyViolation,
            format!(
                "Unable to perform excessively large batch operation: at most {PARTITIONS_PER_REQUEST_MAX} partitions at once."
            ),
        ));
    }
    let factor = match topic.replication_factor {
        -1 => Factor::Implicit,
        factor if factor < 1 => {
            return Err(Refusal::new(
                ErrorCode::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            ));
        }
        factor => Factor::Explicit(factor),
    };
    placement.place(count, factor, defaults.target_factor(&topic.name))
}

fn place_manually(image: &Image, topic: &NewTopic) -> Outcome<Vec<Vec<BrokerId>>> {
    let refuse = |code, message: String| Err(Refusal::new(code, message));
    if topic.replication_factor != -1 {
        return refuse(
            ErrorCode::InvalidRequest,
            "A manual partition assignment was specified, but replication factor was not set to -1.".into(),
        );
    }
    if topic.partitions != -1 {
        return refuse(
            ErrorCode::InvalidRequest,
            "A manual partition assignment was specified, but numPartitions was not set to -1.".into(),
        );
    }
    let by_index: BTreeMap<i32, &Vec<BrokerId>> =
        topic.assignments.iter().map(|(index, r)| (*index, r)).collect();
    if by_index.len() != topic.assignments.len() {
        let message = "Found multiple manual partition assignments for the same partition.".into();
        return refuse(ErrorCode::InvalidReplicaAssignment, message);
    }
    if !by_index.keys().copied().eq(0..i32::try_from(by_index.len()).unwrap_or(i32::MAX)) {
        let message = "partitions should be a consecutive 0-based integer sequence".into();
        return refuse(ErrorCode::InvalidReplicaAssignment, message);
    }
    let width = topic.assignments[0].1.len();
    by_index
        .values()
        .map(|replicas| check_assignment(image, replicas, width).map(|()| (*replicas).clone()))
        .collect()
}

pub(super) fn check_assignment(image: &Image, replicas: &[BrokerId], width: usize) -> Outcome<()> {
    let refuse = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return refuse("The manual partition assignment includes an empty replica list.".into());
    }
    let distinct: BTreeSet<_> = replicas.iter().collect();
    if distinct.len() != replicas.len() {
        return refuse("The manual partition assignment includes the broker more than once.".into());
    }
    if let Some(unknown) = replicas.iter().find(|id| image.broker(**id).is_none()) {
        return refuse(format!(
            "The manual partition assignment includes broker {unknown}, but no such broker is registered."
        ));
    }
    if replicas.len() != width {
        return refuse(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous partitions, which have {width} replica(s).",
            replicas.len()
        ));
    }
    Ok(())
}

/// Chooses replicas round robin over the usable brokers, starting after the last choice. With each round the other replicas
/// stand one broker further on, so that what one broker leads is led by many others when it is lost, not by its neighbour.
struct Placement<'a> {
    image: &'a Image,
    brokers: Vec<BrokerId>,
    next: usize,
}

/// Brokers that take replicas, one rack after the other and then again: neighbours stand in different racks, as far as there
/// are any.
fn by_turns_of_racks(image: &Image) -> Vec<BrokerId> {
    let mut racks: BTreeMap<Option<&str>, Vec<BrokerId>> = BTreeMap::new();
    for broker in image.brokers().filter(|broker| image.takes_replicas(broker)) {
        racks.entry(broker.rack.as_deref()).or_default().push(broker.id);
    }
    let deepest = racks.values().map(Vec::len).max().unwrap_or(0);
    (0..deepest).flat_map(|turn| racks.values().filter_map(move |rack| rack.get(turn).copied())).collect()
}

impl<'a> Placement<'a> {
    fn new(image: &'a Image) -> Self {
        Self { image, brokers: by_turns_of_racks(image), next: image.topic_count() }
    }

    fn place(&mut self, count: i32, factor: Factor, target: i16) -> Outcome<Vec<Vec<BrokerId>>> {
        let usable = self.brokers.len();
        let wanted = match factor {
            Factor::Explicit(factor) => usize::try_from(factor).unwrap_or(0),
            Factor::Implicit => usize::try_from(target).unwrap_or(1).min(usable).max(1),
        };
        if wanted > usable {
            return Err(Refusal::new(
                ErrorCode::InvalidReplicationFactor,
                format!(
                    "Unable to replicate the partition {wanted} time(s): The target replication factor of {wanted} cannot be reached because only {usable} broker(s) are registered."
                ),
            ));
        }
        Ok((0..count).map(|_| self.one(wanted)).collect())
    }

    fn one(&mut self, width: usize) -> Vec<BrokerId> {
        let count = self.brokers.len();
        let (round, start) = (self.next / count, self.next % count);
        self.next += 1;
        let mut chosen = vec![self.brokers[start]];
        let other = |k: usize| self.brokers[(start + 1 + (round + k) % (count - 1)) % count];
        while chosen.len() < width {
            let mut rest = (0..count - 1).map(other).filter(|id| !chosen.contains(id)).peekable();
            let first = rest.peek().copied();
            // A rack that has none yet comes first.
            let next = rest.find(|id| !self.is_in_rack_of(*id, &chosen)).or(first);
            chosen.extend(next);
        }
        chosen
    }

    fn is_in_rack_of(&self, id: BrokerId, others: &[BrokerId]) -> bool {
        let rack = |id: BrokerId| self.image.broker(id).and_then(|broker| broker.rack.as_deref());
        rack(id).is_some_and(|own| others.iter().any(|other| rack(*other) == Some(own)))
    }
}

pub(super) fn delete(
    image: &Image,
    defaults: &Defaults,
    topics: Vec<TopicRef>,
    records: &mut Vec<Record>,
) -> Reply {
    let mut gone = BTreeSet::new();
    let outcomes = topics.into_iter().map(|topic| {
        let outcome = delete_one(image, defaults, &topic).inspect(|(_, id)| {
            if gone.insert(*id) {
                records.push(Record::RemoveTopic { id: *id });
            }
        });
        (topic, outcome)
    });
    Reply::Deleted(outcomes.collect())
}

fn delete_one(image: &Image, defaults: &Defaults, topic: &TopicRef) -> Outcome<(String, TopicId)> {
    if !defaults.delete_topics {
        return Err(Refusal::new(ErrorCode::TopicDeletionDisabled, "Topic deletion is disabled."));
    }
    let found = match topic {
        TopicRef::Name(name) => image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition),
        TopicRef::Id(id) => image.topic_by_id(*id).ok_or(ErrorCode::UnknownTopicId),
    };
    found.map(|topic| (topic.name.to_string(), topic.id)).map_err(|code| Refusal::new(code, code.message()))
}

pub(super) fn grow(
    image: &Image,
    topics: Vec<GrowTopic>,
    validate_only: bool,
    records: &mut Vec<Record>,
) -> Reply {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for topic in &topics {
        *seen.entry(topic.name.clone()).or_default() += 1;
    }
    let mut placement = Placement::new(image);
    let outcomes = topics.into_iter().map(|topic| {
        if seen.get(&topic.name).is_some_and(|times| *times > 1) {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."));
        }
        let decided = grow_one(image, &mut placement, &topic)?;
        if !validate_only {
            records.extend(decided);
        }
        Ok(())
    });
    Reply::Changed(outcomes.collect())
}

fn grow_one(image: &Image, placement: &mut Placement<'_>, wanted: &GrowTopic) -> Outcome<Vec<Record>> {
    let unknown =
        || Refusal::new(ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicOrPartition.message());
    let topic = image.topic(&wanted.name).ok_or_else(unknown)?;
    let current = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    let added = check_growth(topic, current, wanted.total)?;
    let width = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
    let replicas = match &wanted.assignments {
        None => placement.place(added, Factor::Explicit(i16::try_from(width).unwrap_or(1)), 1)?,
        Some(lists) if lists.len() != usize::try_from(added).unwrap_or(0) => {
            return Err(Refusal::new(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                    lists.len()
                ),
            ));
        }
        Some(lists) => {
            lists.iter().try_for_each(|list| check_assignment(image, list, width))?;
            lists.clone()
        }
    };
    Ok(partition_records(topic.id, current, replicas).collect())
}

fn check_growth(topic: &Topic, current: i32, total: i32) -> Outcome<i32> {
    let refuse = |message| Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    if total == current {
        return refuse(format!("Topic already has {current} partition(s)."));
    }
    if total < current {
        return refuse(format!(
            "The topic {} currently has {current} partition(s); {total} would not be an increase.",
            topic.name
        ));
    }
    if total - current > PARTITIONS_PER_REQUEST_MAX {
        return Err(Refusal::new(
            ErrorCode::PolicyViolation,
            format!(
                "Unable to perform excessively large batch operation: at most {PARTITIONS_PER_REQUEST_MAX} partitions at once."
            ),
        ));
    }
    Ok(total - current)
}
