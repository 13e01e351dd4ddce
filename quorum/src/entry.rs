//! What the quorum stores: entries, hard state, membership; own types, so that no caller sees protobuf.

use bytes::Bytes;
use raft::eraftpb;

/// A member's id inside Raft: never zero, one per (node id, directory), never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RaftId(pub u64);

/// One log entry. Indexes start at 1 and have no gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position in the log.
    pub index: u64,
    /// The leader's term when it was proposed.
    pub term: u64,
    /// What the payload is.
    pub kind: EntryKind,
    /// The payload; empty for the entry by which a new leader opens its term.
    pub data: Bytes,
}

/// What an entry's payload is; the numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Opaque to the quorum.
    Normal,
    /// A change of the membership.
    Membership,
}

impl EntryKind {
    /// The stored number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Membership => 1,
        }
    }

    /// The kind of a stored number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Normal),
            1 => Some(Self::Membership),
            _ => None,
        }
    }
}

/// Term and vote: must be durable before any message that follows from them (B12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The current term.
    pub term: u64,
    /// Whom this member voted for in `term`; zero for nobody.
    pub vote: u64,
    /// A lower bound of the committed index; may lag behind on disk.
    pub commit: u64,
}

/// Who votes and who only listens. The lists are sorted.
///
/// A change goes through a *joint* membership, in which a majority of `voters` and a majority of `outgoing` are both
/// needed for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Members that vote.
    pub voters: Vec<RaftId>,
    /// Members that follow without a vote.
    pub learners: Vec<RaftId>,
    /// The voters of the membership that is being left; empty unless this one is joint.
    pub outgoing: Vec<RaftId>,
    /// Those of `outgoing` that will be learners once it is left.
    pub learners_next: Vec<RaftId>,
}

/// The log's beginning: everything up to `index` is in a snapshot file and not in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotPoint {
    /// The last index that the snapshot covers; zero for "from the very beginning".
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The membership at that index.
    pub membership: Membership,
    /// By what a member that fetches the file knows it again, such as its length and checksum. Opaque here.
    pub seal: Bytes,
}

impl Entry {
    pub(crate) fn to_raft(&self) -> eraftpb::Entry {
        let mut entry = eraftpb::Entry::new();
        entry.set_entry_type(match self.kind {
            EntryKind::Normal => eraftpb::EntryType::EntryNormal,
            EntryKind::Membership => eraftpb::EntryType::EntryConfChangeV2,
        });
        entry.term = self.term;
        entry.index = self.index;
        entry.data = self.data.to_vec().into();
        entry
    }

    pub(crate) fn from_raft(entry: &eraftpb::Entry) -> Self {
        let kind = match entry.get_entry_type() {
            eraftpb::EntryType::EntryNormal => EntryKind::Normal,
            eraftpb::EntryType::EntryConfChange | eraftpb::EntryType::EntryConfChangeV2 => {
                EntryKind::Membership
            }
        };
        Self { index: entry.index, term: entry.term, kind, data: Bytes::copy_from_slice(&entry.data) }
    }
}

impl HardState {
    pub(crate) fn to_raft(self) -> eraftpb::HardState {
        let mut state = eraftpb::HardState::new();
        state.term = self.term;
        state.vote = self.vote;
        state.commit = self.commit;
        state
    }

    pub(crate) const fn from_raft(state: &eraftpb::HardState) -> Self {
        Self { term: state.term, vote: state.vote, commit: state.commit }
    }
}

impl Membership {
    /// A membership of these voters alone.
    #[must_use]
    pub fn of_voters(voters: impl IntoIterator<Item = RaftId>) -> Self {
        Self { voters: sorted(voters.into_iter().map(|id| id.0)), ..Self::default() }
    }

    /// True while a change is under way.
    #[must_use]
    pub const fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// True when `id` takes part, with a vote or without.
    #[must_use]
    pub fn contains(&self, id: RaftId) -> bool {
        self.members().any(|member| member == id)
    }

    /// Everybody who takes part; who is named twice comes twice.
    pub fn members(&self) -> impl Iterator<Item = RaftId> + '_ {
        self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied()
    }

    pub(crate) fn to_raft(&self) -> eraftpb::ConfState {
        let numbers = |ids: &[RaftId]| ids.iter().map(|id| id.0).collect();
        let mut state = eraftpb::ConfState::new();
        state.voters = numbers(&self.voters);
        state.learners = numbers(&self.learners);
        state.voters_outgoing = numbers(&self.outgoing);
        state.learners_next = numbers(&self.learners_next);
        state
    }

    pub(crate) fn from_raft(state: &eraftpb::ConfState) -> Self {
        Self {
            voters: sorted(state.voters.iter().copied()),
            learners: sorted(state.learners.iter().copied()),
            outgoing: sorted(state.voters_outgoing.iter().copied()),
            learners_next: sorted(state.learners_next.iter().copied()),
        }
    }
}

impl SnapshotPoint {
    pub(crate) fn to_raft(&self) -> eraftpb::Snapshot {
        let mut snapshot = eraftpb::Snapshot::new();
        let metadata = snapshot.mut_metadata();
        metadata.index = self.index;
        metadata.term = self.term;
        metadata.set_conf_state(self.membership.to_raft());
        snapshot.data = self.seal.to_vec().into();
        snapshot
    }

    pub(crate) fn from_raft(snapshot: &eraftpb::Snapshot) -> Self {
        let metadata = snapshot.get_metadata();
        Self {
            index: metadata.index,
            term: metadata.term,
            membership: Membership::from_raft(metadata.get_conf_state()),
            seal: Bytes::copy_from_slice(&snapshot.data),
        }
    }
}

/// The crate keeps sets; a list that is stored or compared has one order.
fn sorted(ids: impl Iterator<Item = u64>) -> Vec<RaftId> {
    let mut ids: Vec<_> = ids.map(RaftId).collect();
    ids.sort_unstable();
    ids
}
