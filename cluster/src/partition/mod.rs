//! One partition, seen from its three sides. All of it is arithmetic over offsets, epochs and sets of brokers: the bytes
//! are the log's, the messages the broker's.
//!
//! - [`PartitionState`]: what the controller has decided, and the only ways in which it may change;
//! - [`Leader`]: how far everybody is, what counts as safe, who is in sync;
//! - [`Follower`]: where its log parts from the leader's, and how far it may say that it is.
//!
//! `tests/isr.rs` walks through everything that three replicas can do with it.

mod follower;
mod leader;
mod moving;
mod state;

pub use follower::{Answer, EpochEnd, Epochs, Follower, Position, Step};
pub use leader::{Incarnation, Leader, Progress, Proposal, Rules};
pub use state::{IsrChange, PartitionState, Refused};
