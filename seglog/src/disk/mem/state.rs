//! The tree of nodes behind a simulated disk, its counters and its injected faults.

use super::node::{DirChange, DirNode, FileNode, Node, NodeId};
use super::{DirEntry, DiskError, DiskErrorKind, Fault, OpenMode, Operation, Space, path};
use base::{Rng, Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

const ROOT: NodeId = 0;
/// EIO.
const IO_ERROR: i32 = 5;

#[derive(Debug)]
pub(super) struct State {
    nodes: BTreeMap<NodeId, Node>,
    next: NodeId,
    /// Nodes with changes that are not durable.
    dirty: BTreeSet<NodeId>,
    /// Bytes in files that have a name.
    used: u64,
    pub(super) capacity: Option<u64>,
    pub(super) operations: u64,
    pub(super) fail_from: Option<u64>,
    faults: Vec<Injected>,
    pub(super) latencies: BTreeMap<Operation, Span>,
    pub(super) elapsed: Span,
    pub(super) clock: Timestamp,
}

#[derive(Debug)]
struct Injected {
    operation: Operation,
    skip: u64,
    fault: Fault,
}

impl Default for State {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]),
            next: ROOT + 1,
            dirty: BTreeSet::new(),
            used: 0,
            capacity: None,
            operations: 0,
            fail_from: None,
            faults: Vec::new(),
            latencies: BTreeMap::new(),
            elapsed: Span::ZERO,
            clock: Timestamp(0),
        }
    }
}

/// Counting, faults, latency.
impl State {
    pub(super) fn inject(&mut self, operation: Operation, skip: u64, fault: Fault) {
        self.faults.push(Injected { operation, skip, fault });
    }

    pub(super) fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Counts an operation and lets it fail if that was asked for.
    pub(super) fn begin(&mut self, operation: Operation, path: &str) -> Result<(), DiskError> {
        match self.begin_faulty(operation, path)? {
            None => Ok(()),
            Some(fault) => Err(fault_error(fault, operation, path)),
        }
    }

    /// As [`State::begin`]; `Some` is an error after which the changes count as synced although they are not.
    pub(super) fn begin_sync(
        &mut self,
        operation: Operation,
        path: &str,
    ) -> Result<Option<DiskError>, DiskError> {
        match self.begin_faulty(operation, path)? {
            None => Ok(None),
            Some(Fault::LostSync) => Ok(Some(fault_error(Fault::LostSync, operation, path))),
            Some(fault) => Err(fault_error(fault, operation, path)),
        }
    }

    fn begin_faulty(&mut self, operation: Operation, path: &str) -> Result<Option<Fault>, DiskError> {
        let number = self.operations;
        self.operations += 1;
        if self.fail_from.is_some_and(|first| number >= first) {
            return Err(DiskError::new(DiskErrorKind::Crashed, operation, path));
        }
        path::check(path, operation)?;
        self.elapsed = self.elapsed + self.latencies.get(&operation).copied().unwrap_or(Span::ZERO);
        Ok(self.take_fault(operation))
    }

    fn take_fault(&mut self, operation: Operation) -> Option<Fault> {
        let mut due = None;
        for (index, injected) in self.faults.iter_mut().enumerate() {
            if injected.operation != operation {
                continue;
            }
            match injected.skip.checked_sub(1) {
                Some(left) => injected.skip = left,
                None => due = due.or(Some(index)),
            }
        }
        due.map(|index| self.faults.remove(index).fault)
    }
}

/// Files.
impl State {
    pub(super) fn file(&mut self, node: NodeId) -> Option<&mut FileNode> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => Some(file),
            Some(Node::Dir(_)) | None => None,
        }
    }

    pub(super) fn file_at(&mut self, path: &str, operation: Operation) -> Result<&mut FileNode, DiskError> {
        let node = self.find(path, operation)?;
        self.file(node).ok_or_else(|| DiskError::new(DiskErrorKind::NotFound, operation, path))
    }

    fn new_file(&self) -> FileNode {
        FileNode { modified: self.clock, ..FileNode::default() }
    }

    pub(super) fn open(&mut self, path: &str, mode: OpenMode) -> Result<NodeId, DiskError> {
        let found = self.find(path, Operation::Open);
        let node = match (mode, found) {
            (OpenMode::Read | OpenMode::Write, found) => found?,
            (OpenMode::Create, Ok(_)) => {
                return Err(DiskError::new(DiskErrorKind::AlreadyExists, Operation::Open, path));
            }
            (OpenMode::Replace, Ok(node)) => {
                self.truncate(node, 0);
                node
            }
            (OpenMode::Create | OpenMode::Replace, Err(_)) => {
                self.link(path, Node::File(self.new_file()), Operation::Open)?
            }
        };
        let file = self.file(node);
        file.ok_or_else(|| DiskError::new(DiskErrorKind::Io(IO_ERROR), Operation::Open, path))?.handles += 1;
        Ok(node)
    }

    pub(super) fn lock(&mut self, path: &str) -> Result<NodeId, DiskError> {
        let node = match self.find(path, Operation::Lock) {
            Ok(node) => node,
            Err(_) => self.link(path, Node::File(self.new_file()), Operation::Lock)?,
        };
        match self.file(node) {
            Some(file) if !file.locked => {
                file.locked = true;
                file.handles += 1;
                Ok(node)
            }
            Some(_) | None => Err(DiskError::new(DiskErrorKind::Locked, Operation::Lock, path)),
        }
    }

    pub(super) fn close(&mut self, node: NodeId, holds_lock: bool) {
        let Some(file) = self.file(node) else { return };
        file.handles -= 1;
        file.locked &= !holds_lock;
        if file.orphan && file.handles == 0 {
            self.forget(node);
        }
    }

    pub(super) fn write(&mut self, node: NodeId, path: &str, at: u64, data: &[u8]) -> Result<(), DiskError> {
        if let Some(fault) = self.begin_faulty(Operation::Write, path)? {
            self.store(node, at, &data[..data.len() / 2]);
            return Err(fault_error(fault, Operation::Write, path));
        }
        let room = self.room(node, at, data.len());
        self.store(node, at, &data[..room]);
        if room < data.len() {
            return Err(DiskError::new(DiskErrorKind::NoSpace, Operation::Write, path));
        }
        Ok(())
    }

    /// How many of `length` bytes at `at` the capacity allows.
    fn room(&mut self, node: NodeId, at: u64, length: usize) -> usize {
        let Some(capacity) = self.capacity else { return length };
        let used = self.used;
        let end = self.file(node).map_or(0, |file| file.current.length());
        let most = end.saturating_add(capacity.saturating_sub(used)).saturating_sub(at);
        length.min(usize::try_from(most).unwrap_or(usize::MAX))
    }

    fn store(&mut self, node: NodeId, at: u64, data: &[u8]) {
        self.resize(node, |file| file.write(at, data));
    }

    pub(super) fn truncate(&mut self, node: NodeId, length: u64) {
        self.resize(node, |file| file.truncate(length));
    }

    fn resize(&mut self, node: NodeId, change: impl FnOnce(&mut FileNode)) {
        let clock = self.clock;
        let Some(file) = self.file(node) else { return };
        file.modified = clock;
        let before = file.current.length();
        change(file);
        let (after, unlinked) = (file.current.length(), file.unlinked);
        self.dirty.insert(node);
        if !unlinked {
            self.used = (self.used + after).saturating_sub(before);
        }
    }

    pub(super) fn sync_file(&mut self, node: NodeId, lost: bool) {
        if let Some(file) = self.file(node) {
            if lost {
                file.pending.clear();
            } else {
                file.sync();
            }
        }
        self.dirty.remove(&node);
    }

    /// What a read from `at` on brings into memory stays there.
    pub(super) fn warm(&mut self, node: NodeId, at: u64) {
        if let Some(file) = self.file(node) {
            file.cold = file.cold.min(at);
        }
    }

    /// Nothing that is on the device is in memory any more.
    pub(super) fn drop_cache(&mut self) {
        for node in self.nodes.values_mut() {
            if let Node::File(file) = node
                && file.pending.is_empty()
            {
                file.cold = file.current.length();
            }
        }
    }

    pub(super) fn space(&self) -> Space {
        let total = self.capacity.unwrap_or(1 << 40);
        Space { total, free: total.saturating_sub(self.used) }
    }
}

/// Directories.
impl State {
    fn dir(&mut self, node: NodeId) -> Option<&mut DirNode> {
        match self.nodes.get_mut(&node) {
            Some(Node::Dir(dir)) => Some(dir),
            Some(Node::File(_)) | None => None,
        }
    }

    pub(super) fn find(&mut self, path: &str, operation: Operation) -> Result<NodeId, DiskError> {
        let mut node = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            node = self
                .dir(node)
                .and_then(|dir| dir.current.get(name).copied())
                .ok_or_else(|| DiskError::new(DiskErrorKind::NotFound, operation, path))?;
        }
        Ok(node)
    }

    fn link(&mut self, path: &str, node: Node, operation: Operation) -> Result<NodeId, DiskError> {
        let (parent, name) = path::split(path);
        let parent = self.find(parent, operation)?;
        let id = self.next;
        self.change(parent, DirChange::Link { name: name.to_owned(), node: id });
        self.nodes.insert(id, node);
        self.next += 1;
        Ok(id)
    }

    fn change(&mut self, dir: NodeId, change: DirChange) {
        if let Some(node) = self.dir(dir) {
            node.change(change);
            self.dirty.insert(dir);
        }
    }

    pub(super) fn create_dir(&mut self, path: &str) -> Result<(), DiskError> {
        if self.find(path, Operation::CreateDir).is_ok() {
            return Err(DiskError::new(DiskErrorKind::AlreadyExists, Operation::CreateDir, path));
        }
        self.link(path, Node::Dir(DirNode::default()), Operation::CreateDir).map(|_| ())
    }

    pub(super) fn list(&mut self, path: &str) -> Result<Vec<DirEntry>, DiskError> {
        let node = self.find(path, Operation::List)?;
        let missing = || DiskError::new(DiskErrorKind::NotFound, Operation::List, path);
        let entries = self.dir(node).ok_or_else(missing)?.current.clone();
        let is_dir = |id| matches!(self.nodes.get(&id), Some(Node::Dir(_)));
        Ok(entries.into_iter().map(|(name, id)| DirEntry { name, is_dir: is_dir(id) }).collect())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let (parent, from_name, to_name) = path::check_rename(from, to)?;
        let node = self.find(from, Operation::Rename)?;
        if let Ok(target) = self.find(to, Operation::Rename) {
            self.release(target, to, Operation::Rename)?;
        }
        let parent = self.find(parent, Operation::Rename)?;
        let (from, to) = (from_name.to_owned(), to_name.to_owned());
        self.change(parent, DirChange::Rename { from, to, node });
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str, as_dir: bool) -> Result<(), DiskError> {
        let operation = if as_dir { Operation::RemoveDir } else { Operation::Remove };
        let node = self.find(path, operation)?;
        if matches!(self.nodes.get(&node), Some(Node::Dir(_))) != as_dir {
            return Err(DiskError::new(DiskErrorKind::Io(IO_ERROR), operation, path));
        }
        self.release(node, path, operation)?;
        let (parent, name) = path::split(path);
        let parent = self.find(parent, operation)?;
        self.change(parent, DirChange::Unlink { name: name.to_owned() });
        Ok(())
    }

    /// A node loses its name: a directory must be empty, a file gives its space back.
    fn release(&mut self, node: NodeId, path: &str, operation: Operation) -> Result<(), DiskError> {
        match self.nodes.get_mut(&node) {
            Some(Node::Dir(dir)) if !dir.current.is_empty() => {
                Err(DiskError::new(DiskErrorKind::AlreadyExists, operation, path))
            }
            Some(Node::File(file)) => {
                file.unlinked = true;
                self.used = self.used.saturating_sub(file.current.length());
                Ok(())
            }
            Some(Node::Dir(_)) | None => Ok(()),
        }
    }

    pub(super) fn sync_dir(&mut self, node: NodeId) {
        let gone = self.dir(node).map(DirNode::sync).unwrap_or_default();
        self.dirty.remove(&node);
        for node in gone {
            match self.nodes.get_mut(&node) {
                Some(Node::File(file)) if file.handles > 0 => file.orphan = true,
                Some(Node::File(_) | Node::Dir(_)) | None => self.forget(node),
            }
        }
    }

    pub(super) fn sync_all(&mut self, lost: bool) {
        for node in std::mem::take(&mut self.dirty) {
            self.sync_file(node, lost);
            self.sync_dir(node);
        }
    }

    fn forget(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        self.dirty.remove(&node);
    }
}

/// Crashes.
impl State {
    /// A state that is possible after a crash now.
    pub(super) fn crashed(&self, rng: &mut Rng, survive: u64) -> Self {
        let mut after =
            Self { capacity: self.capacity, latencies: self.latencies.clone(), ..Self::default() };
        self.crash_into(&mut after, ROOT, rng, survive);
        after.next = self.next;
        after
    }

    fn crash_into(&self, after: &mut Self, id: NodeId, rng: &mut Rng, survive: u64) {
        let crashed = match self.nodes.get(&id) {
            None => return,
            Some(Node::File(file)) => {
                let current = file.crashed(rng, survive);
                after.used += current.length();
                let (durable, cold) = (current.clone(), current.length());
                Node::File(FileNode {
                    durable,
                    current,
                    cold,
                    modified: file.modified,
                    ..FileNode::default()
                })
            }
            Some(Node::Dir(dir)) => {
                let entries = dir.crashed(rng, survive);
                for child in entries.values() {
                    self.crash_into(after, *child, rng, survive);
                }
                Node::Dir(DirNode { durable: entries.clone(), current: entries, ..DirNode::default() })
            }
        };
        after.nodes.insert(id, crashed);
    }
}

fn fault_error(fault: Fault, operation: Operation, path: &str) -> DiskError {
    let kind = match fault {
        Fault::Io | Fault::LostSync => DiskErrorKind::Io(IO_ERROR),
        Fault::NoSpace => DiskErrorKind::NoSpace,
    };
    DiskError::new(kind, operation, path)
}
