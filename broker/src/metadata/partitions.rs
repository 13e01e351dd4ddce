//! From metadata to partitions: opens what this node is to hold, lets go of what it is not.

use super::METADATA_TOPIC;
use crate::effects::{Effects, Level};
use crate::job::Job;
use crate::replica::{Opening, Replica};
use crate::shared::Shared;
use crate::view::{Node, Replicas};
use base::{BrokerId, EndOffset, Now, PartitionIndex, TopicId, hit, planted};
use cluster::config::{ResourceKind, ThrottleRates, TopicConfig};
use cluster::{Delta, Image, PartitionState, Topic};
use seglog::dir::{LogDir, RemoveDirJob};
use seglog::disk::{DiskError, DiskErrorKind};
use seglog::{Log, LogDamage, OpenLogError, PartitionName, Unsettled};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A delta that names all topics: what a start from a snapshot has to open.
pub(super) fn everything(image: &Image) -> Delta {
    Delta { topics: image.topics().map(|topic| topic.id).collect(), ..Delta::default() }
}

/// Partitions that are opened at a time while others wait for this node: each takes several files, and a controller that is
/// silent for half a second loses its office. At a start, and where nobody else is, all are, and made durable together.
pub(super) const OPENED_AT_ONCE: usize = 32;

/// What carrying out a delta has left to do.
#[derive(Debug, Default)]
pub(super) struct Remaining {
    /// Topics of which a partition could not be opened yet: they are to be tried again.
    pub(super) topics: Vec<TopicId>,
    /// Why, for the operator.
    pub(super) reason: Option<String>,
    /// Topics of which there are more partitions to open than were opened now.
    pub(super) more: Vec<TopicId>,
    /// Partitions whose files lack what was durable, and that others do not have yet as far as these metadata say.
    pub(super) damaged: Vec<(TopicId, PartitionIndex)>,
    /// Damaged partitions that begin anew.
    pub(super) replaced: Vec<(TopicId, PartitionIndex)>,
    /// Removals that are jobs now.
    pub(super) removals: usize,
    /// Partitions that were looked at or let go.
    pub(super) touched: Vec<(TopicId, PartitionIndex)>,
}

impl Remaining {
    fn put_off(&mut self, topic: TopicId) {
        if self.more.last() != Some(&topic) {
            self.more.push(topic);
        }
    }

    fn wait(&mut self, topic: TopicId, reason: Option<String>) {
        if self.topics.last() != Some(&topic) {
            self.topics.push(topic);
        }
        self.reason = self.reason.take().or(reason);
    }
}

/// Finds directories that deletions and moves have left behind: what is known to be deleted, or to be elsewhere, is on its
/// way out; what is nobody's is named and left alone (rule B11).
pub(super) fn sweep(
    dir: &Arc<LogDir>,
    (own, image): (BrokerId, &Image),
    replicas: &Replicas,
    removed: &BTreeSet<TopicId>,
) -> Result<(Vec<RemoveDirJob>, Vec<PartitionName>), DiskError> {
    let mut left = dir.deleted_partitions()?;
    let mut strays = Vec::new();
    // Whose the directory of an open partition is was read when that was opened.
    let is_open = |name: &PartitionName| {
        let topic = image.topic(name.topic());
        topic.is_some_and(|topic| replicas.contains_key(&(topic.id, name.partition())))
    };
    let unknown = |name: &PartitionName| name.topic() != METADATA_TOPIC && !is_open(name);
    for name in dir.partitions()?.into_iter().filter(unknown) {
        // `None` if there is no such partition.
        let is_here = |topic: Option<&Arc<Topic>>| Some(topic?.partition(name.partition())?.is_on(own));
        match Log::topic_of(dir, &name) {
            Ok(Some(id)) => match is_here(image.topic_by_id(id)) {
                Some(true) => {}
                Some(false) => {
                    // It went while this node was down, or in the moment before.
                    hit!(moved_partition_swept);
                    left.push(dir.delete_partition(&name, id)?);
                }
                None if removed.contains(&id) => {
                    hit!(deleted_partition_swept);
                    left.push(dir.delete_partition(&name, id)?);
                }
                None => strays.push(name),
            },
            // It does not say whose it is, or cannot be read: whoever opens the partition sees to that.
            Ok(None) | Err(_) if is_here(image.topic(name.topic())).is_some() => {}
            Ok(None) | Err(_) => strays.push(name),
        }
    }
    Ok((left, strays))
}

/// Carries a delta out on the local partitions.
pub(super) fn apply(
    target: &Target<'_>,
    delta: &Delta,
    replicas: &mut Replicas,
    now: Now,
    fx: &mut Effects,
) -> Remaining {
    let mut remaining = Remaining::default();
    for (id, name) in &delta.removed {
        let all = (*id, PartitionIndex(i32::MIN))..=(*id, PartitionIndex(i32::MAX));
        let gone: Vec<_> = replicas.range(all).map(|(key, _)| *key).collect();
        for key in gone {
            remaining.touched.push(key);
            let_go(key, replicas, &mut remaining, fx);
        }
        fx.log(Level::Info, format!("Topic {name} is deleted"));
    }
    let mut seen = BTreeSet::new();
    let topics = delta.topics.iter().filter(|id| seen.insert(**id));
    let mut recovered = Vec::new();
    for topic in topics.filter_map(|id| target.image.topic_by_id(*id)) {
        target.open_topic(topic, replicas, (now, fx), &mut recovered, &mut remaining);
    }
    target.settle(recovered, replicas, (now, fx), &mut remaining);
    target.configure(delta, replicas, now, fx);
    remaining
}

/// Lets go of the partitions that have moved to other nodes, now that all of the metadata is known; names them.
pub(super) fn let_go_moved(
    own: BrokerId,
    image: &Image,
    replicas: &mut Replicas,
    fx: &mut Effects,
) -> Vec<(TopicId, PartitionIndex)> {
    let mut remaining = Remaining::default();
    let is_here = |(topic, index): &(TopicId, PartitionIndex)| {
        image
            .topic_by_id(*topic)
            .and_then(|topic| topic.partition(*index))
            .is_some_and(|state| state.is_on(own))
    };
    let moved: Vec<_> = replicas.keys().filter(|key| !is_here(key)).copied().collect();
    for key in &moved {
        hit!(partition_moved_away);
        let_go(*key, replicas, &mut remaining, fx);
    }
    moved
}

/// A partition is not to be here any more.
fn let_go(
    key: (TopicId, PartitionIndex),
    replicas: &mut Replicas,
    remaining: &mut Remaining,
    fx: &mut Effects,
) {
    if let Some(replica) = replicas.get(&key) {
        replica.delete(fx);
        remaining.removals += 1;
    }
    replicas.remove_mut(&key);
}

/// What the partitions are to become.
pub(super) struct Target<'a> {
    pub(super) node: &'a Node,
    pub(super) shared: &'a Shared,
    pub(super) image: &'a Image,
    /// What was carried out before; `None` to look at all partitions of the topics.
    pub(super) before: Option<&'a Image>,
    /// So many are opened; what there is beyond them is put off.
    pub(super) opens_max: usize,
    /// Partitions that could not be opened are tried again, though they are what they were.
    pub(super) opens_missing: bool,
    /// Topics that are known to be deleted.
    pub(super) removed: &'a BTreeSet<TopicId>,
    /// Partitions whose files lack what was durable.
    pub(super) damaged: &'a BTreeSet<(TopicId, PartitionIndex)>,
    /// The image is not one from before the last start: what it does not know is not there.
    pub(super) is_current: bool,
    /// This process is registered in the image. In an earlier one it may lead what others have led since: with an epoch
    /// that is over it must neither promise anything nor write.
    pub(super) has_roles: bool,
}

/// A partition whose log is recovered but not settled.
struct Recovered<'t> {
    opening: Opening<'t>,
    state: &'t PartitionState,
    log: Unsettled,
}

impl Target<'_> {
    fn config(&self, topic: &str) -> Arc<TopicConfig> {
        Arc::new(self.image.topic_config(topic, self.node.config.node_id, &self.node.fixed))
    }

    /// Carries out what the metadata say of a topic's partitions that are here, and recovers those that are not yet.
    fn open_topic<'t>(
        &'t self,
        topic: &'t Topic,
        replicas: &mut Replicas,
        (now, fx): (Now, &mut Effects),
        recovered: &mut Vec<Recovered<'t>>,
        remaining: &mut Remaining,
    ) {
        let own = self.node.config.node_id;
        let config = self.config(&topic.name);
        let before = self.before.and_then(|image| image.topic_by_id(topic.id)).map(|topic| &**topic);
        for (index, state) in (0..).map(PartitionIndex).zip(&topic.partitions) {
            let key = (topic.id, index);
            let lacks = || self.opens_missing && state.is_on(own) && !replicas.contains_key(&key);
            if self.has_same(before, index, state) && !self.damaged.contains(&key) && !lacks() {
                continue;
            }
            remaining.touched.push(key);
            if self.damaged.contains(&key) && replicas.contains_key(&key) && self.is_replaceable(state) {
                self.note_replaced((topic.id, &topic.name), index, None, fx, remaining);
                let_go(key, replicas, remaining, fx);
            }
            if let Some(replica) = replicas.get(&key) {
                if self.has_roles {
                    replica.assume(own, state, now.mono, fx);
                }
                // What is replayed on the way to serving may be long past: it may have come back since.
                if !state.is_on(own) && self.is_current {
                    hit!(partition_moved_away);
                    let_go(key, replicas, remaining, fx);
                }
                continue;
            }
            if !state.is_on(own) {
                continue;
            }
            if recovered.len() >= self.opens_max {
                hit!(partition_opened_with_the_next);
                remaining.put_off(topic.id);
                continue;
            }
            let opening = self.opening(topic, index, &config);
            match self.recover(&opening, state, (now, fx), remaining) {
                Ok(log) => recovered.push(Recovered { opening, state, log }),
                Err(error) => self.not_opened(&opening, &error, fx, remaining),
            }
        }
    }

    /// Makes what was recovered durable, all of it at once, and the partitions replicas of this node.
    fn settle(
        &self,
        recovered: Vec<Recovered<'_>>,
        replicas: &mut Replicas,
        (now, fx): (Now, &mut Effects),
        remaining: &mut Remaining,
    ) {
        let (openings, logs): (Vec<_>, Vec<_>) =
            recovered.into_iter().map(|Recovered { opening, state, log }| ((opening, state), log)).unzip();
        let settled = self.shared.flusher.dir().settle(logs);
        for ((opening, state), log) in openings.into_iter().zip(settled) {
            match log {
                Ok(log) => {
                    let key = (opening.topic, opening.index);
                    let replica = Arc::new(Replica::new(opening, log));
                    if self.has_roles {
                        replica.assume(self.node.config.node_id, state, now.mono, fx);
                    }
                    self.shared.upkeep.stirred(&replica, replica.opened(), now, fx);
                    replicas.insert_mut(key, replica);
                }
                Err(error) => self.not_opened(&opening, &error, fx, remaining),
            }
        }
    }

    /// True if a partition's state is what has been carried out already.
    fn has_same(&self, before: Option<&Topic>, index: PartitionIndex, state: &Arc<PartitionState>) -> bool {
        let at = usize::try_from(index.0).ok();
        let old = before.zip(at).and_then(|(topic, at)| topic.partitions.get(at));
        old.is_some_and(|old| Arc::ptr_eq(old, state))
    }

    fn opening<'t>(
        &'t self,
        topic: &'t Topic,
        index: PartitionIndex,
        config: &Arc<TopicConfig>,
    ) -> Opening<'t> {
        Opening {
            dir: self.shared.flusher.dir(),
            topic: topic.id,
            name: &topic.name,
            index,
            config: config.clone(),
            producer_expiration: self.node.config.producer_id_expiration,
            high_watermark: self.known_safe(&topic.name, index),
        }
    }

    /// Recovers a partition's log. What is in its way is let go if that is known to be right.
    fn recover(
        &self,
        opening: &Opening<'_>,
        state: &PartitionState,
        (now, fx): (Now, &mut Effects),
        remaining: &mut Remaining,
    ) -> Result<Unsettled, OpenLogError> {
        let recovered = opening.recover(now);
        let (topic, name, index) = (opening.topic, opening.name, opening.index);
        let makes_way = match &recovered {
            Err(OpenLogError::WrongTopic { found }) => self.make_way(name, index, *found, (fx, remaining)),
            Err(OpenLogError::Damaged(damage)) if self.is_replaceable(state) => {
                self.note_replaced((topic, name), index, Some(damage), fx, remaining);
                self.let_files_go(name, index, topic, (fx, remaining))
            }
            Ok(_) | Err(_) => false,
        };
        if makes_way { opening.recover(now) } else { recovered }
    }

    fn note_replaced(
        &self,
        (topic, name): (TopicId, &str),
        index: PartitionIndex,
        damage: Option<&LogDamage>,
        fx: &mut Effects,
        remaining: &mut Remaining,
    ) {
        hit!(damaged_replica_replaced);
        let damage = damage.map_or_else(String::new, |damage| format!(": {damage}"));
        let text = format!(
            "{name}-{index} is damaged and is fetched anew from others, who hold all that is safe{damage}"
        );
        fx.log(Level::Warn, text);
        remaining.replaced.push((topic, index));
    }

    /// Others hold all that is safe, and this broker does not count as one of them: it may begin with nothing.
    fn is_replaceable(&self, state: &PartitionState) -> bool {
        let own = self.node.config.node_id;
        let mut holders = state.isr.iter().chain(&state.elr).peekable();
        self.has_roles
            && (planted!(E11) || (holders.peek().is_some() && !holders.any(|holder| *holder == own)))
    }

    fn not_opened(
        &self,
        opening: &Opening<'_>,
        error: &OpenLogError,
        fx: &mut Effects,
        remaining: &mut Remaining,
    ) {
        let (topic, name, index) = (opening.topic, opening.name, opening.index);
        match error {
            OpenLogError::Disk(error) if error.kind == DiskErrorKind::NoSpace => {
                hit!(partition_waits_for_space);
                remaining.wait(topic, Some("the disk is full".into()));
            }
            // Whose it is will be known when all of the metadata has been replayed.
            OpenLogError::WrongTopic { .. } if !self.is_current => remaining.wait(topic, None),
            // Perhaps it can be read another time.
            OpenLogError::Disk(error) => {
                hit!(partition_opened_later);
                remaining.wait(topic, Some(error.to_string()));
            }
            // The partition stays away: its clients hear NOT_LEADER_OR_FOLLOWER, nothing is overwritten.
            OpenLogError::Damaged(_) | OpenLogError::WrongTopic { .. } | OpenLogError::Fenced => {
                fx.log(Level::Error, format!("{name}-{index} cannot be opened: {error}"));
                if matches!(error, OpenLogError::Damaged(_)) {
                    remaining.damaged.push((topic, index));
                }
            }
        }
    }

    /// What was known to be safe of a partition at the last clean end.
    fn known_safe(&self, topic: &str, index: PartitionIndex) -> EndOffset {
        let name = PartitionName::new(topic, index);
        name.map_or(EndOffset::ZERO, |name| self.shared.flusher.high_watermark(&name))
    }

    /// Makes a name that is wanted free of the directory that another topic has left under it. Deleted it is only if the
    /// deletion is known (rule B11): who was away for long hears of it by a snapshot, and that does not name a topic which
    /// this node had not heard of before. What is then of no topic that there is, is set aside for the operator. False if
    /// the name is not free now.
    fn make_way(
        &self,
        topic: &str,
        index: PartitionIndex,
        found: TopicId,
        (fx, remaining): (&mut Effects, &mut Remaining),
    ) -> bool {
        if self.removed.contains(&found) {
            hit!(deleted_partition_makes_way);
            return self.let_files_go(topic, index, found, (fx, remaining));
        }
        let Some(name) = PartitionName::new(topic, index) else { return false };
        if !self.is_current || self.image.topic_by_id(found).is_some() {
            return false;
        }
        hit!(directory_of_nobody_makes_way);
        let text = format!("The directory {name} is of topic {found}, which there is not: it is set aside");
        fx.log(Level::Warn, text);
        self.shared.flusher.dir().set_aside(&name.to_string(), found).is_ok()
    }

    /// Frees a partition's name; what was under it is removed by and by. False if that cannot be done now.
    fn let_files_go(
        &self,
        topic: &str,
        index: PartitionIndex,
        id: TopicId,
        (fx, remaining): (&mut Effects, &mut Remaining),
    ) -> bool {
        let name = PartitionName::new(topic, index);
        let removal = name.and_then(|name| self.shared.flusher.dir().delete_partition(&name, id).ok());
        remaining.removals += usize::from(removal.is_some());
        let is_free = removal.is_some();
        fx.jobs.extend(removal.map(Job::Remove));
        is_free
    }

    fn configure(&self, delta: &Delta, replicas: &Replicas, now: Now, fx: &mut Effects) {
        let all = delta.configs.iter().any(|resource| resource.kind == ResourceKind::Broker);
        if all {
            let (own, fixed) = (self.node.config.node_id, &self.node.fixed);
            self.shared.throttles.set(self.image.with_layers(own, fixed, ThrottleRates::resolve));
        }
        let named = delta.configs.iter().filter(|resource| resource.kind == ResourceKind::Topic);
        let named = named.filter_map(|resource| self.image.topic(&resource.name));
        let topics: Vec<_> = if all { self.image.topics().collect() } else { named.collect() };
        for topic in topics {
            let config = self.config(&topic.name);
            let indexes = (0..).map(PartitionIndex).take(topic.partitions.len());
            for replica in indexes.filter_map(|index| replicas.get(&(topic.id, index))) {
                replica.configure(config.clone(), self.node.config.producer_id_expiration, fx);
                self.shared.upkeep.stirred(replica, replica.opened(), now, fx);
            }
        }
    }
}
