//! The node as a machine: its owners in one loop, a disk in memory, time that passes only when a script says so.

use super::play::{Fault, Heard, Patience, Target};
use base::{Instant, Now, Rng, Span, Timestamp};
use broker::{Boot, Booted, ConnId, Effects, Fragment, Input, Owner, Reply};
use bytes::Bytes;
use cluster::Endpoint;
use cluster::config::{Layers, NodeConfig, Overrides};
use seglog::disk::MemDisk;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Wall time when a machine starts.
const EPOCH_MS: i64 = 1_795_000_000_000;
/// More steps than any command takes; a node that needs more goes round in circles.
const STEPS_MAX: usize = 100_000;

/// How much of what was not flushed is there after a crash, in percent.
const ALL: u8 = 100;

/// A node and the connections to it.
pub(super) struct Machine {
    booted: Booted,
    disk: MemDisk,
    settings: Overrides,
    now: Instant,
    todo: VecDeque<(Owner, Input)>,
    wakes: BTreeMap<Owner, Instant>,
    connections: BTreeMap<String, ConnId>,
    next_connection: u64,
    /// What came over each connection; an empty frame for its end.
    inbox: BTreeMap<ConnId, VecDeque<Heard>>,
}

impl Machine {
    /// A fresh node on an empty disk.
    pub(super) fn start(settings: &Overrides) -> Result<Self, String> {
        let (disk, now) = (MemDisk::new(), Instant::from_nanos(1));
        let booted = boot(&disk, settings, now)?;
        let mut machine = Self {
            booted,
            disk,
            settings: settings.clone(),
            now,
            todo: VecDeque::new(),
            wakes: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            inbox: BTreeMap::new(),
        };
        machine.begin()?;
        Ok(machine)
    }

    fn begin(&mut self) -> Result<(), String> {
        let mut effects = Effects::default();
        self.booted.metadata.start(wall(self.now), &mut effects);
        self.carry_out(Owner::Metadata, effects)?;
        self.run()?;
        if self.booted.metadata.is_serving() { Ok(()) } else { Err("the node does not serve".into()) }
    }

    fn connection(&mut self, name: &str) -> ConnId {
        if let Some(conn) = self.connections.get(name) {
            return *conn;
        }
        self.next_connection += 1;
        let conn = ConnId(self.next_connection);
        self.connections.insert(name.to_owned(), conn);
        self.inbox.insert(conn, VecDeque::new());
        self.todo.push_back((
            reactor_of(conn),
            Input::Connected { conn, peer: "127.0.0.1".into(), listener: "PLAINTEXT".into() },
        ));
        conn
    }

    /// Handles everything that needs no time to pass.
    fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            let Some((owner, input)) = self.todo.pop_front() else {
                let Some(owner) = self.due() else { return Ok(()) };
                self.wakes.remove(&owner);
                self.todo.push_back((owner, Input::Tick));
                continue;
            };
            self.handle(owner, input)?;
        }
        Err("the node does not come to rest".into())
    }

    /// An owner whose time has come.
    fn due(&self) -> Option<Owner> {
        self.wakes.iter().find(|(_, at)| **at <= self.now).map(|(owner, _)| *owner)
    }

    fn handle(&mut self, owner: Owner, input: Input) -> Result<(), String> {
        let now = wall(self.now);
        let mut effects = Effects::default();
        match owner {
            Owner::Reactor(id) => {
                let reactor = self.booted.reactors.get_mut(usize::from(id)).ok_or("no such reactor")?;
                reactor.handle(now, input, &mut effects);
            }
            Owner::Metadata => self.booted.metadata.handle(now, input, &mut effects),
            Owner::Groups => self.booted.groups.handle(now, input, &mut effects),
            Owner::Replication => self.booted.replication.handle(now, input, &mut effects),
        }
        self.carry_out(owner, effects)
    }

    fn carry_out(&mut self, owner: Owner, effects: Effects) -> Result<(), String> {
        if let Some(reason) = effects.fatal {
            return Err(format!("the node ended itself: {reason}"));
        }
        for job in effects.jobs {
            let done = job.run(&self.booted.shared);
            self.todo.push_back((owner, Input::JobDone(done)));
        }
        self.todo.extend(effects.mail.into_iter().map(|(to, mail)| (to, Input::Mail(mail))));
        for (conn, reply) in effects.replies {
            let frame = frame(&reply)?;
            self.inbox.entry(conn).or_default().push_back(Heard::Frame(frame));
        }
        for conn in effects.close {
            self.inbox.entry(conn).or_default().push_back(Heard::Closed);
        }
        if let Some(at) = effects.wake_at {
            let earliest = self.wakes.get(&owner).map_or(at, |old| at.min(*old));
            self.wakes.insert(owner, earliest);
        }
        Ok(())
    }
}

impl Target for Machine {
    fn send(&mut self, connection: &str, frame: &[u8]) -> Result<(), String> {
        let conn = self.connection(connection);
        self.todo.push_back((reactor_of(conn), Input::Frame { conn, frame: Bytes::copy_from_slice(frame) }));
        self.run()
    }

    fn hear(&mut self, connection: &str, _: Patience) -> Result<Heard, String> {
        let conn = self.connections.get(connection);
        let inbox = conn.and_then(|conn| self.inbox.get_mut(conn));
        Ok(inbox.and_then(VecDeque::pop_front).unwrap_or(Heard::Nothing))
    }

    fn close(&mut self, connection: &str) {
        if let Some(conn) = self.connections.remove(connection) {
            self.todo.push_back((reactor_of(conn), Input::Closed { conn }));
        }
    }

    fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = self.now + Span::from_millis(u64::try_from(time.as_millis()).unwrap_or(0));
        self.run()?;
        while let Some(at) = self.wakes.values().copied().filter(|at| *at <= end).min() {
            self.now = self.now.max(at);
            self.run()?;
        }
        self.now = end;
        Ok(())
    }

    fn settle(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn fault(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            // Nothing that is there is taken away.
            Fault::DiskFull => self.disk.set_capacity(Some(0)),
            Fault::DiskRoom => self.disk.set_capacity(None),
            Fault::Kill => {
                self.todo.clear();
                self.wakes.clear();
                self.connections.clear();
                // The page cache outlives the process, the lock of the directory does not.
                self.disk = self.disk.crash_clone(&mut Rng::new(1), ALL);
                self.booted = boot(&self.disk, &self.settings, self.now)?;
                self.begin()?;
            }
        }
        Ok(())
    }
}

/// The node on a disk as it is.
fn boot(disk: &MemDisk, settings: &Overrides, now: Instant) -> Result<Booted, String> {
    let mut fixed = settings.clone();
    fixed.insert("log.dirs".into(), "data".into());
    let none = Overrides::new();
    let layers = Layers { broker: &none, cluster: &none, fixed: &fixed };
    let config = NodeConfig::resolve(&layers).map_err(|error| error.0)?;
    let endpoint = Endpoint { listener: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092 };
    let boot = Boot {
        config,
        fixed,
        disk: Arc::new(disk.clone()),
        directory: "data".into(),
        boot_id: "boot".into(),
        endpoints: vec![endpoint],
        reactors: 2,
        seed: 1,
    };
    broker::boot(boot, wall(now)).map_err(|error| error.to_string())
}

fn wall(now: Instant) -> Now {
    let millis = i64::try_from(now.as_nanos() / 1_000_000).unwrap_or(0);
    Now { mono: now, wall: Timestamp(EPOCH_MS + millis) }
}

fn reactor_of(conn: ConnId) -> Owner {
    Owner::Reactor(u16::try_from(conn.0 % 2).unwrap_or(0))
}

/// The bytes of a reply without their size.
fn frame(reply: &Reply) -> Result<Vec<u8>, String> {
    let mut frame = Vec::new();
    for fragment in &reply.fragments {
        match fragment {
            Fragment::Bytes(bytes) => frame.extend_from_slice(bytes),
            Fragment::File { file, position, length } => {
                let mut buffer = vec![0; *length as usize];
                file.read_at(&mut buffer, *position).map_err(|error| error.to_string())?;
                frame.extend_from_slice(&buffer);
            }
        }
    }
    if frame.len() < wire::frame::SIZE_BYTES {
        return Err("a reply without its size".into());
    }
    Ok(frame.split_off(wire::frame::SIZE_BYTES))
}
