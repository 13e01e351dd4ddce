//! Simulated participants of the group protocol: members that share partitions and commit what they have read,
//! committers that need no group, and auditors that read at the end what was promised.

mod calls;

use crate::client::{Route, body, encode, version};
use crate::promises::{Known, NONE, Promises};
use base::Rng;
use bytes::Bytes;
use calls::Call;
use std::collections::BTreeMap;
use wire::create_topics::{CreatableTopic, CreateTopicsRequest};
use wire::delete_groups::DeleteGroupsRequest;
use wire::find_coordinator::FindCoordinatorRequest;
use wire::heartbeat::HeartbeatRequest;
use wire::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use wire::leave_group::{LeaveGroupRequest, MemberIdentity};
use wire::list_groups::ListGroupsRequest;
use wire::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use wire::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse,
};
use wire::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use wire::{ErrorCode, Reader, Str};

/// The topic whose offsets are committed. Nobody writes to it.
const TOPIC: &str = "held";
const PARTITIONS: i32 = 4;

/// A participant and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Participant {
    group: String,
    kind: Kind,
    /// The request under way.
    asked: Asked,
    /// Where its coordinator was said to be: the node's id, its host and port.
    coordinator: Option<(i32, Str, i32)>,
    /// Whoever was asked is not the coordinator.
    is_lost: bool,
    /// In a cluster more may go wrong.
    pub(crate) is_in_cluster: bool,
    /// In how many places the topic is, whose offsets are committed.
    pub(crate) replicas: i16,
}

#[derive(Clone, Debug)]
enum Kind {
    Member(Member),
    Committer { is_ready: bool, next: i64 },
    Auditor { is_done: bool },
}

#[derive(Clone, Debug)]
struct Member {
    /// For static members, which keep it for the run.
    instance: Option<Str>,
    slowness: i32,
    member_id: Str,
    generation: i32,
    /// Who assigns in this generation.
    leader: Str,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    /// The coordinator is to be found; that makes the offsets topic, too.
    Lost,
    /// The topic is to be created.
    Bare,
    Joining,
    /// In a generation, without an assignment; the leader knows the members.
    Syncing {
        members: Vec<Str>,
    },
    /// Has partitions; the next offset of each once it was read.
    Stable {
        owned: Vec<i32>,
        next: BTreeMap<i32, i64>,
    },
}

#[derive(Clone, Debug)]
enum Asked {
    Nothing,
    Coordinator,
    Topic,
    Join,
    Sync,
    Heartbeat,
    Leave,
    Commit { offsets: Vec<(i32, i64)> },
    Fetch { known: Vec<(i32, Known)> },
    List { must_exist: bool },
    Delete,
}

/// A request on its way: its version and its frame.
type Frame = (i16, Bytes);

impl Participant {
    /// A member that is alive if it is heard of within `slowness` times the usual.
    pub(crate) fn member(group: &str, instance: Option<String>, slowness: u32) -> Self {
        let instance = instance.map(|name| name.as_str().into());
        let slowness = i32::try_from(slowness).unwrap_or(1);
        let member = Member {
            instance,
            slowness,
            member_id: Str::EMPTY,
            generation: -1,
            leader: Str::EMPTY,
            phase: Phase::Lost,
        };
        Self::new(group, Kind::Member(member))
    }

    pub(crate) fn committer(group: &str) -> Self {
        Self::new(group, Kind::Committer { is_ready: false, next: 0 })
    }

    pub(crate) fn auditor(group: &str) -> Self {
        Self::new(group, Kind::Auditor { is_done: false })
    }

    fn new(group: &str, kind: Kind) -> Self {
        let group = group.to_owned();
        let (is_lost, is_in_cluster, replicas) = (false, false, 1);
        Self { group, kind, asked: Asked::Nothing, coordinator: None, is_lost, is_in_cluster, replicas }
    }

    /// Tells where to go, if it has learned that.
    pub(crate) fn find_way(&mut self, route: &mut Route) -> Result<(), String> {
        if std::mem::take(&mut self.is_lost) {
            route.lose();
        }
        match self.coordinator.take() {
            Some((id, host, port)) if route.is_in_cluster() => route.found(id, &host, port),
            Some(_) | None => Ok(()),
        }
    }

    /// True once an auditor has heard.
    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.kind, Kind::Auditor { is_done: true })
    }

    /// The connection is gone, and with it the answer.
    pub(crate) fn disconnected(&mut self, promises: &mut Promises) {
        if matches!(core::mem::replace(&mut self.asked, Asked::Nothing), Asked::Delete) {
            promises.deleted(&self.group, false);
        }
    }

    // --- asking ---

    pub(crate) fn ask(
        &mut self,
        rng: &mut Rng,
        promises: &mut Promises,
        correlation: i32,
        is_lost: bool,
    ) -> Frame {
        let call = Call { group: self.group.clone(), correlation, replicas: self.replicas };
        if is_lost {
            let (frame, asked) = call.find(rng);
            self.asked = asked;
            return frame;
        }
        let ((version, frame), asked) = match &mut self.kind {
            Kind::Auditor { .. } => call.fetch(rng, promises, &(0..PARTITIONS).collect::<Vec<_>>()),
            Kind::Committer { is_ready: false, .. } => call.prepare(rng),
            Kind::Committer { is_ready: true, next } => match rng.below(20) {
                0 => call.delete(rng),
                1..=2 => call.list(rng, promises),
                3..=6 => call.fetch(rng, promises, &[0, 1]),
                _ => {
                    *next += 1;
                    let offsets = vec![(0, *next), (1, *next)];
                    call.commit(rng, promises, offsets, None)
                }
            },
            Kind::Member(member) => member.ask(&call, rng, promises),
        };
        self.asked = asked;
        (version, frame)
    }

    // --- hearing ---

    pub(crate) fn heard(
        &mut self,
        reader: &mut Reader,
        (correlation, version): (i32, i16),
        promises: &mut Promises,
    ) -> Result<(), String> {
        let is_stable = matches!(&self.kind, Kind::Member(Member { phase: Phase::Stable { .. }, .. }));
        let is_in_cluster = self.is_in_cluster;
        let reply = Received { group: self.group.clone(), correlation, version, is_stable, is_in_cluster };
        let verdict = match core::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Nothing => return Err(format!("group {}: an answer to nothing", self.group)),
            Asked::Coordinator => {
                let found = body::<FindCoordinatorRequest>(reader, correlation, version)?;
                let code = found.coordinators.first().map_or(found.error_code, |first| first.error_code);
                if code == 0 {
                    let found = match found.coordinators.into_iter().next() {
                        Some(first) => (first.node_id, first.host, first.port),
                        None => (found.node_id, found.host, found.port),
                    };
                    self.coordinator = Some(found);
                }
                reply.verdict(code)?
            }
            Asked::Topic => {
                let created = body::<CreateTopicsRequest>(reader, correlation, version)?;
                self.topic_created(created.topics[0].error_code)?
            }
            Asked::Join => {
                return self.joined(&reply, body::<JoinGroupRequest>(reader, correlation, version)?);
            }
            Asked::Sync => {
                let synced = body::<SyncGroupRequest>(reader, correlation, version)?;
                if synced.error_code == 0 {
                    return self.assigned(&synced.assignment, promises);
                }
                reply.verdict(synced.error_code)?
            }
            Asked::Heartbeat => {
                let alive = body::<HeartbeatRequest>(reader, correlation, version)?;
                reply.verdict(alive.error_code)?
            }
            Asked::Leave => {
                let left = body::<LeaveGroupRequest>(reader, correlation, version)?;
                let code = left.members.first().map_or(left.error_code, |member| member.error_code);
                let verdict = reply.verdict(code)?;
                if verdict == Verdict::Good { Verdict::Stranger } else { verdict }
            }
            Asked::Commit { offsets } => {
                let committed = body::<OffsetCommitRequest>(reader, correlation, version)?;
                reply.committed(&committed, &offsets, promises)?
            }
            Asked::Fetch { known } => {
                let fetched = body::<OffsetFetchRequest>(reader, correlation, version)?;
                self.fetched(&reply, &fetched, &known, promises)?
            }
            Asked::List { must_exist } => {
                let listed = body::<ListGroupsRequest>(reader, correlation, version)?;
                let is_there = listed.groups.iter().any(|group| *group.group_id == *self.group);
                if listed.error_code == 0 && must_exist && !is_there && !self.is_in_cluster {
                    return Err(format!("group {} has offsets and is not listed", self.group));
                }
                reply.verdict(listed.error_code)?
            }
            Asked::Delete => {
                let deleted = body::<DeleteGroupsRequest>(reader, correlation, version)?;
                let code = deleted.results[0].error_code;
                // Only what is known to be there must be found.
                let is_gone = code == ErrorCode::GroupIdNotFound.code() && !promises.must_exist(&self.group);
                // A coordinator that was lost meanwhile may have written the deletion.
                promises.deleted(&self.group, code == 0 || is_gone);
                if is_gone { Verdict::Good } else { reply.verdict(code)? }
            }
        };
        self.follow(verdict)
    }

    fn topic_created(&mut self, code: i16) -> Result<Verdict, String> {
        if code != 0 && code != ErrorCode::TopicAlreadyExists.code() {
            return Ok(Verdict::Lost);
        }
        match &mut self.kind {
            Kind::Committer { is_ready, .. } => *is_ready = true,
            Kind::Member(member) => member.phase = Phase::Joining,
            Kind::Auditor { .. } => return Err("an auditor creates nothing".into()),
        }
        Ok(Verdict::Good)
    }

    fn joined(&mut self, reply: &Received, joined: JoinGroupResponse) -> Result<(), String> {
        let code = joined.error_code;
        let verdict =
            if code == ErrorCode::MemberIdRequired.code() { Verdict::Good } else { reply.verdict(code)? };
        let Kind::Member(member) = &mut self.kind else { return Ok(()) };
        if verdict == Verdict::Good {
            member.member_id = joined.member_id;
        }
        if code == 0 {
            member.generation = joined.generation_id;
            member.leader = joined.leader.clone();
            let is_leader = joined.leader == member.member_id && !joined.skip_assignment;
            let members = if is_leader { joined.members } else { Vec::new() };
            let members = members.into_iter().map(|member| member.member_id).collect();
            member.phase = Phase::Syncing { members };
        }
        self.follow(verdict)
    }

    fn assigned(&mut self, assignment: &Bytes, promises: &mut Promises) -> Result<(), String> {
        let Kind::Member(member) = &mut self.kind else { return Ok(()) };
        let owned: Vec<i32> = assignment.iter().map(|byte| i32::from(*byte)).collect();
        let who = member.instance.as_ref().unwrap_or(&member.member_id);
        promises.owns(&self.group, (member.generation, &member.leader), &owned, who)?;
        member.phase = Phase::Stable { owned, next: BTreeMap::new() };
        Ok(())
    }

    fn fetched(
        &mut self,
        reply: &Received,
        fetched: &OffsetFetchResponse,
        known: &[(i32, Known)],
        promises: &mut Promises,
    ) -> Result<Verdict, String> {
        let code = fetched.groups.first().map_or(fetched.error_code, |group| group.error_code);
        let old = fetched.topics.iter().flat_map(|topic| &topic.partitions);
        let new = fetched.groups.iter().flat_map(|group| &group.topics).flat_map(|topic| &topic.partitions);
        let old = old.map(|part| (part.partition_index, part.committed_offset, part.error_code));
        let new = new.map(|part| (part.partition_index, part.committed_offset, part.error_code));
        let all: Vec<_> = old.chain(new).collect();
        let code = all.iter().map(|(_, _, code)| *code).find(|code| *code != 0).unwrap_or(code);
        let verdict = reply.verdict(code)?;
        if verdict != Verdict::Good {
            return Ok(verdict);
        }
        for (partition, known) in known {
            let found = all.iter().find(|(index, _, _)| index == partition);
            let offset = found.ok_or("an offset was asked for and is not in the answer")?.1;
            promises.saw((&self.group, *partition), *known, offset)?;
            match &mut self.kind {
                Kind::Member(Member { phase: Phase::Stable { next, .. }, .. }) => {
                    next.insert(*partition, offset.max(NONE) + 1);
                }
                Kind::Member(_) | Kind::Committer { .. } => {}
                Kind::Auditor { is_done } => *is_done = true,
            }
        }
        Ok(Verdict::Good)
    }

    /// What a code means for what comes next.
    fn follow(&mut self, verdict: Verdict) -> Result<(), String> {
        self.is_lost = verdict == Verdict::Lost;
        let Kind::Member(member) = &mut self.kind else {
            let is_expected = matches!(verdict, Verdict::Good | Verdict::Lost);
            return if is_expected { Ok(()) } else { Err(format!("{}: {verdict:?}", self.group)) };
        };
        match verdict {
            Verdict::Good => {
                if matches!(member.phase, Phase::Lost) {
                    member.phase = Phase::Bare;
                }
            }
            Verdict::Again => member.phase = Phase::Joining,
            Verdict::Stranger => {
                member.member_id = Str::EMPTY;
                member.phase = Phase::Joining;
            }
            Verdict::Lost => {}
        }
        Ok(())
    }
}

impl Member {
    fn ask(&mut self, call: &Call, rng: &mut Rng, promises: &mut Promises) -> (Frame, Asked) {
        match &mut self.phase {
            Phase::Lost => call.find(rng),
            Phase::Bare => call.prepare(rng),
            Phase::Joining => call.join(rng, self),
            Phase::Syncing { .. } => call.sync(rng, self),
            Phase::Stable { owned, next } => {
                let unread: Vec<i32> =
                    owned.iter().filter(|part| !next.contains_key(*part)).copied().collect();
                if !unread.is_empty() {
                    return call.fetch(rng, promises, &unread);
                }
                match rng.below(40) {
                    0 => call.leave(rng, self),
                    1 => {
                        // The process starts again: a static member is known by its name, another is new.
                        self.member_id = Str::EMPTY;
                        self.phase = Phase::Joining;
                        call.join(rng, self)
                    }
                    // Who is slow leaves its offsets alone for longer than they would be kept without it.
                    2..=20 if !next.is_empty() && (self.slowness < 100 || rng.chance(1, 10)) => {
                        let offsets: Vec<_> = next.iter().map(|(part, at)| (*part, *at)).collect();
                        next.values_mut().for_each(|at| *at += 1);
                        call.commit(rng, promises, offsets, Some(self))
                    }
                    _ => call.heartbeat(rng, self),
                }
            }
        }
    }
}

/// What a member makes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Join again.
    Again,
    /// The member is not known (any more).
    Stranger,
    /// The coordinator is not here, or not ready.
    Lost,
}

struct Received {
    group: String,
    correlation: i32,
    version: i16,
    /// The member had its assignment when it asked.
    is_stable: bool,
    is_in_cluster: bool,
}

impl Received {
    fn verdict(&self, code: i16) -> Result<Verdict, String> {
        let code = ErrorCode::from_code(code);
        if code == ErrorCode::None {
            return Ok(Verdict::Good);
        }
        if matches!(code, ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) {
            return Ok(Verdict::Again);
        }
        if matches!(code, ErrorCode::UnknownMemberId | ErrorCode::GroupIdNotFound) {
            return Ok(Verdict::Stranger);
        }
        if matches!(
            code,
            ErrorCode::NotCoordinator
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::CoordinatorLoadInProgress
        ) {
            return Ok(Verdict::Lost);
        }
        // The controller may be on its way, and so may the news of a topic.
        if self.is_in_cluster
            && matches!(
                code,
                ErrorCode::NotController
                    | ErrorCode::RequestTimedOut
                    | ErrorCode::InvalidReplicationFactor
                    | ErrorCode::UnknownTopicOrPartition
                    | ErrorCode::NotLeaderOrFollower
            )
        {
            return Ok(Verdict::Lost);
        }
        // A crash takes a rebalance back, and with it the new id of a static member. An id under which an
        // assignment was given stays: nobody else uses the name.
        if code == ErrorCode::FencedInstanceId && !self.is_stable {
            return Ok(Verdict::Stranger);
        }
        Err(format!(
            "group {}: request {} (v{}) refused with {code}",
            self.group, self.correlation, self.version
        ))
    }

    fn committed(
        &self,
        response: &OffsetCommitResponse,
        offsets: &[(i32, i64)],
        promises: &mut Promises,
    ) -> Result<Verdict, String> {
        let parts = || response.topics.iter().flat_map(|topic| &topic.partitions);
        if parts().count() != offsets.len() {
            return Err(format!(
                "group {}: {} partitions committed, {response:?}",
                self.group,
                offsets.len()
            ));
        }
        let mut worst = Verdict::Good;
        for part in parts() {
            let offset = offsets.iter().find(|(index, _)| *index == part.partition_index);
            let verdict = self.verdict(part.error_code)?;
            match (verdict, offset) {
                (Verdict::Good, Some((index, offset))) => promises.acked(&self.group, *index, *offset),
                (other, _) => worst = other,
            }
        }
        Ok(worst)
    }
}

impl Member {
    /// The least version that knows what this member has to say.
    const fn least(&self, dynamic: i16, of_static: i16) -> i16 {
        if self.instance.is_some() { of_static } else { dynamic }
    }
}
