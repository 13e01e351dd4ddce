//! The world of one seed: nodes, their clients, the network between them, virtual time, faults, and a final reckoning.

mod drive;
mod faults;
mod inherit;
pub(crate) mod layout;
mod less;
mod life;
mod losses;
mod network;
mod oracle;
mod outages;
mod queue;
mod reckoning;
mod safety;
mod streams;
pub(crate) mod swarm;

use crate::client::Client;
use crate::group::Participant;
use crate::history::{History, Partition};
use crate::node::{SimNode, arm};
use crate::report::Report;
use crate::trace::Trace;
use base::{Instant, Now, Rng, Span, Timestamp, plant};
use broker::ConnId;
use layout::Layout;
pub use less::Less;
use network::Network;
use oracle::Oracle;
use queue::{Event, Queue};
use std::collections::{BTreeMap, BTreeSet};
use swarm::Swarm;

/// What one run is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// How many nodes there are.
    pub nodes: usize,
    /// Replicas that a partition has at most.
    pub replicas: i16,
    /// Requests that clients send before the final reckoning.
    pub operations: u32,
    /// How long the run lasts at least before the final reckoning, in its own time.
    pub lasts: Span,
    /// A bug to plant.
    pub bug: Option<plant::Bug>,
    /// Reactors of each node.
    pub reactors: u16,
    /// Events to keep for a failure's trace.
    pub keep_trace: usize,
    /// The files that there are in the end are kept.
    pub keeps_files: bool,
    /// Only what befalls nodes is kept, not each of their inputs.
    pub is_story: bool,
    /// What is left out.
    pub less: Less,
}

impl Options {
    /// The same run with less in it.
    #[must_use]
    pub fn with(self, less: Less) -> Self {
        let lasts = less.millis.map_or(self.lasts, Span::from_millis);
        Self { operations: less.operations.unwrap_or(self.operations), lasts, less, ..self }
    }

    /// The run of a seed as CI does it, with so many nodes.
    #[must_use]
    pub const fn new(seed: u64, nodes: usize) -> Self {
        let (operations, seconds) = if nodes == 1 { (2_000, 0) } else { (0, 30) };
        let lasts = Span::from_secs(seconds);
        Self {
            seed,
            nodes,
            replicas: 3,
            operations,
            lasts,
            bug: None,
            reactors: 2,
            keep_trace: 0,
            keeps_files: false,
            is_story: false,
            less: Less::NOTHING,
        }
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// What happened.
    pub report: Report,
    /// A hash over every event.
    pub hash: u64,
    /// The files as they are in the end, if they are kept: an archive for `sim/earlier`.
    pub files: Option<Vec<u8>>,
    /// What went wrong, with the latest events.
    pub failure: Option<String>,
}

/// Wall time at the start of every run.
const EPOCH_MS: i64 = 1_760_000_000_000;
/// A run that takes longer than this (in its own time) is stuck.
const STUCK_AFTER: Span = Span::from_secs(3_600);
/// So is one of more events than this.
const STEPS_MAX: u64 = 500_000;

/// The name of the client that looks after the cluster.
const OPERATOR: u64 = 1_000;
/// By how much clients are slower in a slow run.
const SLOW: u32 = 1_500;

struct World {
    options: Options,
    layout: Layout,
    swarm: Swarm,
    now: Instant,
    queue: Queue,
    rng: Rng,
    schedule: Rng,
    nodes: Vec<SimNode>,
    net: Network,
    clients: BTreeMap<u64, Client>,
    /// Each client's connection; what comes over an earlier one is lost.
    connections: BTreeMap<u64, ConnId>,
    history: History,
    oracle: Oracle,
    trace: Trace,
    report: Report,
    sent: u32,
    steps: u64,
    calm: bool,
    /// Counts faults.
    faults: u32,
    /// Directories that nodes have said they know no topic of, and leave alone.
    strays: BTreeSet<(usize, String)>,
    /// The node whose files rot.
    rotten: Option<usize>,
    /// A node whose disk is lost, until all is well again.
    lost: Option<usize>,
    /// By how much clients are slower than usual: in a slow run offsets come of age.
    slowness: u32,
    /// How much later than others the world began.
    later: Span,
}

/// How many nodes the world of a seed has, if nobody says: one, often three, now and then five.
#[must_use]
pub fn nodes_of(seed: u64) -> usize {
    match Rng::new(seed).fork(6).below(10) {
        0 => 5,
        1..=4 => 3,
        _ => 1,
    }
}

/// Runs one seed.
#[must_use]
pub fn run(options: Options) -> Outcome {
    arm(options.bug);
    let _earlier = base::marks::take();
    let mut world = World::new(options);
    let mut files = None;
    let mut failure = world.play().err();
    if failure.is_none() && world.options.keeps_files {
        files = world.pack_files().map_err(|reason| failure = Some(reason)).ok();
    }
    if failure.is_some() {
        (0..world.nodes.len()).for_each(|node| world.trace_logs(node));
    }
    let failure = failure.map(|reason| format!("{reason}\n{}", world.trace.recent()));
    arm(None);
    let mut report = world.report;
    report.marks = base::marks::take();
    report.acked = world.history.acked();
    report.millis = world.now.since(Instant::ZERO).as_millis();
    report.committed = world.history.promises.acked;
    report.assigned = world.history.promises.assigned;
    report.faults_drawn = world.faults;
    Outcome { report, hash: world.trace.hash(), files, failure }
}

impl World {
    fn new(options: Options) -> Self {
        let rng = Rng::new(options.seed);
        let layout = Layout::draw(&mut rng.fork(7), options.nodes);
        let replicas = layout.replicas(options.replicas);
        let swarm = Swarm::draw(&mut rng.fork(5), options.nodes, replicas);
        let node = |index| SimNode::new(index, (&options, &layout), &swarm, &rng);
        let mut pace = rng.fork(4);
        let slowness = match options.nodes {
            1 if pace.chance(1, 10) => SLOW,
            1 => 1,
            // What happens among nodes takes seconds.
            _ => u32::try_from(pace.between(10, 40)).unwrap_or(10),
        };
        Self {
            schedule: options.less.salted(rng.fork(2)),
            nodes: (0..options.nodes).map(node).collect(),
            rng: options.less.salted(rng.fork(3)),
            trace: Trace::new(options.keep_trace, options.is_story),
            history: History::new(options.nodes, replicas, swarm.loses_disks()),
            oracle: Oracle::default(),
            options,
            layout,
            swarm,
            now: Instant::from_nanos(1),
            queue: Queue::default(),
            net: Network::default(),
            clients: BTreeMap::new(),
            connections: BTreeMap::new(),
            report: Report::default(),
            sent: 0,
            steps: 0,
            calm: false,
            faults: 0,
            strays: BTreeSet::new(),
            rotten: None,
            lost: None,
            slowness,
            later: Span::ZERO,
        }
    }

    fn wall(&self) -> Now {
        let millis = i64::try_from(self.now.as_nanos() / 1_000_000).unwrap_or(0);
        Now { mono: self.now, wall: Timestamp(EPOCH_MS + millis).plus(self.later) }
    }

    /// What a node believes.
    fn node_now(&self, node: usize) -> Now {
        let now = self.wall();
        Now { wall: now.wall.plus(self.nodes[node].wall_ahead), ..now }
    }

    fn at(&mut self, delay: Span, event: Event) {
        self.queue.push(self.now + delay, event);
    }

    fn some_micros(&mut self, low: u64, high: u64) -> Span {
        Span::from_micros(self.schedule.between(low, high))
    }

    /// True while crashes strike what is under way.
    const fn may_strike(&self) -> bool {
        !self.calm && !self.options.less.strikes
    }

    /// True for a run with more than one node.
    const fn is_cluster(&self) -> bool {
        self.options.nodes > 1
    }

    fn play(&mut self) -> Result<(), String> {
        for name in 1..=2 {
            self.add_client(Client::admin(name, self.swarm.trims, self.options.less.topics));
        }
        if !self.options.less.groups {
            self.add_participants();
        }
        if self.swarm.loses_disks() {
            self.add_client(Client::operator(OPERATOR));
        }
        for node in 0..self.nodes.len() {
            self.at(Span::ZERO, Event::Start(node));
        }
        self.at(Span::from_millis(200), Event::Fault);
        self.begin_with_earlier_files()?;
        while self.sent < self.options.operations || self.now < Instant::ZERO + self.options.lasts {
            self.step()?;
        }
        self.settle()?;
        self.reckon()
    }

    /// Groups whose members share partitions, and clients that commit on their own.
    fn add_participants(&mut self) {
        let mut name = 2;
        // What later runs find is nobody's any more: it must be there as it was.
        let prefix = if self.options.keeps_files { "earlier-" } else { "" };
        for group in 0..self.rng.between(1, 2) {
            for at in 0..self.rng.between(1, 4) {
                name += 1;
                let instance = self.rng.chance(1, 3).then(|| format!("instance-{at}"));
                let slowness = if self.is_cluster() { 4 } else { self.slowness };
                let member = Participant::member(&format!("{prefix}group-{group}"), instance, slowness);
                self.add_client(Client::participant(name, member));
            }
        }
        // The offsets of a slow committer are forgotten for their age, and rightly so.
        let committers = if self.slowness < SLOW { 2 } else { 0 };
        for at in 0..committers {
            name += 1;
            let committer = Participant::committer(&format!("{prefix}committer-{at}"));
            self.add_client(Client::participant(name, committer));
        }
    }

    fn add_client(&mut self, client: Client) {
        let name = client.name;
        self.clients.insert(name, client.among(&self.layout, self.history.replicas()));
        self.connect(name);
        self.let_act(name, Span::from_millis(1));
    }

    fn step(&mut self) -> Result<(), String> {
        let Some(((at, number), event)) = self.queue.pop() else {
            return Err("nothing is left to happen".into());
        };
        self.now = at;
        let wall = self.wall().wall;
        self.nodes.iter().for_each(|node| node.disk.set_clock(wall));
        self.steps += 1;
        if at > Instant::ZERO + STUCK_AFTER || self.steps > STEPS_MAX {
            return Err(format!("stuck: {} of {} requests sent", self.sent, self.options.operations));
        }
        match event.seat() {
            Some(seat) if self.is_paused(seat) => {
                self.queue.put_off(number, self.nodes[seat.node].paused_until, event);
            }
            Some(_) | None => self.happen(event)?,
        }
        self.look_at_safety_again()?;
        self.oracle.wrong.take().map_or(Ok(()), Err)
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Input(seat, input) => self.input(seat, input),
            Event::Done(seat, done) => self.input(seat, broker::Input::JobDone(done)),
            Event::Wake(seat) => self.wake(seat),
            Event::Run(seat, job) => self.run_job(seat, job),
            Event::Arrive(conn, way, piece) => self.arrive(conn, way, piece),
            Event::Dial(conn, times) => self.dialled(conn, times),
            Event::GiveUp(conn, way) => self.give_up(conn, way),
            Event::Client(name) => self.client_acts(name),
            Event::Impatient(name, correlation) => {
                self.lose_patience(name, correlation);
                Ok(())
            }
            Event::Leave(seat, until) => {
                self.leave(seat, until);
                Ok(())
            }
            Event::Start(node) => self.start_node(node),
            Event::Fault => self.fault(),
            Event::Mend(outage) => {
                self.mend(&outage);
                Ok(())
            }
            Event::Crash(node, incarnation) => {
                if incarnation == self.nodes[node].incarnation && self.may_strike() {
                    self.report.count("crash soon after a start");
                    self.crash(node);
                }
                Ok(())
            }
        }
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
                let rack = usize::try_from(name).unwrap_or(0);
                self.add_client(Client::producer(name, partition.clone(), padding));
                self.add_client(Client::producer(name + 1, partition.clone(), padding));
                self.add_client(Client::consumer(name + 2, partition).in_rack(self.layout.rack_of(rack)));
            }
        }
    }
}
