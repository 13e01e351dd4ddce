//! One member with its disk, its state and what it has under way.

use base::Rng;
use bytes::Bytes;
use ottla_quorum::{
    Committed, Entry, HardState, Membership, Offer, Output, Persist, Quorum, RaftId, SnapshotPoint, Start,
};
use std::rc::Rc;

/// The payloads that have been applied, each with its index.
pub(crate) type State = Vec<(u64, Bytes)>;

/// What survives a crash.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: SnapshotPoint,
    pub(crate) content: Rc<State>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) membership: Option<(u64, Membership)>,
    /// A fetched file that is not in use yet.
    pub(crate) beside: Option<(SnapshotPoint, Rc<State>)>,
}

impl Disk {
    pub(crate) fn founder(voters: impl Iterator<Item = RaftId>) -> Self {
        let snapshot =
            SnapshotPoint { index: 1, term: 1, membership: Membership::of_voters(voters), seal: seal(1, 1) };
        Self { hard_state: HardState { term: 1, vote: 0, commit: 1 }, snapshot, ..Self::empty() }
    }

    pub(crate) fn empty() -> Self {
        Self {
            hard_state: HardState::default(),
            snapshot: SnapshotPoint::default(),
            content: Rc::default(),
            entries: Vec::new(),
            membership: None,
            beside: None,
        }
    }

    /// Carries out the first `steps` steps of a write, as a crash would leave them.
    pub(crate) fn write(&mut self, persist: &Persist, steps: usize) {
        let mut left = steps;
        let mut may = || {
            let go = left > 0;
            left = left.saturating_sub(1);
            go
        };
        if let Some(state) = persist.hard_state {
            if !may() {
                return;
            }
            self.hard_state = state;
        }
        if let Some(point) = &persist.snapshot {
            if !may() {
                return;
            }
            let (beside, content) = self.beside.take().expect("what was fetched is there");
            assert_eq!((beside.index, beside.term), (point.index, point.term), "another file was fetched");
            (self.snapshot, self.content) = (point.clone(), content);
            if !may() {
                return;
            }
            self.entries.clear();
        }
        for entry in &persist.entries {
            if !may() {
                return;
            }
            let at = usize::try_from(entry.index - self.snapshot.index - 1).unwrap();
            assert!(at <= self.entries.len(), "a gap in the log");
            self.entries.truncate(at);
            self.entries.push(entry.clone());
        }
        if let Some(membership) = &persist.membership
            && may()
        {
            self.membership = Some(membership.clone());
        }
    }

    pub(crate) fn start(&self, id: RaftId, seed: u64) -> Start {
        // A crash between the snapshot and the end of the old log: nothing of an earlier term can follow it.
        let fits = |entry: &&Entry| entry.index > self.snapshot.index && entry.term >= self.snapshot.term;
        let first =
            self.entries.iter().position(|entry| fits(&entry) && entry.index == self.snapshot.index + 1);
        let entries = first.map_or_else(Vec::new, |at| self.entries[at..].to_vec());
        let mut hard_state = self.hard_state;
        hard_state.commit = 0;
        hard_state.term = hard_state.term.max(self.snapshot.term);
        Start {
            id,
            seed,
            snapshot: self.snapshot.clone(),
            hard_state,
            membership: self.membership.clone(),
            entries,
        }
    }
}

pub(crate) fn seal(index: u64, term: u64) -> Bytes {
    Bytes::from(format!("{index}@{term}"))
}

/// A member of the world.
pub(crate) struct Member {
    pub(crate) id: RaftId,
    pub(crate) disk: Disk,
    /// `None` while it is down.
    pub(crate) quorum: Option<Quorum>,
    pub(crate) state: State,
    pub(crate) applied: u64,
    pub(crate) writing: Option<(u64, Persist)>,
    pub(crate) fetching: Option<(u64, Offer)>,
    /// Its disk is gone for good.
    pub(crate) lost: bool,
    pub(crate) paused_until: u64,
    /// The membership that it started with has everything up to here.
    known: u64,
    seed: u64,
}

impl Member {
    pub(crate) fn new(id: RaftId, disk: Disk, seed: u64) -> Self {
        let mut member = Self {
            id,
            disk,
            quorum: None,
            state: State::new(),
            applied: 0,
            writing: None,
            fetching: None,
            lost: false,
            paused_until: 0,
            known: 0,
            seed,
        };
        member.restart();
        member
    }

    /// Loses what is not on the disk; of a write under way some beginning is there.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        if let Some((_, persist)) = self.writing.take() {
            self.disk.write(&persist, rng.index(persist.entries.len() + 5));
        }
        (self.quorum, self.fetching) = (None, None);
    }

    pub(crate) fn restart(&mut self) {
        if self.quorum.is_some() || self.lost {
            return;
        }
        let start = self.disk.start(self.id, self.seed);
        self.disk.entries.clone_from(&start.entries);
        self.state = (*self.disk.content).clone();
        self.applied = self.disk.snapshot.index;
        self.known = start.membership.as_ref().map_or(0, |(index, _)| *index);
        self.quorum = Some(Quorum::new(start).expect("what is on the disk makes sense"));
    }

    /// Applies what has committed. Says what that was.
    pub(crate) fn apply(&mut self, output: &Output) -> Vec<(u64, u64, String)> {
        let known = self.known;
        let mut said = Vec::new();
        for committed in &output.committed {
            let (index, term, what) = match committed {
                Committed::Data { index, term, data } => {
                    if !data.is_empty() {
                        self.state.push((*index, data.clone()));
                    }
                    (*index, *term, format!("{data:?}"))
                }
                Committed::Membership { index, term, membership } => {
                    (*index, *term, format!("{membership:?}"))
                }
                Committed::Snapshot(point) => {
                    assert!(point.index > self.applied, "a snapshot of what is known");
                    self.state = (*self.disk.content).clone();
                    self.applied = point.index;
                    continue;
                }
            };
            assert_eq!(index, self.applied + 1, "committed entries are conveyed in order, once");
            self.applied = index;
            if index > known {
                said.push((index, term, what));
            }
        }
        said
    }

    /// Takes a snapshot of what is applied and forgets the log before it.
    pub(crate) fn take_snapshot(&mut self) {
        let Some(quorum) = &mut self.quorum else { return };
        let Some(mut point) = quorum.applied_point() else { return };
        if point.index <= self.disk.snapshot.index || self.writing.is_some() {
            return;
        }
        assert_eq!(point.index, self.applied);
        point.seal = seal(point.index, point.term);
        let covered = usize::try_from(point.index - self.disk.snapshot.index).unwrap();
        self.disk.entries.drain(..covered.min(self.disk.entries.len()));
        self.disk.snapshot = point.clone();
        self.disk.content = Rc::new(self.state.clone());
        quorum.compact(point);
    }
}
