//! Kafka's small text files: offset checkpoints, leader epochs, partition metadata, `meta.properties`, the
//! clean-shutdown marker.
//!
//! They carry no checksum, so what is parsed here is only as good as the file; who uses a value checks it
//! against the log.

use crate::names::PartitionName;
use base::{EndOffset, LeaderEpoch, PartitionIndex, TopicId, Uuid};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Offsets by partition, as in Kafka's `*-offset-checkpoint` files.
pub type Offsets = BTreeMap<PartitionName, EndOffset>;

/// Where the log of one leader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The leader's epoch.
    pub epoch: LeaderEpoch,
    /// Offset of its first record.
    pub start: EndOffset,
}

/// Who a data directory is (`meta.properties`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirIdentity {
    /// The cluster it belongs to.
    pub cluster_id: String,
    /// The node it belongs to.
    pub node_id: i32,
    /// Its own identity for life.
    pub directory_id: Uuid,
}

const CHECKPOINT_VERSION: &str = "0";

/// The text of an offset checkpoint.
#[must_use]
pub fn encode_offsets(offsets: &Offsets) -> String {
    let lines =
        offsets.iter().map(|(name, offset)| format!("{} {} {offset}", name.topic(), name.partition()));
    checkpoint(lines)
}

/// Parses an offset checkpoint; `None` if it is not one.
#[must_use]
pub fn decode_offsets(text: &[u8]) -> Option<Offsets> {
    let mut offsets = Offsets::new();
    for line in checkpoint_lines(text)? {
        let mut fields = line.split_ascii_whitespace();
        let (topic, partition, offset) = (fields.next()?, fields.next()?, fields.next()?);
        let name = PartitionName::new(topic, PartitionIndex(partition.parse().ok()?))?;
        let offset: i64 = offset.parse().ok()?;
        if offset < 0 || fields.next().is_some() || offsets.insert(name, EndOffset(offset)).is_some() {
            return None;
        }
    }
    Some(offsets)
}

/// The text of a leader-epoch checkpoint.
#[must_use]
pub fn encode_epochs(epochs: &[EpochStart]) -> String {
    checkpoint(epochs.iter().map(|entry| format!("{} {}", entry.epoch, entry.start)))
}

/// Parses a leader-epoch checkpoint; `None` if it is not one or does not increase.
#[must_use]
pub fn decode_epochs(text: &[u8]) -> Option<Vec<EpochStart>> {
    let mut epochs: Vec<EpochStart> = Vec::new();
    for line in checkpoint_lines(text)? {
        let (epoch, start) = line.split_once(' ')?;
        let entry =
            EpochStart { epoch: LeaderEpoch(epoch.parse().ok()?), start: EndOffset(start.parse().ok()?) };
        let floor = epochs.last().map_or((-1, -1), |last| (last.epoch.0, last.start.0));
        if entry.epoch.0 <= floor.0 || entry.start.0 <= floor.1 {
            return None;
        }
        epochs.push(entry);
    }
    Some(epochs)
}

/// The text of `partition.metadata`.
#[must_use]
pub fn encode_partition_metadata(topic: TopicId) -> String {
    format!("version: 0\ntopic_id: {}", topic.0)
}

/// Parses `partition.metadata`; `None` if it is not that.
#[must_use]
pub fn decode_partition_metadata(text: &[u8]) -> Option<TopicId> {
    let fields = properties(text, ':')?;
    let id: Uuid = fields.get("topic_id")?.parse().ok()?;
    (*fields.get("version")? == "0" && !id.is_zero()).then_some(TopicId(id))
}

/// The text of `meta.properties` in its version 1.
#[must_use]
pub fn encode_identity(identity: &DirIdentity) -> String {
    let DirIdentity { cluster_id, node_id, directory_id } = identity;
    format!("#\ncluster.id={cluster_id}\ndirectory.id={directory_id}\nnode.id={node_id}\nversion=1\n")
}

/// Parses `meta.properties`; `None` if it is not that, or of a version without directory ids.
#[must_use]
pub fn decode_identity(text: &[u8]) -> Option<DirIdentity> {
    let fields = properties(text, '=')?;
    if *fields.get("version")? != "1" {
        return None;
    }
    Some(DirIdentity {
        cluster_id: (*fields.get("cluster.id")?).to_owned(),
        node_id: fields.get("node.id")?.parse().ok()?,
        directory_id: fields.get("directory.id")?.parse().ok()?,
    })
}

/// The clean-shutdown marker with the broker's epoch (KIP-966).
#[must_use]
pub fn encode_clean_shutdown(broker_epoch: i64) -> String {
    format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}")
}

/// The broker epoch in a clean-shutdown marker, if it has one.
#[must_use]
pub fn decode_clean_shutdown(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once("\"brokerEpoch\":")?;
    rest.trim_start().trim_end_matches(|c: char| c == '}' || c.is_whitespace()).parse().ok()
}

fn checkpoint(lines: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("{CHECKPOINT_VERSION}\n{}\n", lines.len());
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// The entries of a checkpoint, exactly as many as it declares.
fn checkpoint_lines(text: &[u8]) -> Option<Vec<&str>> {
    let mut lines = std::str::from_utf8(text).ok()?.lines();
    if lines.next()? != CHECKPOINT_VERSION {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let entries: Vec<&str> = lines.collect();
    (entries.len() == count).then_some(entries)
}

fn properties(text: &[u8], separator: char) -> Option<BTreeMap<&str, &str>> {
    let text = std::str::from_utf8(text).ok()?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(separator).map(|(key, value)| (key.trim(), value.trim()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(epoch: i32, start: i64) -> EpochStart {
        EpochStart { epoch: LeaderEpoch(epoch), start: EndOffset(start) }
    }

    #[test]
    fn offset_checkpoints_read_back() {
        let name = |topic| PartitionName::new(topic, PartitionIndex(3)).unwrap();
        let offsets = Offsets::from([(name("a"), EndOffset(0)), (name("b-c"), EndOffset(77))]);
        let text = encode_offsets(&offsets);
        assert_eq!(text, "0\n2\na 3 0\nb-c 3 77\n");
        assert_eq!(decode_offsets(text.as_bytes()), Some(offsets));
        for bad in [
            "",
            "1\n0\n",
            "0\n",
            "0\n1\n",
            "0\n0\na 3 0\n",
            "0\n1\na 3\n",
            "0\n1\na 3 -1\n",
            "0\n1\na 3 0 0\n",
            "0\n2\na 3 0\na 3 0\n",
            "0\n1\na/ 3 0\n",
        ] {
            assert_eq!(decode_offsets(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn epoch_checkpoints_read_back_and_must_increase() {
        let epochs = vec![start(0, 0), start(4, 10)];
        let text = encode_epochs(&epochs);
        assert_eq!(text, "0\n2\n0 0\n4 10\n");
        assert_eq!(decode_epochs(text.as_bytes()), Some(epochs));
        for bad in ["0\n2\n4 0\n4 10\n", "0\n2\n0 10\n4 10\n", "0\n1\n-1 0\n", "0\n1\n0 -1\n", "0\n1\n0\n"] {
            assert_eq!(decode_epochs(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn identities_read_back() {
        let id = Uuid([7; 16]);
        let text = encode_partition_metadata(TopicId(id));
        assert_eq!(decode_partition_metadata(text.as_bytes()), Some(TopicId(id)));
        assert_eq!(decode_partition_metadata(b"version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ"), None);
        assert_eq!(decode_partition_metadata(b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA"), None);
        assert_eq!(decode_partition_metadata(b"version: 0"), None);

        let identity = DirIdentity { cluster_id: "x".into(), node_id: 3, directory_id: id };
        assert_eq!(decode_identity(encode_identity(&identity).as_bytes()), Some(identity));
        assert_eq!(decode_identity(b"version=0\nbroker.id=1\ncluster.id=x\n"), None);

        assert_eq!(decode_clean_shutdown(encode_clean_shutdown(12).as_bytes()), Some(12));
        assert_eq!(decode_clean_shutdown(b""), None);
    }
}
