//! Why an administrative call failed.

use crate::core::CallError;
use crate::core::error::code_of;
use std::fmt;
use wire::{ErrorCode, Str};

/// Why an administrative call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminError {
    /// No usable answer came.
    Call(CallError),
    /// The broker refused.
    Refused {
        /// Its code.
        code: ErrorCode,
        /// What it was about: a topic, a group, a config resource.
        subject: String,
        /// The broker's words, if it had any.
        message: Option<String>,
    },
}

impl AdminError {
    /// Kafka's code for it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Call(error) => error.code(),
            Self::Refused { code, .. } => *code,
        }
    }

    /// Whether the thing asked for does not exist.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(
            self.code(),
            ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::GroupIdNotFound
                | ErrorCode::ResourceNotFound
        )
    }

    pub(super) fn check(code: i16, subject: &str, message: Option<&Str>) -> Result<(), Self> {
        let code = code_of(code);
        if code == ErrorCode::None {
            return Ok(());
        }
        Err(Self::Refused { code, subject: subject.to_owned(), message: message.map(ToString::to_string) })
    }

    /// The broker's answer leaves out what was asked for.
    pub(super) fn silent(subject: &str) -> Self {
        let message = Some("the broker's answer does not mention it".to_owned());
        Self::Refused { code: ErrorCode::UnknownServerError, subject: subject.to_owned(), message }
    }
}

impl From<CallError> for AdminError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Refused { code, subject, message } => {
                let words = message.as_deref().unwrap_or(code.message());
                write!(f, "{subject}: {words} ({})", code.name())
            }
        }
    }
}

impl std::error::Error for AdminError {}
