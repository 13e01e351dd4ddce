//! Opening a data directory and making the owners of a node.

use crate::effects::Owner;
use crate::flusher::Flusher;
use crate::groups::Groups;
use crate::metadata::{Metadata, RaftStore, Start, StoreError};
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
#[derive(Debug)]
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
    /// The settings ask for what this version does not do.
    Unsupported(&'static str),
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
            Self::Unsupported(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for BootError {}

/// Opens the data directory and makes the owners. Waits for the device.
///
/// # Errors
/// Any [`BootError`]; nothing was overwritten.
pub fn boot(boot: Boot, now: Now) -> Result<Booted, BootError> {
    check_served(&boot.config)?;
    let dir = LogDir::open(boot.disk.clone(), &boot.boot_id).map_err(BootError::Directory)?;
    let mut rng = Rng::new(boot.seed);
    let (cluster_id, directory_id) = identify(&dir, &boot.config, &mut rng)?;
    let stored = RaftStore::open(&dir, cluster_id, boot.seed, now).map_err(BootError::Metadata)?;
    let node = Arc::new(Node {
        config: boot.config,
        fixed: boot.fixed,
        cluster_id: cluster_id.to_string(),
        directory_id,
        directory: boot.directory,
    });
    let shared = Arc::new(Shared::new(boot.disk, Flusher::new(dir)));
    let image = stored.image.clone();
    let readers = (0..boot.reactors).map(Owner::Reactor).chain([Owner::Groups, Owner::Replication]).collect();
    let start = Start {
        node,
        shared: shared.clone(),
        stored,
        image,
        readers,
        endpoints: boot.endpoints,
        rng: rng.fork(1),
    };
    let metadata = Metadata::new(start, now).map_err(BootError::Quorum)?;
    let view = metadata.view().clone();
    let reactors = (0..boot.reactors).map(|id| Reactor::new(id, view.clone(), shared.clone())).collect();
    let groups = Groups::new(view.clone(), shared.clone(), rng.fork(2));
    let replication = Replication::new(view, shared.clone(), rng.fork(3));
    let latest_view = metadata.latest_view();
    Ok(Booted { shared, reactors, metadata, groups, replication, latest_view })
}

fn check_served(config: &NodeConfig) -> Result<(), BootError> {
    if !config.roles.broker || !config.roles.controller {
        return Err(BootError::Unsupported(
            "process.roles: this version runs single nodes only, which are broker and controller",
        ));
    }
    if config.voters.len() > 1 {
        return Err(BootError::Unsupported(
            "controller.quorum.voters: this version runs single nodes only; name this node alone, or leave it out",
        ));
    }
    Ok(())
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
    let mut random = || {
        let mut bytes = [0; 16];
        rng.fill(&mut bytes);
        Uuid::random(bytes)
    };
    let (cluster_id, directory_id) = (random(), random());
    let identity = DirIdentity { cluster_id: cluster_id.to_string(), node_id: own, directory_id };
    dir.write_identity(&identity).map_err(BootError::Disk)?;
    Ok((cluster_id, directory_id))
}

/// Flushes everything and says so on disk, so that the next start has nothing to check. Waits for the device.
pub fn close(shared: &Shared, latest_view: &Mutex<Arc<View>>) {
    let view = latest_view.lock().unwrap_or_else(PoisonError::into_inner).clone();
    shared.flusher.close(&view);
}
