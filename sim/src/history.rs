//! What clients were told, and whether the node keeps its word.

mod lives;

pub(crate) use lives::{Lives, base_name};

use crate::promises::Promises;
use base::Uuid;
use std::collections::{BTreeMap, BTreeSet};

/// A partition by topic name and number.
pub(crate) type Partition = (String, i32);

/// What became of one value that a producer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Sent, nothing heard.
    Unknown,
    /// Acknowledged at this offset.
    Acked(i64),
}

/// What a topic promises, and what is done to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
pub(crate) struct Traits {
    /// Acknowledged records survive a power failure.
    pub(crate) is_flushed: bool,
    /// Records are deleted for their age while the run lasts.
    pub(crate) is_short: bool,
    pub(crate) is_compacted: bool,
    /// Records are deleted by request.
    pub(crate) is_trimmed: bool,
    /// It is deleted and created again.
    pub(crate) is_doomed: bool,
    /// Two replicas must have what is acknowledged. While there are fewer, who is elected may not have heard that records were
    /// deleted meanwhile, as in Kafka: the answer waits for those in sync.
    pub(crate) wants_two: bool,
}

/// Where a partition may begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trimmed {
    /// Nothing before this may be read any more.
    pub(crate) acked: i64,
    /// Anything from here on must be there.
    pub(crate) sent: i64,
}

/// What was said of a topic's setting.
#[derive(Debug, Default)]
struct Setting {
    acked: Option<String>,
    /// Sent, and nobody heard what became of it.
    in_doubt: Vec<String>,
}

/// Everything that clients saw in one run.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Per partition: what was sent, in the order of sending, and what became of it.
    sent: BTreeMap<Partition, BTreeMap<u64, Fate>>,
    /// Per partition: the value seen at each offset, by whoever saw it first.
    seen: BTreeMap<Partition, BTreeMap<i64, u64>>,
    /// Topics whose creation was acknowledged, and whose deletion was not asked for.
    topics: BTreeMap<String, i32>,
    traits: BTreeMap<String, Traits>,
    /// How often a topic was deleted.
    eras: BTreeMap<String, u32>,
    /// Acknowledged values of deleted topics.
    buried: BTreeMap<Partition, BTreeSet<u64>>,
    trimmed: BTreeMap<Partition, Trimmed>,
    settings: BTreeMap<String, Setting>,
    /// Partitions whose files were damaged: they may refuse to answer, but never answer wrongly.
    damaged: BTreeSet<Partition>,
    /// What the group coordinator promised.
    pub(crate) promises: Promises,
    /// Topics that were made again under their names.
    pub(crate) lives: Lives,
    /// Each node hears of changes in its own time.
    is_of_cluster: bool,
    /// Replicas that a partition has at most.
    replicas: i16,
    /// Disks are lost: what one disk alone holds is not safe.
    loses_disks: bool,
    producers: BTreeSet<(i64, i16)>,
}

/// Topics.
impl History {
    pub(crate) fn new(nodes: usize, replicas: i16, loses_disks: bool) -> Self {
        let replicas = replicas.min(i16::try_from(nodes).unwrap_or(i16::MAX));
        Self { is_of_cluster: nodes > 1, replicas, loses_disks, ..Self::default() }
    }

    /// True if every topic must be where the loss of a disk does not take it away.
    pub(crate) const fn loses_disks(&self) -> bool {
        self.loses_disks
    }

    pub(crate) const fn replicas(&self) -> i16 {
        self.replicas
    }

    /// True if any node may be asked for what another one was told.
    pub(crate) const fn is_of_cluster(&self) -> bool {
        self.is_of_cluster
    }

    /// A producer was given an id: nobody else may have it.
    pub(crate) fn producer_made(&mut self, id: (i64, i16)) -> Result<(), String> {
        if self.producers.insert(id) { Ok(()) } else { Err(format!("two producers are {id:?}")) }
    }

    /// True for a topic that is there now or was, and may have a successor of the same name: clients know it by its id.
    pub(crate) fn has_lives(&self, topic: &str) -> bool {
        self.is_of_cluster && self.traits(topic).is_doomed
    }

    /// True if the topic with this id is meant. An id that was not seen before is that of the latest topic of its name.
    pub(crate) fn is_life(&mut self, topic: &str, id: Uuid) -> bool {
        let is_there = self.exists(topic);
        self.lives.is(topic, id, is_there)
    }

    pub(crate) fn topic_created(&mut self, name: &str, partitions: i32, traits: Traits) {
        self.topics.insert(name.to_owned(), partitions);
        self.traits.insert(name.to_owned(), traits);
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = (&String, i32)> {
        self.topics.iter().map(|(name, partitions)| (name, *partitions))
    }

    pub(crate) fn exists(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    pub(crate) fn traits(&self, topic: &str) -> Traits {
        self.traits.get(topic).copied().unwrap_or_default()
    }

    /// How often the topic was deleted so far.
    pub(crate) fn era(&self, topic: &str) -> u32 {
        self.eras.get(topic).copied().unwrap_or(0)
    }

    /// From now on the topic need not be there.
    pub(crate) fn deletion_sent(&mut self, topic: &str) {
        self.topics.remove(topic);
        self.settings.remove(topic);
    }

    /// The topic is gone: what was acknowledged of it must never be read again.
    pub(crate) fn deletion_acked(&mut self, topic: &str) {
        *self.eras.entry(topic.to_owned()).or_default() += 1;
        if self.is_of_cluster {
            self.lives.end(topic);
        }
        for (partition, values) in self.sent.iter_mut().filter(|((name, _), _)| name == topic) {
            let buried = self.buried.entry(partition.clone()).or_default();
            buried.extend(values.iter().filter(|(_, fate)| **fate != Fate::Unknown).map(|(value, _)| value));
            values.retain(|_, fate| *fate == Fate::Unknown);
        }
        self.seen.retain(|(name, _), _| name != topic);
        self.trimmed.retain(|(name, _), _| name != topic);
        self.damaged.retain(|(name, _)| name != topic);
    }

    pub(crate) fn config_sent(&mut self, topic: &str, value: &str) {
        self.settings.entry(topic.to_owned()).or_default().in_doubt.push(value.to_owned());
    }

    pub(crate) fn config_acked(&mut self, topic: &str, value: &str) {
        if self.exists(topic) {
            let setting = Setting { acked: Some(value.to_owned()), in_doubt: Vec::new() };
            self.settings.insert(topic.to_owned(), setting);
        }
    }

    /// What the setting may be; nothing if it may still be what the node says.
    pub(crate) fn configs(&self, topic: &str) -> Vec<String> {
        let Some(setting) = self.settings.get(topic) else { return Vec::new() };
        let Some(acked) = &setting.acked else { return Vec::new() };
        setting.in_doubt.iter().chain([acked]).cloned().collect()
    }
}

/// Beginnings.
impl History {
    /// One past the last offset that is known to be safe.
    pub(crate) fn acked_end(&self, partition: &Partition) -> i64 {
        let acked = self.sent.get(partition).into_iter().flat_map(BTreeMap::values);
        let acked = acked.filter_map(|fate| match fate {
            Fate::Acked(offset) => Some(offset + 1),
            Fate::Unknown => None,
        });
        acked.max().unwrap_or(0)
    }

    pub(crate) fn trim_sent(&mut self, partition: &Partition, offset: i64) {
        let trimmed = self.trimmed.entry(partition.clone()).or_default();
        trimmed.sent = trimmed.sent.max(offset);
    }

    pub(crate) fn trim_acked(&mut self, partition: &Partition, low: i64) {
        let traits = self.traits(&partition.0);
        let volatile = !traits.is_flushed || traits.wants_two;
        let Some(trimmed) = self.trimmed.get_mut(partition).filter(|_| !volatile) else { return };
        trimmed.acked = trimmed.acked.max(low);
    }

    pub(crate) fn all_trimmed(&self) -> impl Iterator<Item = (&Partition, Trimmed)> {
        let there = self.trimmed.iter().filter(|((topic, _), _)| self.exists(topic));
        there.map(|(partition, trimmed)| (partition, *trimmed))
    }

    pub(crate) fn trimmed(&self, partition: &Partition) -> Trimmed {
        self.trimmed.get(partition).copied().unwrap_or_default()
    }

    /// The node said where a partition begins; `asked` is what was known when it was asked.
    pub(crate) fn saw_start(&self, partition: &Partition, asked: Trimmed, start: i64) -> Result<(), String> {
        let traits = self.traits(&partition.0);
        if start < asked.acked {
            return Err(format!(
                "{partition:?} begins at {start} again, after {} was acknowledged",
                asked.acked
            ));
        }
        if !traits.is_flushed || traits.is_short || self.damaged.contains(partition) {
            return Ok(());
        }
        let kept = self.trimmed(partition).sent..start;
        let acked = self.sent.get(partition).into_iter().flat_map(BTreeMap::values);
        let mut acked = acked.filter(|fate| matches!(fate, Fate::Acked(at) if kept.contains(at)));
        match acked.next() {
            Some(fate) => Err(format!("{partition:?} begins at {start}, and nobody deleted {fate:?}")),
            None => Ok(()),
        }
    }
}

/// Records.
impl History {
    pub(crate) fn damage(&mut self, partition: Partition) {
        self.damaged.insert(partition);
    }

    /// All that was damaged is as it was.
    pub(crate) fn repaired(&mut self, partition: &Partition) {
        self.damaged.remove(partition);
    }

    pub(crate) fn is_damaged(&self, partition: &Partition) -> bool {
        self.damaged.contains(partition)
    }

    pub(crate) fn sent(&mut self, partition: &Partition, value: u64) {
        self.sent.entry(partition.clone()).or_default().insert(value, Fate::Unknown);
        if let Some(buried) = self.buried.get_mut(partition) {
            buried.remove(&value);
        }
    }

    /// A producer was told where its value is.
    pub(crate) fn acked_at(&mut self, partition: &Partition, value: u64, offset: i64) -> Result<(), String> {
        self.sent.entry(partition.clone()).or_default().insert(value, Fate::Acked(offset));
        self.has_one_value(partition, offset, value)
    }

    /// One offset never has two values.
    fn has_one_value(&mut self, partition: &Partition, offset: i64, value: u64) -> Result<(), String> {
        let before = self.seen.entry(partition.clone()).or_default().insert(offset, value);
        match before {
            // A crash may take back what nobody was promised, on a topic that promises little.
            Some(other) if other != value && self.traits(&partition.0).is_flushed => {
                let fate = |value: u64| self.sent.get(partition).and_then(|sent| sent.get(&value));
                let (was, is) = (fate(other), fate(value));
                Err(format!(
                    "{partition:?}: offset {offset} had value {other} ({was:?}) and now has {value} ({is:?})"
                ))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A consumer saw `value` at `offset`.
    pub(crate) fn saw(&mut self, partition: &Partition, offset: i64, value: u64) -> Result<(), String> {
        if self.buried.get(partition).is_some_and(|buried| buried.contains(&value)) {
            return Err(format!("{partition:?}: value {value} at {offset} is of a topic that was deleted"));
        }
        let fate = self.sent.get(partition).and_then(|sent| sent.get(&value)).copied();
        match fate {
            None => return Err(format!("{partition:?}: value {value} at offset {offset} was never sent")),
            Some(Fate::Acked(acked)) if acked != offset => {
                return Err(format!(
                    "{partition:?}: value {value} was acknowledged at {acked} and read at {offset}"
                ));
            }
            Some(Fate::Acked(_) | Fate::Unknown) => {}
        }
        self.has_one_value(partition, offset, value)
    }

    /// A final read of a whole partition from `start` on found exactly these values.
    pub(crate) fn check_final(
        &self,
        partition: &Partition,
        start: i64,
        found: &BTreeMap<i64, u64>,
        found_all: bool,
    ) -> Result<(), String> {
        let mut by_value = BTreeMap::new();
        for (offset, value) in found {
            if let Some(other) = by_value.insert(*value, *offset) {
                return Err(format!("{partition:?}: value {value} is there twice, at {other} and {offset}"));
            }
        }
        // Who reads to the end of what is damaged without a word about it was deceived.
        if !self.traits(&partition.0).is_flushed || !found_all {
            return Ok(());
        }
        for (value, fate) in self.sent.get(partition).into_iter().flatten() {
            if let Fate::Acked(offset) = fate
                && *offset >= start
                && found.get(offset) != Some(value)
            {
                let there = found.get(offset);
                return Err(format!(
                    "{partition:?}: value {value} was acknowledged at offset {offset}, where {there:?} is now"
                ));
            }
        }
        for (offset, value) in self.seen.get(partition).into_iter().flatten() {
            if *offset >= start && found.get(offset) != Some(value) {
                return Err(format!("{partition:?}: value {value} was read at offset {offset} and is gone"));
            }
        }
        Ok(())
    }

    /// Acknowledged values of a volatile topic that a final read did not find.
    pub(crate) fn lost_volatile(&self, partition: &Partition, found: &BTreeMap<i64, u64>) -> usize {
        if self.traits(&partition.0).is_flushed {
            return 0;
        }
        let sent = self.sent.get(partition).into_iter().flatten();
        sent.filter(|(value, fate)| matches!(fate, Fate::Acked(offset) if found.get(offset) != Some(*value)))
            .count()
    }

    /// What became of every value that was sent to a topic that is there.
    pub(crate) fn all_sent(&self) -> impl Iterator<Item = (&Partition, u64, Fate)> {
        let there = self.sent.iter().filter(|((topic, _), _)| self.exists(topic));
        there.flat_map(|(partition, values)| {
            values.iter().map(move |(value, fate)| (partition, *value, *fate))
        })
    }

    /// How many values were acknowledged.
    pub(crate) fn acked(&self) -> usize {
        self.sent.values().flat_map(BTreeMap::values).filter(|fate| matches!(fate, Fate::Acked(_))).count()
    }
}
