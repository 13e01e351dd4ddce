//! Which node a client talks to, and whether it believes that this is the right one.

use crate::node::{self, CLIENTS};
use base::{Rng, Uuid};
use wire::metadata::MetadataResponse;

/// "I do not know."
const NO_EPOCH: i32 = -1;
/// The first version of Fetch in which a client says which leader epoch it knows.
pub(crate) const FETCH_WITH_EPOCHS: i16 = 9;

/// The first version of Fetch in which a client says where it stands.
pub(crate) const FETCH_WITH_RACKS: i16 = 11;

/// A client's way through the cluster. Where there is one node, there is nothing to look for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    nodes: usize,
    /// Those before it are no brokers.
    first: usize,
    at: usize,
    /// It does not know who leads its partition, or coordinates its group.
    is_lost: bool,
    /// It has learned that it has to connect to another node.
    moves: bool,
    /// The epoch of the leader that it has found.
    epoch: i32,
    /// The topic's id, where a topic may be made again under its name; else zero.
    topic_id: Uuid,
}

impl Route {
    pub(crate) const fn new(nodes: usize, first: usize, at: usize) -> Self {
        Self {
            nodes,
            first,
            at: first + at % (nodes - first),
            is_lost: nodes > 1,
            moves: false,
            epoch: NO_EPOCH,
            topic_id: Uuid::ZERO,
        }
    }

    /// The node that it talks to.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// Another replica is to be read from.
    pub(crate) fn is_sent_to(&mut self, id: i32) -> Result<(), String> {
        self.found(id, &node::host(usize::try_from(id - 1).unwrap_or(0)), i32::from(CLIENTS.port))
    }

    /// The epoch of its partition's leader, as far as it was told.
    pub(crate) const fn epoch(&self) -> i32 {
        self.epoch
    }

    pub(crate) const fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// It names its topic by this id from now on.
    pub(crate) const fn know_id(&mut self, id: Uuid) {
        self.topic_id = id;
    }

    pub(crate) const fn is_in_cluster(&self) -> bool {
        self.nodes > 1
    }

    pub(crate) const fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// True if it has to connect to another node.
    pub(crate) const fn is_elsewhere(&self) -> bool {
        self.moves
    }

    /// This is not the right node, or it is not known whether it is.
    pub(crate) const fn lose(&mut self) {
        self.is_lost = self.is_in_cluster();
    }

    /// The connection is gone: perhaps because it was the wrong one.
    pub(crate) const fn disconnected(&mut self) {
        if !self.moves {
            self.lose();
        }
        self.moves = false;
    }

    /// Nobody answers there.
    pub(crate) fn try_another(&mut self, rng: &mut Rng) {
        if self.is_in_cluster() {
            self.at = self.first + rng.index(self.nodes - self.first);
            self.is_lost = true;
        }
    }

    /// It was told that this node is the right one, and where that is to be found.
    pub(crate) fn found(&mut self, id: i32, host: &str, port: i32) -> Result<(), String> {
        let Some(index) = usize::try_from(id - 1).ok().filter(|index| *index < self.nodes) else {
            return Err(format!("there is no node {id}"));
        };
        if node::host(index) != host || port != i32::from(CLIENTS.port) {
            return Err(format!("clients do not find node {id} at {host}:{port}"));
        }
        self.moves = index != self.at;
        (self.at, self.is_lost) = (index, false);
        Ok(())
    }

    /// It has asked for its partition's topic.
    pub(crate) fn look_up(&mut self, metadata: &MetadataResponse, partition: i32) -> Result<(), String> {
        let topic = metadata.topics.first();
        let parts = topic.into_iter().flat_map(|topic| &topic.partitions);
        let Some(part) = parts.into_iter().find(|part| part.partition_index == partition) else {
            return Ok(());
        };
        // A leader that has just gone may be named and not be among the brokers.
        match metadata.brokers.iter().find(|broker| broker.node_id == part.leader_id) {
            Some(broker) => {
                self.epoch = part.leader_epoch;
                self.found(broker.node_id, &broker.host, broker.port)
            }
            None => Ok(()),
        }
    }
}
