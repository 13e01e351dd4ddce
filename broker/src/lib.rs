//! One node without threads: connections, the API table, partitions, the metadata and groups owners.
//!
//! [`boot`] opens a data directory and returns the owners; whoever drives them (the server's threads, the
//! simulator's loop) feeds [`Input`]s and carries out [`Effects`]. Nothing here reads a clock, opens a socket,
//! or starts a thread; files only through [`seglog::disk::Disk`].
#![forbid(unsafe_code)]

mod api;
mod boot;
mod census;
mod departures;
mod effects;
mod flusher;
mod founding;
mod frame;
mod groups;
mod job;
pub mod latency;
pub mod loggers;
mod metadata;
mod peer;
mod reactor;
mod replica;
mod replication;
mod scan;
mod shared;
#[cfg(test)]
mod test_cluster;
#[cfg(test)]
mod test_node;
mod upkeep;
mod view;
mod wall;

pub use api::{Acl, Row, StateOwner, TABLE};
pub use boot::{Boot, BootError, Booted, Opened, boot, close, open};
pub use census::{Census, LocalPartition};
pub use effects::{
    Asked, ConnId, Dial, Down, Effects, Fragment, Input, Level, LinkId, LogLine, Mail, Owner, Reply, Token,
};
pub use founding::Founding;
pub use groups::{CountedGroup, CountedOffset, GroupCensus, Groups, Teller};
pub use job::{Job, JobDone};
pub use metadata::Metadata;
pub use peer::Identity;
pub use reactor::{IN_FLIGHT_MAX, Reactor};
pub use replica::Standing;
pub use replication::{Replication, SharedThrottle, Throttles};
pub use shared::{Counters, Shared};
pub use view::{Node, Replicas, View};
