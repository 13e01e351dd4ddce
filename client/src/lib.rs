//! A client for Apache Kafka and everything that speaks its protocol: producer, consumer, admin.
//!
//! [`core`] is the whole client without I/O, for simulators and for other runtimes; the rest of the crate is a
//! thin tokio shell around it. Nothing here knows of any particular broker.
#![forbid(unsafe_code)]

pub mod core;

pub use wire::{ErrorCode, Str};
