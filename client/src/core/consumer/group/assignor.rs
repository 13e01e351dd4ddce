//! Who reads what: the assignors of the classic protocol, with the names and results of Kafka's.

use crate::core::consumer::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;

/// How the leader of a group shares the partitions out. All members must support the one that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Of each topic, each member gets a range.
    Range,
    /// All partitions of all topics in turn.
    RoundRobin,
    /// Balanced; members keep what they have as far as possible.
    Sticky,
    /// As `Sticky`, and members go on reading what they keep while the rest moves (KIP-429).
    CooperativeSticky,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: Str,
    /// Static members keep their place by this name.
    pub(crate) instance_id: Option<Str>,
    pub(crate) topics: Vec<Str>,
    pub(crate) owned: Vec<TopicPartition>,
    /// In which `owned` was true; −1 if unknown.
    pub(crate) generation: i32,
}

/// Partitions by member.
pub(crate) type Assignment = BTreeMap<Str, Vec<TopicPartition>>;

impl Assignor {
    /// The name in `partition.assignment.strategy` and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The assignor of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Range, Self::RoundRobin, Self::Sticky, Self::CooperativeSticky];
        all.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Shares the partitions of `topics` (name and count) out; every member has an entry.
    pub(crate) fn assign(self, members: &[Member], topics: &BTreeMap<Str, i32>) -> Assignment {
        let mut sorted: Vec<&Member> = members.iter().collect();
        // Static members first, by their names, as in Kafka.
        sorted.sort_by_key(|m| (m.instance_id.is_none(), m.instance_id.clone(), m.id.clone()));
        match self {
            Self::Range => range(&sorted, topics),
            Self::RoundRobin => round_robin(&sorted, topics),
            Self::Sticky => sticky(&sorted, topics),
            Self::CooperativeSticky => cooperative(&sorted, sticky(&sorted, topics)),
        }
    }
}

fn empty(members: &[&Member]) -> Assignment {
    members.iter().map(|member| (member.id.clone(), Vec::new())).collect()
}

fn give(assignment: &mut Assignment, member: &Member, partition: TopicPartition) {
    assignment.entry(member.id.clone()).or_default().push(partition);
}

fn range(members: &[&Member], topics: &BTreeMap<Str, i32>) -> Assignment {
    let mut assignment = empty(members);
    for (topic, count) in topics {
        let readers: Vec<_> = members.iter().filter(|member| member.topics.contains(topic)).collect();
        let Ok(total) = i32::try_from(readers.len()) else { continue };
        if total == 0 {
            continue;
        }
        let mut next = 0;
        for (k, member) in (0..).zip(readers) {
            // The first members take one more each where it does not come out even.
            let share = count / total + i32::from(k < count % total);
            for partition in next..next + share {
                give(&mut assignment, member, TopicPartition { topic: topic.clone(), partition });
            }
            next += share;
        }
    }
    assignment
}

fn all_partitions(topics: &BTreeMap<Str, i32>) -> impl Iterator<Item = TopicPartition> {
    topics.iter().flat_map(|(topic, count)| {
        (0..*count).map(|partition| TopicPartition { topic: topic.clone(), partition })
    })
}

fn round_robin(members: &[&Member], topics: &BTreeMap<Str, i32>) -> Assignment {
    let mut assignment = empty(members);
    let mut turn = 0;
    for partition in all_partitions(topics) {
        for step in 0..members.len() {
            let place = (turn + step) % members.len();
            if members[place].topics.contains(&partition.topic) {
                give(&mut assignment, members[place], partition);
                turn = place + 1;
                break;
            }
        }
    }
    assignment
}

/// Everybody keeps what is theirs; what is free goes to whoever has least; then those with more give to those
/// with at least two fewer, until nobody is better off.
fn sticky(members: &[&Member], topics: &BTreeMap<Str, i32>) -> Assignment {
    let mut assignment = empty(members);
    let owners = owners(members, topics);
    let mut free = Vec::new();
    for partition in all_partitions(topics) {
        match owners.get(&partition) {
            Some(owner) => give(&mut assignment, owner, partition),
            None => free.push(partition),
        }
    }
    for partition in free {
        if let Some(member) = lightest(members, &assignment, &partition) {
            give(&mut assignment, member, partition);
        }
    }
    while let Some((from, place, to)) = improvement(members, &assignment) {
        let moved = assignment.get_mut(&from).map(|partitions| partitions.remove(place));
        assignment.entry(to).or_default().extend(moved);
    }
    assignment.values_mut().for_each(|partitions| partitions.sort());
    assignment
}

/// Who has a claim: of several, the one whose claim is youngest.
fn owners<'a>(members: &[&'a Member], topics: &BTreeMap<Str, i32>) -> BTreeMap<TopicPartition, &'a Member> {
    let mut owners: BTreeMap<TopicPartition, &Member> = BTreeMap::new();
    for member in members {
        for partition in &member.owned {
            let exists = topics.get(&partition.topic).is_some_and(|count| partition.partition < *count);
            let older = owners.get(partition).is_none_or(|other| other.generation < member.generation);
            if exists && older && member.topics.contains(&partition.topic) {
                owners.insert(partition.clone(), member);
            }
        }
    }
    owners
}

fn load(assignment: &Assignment, member: &Member) -> usize {
    assignment.get(&member.id).map_or(0, Vec::len)
}

fn lightest<'a>(
    members: &[&'a Member],
    assignment: &Assignment,
    partition: &TopicPartition,
) -> Option<&'a Member> {
    let readers = members.iter().filter(|member| member.topics.contains(&partition.topic));
    readers.min_by_key(|member| load(assignment, member)).copied()
}

/// A partition whose move makes the loads more even, from the heaviest member that has one.
fn improvement(members: &[&Member], assignment: &Assignment) -> Option<(Str, usize, Str)> {
    let mut heaviest: Vec<_> = members.iter().collect();
    heaviest.sort_by_key(|member| std::cmp::Reverse(load(assignment, member)));
    for from in heaviest {
        let partitions = assignment.get(&from.id)?;
        // From the end, so that early partitions stay where they are.
        for (place, partition) in partitions.iter().enumerate().rev() {
            let to = lightest(members, assignment, partition)?;
            if load(assignment, to) + 1 < partitions.len() {
                return Some((from.id.clone(), place, to.id.clone()));
            }
        }
    }
    None
}

/// What another member still owns is given to nobody in this round: its owner first has to let go.
fn cooperative(members: &[&Member], mut assignment: Assignment) -> Assignment {
    let owned: BTreeSet<(&Str, &TopicPartition)> = members
        .iter()
        .flat_map(|member| member.owned.iter().map(|partition| (&member.id, partition)))
        .collect();
    let claimed: BTreeSet<&TopicPartition> = owned.iter().map(|(_, partition)| *partition).collect();
    for (member, partitions) in &mut assignment {
        partitions.retain(|partition| !claimed.contains(partition) || owned.contains(&(member, partition)));
    }
    assignment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, topics: &[&str], owned: &[(&str, i32)]) -> Member {
        let owned = owned.iter().map(|(topic, partition)| tp(topic, *partition)).collect();
        let topics = topics.iter().map(|topic| Str::from(*topic)).collect();
        Member { id: id.into(), topics, owned, generation: 1, instance_id: None }
    }

    fn tp(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }

    fn topics(all: &[(&str, i32)]) -> BTreeMap<Str, i32> {
        all.iter().map(|(topic, count)| (Str::from(*topic), *count)).collect()
    }

    fn shown(assignment: &Assignment) -> Vec<String> {
        let one = |(member, partitions): (&Str, &Vec<TopicPartition>)| {
            let partitions: Vec<_> = partitions.iter().map(ToString::to_string).collect();
            format!("{member}: {}", partitions.join(" "))
        };
        assignment.iter().map(one).collect()
    }

    #[test]
    fn range_gives_each_member_a_range_of_each_topic() {
        let members =
            [member("b", &["t", "u"], &[]), member("a", &["t", "u"], &[]), member("c", &["u"], &[])];
        let assignment = Assignor::Range.assign(&members, &topics(&[("t", 3), ("u", 4)]));
        assert_eq!(shown(&assignment), ["a: t-0 t-1 u-0 u-1", "b: t-2 u-2", "c: u-3"]);
    }

    #[test]
    fn round_robin_goes_on_where_the_last_topic_ended_and_skips_who_does_not_read_it() {
        let members = [member("a", &["t", "u"], &[]), member("b", &["u"], &[])];
        let assignment = Assignor::RoundRobin.assign(&members, &topics(&[("t", 2), ("u", 3)]));
        assert_eq!(shown(&assignment), ["a: t-0 t-1 u-1", "b: u-0 u-2"]);
    }

    #[test]
    fn sticky_moves_no_more_than_balance_needs() {
        let old = [("t", 0), ("t", 1), ("t", 2), ("t", 3)];
        let members = [member("a", &["t"], &old), member("b", &["t"], &[])];
        let assignment = Assignor::Sticky.assign(&members, &topics(&[("t", 4)]));
        assert_eq!(shown(&assignment), ["a: t-0 t-1", "b: t-2 t-3"]);
    }

    #[test]
    fn cooperative_holds_back_what_is_still_owned() {
        let old = [("t", 0), ("t", 1), ("t", 2), ("t", 3)];
        let members = [member("a", &["t"], &old), member("b", &["t"], &[])];
        let assignment = Assignor::CooperativeSticky.assign(&members, &topics(&[("t", 5)]));
        assert_eq!(shown(&assignment), ["a: t-0 t-1 t-2", "b: t-4"]);
    }

    #[test]
    fn of_two_claims_the_younger_counts() {
        let mut zombie = member("a", &["t"], &[("t", 0)]);
        zombie.generation = 0;
        let members = [zombie, member("b", &["t"], &[("t", 0)])];
        let assignment = Assignor::Sticky.assign(&members, &topics(&[("t", 1)]));
        assert_eq!(shown(&assignment), ["a: ", "b: t-0"]);
    }

    #[test]
    fn everything_is_given_once_and_evenly_for_many_shapes() {
        let mut rng = base::Rng::new(5);
        for _ in 0..300 {
            let count = rng.between(1, 6);
            let members: Vec<_> = (0..count).map(|k| member(&format!("m{k}"), &["t", "u"], &[])).collect();
            let sizes =
                [("t", i32::try_from(rng.below(12)).unwrap()), ("u", i32::try_from(rng.below(12)).unwrap())];
            for assignor in
                [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky]
            {
                let assignment = assignor.assign(&members, &topics(&sizes));
                let mut given: Vec<_> = assignment.values().flatten().collect();
                given.sort();
                let wanted: Vec<_> = all_partitions(&topics(&sizes)).collect();
                assert_eq!(given, wanted.iter().collect::<Vec<_>>(), "{assignor:?}");
                let loads = assignment.values().map(Vec::len);
                let spread = loads.clone().max().unwrap() - loads.min().unwrap();
                let allowed = if assignor == Assignor::Range { 2 } else { 1 };
                assert!(spread <= allowed, "{assignor:?} {spread}");
            }
        }
    }
}
