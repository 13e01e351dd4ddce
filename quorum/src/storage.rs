//! The entries since the last snapshot, in memory, as the `raft` crate wants to read them.
//!
//! The durable copy is the caller's: it writes what `Output::persist` says. Memory is bounded because the
//! caller takes a snapshot whenever the log outgrows its limit.

use crate::entry::RaftId;
use crate::entry::{Membership, SnapshotPoint};
use core::cell::Cell;
use raft::eraftpb::{Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, StorageError};

pub(crate) struct Memory {
    pub(crate) hard_state: HardState,
    /// The latest membership that has been applied.
    pub(crate) membership: Membership,
    snapshot: SnapshotPoint,
    entries: Vec<Entry>,
    /// Somebody needs a snapshot in which it is a member, and ours is older than that.
    snapshot_wanted: Cell<bool>,
}

impl Memory {
    pub(crate) const fn new(
        hard_state: HardState,
        membership: Membership,
        snapshot: SnapshotPoint,
        entries: Vec<Entry>,
    ) -> Self {
        Self { hard_state, membership, snapshot, entries, snapshot_wanted: Cell::new(false) }
    }

    fn first(&self) -> u64 {
        self.snapshot.index + 1
    }

    fn last(&self) -> u64 {
        self.snapshot.index + self.entries.len() as u64
    }

    /// Where `index` sits in `entries`; only for `first() ..= last() + 1`.
    fn at(&self, index: u64) -> usize {
        usize::try_from(index - self.first()).unwrap_or(usize::MAX)
    }

    /// Takes over entries that may overwrite a conflicting tail.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(front) = entries.first() else { return };
        assert!(front.index >= self.first(), "an entry below the snapshot came back");
        assert!(front.index <= self.last() + 1, "a gap before entry {}", front.index);
        self.entries.truncate(self.at(front.index));
        self.entries.extend_from_slice(entries);
    }

    /// Forgets the entries up to a point, which a durable snapshot now covers.
    pub(crate) fn compact(&mut self, point: SnapshotPoint) {
        if point.index <= self.snapshot.index {
            return;
        }
        assert!(point.index <= self.last(), "a snapshot ahead of the log");
        assert_eq!(self.entries[self.at(point.index)].term, point.term, "a snapshot of another log");
        self.entries.drain(..=self.at(point.index));
        self.snapshot = point;
    }

    /// Begins anew after a snapshot that came from the leader: whatever was here is void.
    pub(crate) fn install(&mut self, point: SnapshotPoint) {
        self.entries.clear();
        self.membership = point.membership.clone();
        self.snapshot = point;
    }

    /// True once after somebody asked for a newer snapshot.
    pub(crate) const fn take_snapshot_wanted(&self) -> bool {
        self.snapshot_wanted.replace(false)
    }

    pub(crate) const fn snapshot_point(&self) -> &SnapshotPoint {
        &self.snapshot
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl raft::Storage for Memory {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.membership.to_raft()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let mut entries = self.entries[self.at(low)..self.at(high)].to_vec();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.snapshot.index {
            return Ok(self.snapshot.term);
        }
        if index < self.first() {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.entries
            .get(self.at(index))
            .map(|entry| entry.term)
            .ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        // A member refuses a snapshot that does not know it yet.
        let knows = self.snapshot.membership.contains(RaftId(to));
        if self.snapshot.index == 0 || self.snapshot.index < request_index || !knows {
            self.snapshot_wanted.set(true);
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        Ok(self.snapshot.to_raft())
    }
}
