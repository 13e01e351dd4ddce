//! What follows from the brokers that there are: which replicas move, and who is to lead.
//!
//! The plan leaves no choices to whoever carries it out: the same image always leads to the same decision. It counts
//! replicas, not bytes, and it is a step at a time: whoever asks asks again once that step is done.

use super::partitions::min_isr_of;
use super::{Defaults, Reply};
use crate::config::is_balanced;
use crate::image::{Image, Topic};
use crate::partition::PartitionState;
use crate::record::Record;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::{BrokerId, Now, PartitionIndex, hit};

/// Partitions that the plan moves at a time: copies share the network with clients.
const MOVING_MAX: usize = 20;
/// Leaders that one decision changes.
const ELECTIONS_MAX: usize = 1_000;
/// A broker may have this share of the mean more than another: `1 / SKEW`.
const SKEW: usize = 10;

/// Topics whose factor nobody chose get the replicas that they lack. Once they have, brokers that have more than others give
/// replicas away, preferred leaders are spread, and preferred replicas that have served for a while lead, if `leaders` says so. Says whether there is
/// more to do once this is done.
pub(super) fn balance(
    image: &Image,
    soft: &Defaults,
    now: Now,
    leaders: bool,
    records: &mut Vec<Record>,
) -> Reply {
    let mut plan = Plan::new(image);
    plan.grow_all(soft, records);
    if !records.is_empty() || plan.is_more {
        // It changes what is even.
        plan.is_more = true;
    } else if !is_switched_off(image, soft) {
        plan.even_out_all(soft, records);
    }
    let has_moved = !records.is_empty();
    if leaders {
        prefer_all(image, |id| soft.is_settled(id, now.mono), records);
    }
    Reply::Balanced { is_more: plan.is_more, has_moved }
}

/// Preferred replicas lead where nothing else happens at the same time, if they have served for a while.
fn prefer_all(image: &Image, is_settled: impl Fn(BrokerId) -> bool, records: &mut Vec<Record>) {
    let placed = |record: &Record| {
        if let Record::Partition { topic, index, .. } = record { Some((*topic, *index)) } else { None }
    };
    let taken: BTreeSet<_> = records.iter().filter_map(placed).collect();
    for topic in image.topics() {
        for (index, state) in (0..).map(PartitionIndex).zip(&topic.partitions) {
            if records.len() >= ELECTIONS_MAX {
                return;
            }
            let next = state.prefer(|id| image.serves(id) && is_settled(id));
            let next = next.filter(|_| !taken.contains(&(topic.id, index)));
            records.extend(next.map(|state| Record::Partition { topic: topic.id, index, state }));
        }
    }
}

fn is_switched_off(image: &Image, soft: &Defaults) -> bool {
    // Not a broker's own setting: whoever is the controller decides alike.
    !image.with_layers(BrokerId(-1), &soft.fixed, is_balanced)
}

/// True for a partition that can spare the disturbance: all its replicas are in sync, and none is on the move.
fn is_whole(state: &PartitionState) -> bool {
    !state.is_moving() && state.isr.len() == state.replicas.len() && state.leader.is_some()
}

/// How many of something each broker has.
#[derive(Debug, Default)]
struct Counts(BTreeMap<BrokerId, usize>);

impl Counts {
    fn of(&self, id: BrokerId) -> usize {
        self.0.get(&id).copied().unwrap_or(0)
    }

    fn add(&mut self, id: BrokerId) {
        *self.0.entry(id).or_default() += 1;
    }

    /// One of them goes from one broker to another.
    fn shift(&mut self, from: BrokerId, to: BrokerId) {
        if let Some(count) = self.0.get_mut(&from) {
            *count = count.saturating_sub(1);
        }
        self.add(to);
    }
}

/// The same of the brokers that may get more; who has the fewest and who the most is always known, however many they are.
#[derive(Debug)]
struct Ranking {
    counts: Counts,
    by_count: BTreeSet<(usize, BrokerId)>,
    /// By how much two may differ.
    tolerance: usize,
}

impl Ranking {
    fn new(counts: &Counts, brokers: &[BrokerId]) -> Self {
        let counts = Counts(brokers.iter().map(|id| (*id, counts.of(*id))).collect());
        let by_count = counts.0.iter().map(|(id, count)| (*count, *id)).collect();
        let mean = counts.0.values().sum::<usize>() / counts.0.len().max(1);
        Self { counts, by_count, tolerance: (mean / SKEW).max(1) }
    }

    fn of(&self, id: BrokerId) -> usize {
        self.counts.of(id)
    }

    fn knows(&self, id: BrokerId) -> bool {
        self.counts.0.contains_key(&id)
    }

    fn all(&self) -> impl Iterator<Item = (BrokerId, usize)> {
        self.counts.0.iter().map(|(id, count)| (*id, *count))
    }

    /// Of those who are not in it nothing is noted.
    fn change(&mut self, id: BrokerId, change: impl FnOnce(usize) -> usize) {
        if let Some(count) = self.counts.0.get_mut(&id) {
            self.by_count.remove(&(*count, id));
            *count = change(*count);
            self.by_count.insert((*count, id));
        }
    }

    fn add(&mut self, id: BrokerId) {
        self.change(id, |count| count + 1);
    }

    fn remove(&mut self, id: BrokerId) {
        self.change(id, |count| count.saturating_sub(1));
    }

    fn shift(&mut self, from: BrokerId, to: BrokerId) {
        self.remove(from);
        self.add(to);
    }

    fn is_uneven(&self) -> bool {
        self.by_count.last().is_some_and(|(most, _)| self.is_too_many(*most))
    }

    /// True if so many are too many beside who has the fewest.
    fn is_too_many(&self, count: usize) -> bool {
        count > self.by_count.first().map_or(0, |(least, _)| *least) + self.tolerance
    }
}

/// The replicas and preferred leaders of one topic.
#[derive(Debug, Default)]
struct OfTopic {
    replicas: Counts,
    preferred: Counts,
}

/// Brokers that may get replicas, how many they have, and of how many they are the preferred leader.
struct Plan<'a> {
    image: &'a Image,
    /// Of the brokers that may get more; those on the move count where they go.
    replicas: Ranking,
    preferred: Ranking,
    moving: usize,
    reordered: usize,
    is_more: bool,
}

impl<'a> Plan<'a> {
    fn new(image: &'a Image) -> Self {
        let living = image.brokers().filter(|broker| image.takes_replicas(broker));
        let living: Vec<_> = living.map(|broker| broker.id).collect();
        let (mut replicas, mut preferred) = (Counts::default(), Counts::default());
        let mut moving = 0;
        for state in image.topics().flat_map(|topic| &topic.partitions) {
            let stays = |id: &&BrokerId| !state.removing.contains(id);
            state.replicas.iter().filter(stays).for_each(|id| replicas.add(*id));
            state.replicas.iter().take(1).for_each(|id| preferred.add(*id));
            moving += usize::from(state.is_moving());
        }
        let [replicas, preferred] = [&replicas, &preferred].map(|counts| Ranking::new(counts, &living));
        Self { image, replicas, preferred, moving, reordered: 0, is_more: false }
    }

    fn grow_all(&mut self, soft: &Defaults, records: &mut Vec<Record>) {
        for topic in self.image.topics().filter(|topic| topic.implicit_factor) {
            let target = usize::try_from(soft.target_factor(&topic.name)).unwrap_or(1);
            let target = target.min(self.replicas.all().count());
            for (index, state) in (0..).map(PartitionIndex).zip(&topic.partitions) {
                if !state.is_moving() && state.replicas.len() < target {
                    let to = self.grow(state, target);
                    records.extend(to.map(|to| self.placed(soft, topic, (index, state), &to)));
                }
            }
        }
    }

    fn even_out_all(&mut self, soft: &Defaults, records: &mut Vec<Record>) {
        for topic in self.image.topics() {
            let Some(mut here) = self.uneven_part_of(topic) else { return };
            for (index, state) in (0..).map(PartitionIndex).zip(&topic.partitions) {
                if is_whole(state) {
                    let to = self.even_out(state, &mut here);
                    let to = to.or_else(|| self.spread_leaders(state, &mut here));
                    records.extend(to.map(|to| self.placed(soft, topic, (index, state), &to)));
                }
            }
        }
    }

    fn placed(
        &self,
        soft: &Defaults,
        topic: &Topic,
        (index, state): (PartitionIndex, &PartitionState),
        to: &[BrokerId],
    ) -> Record {
        let min_isr = min_isr_of(self.image, soft, topic);
        let state = state.move_to(to, min_isr, |id| self.image.serves(id));
        Record::Partition { topic: topic.id, index, state }
    }

    /// The replicas with as many more as are wanted, each where the fewest are, in a rack that has none if there is one.
    /// `None` if enough partitions move already.
    fn grow(&mut self, state: &PartitionState, target: usize) -> Option<Vec<BrokerId>> {
        if self.moving >= MOVING_MAX {
            self.is_more = true;
            return None;
        }
        let mut to = state.replicas.clone();
        while to.len() < target {
            let next = self.next_beside(&to)?;
            self.replicas.add(next);
            to.push(next);
        }
        self.moving += 1;
        self.prefer_who_leads_least(&mut to);
        Some(to)
    }

    /// Whoever was there first need not lead for ever: the preferred leader is who leads the fewest.
    fn prefer_who_leads_least(&mut self, to: &mut [BrokerId]) {
        let led = |id: &BrokerId| self.preferred.of(*id);
        let before = to.first().copied();
        // The first one counts itself already.
        let key = |(at, id): &(usize, &BrokerId)| (led(id) - usize::from(*at == 0).min(led(id)), *at);
        let Some((at, first)) = to.iter().enumerate().min_by_key(key).map(|(at, id)| (at, *id)) else {
            return;
        };
        to[..=at].rotate_right(1);
        before.into_iter().for_each(|id| self.preferred.remove(id));
        self.preferred.add(first);
    }

    fn next_beside(&self, to: &[BrokerId]) -> Option<BrokerId> {
        let racks = self.racks(to);
        let candidates = self.replicas.all().filter(|(id, _)| !to.contains(id));
        let key = |(id, count): &(BrokerId, usize)| {
            (self.rack(*id).is_some_and(|rack| racks.contains(rack)), *count, *id)
        };
        candidates.min_by_key(key).map(|(id, _)| id)
    }

    fn rack(&self, id: BrokerId) -> Option<&'a str> {
        self.image.broker(id).and_then(|broker| broker.rack.as_deref())
    }

    fn racks(&self, ids: &[BrokerId]) -> BTreeSet<&'a str> {
        ids.iter().filter_map(|id| self.rack(*id)).collect()
    }
}

/// Evening out.
impl Plan<'_> {
    /// What of a topic there is where; `None` once everything is even.
    fn uneven_part_of(&self, topic: &Topic) -> Option<OfTopic> {
        (self.replicas.is_uneven() || self.preferred.is_uneven()).then(|| {
            let mut here = OfTopic::default();
            for state in &topic.partitions {
                let stays = |id: &&BrokerId| !state.removing.contains(id);
                state.replicas.iter().filter(stays).for_each(|id| here.replicas.add(*id));
                state.replicas.iter().take(1).for_each(|id| here.preferred.add(*id));
            }
            here
        })
    }

    /// The replicas with the one that is where the most are somewhere else, if that makes brokers more alike, the topic's own
    /// replicas no less alike, and stands in no fewer racks.
    fn even_out(&mut self, state: &PartitionState, here: &mut OfTopic) -> Option<Vec<BrokerId>> {
        let known = state.replicas.iter().copied().filter(|id| self.replicas.knows(*id));
        let from = known.max_by_key(|id| (self.replicas.of(*id), *id))?;
        if !self.replicas.is_too_many(self.replicas.of(from)) {
            return None;
        }
        if self.moving >= MOVING_MAX {
            // Where it would go is found out when it may: to search for it is what this plan costs.
            self.is_more = true;
            return None;
        }
        let to = self.better_than(from, state, here)?;
        hit!(replica_moved_to_even_out);
        self.replicas.shift(from, to);
        here.replicas.shift(from, to);
        self.moving += 1;
        let mut replicas = state.replicas.clone();
        replicas.iter_mut().filter(|id| **id == from).for_each(|id| *id = to);
        if state.replicas.first() == Some(&from) {
            self.preferred.shift(from, to);
            here.preferred.shift(from, to);
        }
        Some(replicas)
    }

    /// The best broker for the replica that `from` gives away.
    fn better_than(&self, from: BrokerId, state: &PartitionState, here: &OfTopic) -> Option<BrokerId> {
        let others: Vec<_> = state.replicas.iter().copied().filter(|id| *id != from).collect();
        let racks = self.racks(&others);
        let is_new = |id: BrokerId| self.rack(id).is_some_and(|rack| !racks.contains(rack));
        let must_be_new = is_new(from);
        let (most, most_here) = (self.replicas.of(from), here.replicas.of(from));
        let fits = |id: &BrokerId, count: usize| {
            most > count + self.replicas.tolerance
                && here.replicas.of(*id) < most_here
                && !state.replicas.contains(id)
                && (is_new(*id) || !must_be_new)
        };
        let candidates = self.replicas.all().filter(|(id, count)| fits(id, *count));
        candidates.min_by_key(|(id, count)| (here.replicas.of(*id), *count, *id)).map(|(id, _)| id)
    }

    /// The same replicas with another one preferred, if the preferred ones are more alike then, in the topic, too.
    fn spread_leaders(&mut self, state: &PartitionState, here: &mut OfTopic) -> Option<Vec<BrokerId>> {
        let first = *state.replicas.first()?;
        let (most, most_here) = (self.preferred.of(first), here.preferred.of(first));
        if !self.preferred.is_too_many(most) || self.reordered >= ELECTIONS_MAX {
            return None;
        }
        let fits = |id: &&BrokerId| {
            self.preferred.knows(**id)
                && most > self.preferred.of(**id) + self.preferred.tolerance
                && here.preferred.of(**id) <= most_here
        };
        let key = |id: &&BrokerId| (here.preferred.of(**id), self.preferred.of(**id), **id);
        let next = *state.replicas.iter().filter(fits).min_by_key(key)?;
        hit!(preferred_leader_moved_to_even_out);
        self.reordered += 1;
        self.preferred.shift(first, next);
        here.preferred.shift(first, next);
        let rest = state.replicas.iter().copied().filter(|id| *id != next);
        Some(core::iter::once(next).chain(rest).collect())
    }
}
