//! The lives of the nodes: starts, ends by crash, ends that were asked for.

use super::faults::Spared;
use super::queue::{Event, Seat};
use super::{Instant, SLOW, Span, World};
use crate::node::{Process, Started};
use broker::{Mail, Owner};

/// How long a node that is to stop waits for others to lead.
const LEAVES_WITHIN: Span = Span::from_secs(5);
/// How often it is looked at meanwhile.
const LOOKS_EVERY: Span = Span::from_millis(50);

impl World {
    pub(super) fn start_node(&mut self, index: usize) -> Result<(), String> {
        let now = self.node_now(index);
        let strikes = self.may_strike();
        let node = &mut self.nodes[index];
        node.start_pending = false;
        let was_off = std::mem::replace(&mut node.is_off, false);
        if strikes && self.rng.chance(if node.start_crashed { 2 } else { 1 }, 3 * self.swarm.starts_per_crash)
        {
            self.fail_within(index, 80);
        }
        if was_off {
            self.resume_network();
        }
        let started = self.nodes[index].start(now, &mut self.rng);
        self.opened(index, started)
    }

    /// A node has found its cluster: what it was until now is over, its process goes on.
    pub(super) fn become_member(&mut self, index: usize) -> Result<(), String> {
        self.break_links_of(index);
        let now = self.node_now(index);
        let started = self.nodes[index].open_as_member(now);
        self.opened(index, started)
    }

    fn opened(&mut self, index: usize, started: Started) -> Result<(), String> {
        match started {
            Started::Refused(_) if self.nodes[index].is_rotten => {
                self.replace_rotten(index);
                Ok(())
            }
            Started::Refused(reason) if self.nodes[index].has_reason(&reason) => {
                self.report.count("process ended itself");
                self.crash(index);
                Ok(())
            }
            Started::Refused(reason) => Err(format!("node {} does not start: {reason}", index + 1)),
            Started::Crashed => {
                self.crash_while_starting(index);
                Ok(())
            }
            Started::Running(effects) => {
                self.report.starts += 1;
                if self.slowness == SLOW {
                    self.history.promises.may_come_of_age();
                }
                self.trace.event(self.now.as_nanos(), "start", || format!("n{}", index + 1));
                let node = &self.nodes[index];
                if node.has_crashed() {
                    self.crash_while_starting(index);
                    return Ok(());
                }
                if node.crashed && node.claims_to_be_clean() {
                    return Err("after a crash the directory claims that it was closed".into());
                }
                self.nodes[index].has_served |= self.nodes[index].booted().is_some();
                self.started(index);
                self.trace_logs(index);
                self.carry_out(self.seat(index, Owner::Metadata), *effects)
            }
        }
    }

    fn started(&mut self, index: usize) {
        self.nodes[index].start_crashed = false;
        if self.rng.chance(1, 6 * self.swarm.starts_per_crash) {
            // What recovery has kept must be as durable as it looks.
            let delay = self.some_micros(5_000, 60_000);
            self.at(delay, Event::Crash(index, self.nodes[index].incarnation));
        }
    }

    fn crash_while_starting(&mut self, index: usize) {
        let again = self.nodes[index].start_crashed;
        self.report.count(if again { "crash in recovery, again" } else { "crash while starting" });
        self.nodes[index].start_crashed = true;
        self.crash(index);
    }

    /// Ends the process and loses what the disk was not told to keep; the node starts again a little later.
    pub(super) fn crash(&mut self, index: usize) {
        if self.nodes[index].start_pending {
            return;
        }
        self.nodes[index].start_pending = true;
        if self.is_cluster()
            && let Err(wrong) = self.look_at_logs(index)
        {
            self.oracle.wrong.get_or_insert(wrong);
        }
        let survive = u8::try_from(self.rng.below(101)).unwrap_or(0);
        self.trace.event(self.now.as_nanos(), "crash", || {
            format!("n{}: {survive}% of unsynced data survives", index + 1)
        });
        self.report.crashes += 1;
        // A process that dies is missed at once; a machine that dies with it is not.
        self.nodes[index].is_off = self.is_cluster() && self.rng.chance(1, 2);
        self.nodes[index].crash(&mut self.rng, survive);
        self.trace_logs(index);
        self.nodes[index].disk.set_capacity(None);
        self.start_again(index);
    }

    /// All connections are gone; the process starts a little later, in another boot of the machine.
    pub(super) fn start_again(&mut self, index: usize) {
        self.lose_connections(index);
        let low = if self.nodes[index].is_off { 20_000 } else { 1_000 };
        let delay = self.some_micros(low, self.swarm.down_micros_max);
        self.at(delay, Event::Start(index));
        let node = &mut self.nodes[index];
        node.incarnation += 1;
        node.wall_ahead = Span::ZERO;
        node.paused_until = Instant::ZERO;
    }

    fn lose_connections(&mut self, index: usize) {
        if self.is_cluster() {
            self.break_links_of(index);
        } else {
            let names: Vec<u64> = self.clients.keys().copied().collect();
            for name in names {
                self.disconnect(name);
            }
        }
    }

    /// A node is to stop: in a cluster it has others lead first, mostly, if they do so in time.
    pub(super) fn stop(&mut self, index: usize) {
        if !self.is_cluster() || self.rng.chance(1, 3) {
            return self.stop_cleanly(index);
        }
        let seat = self.seat(index, Owner::Metadata);
        if self.nodes[index].is_serving() {
            self.deliver(seat, Mail::Leave, Span::ZERO);
            self.at(LOOKS_EVERY, Event::Leave(seat, self.now + LEAVES_WITHIN));
        }
    }

    /// Stops a node that others do not need any more, or that has waited for long enough.
    pub(super) fn leave(&mut self, seat: Seat, until: Instant) {
        let Some(booted) = self.nodes[seat.node].booted().filter(|_| self.is_alive(seat)) else { return };
        let has_left = booted.metadata.has_left();
        if has_left || self.now >= until {
            self.report.count(if has_left { "left in good order" } else { "left in haste" });
            self.end_process(seat.node);
        } else {
            self.at(LOOKS_EVERY, Event::Leave(seat, until));
        }
    }

    /// SIGTERM: everything is flushed and the directory says so.
    pub(super) fn stop_cleanly(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(booted) = node.booted() else { return };
        if !booted.metadata.is_serving() || node.paused_until > self.now {
            return;
        }
        self.end_process(index);
    }

    fn end_process(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(booted) = node.booted() else { return };
        self.report.count("clean shutdown");
        self.trace.event(self.now.as_nanos(), "stop", || format!("n{}", index + 1));
        broker::close(&booted.shared, &booted.latest_view);
        node.process = Process::None;
        self.trace_logs(index);
        // The process takes its jobs along, and with them the lock on its directory.
        self.queue.drop_node(index);
        let node = &mut self.nodes[index];
        if node.has_crashed() {
            return self.crash(index);
        }
        node.crashed = false;
        if !node.disk_faulted {
            // Whoever starts on a full disk is told so and starts again later.
            node.disk.clear_faults();
        }
        for _ in 0..self.rng.below(self.swarm.flips) {
            self.rot(index, Spared::Nothing);
        }
        self.nodes[index].start_pending = true;
        self.start_again(index);
    }
}
