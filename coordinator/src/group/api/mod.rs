//! The edge: requests of the wire to commands, replies to responses.
//!
//! Requests share the buffer of their frame; what goes into a command is copied out of it, so that a member
//! that stays for days does not keep a frame for days. Nothing here knows a version. Where versions differ in
//! more than their fields there is an `upgrade_…` or `downgrade_…` function whose doc says which versions
//! need it; the broker's API file, which knows the version, calls it. Throttle times, authorization and the
//! resolution of topic ids are the broker's as well.

mod admin;
mod membership;
mod offsets;

pub use admin::*;
pub use membership::*;
pub use offsets::*;

use super::ids::{GroupId, Label};
use bytes::Bytes;
use wire::{ErrorCode, Str};

/// Who sent a request, as far as groups remember it.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The `client.id` of the request's header; empty if it has none.
    pub client_id: &'a str,
    /// The address, which Kafka writes with a leading slash.
    pub client_host: &'a str,
}

fn str_of(text: impl AsRef<str>) -> Str {
    Str::from(text.as_ref())
}

fn opt_str(text: Option<&impl AsRef<str>>) -> Option<Str> {
    text.map(str_of)
}

/// `None` is the empty string on the wire.
fn str_or_empty(text: Option<&impl AsRef<str>>) -> Str {
    text.map_or(Str::EMPTY, str_of)
}

fn copied(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn group_ids(names: &[Str]) -> alloc::vec::Vec<GroupId> {
    names.iter().map(|name| GroupId::from(name.as_str())).collect()
}

fn labels(names: &[Str]) -> alloc::vec::Vec<Label> {
    names.iter().map(|name| Label::from(name.as_str())).collect()
}

/// The code of an outcome; 0 for none.
fn code_of<E: Into<ErrorCode>>(error: Option<E>) -> i16 {
    error.map_or(ErrorCode::None, Into::into).code()
}

#[cfg(test)]
mod tests;
