//! Messages outside requests and responses, and what stands in front of them.
//!
//! Three framings exist. Group and transaction records carry a two-byte number in front of key and value: of
//! the type in the key, of the version in the value. What group members hand each other carries its version
//! likewise. Records of the metadata log carry three varints: frame version, type, version.

use crate::error::{DecodeError, DecodeReason, EncodeError, EncodeReason};
use crate::message::{Message, Stored};
use crate::reader::Reader;
use crate::writer::Writer;
use bytes::Bytes;

pub use crate::generated::records::{control, group, metadata, raft};

mod metadata_record;
pub use metadata_record::MetadataRecord;

/// The frame version of metadata records; there is only this one.
const METADATA_FRAME_VERSION: u32 = 1;

/// A record's key: the number of its type, then the key.
///
/// # Errors
/// When the key holds what cannot be said.
pub fn key_to_bytes<K: Stored>(key: &K) -> Result<Bytes, EncodeError> {
    prefixed(K::NUMBER, key, 0)
}

/// The number of the type that a key begins with. Records of unknown types are to be skipped.
///
/// # Errors
/// When there are not even two bytes.
pub fn key_number(key: &Bytes) -> Result<i16, DecodeError> {
    Reader::new(key.clone()).i16()
}

/// The key of a record whose type is known to be that of `K`.
///
/// # Errors
/// When the type is another or the bytes are no such key.
pub fn key_from_bytes<K: Stored>(key: Bytes) -> Result<K, DecodeError> {
    let mut r = Reader::new(key);
    if r.i16()? != K::NUMBER {
        return Err(r.error(DecodeReason::UnsupportedVersion));
    }
    K::decode(&mut r, 0)
}

/// A value with its version in front: a coordinator record's value, or a consumer-protocol message.
///
/// # Errors
/// When the version cannot say it.
pub fn versioned_to_bytes<M: Stored>(value: &M, version: i16) -> Result<Bytes, EncodeError> {
    prefixed(version, value, version)
}

/// A value with its version in front, which must be one of the schema: in a log, a version from the future may
/// mean anything.
///
/// # Errors
/// When the bytes are no such value.
pub fn versioned_from_bytes<M: Stored>(value: Bytes) -> Result<M, DecodeError> {
    let mut r = Reader::new(value);
    let version = r.i16()?;
    M::decode(&mut r, version)
}

/// A message of the consumer protocol. A version above the schema's is read as the latest that is known, as
/// Kafka's consumers do: there, later versions only append, and members of different versions share a group.
///
/// # Errors
/// When the bytes are no such message.
pub fn consumer_protocol_from_bytes<M: Stored>(message: Bytes) -> Result<M, DecodeError> {
    let mut r = Reader::new(message);
    let version = r.i16()?;
    M::decode(&mut r, version.min(*M::VERSIONS.end()))
}

fn prefixed<M: Message>(prefix: i16, message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut w = Writer::default();
    w.i16(prefix);
    message.encode(&mut w, version);
    Ok(w.finish()?.bytes)
}

#[cfg(test)]
mod tests {
    use super::group::{GroupMetadataKey, OffsetCommitKey, OffsetCommitValue};
    use super::*;
    use crate::consumer_protocol::ConsumerProtocolSubscription;

    #[test]
    fn a_key_begins_with_the_number_of_its_type() {
        let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 5 };
        let bytes = key_to_bytes(&key).unwrap();
        assert_eq!(&bytes[..], [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 5]);
        assert_eq!(key_number(&bytes), Ok(1));
        assert_eq!(key_from_bytes(bytes.clone()), Ok(key));
        let other = key_from_bytes::<GroupMetadataKey>(bytes).unwrap_err();
        assert_eq!(other.reason, DecodeReason::UnsupportedVersion);
        assert_eq!(key_number(&Bytes::from_static(&[1])).unwrap_err().reason, DecodeReason::Short);
    }

    #[test]
    fn a_value_begins_with_its_version() {
        let value = OffsetCommitValue { offset: 7, leader_epoch: 3, ..Default::default() };
        for version in OffsetCommitValue::VERSIONS {
            let bytes = versioned_to_bytes(&value, version).unwrap();
            assert_eq!(bytes[..2], version.to_be_bytes());
            let expected = if version < 3 { -1 } else { 3 };
            let read: OffsetCommitValue = versioned_from_bytes(bytes).unwrap();
            assert_eq!((read.offset, read.leader_epoch), (7, expected));
        }
    }

    /// Members of a newer Kafka join the same group: what they add comes behind what we know.
    #[test]
    fn a_subscription_of_a_later_version_is_read_as_the_latest_known() {
        let subscription = ConsumerProtocolSubscription {
            rack_id: Some("r".into()),
            generation_id: 4,
            ..Default::default()
        };
        let mut bytes = versioned_to_bytes(&subscription, 3).unwrap().to_vec();
        bytes[1] = 9;
        bytes.extend_from_slice(b"more");
        let bytes = Bytes::from(bytes);
        assert_eq!(consumer_protocol_from_bytes(bytes.clone()), Ok(subscription));
        let refused = versioned_from_bytes::<ConsumerProtocolSubscription>(bytes).unwrap_err();
        assert_eq!(refused.reason, DecodeReason::UnsupportedVersion);
    }
}
