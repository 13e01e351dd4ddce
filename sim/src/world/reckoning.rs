//! The end of a run: nothing goes wrong any more, everything must come to rest, and every promise must have been kept.

use super::{Span, World};
use crate::client::Client;
use crate::group::Participant;
use crate::history::Partition;

impl World {
    /// No more faults: one last crash, then everything must come to rest.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        if self.report.crashes == 0 || self.rng.chance(1, 2) {
            self.report.count("crash between calls");
            let one = self.some_node();
            self.crash(one);
        }
        self.calm = true;
        // Those who wait for the cluster must not be lost among those who use it.
        self.slowness = self.slowness.max(if self.is_cluster() { 10 } else { 1 });
        self.nodes.iter_mut().for_each(crate::node::SimNode::heal);
        self.end_outages();
        // What could not be read or cut for a fault of the disk is not used before the next start: somebody sees to that.
        for index in 0..self.nodes.len() {
            if self.is_cluster() && self.nodes[index].disk_faulted {
                self.crash(index);
            }
        }
        while self.nodes.iter().any(|node| node.paused_until > self.now) {
            self.step()?;
        }
        let until = self.now + Span::from_secs(30);
        while let Some(reason) = self.unsettled() {
            if self.now > until {
                return Err(format!("{reason} thirty seconds after the last fault"));
            }
            self.step()?;
        }
        // What was under way when the faults ended is tried again and answered.
        let until = self.now + Span::from_millis(if self.is_cluster() { 2_000 } else { 500 });
        while self.now < until {
            self.step()?;
        }
        if self.is_cluster() { self.check_leftovers() } else { Ok(()) }
    }

    /// Every consumer has read its partition: what it found must be what was promised.
    pub(super) fn reckon(&mut self) -> Result<(), String> {
        self.look_at_repairs();
        let partitions: Vec<Partition> = self
            .clients
            .values()
            .filter_map(|client| client.found().map(|(partition, _, _)| partition.clone()))
            .filter(|(topic, _)| self.history.exists(topic))
            .collect();
        // Fresh readers from the beginning, so that nothing rests on what was read before the last crash.
        self.slowness = 1;
        let names: Vec<u64> = self.clients.keys().copied().collect();
        for name in names {
            // Else a request that is under way would be carried out later, when its outcome counts as known.
            self.hang_up(name);
        }
        self.clients.clear();
        let mut name = 10_000;
        for partition in partitions {
            name += 1;
            self.add_client(Client::consumer(name, partition));
        }
        for group in self.history.promises.groups() {
            name += 1;
            self.add_client(Client::participant(name, Participant::auditor(&group)));
        }
        let until = self.now + Span::from_secs(60);
        while !self.clients.values().all(Client::has_caught_up) {
            if self.now > until {
                let late = self.clients.values().filter(|client| !client.has_caught_up());
                let late: Vec<_> =
                    late.map(Client::found).map(|found| found.map(|(at, next, _)| (at, next))).collect();
                return Err(format!("readers do not reach the end of their partitions: {late:?}"));
            }
            self.step()?;
        }
        self.check_findings()?;
        if !self.is_cluster() {
            return Ok(());
        }
        let found = self.clients.values().filter_map(Client::found);
        let read = found.filter_map(|(at, _, found)| {
            Some((at.clone(), *found.first_key_value()?.0..found.last_key_value()?.0 + 1))
        });
        self.compare_replicas(&read.collect())
    }

    fn check_findings(&mut self) -> Result<(), String> {
        for client in self.clients.values() {
            if let Some((partition, start, found)) = client.found() {
                let found_all = !client.was_told();
                self.history.check_final(partition, start, found, found_all)?;
                self.report.read += found.len();
                self.report.lost_volatile += self.history.lost_volatile(partition, found);
            }
        }
        Ok(())
    }
}
