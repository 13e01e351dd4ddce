//! `Reader`: the primitive types of the protocol, taken from a shared buffer.
//!
//! Bounded by construction: nothing is allocated before the bytes that justify it are known to be there, an
//! array's memory is charged to a budget that is a multiple of the frame, and strings and bytes are slices
//! of the frame. Nothing here panics on any input.
//!
//! `compact` says which of the two encodings of lengths applies: KIP-482's varint of the length plus one, or
//! the fixed-width one.

use crate::error::{DecodeError, DecodeReason};
use crate::limits::{
    ARRAY_ELEMENTS_MAX, DECODED_BYTES_MIN, DECODED_BYTES_PER_BYTE, STRING_BYTES_MAX, TAGGED_BYTES_MAX,
    TAGGED_FIELDS_MAX,
};
use crate::splice::Records;
use crate::tags::UnknownTags;
use crate::text::Str;
use alloc::vec::Vec;
use base::Uuid;
use bytes::Bytes;

/// A place in a buffer from which values are read.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
    at: usize,
    /// Where the value being read must end at the latest; `at <= end <= bytes.len()`.
    end: usize,
    /// Bytes of memory that arrays may still take.
    budget: usize,
}

macro_rules! fixed {
    ($($name:ident: $type:ty),* $(,)?) => {$(
        #[doc = concat!("The next `", stringify!($type), "`, big-endian.")]
        ///
        /// # Errors
        /// When the bytes end before.
        pub fn $name(&mut self) -> Result<$type, DecodeError> {
            self.array_of().map(<$type>::from_be_bytes)
        }
    )*};
}

impl Reader {
    /// Reads all of `bytes`, which stay shared with the strings and bytes that are read.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let budget = bytes.len().saturating_mul(DECODED_BYTES_PER_BYTE).max(DECODED_BYTES_MIN);
        Self::with_budget(bytes, budget)
    }

    /// Reads all of `bytes` and lets arrays take at most `budget` bytes of memory, for peers that are not
    /// trusted with what [`Reader::new`] grants.
    #[must_use]
    pub fn with_budget(bytes: Bytes, budget: usize) -> Self {
        Self { at: 0, end: bytes.len(), bytes, budget }
    }

    /// Bytes not yet read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Everything not yet read, shared.
    #[must_use]
    pub fn rest(&self) -> Bytes {
        self.bytes.slice(self.at..self.end)
    }

    /// Says that the message ends here.
    ///
    /// # Errors
    /// When bytes are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.error(DecodeReason::TrailingBytes)) }
    }

    /// An error at the present place.
    #[must_use]
    pub fn error(&self, reason: DecodeReason) -> DecodeError {
        DecodeError { reason, at: self.at }
    }

    /// Refuses versions outside `oldest..=latest`.
    ///
    /// # Errors
    /// When `version` lies outside.
    pub fn check_version(&self, version: i16, oldest: i16, latest: i16) -> Result<(), DecodeError> {
        if (oldest..=latest).contains(&version) {
            Ok(())
        } else {
            Err(self.error(DecodeReason::UnsupportedVersion))
        }
    }

    fixed!(i8: i8, i16: i16, i32: i32, i64: i64, u8: u8, u16: u16, u32: u32, f64: f64);

    /// The next byte as a truth value; like Kafka, anything but zero is true.
    ///
    /// # Errors
    /// When the bytes end before.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.u8()? != 0)
    }

    /// The next UUID.
    ///
    /// # Errors
    /// When the bytes end before.
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        self.array_of().map(Uuid)
    }

    /// An unsigned varint of at most 32 bits. Like Kafka's reader, this takes padded forms of up to five
    /// bytes: some producers reserve the full width before they know the value.
    ///
    /// # Errors
    /// When the bytes end before, or the value needs more than 32 bits or five bytes.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let value = self.uvarint_of(5)?;
        u32::try_from(value).map_err(|_| self.error(DecodeReason::InvalidVarint))
    }

    /// An unsigned varint of at most 64 bits.
    ///
    /// # Errors
    /// When the bytes end before, or the value needs more than 64 bits or ten bytes.
    pub fn uvarlong(&mut self) -> Result<u64, DecodeError> {
        self.uvarint_of(10)
    }

    fn uvarint_of(&mut self, bytes_max: usize) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for k in 0..bytes_max {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if k == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * k);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error(DecodeReason::InvalidVarint))
    }

    /// A string.
    ///
    /// # Errors
    /// Null, short, too long, or not UTF-8.
    pub fn string(&mut self, compact: bool) -> Result<Str, DecodeError> {
        self.opt_string(compact, true)?.ok_or(self.error(DecodeReason::UnexpectedNull))
    }

    /// A string or null; null is refused unless `nullable`.
    ///
    /// # Errors
    /// As [`Reader::string`].
    pub fn opt_string(&mut self, compact: bool, nullable: bool) -> Result<Option<Str>, DecodeError> {
        let length = if compact { self.compact_length()? } else { length_of(self.i16()?.into(), self)? };
        let Some(length) = self.or_null(length, nullable)? else { return Ok(None) };
        if length > STRING_BYTES_MAX {
            return Err(self.error(DecodeReason::StringTooLong));
        }
        let bytes = self.take(length)?;
        Str::from_utf8(bytes).map(Some).map_err(|_| self.error(DecodeReason::InvalidUtf8))
    }

    /// Bytes.
    ///
    /// # Errors
    /// Null or short.
    pub fn bytes(&mut self, compact: bool) -> Result<Bytes, DecodeError> {
        self.opt_bytes(compact, true)?.ok_or(self.error(DecodeReason::UnexpectedNull))
    }

    /// Bytes or null; null is refused unless `nullable`.
    ///
    /// # Errors
    /// As [`Reader::bytes`].
    pub fn opt_bytes(&mut self, compact: bool, nullable: bool) -> Result<Option<Bytes>, DecodeError> {
        let length = self.long_length(compact)?;
        let Some(length) = self.or_null(length, nullable)? else { return Ok(None) };
        self.take(length).map(Some)
    }

    /// Record batches or null, not looked into; null is refused unless `nullable`.
    ///
    /// # Errors
    /// As [`Reader::bytes`].
    pub fn opt_records(&mut self, compact: bool, nullable: bool) -> Result<Option<Records>, DecodeError> {
        Ok(self.opt_bytes(compact, nullable)?.map(Records::Bytes))
    }

    /// A struct or null; null is refused unless `nullable`.
    ///
    /// # Errors
    /// Null where it may not be, or what `read` refuses.
    pub fn opt_struct<T>(
        &mut self,
        nullable: bool,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        let present = if self.i8()? < 0 { None } else { Some(0) };
        match self.or_null(present, nullable)? {
            None => Ok(None),
            Some(_) => read(self).map(Some),
        }
    }

    /// An array of elements of at least `bytes_min` bytes each.
    ///
    /// # Errors
    /// Null, more elements than the bytes left can hold or the limits allow, or what `read` refuses.
    pub fn array<T>(
        &mut self,
        compact: bool,
        bytes_min: usize,
        read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.opt_array(compact, true, bytes_min, read)?.ok_or(self.error(DecodeReason::UnexpectedNull))
    }

    /// An array or null; null is refused unless `nullable`.
    ///
    /// # Errors
    /// As [`Reader::array`].
    pub fn opt_array<T>(
        &mut self,
        compact: bool,
        nullable: bool,
        bytes_min: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let count = self.long_length(compact)?;
        let Some(count) = self.or_null(count, nullable)? else { return Ok(None) };
        let size = size_of::<T>().max(1);
        self.charge_elements(count, bytes_min, size)?;
        // What is reserved at once never exceeds the bytes that are there; wider elements grow by doubling,
        // never past the count.
        let mut elements = Vec::with_capacity(count.min(self.remaining() / size));
        for done in 0..count {
            if done == elements.capacity() {
                elements.reserve_exact((count - done).min(done.max(16)));
            }
            elements.push(read(self)?);
        }
        Ok(Some(elements))
    }

    fn charge_elements(&mut self, count: usize, bytes_min: usize, size: usize) -> Result<(), DecodeError> {
        if count > self.remaining() / bytes_min.max(1) {
            return Err(self.error(DecodeReason::Short));
        }
        let budget = self.budget.checked_sub(count.saturating_mul(size));
        match budget {
            Some(budget) if count <= ARRAY_ELEMENTS_MAX => self.budget = budget,
            _ => return Err(self.error(DecodeReason::TooManyElements)),
        }
        Ok(())
    }

    /// The tagged fields that end a struct. `known` reads the value of a tag it knows and says so; other
    /// fields go to `unknown` unread.
    ///
    /// # Errors
    /// Beyond the limits, a tag twice, a size that is not that of the value, or what `known` refuses.
    pub fn tags(
        &mut self,
        unknown: &mut UnknownTags,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.uvarint()? as usize;
        if count > TAGGED_FIELDS_MAX {
            return Err(self.error(DecodeReason::TooManyTags));
        }
        // Separate, so that the usual struct without tagged fields clears no table.
        if count == 0 { Ok(()) } else { self.some_tags(count, unknown, &mut known) }
    }

    fn some_tags(
        &mut self,
        count: usize,
        unknown: &mut UnknownTags,
        known: &mut impl FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut seen = [0; TAGGED_FIELDS_MAX];
        for k in 0..count {
            let tag = self.uvarint()?;
            let length = self.uvarint()? as usize;
            if length > self.remaining() {
                return Err(self.error(DecodeReason::Short));
            }
            if seen[..k].contains(&tag) {
                return Err(self.error(DecodeReason::InvalidTag));
            }
            seen[k] = tag;
            self.tagged(tag, length, unknown, known)?;
        }
        Ok(())
    }

    fn tagged(
        &mut self,
        tag: u32,
        length: usize,
        unknown: &mut UnknownTags,
        known: &mut impl FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let outer = self.end;
        self.end = self.at + length;
        if !known(self, tag)? {
            if length > TAGGED_BYTES_MAX {
                return Err(self.error(DecodeReason::TooManyTags));
            }
            let value = self.take(length)?;
            if !unknown.insert(tag, value) {
                return Err(self.error(DecodeReason::InvalidTag));
            }
        }
        if self.at != self.end {
            return Err(self.error(DecodeReason::InvalidTag));
        }
        self.end = outer;
        Ok(())
    }

    /// The next `length` bytes, shared.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.remaining() {
            return Err(self.error(DecodeReason::Short));
        }
        let from = self.at;
        self.at += length;
        Ok(self.bytes.slice(from..self.at))
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let found = self.bytes.get(self.at..self.end).and_then(|left| left.first_chunk::<N>());
        let Some(chunk) = found else { return Err(self.error(DecodeReason::Short)) };
        self.at += N;
        Ok(*chunk)
    }

    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok((self.uvarint()? as usize).checked_sub(1))
    }

    fn long_length(&mut self, compact: bool) -> Result<Option<usize>, DecodeError> {
        if compact { self.compact_length() } else { length_of(self.i32()?, self) }
    }

    fn or_null(&self, length: Option<usize>, nullable: bool) -> Result<Option<usize>, DecodeError> {
        if length.is_none() && !nullable {
            return Err(self.error(DecodeReason::UnexpectedNull));
        }
        Ok(length)
    }
}

/// A length of the fixed-width encoding, −1 being null.
fn length_of(length: i32, reader: &Reader) -> Result<Option<usize>, DecodeError> {
    match length {
        -1 => Ok(None),
        _ => usize::try_from(length).map(Some).map_err(|_| reader.error(DecodeReason::NegativeLength)),
    }
}

#[cfg(test)]
mod tests;
