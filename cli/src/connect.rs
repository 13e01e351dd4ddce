//! What all commands that talk to a cluster share: the address, the runtime, and how a failure is told.

use base::Span;
use clap::Args;
use client::core::parse_addresses;
use client::{Admin, AdminError, CallError, ClusterSettings, ErrorCode, ProduceError};
use std::fmt;
use std::future::Future;
use std::io;

/// How to reach the cluster.
#[derive(Clone, Debug, Args)]
pub(crate) struct Connect {
    /// Brokers to begin with, as HOST:PORT, separated by commas.
    #[arg(
        short,
        long,
        env = "OTTLA_BOOTSTRAP_SERVER",
        default_value = "127.0.0.1:9092",
        value_name = "HOST:PORT"
    )]
    bootstrap_server: String,
    /// How many seconds an answer may take.
    #[arg(long, default_value_t = 15, value_name = "S")]
    timeout: u64,
}

/// Why a command failed, for people, and its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: u8,
    message: String,
}

pub(crate) type Done<T = ()> = Result<T, Failure>;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const UNHEALTHY: u8 = 4;

impl Connect {
    /// The settings of a client that gives up soon: somebody is looking at the terminal.
    pub(crate) fn settings(&self) -> Done<ClusterSettings> {
        let bootstrap = parse_addresses(&self.bootstrap_server)
            .map_err(|error| Failure::usage(format!("--bootstrap-server: {error}")))?;
        Ok(ClusterSettings {
            client_id: Some("ottla-cli".to_owned()),
            request_timeout: Span::from_secs(self.timeout),
            connect_timeout: Span::from_secs(self.timeout.min(3)),
            fail_fast: true,
            ..ClusterSettings::new(bootstrap)
        })
    }

    /// How long it is worth asking again.
    pub(crate) const fn patience(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.timeout)
    }

    pub(crate) fn admin(&self) -> Done<Admin> {
        Ok(Admin::new(self.settings()?))
    }
}

/// Runs a command on a runtime of its own.
pub(crate) fn block_on<T>(work: impl Future<Output = Done<T>>) -> Done<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let done = runtime.block_on(work);
    // A thread that waits for the terminal must not keep the process.
    runtime.shutdown_background();
    done
}

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { exit: FAILED, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: USAGE, message: message.into() }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { exit: NOT_FOUND, message: message.into() }
    }

    pub(crate) fn unhealthy(message: impl Into<String>) -> Self {
        Self { exit: UNHEALTHY, message: message.into() }
    }

    /// True when the reader of our output has gone: nothing is wrong then.
    pub(crate) const fn is_silent(&self) -> bool {
        self.message.is_empty()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match &error {
            CallError::Unreachable { address, .. } => Self::unhealthy(format!(
                "{error}: is `ottla dev` running there? Choose another address than {address} with -b."
            )),
            CallError::TimedOut { .. } | CallError::Disconnected { .. } => {
                Self::unhealthy(format!("{error}; --timeout allows more time"))
            }
            CallError::UnknownBroker { .. } => Self::not_found(error.to_string()),
            CallError::UnsupportedVersion { .. } | CallError::Encode(_) | CallError::Decode(_) => {
                Self::failed(error.to_string())
            }
        }
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        let not_found = error.is_not_found();
        let message = match &error {
            AdminError::Call(call) => return call.clone().into(),
            AdminError::Refused { code, subject, .. } => match hint(*code) {
                Some(hint) => format!("{error}; {hint}"),
                None if subject.is_empty() => code.message().to_owned(),
                None => error.to_string(),
            },
        };
        if not_found { Self::not_found(message) } else { Self::failed(message) }
    }
}

/// What to do about a code.
fn hint(code: ErrorCode) -> Option<&'static str> {
    let hints = [
        (ErrorCode::UnknownTopicOrPartition, "`ottla topic list` shows the topics there are"),
        (ErrorCode::GroupIdNotFound, "`ottla group list` shows the groups there are"),
        (ErrorCode::NonEmptyGroup, "stop its members first"),
        (ErrorCode::TopicAlreadyExists, "--if-not-exists takes that for success"),
        (ErrorCode::InvalidReplicationFactor, "`ottla cluster info` shows how many brokers there are"),
    ];
    hints.iter().find(|(known, _)| *known == code).map(|(_, hint)| *hint)
}

impl From<ProduceError> for Failure {
    fn from(error: ProduceError) -> Self {
        match error {
            ProduceError::Call(call) => call.into(),
            ProduceError::Refused { code: code @ ErrorCode::UnknownTopicOrPartition, message } => {
                let words = message.unwrap_or_else(|| code.message().to_owned());
                Self::not_found(format!("{words} Create the topic with `ottla topic create`."))
            }
            ProduceError::UnknownPartition { .. } => Self::not_found(error.to_string()),
            ProduceError::TimedOut { .. } => Self::unhealthy(error.to_string()),
            ProduceError::Refused { .. } | ProduceError::OutcomeUnknown | ProduceError::Compression(_) => {
                Self::failed(error.to_string())
            }
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let kind = error.kind();
        if kind == io::ErrorKind::BrokenPipe {
            Self { exit: 0, message: String::new() }
        } else if kind == io::ErrorKind::NotFound {
            Self::not_found(error.to_string())
        } else {
            Self::failed(error.to_string())
        }
    }
}
