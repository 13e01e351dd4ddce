//! One group with members, as the current rebalance knows it.
//!
//! This is soft state: it holds who waits for what and until when, and it runs ahead of the log while a
//! rebalance is under way. Lost, it is loaded from the last written generation, which costs a rebalance and
//! nothing else. A group without members is not kept here; the log alone describes it.

mod member;
mod roster;

pub(super) use member::{Member, Waiting};
pub(super) use roster::Roster;

use super::command::Protocol;
use super::ids::{Generation, MemberId, ProtocolName, ProtocolType, TopicName};
use super::record::{GroupMetadata, MemberMetadata};
use super::reply::GroupState;
use super::subscription::subscribed_topics;
use alloc::collections::{BTreeMap, BTreeSet};
use base::{Instant, Span, Timestamp};

/// A group that has members, or is about to.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveGroup {
    pub(super) generation: Generation,
    pub(super) protocol_type: Option<ProtocolType>,
    pub(super) protocol: Option<ProtocolName>,
    /// The topics of all subscriptions of the current generation; none if they cannot be read.
    pub(super) subscribed: Option<BTreeSet<TopicName>>,
    pub(super) roster: Roster,
    /// Ids that were given out and have not come back, with the end of their patience.
    pub(super) pending: BTreeMap<MemberId, Instant>,
    pub(super) phase: Phase,
    /// No deadline of this group is earlier. It may be early: heartbeats only ever move deadlines back.
    due: Option<Instant>,
    /// Under which instant the shard will look at this group.
    pub(super) alarm: Option<Instant>,
}

/// Where the group is between two assignments.
#[derive(Clone, Debug, Default)]
pub(super) enum Phase {
    /// No members; at most some are pending.
    #[default]
    Empty,
    /// Members come back, or come for the first time, until `deadline`.
    PreparingRebalance { deadline: Instant, first: Option<FirstRebalance> },
    /// The leader computes.
    CompletingRebalance { sync: SyncWatch },
    /// The assignment is known. `sync` is there until all have fetched it.
    Stable { sync: Option<SyncWatch> },
}

/// The rebalance of a group that was empty waits for company: a while longer each time somebody came.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstRebalance {
    pub(super) delay: Span,
    pub(super) remaining: Span,
    pub(super) has_grown: bool,
}

/// Who has not asked for its assignment yet, and how long that is tolerated.
#[derive(Clone, Debug)]
pub(super) struct SyncWatch {
    pub(super) deadline: Instant,
    pub(super) missing: BTreeSet<MemberId>,
}

/// A deadline that has passed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Phase,
    Session(MemberId),
    Pending(MemberId),
}

impl LiveGroup {
    /// The group as the log left it. Its members get a whole session to show up.
    pub(super) fn load(saved: &GroupMetadata, now: Instant) -> Self {
        let mut live = Self {
            generation: saved.generation,
            protocol_type: saved.protocol_type.clone(),
            protocol: saved.protocol.clone(),
            ..Self::default()
        };
        for member in &saved.members {
            live.load_member(member, now);
        }
        if let Some(leader) = &saved.leader {
            live.roster.set_leader(leader);
        }
        if !live.roster.is_empty() {
            live.phase = Phase::Stable { sync: None };
        }
        live.read_subscriptions();
        live
    }

    fn load_member(&mut self, saved: &MemberMetadata, now: Instant) {
        let deadline = now + saved.session_timeout;
        // No log of ours or Kafka's holds an id or a static name twice; the first one counts if one does.
        let is_taken = saved.instance.as_ref().is_some_and(|name| self.roster.of_instance(name).is_some());
        if !is_taken && !self.roster.contains(&saved.member) {
            let member = Member::load(saved, self.protocol.as_ref(), deadline);
            self.roster.add(saved.member.clone(), member);
            self.arm(deadline);
        }
    }

    pub(super) fn state(&self) -> GroupState {
        match self.phase {
            Phase::Empty => GroupState::Empty,
            Phase::PreparingRebalance { .. } => GroupState::PreparingRebalance,
            Phase::CompletingRebalance { .. } => GroupState::CompletingRebalance,
            Phase::Stable { .. } => GroupState::Stable,
        }
    }

    /// True if the log alone describes the group.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Empty) && self.pending.is_empty()
    }

    /// Everybody who is expected waits in a join.
    pub(super) fn has_all_joined(&self) -> bool {
        self.roster.joining() == self.roster.len() && self.pending.is_empty()
    }

    pub(super) fn supports(&self, protocol_type: &ProtocolType, protocols: &[Protocol]) -> bool {
        match self.phase {
            Phase::Empty => !protocol_type.as_str().is_empty() && !protocols.is_empty(),
            Phase::PreparingRebalance { .. } | Phase::CompletingRebalance { .. } | Phase::Stable { .. } => {
                self.protocol_type.as_ref() == Some(protocol_type) && self.roster.all_support_any(protocols)
            }
        }
    }

    pub(super) fn is_consumer(&self) -> bool {
        self.protocol_type.as_ref().is_some_and(ProtocolType::is_consumer)
    }

    /// True if some member may read `topic`. A consumer group whose subscriptions are unreadable reads all.
    pub(super) fn is_subscribed_to(&self, topic: &TopicName) -> bool {
        self.subscribed.as_ref().map_or(self.is_consumer(), |topics| topics.contains(topic))
    }

    pub(super) fn read_subscriptions(&mut self) {
        let protocol = self.protocol.as_ref();
        self.subscribed = if !self.is_consumer() {
            None
        } else if self.roster.is_empty() {
            Some(BTreeSet::new())
        } else {
            protocol.and_then(|_| {
                subscribed_topics(self.roster.iter().map(|(_, member)| member.metadata(protocol)))
            })
        };
    }

    /// What the log is to say about the current generation.
    pub(super) fn metadata(&self, state_timestamp: Timestamp) -> GroupMetadata {
        let protocol = self.protocol.as_ref();
        let members = self.roster.iter().map(|(id, member)| MemberMetadata {
            member: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout,
            session_timeout: member.session_timeout,
            subscription: member.metadata(protocol),
            assignment: member.assignment.clone(),
        });
        GroupMetadata {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.roster.leader().cloned(),
            state_timestamp: Some(state_timestamp),
            members: members.collect(),
        }
    }

    // --- deadlines ---

    /// Notes that something happens at `at`.
    pub(super) fn arm(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A member is alive at `now`.
    pub(super) fn renew_session(&mut self, id: &MemberId, now: Instant) {
        let Some(member) = self.roster.get(id) else { return };
        let deadline = now + member.session_timeout;
        self.roster.set_deadline(id, Some(deadline));
        self.arm(deadline);
    }

    /// The deadlines that have passed at `now`, the oldest first.
    pub(super) fn overdue(&self, now: Instant) -> alloc::vec::Vec<Due> {
        let mut due: alloc::vec::Vec<_> = self.deadlines().filter(|(at, _)| *at <= now).collect();
        due.sort();
        due.into_iter().map(|(_, due)| due).collect()
    }

    /// Recomputes the earliest deadline exactly, which costs a walk over all members.
    pub(super) fn rearm(&mut self) {
        self.due = self.deadlines().map(|(at, _)| at).min();
    }

    fn deadlines(&self) -> impl Iterator<Item = (Instant, Due)> {
        let sessions =
            self.roster.iter().filter_map(|(id, member)| Some((member.deadline?, Due::Session(id.clone()))));
        let pending = self.pending.iter().map(|(id, at)| (*at, Due::Pending(id.clone())));
        self.phase.deadline().map(|at| (at, Due::Phase)).into_iter().chain(sessions).chain(pending)
    }
}

impl Phase {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Empty | Self::Stable { sync: None } => None,
            Self::PreparingRebalance { deadline, .. } => Some(*deadline),
            Self::CompletingRebalance { sync } | Self::Stable { sync: Some(sync) } => Some(sync.deadline),
        }
    }
}
