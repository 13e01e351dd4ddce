//! Files and directories that remember what is durable and what only the page cache knows.

use super::content::Content;
use base::{Rng, Timestamp};
use std::collections::BTreeMap;

/// Names an inode for life.
pub(super) type NodeId = u64;

/// What a device writes at once; a torn write is torn here.
const SECTOR: u64 = 512;

/// A file or a directory.
#[derive(Debug)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

#[derive(Debug, Default)]
pub(super) struct FileNode {
    /// No directory names it now, so that it takes no space that counts.
    pub(super) unlinked: bool,
    pub(super) current: Content,
    pub(super) durable: Content,
    /// Since the last sync, in order.
    pub(super) pending: Vec<FileChange>,
    /// Open handles.
    pub(super) handles: usize,
    /// No directory names it any more, now or after a crash.
    pub(super) orphan: bool,
    pub(super) locked: bool,
    pub(super) modified: Timestamp,
    /// Bytes before this position have to be read from the device.
    pub(super) cold: u64,
}

#[derive(Debug)]
pub(super) enum FileChange {
    Write { at: u64, data: Box<[u8]> },
    Truncate { length: u64 },
}

#[derive(Debug, Default)]
pub(super) struct DirNode {
    pub(super) current: BTreeMap<String, NodeId>,
    pub(super) durable: BTreeMap<String, NodeId>,
    /// Since the last sync, in order.
    pub(super) pending: Vec<DirChange>,
}

#[derive(Debug)]
pub(super) enum DirChange {
    Link {
        name: String,
        node: NodeId,
    },
    Unlink {
        name: String,
    },
    /// One journal entry of the file system: both names change or none.
    Rename {
        from: String,
        to: String,
        node: NodeId,
    },
}

impl FileNode {
    pub(super) fn write(&mut self, at: u64, data: &[u8]) {
        self.current.write(data, at);
        self.pending.push(FileChange::Write { at, data: data.into() });
    }

    pub(super) fn truncate(&mut self, length: u64) {
        self.current.truncate(length);
        self.pending.push(FileChange::Truncate { length });
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// A content that the file may have after a crash now.
    pub(super) fn crashed(&self, rng: &mut Rng, survive: u64) -> Content {
        let mut content = self.durable.clone();
        if rng.chance(1, 2) {
            self.crash_scattered(&mut content, rng, survive);
        } else {
            self.crash_in_order(&mut content, rng, survive);
        }
        content
    }

    /// Each sector and each truncation survives by itself, whatever came before it.
    fn crash_scattered(&self, content: &mut Content, rng: &mut Rng, survive: u64) {
        for change in &self.pending {
            match change {
                FileChange::Write { at, data } => {
                    for (at, sector) in sectors(*at, data) {
                        if rng.chance(survive, 100) {
                            content.write(sector, at);
                        } else if rng.chance(survive, 1_600) {
                            // The length came through and the data did not: whatever was on the device.
                            let mut stale = vec![0; sector.len()];
                            rng.fill(&mut stale);
                            content.write(&stale, at);
                        }
                    }
                }
                FileChange::Truncate { .. } if rng.chance(survive, 100) => change.apply(content),
                FileChange::Truncate { .. } => {}
            }
        }
    }

    /// Everything up to some point survives, torn within a write.
    fn crash_in_order(&self, content: &mut Content, rng: &mut Rng, survive: u64) {
        for change in &self.pending {
            if rng.chance(survive, 100) {
                change.apply(content);
                continue;
            }
            if let FileChange::Write { at, data } = change {
                let parts: Vec<_> = sectors(*at, data).collect();
                let kept = if survive == 0 { 0 } else { rng.index(parts.len() + 1) };
                for (at, sector) in &parts[..kept] {
                    content.write(sector, *at);
                }
            }
            return;
        }
    }
}

impl FileChange {
    fn apply(&self, content: &mut Content) {
        match self {
            Self::Write { at, data } => content.write(data, *at),
            Self::Truncate { length } => content.truncate(*length),
        }
    }
}

impl DirNode {
    pub(super) fn change(&mut self, change: DirChange) {
        let _displaced = change.apply(&mut self.current);
        self.pending.push(change);
    }

    /// Makes all changes durable; returns the nodes that the directory named before and names no more.
    pub(super) fn sync(&mut self) -> Vec<NodeId> {
        let mut displaced = Vec::new();
        for change in self.pending.drain(..) {
            displaced.extend(change.apply(&mut self.durable));
        }
        displaced.retain(|node| !self.durable.values().any(|named| named == node));
        displaced.sort_unstable();
        displaced.dedup();
        displaced
    }

    /// Entries that the directory may have after a crash now.
    pub(super) fn crashed(&self, rng: &mut Rng, survive: u64) -> BTreeMap<String, NodeId> {
        let mut entries = self.durable.clone();
        for change in &self.pending {
            if rng.chance(survive, 100) {
                let _displaced = change.apply(&mut entries);
            }
        }
        entries
    }
}

impl DirChange {
    /// Returns the node that lost this name.
    fn apply(&self, entries: &mut BTreeMap<String, NodeId>) -> Option<NodeId> {
        match self {
            Self::Link { name, node } => entries.insert(name.clone(), *node),
            Self::Unlink { name } => entries.remove(name),
            Self::Rename { from, to, node } => {
                if entries.get(from) == Some(node) {
                    entries.remove(from);
                }
                entries.insert(to.clone(), *node)
            }
        }
    }
}

/// A write cut where the device may tear it.
fn sectors(at: u64, data: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = data;
    let mut at = at;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let room = usize::try_from(SECTOR - at % SECTOR).unwrap_or(1);
        let (sector, tail) = rest.split_at(room.min(rest.len()));
        let start = at;
        at += sector.len() as u64;
        rest = tail;
        Some((start, sector))
    })
}
