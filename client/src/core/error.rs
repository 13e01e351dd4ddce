//! Why a call failed before a broker's answer could be read. What a broker refuses is an [`ErrorCode`].

use super::Address;
use std::fmt;
use std::ops::RangeInclusive;
use wire::{ApiKey, DecodeError, EncodeError, ErrorCode};

/// A request that got no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// No broker could be reached in time.
    Unreachable {
        /// The address tried last.
        address: Address,
        /// What the system said.
        reason: String,
    },
    /// The connection ended before the answer; the request may or may not have been carried out.
    Disconnected {
        /// The broker's address.
        address: Address,
        /// What the system said.
        reason: String,
    },
    /// No answer in time; the request may or may not have been carried out.
    TimedOut {
        /// The API called.
        api: ApiKey,
    },
    /// The broker speaks none of the versions that this client can use here.
    UnsupportedVersion {
        /// The API called.
        api: ApiKey,
        /// What this client can use.
        ours: RangeInclusive<i16>,
        /// What the broker offers; `None` if it lacks the API.
        broker: Option<RangeInclusive<i16>>,
    },
    /// The cluster has no broker of this id.
    UnknownBroker {
        /// The id.
        id: i32,
    },
    /// The request cannot be put into the version that was negotiated.
    Encode(EncodeError),
    /// The answer is not what the protocol says.
    Decode(DecodeError),
}

impl CallError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Disconnected { .. }
            | Self::TimedOut { .. }
            | Self::UnknownBroker { .. } => true,
            Self::UnsupportedVersion { .. } | Self::Encode(_) | Self::Decode(_) => false,
        }
    }

    /// The code that Kafka's clients use for it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable { .. } | Self::Disconnected { .. } => ErrorCode::NetworkException,
            Self::UnknownBroker { .. } => ErrorCode::BrokerNotAvailable,
            Self::TimedOut { .. } => ErrorCode::RequestTimedOut,
            Self::UnsupportedVersion { .. } => ErrorCode::UnsupportedVersion,
            Self::Encode(_) => ErrorCode::InvalidRequest,
            Self::Decode(_) => ErrorCode::CorruptMessage,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { address, reason } => write!(f, "cannot connect to {address}: {reason}"),
            Self::Disconnected { address, reason } => {
                write!(f, "the connection to {address} ended before the answer: {reason}")
            }
            Self::TimedOut { api } => write!(f, "no answer to {api} in time"),
            Self::UnsupportedVersion { api, ours, broker: Some(broker) } => {
                write!(f, "the broker speaks {api} {broker:?}, this client needs one of {ours:?}")
            }
            Self::UnsupportedVersion { api, broker: None, .. } => {
                write!(f, "the broker does not know {api}")
            }
            Self::UnknownBroker { id } => write!(f, "the cluster has no broker {id}"),
            Self::Encode(error) => write!(f, "the request cannot be sent: {error}"),
            Self::Decode(error) => write!(f, "unreadable answer: {error}"),
        }
    }
}

impl std::error::Error for CallError {}

/// The code of a response field; numbers that Kafka 4.4 does not know become `UnknownServerError`.
#[must_use]
pub fn code_of(code: i16) -> ErrorCode {
    ErrorCode::from_code(code)
}
