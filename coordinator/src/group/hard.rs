//! What a shard's log says: per group its last written generation and its committed offsets.
//!
//! As this machine writes its records, the state is a function of the newest record of each key, so that a
//! compacted log gives the same state as the whole one. A group that only ever committed offsets has no record of its own: it exists while it has
//! offsets.

use super::ids::{GroupId, TopicName};
use super::record::{CommittedOffset, GroupMetadata, OffsetKey, Record};
use alloc::collections::BTreeMap;
use base::PartitionIndex;

/// Committed offsets of one topic.
pub type PartitionOffsets = BTreeMap<PartitionIndex, CommittedOffset>;

/// All that the log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hard {
    groups: BTreeMap<GroupId, HardGroup>,
}

/// All that the log says about one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HardGroup {
    /// The last written generation; none if only offsets were written.
    pub metadata: Option<GroupMetadata>,
    /// Never holds an empty inner map.
    offsets: BTreeMap<TopicName, PartitionOffsets>,
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
                self.groups.entry(group.clone()).or_default().metadata = Some(metadata.clone());
            }
            // Its offsets have tombstones of their own, before this one. A tombstone of nothing is nothing.
            Record::GroupMetadata { group, metadata: None } => {
                self.groups.remove(group);
            }
            Record::OffsetCommit { key, value: Some(value) } => self.keep_offset(key, value),
            Record::OffsetCommit { key, value: None } => self.forget_offset(key),
        }
    }

    fn keep_offset(&mut self, key: &OffsetKey, value: &CommittedOffset) {
        let group = self.groups.entry(key.group.clone()).or_default();
        group.offsets.entry(key.topic.clone()).or_default().insert(key.partition, value.clone());
    }

    fn forget_offset(&mut self, key: &OffsetKey) {
        let Some(group) = self.groups.get_mut(&key.group) else { return };
        let Some(partitions) = group.offsets.get_mut(&key.topic) else { return };
        partitions.remove(&key.partition);
        if partitions.is_empty() {
            group.offsets.remove(&key.topic);
        }
        if group.metadata.is_none() && group.offsets.is_empty() {
            self.groups.remove(&key.group);
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
}
