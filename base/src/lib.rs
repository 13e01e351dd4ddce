//! The vocabulary under everything: time, ids, offsets, seeded randomness, marks and planted bugs.
//!
//! Knows nothing of Kafka's protocol and does no I/O. `no_std` makes that a compile error to break.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

mod ids;
mod machine;
pub mod marks;
mod offset;
pub mod plant;
mod rng;
#[cfg(feature = "sim")]
mod rounds;
mod time;
mod uuid;

pub use ids::{BrokerId, LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, TopicId};
pub use machine::{Decision, Machine};
pub use offset::{EndOffset, LastOffset};
pub use rng::Rng;
#[cfg(feature = "sim")]
pub use rounds::rounds;
pub use time::{Instant, Now, Span, Timestamp};
pub use uuid::{ParseUuidError, Uuid};
