//! Disks that are lost with all that was on them.
//!
//! What is promised: with three replicas, two of which must have what is acknowledged, one disk may go, and the next one
//! once all that it held is elsewhere again. Its node comes back with an empty disk and the settings that it always had.

use super::outages::Outage;
use super::queue::Event;
use super::{Span, World};
use crate::node::VOTERS;
use base::BrokerId;
use seglog::disk::{Disk, OpenMode};
use std::collections::BTreeSet;

/// What a start reads in any case, and has a checksum.
const METADATA_FILES: [&str; 2] = ["quorum-state", "metadata-snapshot"];
/// How often it is looked whether a loss has been made good.
const LOOKS_EVERY: Span = Span::from_millis(200);

impl World {
    /// A node's disk breaks, if it may: what is down comes up with another one, what runs crashes.
    pub(super) fn lose_disk(&mut self, index: usize) {
        if !self.may_lose_disk(index) {
            return;
        }
        self.report.count("disk lost");
        // What takes a disk may take the power of all.
        if self.rng.chance(1, 2) {
            (0..self.nodes.len()).for_each(|other| self.crash(other));
        }
        self.crash(index);
        self.trace.event(self.now.as_nanos(), "disk", || format!("n{} has an empty one", index + 1));
        self.nodes[index].lose_disk();
        self.rotten = self.rotten.filter(|rotten| *rotten != index);
        self.lost = Some(index);
        self.at(LOOKS_EVERY, Event::Mend(Outage::Loss));
    }

    /// A bit of a node's metadata flips, of those that its start must read. Whatever becomes of that, it counts as a lost disk.
    pub(super) fn rot_metadata(&mut self, index: usize) {
        if !self.may_lose_disk(index) {
            return;
        }
        self.crash(index);
        let at = self.rng.index(METADATA_FILES.len());
        let (path, disk) = (METADATA_FILES[at], self.nodes[index].disk.clone());
        let length = disk.open(path, OpenMode::Read).and_then(|file| file.length()).unwrap_or(0);
        if length == 0 || disk.flip_bit(path, self.rng.below(length * 8)).is_err() {
            return;
        }
        self.report.count("metadata rotten");
        self.trace.event(self.now.as_nanos(), "disk", || format!("n{}: {path} is rotten", index + 1));
        self.nodes[index].is_rotten = true;
        self.lost = Some(index);
        self.at(LOOKS_EVERY, Event::Mend(Outage::Loss));
    }

    /// A node that does not start for what is rotten gets an empty disk.
    pub(super) fn replace_rotten(&mut self, index: usize) {
        self.report.count("disk replaced");
        self.trace.event(self.now.as_nanos(), "disk", || format!("n{} has an empty one", index + 1));
        self.nodes[index].process = crate::node::Process::None;
        self.nodes[index].lose_disk();
        self.nodes[index].start_pending = true;
        self.start_again(index);
    }

    /// True if the promises allow for the loss of what this node has, now.
    fn may_lose_disk(&self, index: usize) -> bool {
        let id = BrokerId(i32::try_from(index + 1).unwrap_or(0));
        let is_formed = self.nodes.iter().all(|node| node.has_served);
        let mut images = self.nodes.iter().filter_map(super::oracle::image_of);
        let is_elsewhere = images.all(|image| {
            let mut states = image.topics().flat_map(|topic| &topic.partitions);
            let is_safe = states.all(|state| state.replicas.len() >= VOTERS && !state.is_moving());
            // Whose a disk was that nobody has heard of is not known later.
            is_safe && image.broker(id).is_some()
        });
        let is_sound = self.lost.is_none() && self.rotten.is_none_or(|rotten| rotten == index);
        !self.calm && is_sound && is_formed && is_elsewhere && self.nodes[index].has_served
    }

    /// Once everything is whole again another disk may go.
    pub(super) fn look_at_loss(&mut self) {
        if self.lost.is_none() {
            return;
        }
        if self.unsettled().is_none() && !self.nodes.iter().any(|node| node.is_rotten) {
            self.report.count("lost disk made good");
            self.lost = None;
        } else {
            self.at(LOOKS_EVERY, Event::Mend(Outage::Loss));
        }
    }

    /// Which votes are not with the disks that their nodes have, if any.
    pub(super) fn lost_votes(&self) -> Option<String> {
        let leader = self.nodes.iter().find(|node| node.is_controller())?.booted()?;
        let own = self.nodes.iter().take(VOTERS).filter_map(|node| {
            let id = i32::try_from(node.index + 1).ok()?;
            Some((BrokerId(id), node.booted()?.metadata.view().node.directory_id))
        });
        let (own, voters): (BTreeSet<_>, BTreeSet<_>) = (own.collect(), leader.metadata.voters().collect());
        let is_right = own == voters && leader.metadata.vote_count() == own.len();
        (!is_right).then(|| format!("the voters are {voters:?} and the disks {own:?}"))
    }
}
