//! Why a command was refused: one enum per operation, its variants named as Kafka's codes.

/// Why a join was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// The group has no name.
    InvalidGroupId,
    /// The session timeout is outside the operator's bounds.
    InvalidSessionTimeout,
    /// Come back with the id in the answer (KIP-394).
    MemberIdRequired,
    /// The group has no such member.
    UnknownMemberId,
    /// Another member took over this static name.
    FencedInstanceId,
    /// The group's other members share no protocol with this one.
    InconsistentGroupProtocol,
    /// The group is full.
    GroupMaxSizeReached,
    /// The same member asked again; only the newer request is kept waiting.
    RebalanceInProgress,
    /// The shard moved away while the member waited.
    NotCoordinator,
}

/// Why a sync was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncError {
    /// The group has no name.
    InvalidGroupId,
    /// The group has no such member.
    UnknownMemberId,
    /// Another member took over this static name.
    FencedInstanceId,
    /// The generation is not the current one.
    IllegalGeneration,
    /// The group agreed on something else.
    InconsistentGroupProtocol,
    /// The generation is over: join again.
    RebalanceInProgress,
    /// The assignment would not fit into one append.
    UnknownServerError,
    /// The shard moved away while the member waited.
    NotCoordinator,
}

/// Why a heartbeat was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatError {
    /// The group has no name.
    InvalidGroupId,
    /// The group has no such member.
    UnknownMemberId,
    /// Another member took over this static name.
    FencedInstanceId,
    /// The generation is not the current one.
    IllegalGeneration,
    /// The generation is over: join again. The member stays alive.
    RebalanceInProgress,
}

/// Why a member could not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveError {
    /// The group has no name.
    InvalidGroupId,
    /// The group has no such member.
    UnknownMemberId,
    /// Another member took over this static name.
    FencedInstanceId,
}

/// Why an offset was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// The group does not exist and the commit claims a generation of it. `ILLEGAL_GENERATION` below
    /// version 9, which is the edge's affair.
    GroupIdNotFound,
    /// The group has no such member.
    UnknownMemberId,
    /// Another member took over this static name.
    FencedInstanceId,
    /// The generation is not the current one.
    IllegalGeneration,
    /// The group waits for its next assignment.
    RebalanceInProgress,
    /// The text beside the offset is too long.
    OffsetMetadataTooLarge,
    /// The commit would not fit into one append.
    InvalidCommitOffsetSize,
}

/// Why a group was not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteError {
    /// No such group.
    GroupIdNotFound,
    /// It has members.
    NonEmptyGroup,
}

/// Why offsets were not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOffsetsError {
    /// The group has no name.
    InvalidGroupId,
    /// No such group.
    GroupIdNotFound,
    /// It has members whose subscriptions nobody here can read.
    NonEmptyGroup,
    /// A member reads this topic.
    GroupSubscribedToTopic,
}

/// Why a request in the name of a member was refused before its operation was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberError {
    /// The group has no such member.
    Unknown,
    /// Another member took over this static name.
    Fenced,
}

macro_rules! from_member_error {
    ($($operation:ident),*) => {$(
        impl From<MemberError> for $operation {
            fn from(error: MemberError) -> Self {
                match error {
                    MemberError::Unknown => Self::UnknownMemberId,
                    MemberError::Fenced => Self::FencedInstanceId,
                }
            }
        }
    )*};
}
from_member_error!(JoinError, SyncError, HeartbeatError, LeaveError, CommitError);
