//! File and directory names, all of them. Nothing outside this crate knows one.

use base::PartitionIndex;
use std::fmt;

/// Lock of the data directory, as Kafka names it.
pub(crate) const LOCK: &str = ".lock";
/// Written after a full flush at shutdown, consumed before loading, as Kafka names it.
pub(crate) const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// Identity of the directory, as Kafka names it.
pub(crate) const META_PROPERTIES: &str = "meta.properties";
/// Flushed offsets for Kafka, written at shutdown.
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// High watermarks.
pub(crate) const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
/// Log start offsets that lie within the first segment.
pub(crate) const START_OFFSETS: &str = "log-start-offset-checkpoint";
/// How far each log has been compacted.
pub(crate) const CLEANER_OFFSETS: &str = "cleaner-offset-checkpoint";
/// Our flushed offsets, appended with each flush round.
pub(crate) const FLUSH_POINTS: &str = "flush-points";
/// Keeps a directory closed after a failed flush.
pub(crate) const FENCED: &str = "fenced";
/// Format of the directory.
pub(crate) const FORMAT: &str = "ottla-format";

/// Identity of a partition directory, as Kafka names it.
pub(crate) const PARTITION_METADATA: &str = "partition.metadata";
/// Where leader epochs begin, as Kafka names it.
pub(crate) const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";

/// Longest topic name that Kafka allows.
const TOPIC_BYTES_MAX: usize = 249;

/// A partition by name, which is also its directory's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionName {
    topic: Box<str>,
    partition: PartitionIndex,
}

impl PartitionName {
    /// A partition of a topic; `None` if the topic's name is not one that Kafka allows, or the number negative.
    #[must_use]
    pub fn new(topic: &str, partition: PartitionIndex) -> Option<Self> {
        let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        let fine = !matches!(topic, "" | "." | "..")
            && topic.len() <= TOPIC_BYTES_MAX
            && topic.bytes().all(legal)
            && partition.0 >= 0;
        fine.then(|| Self { topic: topic.into(), partition })
    }

    /// The partition whose directory is called `dir`.
    #[must_use]
    pub fn parse(dir: &str) -> Option<Self> {
        let (topic, number) = dir.rsplit_once('-')?;
        let name = Self::new(topic, PartitionIndex(number.parse().ok()?))?;
        (name.to_string() == dir).then_some(name)
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number.
    #[must_use]
    pub const fn partition(&self) -> PartitionIndex {
        self.partition
    }
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The files that a segment consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileKind {
    Log,
    OffsetIndex,
    TimeIndex,
    TxnIndex,
    /// Producer state *before* the offset in the name.
    Snapshot,
}

/// What a file's name says of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Live,
    /// To be removed; the rename was the deletion.
    Deleted,
    /// Made by a compaction that has not finished.
    Cleaned,
    /// Made by a compaction that has: replaces the segments it was made of.
    Swap,
}

impl FileKind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Log, Self::OffsetIndex, Self::TimeIndex, Self::TxnIndex, Self::Snapshot];

    const fn extension(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::OffsetIndex => "index",
            Self::TimeIndex => "timeindex",
            Self::TxnIndex => "txnindex",
            Self::Snapshot => "snapshot",
        }
    }
}

impl Stage {
    const ALL: [Self; 4] = [Self::Live, Self::Deleted, Self::Cleaned, Self::Swap];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Live => "",
            Self::Deleted => ".deleted",
            Self::Cleaned => ".cleaned",
            Self::Swap => ".swap",
        }
    }
}

/// `00000000000000000042.log` and its like.
pub(crate) fn segment_file(base: i64, kind: FileKind, stage: Stage) -> String {
    format!("{base:020}.{}{}", kind.extension(), stage.suffix())
}

/// What a file in a partition directory is, if it belongs to a segment.
pub(crate) fn parse_segment_file(name: &str) -> Option<(i64, FileKind, Stage)> {
    let (digits, rest) = name.split_at_checked(20)?;
    if !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let base = digits.parse().ok()?;
    for kind in FileKind::ALL {
        for stage in Stage::ALL {
            let tail = rest.strip_prefix('.').and_then(|rest| rest.strip_prefix(kind.extension()));
            if tail == Some(stage.suffix()) {
                return Some((base, kind, stage));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_names_are_kafkas() {
        for (dir, topic, number) in [("a-0", "a", 0), ("my-topic.v1-12", "my-topic.v1", 12), ("--3", "-", 3)]
        {
            let name = PartitionName::parse(dir).unwrap();
            assert_eq!((name.topic(), name.partition()), (topic, PartitionIndex(number)));
            assert_eq!(name.to_string(), dir);
        }
        for dir in ["a", "-0", "a-", "a-x", "a-00", "a--1x", "a-1.0123456789-delete", "ä-1", "..-1", "a/b-1"]
        {
            assert_eq!(PartitionName::parse(dir), None, "{dir}");
        }
        assert!(PartitionName::new(&"x".repeat(250), PartitionIndex(0)).is_none());
    }

    #[test]
    fn segment_names_are_kafkas() {
        assert_eq!(segment_file(42, FileKind::TimeIndex, Stage::Live), "00000000000000000042.timeindex");
        for kind in FileKind::ALL {
            for stage in Stage::ALL {
                let name = segment_file(7, kind, stage);
                assert_eq!(parse_segment_file(&name), Some((7, kind, stage)), "{name}");
            }
        }
        for name in ["42.log", "0000000000000000004x.log", "00000000000000000042.logx", "partition.metadata"]
        {
            assert_eq!(parse_segment_file(name), None, "{name}");
        }
        assert_eq!(parse_segment_file("99999999999999999999.log"), None, "beyond 63 bits");
    }
}
