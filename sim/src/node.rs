//! One simulated node: the real owners over a simulated disk, with jobs that take time.

use crate::world::Options;
use crate::world::swarm::Swarm;
use base::{Now, Rng, plant};
use broker::{Boot, Booted, Effects, Input, Owner};
use cluster::Endpoint;
use cluster::config::{Layers, NodeConfig, Overrides};
use seglog::disk::{DiskErrorKind, MemDisk};
use std::sync::Arc;

/// A node that runs.
pub(crate) struct Running {
    pub(crate) booted: Booted,
}

/// A node, running or not, and its disk.
pub(crate) struct SimNode {
    pub(crate) disk: MemDisk,
    pub(crate) running: Option<Running>,
    /// Counts starts: what belongs to an earlier one is void.
    pub(crate) incarnation: u64,
    /// The last end was none that the directory may tell of.
    pub(crate) crashed: bool,
    settings: Overrides,
    reactors: u16,
}

/// How a start ended.
pub(crate) enum Started {
    /// The node runs; these effects of its start are to be carried out.
    Running(Effects),
    /// It crashed while starting.
    Crashed,
    /// It refused to start.
    Refused(String),
}

impl SimNode {
    pub(crate) fn new(options: &Options, swarm: &Swarm, rng: &mut Rng) -> Self {
        let set = |key: &str, value: String| (key.to_owned(), value);
        let settings = Overrides::from([
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
        let disk = MemDisk::new();
        Self { disk, running: None, incarnation: 0, crashed: true, settings, reactors: options.reactors }
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
        let endpoint = Endpoint { listener: "PLAINTEXT".into(), host: "node".into(), port: 9092 };
        let boot = Boot {
            config,
            fixed: self.settings.clone(),
            disk: Arc::new(self.disk.clone()),
            directory: "data".into(),
            boot_id: format!("boot-{}", self.incarnation),
            endpoints: vec![endpoint],
            reactors: self.reactors,
            seed: rng.next_u64(),
        };
        match broker::boot(boot, now) {
            Ok(mut booted) => {
                let mut effects = Effects::default();
                booted.metadata.start(now, &mut effects);
                self.running = Some(Running { booted });
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
        let booted = &mut self.running.as_mut()?.booted;
        let mut effects = Effects::default();
        match owner {
            Owner::Reactor(id) => booted.reactors.get_mut(usize::from(id))?.handle(now, input, &mut effects),
            Owner::Metadata => booted.metadata.handle(now, input, &mut effects),
            Owner::Groups => booted.groups.handle(now, input, &mut effects),
            Owner::Replication => booted.replication.handle(now, input, &mut effects),
        }
        Some(effects)
    }

    /// The power is gone: the process with all it had in memory, and what the disk had not been told to keep.
    pub(crate) fn crash(&mut self, rng: &mut Rng, survive: u8) {
        // Who crashes before its boot is through may not have come to the marker of a clean end.
        self.crashed |= self.running.take().is_some();
        self.disk.fail_from(None);
        self.disk = self.disk.crash_clone(rng, survive);
        self.disk.fail_from(None);
    }

    /// True if the running node found its directory closed properly.
    pub(crate) fn claims_to_be_clean(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.booted.shared.was_clean())
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.booted.metadata.is_serving())
    }
}

/// Arms a planted bug for this thread, if there is one.
pub(crate) fn arm(bug: Option<plant::Bug>) {
    plant::arm(bug);
}
