//! What nodes say to each other: links that this node opens, and who is at their other end.

mod book;
mod forming;
mod links;

pub(crate) use book::Book;
pub(crate) use forming::{from_wire as forming_from_wire, to_wire as forming_to_wire};
pub use links::Identity;
pub(crate) use links::{Greeted, Heard, Links};

use std::fmt;

/// Where a node's private listener is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
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
