//! What all messages have in common.

use crate::api_key::ApiKey;
use crate::error::{DecodeError, EncodeError};
use crate::reader::Reader;
use crate::writer::{Encoded, Writer};
use bytes::Bytes;
use core::fmt::Debug;
use core::ops::RangeInclusive;

/// A message or a part of one. Its fields are the union of all versions; those a version lacks are at their
/// default after decoding.
pub trait Message: Sized + Clone + Debug + Default + PartialEq {
    /// Reads the message as `version` lays it out. Bytes after it are left in the reader.
    ///
    /// # Errors
    /// What the bytes are not, or a version outside the schema.
    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Appends the message as `version` lays it out. What cannot be said comes out of [`Writer::finish`].
    fn encode(&self, w: &mut Writer, version: i16);

    /// Reads the message from `bytes`; what comes after it is ignored, as a broker of Kafka 4.4.0 does.
    ///
    /// # Errors
    /// As [`Message::decode`].
    fn from_bytes(bytes: Bytes, version: i16) -> Result<Self, DecodeError> {
        Self::decode(&mut Reader::new(bytes), version)
    }

    /// The message by itself, without header or frame.
    ///
    /// # Errors
    /// When the version cannot say it.
    fn to_bytes(&self, version: i16) -> Result<Encoded, EncodeError> {
        let mut w = Writer::default();
        self.encode(&mut w, version);
        w.finish()
    }
}

/// The request of an API.
pub trait Request: Message {
    /// The API.
    const KEY: ApiKey;
    /// The versions that the schema can code, Kafka 4.4's.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact lengths and tagged fields, `i16::MAX` if there is none.
    const FLEXIBLE_FROM: i16;
    /// What answers it, in the same version.
    type Response: Message;
}

/// A message that is coded outside requests and responses: records of the log, what group members hand each
/// other through the coordinator.
pub trait Stored: Message {
    /// The number of the type among its family's records; −1 where the family has no such numbers.
    const NUMBER: i16;
    /// The versions that the schema can code.
    const VERSIONS: RangeInclusive<i16>;
}
