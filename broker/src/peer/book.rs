//! Which nodes there are, where they are, and which members of the quorum they are.

use super::{Address, Identity};
use base::{BrokerId, Uuid};
use cluster::Image;
use cluster::config::NodeConfig;
use quorum::RaftId;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of other nodes. A directory is a member of the quorum; where a node is may change.
#[derive(Debug, Default)]
pub(crate) struct Book {
    addresses: BTreeMap<BrokerId, Address>,
    nodes: BTreeMap<RaftId, (BrokerId, Uuid)>,
    /// Nodes that have said that they are brokers and nothing else.
    only_brokers: BTreeSet<BrokerId>,
}

impl Book {
    /// What the node's own file says: where the voters are, not who they are. Of servers that it names it does not even say
    /// which nodes they are: until they do, they have numbers that no node has.
    pub(crate) fn new(config: &NodeConfig) -> Self {
        let address = |host: &String, port| Address { host: host.clone(), port };
        let voters = config.voters.iter().map(|voter| (voter.id, address(&voter.host, voter.port)));
        let servers = (1..).map(|at: i32| BrokerId(-at)).zip(&config.bootstrap_servers);
        let servers = servers.map(|(id, (host, port))| (id, address(host, *port)));
        Self { addresses: voters.chain(servers).collect(), ..Self::default() }
    }

    /// True for the number of a server that has not said which node it is.
    pub(crate) const fn is_nameless(node: BrokerId) -> bool {
        node.0 < 0
    }

    /// A server has said which node it is.
    pub(crate) fn name(&mut self, server: BrokerId, node: BrokerId) {
        if let Some(address) = self.addresses.remove(&server) {
            self.addresses.entry(node).or_insert(address);
        }
    }

    /// What a node has said of itself.
    pub(crate) fn note(&mut self, who: &Identity) {
        self.addresses.insert(who.node, who.address.clone());
        self.note_directory(who.node, who.directory);
        if who.is_controller {
            self.only_brokers.remove(&who.node);
        } else {
            self.only_brokers.insert(who.node);
        }
    }

    /// True for a node that its file makes a broker and nothing else, as far as it has greeted.
    pub(crate) fn is_only_broker(&self, node: BrokerId) -> bool {
        self.only_brokers.contains(&node)
    }

    pub(crate) fn note_directory(&mut self, node: BrokerId, directory: Uuid) {
        self.nodes.insert(RaftId::of(directory), (node, directory));
    }

    /// What the metadata says of these brokers.
    pub(crate) fn note_registered(&mut self, image: &Image, brokers: &[BrokerId]) {
        for broker in brokers.iter().filter_map(|id| image.broker(*id)) {
            if let Some(endpoint) = broker.peer_endpoint() {
                let address = Address { host: endpoint.host.clone(), port: endpoint.port };
                self.addresses.insert(broker.id, address);
            }
            for directory in &broker.directories {
                self.note_directory(broker.id, *directory);
            }
        }
    }

    pub(crate) fn address(&self, node: BrokerId) -> Option<&Address> {
        self.addresses.get(&node)
    }

    /// The node that a member of the quorum is.
    pub(crate) fn node(&self, member: RaftId) -> Option<BrokerId> {
        self.nodes.get(&member).map(|(node, _)| *node)
    }

    /// A member's node and directory.
    pub(crate) fn member(&self, member: RaftId) -> Option<(BrokerId, Uuid)> {
        self.nodes.get(&member).copied()
    }

    /// Nodes whose address is known from the file, though not yet who they are.
    pub(crate) fn known(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.addresses.keys().copied()
    }
}
