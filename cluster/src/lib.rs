//! The cluster's truth: metadata records, image and delta, the controller's decisions, the partition machine,
//! and the config table. Deterministic and synchronous; `no_std` keeps it so.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod config;
