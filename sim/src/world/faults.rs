//! What goes wrong: crashes, clean stops, broken connections, disks that are full, fail, rot or are slow, clocks
//! that jump.

use super::{Event, SLOW, World};
use base::{BrokerId, PartitionIndex, Span};
use seglog::disk::{Disk, Fault, OpenMode, Operation};

/// What of a batch's header no checksum covers, in Kafka's format: its base offset and its leader epoch.
const UNCOVERED: [std::ops::Range<u64>; 2] = [0..8, 12..16];

/// What does not rot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spared {
    Nothing,
    /// The files that are written to, and those that were until lately.
    Latest,
}

impl World {
    pub(super) fn fault(&mut self) -> Result<(), String> {
        let mut again = None;
        self.faults += u32::from(!self.calm);
        let is_left_out = self.options.less.faults.contains(&self.faults);
        if !self.calm {
            self.nodes.iter().for_each(|node| node.disk.set_capacity(None));
        }
        if !self.calm && !is_left_out {
            let index = self.some_node();
            if self.is_cluster() && self.rng.chance(1, 2) {
                self.outage();
            } else {
                again = self.fault_of_one(index);
            }
        }
        // In a slow run there is time between faults.
        let delay = again.unwrap_or_else(|| {
            self.rng.between(50, self.swarm.fault_millis_max)
                * u64::from(if self.slowness == SLOW { SLOW.div_ceil(20) } else { 1 })
        });
        self.at(Span::from_millis(delay), Event::Fault);
        Ok(())
    }

    /// Any node; where there is one, nothing is drawn.
    pub(super) fn some_node(&mut self) -> usize {
        if self.nodes.len() == 1 { 0 } else { self.rng.index(self.nodes.len()) }
    }

    /// Something goes wrong on one node. Returns when the next thing does, in milliseconds, if that is settled.
    fn fault_of_one(&mut self, index: usize) -> Option<u64> {
        match self.rng.below(16) {
            0..=4 if !self.nodes[index].start_pending => {
                self.report.count("crash between calls");
                self.crash(index);
            }
            5 => self.break_connection(),
            6..=7 => self.stop(index),
            8 => return Some(self.fill_disk(index)),
            9 => {
                // One file's, or that of the whole file system.
                let at = if self.rng.chance(1, 4) { (Operation::SyncFs, 1) } else { (Operation::Sync, 5) };
                self.fail_disk(index, "fsync error", at, Fault::LostSync);
            }
            10 => self.fail_disk(index, "read error", (Operation::Read, 200), Fault::Io),
            11 => {
                self.report.count("slow disk");
                self.nodes[index].slow_until = self.now + Span::from_millis(self.rng.between(50, 1_500));
            }
            // A node that starts has no other clock to compare it with: whoever starts the machine sets it.
            12 if self.nodes[index].booted().is_some() => {
                self.report.count("wall clock jump");
                self.nodes[index].wall_ahead = Span::from_secs(self.rng.between(61, 3_000));
            }
            13 if self.swarm.starves => {
                self.report.count("write without space");
                let skip = self.rng.below(60);
                self.nodes[index].is_starved = true;
                self.nodes[index].disk.inject(Operation::Write, skip, Fault::NoSpace);
            }
            14 if self.swarm.stops => self.stop(index),
            _ => {}
        }
        None
    }

    /// Until the next fault there is little room; that is soon.
    fn fill_disk(&mut self, index: usize) -> u64 {
        self.report.count("disk full");
        self.nodes[index].is_starved = true;
        let disk = &self.nodes[index].disk;
        let used = Disk::space(disk).map_or(0, |space| space.total - space.free);
        disk.set_capacity(Some(used + self.rng.below(64 << 10)));
        self.rng.between(20, 400)
    }

    fn fail_disk(&mut self, index: usize, name: &'static str, at: (Operation, u64), fault: Fault) {
        self.report.count(name);
        let skip = self.rng.below(at.1);
        let node = &mut self.nodes[index];
        node.disk_faulted = true;
        node.disk.inject(at.0, skip, fault);
    }

    /// Bits of a partition's files flip under a node that runs. What it writes to is spared: damage there, and a crash before
    /// the flush is on record, look like a torn tail.
    pub(super) fn rot_while_running(&mut self, index: usize) {
        for _ in 0..self.rng.between(1, 3) {
            let before = self.report.faults.get("bit flip").copied();
            self.rot(index, Spared::Latest);
            if self.report.faults.get("bit flip").copied() != before {
                self.report.count("rot under a running node");
            }
        }
    }

    /// A bit of a partition's files flips, all of which was flushed.
    pub(super) fn rot(&mut self, index: usize, spared: Spared) {
        let Some((dir, file)) = self.some_file(index, spared) else { return };
        let path = format!("{dir}/{file}");
        let disk = self.nodes[index].disk.clone();
        let Ok(opened) = disk.open(&path, OpenMode::Read) else { return };
        let mut content = vec![0; usize::try_from(opened.length().unwrap_or(0)).unwrap_or(0)];
        if content.is_empty() || opened.read_at(&mut content, 0) != Ok(content.len()) {
            return;
        }
        // The end is what a start looks at.
        let at_end = self.rng.chance(if self.swarm.flips_at_ends { 9 } else { 5 }, 10);
        let least = if at_end { content.len().saturating_sub(3_000) } else { 0 };
        let at = self.rng.between(least as u64, content.len() as u64 - 1);
        let is_log = file.ends_with(".log");
        if is_log && !is_covered(&content, at) {
            return;
        }
        self.report.count("bit flip");
        if self.is_cluster() {
            self.rotten = Some(index);
            self.trace
                .event(self.now.as_nanos(), "disk", || format!("n{}: {path} is rotten at {at}", index + 1));
        }
        let bit = at * 8 + self.rng.below(8);
        if disk.flip_bit(&path, bit).is_ok()
            && is_log
            && let Some((topic, index)) = dir.rsplit_once('-')
            && let Ok(index) = index.parse()
        {
            // Everything else is derived from the log: its damage must not show.
            self.history.damage((topic.to_owned(), index));
        }
    }

    /// A file of records, or of what is derived from them, of some topic of the clients.
    fn some_file(&mut self, index: usize, spared: Spared) -> Option<(String, String)> {
        let disk = self.nodes[index].disk.clone();
        let dirs =
            disk.list("").ok()?.into_iter().filter(|entry| entry.is_dir && entry.name.starts_with('t'));
        let dirs: Vec<_> = dirs.filter(|entry| !entry.name.contains('.')).collect();
        let dir = dirs.get(self.rng.index(dirs.len().max(1)))?.name.clone();
        let is_known = dir.rsplit_once('-').is_some_and(|(topic, part)| {
            self.history.exists(topic) && (!self.is_cluster() || self.may_rot(index, (topic, part)))
        });
        let kinds = [".log", ".log", ".index", ".timeindex", ".snapshot"];
        let kind = kinds[self.rng.index(kinds.len())];
        let files = disk.list(&dir).ok()?.into_iter().filter(|entry| entry.name.ends_with(kind));
        let mut files: Vec<_> = files.collect();
        if spared == Spared::Latest {
            files.truncate(files.len() / 2);
        }
        let at_end = self.swarm.flips_at_ends && self.rng.chance(1, 2);
        let at = if at_end { files.len().saturating_sub(1) } else { self.rng.index(files.len().max(1)) };
        let file = files.get(at)?.name.clone();
        is_known.then_some((dir, file))
    }

    /// True if others hold what is safe of a partition, and will: what one node has of it may rot, on one node of a run.
    fn may_rot(&self, index: usize, (topic, part): (&str, &str)) -> bool {
        let is_alone = self.lost.is_none() && self.rotten.is_none_or(|rotten| rotten == index);
        let own = BrokerId(i32::try_from(index + 1).unwrap_or(0));
        let part = part.parse().map_or(PartitionIndex(-1), PartitionIndex);
        let has_others = |image: std::sync::Arc<cluster::Image>| {
            let state = image.topic(topic).and_then(|topic| topic.partition(part));
            state.is_some_and(|state| state.isr.iter().chain(&state.elr).any(|id| *id != own))
        };
        is_alone
            && self.history.traits(topic).is_flushed
            && self.nodes.iter().filter_map(super::oracle::image_of).all(has_others)
    }

    pub(super) fn break_connection(&mut self) {
        let names: Vec<u64> = self.clients.keys().copied().collect();
        let name = names[self.rng.index(names.len())];
        self.report.count("connection broken");
        self.hang_up(name);
    }
}

/// True if a batch's checksum, or its length, tells of a change at this byte.
fn is_covered(log: &[u8], at: u64) -> bool {
    let mut position = 0;
    for batch in wire::record::parse_batches(log).map_while(Result::ok) {
        let bytes = batch.header().total_bytes();
        if at < position + bytes {
            return UNCOVERED.iter().all(|range| !range.contains(&(at - position)));
        }
        position += bytes;
    }
    false
}
