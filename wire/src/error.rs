//! What can be wrong with bytes that came, and with messages that should go.

use core::fmt;

/// The bytes are not the message they claim to be. Carries no data of the peer, so it is safe to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What is wrong.
    pub reason: DecodeReason,
    /// Where: bytes from the start of what the reader was given.
    pub at: usize,
}

/// The ways in which bytes can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeReason {
    /// The bytes end inside a value, or a length or count promises more than is there.
    Short,
    /// A length or count below −1.
    NegativeLength,
    /// A null where this version has none.
    UnexpectedNull,
    /// A string above [`crate::limits::STRING_BYTES_MAX`].
    StringTooLong,
    /// A string that is not UTF-8.
    InvalidUtf8,
    /// A varint of more than five bytes or above 2³²−1 (ten bytes and 2⁶⁴−1 for the long form).
    InvalidVarint,
    /// An array above [`crate::limits::ARRAY_ELEMENTS_MAX`], or one whose elements would need more memory
    /// than the reader's budget.
    TooManyElements,
    /// More tagged fields than [`crate::limits::TAGGED_FIELDS_MAX`] in one struct, or an unknown one above
    /// [`crate::limits::TAGGED_BYTES_MAX`].
    TooManyTags,
    /// A tag twice in one struct, or a known tagged field whose size is not that of its value.
    InvalidTag,
    /// A version outside the schema.
    UnsupportedVersion,
    /// Bytes follow where the message ends.
    TrailingBytes,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.reason {
            DecodeReason::Short => "the bytes end too early",
            DecodeReason::NegativeLength => "negative length",
            DecodeReason::UnexpectedNull => "null in a field that cannot be null",
            DecodeReason::StringTooLong => "string too long",
            DecodeReason::InvalidUtf8 => "string is not UTF-8",
            DecodeReason::InvalidVarint => "varint too long",
            DecodeReason::TooManyElements => "too many array elements",
            DecodeReason::TooManyTags => "too many or too large tagged fields",
            DecodeReason::InvalidTag => "malformed tagged field",
            DecodeReason::UnsupportedVersion => "unsupported version",
            DecodeReason::TrailingBytes => "bytes after the end of the message",
        };
        write!(f, "{what} (at byte {})", self.at)
    }
}

impl core::error::Error for DecodeError {}

/// The message cannot be said in the version asked for. Always a fault of the sender: of our own code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeError {
    /// What is wrong.
    pub reason: EncodeReason,
    /// The field as Kafka names it; empty where the reason needs none.
    pub field: &'static str,
}

/// The ways in which a message can be unsayable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeReason {
    /// The field is set, the version lacks it, and leaving it out would change the meaning.
    FieldNotInVersion,
    /// Null in a version where the field cannot be null.
    NullNotInVersion,
    /// The version lies outside the schema.
    UnsupportedVersion,
    /// A string above [`crate::limits::STRING_BYTES_MAX`].
    StringTooLong,
    /// A length, a count or the frame does not fit its length field.
    TooLong,
    /// An unknown tagged field has the tag of a known one.
    TagTaken,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.reason {
            EncodeReason::FieldNotInVersion => "field is set but not in this version",
            EncodeReason::NullNotInVersion => "field cannot be null in this version",
            EncodeReason::UnsupportedVersion => "unsupported version",
            EncodeReason::StringTooLong => "string too long",
            EncodeReason::TooLong => "value too long for its length field",
            EncodeReason::TagTaken => "unknown tagged field has the tag of a known one",
        };
        if self.field.is_empty() { f.write_str(what) } else { write!(f, "{}: {what}", self.field) }
    }
}

impl core::error::Error for EncodeError {}
