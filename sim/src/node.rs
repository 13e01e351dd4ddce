//! One simulated node: the real owners over a simulated disk, with jobs that take time.

use crate::world::Options;
use crate::world::layout::Layout;
use crate::world::swarm::Swarm;
use base::{Instant, Now, Rng, Span, plant};
use broker::{Boot, Booted, Effects, Founding, Input, Job, JobDone, Opened, Owner};
use cluster::Endpoint;
use cluster::config::{Layers, NodeConfig, Overrides};
use seglog::disk::{DiskErrorKind, MemDisk};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where clients connect.
pub(crate) const CLIENTS: Listening = Listening { name: "PLAINTEXT", port: 9092 };
/// Where the other nodes of a cluster do.
pub(crate) const PEERS: Listening = Listening { name: "PEERS", port: 9093 };

/// Nodes that form the cluster; more than these join it.
pub(crate) const VOTERS: usize = 3;

/// Readers are sent to a replica in their own rack.
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// A listener that every broker has, or every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listening {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
}

/// A node's process.
pub(crate) enum Process {
    /// There is none.
    None,
    /// It looks for its cluster; and what it was started with.
    Founding(Box<Founding>, Box<Boot>),
    /// The owners of the node.
    Node(Box<Booted>),
}

/// A node, running or not, its disk, its clock, and what is about to become of it.
pub(crate) struct SimNode {
    /// Counts from zero; the node's id is one more.
    pub(crate) index: usize,
    pub(crate) disk: MemDisk,
    pub(crate) process: Process,
    /// Counts starts: what belongs to an earlier one is void.
    pub(crate) incarnation: u64,
    /// The last end was none that the directory may tell of.
    pub(crate) crashed: bool,
    /// When each owner will be woken.
    pub(crate) wakes: BTreeMap<Owner, (u64, Instant)>,
    /// How often in a row each owner wanted to be woken at once.
    pub(crate) hurries: BTreeMap<Owner, u32>,
    /// It is down and its start is on the way.
    pub(crate) start_pending: bool,
    /// The last start ended in a crash.
    pub(crate) start_crashed: bool,
    /// Until then its jobs take much longer.
    pub(crate) slow_until: Instant,
    /// By how much its wall clock is wrong.
    pub(crate) wall_ahead: Span,
    /// Until then its process does nothing.
    pub(crate) paused_until: Instant,
    /// The machine is off: nothing on it answers, not even with a refusal.
    pub(crate) is_off: bool,
    /// A disk error was injected: the node may end itself, or refuse to start, until it is over.
    pub(crate) disk_faulted: bool,
    /// There was no room on the disk once.
    pub(crate) is_starved: bool,
    /// A bit of its metadata has flipped: it may refuse to start.
    pub(crate) is_rotten: bool,
    /// It has been a member of its cluster.
    pub(crate) has_served: bool,
    settings: Overrides,
    reactors: u16,
}

/// How a start ended.
pub(crate) enum Started {
    /// The node runs; these effects of its start are to be carried out.
    Running(Box<Effects>),
    /// It crashed while starting.
    Crashed,
    /// It refused to start.
    Refused(String),
}

/// The name of a node's machine.
pub(crate) fn host(index: usize) -> String {
    format!("node-{}", index + 1)
}

/// The node whose machine has this name.
pub(crate) fn index_of(host: &str) -> Option<usize> {
    host.strip_prefix("node-")?.parse::<usize>().ok()?.checked_sub(1)
}

impl SimNode {
    pub(crate) fn new(
        index: usize,
        (options, layout): (&Options, &Layout),
        swarm: &Swarm,
        rng: &Rng,
    ) -> Self {
        Self {
            index,
            disk: MemDisk::new(),
            process: Process::None,
            incarnation: 0,
            crashed: true,
            wakes: BTreeMap::new(),
            hurries: BTreeMap::new(),
            start_pending: true,
            start_crashed: false,
            slow_until: Instant::ZERO,
            wall_ahead: Span::ZERO,
            paused_until: Instant::ZERO,
            is_off: false,
            disk_faulted: false,
            is_starved: false,
            is_rotten: false,
            has_served: false,
            settings: settings(index, layout, swarm, (options, rng)),
            reactors: options.reactors,
        }
    }

    /// Boots on the disk as it is.
    pub(crate) fn start(&mut self, now: Now, rng: &mut Rng) -> Started {
        self.incarnation += 1;
        let none = Overrides::new();
        let layers = Layers { broker: &none, cluster: &none, fixed: &self.settings };
        let config = match NodeConfig::resolve(&layers) {
            Ok(config) => config,
            Err(error) => return Started::Refused(error.0),
        };
        let endpoint = |listening: Listening| Endpoint {
            listener: listening.name.into(),
            host: host(self.index),
            port: listening.port,
        };
        let listeners = config.listeners.iter().map(|listener| listener.name.as_str());
        let endpoints =
            listeners.map(|name| endpoint(if name == PEERS.name { PEERS } else { CLIENTS })).collect();
        let boot = Boot {
            config,
            fixed: self.settings.clone(),
            disk: Arc::new(self.disk.clone()),
            directory: "data".into(),
            boot_id: format!("boot-{}", self.incarnation),
            endpoints,
            reactors: self.reactors,
            seed: rng.next_u64(),
        };
        self.open(boot, now)
    }

    /// Its directory has become a member's: the same process opens it anew.
    pub(crate) fn open_as_member(&mut self, now: Now) -> Started {
        let Process::Founding(_, boot) = std::mem::replace(&mut self.process, Process::None) else {
            return Started::Refused("it was a member before".into());
        };
        self.incarnation += 1;
        self.open(*boot, now)
    }

    fn open(&mut self, boot: Boot, now: Now) -> Started {
        let mut effects = Box::new(Effects::default());
        match broker::open(boot.clone(), now) {
            Ok(Opened::Node(mut booted)) => {
                booted.metadata.start(now, &mut effects);
                self.process = Process::Node(booted);
                Started::Running(effects)
            }
            Ok(Opened::Founding(mut founding)) => {
                founding.start(now, &mut effects);
                self.process = Process::Founding(founding, Box::new(boot));
                Started::Running(effects)
            }
            Err(_) if self.has_crashed() => Started::Crashed,
            Err(error) => Started::Refused(error.to_string()),
        }
    }

    /// True when an operation has hit the point from which on everything fails.
    pub(crate) fn has_crashed(&self) -> bool {
        matches!(seglog::disk::Disk::space(&self.disk), Err(error) if error.kind == DiskErrorKind::Crashed)
    }

    /// Gives an input to an owner of the running node.
    pub(crate) fn handle(&mut self, owner: Owner, now: Now, input: Input) -> Option<Effects> {
        let mut effects = Effects::default();
        let booted = match &mut self.process {
            Process::None => return None,
            Process::Founding(founding, _) => {
                founding.handle(now, input, &mut effects);
                return Some(effects);
            }
            Process::Node(booted) => booted,
        };
        match owner {
            Owner::Reactor(id) => booted.reactors.get_mut(usize::from(id))?.handle(now, input, &mut effects),
            Owner::Metadata => booted.metadata.handle(now, input, &mut effects),
            Owner::Groups => booted.groups.handle(now, input, &mut effects),
            Owner::Replication => booted.replication.handle(now, input, &mut effects),
        }
        Some(effects)
    }

    /// Runs a job of the running node.
    pub(crate) fn run(&self, job: Job) -> Option<JobDone> {
        let shared = self.booted()?.shared.clone();
        Some(job.run(&shared))
    }

    /// Who gets a new connection.
    pub(crate) fn taker(&self, conn: u64) -> Owner {
        if let Process::Founding(..) = self.process {
            return Owner::Metadata;
        }
        Owner::Reactor(u16::try_from(conn % u64::from(self.reactors)).unwrap_or(0))
    }

    /// The power is gone: the process with all it had in memory, and what the disk had not been told to keep.
    pub(crate) fn crash(&mut self, rng: &mut Rng, survive: u8) {
        // Who crashes before its boot is through may not have come to the marker of a clean end.
        self.crashed |= self.is_listening();
        self.process = Process::None;
        self.disk.fail_from(None);
        self.disk = self.disk.crash_clone(rng, survive);
        self.disk.fail_from(None);
    }

    /// Its disk is gone with all that was on it; there is an empty one in its place.
    pub(crate) fn lose_disk(&mut self) {
        self.disk = MemDisk::new();
        (self.crashed, self.disk_faulted, self.is_starved, self.is_rotten) = (true, false, false, false);
    }

    /// True if the running node found its directory closed properly.
    pub(crate) fn claims_to_be_clean(&self) -> bool {
        self.booted().is_some_and(|booted| booted.shared.was_clean())
    }

    /// True while its process accepts connections.
    pub(crate) const fn is_listening(&self) -> bool {
        !matches!(self.process, Process::None)
    }

    /// True once it is to be opened as a member of its cluster.
    pub(crate) const fn has_founded(&self) -> bool {
        matches!(&self.process, Process::Founding(founding, _) if founding.is_done())
    }

    /// Its owners, once it is part of a cluster.
    pub(crate) const fn booted(&self) -> Option<&Booted> {
        match &self.process {
            Process::None | Process::Founding(..) => None,
            Process::Node(booted) => Some(booted),
        }
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.booted().is_some_and(|booted| booted.metadata.is_serving())
    }

    /// True while it decides for all.
    pub(crate) fn is_controller(&self) -> bool {
        self.booted().is_some_and(|booted| booted.shared.counters.is_controller())
    }

    /// True if a fault that was injected may be the reason why the process ends itself, or refuses to start.
    pub(crate) fn has_reason(&self, told: &str) -> bool {
        // Who runs waits for room; who starts says that there is none and is started again.
        let is_full = told.contains("no space left") && self.booted().is_none();
        self.disk_faulted || (self.is_starved && is_full)
    }

    /// Nothing goes wrong on this machine any more.
    pub(crate) fn heal(&mut self) {
        self.disk.set_capacity(None);
        self.disk.fail_from(None);
        self.disk.clear_faults();
        self.wall_ahead = Span::ZERO;
    }
}

/// The node's file. Whatever is drawn for one node is the same for all.
fn settings(index: usize, layout: &Layout, swarm: &Swarm, (options, rng): (&Options, &Rng)) -> Overrides {
    let rng = &mut rng.fork(1);
    let set = |key: &str, value: String| (key.to_owned(), value);
    let mut settings = Overrides::from([
        set("log.dirs", "data".into()),
        set("offsets.topic.num.partitions", rng.between(1, 4).to_string()),
        set("group.initial.rebalance.delay.ms", rng.between(0, 50).to_string()),
        set("group.min.session.timeout.ms", "100".into()),
        set("offsets.retention.minutes", "1".into()),
        set("offsets.retention.check.interval.ms", "5000".into()),
        set("log.segment.bytes", (1 << 20).to_string()),
        // A clock that jumps by an hour must not take everything along.
        set("log.retention.minutes", "30".into()),
        set("log.roll.ms", rng.between(50, swarm.roll_ms_max).to_string()),
        set("log.index.interval.bytes", swarm.index_interval.to_string()),
        set("log.retention.check.interval.ms", rng.between(50, 2_000).to_string()),
        set("log.cleaner.backoff.ms", rng.between(50, 2_000).to_string()),
        set("log.cleaner.min.cleanable.ratio", format!("0.{}", rng.between(1, 9))),
        set("ottla.metadata.snapshot.entries", rng.between(2, 60).to_string()),
    ]);
    if options.nodes > 1 {
        settings.extend(cluster_settings(index, layout, swarm, (options, rng)));
    }
    settings
}

/// What a node of a cluster has to know beyond that.
fn cluster_settings(
    index: usize,
    layout: &Layout,
    swarm: &Swarm,
    (options, rng): (&Options, &mut Rng),
) -> Overrides {
    let set = |key: &str, value: String| (key.to_owned(), value);
    let listener = |at: Listening| format!("{}://{}:{}", at.name, host(index), at.port);
    let voter = |index: usize| format!("{}@{}:{}", index + 1, host(index), PEERS.port);
    let voters: Vec<_> = (0..options.nodes.min(VOTERS)).map(voter).collect();
    let both = format!("{},{}", listener(CLIENTS), listener(PEERS));
    // Short enough for a run to see many sessions end.
    let session = rng.between(400, 6_000);
    let mut settings = Overrides::from([
        set("node.id", (index + 1).to_string()),
        set("listeners", if layout.is_broker(index) { both } else { listener(PEERS) }),
        set("controller.listener.names", PEERS.name.into()),
        set("offsets.topic.replication.factor", layout.replicas(options.replicas).to_string()),
        set("broker.session.timeout.ms", session.to_string()),
        set("broker.heartbeat.interval.ms", (session / rng.between(3, 6)).to_string()),
        set("replica.lag.time.max.ms", rng.between(300, 5_000).to_string()),
    ]);
    if swarm.loses_disks() {
        // Topics of the cluster's own are as safe as the others.
        settings.extend([set("min.insync.replicas", "2".into())]);
    }
    if let Some(rack) = layout.rack_of(index) {
        settings.extend([set("broker.rack", rack), set("replica.selector.class", RACK_AWARE.into())]);
    }
    if !layout.is_broker(index) {
        settings.extend([set("process.roles", "controller".into())]);
    }
    if index < VOTERS {
        settings.extend([set("controller.quorum.voters", voters.join(","))]);
    } else {
        // The others are admitted by whoever answers.
        let servers: Vec<_> = (0..VOTERS).map(|index| format!("{}:{}", host(index), PEERS.port)).collect();
        settings.extend([
            set("process.roles", "broker".into()),
            set("controller.quorum.bootstrap.servers", servers.join(",")),
        ]);
    }
    settings
}

/// Arms a planted bug for this thread, if there is one.
pub(crate) fn arm(bug: Option<plant::Bug>) {
    plant::arm(bug);
}
