//! What a consumer can be told.

use super::{GroupSettings, Seek};
use crate::core::Address;
use crate::core::cluster::ClusterSettings;
use base::Span;

/// Whether records of open and aborted transactions are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Everything.
    #[default]
    ReadUncommitted,
    /// Only what was committed or is in no transaction.
    ReadCommitted,
}

/// Where to read when there is no position, or one outside the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the first record there is.
    Earliest,
    /// At the next record to come.
    #[default]
    Latest,
    /// Nowhere: tell an error.
    None,
}

impl OffsetReset {
    pub(super) const fn seek(self) -> Option<Seek> {
        match self {
            Self::Earliest => Some(Seek::Beginning),
            Self::Latest => Some(Seek::End),
            Self::None => None,
        }
    }
}

/// How a consumer works. The names are Kafka's; see each for its key.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// How to connect.
    pub cluster: ClusterSettings,
    /// `fetch.min.bytes`: an answer waits for as much …
    pub fetch_bytes_min: i32,
    /// `fetch.max.wait.ms`: … for at most so long.
    pub fetch_wait: Span,
    /// `fetch.max.bytes`: of one answer; a larger first batch comes nevertheless.
    pub fetch_bytes_max: i32,
    /// `max.partition.fetch.bytes`: of one partition in an answer, likewise.
    pub partition_bytes_max: i32,
    /// `isolation.level`.
    pub isolation: Isolation,
    /// `auto.offset.reset`.
    pub offset_reset: OffsetReset,
    /// `check.crcs`.
    pub check_crcs: bool,
    /// Bytes that one batch may decompress to.
    pub decompressed_bytes_max: u64,
    /// `client.rack`: where a replica near by would be (KIP-392).
    pub rack: Option<String>,
    /// The group to be a member of by [`subscribe`](super::Consumer::subscribe), or to commit for.
    pub group: Option<GroupSettings>,
}

impl ConsumerSettings {
    /// Kafka's defaults for a client of these brokers.
    #[must_use]
    pub fn new(bootstrap: Vec<Address>) -> Self {
        Self {
            cluster: ClusterSettings { allow_auto_create: false, ..ClusterSettings::new(bootstrap) },
            fetch_bytes_min: 1,
            fetch_wait: Span::from_millis(500),
            fetch_bytes_max: 50 << 20,
            partition_bytes_max: 1 << 20,
            isolation: Isolation::ReadUncommitted,
            offset_reset: OffsetReset::Latest,
            check_crcs: true,
            decompressed_bytes_max: 256 << 20,
            rack: None,
            group: None,
        }
    }
}
