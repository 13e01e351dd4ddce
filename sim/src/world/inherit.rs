//! Nodes that begin with the files of an earlier build.

use super::{EPOCH_MS, Span, World};
use crate::earlier::Earlier;
use base::{Rng, Timestamp};

/// One seed in so many.
const ONE_IN: u64 = 8;
/// All that is in an archive happened before this.
const BEFORE: Span = Span::from_secs(120);

impl World {
    /// In some seeds the nodes were there before, in an earlier build.
    pub(super) fn begin_with_earlier_files(&mut self) -> Result<(), String> {
        let is_drawn = Rng::new(self.options.seed).fork(8).chance(1, ONE_IN);
        // What was written has as many replicas as a run has that loses disks.
        let fits = self.options.nodes == 1
            || (self.swarm.loses_disks() && self.layout.brokers() == self.options.nodes);
        if self.options.keeps_files || !is_drawn || !fits {
            return Ok(());
        }
        let Some(earlier) = Earlier::of(self.options.nodes, Timestamp(EPOCH_MS))? else { return Ok(()) };
        self.report.count("files of an earlier build");
        earlier.tell(&mut self.history)?;
        for (node, disk) in self.nodes.iter_mut().zip(earlier.disks) {
            node.disk = disk;
            // Half of them were closed properly.
            node.crashed = false;
        }
        self.later = BEFORE;
        self.populate();
        Ok(())
    }

    /// The nodes end, one in two of them properly, and what they leave is packed.
    pub(super) fn pack_files(&mut self) -> Result<Vec<u8>, String> {
        if self.is_cluster() && !self.swarm.loses_disks() {
            return Err("what this run has would not survive the loss of a disk: another seed".into());
        }
        let mut disks = Vec::new();
        for node in &self.nodes {
            if let Some(booted) = node.booted().filter(|_| node.index.is_multiple_of(2)) {
                broker::close(&booted.shared, &booted.latest_view);
            }
            disks.push(node.disk.crash_clone(&mut Rng::new(0), 0));
        }
        Earlier::pack(&disks, &self.history)
    }
}
