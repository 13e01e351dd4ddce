//! Which code of Kafka's each error is: the only place that assigns them.

use super::error::{
    CommitError, DeleteError, DeleteOffsetsError, HeartbeatError, JoinError, LeaveError, SyncError,
};
use wire::ErrorCode;

macro_rules! codes {
    ($($error:ident { $($name:ident)* })*) => {$(
        impl From<$error> for ErrorCode {
            fn from(error: $error) -> Self {
                match error {
                    $($error::$name => Self::$name,)*
                }
            }
        }
    )*};
}

codes! {
    JoinError {
        InvalidGroupId InvalidSessionTimeout MemberIdRequired UnknownMemberId FencedInstanceId
        InconsistentGroupProtocol GroupMaxSizeReached RebalanceInProgress NotCoordinator
    }
    SyncError {
        InvalidGroupId UnknownMemberId FencedInstanceId IllegalGeneration InconsistentGroupProtocol
        RebalanceInProgress UnknownServerError NotCoordinator
    }
    HeartbeatError { InvalidGroupId UnknownMemberId FencedInstanceId IllegalGeneration RebalanceInProgress }
    LeaveError { InvalidGroupId UnknownMemberId FencedInstanceId }
    CommitError {
        GroupIdNotFound UnknownMemberId FencedInstanceId IllegalGeneration RebalanceInProgress
        OffsetMetadataTooLarge InvalidCommitOffsetSize
    }
    DeleteError { GroupIdNotFound NonEmptyGroup }
    DeleteOffsetsError { InvalidGroupId GroupIdNotFound NonEmptyGroup GroupSubscribedToTopic }
}
