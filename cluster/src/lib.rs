//! The cluster's truth: metadata records, image and delta, the controller's decisions, the partition machine,
//! and the config table. Deterministic and synchronous; `no_std` keeps it so.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod config;
pub mod image;
pub mod record;

pub use image::{Delta, Image, Topic, is_internal};
pub use record::{Endpoint, Record, Registration, Resource};
pub mod controller;
pub mod partition;
pub mod record_codec;

pub use partition::{Leader, PartitionState, Progress};
