//! Driving the owners of the nodes: what goes in, what is done with what comes out.

use super::network::Piece;
use super::queue::{Event, Seat, describe_input};
use super::{Span, World};
use base::Instant;
use broker::{ConnId, Effects, Input, Job, Mail, Owner};

/// An owner wants to be woken at once at most so often in a row.
const HURRIES_MAX: u32 = 1_000;

impl World {
    pub(super) fn seat(&self, node: usize, owner: Owner) -> Seat {
        Seat { node, incarnation: self.nodes[node].incarnation, owner }
    }

    /// True while the process runs that the seat is in.
    pub(super) fn is_alive(&self, seat: Seat) -> bool {
        let node = &self.nodes[seat.node];
        node.incarnation == seat.incarnation && node.is_listening()
    }

    pub(super) fn is_paused(&self, seat: Seat) -> bool {
        self.nodes[seat.node].paused_until > self.now
    }

    /// How long a job waits or takes.
    fn job_micros(&mut self, node: usize, high: u64) -> Span {
        let delay = self.some_micros(10, high);
        if self.now < self.nodes[node].slow_until { delay * self.schedule.between(5, 60) } else { delay }
    }

    /// Gives an input to an owner, now or when its process goes on.
    pub(super) fn give(&mut self, seat: Seat, input: Input) -> Result<(), String> {
        if self.is_paused(seat) {
            self.queue.push(self.nodes[seat.node].paused_until, Event::Input(seat, input));
            return Ok(());
        }
        self.input(seat, input)
    }

    pub(super) fn input(&mut self, seat: Seat, input: Input) -> Result<(), String> {
        if !self.is_alive(seat) || !self.knows(seat, &input) {
            return Ok(());
        }
        self.trace.event(self.now.as_nanos(), "input", || describe_input(seat, &input));
        self.maybe_arm_crash(seat.node, 12);
        let now = self.node_now(seat.node);
        let node = &mut self.nodes[seat.node];
        let was_serving = node.is_serving();
        let Some(effects) = node.handle(seat.owner, now, input) else { return Ok(()) };
        if node.has_crashed() {
            self.report.count("crash inside a call");
            self.crash(seat.node);
            return Ok(());
        }
        if self.is_cluster() && seat.owner == Owner::Metadata {
            self.look_at_metadata(seat.node)?;
        }
        self.carry_out(seat, effects)?;
        if self.is_alive(seat) && self.nodes[seat.node].has_founded() {
            return self.become_member(seat.node);
        }
        if !was_serving && self.nodes[seat.node].is_serving() && !self.is_cluster() {
            let names: Vec<u64> = self.clients.keys().copied().collect();
            for name in names {
                self.connect(name);
            }
        }
        Ok(())
    }

    pub(super) fn carry_out(&mut self, seat: Seat, effects: Effects) -> Result<(), String> {
        for line in &effects.log {
            let node = seat.node + 1;
            if let Some(dir) = named_stray(&line.text) {
                self.strays.insert((seat.node, dir.to_owned()));
            }
            self.trace.event(self.now.as_nanos(), "log", || format!("n{node} {line:?}"));
        }
        if let Some(reason) = effects.fatal {
            return self.fatal(seat.node, &reason);
        }
        for job in effects.jobs {
            let delay = self.job_micros(seat.node, 3_000);
            self.at(delay, Event::Run(seat, job));
        }
        for (to, mail) in effects.mail {
            // Mail between two owners keeps its order.
            let delay = if to == seat.owner { Span::ZERO } else { Span::from_micros(5) };
            self.deliver(Seat { owner: to, ..seat }, mail, delay);
        }
        for (conn, reply) in effects.replies {
            let sent = self.send_reply(conn, &reply);
            if self.nodes[seat.node].has_crashed() {
                self.report.count("crash inside a call");
                self.crash(seat.node);
                return Ok(());
            }
            sent?;
        }
        for conn in effects.close {
            self.node_closes(conn, &effects.log)?;
        }
        for dial in effects.dials {
            self.dial(seat, &dial)?;
        }
        for (link, bytes) in effects.sends {
            self.send_over_link(seat, link, &bytes)?;
        }
        for link in effects.hang_ups {
            self.hang_up_link(seat, link);
        }
        self.note_wake(seat, effects.wake_at);
        self.look_for_hurry(seat, effects.wake_at)
    }

    /// Who wants to be woken at once, again and again, does nothing but burn a processor.
    fn look_for_hurry(&mut self, seat: Seat, wake_at: Option<Instant>) -> Result<(), String> {
        let is_at_once = wake_at.is_some_and(|at| at <= self.now);
        let hurries = self.nodes[seat.node].hurries.entry(seat.owner).or_default();
        *hurries = if is_at_once { *hurries + 1 } else { 0 };
        if *hurries < HURRIES_MAX {
            return Ok(());
        }
        Err(format!("the owner {:?} of node {} turns in circles", seat.owner, seat.node + 1))
    }

    fn node_closes(&mut self, conn: ConnId, log: &[broker::LogLine]) -> Result<(), String> {
        match self.client_of(conn) {
            // Where there is one node, it knows the answer or is not there.
            Some(name) if !self.is_cluster() => {
                Err(format!("the node closed the connection of client {name}: {log:?}"))
            }
            Some(_) | None => {
                self.close(conn);
                Ok(())
            }
        }
    }

    /// One pending wake per owner is enough; an earlier one replaces it.
    fn note_wake(&mut self, seat: Seat, wake_at: Option<Instant>) {
        let Some(at) = wake_at else { return };
        let now = self.now;
        let wakes = &mut self.nodes[seat.node].wakes;
        let pending = wakes.get(&seat.owner).filter(|(of, old)| *of == seat.incarnation && *old > now);
        if pending.is_none_or(|(_, old)| at < *old) {
            let delay = at.since(now).max(Span::from_micros(1));
            wakes.insert(seat.owner, (seat.incarnation, now + delay));
            self.at(delay, Event::Wake(seat));
        }
    }

    /// A wake that an earlier one has replaced is nobody's; one that a pause has put off is late.
    pub(super) fn wake(&mut self, seat: Seat) -> Result<(), String> {
        let wakes = &mut self.nodes[seat.node].wakes;
        let is_due = |(of, at): &(u64, Instant)| *of == seat.incarnation && *at <= self.now;
        if !wakes.get(&seat.owner).is_some_and(is_due) {
            return Ok(());
        }
        wakes.remove(&seat.owner);
        self.input(seat, Input::Tick)
    }

    pub(super) fn deliver(&mut self, to: Seat, mail: Mail, delay: Span) {
        self.at(delay, Event::Input(to, Input::Mail(mail)));
    }

    /// A node that ends itself has lost its disk, or found damage: both only by a fault that was injected.
    fn fatal(&mut self, node: usize, reason: &str) -> Result<(), String> {
        self.report.count("process ended itself");
        if !self.nodes[node].has_reason(reason) {
            return Err(format!("node {} ended itself without a fault: {reason}", node + 1));
        }
        self.crash(node);
        Ok(())
    }

    pub(super) fn run_job(&mut self, seat: Seat, job: Job) -> Result<(), String> {
        if !self.is_alive(seat) {
            return Ok(());
        }
        self.maybe_arm_crash(seat.node, 12);
        if matches!(job, Job::Trim(_) | Job::Retire { .. }) {
            self.maybe_strike_deletion(seat.node);
        }
        let shortens = matches!(job, Job::Cut { .. });
        let node = &self.nodes[seat.node];
        let Some(done) = node.run(job) else { return Ok(()) };
        if node.has_crashed() {
            self.report.count("crash inside a job");
            self.crash(seat.node);
            return Ok(());
        }
        // What is cut is back soon, unless something happens just then.
        if shortens {
            self.look_at_safety()?;
        }
        let delay = self.job_micros(seat.node, 5_000);
        self.at(delay, Event::Done(seat, done));
        Ok(())
    }

    /// With some probability, lets the disk fail from a coming operation on: a crash inside a call.
    fn maybe_arm_crash(&mut self, node: usize, operations: u64) {
        if self.may_strike() && self.rng.chance(1, self.swarm.calls_per_crash) {
            self.fail_within(node, operations);
        }
    }

    /// A deletion moves a beginning and then takes files away: a crash in between must harm neither.
    fn maybe_strike_deletion(&mut self, node: usize) {
        if self.may_strike() && self.rng.chance(self.swarm.struck_deletions, 100) {
            self.fail_within(node, 10);
        }
    }

    /// The disk fails from one of the next operations on.
    pub(super) fn fail_within(&mut self, node: usize, operations: u64) {
        let disk = &self.nodes[node].disk;
        disk.fail_from(Some(disk.operations() + self.rng.between(1, operations)));
    }

    /// A connection's reply that cannot be read to its end ends the connection.
    pub(super) fn break_off(&mut self, conn: ConnId) {
        match self.client_of(conn) {
            Some(name) => self.hang_up(name),
            None => self.send(conn, super::network::Way::Out, Piece::End),
        }
    }
}

/// The directory that a node says it leaves alone.
fn named_stray(line: &str) -> Option<&str> {
    line.strip_prefix("The directory ")?.strip_suffix(" belongs to no topic; it is left alone")
}
