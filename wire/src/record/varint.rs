//! Zigzag variable-length numbers, as records use them.

use super::error::RecordError;
use alloc::vec::Vec;

/// A cursor over borrowed bytes; every read is checked against what is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) const fn left(&self) -> usize {
        self.bytes.len()
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, RecordError> {
        let (first, rest) = self.bytes.split_first().ok_or(RecordError::BadVarint)?;
        self.bytes = rest;
        Ok(*first)
    }

    /// A number of at most five bytes.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<i32, RecordError> {
        let raw = self.unsigned(32)?;
        let raw = u32::try_from(raw).map_err(|_| RecordError::BadVarint)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A number of at most ten bytes.
    #[inline]
    pub(super) fn varlong(&mut self) -> Result<i64, RecordError> {
        let raw = self.unsigned(64)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// The next `length` bytes.
    #[inline]
    pub(super) fn take(&mut self, length: i32) -> Result<&'a [u8], RecordError> {
        let bad = RecordError::BadLength { length: i64::from(length), present: self.bytes.len() as u64 };
        let length = usize::try_from(length).map_err(|_| bad)?;
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(bad)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// Bytes behind a length, of which −1 means null and less is refused.
    #[inline]
    pub(super) fn nullable(&mut self) -> Result<Option<&'a [u8]>, RecordError> {
        match self.varint()? {
            -1 => Ok(None),
            length => self.take(length).map(Some),
        }
    }

    #[inline]
    fn unsigned(&mut self, bits: u32) -> Result<u64, RecordError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        self.unsigned_tail(u64::from(first & 0x7f), bits)
    }

    fn unsigned_tail(&mut self, low: u64, bits: u32) -> Result<u64, RecordError> {
        let mut value = low;
        let mut shift = 7;
        while shift < bits {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            let room = bits - shift;
            if room < 7 && part >> room != 0 {
                return Err(RecordError::BadVarint);
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
        Err(RecordError::BadVarint)
    }
}

/// Appends a zigzag number.
pub(super) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while raw >= 0x80 {
        out.push(low_7(raw) | 0x80);
        raw >>= 7;
    }
    out.push(low_7(raw));
}

/// Bytes that [`put_varlong`] would append.
pub(super) const fn varlong_bytes(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let bits = 64 - (raw | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

const fn low_7(raw: u64) -> u8 {
    (raw & 0x7f) as u8
}
