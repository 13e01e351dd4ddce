//! The facts of a shard's log. How they look as bytes is [`super::codec`]'s affair.

use super::ids::{Generation, GroupId, InstanceId, Label, MemberId, ProtocolName, ProtocolType, TopicName};
use alloc::vec::Vec;
use base::{EndOffset, LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, Span, Timestamp, TopicId};
use bytes::Bytes;
use wire::record::EndTxnMarker;

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The group is this from now on; without metadata it is gone.
    GroupMetadata {
        /// Which group.
        group: GroupId,
        /// What it is.
        metadata: Option<GroupMetadata>,
    },
    /// The committed offset of one partition; without a value it is forgotten.
    OffsetCommit {
        /// Whose offset.
        key: OffsetKey,
        /// What was committed.
        value: Option<CommittedOffset>,
    },
    /// An offset that a transaction commits when it commits.
    StagedOffset {
        /// Whose transaction.
        producer: Producer,
        /// Whose offset.
        key: OffsetKey,
        /// What is to be committed.
        value: CommittedOffset,
    },
    /// A transaction has ended: a control batch, not a record of this machine's.
    TransactionEnd {
        /// Whose transaction.
        producer: Producer,
        /// How, and who decided.
        marker: EndTxnMarker,
    },
}

/// The producer whose batch a transactional record stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch, which the log checks.
    pub epoch: ProducerEpoch,
}

/// A generation whose assignment is known, or an empty group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMetadata {
    /// Which generation.
    pub generation: Generation,
    /// None for a group that never had a member.
    pub protocol_type: Option<ProtocolType>,
    /// None for an empty group.
    pub protocol: Option<ProtocolName>,
    /// None for an empty group.
    pub leader: Option<MemberId>,
    /// When the group entered this state.
    pub state_timestamp: Option<Timestamp>,
    /// Ordered by id.
    pub members: Vec<MemberMetadata>,
}

/// A member of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    /// Its id.
    pub member: MemberId,
    /// Its static name.
    pub instance: Option<InstanceId>,
    /// The client's own name.
    pub client_id: Label,
    /// The client's address.
    pub client_host: Label,
    /// How long a rebalance waits for it.
    pub rebalance_timeout: Span,
    /// How long it may be silent.
    pub session_timeout: Span,
    /// What it said for the group's protocol.
    pub subscription: Bytes,
    /// What the leader assigned.
    pub assignment: Bytes,
}

/// Whose offset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetKey {
    /// Which group.
    pub group: GroupId,
    /// Which topic.
    pub topic: TopicName,
    /// Which partition.
    pub partition: PartitionIndex,
}

/// What was committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Where to go on reading.
    pub offset: EndOffset,
    /// The leader epoch of the last record read, if the client knew it.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Free text of the client.
    pub metadata: Label,
    /// When it was committed.
    pub commit_timestamp: Timestamp,
    /// When it is to be forgotten, if an old client chose so.
    pub expire_timestamp: Option<Timestamp>,
    /// The topic's id, or [`TopicId::ZERO`] if it was not known.
    pub topic_id: TopicId,
}

impl Record {
    /// True for a committed offset or its tombstone.
    #[must_use]
    pub fn is_offset(&self) -> bool {
        matches!(self, Self::OffsetCommit { .. } | Self::StagedOffset { .. })
    }

    /// An upper bound of the bytes that key and value take in a batch.
    #[must_use]
    pub fn size_bound(&self) -> usize {
        /// Lengths, versions and numbers of a record and of a member, generously.
        const FIXED: usize = 128;
        match self {
            Self::GroupMetadata { group, metadata } => {
                let members = metadata.iter().flat_map(|metadata| &metadata.members);
                let names = metadata.as_ref().map_or(0, GroupMetadata::names_len);
                FIXED
                    + group.as_str().len()
                    + names
                    + members.map(|member| FIXED + member.len()).sum::<usize>()
            }
            Self::OffsetCommit { key, value } => {
                FIXED + key.len() + value.as_ref().map_or(0, CommittedOffset::len)
            }
            Self::StagedOffset { key, value, .. } => FIXED + key.len() + value.len(),
            Self::TransactionEnd { .. } => FIXED,
        }
    }
}

impl GroupMetadata {
    fn names_len(&self) -> usize {
        self.protocol_type.as_ref().map_or(0, |name| name.as_str().len())
            + self.protocol.as_ref().map_or(0, |name| name.as_str().len())
            + self.leader.as_ref().map_or(0, |name| name.as_str().len())
    }
}

impl OffsetKey {
    fn len(&self) -> usize {
        self.group.as_str().len() + self.topic.as_str().len()
    }
}

impl CommittedOffset {
    fn len(&self) -> usize {
        self.metadata.as_str().len()
    }
}

impl MemberMetadata {
    fn len(&self) -> usize {
        let instance = self.instance.as_ref().map_or(0, |name| name.as_str().len());
        let labels = self.client_id.as_str().len() + self.client_host.as_str().len();
        self.member.as_str().len() + instance + labels + self.subscription.len() + self.assignment.len()
    }
}
