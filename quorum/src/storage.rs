//! The entries since the last snapshot, in memory, as the `raft` crate wants to read them.
//!
//! The durable copy is the caller's: it writes what `Output::persist` says. Memory is bounded because the
//! caller takes a snapshot whenever the log outgrows its limit.

use crate::entry::{Membership, SnapshotPoint};
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, StorageError};

pub(crate) struct Memory {
    pub(crate) hard_state: HardState,
    pub(crate) membership: ConfState,
    snapshot: SnapshotPoint,
    entries: Vec<Entry>,
}

impl Memory {
    pub(crate) fn new(hard_state: HardState, snapshot: SnapshotPoint, entries: Vec<Entry>) -> Self {
        let membership = snapshot.membership.to_raft();
        Self { hard_state, membership, snapshot, entries }
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

    /// Forgets the entries up to `index`, which a durable snapshot now covers.
    pub(crate) fn compact(&mut self, index: u64) {
        if index <= self.snapshot.index {
            return;
        }
        assert!(index <= self.last(), "a snapshot ahead of the log");
        let term = self.entries[self.at(index)].term;
        self.entries.drain(..=self.at(index));
        self.snapshot = SnapshotPoint { index, term, membership: Membership::from_raft(&self.membership) };
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
        Ok(RaftState::new(self.hard_state.clone(), self.membership.clone()))
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

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        if self.snapshot.index == 0 || self.snapshot.index < request_index {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::new();
        let metadata = snapshot.mut_metadata();
        metadata.index = self.snapshot.index;
        metadata.term = self.snapshot.term;
        metadata.set_conf_state(self.snapshot.membership.to_raft());
        Ok(snapshot)
    }
}
