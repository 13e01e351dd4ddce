//! The cluster's truth: metadata records, image and delta, the controller's decisions, the partition machine,
//! and the config table. Deterministic and synchronous; `no_std` keeps it so.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod config;
pub mod image;
pub mod partition_state;
pub mod record;

pub use image::{Delta, Image, Topic, is_internal};
pub use partition_state::PartitionState;
pub use record::{Endpoint, Record, Registration, Resource};
pub mod controller;
pub mod leader;
pub mod record_codec;

pub use leader::{Leader, Progress};
