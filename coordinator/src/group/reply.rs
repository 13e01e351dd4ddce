//! What the group machine answers.

use super::error::{
    CommitError, DeleteError, DeleteOffsetsError, HeartbeatError, JoinError, LeaveError, SyncError,
};
use super::ids::{Generation, GroupId, InstanceId, Label, MemberId, ProtocolName, ProtocolType, TopicName};
use super::record::CommittedOffset;
use alloc::vec::Vec;
use base::{PartitionIndex, TopicId};
use bytes::Bytes;

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Command::Join`](super::Command::Join).
    Join(Result<Joined, JoinRefused>),
    /// To [`Command::Sync`](super::Command::Sync).
    Sync(Result<Synced, SyncError>),
    /// To [`Command::Heartbeat`](super::Command::Heartbeat).
    Heartbeat(Result<(), HeartbeatError>),
    /// To [`Command::Leave`](super::Command::Leave): one result per member asked for, or one for all.
    Leave(Result<Vec<Left>, LeaveError>),
    /// To [`Command::CommitOffsets`](super::Command::CommitOffsets) and
    /// [`Command::StageOffsets`](super::Command::StageOffsets): every partition asked for, in its order.
    CommitOffsets(Vec<TopicOutcome<CommitError>>),
    /// To [`Command::EndTransaction`](super::Command::EndTransaction).
    TransactionEnded,
    /// To [`Command::FetchOffsets`](super::Command::FetchOffsets).
    FetchOffsets(Vec<FetchedTopic>),
    /// To [`Command::List`](super::Command::List), ordered by group.
    List(Vec<ListedGroup>),
    /// To [`Command::Describe`](super::Command::Describe), in the order asked.
    Describe(Vec<DescribedGroup>),
    /// To [`Command::Delete`](super::Command::Delete), in the order asked.
    Delete(Vec<(GroupId, Result<(), DeleteError>)>),
    /// To [`Command::DeleteOffsets`](super::Command::DeleteOffsets).
    DeleteOffsets(Result<Vec<TopicOutcome<DeleteOffsetsError>>, DeleteOffsetsError>),
    /// To [`Command::ExpireOffsets`](super::Command::ExpireOffsets).
    Expired {
        /// The bound of one decision was reached: ask again at once.
        is_more: bool,
    },
}

/// A member is in a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Who.
    pub member: MemberId,
    /// Which generation.
    pub generation: Generation,
    /// The group's protocol type.
    pub protocol_type: Option<ProtocolType>,
    /// The protocol that won the vote.
    pub protocol: Option<ProtocolName>,
    /// Who assigns.
    pub leader: Option<MemberId>,
    /// For the leader: everybody, with the metadata of the chosen protocol. Empty for the others.
    pub members: Vec<JoinedMember>,
    /// A static leader came back and its assignment still holds (KIP-814).
    pub skip_assignment: bool,
}

/// One member, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member: MemberId,
    /// Its static name.
    pub instance: Option<InstanceId>,
    /// What it said for the chosen protocol.
    pub metadata: Bytes,
}

/// A join that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// The id to send back; with [`JoinError::MemberIdRequired`] the one to come back with.
    pub member: Option<MemberId>,
    /// Why.
    pub error: JoinError,
}

/// A member's assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Option<ProtocolType>,
    /// The group's protocol.
    pub protocol: Option<ProtocolName>,
    /// What the leader assigned; empty if it named nothing for this member.
    pub assignment: Bytes,
}

/// What became of one leaver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// As asked.
    pub member: Option<MemberId>,
    /// As asked.
    pub instance: Option<InstanceId>,
    /// None if it is gone.
    pub error: Option<LeaveError>,
}

/// What became of the partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOutcome<E> {
    /// As asked.
    pub name: TopicName,
    /// As asked, or zero.
    pub id: TopicId,
    /// None for success.
    pub partitions: Vec<(PartitionIndex, Option<E>)>,
}

/// Committed offsets of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    /// Its name.
    pub name: TopicName,
    /// As asked, or zero.
    pub id: TopicId,
    /// One entry per partition.
    pub partitions: Vec<(PartitionIndex, FetchedOffset)>,
}

/// What is known of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchedOffset {
    /// Nothing was committed.
    None,
    /// This was committed last.
    Committed(CommittedOffset),
    /// An open transaction may change it (`UNSTABLE_OFFSET_COMMIT`).
    Unstable,
}

/// The state of a group, by Kafka's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// No members.
    Empty,
    /// Waiting for members to join.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    /// Every member can have its assignment.
    Stable,
    /// There is no such group.
    Dead,
}

impl GroupState {
    /// Kafka's spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// A group in a listing. Its type is always `classic` here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its name.
    pub group: GroupId,
    /// None for a group that only keeps offsets.
    pub protocol_type: Option<ProtocolType>,
    /// Its state.
    pub state: GroupState,
}

/// All about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Its name.
    pub group: GroupId,
    /// Its state; [`GroupState::Dead`] if there is no such group (`GROUP_ID_NOT_FOUND` from version 6).
    pub state: GroupState,
    /// None for a group that only keeps offsets.
    pub protocol_type: Option<ProtocolType>,
    /// Only in a stable group.
    pub protocol: Option<ProtocolName>,
    /// Ordered by id.
    pub members: Vec<DescribedMember>,
}

/// All about a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member: MemberId,
    /// Its static name.
    pub instance: Option<InstanceId>,
    /// The client's own name.
    pub client_id: Label,
    /// The client's address.
    pub client_host: Label,
    /// Only in a stable group.
    pub metadata: Bytes,
    /// Its last assignment.
    pub assignment: Bytes,
}
