//! From bytes to batches that need no second look.

use super::error::BatchError;
use super::header::{Batch, BatchHeader};
use base::EndOffset;

/// Walks the batches in `bytes` without copying: lengths and magic are checked, CRC and counts are not.
#[must_use]
pub const fn parse_batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes }
}

/// The batches of a byte string; ends after the first error.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// The bytes not yet walked; after an error, those from the bad batch on.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Batch::parse(self.rest) {
            Ok(batch) => {
                self.rest = &self.rest[batch.bytes().len()..];
                Some(Ok(batch))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// One or more whole batches whose lengths, magic, CRCs, counts and offset ranges have been checked.
///
/// The type is the proof: a log appends nothing else, and checks nothing again.
#[derive(Clone, Copy, Debug)]
pub struct CheckedBatches<'a> {
    bytes: &'a [u8],
    first: BatchHeader,
}

impl<'a> CheckedBatches<'a> {
    /// Checks the `records` of one partition in a Produce request: exactly one batch, from offset zero, no
    /// control batch, a sequence wherever there is a producer id.
    ///
    /// Bytes after the batch that are too few to be another are dropped, as Kafka does.
    ///
    /// # Errors
    /// Any [`BatchError`]; the variants say with which code Kafka refuses.
    pub fn from_produce(records: &'a [u8]) -> Result<Self, BatchError> {
        let mut batches = parse_batches(records);
        let batch = match batches.next() {
            None | Some(Err(BatchError::Truncated { .. })) => {
                return Err(BatchError::NotOneBatch { found: 0 });
            }
            Some(first) => first?,
        };
        match batches.next() {
            None | Some(Err(BatchError::Truncated { .. })) => {}
            Some(Ok(_)) => return Err(BatchError::NotOneBatch { found: 2 }),
            Some(Err(error)) => return Err(error),
        }
        check_client(batch.header())?;
        batch.header().check_full()?;
        batch.check_crc()?;
        Ok(Self { bytes: batch.bytes(), first: *batch.header() })
    }

    /// Checks batches that this broker made itself (coordinators, markers): any number, all whole.
    ///
    /// # Errors
    /// Any [`BatchError`] but those of clients.
    pub fn from_broker(records: &'a [u8]) -> Result<Self, BatchError> {
        let mut checked = None;
        for batch in parse_batches(records) {
            let batch = batch?;
            batch.header().check_full()?;
            batch.check_crc()?;
            checked.get_or_insert(*batch.header());
        }
        let first = checked.ok_or(BatchError::NotOneBatch { found: 0 })?;
        Ok(Self { bytes: records, first })
    }

    /// Checks what a leader sent to a follower: batches with their offsets, thinned by compaction perhaps,
    /// increasing from `expected` on; a torn batch at the end is dropped. `None` if there is no whole one.
    ///
    /// # Errors
    /// Any [`BatchError`] but those of clients.
    pub fn from_leader(records: &'a [u8], expected: EndOffset) -> Result<Option<Self>, BatchError> {
        let mut first = None;
        let mut length = 0;
        let mut expected = expected.0;
        for batch in parse_batches(records) {
            let batch = match batch {
                Err(BatchError::Truncated { .. }) => break,
                other => other?,
            };
            let header = batch.header();
            header.check()?;
            if header.base_offset < expected {
                return Err(BatchError::OffsetsNotIncreasing { expected, found: header.base_offset });
            }
            batch.check_crc()?;
            expected = header.end_offset().0;
            length += batch.bytes().len();
            first.get_or_insert(*header);
        }
        Ok(first.map(|first| Self { bytes: &records[..length], first }))
    }

    /// All bytes, exactly the batches.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The header of the first batch.
    #[must_use]
    pub const fn first(&self) -> &BatchHeader {
        &self.first
    }

    /// The batches, in order; there is at least one.
    #[must_use]
    pub const fn iter(&self) -> CheckedIter<'a> {
        CheckedIter { inner: parse_batches(self.bytes) }
    }
}

impl<'a> IntoIterator for &CheckedBatches<'a> {
    type Item = Batch<'a>;
    type IntoIter = CheckedIter<'a>;

    fn into_iter(self) -> CheckedIter<'a> {
        self.iter()
    }
}

/// The batches of a [`CheckedBatches`].
#[derive(Clone, Debug)]
pub struct CheckedIter<'a> {
    inner: Batches<'a>,
}

impl<'a> Iterator for CheckedIter<'a> {
    type Item = Batch<'a>;

    fn next(&mut self) -> Option<Batch<'a>> {
        self.inner.next().and_then(Result::ok)
    }
}

fn check_client(header: &BatchHeader) -> Result<(), BatchError> {
    if header.base_offset != 0 {
        return Err(BatchError::BaseOffsetNotZero { base_offset: header.base_offset });
    }
    if header.attributes.is_control() {
        return Err(BatchError::ControlFromClient);
    }
    if header.has_producer() && header.base_sequence < 0 {
        return Err(BatchError::NegativeSequence { base_sequence: header.base_sequence });
    }
    Ok(())
}
