//! The tokio shell: sockets and timers around the cores, and handles that are `async`.
//!
//! Each client is one task that owns the sockets' ends and one lock around the core, held for no longer than
//! the core computes. Dropping the last handle closes the client. Holds no protocol knowledge of its own but
//! for the admin's sequences of calls.

mod admin;
mod clock;
mod consumer;
mod driver;
mod producer;

pub use admin::{
    Admin, AdminError, AlterOp, BrokerDescription, ClusterDescription, ConfigEntry, ConfigResource,
    ConfigSource, CreatedTopic, GroupDescription, GroupListing, GroupMember, GroupOffset, LogDir,
    LogDirPartition, NewTopic, OffsetAt, OffsetSpec, OngoingReassignment, QuorumDescription, QuorumMember,
    Reassignment, TopicDescription, TopicListing,
};
pub use consumer::{Consumer, Polled};
pub use producer::{Deliver, Producer};
