//! The records of an uncompressed payload, borrowed.

use super::error::RecordError;
use super::varint::Cursor;

/// Most headers a record may have. Kafka has no limit; a record with more is an attack or a mistake.
pub const HEADERS_MAX: usize = 10_000;

/// A record whose slices borrow the payload.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Milliseconds after the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Offset relative to the batch's base offset.
    pub offset_delta: i32,
    /// Null is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// Null is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// The record's headers, already checked.
    #[must_use]
    pub const fn headers(&self) -> Headers<'a> {
        self.headers
    }
}

/// A header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// Never null; may repeat. Meant to be UTF-8, but Kafka does not insist and C clients send other bytes.
    pub key: &'a [u8],
    /// May be null.
    pub value: Option<&'a [u8]>,
}

/// The headers of one record, in order.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    rest: Cursor<'a>,
    left: usize,
}

impl Headers<'_> {
    /// How many are left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.left
    }

    /// True if none is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = RecordHeader<'a>;

    fn next(&mut self) -> Option<RecordHeader<'a>> {
        self.left = self.left.checked_sub(1)?;
        // The walk has parsed these bytes once, so this cannot fail.
        read_header(&mut self.rest).ok()
    }
}

/// Walks a payload of `count` records; ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: Cursor<'a>,
    declared: i32,
    found: i32,
    done: bool,
}

impl<'a> Records<'a> {
    /// The records of a plain payload for which the batch declares `count`.
    #[must_use]
    pub const fn new(payload: &'a [u8], count: i32) -> Self {
        Self { rest: Cursor::new(payload), declared: count, found: 0, done: false }
    }

    /// Walks all records and checks that the offset deltas count up by one, as a client's must. Returns the
    /// largest timestamp delta and the offset delta of the first record that has it; `None` without records.
    ///
    /// # Errors
    /// The first [`RecordError`].
    pub fn check_sequential(self) -> Result<Option<(i64, i32)>, RecordError> {
        let mut max = None;
        for (expected, record) in (0..).zip(self) {
            let Record { timestamp_delta, offset_delta: found, .. } = record?;
            if found != expected {
                return Err(RecordError::OffsetDeltaNotSequential { expected, found });
            }
            if max.is_none_or(|(most, _)| timestamp_delta > most) {
                max = Some((timestamp_delta, found));
            }
        }
        Ok(max)
    }

    fn end(&mut self) -> Option<Result<Record<'a>, RecordError>> {
        self.done = true;
        let at_end = self.found == self.declared && self.rest.left() == 0;
        let found = if self.rest.left() == 0 { self.found } else { self.found.saturating_add(1) };
        (!at_end).then_some(Err(RecordError::CountMismatch { declared: self.declared, found }))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.found >= self.declared || self.rest.left() == 0 {
            return self.end();
        }
        let record = read_record(&mut self.rest);
        self.found += 1;
        self.done = record.is_err();
        Some(record)
    }
}

#[inline]
fn read_record<'a>(rest: &mut Cursor<'a>) -> Result<Record<'a>, RecordError> {
    let length = rest.varint()?;
    let mut body = Cursor::new(rest.take(length)?);
    let _attributes = body.byte()?;
    let timestamp_delta = body.varlong()?;
    let offset_delta = body.varint()?;
    let key = body.nullable()?;
    let value = body.nullable()?;
    let headers = read_headers(&mut body)?;
    if body.left() != 0 {
        return Err(RecordError::TrailingBytes { left: body.left() as u64 });
    }
    Ok(Record { timestamp_delta, offset_delta, key, value, headers })
}

#[inline]
fn read_headers<'a>(body: &mut Cursor<'a>) -> Result<Headers<'a>, RecordError> {
    let count = body.varint()?;
    let bad = RecordError::BadHeaderCount { count: i64::from(count) };
    let left = usize::try_from(count).map_err(|_| bad)?;
    // A header takes two bytes at least: an empty key and a null value.
    if left > HEADERS_MAX || left > body.left() / 2 {
        return Err(bad);
    }
    let headers = Headers { rest: Cursor::new(body.rest()), left };
    for _ in 0..left {
        read_header(body)?;
    }
    Ok(headers)
}

fn read_header<'a>(rest: &mut Cursor<'a>) -> Result<RecordHeader<'a>, RecordError> {
    let length = rest.varint()?;
    let key = rest.take(length)?;
    let value = rest.nullable()?;
    Ok(RecordHeader { key, value })
}
