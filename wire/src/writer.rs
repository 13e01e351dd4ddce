//! `Writer`: the primitive types of the protocol, appended to a growing buffer.
//!
//! The first thing that cannot be said is remembered and comes out of [`Writer::finish`]; what is written
//! after it is of no account. So encoding functions return nothing and stay straight lines.

use crate::error::{EncodeError, EncodeReason};
use crate::limits::STRING_BYTES_MAX;
use crate::splice::{Records, Splice};
use crate::tags::UnknownTags;
use crate::text::Str;
use alloc::vec::Vec;
use base::Uuid;
use bytes::Bytes;

/// A buffer to which values are appended.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    splices: Vec<Splice>,
    error: Option<EncodeError>,
}

/// What a writer made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes, without those that come from elsewhere.
    pub bytes: Bytes,
    /// Where bytes from elsewhere go, ascending. Empty but for Fetch responses.
    pub splices: Vec<Splice>,
}

impl Encoded {
    /// Bytes on the wire: those here and those from elsewhere.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() + spliced(&self.splices)
    }

    /// True when there is not a single byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn spliced(splices: &[Splice]) -> usize {
    splices.iter().map(|splice| splice.length as usize).sum()
}

macro_rules! fixed {
    ($($name:ident: $type:ty),* $(,)?) => {$(
        #[doc = concat!("Appends a `", stringify!($type), "`, big-endian.")]
        pub fn $name(&mut self, value: $type) {
            self.bytes.extend_from_slice(&value.to_be_bytes());
        }
    )*};
}

impl Writer {
    /// An empty writer with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), ..Self::default() }
    }

    /// Bytes on the wire so far, spliced ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() + spliced(&self.splices)
    }

    /// True when nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written.
    ///
    /// # Errors
    /// The first thing that could not be said.
    pub fn finish(self) -> Result<Encoded, EncodeError> {
        match self.error {
            None => Ok(Encoded { bytes: self.bytes.into(), splices: self.splices }),
            Some(error) => Err(error),
        }
    }

    /// Notes that the message cannot be said; the first note stays.
    pub fn refuse(&mut self, reason: EncodeReason, field: &'static str) {
        self.error.get_or_insert(EncodeError { reason, field });
    }

    /// Refuses versions outside `oldest..=latest`.
    pub fn check_version(&mut self, version: i16, oldest: i16, latest: i16) {
        if !(oldest..=latest).contains(&version) {
            self.refuse(EncodeReason::UnsupportedVersion, "");
        }
    }

    /// Refuses a field that is `set` in a version that lacks it.
    pub fn lacks(&mut self, set: bool, field: &'static str) {
        if set {
            self.refuse(EncodeReason::FieldNotInVersion, field);
        }
    }

    /// Refuses a `null` in a version where the field cannot be null.
    pub fn not_null(&mut self, null: bool, field: &'static str) {
        if null {
            self.refuse(EncodeReason::NullNotInVersion, field);
        }
    }

    fixed!(i8: i8, i16: i16, i32: i32, i64: i64, u8: u8, u16: u16, u32: u32, f64: f64);

    /// Appends a truth value.
    pub fn bool(&mut self, value: bool) {
        self.bytes.push(u8::from(value));
    }

    /// Appends a UUID.
    pub fn uuid(&mut self, value: Uuid) {
        self.bytes.extend_from_slice(&value.0);
    }

    /// Appends bytes as they are, without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Replaces four bytes that were written before.
    pub(crate) fn overwrite(&mut self, position: usize, bytes: [u8; 4]) {
        self.bytes[position..position + 4].copy_from_slice(&bytes);
    }

    /// Appends an unsigned varint.
    pub fn uvarint(&mut self, value: u32) {
        self.uvarlong(value.into());
    }

    /// Appends an unsigned varint of up to ten bytes.
    pub fn uvarlong(&mut self, value: u64) {
        let (bytes, length) = uvarint_bytes(value);
        self.bytes.extend_from_slice(&bytes[..length]);
    }

    /// Appends a string.
    pub fn string(&mut self, compact: bool, value: &Str) {
        self.text_bytes(compact, Some(value.as_bytes()));
    }

    /// Appends a string or null.
    pub fn opt_string(&mut self, compact: bool, value: Option<&Str>) {
        self.text_bytes(compact, value.map(Str::as_bytes));
    }

    fn text_bytes(&mut self, compact: bool, text: Option<&Bytes>) {
        let length = text.map(Bytes::len);
        match length.map(i16::try_from) {
            Some(Err(_)) => return self.refuse(EncodeReason::StringTooLong, ""),
            _ if compact => self.compact_length(length),
            Some(Ok(length)) => self.i16(length),
            None => self.i16(-1),
        }
        self.bytes.extend_from_slice(text.map_or(&[], |text| text));
    }

    /// Appends bytes.
    pub fn bytes(&mut self, compact: bool, value: &Bytes) {
        self.opt_bytes(compact, Some(value));
    }

    /// Appends bytes or null.
    pub fn opt_bytes(&mut self, compact: bool, value: Option<&Bytes>) {
        self.length(compact, value.map(Bytes::len));
        self.bytes.extend_from_slice(value.map_or(&[], |value| value));
    }

    /// Appends record batches, or the length of those that are elsewhere, or null.
    pub fn opt_records(&mut self, compact: bool, value: Option<&Records>) {
        match value {
            Some(Records::Elsewhere { length }) => {
                self.length(compact, Some(*length as usize));
                self.splices.push(Splice { position: self.bytes.len(), length: *length });
            }
            Some(Records::Bytes(bytes)) => self.opt_bytes(compact, Some(bytes)),
            None => self.opt_bytes(compact, None),
        }
    }

    /// Appends the mark of a struct that may be null, then the struct.
    pub fn opt_struct<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        match value {
            None => self.i8(-1),
            Some(value) => {
                self.i8(1);
                write(self, value);
            }
        }
    }

    /// Appends an array.
    pub fn array<T>(&mut self, compact: bool, elements: &[T], write: impl FnMut(&mut Self, &T)) {
        self.opt_array(compact, Some(elements), write);
    }

    /// Appends an array or null.
    pub fn opt_array<T>(
        &mut self,
        compact: bool,
        elements: Option<&[T]>,
        mut write: impl FnMut(&mut Self, &T),
    ) {
        self.length(compact, elements.map(<[T]>::len));
        for element in elements.unwrap_or_default() {
            write(self, element);
        }
    }

    /// Ends a struct with tagged fields: `known` of them are written through [`TagWriter::field`], the
    /// unknown ones in between.
    pub fn tags<'a>(&'a mut self, known: usize, unknown: &'a UnknownTags) -> TagWriter<'a> {
        let unknown = unknown.as_slice();
        match u32::try_from(known + unknown.len()) {
            Ok(count) => self.uvarint(count),
            Err(_) => self.refuse(EncodeReason::TooLong, ""),
        }
        TagWriter { writer: self, unknown }
    }

    /// Refuses unknown tagged fields in a version that has none.
    pub fn lacks_tags(&mut self, unknown: &UnknownTags) {
        self.lacks(!unknown.is_empty(), "tagged fields");
    }

    fn length(&mut self, compact: bool, length: Option<usize>) {
        match length.map(i32::try_from) {
            Some(Err(_)) => self.refuse(EncodeReason::TooLong, ""),
            _ if compact => self.compact_length(length),
            Some(Ok(length)) => self.i32(length),
            None => self.i32(-1),
        }
    }

    fn compact_length(&mut self, length: Option<usize>) {
        self.uvarlong(length.map_or(0, |length| length as u64 + 1));
    }
}

/// Writes the tagged fields of one struct in ascending order of tag.
#[derive(Debug)]
#[must_use = "finish() writes the unknown fields"]
pub struct TagWriter<'a> {
    writer: &'a mut Writer,
    unknown: &'a [(u32, Bytes)],
}

impl TagWriter<'_> {
    /// Appends a known field if it is `set`. Tags must ascend.
    pub fn field(&mut self, set: bool, tag: u32, write: impl FnOnce(&mut Writer)) {
        if !set {
            return;
        }
        self.unknown_below(Some(tag));
        let writer = &mut *self.writer;
        writer.uvarint(tag);
        let start = writer.bytes.len();
        write(writer);
        let length = writer.bytes.len() - start;
        let (prefix, prefix_length) = uvarint_bytes(length as u64);
        writer.bytes.extend_from_slice(&prefix[..prefix_length]);
        // The length was unknown before: turn "value, length" into "length, value".
        writer.bytes[start..].rotate_right(prefix_length);
    }

    /// Appends the unknown fields that are left.
    pub fn finish(mut self) {
        self.unknown_below(None);
    }

    fn unknown_below(&mut self, bound: Option<u32>) {
        while let Some(((tag, value), rest)) = self.unknown.split_first() {
            match bound {
                Some(bound) if *tag > bound => return,
                Some(bound) if *tag == bound => self.writer.refuse(EncodeReason::TagTaken, ""),
                _ => {}
            }
            self.writer.uvarint(*tag);
            self.writer.uvarlong(value.len() as u64);
            self.writer.raw(value);
            self.unknown = rest;
        }
    }
}

/// A varint and how many of its bytes count.
fn uvarint_bytes(mut value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut length = 0;
    loop {
        bytes[length] = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return (bytes, length + 1);
        }
        bytes[length] |= 0x80;
        length += 1;
    }
}

const _: () = assert!(STRING_BYTES_MAX == i16::MAX as usize);

#[cfg(test)]
mod tests;
