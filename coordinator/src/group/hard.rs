//! What a shard's log says: per group its last written generation and its committed offsets.
//!
//! As this machine writes its records, the state is a function of the newest record of each key, so that a
//! compacted log gives the same state as the whole one. A group that only ever committed offsets has no record
//! of its own: it exists while it has offsets, committed or staged by an open transaction.

use super::ids::{GroupId, TopicName};
use super::record::{CommittedOffset, GroupMetadata, OffsetKey, Producer, Record};
use super::staged::{OpenTransactions, StagedOffsets};
use alloc::collections::BTreeMap;
use base::{PartitionIndex, ProducerId};
use wire::record::EndTxn;

/// Committed offsets of one topic.
pub type PartitionOffsets = BTreeMap<PartitionIndex, CommittedOffset>;

/// All that the log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hard {
    groups: BTreeMap<GroupId, HardGroup>,
    transactions: OpenTransactions,
}

/// All that the log says about one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HardGroup {
    /// The last written generation; none if only offsets were written.
    pub metadata: Option<GroupMetadata>,
    /// Never holds an empty inner map.
    offsets: BTreeMap<TopicName, PartitionOffsets>,
    /// What open transactions may yet commit.
    pub(super) staged: StagedOffsets,
}

impl Hard {
    /// All groups, ordered by name.
    pub fn groups(&self) -> impl Iterator<Item = (&GroupId, &HardGroup)> {
        self.groups.iter()
    }

    /// All groups from `first` on, ordered by name.
    pub(super) fn groups_from(&self, first: &GroupId) -> impl Iterator<Item = (&GroupId, &HardGroup)> {
        self.groups.range(first.clone()..)
    }

    /// One group.
    #[must_use]
    pub fn group(&self, group: &GroupId) -> Option<&HardGroup> {
        self.groups.get(group)
    }

    /// Applies a fact.
    pub fn replay(&mut self, record: &Record) {
        match record {
            Record::GroupMetadata { group, metadata: Some(metadata) } => {
                self.group_mut(group).metadata = Some(metadata.clone());
            }
            Record::GroupMetadata { group, metadata: None } => self.forget_group(group),
            Record::OffsetCommit { key, value: Some(value) } => {
                let group = self.group_mut(&key.group);
                group.keep(key, value.clone());
                group.staged.overtake(key);
            }
            Record::OffsetCommit { key, value: None } => self.forget_offset(key),
            Record::StagedOffset { producer, key, value } => self.stage(*producer, key, value),
            Record::TransactionEnd { producer, marker } => {
                self.end_transaction(producer.id, matches!(marker.end, EndTxn::Commit));
            }
        }
    }

    fn group_mut(&mut self, group: &GroupId) -> &mut HardGroup {
        self.groups.entry(group.clone()).or_default()
    }

    /// Its offsets have tombstones of their own, before this one. A tombstone of nothing is nothing.
    fn forget_group(&mut self, group: &GroupId) {
        self.groups.remove(group);
        self.transactions.retain(|_, keys| {
            keys.retain(|key| key.group != *group);
            !keys.is_empty()
        });
    }

    fn forget_offset(&mut self, key: &OffsetKey) {
        let Some(group) = self.groups.get_mut(&key.group) else { return };
        group.forget(key);
        for producer in group.staged.forget(key) {
            if let Some(keys) = self.transactions.get_mut(&producer) {
                keys.remove(key);
                if keys.is_empty() {
                    self.transactions.remove(&producer);
                }
            }
        }
        self.drop_if_bare(&key.group);
    }

    fn stage(&mut self, producer: Producer, key: &OffsetKey, value: &CommittedOffset) {
        self.group_mut(&key.group).staged.stage(key, producer.id, value.clone());
        self.transactions.entry(producer.id).or_default().insert(key.clone());
    }

    fn end_transaction(&mut self, producer: ProducerId, is_committed: bool) {
        for key in self.transactions.remove(&producer).unwrap_or_default() {
            let Some(group) = self.groups.get_mut(&key.group) else { continue };
            if let Some(value) = group.staged.end(&key, producer, is_committed) {
                group.keep(&key, value);
            }
            self.drop_if_bare(&key.group);
        }
    }

    /// A group without a record of its own lives as long as its offsets.
    fn drop_if_bare(&mut self, group: &GroupId) {
        let is_bare = |group: &HardGroup| {
            group.metadata.is_none() && group.offsets.is_empty() && group.staged.is_empty()
        };
        if self.groups.get(group).is_some_and(is_bare) {
            self.groups.remove(group);
        }
    }
}

impl HardGroup {
    /// Committed offsets by topic.
    #[must_use]
    pub fn offsets(&self) -> &BTreeMap<TopicName, PartitionOffsets> {
        &self.offsets
    }

    /// One committed offset.
    #[must_use]
    pub fn offset(&self, topic: &TopicName, partition: PartitionIndex) -> Option<&CommittedOffset> {
        self.offsets.get(topic)?.get(&partition)
    }

    /// True if an open transaction may yet change this offset.
    #[must_use]
    pub fn is_staged(&self, topic: &TopicName, partition: PartitionIndex) -> bool {
        !self.staged.is_empty() && self.staged.contains(topic, partition)
    }

    fn keep(&mut self, key: &OffsetKey, value: CommittedOffset) {
        self.offsets.entry(key.topic.clone()).or_default().insert(key.partition, value);
    }

    fn forget(&mut self, key: &OffsetKey) {
        let Some(partitions) = self.offsets.get_mut(&key.topic) else { return };
        partitions.remove(&key.partition);
        if partitions.is_empty() {
            self.offsets.remove(&key.topic);
        }
    }
}
