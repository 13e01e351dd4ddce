//! Bounds of what is decoded, checked before anything is allocated.

/// Bytes of a string, Kafka's limit in both encodings (it also bounds what we send).
pub const STRING_BYTES_MAX: usize = 0x7fff;
/// Elements of one array.
pub const ARRAY_ELEMENTS_MAX: usize = 1_000_000;
/// Tagged fields of one struct, known and unknown.
pub const TAGGED_FIELDS_MAX: usize = 64;
/// Bytes of one unknown tagged field.
pub const TAGGED_BYTES_MAX: usize = 64 << 10;
/// Memory that decoded arrays may take: this many bytes for each byte of the frame …
///
/// An empty string is one byte on the wire and 32 in memory, and a struct also holds the fields that its version
/// lacks: the densest message that can be said at all needs 46.
pub const DECODED_BYTES_PER_BYTE: usize = 48;
/// … and this much in any case.
pub const DECODED_BYTES_MIN: usize = 64 << 10;
