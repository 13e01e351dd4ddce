//! The metadata quorum: TiKV's `raft` core behind a small, deterministic face.
//!
//! A [`Quorum`] takes inputs (a tick, a peer's message, a proposal, "persisted up to here") and yields an
//! [`Output`]: what to write and fsync, what to send, what has committed. It does no I/O and knows nothing of
//! what an entry means. It does not speak Kafka's KRaft protocol.
//!
//! The order is the contract: what is in [`Output::persist`] must be durable before [`Quorum::persisted`] is
//! called with its number, and only then do the messages that depend on it come out (rule B12).
#![forbid(unsafe_code)]

mod entry;
pub mod forming;
mod io;
mod message;
mod node;
mod storage;

pub use entry::{Entry, EntryKind, HardState, Membership, RaftId, SnapshotPoint};
pub use io::{
    Committed, MemberProgress, MembershipRefused, NotLeader, Offer, Output, Persist, ProposalId, QuorumError,
    Role, Start,
};
pub use node::{ELECTION_TICKS, Quorum};
