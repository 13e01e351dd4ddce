//! The classic group protocol: membership, generations, committed offsets.

mod admin;
pub mod api;
mod code;
pub mod codec;
mod command;
mod config;
mod error;
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
mod subscription;
mod sync;
mod timeout;
mod turn;

pub use command::*;
pub use config::GroupConfig;
pub use error::*;
pub use hard::{Hard, HardGroup, PartitionOffsets};
pub use ids::*;
pub use machine::GroupMachine;
pub use record::*;
pub use reply::*;
pub use soft::Soft;
