//! One member, alive.

use crate::Token;
use crate::group::command::Protocol;
use crate::group::ids::{InstanceId, Label, ProtocolName};
use crate::group::record::MemberMetadata;
use alloc::vec::Vec;
use base::{Instant, Span};
use bytes::Bytes;

/// A member as the current rebalance knows it; the log knows it only once it was in a written generation.
#[derive(Clone, Debug)]
pub(in crate::group) struct Member {
    pub(in crate::group) instance: Option<InstanceId>,
    pub(in crate::group) client_id: Label,
    pub(in crate::group) client_host: Label,
    pub(in crate::group) rebalance_timeout: Span,
    pub(in crate::group) session_timeout: Span,
    /// The preferred first. After a load only the chosen one, since the log keeps no other.
    pub(in crate::group) protocols: Vec<Protocol>,
    pub(in crate::group) assignment: Bytes,
    /// None while the member waits for us: silence is then no sign of death.
    pub(in crate::group) deadline: Option<Instant>,
    /// Changed by the roster only, which counts.
    pub(super) waiting: Waiting,
}

/// What a member waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::group) enum Waiting {
    Nothing,
    /// The end of the rebalance. A member that never was in a generation does not know its id yet and
    /// cannot send heartbeats, so its wait has a deadline.
    Join {
        token: Token,
        is_new: bool,
    },
    /// The leader's assignment.
    Sync {
        token: Token,
    },
}

impl Member {
    /// A member that was not here before: who it is, how patient (session, rebalance), what it supports.
    pub(in crate::group) fn new(
        (instance, client_id, client_host): (Option<InstanceId>, Label, Label),
        (session_timeout, rebalance_timeout): (Span, Span),
        protocols: Vec<Protocol>,
        waiting: Waiting,
        deadline: Instant,
    ) -> Self {
        Self {
            instance,
            client_id,
            client_host,
            rebalance_timeout,
            session_timeout,
            protocols,
            assignment: Bytes::new(),
            deadline: Some(deadline),
            waiting,
        }
    }

    pub(in crate::group) fn waiting(&self) -> Waiting {
        self.waiting
    }

    pub(in crate::group) fn is_joining(&self) -> bool {
        matches!(self.waiting, Waiting::Join { .. })
    }

    /// What the member said for `protocol`; empty if it does not support it.
    pub(in crate::group) fn metadata(&self, protocol: Option<&ProtocolName>) -> Bytes {
        let chosen = self.protocols.iter().find(|offer| Some(&offer.name) == protocol);
        chosen.map(|offer| offer.metadata.clone()).unwrap_or_default()
    }

    pub(super) fn load(saved: &MemberMetadata, protocol: Option<&ProtocolName>, deadline: Instant) -> Self {
        let offer =
            protocol.map(|name| Protocol { name: name.clone(), metadata: saved.subscription.clone() });
        Self {
            instance: saved.instance.clone(),
            client_id: saved.client_id.clone(),
            client_host: saved.client_host.clone(),
            rebalance_timeout: saved.rebalance_timeout,
            session_timeout: saved.session_timeout,
            protocols: offer.into_iter().collect(),
            assignment: saved.assignment.clone(),
            deadline: Some(deadline),
            waiting: Waiting::Nothing,
        }
    }
}
