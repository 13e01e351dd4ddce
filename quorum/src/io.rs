//! What goes into a member and what comes out of it.

use crate::entry::{Entry, HardState, Membership, RaftId, SnapshotPoint};
use bytes::Bytes;
use core::fmt;

/// What a member knows when it starts, read from its disk.
#[derive(Clone, Debug)]
pub struct Start {
    /// This member.
    pub id: RaftId,
    /// Seeds the election timeouts together with `id` and the term.
    pub seed: u64,
    /// Where the log begins.
    pub snapshot: SnapshotPoint,
    /// The durable term and vote.
    pub hard_state: HardState,
    /// The membership that was made durable last, with the index of the entry that made it; `None` if it is still
    /// the snapshot's.
    pub membership: Option<(u64, Membership)>,
    /// The durable entries after `snapshot`, without gaps.
    pub entries: Vec<Entry>,
}

/// The state on disk cannot be a Raft member's, or contradicts what the others know of it. The member must not go on.
#[derive(Debug)]
pub struct QuorumError(pub(crate) String);

impl fmt::Display for QuorumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for QuorumError {}

/// Only the leader may propose, and not while it hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLeader {
    /// Who leads, as far as this member knows.
    pub leader: Option<RaftId>,
}

/// Why a change of the membership was not proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipRefused {
    /// This member does not lead.
    NotLeader(NotLeader),
    /// Another change is under way: ask again when it is done.
    Pending,
    /// The membership is this one already.
    Unchanged,
    /// The leader would lose its vote: it must hand over first.
    WithoutLeader,
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

/// What the caller must make durable as a whole, then confirm with [`Quorum::persisted`](crate::Quorum::persisted).
///
/// After a crash in the middle the parts that are there must be a beginning of this order: hard state, snapshot,
/// entries, membership.
#[derive(Clone, Debug)]
pub struct Persist {
    /// Names this write; writes are confirmed in the order of their numbers.
    pub number: u64,
    /// Present when term or vote changed.
    pub hard_state: Option<HardState>,
    /// Present when a fetched snapshot takes the place of everything before it and of the whole log.
    pub snapshot: Option<SnapshotPoint>,
    /// To be appended, after cutting the log back to before the first of them.
    pub entries: Vec<Entry>,
    /// Present when the membership changed, with the index of the entry that changed it.
    pub membership: Option<(u64, Membership)>,
}

/// What has become true, in log order. Conveyed exactly once per run of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// A payload; or one of the entries that mean nothing to the caller: the opener of a leader's term, a change that is
    /// part of the membership this member started with.
    Data {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
        /// The payload, empty if it means nothing.
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
    /// A fetched snapshot is durable: its content replaces all that was conveyed before.
    Snapshot(SnapshotPoint),
}

/// A snapshot that this member needs: its file is to be fetched from a peer, made durable beside the member's own
/// files, and reported with [`Quorum::fetched`](crate::Quorum::fetched).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Who has it.
    pub from: RaftId,
    /// What it is.
    pub point: SnapshotPoint,
}

/// Everything that follows from the inputs so far.
#[derive(Debug, Default)]
#[must_use = "a dropped output is a lost write or a lost message"]
pub struct Output {
    /// To be made durable; at most one is in flight at a time.
    pub persist: Option<Persist>,
    /// Encoded messages that may leave at once, with their receivers.
    pub send: Vec<(RaftId, Bytes)>,
    /// What has committed since the last output.
    pub committed: Vec<Committed>,
    /// Present when the role changed.
    pub role: Option<Role>,
    /// A snapshot to fetch; at most one is being fetched at a time.
    pub fetch: Option<Offer>,
    /// A member that is far behind is not in the latest snapshot: a newer one is to be taken soon.
    pub snapshot_wanted: bool,
}

/// How far a member is, as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberProgress {
    /// Who.
    pub id: RaftId,
    /// Everything up to this index is on its disk.
    pub matched: u64,
    /// It has been heard of within the last election timeout.
    pub active: bool,
}
