//! Whole nodes on one thread, from one seed: encoded frames in and out, a simulated disk that loses what was
//! not flushed, crashes at any point and inside any call, and oracles that look at everything.
//!
//! It links the node as it is (`broker` and below) and never the server or its runtime.
#![forbid(unsafe_code)]

mod admin;
mod client;
mod earlier;
mod group;
mod history;
mod logs;
mod node;
mod operator;
mod promises;
mod report;
pub mod scale;
pub mod script;
mod trace;
mod world;

pub use report::{CLUSTER_MARKS, FAULTS, MARKS, NOT_DEMANDED, OUTAGES, Report};
pub use world::{Less, Options, Outcome, nodes_of, run};
