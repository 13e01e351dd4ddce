//! The wrapper itself: inputs in, one [`Output`] out, and the `raft` crate's known traps fenced.

use crate::entry::{Entry, EntryKind, HardState, Membership, RaftId, SnapshotPoint};
use crate::storage::Memory;
use base::{Rng, hit};
use bytes::Bytes;
use core::fmt;
use protobuf::Message as _;
use raft::eraftpb::{self, MessageType};
use raft::{RawNode, StateRole};

/// Ticks without word from a leader before a member asks for votes; the timeout is drawn from one to two times this.
const ELECTION_TICKS: usize = 10;
/// Ticks between a leader's heartbeats.
const HEARTBEAT_TICKS: usize = 2;
/// The largest message that carries several entries; one entry may exceed it.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;

/// What a member knows when it starts, read from its disk.
#[derive(Clone, Debug)]
pub struct Start {
    /// This member.
    pub id: RaftId,
    /// Seeds the election timeouts together with `id` and the term.
    pub seed: u64,
    /// Where the log begins.
    pub snapshot: SnapshotPoint,
    /// The durable term, vote and commit.
    pub hard_state: HardState,
    /// The durable entries after `snapshot`, without gaps.
    pub entries: Vec<Entry>,
}

/// The state on disk cannot be a Raft member's, or the core refused it.
#[derive(Debug)]
pub struct QuorumError(String);

impl fmt::Display for QuorumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for QuorumError {}

/// Only the leader may propose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLeader {
    /// Who leads, as far as this member knows.
    pub leader: Option<RaftId>,
}

/// Names a proposal: it has committed when an entry with exactly this index *and* term commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProposalId {
    /// The entry's index.
    pub index: u64,
    /// The term it was proposed in.
    pub term: u64,
}

/// What this member is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows, or looks for a leader.
    Follower {
        /// Who leads, if known.
        leader: Option<RaftId>,
    },
    /// Asks for votes.
    Candidate,
    /// Leads in its term.
    Leader,
}

/// What the caller must make durable, then confirm with [`Quorum::persisted`].
#[derive(Clone, Debug)]
pub struct Persist {
    /// Names this write; writes are confirmed in the order of their numbers.
    pub number: u64,
    /// Present when term or vote changed.
    pub hard_state: Option<HardState>,
    /// To be appended, after cutting the log back to before the first of them.
    pub entries: Vec<Entry>,
}

/// A committed entry, in log order. Conveyed exactly once per run of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The opener of a leader's term, or a payload.
    Data {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
        /// The payload, empty for a term's opener.
        data: Bytes,
    },
    /// The membership is now this.
    Membership {
        /// The change's index.
        index: u64,
        /// Its term.
        term: u64,
        /// The result.
        membership: Membership,
    },
}

/// Everything that follows from the inputs so far.
#[derive(Debug, Default)]
#[must_use = "a dropped output is a lost write or a lost message"]
pub struct Output {
    /// To be made durable; at most one is in flight at a time.
    pub persist: Option<Persist>,
    /// Encoded messages that may leave at once, with their receivers.
    pub send: Vec<(RaftId, Bytes)>,
    /// Entries that have committed since the last output.
    pub committed: Vec<Committed>,
    /// Present when the role changed.
    pub role: Option<Role>,
}

/// One member of the metadata quorum.
pub struct Quorum {
    node: RawNode<Memory>,
    id: RaftId,
    seed: u64,
    /// The write that is being made durable, with the messages that wait for it.
    in_flight: Option<(u64, Vec<eraftpb::Message>)>,
    role: Role,
    last_hard_state: HardState,
}

impl Quorum {
    /// A member with the state that its disk holds.
    ///
    /// # Errors
    /// When the ids, indexes or terms contradict each other.
    pub fn new(start: Start) -> Result<Self, QuorumError> {
        check_start(&start)?;
        let entries = start.entries.iter().map(Entry::to_raft).collect();
        let mut hard_state = start.hard_state;
        let last = start.snapshot.index + start.entries.len() as u64;
        hard_state.commit = hard_state.commit.clamp(start.snapshot.index, last);
        let applied = start.snapshot.index;
        let memory = Memory::new(hard_state.to_raft(), start.snapshot, entries);
        let config = raft::Config {
            id: start.id.0,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: 64,
            check_quorum: true,
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
        };
        quorum.fix_timeout();
        Ok(quorum)
    }

    /// Stands for election now. The only way for a lone voter to lead: it never ticks.
    pub fn campaign(&mut self) {
        // Refused only for non-voters, which then simply stay followers.
        let _refused = self.node.campaign();
        self.fix_timeout();
    }

    /// Lets one tick of time pass. A lone voter needs none.
    pub fn tick(&mut self) {
        if !self.is_lone_voter() {
            self.node.tick();
            self.fix_timeout();
        }
    }

    /// Takes a message from a peer. Anything malformed, misdirected or local-only is dropped.
    pub fn step(&mut self, message: &[u8]) {
        let Ok(message) = eraftpb::Message::parse_from_bytes(message) else {
            hit!(quorum_garbled_message);
            return;
        };
        // A proposal from the network could panic the leader (an empty one) or bypass the controller.
        let refused =
            matches!(message.get_msg_type(), MessageType::MsgPropose | MessageType::MsgTransferLeader);
        if refused || message.to != self.id.0 {
            hit!(quorum_refused_message);
            return;
        }
        let _unknown_peer = self.node.step(message);
        self.fix_timeout();
    }

    /// Proposes `data` as one entry.
    ///
    /// # Errors
    /// When this member does not lead.
    pub fn propose(&mut self, data: &Bytes) -> Result<ProposalId, NotLeader> {
        assert!(!data.is_empty(), "an empty entry is a leader's opener, never a proposal");
        let not_leader = NotLeader { leader: self.leader() };
        if self.node.raft.state != StateRole::Leader {
            return Err(not_leader);
        }
        self.node.propose(Vec::new(), data.to_vec()).map_err(|_| not_leader)?;
        Ok(ProposalId { index: self.node.raft.raft_log.last_index(), term: self.node.raft.term })
    }

    /// Confirms that everything in the [`Persist`] of this number, and all before it, is durable.
    pub fn persisted(&mut self, number: u64) -> Vec<(RaftId, Bytes)> {
        let Some((expected, messages)) = self.in_flight.take() else { return Vec::new() };
        assert_eq!(expected, number, "writes are confirmed in order");
        self.node.on_persist_ready(number);
        encode(messages)
    }

    /// Collects what follows from the inputs so far. While a write is in flight only what needs no other
    /// write comes out.
    pub fn output(&mut self) -> Output {
        let mut output = Output::default();
        while self.in_flight.is_none() && self.node.has_ready() {
            self.take_ready(&mut output);
        }
        self.note_role(&mut output);
        output
    }

    fn take_ready(&mut self, output: &mut Output) {
        let mut ready = self.node.ready();
        output.send.append(&mut encode(ready.take_messages()));
        let waiting = ready.take_persisted_messages();
        assert!(ready.snapshot().get_metadata().index == 0, "snapshots are not received yet");
        let committed = ready.take_committed_entries();
        let entries = ready.entries().clone();
        let hard_state = ready.hs().map(HardState::from_raft);
        let number = ready.number();
        self.node.mut_store().append(&entries);
        if let Some(state) = hard_state {
            self.node.mut_store().hard_state = state.to_raft();
        }
        self.node.advance_append_async(ready);
        self.apply(committed, output);
        let vote_changed = hard_state
            .filter(|new| (new.term, new.vote) != (self.last_hard_state.term, self.last_hard_state.vote));
        self.last_hard_state = hard_state.unwrap_or(self.last_hard_state);
        if entries.is_empty() && vote_changed.is_none() {
            self.node.on_persist_ready(number);
            output.send.append(&mut encode(waiting));
            return;
        }
        if base::planted!(B12) {
            output.send.append(&mut encode(waiting.clone()));
        }
        self.in_flight = Some((number, waiting));
        let entries = entries.iter().map(Entry::from_raft).collect();
        output.persist = Some(Persist { number, hard_state: vote_changed, entries });
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
            EntryKind::Membership => {
                let change = eraftpb::ConfChangeV2::parse_from_bytes(&entry.data).unwrap_or_default();
                if let Ok(state) = self.node.apply_conf_change(&change) {
                    self.node.mut_store().membership = state;
                }
                let membership = Membership::from_raft(&self.node.store().membership);
                Committed::Membership { index, term, membership }
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

    /// Forgets the entries up to `index`: a durable snapshot covers them.
    pub fn compact(&mut self, index: u64) {
        self.node.mut_store().compact(index);
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

    /// True when this member is the only voter.
    #[must_use]
    pub fn is_lone_voter(&self) -> bool {
        let voters = &self.node.store().membership.voters;
        voters.len() == 1 && voters[0] == self.id.0
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

fn encode(messages: Vec<eraftpb::Message>) -> Vec<(RaftId, Bytes)> {
    let encode_one =
        |m: eraftpb::Message| m.write_to_bytes().ok().map(|bytes| (RaftId(m.to), Bytes::from(bytes)));
    messages.into_iter().filter_map(encode_one).collect()
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
    Ok(())
}

#[cfg(test)]
mod tests;
