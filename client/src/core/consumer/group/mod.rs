//! Membership of a consumer group by the classic protocol: find the coordinator, join, share out if leader, sync,
//! keep alive, leave.
//!
//! Says what should happen to the consumer's partitions as [`News`]; reads and commits no offsets itself.

pub(super) mod assignor;
mod protocol;

pub use assignor::Assignor;

use super::TopicPartition;
use crate::core::cluster::{Answer, Cluster, Completion, Target};
use crate::core::error::{CallError, code_of};
use crate::core::{Address, CallId};
use assignor::Member;
use base::{Instant, Now, Span};
use std::collections::{BTreeMap, VecDeque};
use wire::find_coordinator::FindCoordinatorRequest;
use wire::heartbeat::HeartbeatRequest;
use wire::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use wire::leave_group::{LeaveGroupRequest, MemberIdentity};
use wire::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use wire::{ErrorCode, Str};

/// How a consumer is a member of its group.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// `group.id`.
    pub id: String,
    /// `group.instance.id`: makes the member static (KIP-345).
    pub instance_id: Option<String>,
    /// `session.timeout.ms`: after so much silence the member counts as gone.
    pub session_timeout: Span,
    /// `heartbeat.interval.ms`.
    pub heartbeat_interval: Span,
    /// `max.poll.interval.ms`, as far as it bounds how long a rebalance waits for this member.
    pub rebalance_timeout: Span,
    /// `partition.assignment.strategy`, the preferred first. With `CooperativeSticky` alone partitions are read
    /// on through a rebalance.
    pub assignors: Vec<Assignor>,
    /// `auto.commit.interval.ms`; `None` commits only when told.
    pub auto_commit: Option<Span>,
}

impl GroupSettings {
    /// Kafka's defaults for a member of the group `id`.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            instance_id: None,
            session_timeout: Span::from_secs(45),
            heartbeat_interval: Span::from_secs(3),
            rebalance_timeout: Span::from_secs(300),
            assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
            auto_commit: Some(Span::from_secs(5)),
        }
    }
}

/// What should happen to the consumer's partitions.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Read these too.
    Assign(Vec<TopicPartition>),
    /// Let go of these, and say so with [`Membership::let_go`].
    Revoke(Vec<TopicPartition>),
    /// These are no longer ours; others may read them already.
    Lost(Vec<TopicPartition>),
    /// The group will not have us.
    Refused(ErrorCode),
}

#[derive(Debug)]
enum Phase {
    /// Not a member, and not trying.
    Out,
    /// To join, not before then.
    Join(Instant),
    Joining(CallId),
    /// Leader: knows the members, waits for their topics' metadata.
    Assigning {
        assignor: Assignor,
        members: Vec<Member>,
    },
    Syncing(CallId),
    Stable,
    /// Waits until the consumer has let go.
    Revoking,
    Leaving(CallId),
}

pub(super) struct Membership {
    settings: GroupSettings,
    topics: Vec<Str>,
    phase: Phase,
    coordinator: Option<i32>,
    finding: Option<CallId>,
    not_before: Instant,
    failures: u32,
    member_id: Str,
    generation: i32,
    owned: Vec<TopicPartition>,
    /// What was given up for the present rebalance.
    held: Vec<TopicPartition>,
    /// What the leader shared out, to notice when topics change; `None` for others.
    shared: Option<BTreeMap<Str, i32>>,
    heartbeat: Option<CallId>,
    heartbeat_at: Instant,
    news: VecDeque<News>,
}

/// How long a Join may take beyond the rebalance timeout.
const GRACE: Span = Span::from_secs(5);
const PROTOCOL_TYPE: Str = Str::from_static("consumer");

impl Membership {
    pub(super) const fn new(settings: GroupSettings) -> Self {
        Self {
            settings,
            topics: Vec::new(),
            phase: Phase::Out,
            coordinator: None,
            finding: None,
            not_before: Instant::ZERO,
            failures: 0,
            member_id: Str::EMPTY,
            generation: -1,
            owned: Vec::new(),
            held: Vec::new(),
            shared: None,
            heartbeat: None,
            heartbeat_at: Instant::ZERO,
            news: VecDeque::new(),
        }
    }

    pub(super) const fn settings(&self) -> &GroupSettings {
        &self.settings
    }

    pub(super) const fn coordinator(&self) -> Option<i32> {
        self.coordinator
    }

    pub(super) fn identity(&self) -> (Str, i32, Option<Str>) {
        (self.member_id.clone(), self.generation, self.instance_id())
    }

    pub(super) fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    pub(super) const fn is_out(&self) -> bool {
        matches!(self.phase, Phase::Out)
    }

    /// Joins, or joins again with other topics.
    pub(super) fn subscribe(&mut self, now: Now, topics: &[Str]) {
        self.topics = topics.to_vec();
        self.topics.sort();
        self.topics.dedup();
        match self.phase {
            Phase::Out => self.phase = Phase::Join(now.mono),
            Phase::Stable => self.rebalance(now),
            // The join that is due or under way is repeated by the coordinator's next rebalance.
            Phase::Join(_)
            | Phase::Joining(_)
            | Phase::Assigning { .. }
            | Phase::Syncing(_)
            | Phase::Revoking
            | Phase::Leaving(_) => {}
        }
    }

    /// The consumer has let go of what it was told to revoke.
    pub(super) fn let_go(&mut self, now: Now, partitions: &[TopicPartition]) {
        if matches!(self.phase, Phase::Revoking) {
            self.held = std::mem::take(&mut self.owned);
            self.owned = self.held.iter().filter(|p| !partitions.contains(p)).cloned().collect();
            self.phase = Phase::Join(now.mono);
        }
    }

    /// Leaves the group; static members only stop, so that their place is kept.
    pub(super) fn leave(&mut self, now: Now, cluster: &mut Cluster) {
        let can = self.settings.instance_id.is_none() && !self.member_id.is_empty();
        self.owned.clear();
        self.phase = match self.coordinator.filter(|_| can) {
            Some(id) => {
                let member =
                    MemberIdentity { member_id: self.member_id.clone(), ..MemberIdentity::default() };
                let request = LeaveGroupRequest {
                    group_id: self.group(),
                    members: vec![member],
                    ..LeaveGroupRequest::default()
                };
                let timeout = cluster.settings().request_timeout;
                Phase::Leaving(cluster.call(now, Target::Coordinator(id), 3..=5, request, timeout))
            }
            None => Phase::Out,
        };
        self.forget_membership();
    }

    fn forget_membership(&mut self) {
        self.member_id = Str::EMPTY;
        self.generation = -1;
        self.heartbeat = None;
        self.shared = None;
    }

    fn group(&self) -> Str {
        Str::from(&self.settings.id)
    }

    fn instance_id(&self) -> Option<Str> {
        self.settings.instance_id.as_ref().map(Str::from)
    }

    fn is_cooperative(&self) -> bool {
        self.settings.assignors.iter().all(|assignor| *assignor == Assignor::CooperativeSticky)
    }

    /// Does what is due; `needed` says whether somebody needs the coordinator although the phase does not.
    pub(super) fn advance(&mut self, now: Now, cluster: &mut Cluster, needed: bool) {
        if self.coordinator.is_none() {
            if (needed || !self.is_out()) && self.finding.is_none() && now.mono >= self.not_before {
                self.find_coordinator(now, cluster);
            }
            return;
        }
        match &self.phase {
            Phase::Join(at) if now.mono >= *at => self.join(now, cluster),
            Phase::Assigning { .. } => self.share_out(now, cluster),
            Phase::Stable => {
                let changed =
                    self.shared.as_ref().is_some_and(|shared| *shared != counts(shared.keys(), cluster));
                if changed {
                    self.rebalance(now);
                }
                self.keep_alive(now, cluster);
            }
            Phase::Revoking => self.keep_alive(now, cluster),
            Phase::Out | Phase::Join(_) | Phase::Joining(_) | Phase::Syncing(_) | Phase::Leaving(_) => {}
        }
    }

    /// When [`Membership::advance`] has something to do without input.
    pub(super) fn wake_at(&self, needed: bool) -> Option<Instant> {
        if self.coordinator.is_none() {
            let looking = (needed || !self.is_out()) && self.finding.is_none();
            return looking.then_some(self.not_before);
        }
        match &self.phase {
            Phase::Join(at) => Some(*at),
            Phase::Stable | Phase::Revoking => self.heartbeat.is_none().then_some(self.heartbeat_at),
            Phase::Out
            | Phase::Joining(_)
            | Phase::Assigning { .. }
            | Phase::Syncing(_)
            | Phase::Leaving(_) => None,
        }
    }

    fn find_coordinator(&mut self, now: Now, cluster: &mut Cluster) {
        let request = FindCoordinatorRequest { key: self.group(), ..FindCoordinatorRequest::default() };
        let timeout = cluster.settings().request_timeout;
        self.finding = Some(cluster.call(now, Target::Any, 1..=3, request, timeout));
    }

    fn join(&mut self, now: Now, cluster: &mut Cluster) {
        let Some(id) = self.coordinator else { return };
        let owned = if self.is_cooperative() { self.owned.clone() } else { Vec::new() };
        let protocol = |assignor: &Assignor| JoinGroupRequestProtocol {
            name: Str::from_static(assignor.name()),
            metadata: protocol::subscription(*assignor, &self.topics, &owned, (&self.held, self.generation)),
            ..JoinGroupRequestProtocol::default()
        };
        let request = JoinGroupRequest {
            group_id: self.group(),
            session_timeout_ms: millis(self.settings.session_timeout),
            rebalance_timeout_ms: millis(self.settings.rebalance_timeout),
            member_id: self.member_id.clone(),
            group_instance_id: self.instance_id(),
            protocol_type: PROTOCOL_TYPE,
            protocols: self.settings.assignors.iter().map(protocol).collect(),
            ..JoinGroupRequest::default()
        };
        let timeout = self.settings.rebalance_timeout + GRACE;
        self.phase = Phase::Joining(cluster.call(now, Target::Coordinator(id), 5..=9, request, timeout));
    }

    /// The leader's part, once it knows how many partitions there are.
    fn share_out(&mut self, now: Now, cluster: &mut Cluster) {
        let Phase::Assigning { assignor, members } = &self.phase else { return };
        let names: Vec<_> = members.iter().flat_map(|member| &member.topics).collect();
        names.iter().for_each(|topic| cluster.watch(topic));
        if names.iter().any(|topic| !cluster.metadata().topics.contains_key(*topic)) {
            return;
        }
        let topics = counts(names.into_iter(), cluster);
        let assignment = assignor.assign(members, &topics);
        let assignments = assignment.iter().map(|(member, partitions)| SyncGroupRequestAssignment {
            member_id: member.clone(),
            assignment: protocol::assignment(partitions),
            ..SyncGroupRequestAssignment::default()
        });
        let (assignor, assignments) = (*assignor, assignments.collect());
        self.shared = Some(topics);
        self.sync(now, cluster, Str::from_static(assignor.name()), assignments);
    }

    fn sync(
        &mut self,
        now: Now,
        cluster: &mut Cluster,
        protocol: Str,
        assignments: Vec<SyncGroupRequestAssignment>,
    ) {
        let Some(id) = self.coordinator else { return };
        let request = SyncGroupRequest {
            group_id: self.group(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance_id(),
            protocol_type: Some(PROTOCOL_TYPE),
            protocol_name: Some(protocol),
            assignments,
            ..SyncGroupRequest::default()
        };
        let timeout = self.settings.rebalance_timeout + GRACE;
        self.phase = Phase::Syncing(cluster.call(now, Target::Coordinator(id), 3..=5, request, timeout));
    }

    fn keep_alive(&mut self, now: Now, cluster: &mut Cluster) {
        let Some(id) = self.coordinator.filter(|_| self.heartbeat.is_none()) else { return };
        if now.mono < self.heartbeat_at {
            return;
        }
        let request = HeartbeatRequest {
            group_id: self.group(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance_id(),
            ..HeartbeatRequest::default()
        };
        let timeout = self.settings.session_timeout;
        self.heartbeat = Some(cluster.call(now, Target::Coordinator(id), 3..=4, request, timeout));
        self.heartbeat_at = now.mono + self.settings.heartbeat_interval;
    }

    /// Begins to join anew. Eager members first let go of everything.
    fn rebalance(&mut self, now: Now) {
        if self.is_cooperative() || self.owned.is_empty() {
            self.phase = Phase::Join(now.mono);
        } else {
            self.phase = Phase::Revoking;
            self.news.push_back(News::Revoke(self.owned.clone()));
        }
    }

    /// Takes an answer if it is ours.
    pub(super) fn settle(&mut self, now: Now, done: &Completion, cluster: &mut Cluster) -> bool {
        let call = done.call;
        if self.finding == Some(call) {
            self.finding = None;
            self.settle_coordinator(now, &done.outcome, cluster);
        } else if self.heartbeat == Some(call) {
            self.heartbeat = None;
            let code = code::<HeartbeatRequest>(&done.outcome, |response| response.error_code);
            self.settle_refusal(now, code, cluster);
        } else {
            return self.settle_phase(now, done, cluster);
        }
        true
    }

    fn settle_phase(&mut self, now: Now, done: &Completion, cluster: &mut Cluster) -> bool {
        match self.phase {
            Phase::Joining(call) if call == done.call => {
                match decode::<JoinGroupRequest>(&done.outcome) {
                    Ok(response) => self.settle_join(now, &response, cluster),
                    Err(code) => self.settle_refusal(now, code, cluster),
                }
                true
            }
            Phase::Syncing(call) if call == done.call => {
                match decode::<SyncGroupRequest>(&done.outcome) {
                    Ok(response) => self.settle_sync(now, &response, cluster),
                    Err(code) => self.settle_refusal(now, code, cluster),
                }
                true
            }
            Phase::Leaving(call) if call == done.call => {
                self.phase = Phase::Out;
                true
            }
            Phase::Out
            | Phase::Join(_)
            | Phase::Joining(_)
            | Phase::Assigning { .. }
            | Phase::Syncing(_)
            | Phase::Stable
            | Phase::Revoking
            | Phase::Leaving(_) => false,
        }
    }

    fn settle_coordinator(&mut self, now: Now, outcome: &Result<Answer, CallError>, cluster: &mut Cluster) {
        let response = decode::<FindCoordinatorRequest>(outcome);
        let code = response.as_ref().map_or_else(|code| *code, |response| code_of(response.error_code));
        match response {
            Ok(response) if code == ErrorCode::None => {
                let port = u16::try_from(response.port).unwrap_or_default();
                cluster.learn_broker(response.node_id, Address { host: response.host.to_string(), port });
                self.coordinator = Some(response.node_id);
                self.failures = 0;
            }
            Ok(_) | Err(_) if code.is_retriable() => self.back_off(now, cluster),
            Ok(_) | Err(_) => self.refused(code),
        }
    }

    fn back_off(&mut self, now: Now, cluster: &Cluster) {
        self.failures += 1;
        self.not_before = now.mono + cluster.settings().retry_pause(self.failures);
    }

    fn refused(&mut self, code: ErrorCode) {
        self.phase = Phase::Out;
        self.lose();
        self.forget_membership();
        self.news.push_back(News::Refused(code));
    }

    fn lose(&mut self) {
        if !self.owned.is_empty() {
            self.news.push_back(News::Lost(std::mem::take(&mut self.owned)));
        }
    }

    fn settle_join(&mut self, now: Now, response: &JoinGroupResponse, cluster: &mut Cluster) {
        let code = code_of(response.error_code);
        if code == ErrorCode::MemberIdRequired {
            self.member_id = response.member_id.detached();
            self.phase = Phase::Join(now.mono);
            return;
        }
        if code != ErrorCode::None {
            return self.settle_refusal(now, code, cluster);
        }
        self.failures = 0;
        self.member_id = response.member_id.detached();
        self.generation = response.generation_id;
        self.shared = None;
        let name = response.protocol_name.clone().unwrap_or_default();
        let Some(assignor) = Assignor::from_name(&name) else {
            return self.refused(ErrorCode::InconsistentGroupProtocol);
        };
        if response.leader == self.member_id && !response.skip_assignment {
            let member = |m: &wire::join_group::JoinGroupResponseMember| {
                let instance_id = m.group_instance_id.as_ref().map(Str::detached);
                protocol::member(assignor, &m.member_id, instance_id, &m.metadata)
            };
            let members = response.members.iter().filter_map(member).collect();
            self.phase = Phase::Assigning { assignor, members };
        } else {
            self.sync(now, cluster, name.detached(), Vec::new());
        }
    }

    fn settle_sync(&mut self, now: Now, response: &SyncGroupResponse, cluster: &mut Cluster) {
        let code = code_of(response.error_code);
        if code != ErrorCode::None {
            return self.settle_refusal(now, code, cluster);
        }
        let Some(assigned) = protocol::assigned(&response.assignment) else {
            return self.refused(ErrorCode::InconsistentGroupProtocol);
        };
        self.held.clear();
        self.heartbeat_at = now.mono + self.settings.heartbeat_interval;
        let added: Vec<_> = assigned.iter().filter(|p| !self.owned.contains(p)).cloned().collect();
        let revoked: Vec<_> = self.owned.iter().filter(|p| !assigned.contains(p)).cloned().collect();
        self.phase = if revoked.is_empty() { Phase::Stable } else { Phase::Revoking };
        self.news.push_back(News::Assign(added.clone()));
        self.owned.extend(added);
        if !revoked.is_empty() {
            self.news.push_back(News::Revoke(revoked));
        }
    }

    /// What an error code of any group call means for the membership.
    pub(super) fn settle_refusal(&mut self, now: Now, code: ErrorCode, cluster: &mut Cluster) {
        let gone = [ErrorCode::UnknownMemberId, ErrorCode::IllegalGeneration];
        if code == ErrorCode::None {
            self.failures = 0;
        } else if gone.contains(&code) {
            self.lose();
            self.forget_membership();
            self.phase = Phase::Join(now.mono);
        } else if code == ErrorCode::RebalanceInProgress {
            match self.phase {
                // It is letting go already, and joins after that.
                Phase::Revoking => {}
                Phase::Stable => self.rebalance(now),
                Phase::Out | Phase::Leaving(_) => {}
                Phase::Join(_) | Phase::Joining(_) | Phase::Assigning { .. } | Phase::Syncing(_) => {
                    self.phase = Phase::Join(now.mono);
                }
            }
        } else if code.is_retriable() {
            self.retry(now, code, cluster);
        } else {
            self.refused(code);
        }
    }

    /// Goes on where it was, with the coordinator that there is then.
    fn retry(&mut self, now: Now, code: ErrorCode, cluster: &Cluster) {
        self.back_off(now, cluster);
        if code != ErrorCode::CoordinatorLoadInProgress {
            self.coordinator = None;
        }
        if matches!(self.phase, Phase::Joining(_) | Phase::Syncing(_)) {
            self.phase = Phase::Join(self.not_before);
        }
    }
}

fn millis(span: Span) -> i32 {
    i32::try_from(span.as_millis()).unwrap_or(i32::MAX)
}

/// Partitions of topics that exist.
fn counts<'a>(topics: impl Iterator<Item = &'a Str>, cluster: &Cluster) -> BTreeMap<Str, i32> {
    let known = &cluster.metadata().topics;
    let count = |topic: &Str| known.get(topic).and_then(|known| i32::try_from(known.partitions.len()).ok());
    topics.map(|topic| (topic.clone(), count(topic).unwrap_or(0))).collect()
}

fn decode<R: wire::Request>(outcome: &Result<Answer, CallError>) -> Result<R::Response, ErrorCode> {
    let answer = outcome.as_ref().map_err(CallError::code)?;
    answer.decode::<R>().map_err(|error| error.code())
}

fn code<R: wire::Request>(
    outcome: &Result<Answer, CallError>,
    find: impl FnOnce(&R::Response) -> i16,
) -> ErrorCode {
    decode::<R>(outcome).map_or_else(|code| code, |response| code_of(find(&response)))
}
