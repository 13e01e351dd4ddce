//! The Kafka wire protocol: messages (generated), error codes, record batches, framing.
//!
//! Bytes in, values out, and back. No behaviour, no sockets, no clock.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod record;
