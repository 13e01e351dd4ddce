//! Many nodes over disks in memory, linked, without faults: everything takes its fixed time, in order. What it costs the
//! processor to be each of them is counted.

use super::cost;
use crate::node::{CLIENTS, Listening, PEERS, VOTERS, host, index_of};
use base::{Instant, Now, Span, Timestamp};
use broker::{
    Boot, Booted, ConnId, Dial, Down, Effects, Founding, Fragment, Input, Job, LinkId, Opened, Owner, Reply,
};
use bytes::{Bytes, BytesMut};
use cluster::Endpoint;
use cluster::config::{Layers, NodeConfig, Overrides};
use seglog::disk::MemDisk;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How long bytes take from node to node, and jobs.
const HOP: Span = Span::from_micros(200);

enum Life {
    Down,
    Founding(Box<Founding>),
    Up(Box<Booted>),
}

struct Machine {
    life: Life,
    disk: MemDisk,
    settings: Overrides,
    /// Counts starts: what belongs to an earlier one is void.
    start: u64,
    next_conn: u64,
    wakes: BTreeMap<Owner, Instant>,
    busy: Duration,
}

enum Event {
    Input(Owner, Input),
    Run(Owner, Job),
    Wake(Owner),
}

/// Who opened a connection.
type Opener = (usize, Owner, LinkId);

/// All of them.
pub(super) struct Machines {
    all: Vec<Machine>,
    events: BTreeMap<(Instant, u64), (usize, u64, Event)>,
    next_event: u64,
    now: Instant,
    /// Where each link leads, and who opened each connection that is one.
    links: HashMap<Opener, (usize, ConnId)>,
    openers: HashMap<(usize, ConnId), Opener>,
    replies: HashMap<(usize, ConnId), Bytes>,
    /// The first reason why a node had to end itself.
    pub(super) fatal: Option<String>,
}

impl Machines {
    pub(super) fn new() -> Self {
        Self {
            all: Vec::new(),
            events: BTreeMap::new(),
            next_event: 0,
            now: Instant::from_nanos(1),
            links: HashMap::new(),
            openers: HashMap::new(),
            replies: HashMap::new(),
            fatal: None,
        }
    }

    /// Adds a node on an empty disk and starts it: the first ones form the cluster, the others join it.
    pub(super) fn add(&mut self) -> Result<usize, String> {
        let index = self.all.len();
        self.all.push(Machine {
            life: Life::Down,
            disk: MemDisk::new(),
            settings: settings(index),
            start: 0,
            next_conn: 0,
            wakes: BTreeMap::new(),
            busy: Duration::ZERO,
        });
        self.start(index)?;
        Ok(index)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The time that has passed, for those within.
    pub(super) const fn time(&self) -> Instant {
        self.now
    }

    /// What it has cost to be this node.
    pub(super) fn busy(&self, node: usize) -> Duration {
        self.all[node].busy
    }

    pub(super) fn node(&self, node: usize) -> Option<&Booted> {
        match &self.all[node].life {
            Life::Up(booted) => Some(booted),
            Life::Down | Life::Founding(_) => None,
        }
    }

    /// The nodes that run.
    pub(super) fn living(&self) -> impl Iterator<Item = (usize, &Booted)> {
        (0..self.all.len()).filter_map(|index| self.node(index).map(|node| (index, node)))
    }

    pub(super) fn is_down(&self, node: usize) -> bool {
        matches!(self.all[node].life, Life::Down)
    }

    fn clock(&self) -> Now {
        let millis = i64::try_from(self.now.as_nanos() / 1_000_000).unwrap_or(0);
        Now { mono: self.now, wall: Timestamp(1_760_000_000_000 + millis) }
    }

    pub(super) fn start(&mut self, node: usize) -> Result<(), String> {
        let now = self.clock();
        let machine = &mut self.all[node];
        machine.start += 1;
        machine.wakes.clear();
        let before = cost::spent();
        let mut fx = Effects::default();
        match broker::open(machine.boot(node)?, now).map_err(|error| error.to_string())? {
            Opened::Founding(mut founding) => {
                founding.start(now, &mut fx);
                machine.life = Life::Founding(founding);
            }
            Opened::Node(mut booted) => {
                booted.metadata.start(now, &mut fx);
                machine.life = Life::Up(booted);
            }
        }
        machine.busy += cost::spent() - before;
        self.carry_out(node, Owner::Metadata, fx);
        Ok(())
    }

    /// The process is killed: its machine stays and says so to those at the other ends.
    pub(super) fn kill(&mut self, node: usize) {
        let machine = &mut self.all[node];
        machine.life = Life::Down;
        machine.start += 1;
        // What a process has written is its system's.
        machine.disk = machine.disk.crash_clone(&mut base::Rng::new(self.next_event), 100);
        let mut broken: Vec<(Opener, (usize, ConnId))> =
            self.links.iter().map(|(opener, end)| (*opener, *end)).collect();
        broken.retain(|(opener, (to, _))| opener.0 == node || *to == node);
        broken.sort_unstable();
        for (opener, end) in broken {
            self.forget(opener, end);
            let (from, owner, link) = opener;
            if from == node {
                self.after(HOP, end.0, RECEIVER, Input::Closed { conn: end.1 });
            } else {
                self.after(HOP, from, owner, Input::LinkDown { link, why: Down::Lost });
            }
        }
    }

    fn forget(&mut self, opener: Opener, end: (usize, ConnId)) {
        self.links.remove(&opener);
        self.openers.remove(&end);
    }

    fn after(&mut self, delay: Span, node: usize, owner: Owner, input: Input) {
        self.push(delay, node, Event::Input(owner, input));
    }

    fn push(&mut self, delay: Span, node: usize, event: Event) {
        self.next_event += 1;
        let start = self.all[node].start;
        self.events.insert((self.now + delay, self.next_event), (node, start, event));
    }

    /// Lets time pass until something is true, looking every `look`; false if it is not within `patience`.
    pub(super) fn wait(
        &mut self,
        look: Span,
        patience: Span,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        let end = self.now + patience;
        while self.now < end && self.fatal.is_none() {
            if is_so(self) {
                return true;
            }
            let until = self.now + look;
            while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= until) {
                let ((at, _), (node, start, event)) = entry.remove_entry();
                self.now = self.now.max(at);
                if self.all[node].start == start {
                    self.happen(node, event);
                }
            }
            self.now = until;
        }
        false
    }

    fn happen(&mut self, node: usize, event: Event) {
        match event {
            Event::Input(owner, input) => self.handle(node, owner, input),
            Event::Wake(owner) => {
                if self.all[node].wakes.get(&owner).is_some_and(|due| *due <= self.now) {
                    self.all[node].wakes.remove(&owner);
                    self.handle(node, owner, Input::Tick);
                }
            }
            Event::Run(owner, job) => {
                let before = cost::spent();
                let machine = &mut self.all[node];
                let Life::Up(booted) = &machine.life else { return };
                let done = job.run(&booted.shared);
                machine.busy += cost::spent() - before;
                self.after(HOP, node, owner, Input::JobDone(done));
            }
        }
    }

    fn handle(&mut self, node: usize, owner: Owner, input: Input) {
        let now = self.clock();
        let before = cost::spent();
        let mut fx = Effects::default();
        let machine = &mut self.all[node];
        // Before there is a node, everything is for the one machine that there is.
        let mut owner = owner;
        let mut is_founded = false;
        match &mut machine.life {
            Life::Down => return,
            Life::Founding(founding) => {
                owner = Owner::Metadata;
                founding.handle(now, input, &mut fx);
                is_founded = founding.is_done();
            }
            Life::Up(booted) => match owner {
                Owner::Reactor(_) => booted.reactors[0].handle(now, input, &mut fx),
                Owner::Metadata => booted.metadata.handle(now, input, &mut fx),
                Owner::Groups => booted.groups.handle(now, input, &mut fx),
                Owner::Replication => booted.replication.handle(now, input, &mut fx),
            },
        }
        machine.busy += cost::spent() - before;
        self.carry_out(node, owner, fx);
        if is_founded {
            self.kill(node);
            let started = self.start(node);
            self.fatal = self.fatal.take().or(started.err());
        }
    }

    fn carry_out(&mut self, node: usize, owner: Owner, fx: Effects) {
        if let Some(reason) = fx.fatal {
            self.fatal.get_or_insert(format!("node {} ended itself: {reason}", node + 1));
        }
        for job in fx.jobs {
            self.push(HOP, node, Event::Run(owner, job));
        }
        for (to, mail) in fx.mail {
            self.after(Span::from_micros(1), node, to, Input::Mail(mail));
        }
        for (conn, reply) in fx.replies {
            self.reply_arrives(node, conn, &reply);
        }
        for conn in fx.close {
            if let Some(opener) = self.openers.get(&(node, conn)).copied() {
                self.forget(opener, (node, conn));
                let (from, owner, link) = opener;
                self.after(HOP, from, owner, Input::LinkDown { link, why: Down::Lost });
            }
        }
        for Dial { link, host, .. } in fx.dials {
            self.dial((node, owner, link), &host);
        }
        for (link, frame) in fx.sends {
            if let Some((to, conn)) = self.links.get(&(node, owner, link)).copied() {
                let frame = frame.slice(wire::frame::SIZE_BYTES..);
                self.after(HOP, to, RECEIVER, Input::Frame { conn, frame });
            }
        }
        for link in fx.hang_ups {
            if let Some(end) = self.links.get(&(node, owner, link)).copied() {
                self.forget((node, owner, link), end);
                self.after(HOP, end.0, RECEIVER, Input::Closed { conn: end.1 });
            }
        }
        self.note_wake(node, owner, fx.wake_at);
    }

    /// One pending wake per owner is enough; an earlier one replaces it.
    fn note_wake(&mut self, node: usize, owner: Owner, wake_at: Option<Instant>) {
        let Some(due) = wake_at.map(|at| at.max(self.now + Span::from_micros(1))) else { return };
        if self.all[node].wakes.get(&owner).is_none_or(|pending| due < *pending) {
            self.all[node].wakes.insert(owner, due);
            self.push(due.since(self.now), node, Event::Wake(owner));
        }
    }

    fn dial(&mut self, opener: Opener, host: &str) {
        let (from, owner, link) = opener;
        let to = index_of(host).filter(|to| *to < self.all.len() && !self.is_down(*to));
        let Some(to) = to else {
            return self.after(HOP * 2, from, owner, Input::LinkDown { link, why: Down::Refused });
        };
        let conn = self.connect(to, PEERS);
        self.links.insert(opener, (to, conn));
        self.openers.insert((to, conn), opener);
        self.after(HOP * 2, from, owner, Input::Linked { link });
    }

    fn connect(&mut self, to: usize, listener: Listening) -> ConnId {
        self.all[to].next_conn += 1;
        let conn = ConnId(self.all[to].next_conn);
        let input = Input::Connected { conn, peer: "10.0.0.7".into(), listener: listener.name.into() };
        self.after(HOP, to, RECEIVER, input);
        conn
    }

    fn reply_arrives(&mut self, node: usize, conn: ConnId, reply: &Reply) {
        let mut bytes = BytesMut::new();
        for fragment in &reply.fragments {
            match fragment {
                Fragment::Bytes(part) => bytes.extend_from_slice(part),
                Fragment::File { file, position, length } => {
                    let mut part = vec![0; *length as usize];
                    if file.read_at(&mut part, *position) != Ok(part.len()) {
                        self.fatal.get_or_insert(format!("node {}: a file is too short", node + 1));
                    }
                    bytes.extend_from_slice(&part);
                }
            }
        }
        let frame = bytes.freeze().slice(wire::frame::SIZE_BYTES..);
        match self.openers.get(&(node, conn)).copied() {
            Some((from, owner, link)) => self.after(HOP, from, owner, Input::LinkFrame { link, frame }),
            None => {
                self.replies.insert((node, conn), frame);
            }
        }
    }

    /// Sends a node a request as a client does, over a connection of its own.
    pub(super) fn send(&mut self, to: usize, request: Bytes) -> ConnId {
        let conn = self.connect(to, CLIENTS);
        let frame = request.slice(wire::frame::SIZE_BYTES..);
        self.after(HOP * 2, to, RECEIVER, Input::Frame { conn, frame });
        conn
    }

    /// The answer that has come, if it has.
    pub(super) fn answer(&mut self, to: usize, conn: ConnId) -> Option<Bytes> {
        let frame = self.replies.remove(&(to, conn))?;
        self.after(HOP, to, RECEIVER, Input::Closed { conn });
        Some(frame)
    }
}

/// Nodes have one reactor.
const RECEIVER: Owner = Owner::Reactor(0);

impl Machine {
    fn boot(&self, index: usize) -> Result<Boot, String> {
        let none = Overrides::new();
        let layers = Layers { broker: &none, cluster: &none, fixed: &self.settings };
        let endpoint =
            |at: Listening| Endpoint { listener: at.name.into(), host: host(index), port: at.port };
        Ok(Boot {
            config: NodeConfig::resolve(&layers).map_err(|error| error.0)?,
            fixed: self.settings.clone(),
            disk: Arc::new(self.disk.clone()),
            directory: "data".into(),
            boot_id: format!("boot-{}", self.start),
            endpoints: vec![endpoint(CLIENTS), endpoint(PEERS)],
            reactors: 1,
            seed: 1_000 * index as u64 + self.start,
        })
    }
}

/// The node's file: as little as it may be.
fn settings(index: usize) -> Overrides {
    let listener = |at: Listening| format!("{}://{}:{}", at.name, host(index), at.port);
    let voter = |index: usize| format!("{}@{}:{}", index + 1, host(index), PEERS.port);
    let set = |key: &str, value: String| (key.to_owned(), value);
    let listeners = format!("{},{}", listener(CLIENTS), listener(PEERS));
    let mut settings = Overrides::from([
        set("log.dirs", "data".into()),
        set("node.id", (index + 1).to_string()),
        set("listeners", listeners),
        set("controller.listener.names", PEERS.name.into()),
    ]);
    settings.extend(if index < VOTERS {
        let voters: Vec<_> = (0..VOTERS).map(voter).collect();
        vec![set("controller.quorum.voters", voters.join(","))]
    } else {
        let server = format!("{}:{}", host(0), PEERS.port);
        vec![set("process.roles", "broker".into()), set("controller.quorum.bootstrap.servers", server)]
    });
    settings
}
