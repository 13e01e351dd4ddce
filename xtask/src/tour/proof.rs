//! What the tour claims, checked.

use super::input::Line;
use super::member::{Member, parse};
use std::collections::{BTreeMap, BTreeSet};

/// A group's committed offsets at a moment, by partition.
pub(super) struct Commits {
    group: String,
    offsets: BTreeMap<usize, i64>,
}

impl Commits {
    /// Out of what `ottla group describe` prints.
    pub(super) fn parse(group: &str, table: &str) -> Result<Self, String> {
        let row = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [topic, partition, committed, ..] = fields.as_slice() else { return None };
            (*topic == super::TOPIC)
                .then(|| Some((partition.parse().ok()?, committed.parse().unwrap_or(0))))?
        };
        let offsets: BTreeMap<usize, i64> = table.lines().filter_map(row).collect();
        if offsets.is_empty() {
            return Err(format!("no committed offsets of {group} in:\n{table}"));
        }
        Ok(Self { group: group.to_owned(), offsets })
    }

    /// True once something is committed in every partition.
    pub(super) fn are_everywhere(&self) -> bool {
        self.offsets.values().all(|offset| *offset > 0)
    }

    /// Only those of some partitions.
    pub(super) fn of(mut self, partitions: &BTreeSet<usize>) -> Self {
        self.offsets.retain(|partition, _| partitions.contains(partition));
        self
    }
}

/// How many different records the members of a group have read.
pub(super) fn distinct(members: &[Member], group: &str) -> usize {
    let of_group = members.iter().filter(|member| member.group == group);
    let seen: BTreeSet<_> =
        of_group.flat_map(Member::seen).map(|seen| (seen.partition, seen.offset)).collect();
    seen.len()
}

/// Everything that a group has read: where, what, and how often.
pub(super) struct Group {
    name: &'static str,
    records: BTreeMap<(usize, i64), (String, usize)>,
}

impl Group {
    pub(super) fn collect(name: &'static str, members: &[Member]) -> Result<Self, String> {
        let mut records = BTreeMap::new();
        for seen in members.iter().filter(|member| member.group == name).flat_map(Member::seen) {
            let place = (seen.partition, seen.offset);
            let (text, times) = records.entry(place).or_insert((seen.text.clone(), 0));
            if *text != seen.text {
                return Err(format!("{name}: {place:?} has two contents: {text:?} and {:?}", seen.text));
            }
            *times += 1;
        }
        Ok(Self { name, records })
    }

    /// A row of the table, if everything is as promised.
    pub(super) fn check(&self, lines: &[Line], interruptions: &[Commits]) -> Result<String, String> {
        let name = self.name;
        let mut read: Vec<&str> = self.records.values().map(|(text, _)| text.as_str()).collect();
        let mut sent: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        read.sort_unstable();
        sent.sort_unstable();
        if read != sent {
            return Err(format!("{name}: {} different records read, {} lines sent", read.len(), sent.len()));
        }
        let repeats: usize = self.records.values().map(|(_, times)| times - 1).sum();
        let early = self
            .records
            .iter()
            .filter(|(place, (_, times))| *times > 1 && !self.may_repeat(**place, interruptions));
        let early: Vec<_> = early.map(|(place, _)| place).collect();
        if !early.is_empty() {
            return Err(format!("{name}: read again although committed: {early:?}"));
        }
        Ok(format!("| {name} | {} | {} | {repeats} | 0 |", sent.len(), read.len()))
    }

    /// True if the record was not yet committed when something was killed.
    fn may_repeat(&self, (partition, offset): (usize, i64), interruptions: &[Commits]) -> bool {
        let of_group = interruptions.iter().filter(|commits| commits.group == self.name);
        of_group.filter_map(|commits| commits.offsets.get(&partition)).any(|committed| offset >= *committed)
    }
}

/// Lines of one key are in the order in which they were sent.
pub(super) fn order(whole: &str, lines: &[Line]) -> Result<(), String> {
    let mut stored: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for seen in whole.lines().filter_map(parse) {
        stored.entry(seen.partition).or_default().push(seen.text);
    }
    let mut by_key: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in lines {
        if let Some(key) = &line.key {
            by_key.entry(key).or_default().push(&line.text);
        }
    }
    for (key, texts) in by_key {
        if !stored.values().any(|partition| is_within(&texts, partition)) {
            return Err(format!("the lines of key {key} are not in order in any partition"));
        }
    }
    Ok(())
}

/// True if `texts` occur in `partition` in this order.
fn is_within(texts: &[&str], partition: &[String]) -> bool {
    let mut rest = partition.iter();
    texts.iter().all(|text| rest.any(|stored| stored == text))
}
