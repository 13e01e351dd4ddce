//! The client without I/O: bytes and the clock come in, bytes to send and connections to open come out.
//!
//! Three machines, each complete by itself: [`Cluster`] (connections, metadata, single calls: what an admin
//! needs), [`producer::Producer`] and [`consumer::Consumer`] (each with a cluster of its own inside). A shell
//! drives any of them through [`Core`]: the tokio shell of this crate with sockets, a simulator with a seed.
//!
//! Reads no clock, draws no entropy, opens no socket, and bounds everything that it keeps.

pub mod cluster;
mod connection;
pub mod consumer;
pub mod error;
pub mod metadata;
pub mod partitioner;
pub mod producer;

pub use cluster::{Answer, Cluster, ClusterSettings, Completion, Target};
pub use connection::ConnectionId;
pub use error::CallError;
pub use metadata::{BrokerEndpoint, Metadata, PartitionMetadata, TopicMetadata};

use base::{Instant, Now};
use bytes::Bytes;
use std::fmt;

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A call under way; unique within one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(crate) u64);

/// What the shell tells a core.
#[derive(Clone, Debug)]
pub enum Input {
    /// The connection that was asked for is open.
    Connected(ConnectionId),
    /// Bytes arrived, cut anywhere.
    Received(ConnectionId, Bytes),
    /// The connection could not be opened, or is gone; `reason` is for people.
    Closed(ConnectionId, String),
    /// Nothing but time has passed.
    Tick,
}

/// What a core wants done, in order.
#[derive(Clone, Debug)]
#[must_use = "a dropped effect is a lost request"]
pub enum Effect {
    /// Open a connection and answer with [`Input::Connected`] or [`Input::Closed`].
    Dial(ConnectionId, Address),
    /// Send these bytes.
    Write(ConnectionId, Bytes),
    /// Close the connection; no [`Input::Closed`] is expected.
    Close(ConnectionId),
}

/// What a shell needs to know of a core.
pub trait Core {
    /// Takes an input at `now`.
    fn handle(&mut self, now: Now, input: Input);
    /// The next thing to do; to be asked after every call on the core until there is none.
    fn poll_effect(&mut self) -> Option<Effect>;
    /// When the core wants a [`Input::Tick`] at the latest.
    fn wake_at(&self) -> Option<Instant>;
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The text is not `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseAddressError(String);

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not HOST:PORT, for instance 127.0.0.1:9092", self.0)
    }
}

impl std::error::Error for ParseAddressError {}

impl std::str::FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseAddressError(text.to_owned());
        let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (host, port) = bare.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().map_err(|_| wrong())?;
        if host.is_empty() { Err(wrong()) } else { Ok(Self { host: host.to_owned(), port }) }
    }
}

/// The addresses of a comma-separated list, as in `bootstrap.servers`.
///
/// # Errors
/// The first part that is not `host:port`; an empty list.
pub fn parse_addresses(text: &str) -> Result<Vec<Address>, ParseAddressError> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let addresses = parts.map(str::parse).collect::<Result<Vec<_>, _>>()?;
    if addresses.is_empty() { Err(ParseAddressError(text.to_owned())) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests;
