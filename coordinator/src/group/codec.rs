//! Records as bytes: Kafka's formats of `__consumer_offsets`, so that either broker reads the other's groups.
//!
//! Offset commits and groups are written in the versions that Kafka 4.4 writes. Every older version is read.
//! Records of types that this machine does not have (consumer, share and streams groups; whatever comes)
//! are told apart from damage: a loader skips the first and refuses the second.

use super::ids::{Generation, GroupId, InstanceId, Label, MemberId, ProtocolName, ProtocolType, TopicName};
use super::record::{CommittedOffset, GroupMetadata, MemberMetadata, OffsetKey, Producer, Record};
use alloc::vec::Vec;
use base::{EndOffset, LeaderEpoch, PartitionIndex, Span, Timestamp, TopicId};
use bytes::Bytes;
use wire::record::EndTxnMarker;
use wire::stored::group::{
    GroupMetadataKey, GroupMetadataValue, LegacyOffsetCommitKey, LegacyOffsetCommitValue,
    MemberMetadata as StoredMember, OffsetCommitKey, OffsetCommitValue,
};
use wire::stored::{key_from_bytes, key_number, key_to_bytes, versioned_to_bytes};
use wire::{DecodeError, DecodeReason, EncodeError, Reader, Stored, Str};

/// What Kafka 4.4 writes for a group.
const GROUP_VERSION: i16 = 4;
/// What Kafka 4.4 writes for an offset without an expiry of its own.
const OFFSET_VERSION: i16 = 4;
/// The only version that has an expiry.
const OFFSET_VERSION_WITH_EXPIRY: i16 = 1;

/// A record as it is to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// In an ordinary batch.
    Plain {
        /// The key.
        key: Bytes,
        /// The value, or none for a tombstone.
        value: Option<Bytes>,
    },
    /// In a transactional batch of this producer.
    Transactional {
        /// Whose batch.
        producer: Producer,
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Not a record but a control batch, which [`EndTxnMarker::batch`] builds.
    Marker {
        /// Whose transaction ends.
        producer: Producer,
        /// How.
        marker: EndTxnMarker,
    },
}

/// What a record of the log turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A fact for this machine.
    Record(Record),
    /// Of a type that is not this machine's: to be skipped.
    Foreign {
        /// The number of the type.
        number: i16,
    },
}

/// What is to be appended for a record. A decision never mixes kinds of batches.
///
/// # Errors
/// When a name is longer than the format can say, which no command that came off the wire can bring about.
pub fn encode(record: &Record) -> Result<Encoded, EncodeError> {
    Ok(match record {
        Record::GroupMetadata { group, metadata } => {
            let key = key_to_bytes(&GroupMetadataKey { group: group.as_str().into() })?;
            let value =
                metadata.as_ref().map(|metadata| versioned_to_bytes(&store_group(metadata), GROUP_VERSION));
            Encoded::Plain { key, value: value.transpose()? }
        }
        Record::OffsetCommit { key, value } => {
            let value = value.as_ref().map(|value| {
                let has_expiry = value.expire_timestamp.is_some();
                let version = if has_expiry { OFFSET_VERSION_WITH_EXPIRY } else { OFFSET_VERSION };
                versioned_to_bytes(&store_offset(value), version)
            });
            Encoded::Plain { key: key_to_bytes(&store_key(key))?, value: value.transpose()? }
        }
        Record::StagedOffset { producer, key, value } => Encoded::Transactional {
            producer: *producer,
            key: key_to_bytes(&store_key(key))?,
            value: versioned_to_bytes(&store_offset(value), OFFSET_VERSION)?,
        },
        Record::TransactionEnd { producer, marker } => {
            Encoded::Marker { producer: *producer, marker: *marker }
        }
    })
}

/// What a record of the log says. `producer` is that of a transactional batch, none of an ordinary one. The
/// markers that end transactions are control batches and do not come here; the loader makes a
/// [`Record::TransactionEnd`] of each.
///
/// # Errors
/// When the bytes are not what their type and version promise, or the version is newer than we know.
pub fn decode(key: Bytes, value: Option<Bytes>, producer: Option<Producer>) -> Result<Decoded, DecodeError> {
    let record = match key_number(&key)? {
        LegacyOffsetCommitKey::NUMBER => {
            let key = key_from_bytes::<LegacyOffsetCommitKey>(key)?;
            let value = value.map(load_value::<LegacyOffsetCommitValue>).transpose()?;
            Record::OffsetCommit {
                key: load_key(&key.group, &key.topic, key.partition),
                value: value.as_ref().map(load_legacy_offset),
            }
        }
        OffsetCommitKey::NUMBER => {
            let key = key_from_bytes::<OffsetCommitKey>(key)?;
            let value = value.map(load_value::<OffsetCommitValue>).transpose()?;
            let key = load_key(&key.group, &key.topic, key.partition);
            match (producer, value.as_ref().map(load_offset)) {
                (Some(producer), Some(value)) => Record::StagedOffset { producer, key, value },
                (_, value) => Record::OffsetCommit { key, value },
            }
        }
        GroupMetadataKey::NUMBER => {
            let key = key_from_bytes::<GroupMetadataKey>(key)?;
            let value = value.map(load_value::<GroupMetadataValue>).transpose()?;
            let group = GroupId::from(key.group.as_str());
            Record::GroupMetadata { group, metadata: value.as_ref().map(load_group) }
        }
        number => return Ok(Decoded::Foreign { number }),
    };
    Ok(Decoded::Record(record))
}

/// A stored value is read as exactly the version it names. What later versions changed is not guessed at.
fn load_value<M: Stored>(value: Bytes) -> Result<M, DecodeError> {
    let mut r = Reader::new(value);
    let version = r.i16()?;
    if !M::VERSIONS.contains(&version) {
        return Err(r.error(DecodeReason::UnsupportedVersion));
    }
    M::decode(&mut r, version)
}

// --- groups ---

fn store_group(metadata: &GroupMetadata) -> GroupMetadataValue {
    GroupMetadataValue {
        protocol_type: metadata.protocol_type.as_ref().map_or(Str::EMPTY, |name| name.as_str().into()),
        generation: metadata.generation.0,
        protocol: metadata.protocol.as_ref().map(|name| name.as_str().into()),
        leader: metadata.leader.as_ref().map(|id| id.as_str().into()),
        current_state_timestamp: metadata.state_timestamp.unwrap_or(Timestamp::NONE).0,
        members: metadata.members.iter().map(store_member).collect(),
        ..GroupMetadataValue::default()
    }
}

fn store_member(member: &MemberMetadata) -> StoredMember {
    StoredMember {
        member_id: member.member.as_str().into(),
        group_instance_id: member.instance.as_ref().map(|name| name.as_str().into()),
        client_id: member.client_id.as_str().into(),
        client_host: member.client_host.as_str().into(),
        rebalance_timeout: millis(member.rebalance_timeout),
        session_timeout: millis(member.session_timeout),
        subscription: member.subscription.clone(),
        assignment: member.assignment.clone(),
        ..StoredMember::default()
    }
}

fn millis(span: Span) -> i32 {
    i32::try_from(span.as_millis()).unwrap_or(i32::MAX)
}

fn load_group(stored: &GroupMetadataValue) -> GroupMetadata {
    let mut members: Vec<_> = stored.members.iter().map(load_member).collect();
    members.sort_by(|a, b| a.member.cmp(&b.member));
    GroupMetadata {
        generation: Generation(stored.generation),
        protocol_type: ProtocolType::from_wire(&stored.protocol_type),
        protocol: stored.protocol.as_deref().map(ProtocolName::from),
        leader: stored.leader.as_deref().map(MemberId::from),
        state_timestamp: some_unless_negative(stored.current_state_timestamp).map(Timestamp),
        members,
    }
}

fn load_member(stored: &StoredMember) -> MemberMetadata {
    let session_timeout = Span::from_wire_millis(stored.session_timeout.into());
    // The oldest version knew one timeout for both.
    let rebalance = some_unless_negative(stored.rebalance_timeout.into());
    MemberMetadata {
        member: MemberId::from(stored.member_id.as_str()),
        instance: stored.group_instance_id.as_deref().map(InstanceId::from),
        client_id: Label::from(stored.client_id.as_str()),
        client_host: Label::from(stored.client_host.as_str()),
        rebalance_timeout: rebalance.map_or(session_timeout, Span::from_wire_millis),
        session_timeout,
        subscription: detached(&stored.subscription),
        assignment: detached(&stored.assignment),
    }
}

/// A payload in a buffer of its own: what is loaded stays, the segment it was read from shall not.
fn detached(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

// --- offsets ---

fn store_key(key: &OffsetKey) -> OffsetCommitKey {
    OffsetCommitKey {
        group: key.group.as_str().into(),
        topic: key.topic.as_str().into(),
        partition: key.partition.0,
    }
}

fn load_key(group: &str, topic: &str, partition: i32) -> OffsetKey {
    let partition = PartitionIndex(partition);
    OffsetKey { group: GroupId::from(group), topic: TopicName::from(topic), partition }
}

fn store_offset(value: &CommittedOffset) -> OffsetCommitValue {
    OffsetCommitValue {
        offset: value.offset.0,
        leader_epoch: value.leader_epoch.unwrap_or(LeaderEpoch::UNKNOWN).0,
        metadata: value.metadata.as_str().into(),
        commit_timestamp: value.commit_timestamp.0,
        expire_timestamp: value.expire_timestamp.unwrap_or(Timestamp::NONE).0,
        topic_id: value.topic_id.0,
        ..OffsetCommitValue::default()
    }
}

fn load_offset(stored: &OffsetCommitValue) -> CommittedOffset {
    CommittedOffset {
        offset: EndOffset(stored.offset),
        leader_epoch: (stored.leader_epoch >= 0).then_some(LeaderEpoch(stored.leader_epoch)),
        metadata: Label::from(stored.metadata.as_str()),
        commit_timestamp: Timestamp(stored.commit_timestamp),
        expire_timestamp: some_unless_negative(stored.expire_timestamp).map(Timestamp),
        topic_id: TopicId(stored.topic_id),
    }
}

fn load_legacy_offset(stored: &LegacyOffsetCommitValue) -> CommittedOffset {
    CommittedOffset {
        offset: EndOffset(stored.offset),
        leader_epoch: None,
        metadata: Label::from(stored.metadata.as_str()),
        commit_timestamp: Timestamp(stored.commit_timestamp),
        expire_timestamp: None,
        topic_id: TopicId::ZERO,
    }
}

/// The formats write −1 for "none".
fn some_unless_negative(number: i64) -> Option<i64> {
    (number >= 0).then_some(number)
}

#[cfg(test)]
mod tests;
