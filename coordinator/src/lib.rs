//! Log-backed coordinators: machines whose state is a partition of an internal topic.
//!
//! Every module below is one machine in the sense of [`base::Machine`]: it decides on commands, changes only
//! by replaying its records, and knows neither sockets nor versions of the protocol. [`group`] is the classic
//! group protocol with its committed offsets. Transactions, consumer groups (KIP-848) and share groups
//! (KIP-932) get sibling modules.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod group;
mod shard;

pub use shard::shard_of;

/// Names a waiting asker. The shell chooses it; a machine only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);
