//! Getting a producer id.

use crate::core::CallId;
use crate::core::cluster::{Cluster, Completion, Target};
use crate::core::error::code_of;
use base::{Instant, Now};
use wire::ErrorCode;
use wire::init_producer_id::InitProducerIdRequest;

/// How far the producer is with its id.
#[derive(Debug)]
pub(super) enum Identity {
    /// None is needed.
    Off,
    /// One is to be asked for, not before then.
    Wanted { at: Instant, failures: u32 },
    /// The question is under way.
    Asked { call: CallId, failures: u32 },
    /// Here it is.
    Known { producer_id: i64, epoch: i16 },
    /// The broker will not give one.
    Refused(ErrorCode),
}

impl Identity {
    pub(super) const fn new(idempotent: bool) -> Self {
        if idempotent { Self::Wanted { at: Instant::ZERO, failures: 0 } } else { Self::Off }
    }

    /// `None` while batches have to wait for the id.
    pub(super) const fn stamp(&self) -> Option<Option<(i64, i16)>> {
        match *self {
            Self::Off => Some(None),
            Self::Known { producer_id, epoch } => Some(Some((producer_id, epoch))),
            Self::Wanted { .. } | Self::Asked { .. } | Self::Refused(_) => None,
        }
    }

    /// Asks for the id when it is time; returns when to come again.
    pub(super) fn advance(&mut self, now: Now, cluster: &mut Cluster) -> Option<Instant> {
        let Self::Wanted { at, failures } = *self else { return None };
        if now.mono < at {
            return Some(at);
        }
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            ..InitProducerIdRequest::default()
        };
        let timeout = cluster.settings().request_timeout;
        let call = cluster.call(now, Target::Any, 0..=5, request, timeout);
        *self = Self::Asked { call, failures };
        None
    }

    /// Takes the answer if it is ours.
    pub(super) fn settle(&mut self, now: Now, done: &Completion, cluster: &Cluster) -> bool {
        let Self::Asked { call, failures } = *self else { return false };
        if done.call != call {
            return false;
        }
        let response = done
            .outcome
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|answer| answer.decode::<InitProducerIdRequest>());
        let failures = failures + 1;
        let again = Self::Wanted { at: now.mono + cluster.settings().retry_pause(failures), failures };
        let outcome = response.map_err(|error| (error.code(), error.is_retriable())).and_then(|response| {
            let code = code_of(response.error_code);
            if code == ErrorCode::None { Ok(response) } else { Err((code, code.is_retriable())) }
        });
        *self = match outcome {
            Ok(known) => Self::Known { producer_id: known.producer_id, epoch: known.producer_epoch },
            Err((_, true)) => again,
            Err((code, false)) => Self::Refused(code),
        };
        true
    }

    /// Gives the id up and asks for another.
    pub(super) fn renew(&mut self) {
        if matches!(self, Self::Known { .. }) {
            *self = Self::new(true);
        }
    }
}
