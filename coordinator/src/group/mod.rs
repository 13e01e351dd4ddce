//! The classic group protocol: membership, generations, committed offsets.
//!
//! One machine is one partition of `__consumer_offsets` and coordinates every group that
//! [`shard_of`](crate::shard_of) maps to it. It answers as Apache Kafka 4.4 does, down to the error codes.
//!
//! # How it works
//!
//! ```text
//!              first member                    everybody joined,
//!              joins                           or the time is up             leader's assignment
//!   Empty ───────────────► PreparingRebalance ───────────────► CompletingRebalance ──────► Stable
//!     ▲                     │  ▲      ▲                             │                          │
//!     └─────────────────────┘  │      └─────────────────────────────┘                          │
//!        nobody is left        └────────────────────────────────────────────────────────────────┘
//!                                  a member comes, leaves, dies, or says something new
//! ```
//!
//! [`Hard`] is what the log says: of each group the last generation whose assignment is known, and the
//! committed offsets. [`Soft`] is what a rebalance under way knows beyond that: who has joined, who waits for
//! an answer, when silence becomes death. Only three things about a group are written: that it exists, that a
//! generation has its assignment (also under a static member's new id), that it is empty. A crash in between
//! loses a rebalance, never an assignment that somebody was told or an offset that was acknowledged.
//!
//! A join waits in the machine until the rebalance is over, a sync until the leader's assignment is there.
//! Every token is answered exactly once; a request that the same member repeats sends the older one away.
//!
//! # What the shell owes it
//!
//! - It replays the records of a decision before it asks for the next one, sends the replies once they have
//!   committed, and drops the machine when an append fails.
//! - It sends [`Command::Tick`] at `wake_at`, [`Command::ExpireOffsets`] every
//!   `offsets.retention.check.interval.ms` (not while the wall clock is in doubt) and again at once while the
//!   answer says that there is more, [`Command::Resign`] when another node takes over.
//! - After a load it starts with a fresh [`Soft`] and a [`Command::Tick`], which arms all sessions.
//! - The records of deletions and expiry may be appended in several batches: each of their prefixes is a state
//!   that makes sense.
//!
//! # What it deliberately does not do
//!
//! It does not assign partitions, read payloads beyond the topics of a `consumer` subscription, know
//! protocol versions, or check permissions. It has no clock: sessions end on the monotonic time it is given,
//! offsets expire on the wall time.
//!
//! # Where it differs from Kafka
//!
//! - Ids that were given out and not yet used are bounded ([`GroupConfig::pending_max`]).
//! - A commit that does not fit into one append is `INVALID_COMMIT_OFFSET_SIZE` and not a server error.
//! - A request that its sender has repeated is answered (`REBALANCE_IN_PROGRESS`), not forgotten.
//! - The static member whose id changes keeps its place among those who still owe a sync; Kafka would end the
//!   generation for the sake of the old id.
//! - A static member that comes back without its id finds its place in a full group.
//! - A group is not forgotten for its age while an id was given out for it.
//! - Ties (who leads, which protocol wins) go to the first by name, so that they are reproducible.

mod admin;
pub mod api;
mod code;
pub mod codec;
mod command;
mod config;
mod error;
mod event;
mod expire;
mod hard;
mod heartbeat;
mod ids;
mod join;
mod leave;
mod live;
mod machine;
mod offsets;
mod rebalance;
mod record;
mod reply;
mod soft;
mod staged;
mod subscription;
mod sync;
mod timeout;
mod turn;

pub use command::*;
pub use config::GroupConfig;
pub use error::*;
pub use event::{Event, Reason};
pub use hard::{Hard, HardGroup, PartitionOffsets};
pub use ids::*;
pub use machine::GroupMachine;
pub use record::*;
pub use reply::*;
pub use soft::Soft;
