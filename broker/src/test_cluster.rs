//! A cluster for tests: nodes over disks in memory, linked, with a clock that goes on.
//!
//! Everything takes its fixed time, in order. Faults are few and said by the test: nodes are killed and started.

use crate::{
    Boot, Booted, ConnId, Effects, Founding, Fragment, Input, Job, LinkId, Opened, Owner, Reply, open,
};
use crate::{Dial, Down};
use base::{Instant, Now, Span, Timestamp};
use bytes::{Bytes, BytesMut};
use cluster::Endpoint;
use cluster::config::{Layers, NodeConfig, Overrides};
use seglog::disk::MemDisk;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::{Message as _, Reader, Request};

/// How long bytes take from node to node, and jobs.
const HOP: Span = Span::from_micros(100);
const PEER: &str = "CONTROLLER";
const CLIENTS: &str = "PLAINTEXT";

enum Life {
    Down,
    Founding(Box<Founding>),
    Up(Box<Booted>),
}

struct Member {
    life: Life,
    disk: MemDisk,
    settings: Overrides,
    /// Its links are there, and nothing happens any more.
    is_stopped: bool,
    /// Counts starts: what belongs to an earlier one is void.
    start: u64,
    next_conn: u64,
}

enum Event {
    Input(Owner, Input),
    Run(Owner, Job),
}

/// Both ends of a link: who opened it, and the connection at the other node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Opener(usize, Owner, LinkId);

pub(crate) struct TestCluster {
    members: Vec<Member>,
    events: BTreeMap<(Instant, u64), (usize, u64, Event)>,
    next_event: u64,
    now: Instant,
    links: BTreeMap<Opener, (usize, ConnId)>,
    replies: BTreeMap<(usize, ConnId), Vec<Bytes>>,
    /// When each owner is to be woken, at the earliest.
    wakes: BTreeSet<(usize, Owner, Instant)>,
    pub(crate) log: Vec<String>,
}

impl TestCluster {
    /// Nodes 1 to `count` that are to form a cluster; `more` are settings of all.
    pub(crate) fn new(count: usize, more: &[(&str, &str)]) -> Self {
        let voters: Vec<_> = (1..=count).map(|id| format!("{id}@node-{id}:9093")).collect();
        let members =
            (1..=count).map(|id| Member::new(id, ("controller.quorum.voters", &voters.join(",")), more));
        let mut cluster = Self {
            members: members.collect(),
            events: BTreeMap::new(),
            next_event: 0,
            now: Instant::from_nanos(1),
            links: BTreeMap::new(),
            replies: BTreeMap::new(),
            wakes: BTreeSet::new(),
            log: Vec::new(),
        };
        (0..count).for_each(|at| cluster.start(at + 1));
        cluster
    }

    /// Adds a node that is to join the cluster through node 1.
    pub(crate) fn add(&mut self, more: &[(&str, &str)]) -> usize {
        self.add_by(1, more)
    }

    /// Adds a node that is to join the cluster through that one.
    pub(crate) fn add_by(&mut self, through: usize, more: &[(&str, &str)]) -> usize {
        let id = self.members.len() + 1;
        let server = format!("node-{through}:9093");
        self.members.push(Member::new(id, ("controller.quorum.bootstrap.servers", &server), more));
        self.start(id);
        id
    }

    /// The time that has passed.
    pub(crate) const fn time(&self) -> Instant {
        self.now
    }

    fn clock(&self) -> Now {
        Now { mono: self.now, wall: Timestamp(1_000_000_000).plus(self.now.since(Instant::ZERO)) }
    }

    pub(crate) fn start(&mut self, id: usize) {
        let now = self.clock();
        let member = &mut self.members[id - 1];
        member.start += 1;
        let mut fx = Effects::default();
        match open(member.boot(id), now).unwrap_or_else(|error| panic!("node {id}: {error}")) {
            Opened::Founding(mut founding) => {
                founding.start(now, &mut fx);
                member.life = Life::Founding(founding);
            }
            Opened::Node(mut booted) => {
                booted.metadata.start(now, &mut fx);
                member.life = Life::Up(booted);
            }
        }
        self.carry_out(id - 1, Owner::Metadata, fx);
    }

    /// The process ends with all that it had in memory; `survive` percent of what was not flushed is kept.
    pub(crate) fn kill(&mut self, id: usize, survive: u8) {
        let at = id - 1;
        let member = &mut self.members[at];
        member.life = Life::Down;
        member.start += 1;
        member.disk = member.disk.crash_clone(&mut base::Rng::new(self.next_event), survive);
        let broken: Vec<_> = self
            .links
            .iter()
            .filter(|(opener, (to, _))| opener.0 == at || *to == at)
            .map(|(opener, end)| (*opener, *end))
            .collect();
        for (opener, (to, conn)) in broken {
            self.links.remove(&opener);
            let Opener(from, owner, link) = opener;
            if from == at {
                self.after(HOP, to, receiver(conn), Input::Closed { conn });
            } else {
                self.after(HOP, from, owner, Input::LinkDown { link, why: Down::Lost });
            }
        }
    }

    /// A node that is down gets an empty disk.
    pub(crate) fn lose_disk(&mut self, id: usize) {
        self.members[id - 1].disk = MemDisk::new();
    }

    /// The disk of a node.
    pub(crate) fn disk(&self, id: usize) -> &MemDisk {
        &self.members[id - 1].disk
    }

    /// As SIGSTOP does: nobody is told.
    pub(crate) fn stop(&mut self, id: usize) {
        self.members[id - 1].is_stopped = true;
    }

    /// As when a machine that all nodes are on is suspended: nobody does anything, and what was under way comes afterwards.
    pub(crate) fn suspend(&mut self, millis: u64) {
        self.now += Span::from_millis(millis);
    }

    fn after(&mut self, delay: Span, at: usize, owner: Owner, input: Input) {
        self.push(delay, at, Event::Input(owner, input));
    }

    fn push(&mut self, delay: Span, at: usize, event: Event) {
        self.next_event += 1;
        let start = self.members[at].start;
        self.events.insert((self.now + delay, self.next_event), (at, start, event));
    }

    /// Lets so many milliseconds pass.
    pub(crate) fn run(&mut self, millis: u64) {
        let until = self.now + Span::from_millis(millis);
        self.run_until(until, |_| false);
    }

    /// Lets time pass until something is true, a minute at most.
    pub(crate) fn wait(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = self.now + Span::from_secs(60);
        assert!(self.run_until(until, is_so), "{what}: {:#?}", self.log);
    }

    fn run_until(&mut self, until: Instant, is_so: impl Fn(&Self) -> bool) -> bool {
        loop {
            if is_so(self) {
                return true;
            }
            let wake = self.wakes.iter().map(|(_, _, at)| *at).min();
            let event = self.events.keys().next().map(|(at, _)| *at);
            let Some(next) = wake.into_iter().chain(event).min().filter(|next| *next <= until) else {
                self.now = until;
                return false;
            };
            self.now = self.now.max(next);
            if event == Some(next) {
                self.step();
            } else if let Some((at, owner, due)) = self.wakes.iter().find(|(_, _, due)| *due == next).copied()
            {
                self.wakes.remove(&(at, owner, due));
                self.handle(at, owner, Input::Tick);
            }
        }
    }

    fn step(&mut self) {
        let Some((_, (at, start, event))) = self.events.pop_first() else { return };
        if self.members[at].start != start {
            return;
        }
        match (event, &self.members[at].life) {
            (Event::Input(owner, input), _) => self.handle(at, owner, input),
            (Event::Run(owner, job), Life::Up(booted)) => {
                let done = job.run(&booted.shared);
                self.after(HOP, at, owner, Input::JobDone(done));
            }
            (Event::Run(..), Life::Founding(_) | Life::Down) => {}
        }
    }

    fn handle(&mut self, at: usize, owner: Owner, input: Input) {
        if self.members[at].is_stopped {
            return;
        }
        let now = self.clock();
        let mut fx = Effects::default();
        // Before there is a node, everything is for the one machine that there is.
        let is_founding = matches!(self.members[at].life, Life::Founding(_));
        let owner = if is_founding { Owner::Metadata } else { owner };
        let mut is_founded = false;
        match &mut self.members[at].life {
            Life::Down => return,
            Life::Founding(founding) => {
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
        self.carry_out(at, owner, fx);
        if is_founded {
            self.kill(at + 1, 100);
            self.start(at + 1);
        }
    }

    fn carry_out(&mut self, at: usize, owner: Owner, fx: Effects) {
        assert_eq!(fx.fatal, None, "node {}: {:#?}", at + 1, self.log);
        for line in fx.log {
            self.log.push(format!("{} node {}: {}", self.now.as_nanos() / 1_000_000, at + 1, line.text));
        }
        for job in fx.jobs {
            self.push(HOP, at, Event::Run(owner, job));
        }
        for (to, mail) in fx.mail {
            self.after(Span::from_micros(1), at, to, Input::Mail(mail));
        }
        for (conn, reply) in fx.replies {
            self.reply_arrives(at, conn, &reply);
        }
        for conn in fx.close {
            self.hang_up_on(at, conn);
        }
        for Dial { link, host, .. } in fx.dials {
            self.dial(Opener(at, owner, link), &host);
        }
        for (link, frame) in fx.sends {
            if let Some((to, conn)) = self.links.get(&Opener(at, owner, link)).copied() {
                let frame = frame.slice(wire::frame::SIZE_BYTES..);
                self.after(HOP, to, receiver(conn), Input::Frame { conn, frame });
            }
        }
        for link in fx.hang_ups {
            if let Some((to, conn)) = self.links.remove(&Opener(at, owner, link)) {
                self.after(HOP, to, receiver(conn), Input::Closed { conn });
            }
        }
        if let Some(due) = fx.wake_at {
            self.wakes.insert((at, owner, due.max(self.now + Span::from_micros(1))));
        }
    }

    fn dial(&mut self, opener: Opener, host: &str) {
        let Opener(from, owner, link) = opener;
        let to = (0..self.members.len()).find(|at| format!("node-{}", at + 1) == host);
        let up = to.filter(|to| !matches!(self.members[*to].life, Life::Down));
        let Some(to) = up else {
            return self.after(HOP * 2, from, owner, Input::LinkDown { link, why: Down::Refused });
        };
        let conn = self.connect_by(to, PEER);
        self.links.insert(opener, (to, conn));
        self.after(HOP * 2, from, owner, Input::Linked { link });
    }

    fn connect_by(&mut self, to: usize, listener: &str) -> ConnId {
        self.members[to].next_conn += 1;
        let conn = ConnId(self.members[to].next_conn);
        let input = Input::Connected { conn, peer: "10.0.0.7".into(), listener: listener.into() };
        self.after(HOP, to, receiver(conn), input);
        conn
    }

    fn opener_of(&self, at: usize, conn: ConnId) -> Option<Opener> {
        self.links.iter().find(|(_, end)| **end == (at, conn)).map(|(opener, _)| *opener)
    }

    fn reply_arrives(&mut self, at: usize, conn: ConnId, reply: &Reply) {
        let mut bytes = BytesMut::new();
        for fragment in &reply.fragments {
            match fragment {
                Fragment::Bytes(part) => bytes.extend_from_slice(part),
                Fragment::File { file, position, length } => {
                    let mut part = vec![0; *length as usize];
                    assert_eq!(file.read_at(&mut part, *position), Ok(part.len()));
                    bytes.extend_from_slice(&part);
                }
            }
        }
        let frame = bytes.freeze().slice(wire::frame::SIZE_BYTES..);
        match self.opener_of(at, conn) {
            Some(Opener(from, owner, link)) => self.after(HOP, from, owner, Input::LinkFrame { link, frame }),
            None => self.replies.entry((at, conn)).or_default().push(frame),
        }
    }

    fn hang_up_on(&mut self, at: usize, conn: ConnId) {
        if let Some(opener) = self.opener_of(at, conn) {
            self.links.remove(&opener);
            let Opener(from, owner, link) = opener;
            self.after(HOP, from, owner, Input::LinkDown { link, why: Down::Lost });
        }
    }

    // --- looking and asking ---

    /// The owners of a node that runs.
    pub(crate) fn node(&self, id: usize) -> Option<&Booted> {
        match &self.members[id - 1].life {
            Life::Up(booted) => Some(booted),
            Life::Down | Life::Founding(_) => None,
        }
    }

    pub(crate) fn is_serving(&self, id: usize) -> bool {
        self.node(id).is_some_and(|node| node.metadata.is_serving())
    }

    /// Tells an owner something.
    pub(crate) fn tell(&mut self, id: usize, owner: Owner, input: Input) {
        self.after(HOP, id - 1, owner, input);
    }

    /// The node that is the controller.
    pub(crate) fn controller(&self) -> Option<usize> {
        (1..=self.members.len()).find(|id| self.node(*id).is_some_and(|node| node.metadata.is_controller()))
    }

    /// Waits until all nodes that run serve.
    pub(crate) fn all_serve(&mut self) {
        self.wait("all serve", |cluster| {
            (1..=cluster.members.len())
                .all(|id| matches!(cluster.members[id - 1].life, Life::Down) || cluster.is_serving(id))
        });
    }

    /// Asks a node as a client does, and waits for the answer.
    pub(crate) fn ask<R: Request>(&mut self, id: usize, version: i16, request: &R) -> R::Response {
        let conn = self.send(id, version, request);
        self.answer::<R>(id, version, conn)
    }

    /// Sends a node something as a client does.
    pub(crate) fn send<R: Request>(&mut self, id: usize, version: i16, request: &R) -> ConnId {
        let conn = self.connect_by(id - 1, CLIENTS);
        let encoded = wire::encode_request(1, Some(&"client".into()), version, request).unwrap();
        let frame = encoded.bytes.slice(wire::frame::SIZE_BYTES..);
        self.after(HOP * 2, id - 1, receiver(conn), Input::Frame { conn, frame });
        conn
    }

    /// Waits for the answer to what was sent over a connection.
    pub(crate) fn answer<R: Request>(&mut self, id: usize, version: i16, conn: ConnId) -> R::Response {
        self.wait(R::KEY.name(), |cluster| cluster.replies.contains_key(&(id - 1, conn)));
        let frame = self.replies.remove(&(id - 1, conn)).unwrap().remove(0);
        let mut reader = Reader::new(frame);
        wire::decode_response_head(&mut reader, R::KEY, version).unwrap();
        R::Response::decode(&mut reader, version).unwrap()
    }
}

/// Nodes have one reactor; while founding, the machine takes what is for it.
const fn receiver(_conn: ConnId) -> Owner {
    Owner::Reactor(0)
}

impl Member {
    fn new(id: usize, way: (&str, &str), more: &[(&str, &str)]) -> Self {
        let own = [
            ("log.dirs", "data".to_owned()),
            ("node.id", id.to_string()),
            ("listeners", format!("{CLIENTS}://node-{id}:9092,{PEER}://node-{id}:9093")),
            (way.0, way.1.to_owned()),
        ];
        let own = own.into_iter().chain(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let settings = own.map(|(key, value)| (key.to_owned(), value)).collect();
        Self { life: Life::Down, disk: MemDisk::new(), settings, start: 0, is_stopped: false, next_conn: 0 }
    }

    fn boot(&self, id: usize) -> Boot {
        let none = Overrides::new();
        let layers = Layers { broker: &none, cluster: &none, fixed: &self.settings };
        let endpoint =
            |listener: &str, port| Endpoint { listener: listener.into(), host: format!("node-{id}"), port };
        Boot {
            config: NodeConfig::resolve(&layers).unwrap(),
            fixed: self.settings.clone(),
            disk: Arc::new(self.disk.clone()),
            directory: "data".into(),
            boot_id: format!("boot-{}", self.start),
            endpoints: vec![endpoint(CLIENTS, 9092), endpoint(PEER, 9093)],
            reactors: 1,
            seed: 100 * id as u64 + self.start,
        }
    }
}
