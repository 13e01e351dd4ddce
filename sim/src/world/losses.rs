//! Disks that are lost with all that was on them.
//!
//! What is promised: with three replicas, two of which must have what is acknowledged, one disk may go, and the next one
//! once all that it held is elsewhere again. Its node comes back with an empty disk and the settings that it always had.

use super::outages::Outage;
use super::queue::Event;
use super::{Span, World};
use crate::node::VOTERS;
use base::BrokerId;
use std::collections::BTreeSet;

/// How often it is looked whether a loss has been made good.
const LOOKS_EVERY: Span = Span::from_millis(200);

impl World {
    /// A node's disk breaks, if it may: what is down comes up with another one, what runs crashes.
    pub(super) fn lose_disk(&mut self, index: usize) {
        if !self.may_lose_disk(index) {
            return;
        }
        self.report.count("disk lost");
        self.crash(index);
        self.trace.event(self.now.as_nanos(), "disk", || format!("n{} has an empty one", index + 1));
        self.nodes[index].lose_disk();
        self.lost = Some(index);
        self.at(LOOKS_EVERY, Event::Mend(Outage::Loss));
    }

    /// True if the promises allow for the loss of what this node has, now.
    fn may_lose_disk(&self, index: usize) -> bool {
        let is_formed = self.nodes.iter().all(|node| node.has_served);
        let mut images = self.nodes.iter().filter_map(super::oracle::image_of);
        let is_elsewhere = images.all(|image| {
            let mut states = image.topics().flat_map(|topic| &topic.partitions);
            states.all(|state| state.replicas.len() >= VOTERS && !state.is_moving())
        });
        !self.calm && self.lost.is_none() && is_formed && is_elsewhere && self.nodes[index].has_served
    }

    /// Once everything is whole again another disk may go.
    pub(super) fn look_at_loss(&mut self) {
        if self.lost.is_none() {
            return;
        }
        if self.unsettled().is_none() {
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
        (own != voters).then(|| format!("the voters are {voters:?} and the disks {own:?}"))
    }
}
