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

/// A value with its version in front. A version above the schema's is read as the latest that is known, as
/// Kafka's consumers do: later versions only append.
///
/// # Errors
/// When the bytes are no such value.
pub fn versioned_from_bytes<M: Stored>(value: Bytes) -> Result<M, DecodeError> {
    let mut r = Reader::new(value);
    let version = r.i16()?;
    M::decode(&mut r, version.min(*M::VERSIONS.end()))
}

fn prefixed<M: Message>(prefix: i16, message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut w = Writer::default();
    w.i16(prefix);
    message.encode(&mut w, version);
    Ok(w.finish()?.bytes)
}
