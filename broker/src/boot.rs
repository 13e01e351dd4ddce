//! Opening a data directory and making the owners of a node.

use crate::effects::Owner;
use crate::flusher::Flusher;
use crate::founding::Founding;
use crate::groups::Groups;
use crate::metadata::{Metadata, RaftStore, Start, StoreError};
use crate::peer::{Address, Identity};
use crate::reactor::Reactor;
use crate::replication::Replication;
use crate::shared::Shared;
use crate::view::{Node, View};
use base::{Now, Rng, Uuid};
use cluster::Endpoint;
use cluster::config::{NodeConfig, Overrides};
use seglog::dir::{LogDir, OpenDirError};
use seglog::disk::{Disk, DiskError};
use seglog::text::DirIdentity;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What a node starts with.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Its settings.
    pub config: NodeConfig,
    /// The settings of its file, environment and command line, by key.
    pub fixed: Overrides,
    /// Its data directory.
    pub disk: Arc<dyn Disk>,
    /// That directory's path, for people.
    pub directory: String,
    /// Names this boot of the machine.
    pub boot_id: String,
    /// What clients are told.
    pub endpoints: Vec<Endpoint>,
    /// How many reactors.
    pub reactors: u16,
    /// Randomness for everything that needs some.
    pub seed: u64,
}

/// The owners of a node, to be driven.
pub struct Booted {
    /// What they share.
    pub shared: Arc<Shared>,
    /// The owners of connections.
    pub reactors: Vec<Reactor>,
    /// The owner of the metadata; to be started first.
    pub metadata: Metadata,
    /// The owner of the group coordinators.
    pub groups: Groups,
    /// What it follows of others.
    pub replication: Replication,
    /// Always the latest view.
    pub latest_view: Arc<Mutex<Arc<View>>>,
}

/// Why a data directory cannot be used.
#[derive(Debug)]
pub enum BootError {
    /// The directory cannot be opened.
    Directory(OpenDirError),
    /// It belongs to another node.
    OtherNode {
        /// Whose it is.
        found: i32,
        /// Who wants it.
        own: i32,
    },
    /// Its identity makes no sense.
    Identity(String),
    /// The metadata cannot be read.
    Metadata(StoreError),
    /// The metadata contradicts itself.
    Quorum(quorum::QuorumError),
    /// The disk failed.
    Disk(DiskError),
    /// It has agreed to form a cluster with others, and is to begin one of its own now.
    Promised {
        /// The cluster.
        cluster_id: Uuid,
    },
    /// It belongs to a cluster that it is not a member of: that of another program, most likely.
    Foreign {
        /// The cluster.
        cluster_id: String,
    },
    /// The settings contradict each other.
    Settings(&'static str),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) => write!(f, "the data directory cannot be opened: {error}"),
            Self::OtherNode { found, own } => write!(
                f,
                "the data directory belongs to node {found} and this is node {own}: set node.id={found}, or use another directory"
            ),
            Self::Identity(text) => write!(f, "meta.properties in the data directory: {text}"),
            Self::Metadata(error) => write!(f, "the metadata cannot be read: {error}"),
            Self::Quorum(error) => write!(f, "the metadata log contradicts itself: {error}"),
            Self::Disk(error) => write!(f, "the data directory failed: {error}"),
            Self::Promised { cluster_id } => write!(
                f,
                "the data directory was about to form cluster {cluster_id} with other nodes: name them in controller.quorum.voters as before"
            ),
            Self::Foreign { cluster_id } => write!(
                f,
                "the data directory belongs to cluster {cluster_id} and cannot become part of another: start it alone (without controller.quorum.voters and controller.quorum.bootstrap.servers) and let the others join it, or use an empty directory"
            ),
            Self::Settings(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for BootError {}

/// What a data directory is.
pub enum Opened {
    /// It belongs to no cluster yet, and is not to begin one of its own. To be driven until
    /// [`Founding::is_done`], dropped, and opened again.
    Founding(Box<Founding>),
    /// A member's.
    Node(Box<Booted>),
}

impl Boot {
    /// Where other nodes reach this one.
    pub(crate) fn peer_address(&self) -> Result<Address, BootError> {
        let listener = self.config.peer_listener().map(|listener| &listener.name);
        let endpoint = self.endpoints.iter().find(|endpoint| Some(&endpoint.listener) == listener);
        let endpoint = endpoint.or(self.endpoints.first());
        let missing = BootError::Settings("listeners: a node needs a listener for other nodes");
        endpoint.map(|at| Address { host: at.host.clone(), port: at.port }).ok_or(missing)
    }
}

/// Opens the data directory. Waits for the device.
///
/// # Errors
/// Any [`BootError`]; nothing was overwritten.
pub fn open(boot: Boot, now: Now) -> Result<Opened, BootError> {
    let dir = LogDir::open(boot.disk.clone(), &boot.boot_id).map_err(BootError::Directory)?;
    match Founding::open(&boot, &dir, now)? {
        Some(founding) => Ok(Opened::Founding(Box::new(founding))),
        None => start(boot, dir, now).map(|booted| Opened::Node(Box::new(booted))),
    }
}

/// Opens the data directory of a member, or of a node that begins a cluster of its own, and makes the owners. Waits for
/// the device.
///
/// # Errors
/// Any [`BootError`]; nothing was overwritten.
pub fn boot(boot: Boot, now: Now) -> Result<Booted, BootError> {
    let dir = LogDir::open(boot.disk.clone(), &boot.boot_id).map_err(BootError::Directory)?;
    start(boot, dir, now)
}

fn start(boot: Boot, dir: Arc<LogDir>, now: Now) -> Result<Booted, BootError> {
    let mut rng = Rng::new(boot.seed);
    let (cluster_id, directory_id) = identify(&dir, &boot.config, &mut rng)?;
    let stored = RaftStore::open(&dir, (cluster_id, directory_id), boot.seed, now);
    let stored = stored.map_err(BootError::Metadata)?;
    let peer_address = boot.peer_address()?;
    let node = Arc::new(Node {
        config: boot.config,
        fixed: boot.fixed,
        cluster_id: cluster_id.to_string(),
        directory_id,
        directory: boot.directory,
    });
    let identity = Identity {
        cluster_id,
        node: node.config.node_id,
        directory: directory_id,
        address: peer_address,
        is_controller: node.config.roles.controller,
    };
    let shared = Arc::new(Shared::new(boot.disk, Flusher::new(dir)));
    shared.throttles.measure(&node.config);
    let image = stored.image.clone();
    let readers = (0..boot.reactors).map(Owner::Reactor).chain([Owner::Groups, Owner::Replication]).collect();
    let start = Start {
        node,
        shared: shared.clone(),
        stored,
        image,
        readers,
        endpoints: boot.endpoints,
        identity: identity.clone(),
        rng: rng.fork(1),
    };
    let metadata = Metadata::new(start, now).map_err(BootError::Quorum)?;
    let view = metadata.view().clone();
    let reactors = (0..boot.reactors).map(|id| Reactor::new(id, view.clone(), shared.clone())).collect();
    let groups = Groups::new(view.clone(), shared.clone(), rng.fork(2));
    let replication = Replication::new(view, shared.clone(), identity, rng.fork(3));
    let latest_view = metadata.latest_view();
    Ok(Booted { shared, reactors, metadata, groups, replication, latest_view })
}

/// The directory's identity: its own, or a new one for an empty directory.
fn identify(dir: &LogDir, config: &NodeConfig, rng: &mut Rng) -> Result<(Uuid, Uuid), BootError> {
    let own = config.node_id.0;
    if let Some(identity) = dir.identity() {
        if identity.node_id != own {
            return Err(BootError::OtherNode { found: identity.node_id, own });
        }
        let cluster_id = identity.cluster_id.parse();
        let cluster_id = cluster_id
            .map_err(|_| BootError::Identity(format!("cluster.id {} is no id", identity.cluster_id)))?;
        return Ok((cluster_id, identity.directory_id));
    }
    let (cluster_id, directory_id) = (rng.uuid(), rng.uuid());
    let identity = DirIdentity { cluster_id: cluster_id.to_string(), node_id: own, directory_id };
    dir.write_identity(&identity).map_err(BootError::Disk)?;
    Ok((cluster_id, directory_id))
}

/// Flushes everything and says so on disk, so that the next start has nothing to check. Waits for the device.
pub fn close(shared: &Shared, latest_view: &Mutex<Arc<View>>) {
    let view = latest_view.lock().unwrap_or_else(PoisonError::into_inner).clone();
    shared.flusher.close(&view);
}
