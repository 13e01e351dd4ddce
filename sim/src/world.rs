//! The world of one seed: a node, its clients, virtual time, faults, and a final reckoning.

mod faults;
mod streams;
pub(crate) mod swarm;

use crate::client::Client;
use crate::group::Participant;
use crate::history::{History, Partition};
use crate::node::{SimNode, Started, arm};
use crate::report::Report;
use crate::trace::Trace;
use base::{Instant, Now, Rng, Span, Timestamp, plant};
use broker::{ConnId, Effects, Input, Job, JobDone, Mail, Owner};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use swarm::Swarm;

/// What one run is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// Requests that clients send before the final reckoning.
    pub operations: u32,
    /// A bug to plant.
    pub bug: Option<plant::Bug>,
    /// Reactors of the node.
    pub reactors: u16,
    /// Events to keep for a failure's trace.
    pub keep_trace: usize,
}

impl Options {
    /// The run of a seed as CI does it.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, operations: 2_000, bug: None, reactors: 2, keep_trace: 0 }
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// What happened.
    pub report: Report,
    /// A hash over every event.
    pub hash: u64,
    /// What went wrong, with the latest events.
    pub failure: Option<String>,
}

/// Wall time at the start of every run.
const EPOCH_MS: i64 = 1_760_000_000_000;
/// A run that takes longer than this (in its own time) is stuck.
const STUCK_AFTER: Span = Span::from_secs(3_600);
/// So is one of more events than this.
const STEPS_MAX: u64 = 500_000;

/// By how much clients are slower in a slow run.
const SLOW: u32 = 1_500;

#[derive(Debug)]
enum Event {
    /// For an owner of the node's incarnation.
    Input(u64, Owner, Input),
    /// A job begins to run.
    Run(u64, Owner, Job),
    /// A job has ended.
    Done(u64, Owner, JobDone),
    /// An owner asked to be woken.
    Wake(u64, Owner),
    /// Bytes reach a client over one of its connections.
    Reply(ConnId, Bytes),
    /// A client may ask something.
    Client(u64),
    /// The node starts again.
    Start,
    /// Something bad happens.
    Fault,
    /// The power goes, in an incarnation of the node that has just begun.
    Crash(u64),
}

struct World {
    options: Options,
    swarm: Swarm,
    now: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
    rng: Rng,
    schedule: Rng,
    node: SimNode,
    clients: BTreeMap<u64, Client>,
    /// Each client's connection; what comes over an earlier one is lost.
    connections: BTreeMap<u64, ConnId>,
    next_connection: u64,
    /// Connections that were closed: what was under way on them may still arrive, and gets no answer.
    closed: BTreeSet<ConnId>,
    /// Where each connection's stream stands: bytes under way keep their order.
    last_delivery: BTreeMap<(ConnId, bool), Instant>,
    history: History,
    trace: Trace,
    report: Report,
    sent: u32,
    steps: u64,
    calm: bool,
    /// By how much clients are slower than usual: in a slow run offsets come of age.
    slowness: u32,
    /// When each owner will be woken.
    wakes: BTreeMap<Owner, (u64, Instant)>,
    /// The node is down and its start is on the way.
    start_pending: bool,
    /// The last start ended in a crash.
    start_crashed: bool,
    /// Until then jobs take much longer.
    slow_until: Instant,
    /// By how much the node's wall clock is wrong.
    wall_ahead: Span,
}

/// Runs one seed.
#[must_use]
pub fn run(options: Options) -> Outcome {
    arm(options.bug);
    let _earlier = base::marks::take();
    let mut world = World::new(options);
    let failure = world.play().err();
    let failure = failure.map(|reason| format!("{reason}\n{}", world.trace.recent()));
    arm(None);
    let mut report = world.report;
    report.marks = base::marks::take();
    report.acked = world.history.acked();
    report.millis = world.now.since(Instant::ZERO).as_millis();
    report.committed = world.history.promises.acked;
    report.assigned = world.history.promises.assigned;
    Outcome { report, hash: world.trace.hash(), failure }
}

impl World {
    fn new(options: Options) -> Self {
        let rng = Rng::new(options.seed);
        let mut disk_rng = rng.fork(1);
        let swarm = Swarm::draw(&mut rng.fork(5));
        let node = SimNode::new(&options, &swarm, &mut disk_rng);
        let trace = Trace::new(options.keep_trace);
        Self {
            schedule: rng.fork(2),
            rng: rng.fork(3),
            node,
            trace,
            options,
            swarm,
            now: Instant::from_nanos(1),
            events: BTreeMap::new(),
            next_event: 0,
            clients: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            closed: BTreeSet::new(),
            last_delivery: BTreeMap::new(),
            history: History::default(),
            report: Report::default(),
            sent: 0,
            steps: 0,
            calm: false,
            slowness: if rng.fork(4).chance(1, 10) { SLOW } else { 1 },
            wakes: BTreeMap::new(),
            start_pending: true,
            start_crashed: false,
            slow_until: Instant::ZERO,
            wall_ahead: Span::ZERO,
        }
    }

    fn wall(&self) -> Now {
        let millis = i64::try_from(self.now.as_nanos() / 1_000_000).unwrap_or(0);
        Now { mono: self.now, wall: Timestamp(EPOCH_MS + millis) }
    }

    /// What the node believes.
    fn node_now(&self) -> Now {
        let now = self.wall();
        Now { wall: now.wall.plus(self.wall_ahead), ..now }
    }

    fn at(&mut self, delay: Span, event: Event) {
        self.next_event += 1;
        self.events.insert((self.now + delay, self.next_event), event);
    }

    fn some_micros(&mut self, low: u64, high: u64) -> Span {
        Span::from_micros(self.schedule.between(low, high))
    }

    /// How long a job waits or takes.
    fn job_micros(&mut self, high: u64) -> Span {
        let delay = self.some_micros(10, high);
        if self.now < self.slow_until { delay * self.schedule.between(5, 60) } else { delay }
    }

    fn play(&mut self) -> Result<(), String> {
        for name in 1..=2 {
            self.add_client(Client::admin(name, self.swarm.trims));
        }
        self.add_participants();
        self.at(Span::ZERO, Event::Start);
        self.at(Span::from_millis(200), Event::Fault);
        while self.sent < self.options.operations {
            self.step()?;
        }
        self.settle()?;
        self.reckon()
    }

    /// Groups whose members share partitions, and clients that commit on their own.
    fn add_participants(&mut self) {
        let mut name = 2;
        for group in 0..self.rng.between(1, 2) {
            for at in 0..self.rng.between(1, 4) {
                name += 1;
                let instance = self.rng.chance(1, 3).then(|| format!("instance-{at}"));
                let member = Participant::member(&format!("group-{group}"), instance, self.slowness);
                self.add_client(Client::participant(name, member));
            }
        }
        // The offsets of a slow committer are forgotten for their age, and rightly so.
        let committers = if self.slowness == 1 { 2 } else { 0 };
        for at in 0..committers {
            name += 1;
            let committer = Participant::committer(&format!("committer-{at}"));
            self.add_client(Client::participant(name, committer));
        }
    }

    fn add_client(&mut self, client: Client) {
        let name = client.name;
        self.clients.insert(name, client);
        self.connect(name);
        self.at(Span::from_millis(1), Event::Client(name));
    }

    fn step(&mut self) -> Result<(), String> {
        let Some(((at, _), event)) = self.events.pop_first() else {
            return Err("nothing is left to happen".into());
        };
        self.now = at;
        self.node.disk.set_clock(self.wall().wall);
        self.steps += 1;
        if at > Instant::ZERO + STUCK_AFTER || self.steps > STEPS_MAX {
            return Err(format!("stuck: {} of {} requests sent", self.sent, self.options.operations));
        }
        match event {
            Event::Input(incarnation, owner, input) => self.input(incarnation, owner, input),
            Event::Done(incarnation, owner, done) => self.input(incarnation, owner, Input::JobDone(done)),
            Event::Wake(incarnation, owner) => {
                // A wake that an earlier one has replaced is nobody's.
                if self.wakes.get(&owner) != Some(&(incarnation, at)) {
                    return Ok(());
                }
                self.wakes.remove(&owner);
                self.input(incarnation, owner, Input::Tick)
            }
            Event::Run(incarnation, owner, job) => self.run_job(incarnation, owner, job),
            Event::Reply(conn, frame) => self.reply(conn, frame),
            Event::Client(name) => self.client_acts(name),
            Event::Start => self.start_node(),
            Event::Fault => self.fault(),
            Event::Crash(incarnation) => {
                if incarnation == self.node.incarnation && !self.calm {
                    self.report.count("crash soon after a start");
                    self.crash();
                }
                Ok(())
            }
        }
    }

    fn start_node(&mut self) -> Result<(), String> {
        let now = self.node_now();
        self.start_pending = false;
        if !self.calm && self.rng.chance(if self.start_crashed { 2 } else { 1 }, 3) {
            let at = self.node.disk.operations() + self.rng.between(1, 80);
            self.node.disk.fail_from(Some(at));
        }
        match self.node.start(now, &mut self.rng) {
            Started::Refused(_) if self.report.disk_faulted => {
                self.report.count("process ended itself");
                self.crash();
                Ok(())
            }
            Started::Refused(reason) => Err(format!("the node does not start: {reason}")),
            Started::Crashed => {
                self.crash_while_starting();
                Ok(())
            }
            Started::Running(effects) => {
                self.report.starts += 1;
                self.trace.event(self.now.as_nanos(), "start", String::new);
                if self.node.has_crashed() {
                    self.crash_while_starting();
                    return Ok(());
                }
                if self.node.crashed && self.node.claims_to_be_clean() {
                    return Err("after a crash the directory claims that it was closed".into());
                }
                self.start_crashed = false;
                if self.rng.chance(1, 6) {
                    // What recovery has kept must be as durable as it looks.
                    let delay = self.some_micros(5_000, 60_000);
                    self.at(delay, Event::Crash(self.node.incarnation));
                }
                self.carry_out(Owner::Metadata, effects)
            }
        }
    }

    fn crash_while_starting(&mut self) {
        let name = if self.start_crashed { "crash in recovery, again" } else { "crash while starting" };
        self.report.count(name);
        self.start_crashed = true;
        self.crash();
    }

    /// With some probability, lets the disk fail from a coming operation on: a crash inside a call.
    fn maybe_arm_crash(&mut self, operations: u64) {
        if !self.calm && self.rng.chance(1, 1_000) {
            let at = self.node.disk.operations() + self.rng.between(1, operations);
            self.node.disk.fail_from(Some(at));
        }
    }

    /// A deletion moves a beginning and then takes files away: a crash in between must harm neither.
    fn maybe_strike_deletion(&mut self) {
        if !self.calm && self.rng.chance(self.swarm.struck_deletions, 100) {
            let at = self.node.disk.operations() + self.rng.between(1, 10);
            self.node.disk.fail_from(Some(at));
        }
    }

    fn input(&mut self, incarnation: u64, owner: Owner, input: Input) -> Result<(), String> {
        if incarnation != self.node.incarnation || self.node.running.is_none() {
            return Ok(());
        }
        self.trace.event(self.now.as_nanos(), "input", || describe_input(owner, &input));
        if let Input::Frame { conn, .. } = &input
            && self.client_of(*conn).is_none()
            && !self.closed.contains(conn)
        {
            return Err(format!("a request arrives over connection {}, which nobody has or closed", conn.0));
        }
        self.maybe_arm_crash(12);
        let was_serving = self.node.is_serving();
        let now = self.node_now();
        let Some(effects) = self.node.handle(owner, now, input) else { return Ok(()) };
        if self.node.has_crashed() {
            self.report.count("crash inside a call");
            self.crash();
            return Ok(());
        }
        self.carry_out(owner, effects)?;
        if !was_serving && self.node.is_serving() {
            let names: Vec<u64> = self.clients.keys().copied().collect();
            for name in names {
                self.connect(name);
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, owner: Owner, effects: Effects) -> Result<(), String> {
        for line in &effects.log {
            self.trace.event(self.now.as_nanos(), "log", || format!("{line:?}"));
        }
        if let Some(reason) = effects.fatal {
            return self.fatal(&reason);
        }
        let incarnation = self.node.incarnation;
        for job in effects.jobs {
            let delay = self.job_micros(3_000);
            self.at(delay, Event::Run(incarnation, owner, job));
        }
        for (to, mail) in effects.mail {
            // Mail between two owners keeps its order.
            let delay = if to == owner { Span::ZERO } else { Span::from_micros(5) };
            self.deliver(incarnation, to, mail, delay);
        }
        for (conn, reply) in effects.replies {
            let sent = self.send_reply(conn, &reply);
            if self.node.has_crashed() {
                self.report.count("crash inside a call");
                self.crash();
                return Ok(());
            }
            sent?;
        }
        for conn in effects.close {
            if let Some(name) = self.client_of(conn) {
                return Err(format!("the node closed the connection of client {name}: {:?}", effects.log));
            }
        }
        self.note_wake(incarnation, owner, effects.wake_at);
        Ok(())
    }

    /// One pending wake per owner is enough; an earlier one replaces it.
    fn note_wake(&mut self, incarnation: u64, owner: Owner, wake_at: Option<Instant>) {
        let Some(at) = wake_at else { return };
        let pending = self.wakes.get(&owner).filter(|(of, old)| *of == incarnation && *old > self.now);
        if pending.is_none_or(|(_, old)| at < *old) {
            let delay = at.since(self.now).max(Span::from_micros(1));
            self.wakes.insert(owner, (incarnation, self.now + delay));
            self.at(delay, Event::Wake(incarnation, owner));
        }
    }

    fn deliver(&mut self, incarnation: u64, to: Owner, mail: Mail, delay: Span) {
        self.at(delay, Event::Input(incarnation, to, Input::Mail(mail)));
    }

    /// A node that ends itself has lost its disk, or found damage: both only by a fault that was injected.
    fn fatal(&mut self, reason: &str) -> Result<(), String> {
        self.report.count("process ended itself");
        if !self.report.disk_faulted {
            return Err(format!("the node ended itself without a fault: {reason}"));
        }
        self.crash();
        Ok(())
    }

    fn run_job(&mut self, incarnation: u64, owner: Owner, job: Job) -> Result<(), String> {
        if incarnation != self.node.incarnation {
            return Ok(());
        }
        let Some(running) = &self.node.running else { return Ok(()) };
        let shared = running.booted.shared.clone();
        self.maybe_arm_crash(12);
        if matches!(job, Job::Trim(_) | Job::Retire { .. }) {
            self.maybe_strike_deletion();
        }
        let done = job.run(&shared);
        if self.node.has_crashed() {
            self.report.count("crash inside a job");
            self.crash();
            return Ok(());
        }
        let delay = self.job_micros(5_000);
        self.at(delay, Event::Done(incarnation, owner, done));
        Ok(())
    }

    /// Every topic gets producers and consumers as it comes to be.
    fn populate(&mut self) {
        let partitions: Vec<Partition> = self
            .history
            .topics()
            .flat_map(|(name, count)| (0..count).map(|index| (name.clone(), index)).collect::<Vec<_>>())
            .collect();
        for partition in partitions {
            let known = self
                .clients
                .values()
                .any(|client| client.found().is_some_and(|(watched, _, _)| *watched == partition));
            if !known {
                let name = self.clients.keys().next_back().copied().unwrap_or(0) + 1;
                let padding = self.swarm.padding;
                self.add_client(Client::producer(name, partition.clone(), padding));
                self.add_client(Client::producer(name + 1, partition.clone(), padding));
                self.add_client(Client::consumer(name + 2, partition));
            }
        }
    }

    /// No more faults: one last crash, then everything must come to rest.
    fn settle(&mut self) -> Result<(), String> {
        if self.report.crashes == 0 || self.rng.chance(1, 2) {
            self.report.count("crash between calls");
            self.crash();
        }
        self.calm = true;
        self.node.disk.set_capacity(None);
        self.node.disk.fail_from(None);
        self.node.disk.clear_faults();
        self.wall_ahead = Span::ZERO;
        let until = self.now + Span::from_secs(30);
        while !self.node.is_serving() {
            if self.now > until {
                return Err("the node does not serve thirty seconds after the last fault".into());
            }
            self.step()?;
        }
        // What was under way when the faults ended is tried again and answered.
        let until = self.now + Span::from_millis(500);
        while self.now < until {
            self.step()?;
        }
        Ok(())
    }

    /// Every consumer has read its partition: what it found must be what was promised.
    fn reckon(&mut self) -> Result<(), String> {
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

/// An input in a few words, for the trace.
fn describe_input(owner: Owner, input: &Input) -> String {
    let text = match input {
        Input::Mail(Mail::View(view)) => format!("view of index {}", view.image.index),
        Input::Connected { .. }
        | Input::Frame { .. }
        | Input::Linked { .. }
        | Input::LinkFrame { .. }
        | Input::LinkDown { .. }
        | Input::Closed { .. }
        | Input::JobDone(_)
        | Input::Tick => {
            format!("{input:?}")
        }
        Input::Mail(mail) => format!("{mail:?}"),
    };
    format!("{owner:?} {}", text.chars().take(160).collect::<String>())
}
