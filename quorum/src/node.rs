//! The wrapper itself: inputs in, one [`Output`] out, and the `raft` crate's known traps fenced.

mod membership;
mod offers;

use crate::entry::{Entry, EntryKind, HardState, Membership, RaftId, SnapshotPoint};
use crate::io::{Committed, NotLeader, Output, Persist, ProposalId, QuorumError, Role, Start};
use crate::message;
use crate::storage::Memory;
use base::{Rng, hit, planted};
use bytes::Bytes;
use offers::Offers;
use raft::eraftpb::{self, MessageType};
use raft::{RawNode, StateRole};

/// Ticks without word from a leader before a member asks for votes; the timeout is drawn from one to two times this.
pub const ELECTION_TICKS: usize = 10;
/// When a leader is known to be gone, votes are asked for within so many ticks.
const GONE_TICKS: usize = 4;
/// Ticks between a leader's heartbeats.
const HEARTBEAT_TICKS: usize = 2;
/// The largest message that carries several entries; one entry may exceed it.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;

/// One member of the metadata quorum.
pub struct Quorum {
    node: RawNode<Memory>,
    id: RaftId,
    seed: u64,
    /// The write that is being made durable, with the messages that wait for it.
    in_flight: Option<InFlight>,
    role: Role,
    last_hard_state: HardState,
    /// The entry that made the latest membership.
    membership_index: u64,
    /// A membership that has been applied and is not on its way to the disk yet.
    new_membership: Option<(u64, Membership)>,
    /// A snapshot that is durable and has not been conveyed yet.
    installed: Option<SnapshotPoint>,
    offers: Offers,
    /// Ticks as a leader, for what is looked at now and then.
    ticks: usize,
    /// Ticks until votes are asked for, since the leader is known to be gone.
    hurry: Option<usize>,
}

struct InFlight {
    number: u64,
    waiting: Vec<eraftpb::Message>,
    snapshot: Option<SnapshotPoint>,
}

impl Quorum {
    /// A member with the state that its disk holds.
    ///
    /// # Errors
    /// When the ids, indexes or terms contradict each other.
    pub fn new(start: Start) -> Result<Self, QuorumError> {
        check_start(&start)?;
        let entries = start.entries.iter().map(Entry::to_raft).collect();
        let last = start.snapshot.index + start.entries.len() as u64;
        let (membership_index, membership) = start
            .membership
            .filter(|(index, _)| *index > start.snapshot.index)
            .unwrap_or_else(|| (start.snapshot.index, start.snapshot.membership.clone()));
        let mut hard_state = start.hard_state;
        // A membership was applied only after it had committed.
        hard_state.commit = hard_state.commit.max(membership_index).clamp(start.snapshot.index, last);
        let applied = start.snapshot.index;
        let memory = Memory::new(hard_state.to_raft(), membership, start.snapshot, entries);
        let config = raft::Config {
            id: start.id.0,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: 64,
            check_quorum: !planted!(E3),
            pre_vote: true,
            ..raft::Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config, memory, &logger).map_err(|e| QuorumError(e.to_string()))?;
        let mut quorum = Self {
            node,
            id: start.id,
            seed: start.seed,
            in_flight: None,
            role: Role::Follower { leader: None },
            last_hard_state: hard_state,
            membership_index,
            new_membership: None,
            installed: None,
            offers: Offers::default(),
            ticks: 0,
            hurry: None,
        };
        quorum.fix_timeout();
        Ok(quorum)
    }

    /// Lets one tick of time pass. Who is alone needs none.
    pub fn tick(&mut self) {
        if self.is_alone() {
            return;
        }
        if self.is_writing_snapshot() {
            self.node.raft.election_elapsed += 1;
            return;
        }
        self.node.tick();
        self.hurry_on();
        self.ticks += 1;
        self.retry_snapshots();
        self.fix_timeout();
    }

    /// Takes a message from a peer. Anything malformed, misdirected or local-only is dropped.
    ///
    /// # Errors
    /// When the message shows that this member's disk has lost what it had confirmed.
    pub fn step(&mut self, message: &[u8]) -> Result<(), QuorumError> {
        let Some(message) = message::decode(message) else {
            hit!(quorum_garbled_message);
            return Ok(());
        };
        if !self.is_fit(&message) {
            hit!(quorum_refused_message);
            return Ok(());
        }
        self.check_not_lost(&message)?;
        if message.get_msg_type() == MessageType::MsgTimeoutNow && self.is_writing_snapshot() {
            hit!(quorum_candidate_without_snapshot);
            return Ok(());
        }
        if message.get_msg_type() == MessageType::MsgSnapshot && !self.has_snapshot(&message) {
            self.offers.note(message);
            return Ok(());
        }
        let _unknown_peer = self.node.step(message);
        self.after_step();
        Ok(())
    }

    /// Whether a message is one for this member, and says nothing that would bring the core down.
    fn is_fit(&self, message: &eraftpb::Message) -> bool {
        let follows = |(entry, after): (&eraftpb::Entry, u64)| entry.index.checked_sub(1) == Some(after);
        let ordered = message.entries.iter().zip(message.index..).all(follows);
        let sound = message.get_msg_type() != MessageType::MsgSnapshot || offers::is_sound(message);
        message.to == self.id.0 && message.from != 0 && message.term != 0 && ordered && sound
    }

    /// A leader never tells a commit beyond what this member has confirmed to it.
    fn check_not_lost(&self, message: &eraftpb::Message) -> Result<(), QuorumError> {
        let last = self.last_index();
        let told = message.get_msg_type() == MessageType::MsgHeartbeat && message.term >= self.term();
        if told && message.commit > last {
            return Err(QuorumError(format!(
                "this member's log ends at {last}, but it had confirmed {} to the leader: its disk has lost data. \
                 Remove it from the quorum and let it join again with an empty directory.",
                message.commit
            )));
        }
        Ok(())
    }

    /// The crate panics when it asks for votes between a snapshot's entry in the store and its being applied: until the
    /// snapshot is durable no election may begin, however long the disk takes.
    fn is_writing_snapshot(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|write| write.snapshot.is_some())
    }

    fn after_step(&mut self) {
        self.fix_timeout();
        if self.node.raft.state != StateRole::Leader {
            return;
        }
        // A late rejection can move a probe below what is known to match; later releases of the crate do not let it.
        for (_, progress) in self.node.raft.mut_prs().iter_mut() {
            if progress.next_idx <= progress.matched {
                hit!(quorum_late_rejection);
                progress.next_idx = progress.matched + 1;
            }
        }
    }

    /// The process of this leader is known to be gone: does not wait for an election timeout, and votes for others.
    pub fn leader_is_gone(&mut self, leader: RaftId) {
        if self.leader() != Some(leader) || self.node.raft.state != StateRole::Follower {
            return;
        }
        hit!(quorum_leader_gone);
        self.node.raft.become_follower(self.term(), raft::INVALID_ID);
        // Who asks for votes in the same tick as others gets none: each has its own moment.
        let mut rng = Rng::new(self.seed ^ self.id.0.rotate_left(16) ^ self.term());
        self.hurry = Some(1 + rng.index(GONE_TICKS));
        self.fix_timeout();
    }

    /// Asks for votes early, if its moment has come and nobody was faster.
    fn hurry_on(&mut self) {
        let Some(left) = self.hurry else { return };
        if self.leader().is_some() || self.node.raft.state != StateRole::Follower {
            self.hurry = None;
        } else if left > 1 {
            self.hurry = Some(left - 1);
        } else {
            self.hurry = None;
            // The crate asks for votes even for a learner, and panics on one who wins because it knows of no voter.
            if self.node.raft.promotable() {
                let _pending_change = self.node.campaign();
            }
        }
    }

    /// Proposes `data` as one entry.
    ///
    /// # Errors
    /// When this member does not lead, or is handing over.
    pub fn propose(&mut self, data: &Bytes) -> Result<ProposalId, NotLeader> {
        assert!(!data.is_empty(), "an empty entry is a leader's opener, never a proposal");
        let not_leader = NotLeader { leader: self.leader() };
        if self.node.raft.state != StateRole::Leader {
            return Err(not_leader);
        }
        self.node.propose(Vec::new(), data.to_vec()).map_err(|_| not_leader)?;
        Ok(ProposalId { index: self.last_index(), term: self.term() })
    }

    /// Confirms that everything in the [`Persist`] of this number, and all before it, is durable.
    pub fn persisted(&mut self, number: u64) -> Vec<(RaftId, Bytes)> {
        let Some(done) = self.in_flight.take() else { return Vec::new() };
        assert_eq!(done.number, number, "writes are confirmed in order");
        self.node.on_persist_ready(number);
        if let Some(point) = done.snapshot {
            self.node.advance_apply_to(point.index);
            self.installed = Some(point);
        }
        self.fix_timeout();
        encode(&done.waiting)
    }

    /// Collects what follows from the inputs so far. While a write is in flight only what needs no other
    /// write comes out.
    pub fn output(&mut self) -> Output {
        let mut output = Output::default();
        output.committed.extend(self.installed.take().map(Committed::Snapshot));
        loop {
            while self.in_flight.is_none() && self.node.has_ready() {
                self.take_ready(&mut output);
            }
            if !self.stand_if_alone() && !self.leave_joint() {
                break;
            }
        }
        output.fetch = self.begin_fetch();
        output.snapshot_wanted = self.node.store().take_snapshot_wanted();
        self.note_role(&mut output);
        output
    }

    /// Nobody else could wake a lone voter up: it leads as soon as it can.
    fn stand_if_alone(&mut self) -> bool {
        let idle = self.in_flight.is_none() && self.node.raft.state == StateRole::Follower;
        if !idle || !self.is_lone_voter() {
            return false;
        }
        let _unpromotable = self.node.campaign();
        self.fix_timeout();
        self.node.has_ready()
    }

    fn take_ready(&mut self, output: &mut Output) {
        let mut ready = self.node.ready();
        output.send.append(&mut encode(&ready.take_messages()));
        let waiting = ready.take_persisted_messages();
        let snapshot = Some(ready.snapshot())
            .filter(|snapshot| snapshot.get_metadata().index != 0)
            .map(SnapshotPoint::from_raft);
        let committed = ready.take_committed_entries();
        let entries = ready.entries().clone();
        let hard_state = ready.hs().map(HardState::from_raft);
        let number = ready.number();
        if let Some(point) = &snapshot {
            self.membership_index = point.index;
            self.node.mut_store().install(point.clone());
        }
        self.node.mut_store().append(&entries);
        if let Some(state) = hard_state {
            self.node.mut_store().hard_state = state.to_raft();
        }
        self.node.advance_append_async(ready);
        self.apply(committed, output);
        let vote_changed = hard_state
            .filter(|new| (new.term, new.vote) != (self.last_hard_state.term, self.last_hard_state.vote));
        self.last_hard_state = hard_state.unwrap_or(self.last_hard_state);
        let entries = entries.iter().map(Entry::from_raft).collect();
        let membership = self.new_membership.take().filter(|_| !planted!(E10));
        let persist = Persist { number, hard_state: vote_changed, snapshot, entries, membership };
        if persist.is_empty() {
            self.node.on_persist_ready(number);
            output.send.append(&mut encode(&waiting));
            return;
        }
        if planted!(B12) {
            output.send.append(&mut encode(&waiting));
        }
        self.in_flight = Some(InFlight { number, waiting, snapshot: persist.snapshot.clone() });
        output.persist = Some(persist);
    }

    fn apply(&mut self, entries: Vec<eraftpb::Entry>, output: &mut Output) {
        let Some(last) = entries.last().map(|entry| entry.index) else { return };
        for entry in &entries {
            output.committed.push(self.apply_one(entry));
        }
        self.node.advance_apply_to(last);
        assert!(
            self.node.raft.raft_log.applied <= self.node.raft.raft_log.committed,
            "applied past the commit"
        );
    }

    fn apply_one(&mut self, entry: &eraftpb::Entry) -> Committed {
        let (index, term) = (entry.index, entry.term);
        let own = Entry::from_raft(entry);
        match own.kind {
            EntryKind::Normal => Committed::Data { index, term, data: own.data },
            // A restart conveys again what the durable membership has in it already.
            EntryKind::Membership if index <= self.membership_index => {
                Committed::Data { index, term, data: Bytes::new() }
            }
            EntryKind::Membership => {
                self.apply_membership(index, &entry.data);
                Committed::Membership { index, term, membership: self.membership().clone() }
            }
        }
    }

    fn note_role(&mut self, output: &mut Output) {
        let role = match self.node.raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Follower => Role::Follower { leader: self.leader() },
        };
        if role != self.role {
            self.role = role;
            output.role = Some(role);
        }
    }

    /// Where a snapshot taken now would stand; its seal is still to be made. `None` while a restart has not come as far
    /// as the membership that is in force.
    #[must_use]
    pub fn applied_point(&self) -> Option<SnapshotPoint> {
        let index = self.node.raft.raft_log.applied;
        let term = self.node.raft.raft_log.term(index).unwrap_or_default();
        let point = SnapshotPoint { index, term, membership: self.membership().clone(), seal: Bytes::new() };
        Some(point).filter(|point| point.index >= self.membership_index)
    }

    /// Forgets the entries up to `point`: a durable snapshot covers them.
    pub fn compact(&mut self, point: SnapshotPoint) {
        self.node.mut_store().compact(point);
    }

    /// Where the log begins.
    #[must_use]
    pub fn snapshot_point(&self) -> &SnapshotPoint {
        self.node.store().snapshot_point()
    }

    /// Who leads, as far as this member knows.
    #[must_use]
    pub fn leader(&self) -> Option<RaftId> {
        Some(self.node.raft.leader_id).filter(|id| *id != 0).map(RaftId)
    }

    /// The current term.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// The index up to which the log is committed.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    /// True when this leader has committed an entry of its own term, and so knows all that was committed before
    /// (rule A14).
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.role == Role::Leader && self.node.raft.commit_to_current_term()
    }

    /// The last index in the log, committed or not.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.node.raft.raft_log.last_index()
    }

    /// Entries held in memory since the last snapshot.
    #[must_use]
    pub fn entries_in_memory(&self) -> usize {
        self.node.store().len()
    }

    /// What this member is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The crate draws its election timeout from the thread's random: overwrite it with a value that depends
    /// only on (seed, id, term), after everything that may have drawn one.
    fn fix_timeout(&mut self) {
        let term = self.node.raft.term;
        let mut rng = Rng::new(self.seed ^ self.id.0.rotate_left(32) ^ term.wrapping_mul(0x9e37_79b9));
        let ticks = ELECTION_TICKS + rng.index(ELECTION_TICKS);
        self.node.raft.set_randomized_election_timeout(ticks);
    }
}

impl Persist {
    const fn is_empty(&self) -> bool {
        self.hard_state.is_none()
            && self.snapshot.is_none()
            && self.entries.is_empty()
            && self.membership.is_none()
    }
}

fn encode(messages: &[eraftpb::Message]) -> Vec<(RaftId, Bytes)> {
    let encode_one = |m: &eraftpb::Message| message::encode(m).map(|bytes| (RaftId(m.to), bytes));
    messages.iter().filter_map(encode_one).collect()
}

fn check_start(start: &Start) -> Result<(), QuorumError> {
    if start.id.0 == 0 {
        return Err(QuorumError("a Raft id must not be zero".into()));
    }
    let mut index = start.snapshot.index;
    let mut term = start.snapshot.term;
    for entry in &start.entries {
        index += 1;
        if entry.index != index || entry.term < term {
            return Err(QuorumError(format!(
                "entry {} of term {} cannot follow index {} of term {term}",
                entry.index,
                entry.term,
                index - 1
            )));
        }
        term = entry.term;
    }
    if start.hard_state.term < term {
        return Err(QuorumError(format!(
            "the log has term {term}, the vote file only {}",
            start.hard_state.term
        )));
    }
    match &start.membership {
        Some((at, _)) if *at > index => {
            Err(QuorumError(format!("the membership is that of entry {at}, but the log ends at {index}")))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
