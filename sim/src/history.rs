//! What clients were told, and whether the node keeps its word.

use crate::promises::Promises;
use std::collections::BTreeMap;

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

/// Everything that clients saw in one run.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Per partition: what was sent, in the order of sending, and what became of it.
    sent: BTreeMap<Partition, BTreeMap<u64, Fate>>,
    /// Per partition: the value seen at each offset, by whoever saw it first.
    seen: BTreeMap<Partition, BTreeMap<i64, u64>>,
    /// Topics whose creation was acknowledged, and not their deletion.
    topics: BTreeMap<String, i32>,
    /// Partitions whose acknowledged records may be lost by a power failure (`replicated`).
    volatile: std::collections::BTreeSet<String>,
    /// What the group coordinator promised.
    pub(crate) promises: Promises,
}

impl History {
    pub(crate) fn topic_created(&mut self, name: &str, partitions: i32, flushed: bool) {
        self.topics.insert(name.to_owned(), partitions);
        if !flushed {
            self.volatile.insert(name.to_owned());
        }
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = (&String, i32)> {
        self.topics.iter().map(|(name, partitions)| (name, *partitions))
    }

    pub(crate) fn sent(&mut self, partition: &Partition, value: u64) {
        self.sent.entry(partition.clone()).or_default().insert(value, Fate::Unknown);
    }

    pub(crate) fn decided(&mut self, partition: &Partition, value: u64, fate: Fate) {
        self.sent.entry(partition.clone()).or_default().insert(value, fate);
    }

    /// A consumer saw `value` at `offset`.
    pub(crate) fn saw(&mut self, partition: &Partition, offset: i64, value: u64) -> Result<(), String> {
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
        let before = self.seen.entry(partition.clone()).or_default().insert(offset, value);
        match before {
            // A crash may take back what nobody was promised, on a topic that promises little.
            Some(other) if other != value && !self.volatile.contains(&partition.0) => {
                Err(format!("{partition:?}: offset {offset} had value {other} and now has {value}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A final read of a whole partition found exactly these values.
    pub(crate) fn check_final(
        &self,
        partition: &Partition,
        found: &BTreeMap<i64, u64>,
    ) -> Result<(), String> {
        let mut by_value = BTreeMap::new();
        for (offset, value) in found {
            if let Some(other) = by_value.insert(*value, *offset) {
                return Err(format!("{partition:?}: value {value} is there twice, at {other} and {offset}"));
            }
        }
        if self.volatile.contains(&partition.0) {
            return Ok(());
        }
        for (value, fate) in self.sent.get(partition).into_iter().flatten() {
            if let Fate::Acked(offset) = fate
                && found.get(offset) != Some(value)
            {
                let there = found.get(offset);
                return Err(format!(
                    "{partition:?}: value {value} was acknowledged at offset {offset}, where {there:?} is now"
                ));
            }
        }
        for (offset, value) in self.seen.get(partition).into_iter().flatten() {
            if found.get(offset) != Some(value) {
                return Err(format!("{partition:?}: value {value} was read at offset {offset} and is gone"));
            }
        }
        Ok(())
    }

    /// Acknowledged values of a volatile topic that a final read did not find.
    pub(crate) fn lost_volatile(&self, partition: &Partition, found: &BTreeMap<i64, u64>) -> usize {
        if !self.volatile.contains(&partition.0) {
            return 0;
        }
        let sent = self.sent.get(partition).into_iter().flatten();
        sent.filter(|(value, fate)| matches!(fate, Fate::Acked(offset) if found.get(offset) != Some(*value)))
            .count()
    }

    /// How many values were acknowledged.
    pub(crate) fn acked(&self) -> usize {
        self.sent.values().flat_map(BTreeMap::values).filter(|fate| matches!(fate, Fate::Acked(_))).count()
    }
}
