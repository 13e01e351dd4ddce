//! Offsets that open transactions have written and that count only if the transaction commits (KIP-98).
//!
//! For one partition the commit that was *written* last wins, whatever the order in which transactions end:
//! whoever writes later takes the value from those who wrote before, but they stay, because until they end the
//! offset is not stable.

use super::ids::TopicName;
use super::record::{CommittedOffset, OffsetKey};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::{PartitionIndex, ProducerId};

/// The open transactions of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StagedOffsets {
    /// In the order of writing. Never holds an empty list.
    by_partition: BTreeMap<(TopicName, PartitionIndex), Vec<Staged>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Staged {
    producer: ProducerId,
    /// None once something else was committed over it.
    value: Option<CommittedOffset>,
}

/// Which partitions an open transaction has written, over all groups of the shard.
pub(super) type OpenTransactions = BTreeMap<ProducerId, BTreeSet<OffsetKey>>;

impl StagedOffsets {
    pub(super) fn is_empty(&self) -> bool {
        self.by_partition.is_empty()
    }

    pub(super) fn contains(&self, topic: &TopicName, partition: PartitionIndex) -> bool {
        self.by_partition.contains_key(&(topic.clone(), partition))
    }

    /// Every partition with an open transaction, and the newest value if it still counts.
    pub(super) fn iter(
        &self,
    ) -> impl Iterator<Item = (&TopicName, PartitionIndex, Option<&CommittedOffset>)> {
        let entries = self.by_partition.iter();
        entries.map(|((topic, partition), list)| {
            (topic, *partition, list.iter().rev().find_map(|staged| staged.value.as_ref()))
        })
    }

    /// A transaction writes; its own earlier value is gone.
    pub(super) fn stage(&mut self, key: &OffsetKey, producer: ProducerId, value: CommittedOffset) {
        let list = self.by_partition.entry((key.topic.clone(), key.partition)).or_default();
        list.retain(|staged| staged.producer != producer);
        list.push(Staged { producer, value: Some(value) });
    }

    /// Something was committed outside of transactions: what was staged before is overtaken.
    pub(super) fn overtake(&mut self, key: &OffsetKey) {
        if let Some(list) = self.by_partition.get_mut(&(key.topic.clone(), key.partition)) {
            list.iter_mut().for_each(|staged| staged.value = None);
        }
    }

    /// The transaction of `producer` ends. If it commits, its value (if it still counts) overtakes those that
    /// were written before it.
    pub(super) fn end(
        &mut self,
        key: &OffsetKey,
        producer: ProducerId,
        is_committed: bool,
    ) -> Option<CommittedOffset> {
        let partition = (key.topic.clone(), key.partition);
        let list = self.by_partition.get_mut(&partition)?;
        let at = list.iter().position(|staged| staged.producer == producer)?;
        let value = list.remove(at).value.filter(|_| is_committed);
        if value.is_some() {
            list.iter_mut().take(at).for_each(|staged| staged.value = None);
        }
        if list.is_empty() {
            self.by_partition.remove(&partition);
        }
        value
    }

    /// Drops all that is staged for a partition; returns who had staged it.
    pub(super) fn forget(&mut self, key: &OffsetKey) -> Vec<ProducerId> {
        let list = self.by_partition.remove(&(key.topic.clone(), key.partition)).unwrap_or_default();
        list.into_iter().map(|staged| staged.producer).collect()
    }
}
