//! Proof of the wire format, one binary: every message and version survives a round trip, agrees with an
//! implementation that shares no code with ours, and answers hostile bytes with an error and little memory.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod allocation;
mod debug_form;
mod differential;
mod golden;
mod hostile;
mod round_trip;
mod smoke;
