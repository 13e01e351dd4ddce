//! Reading: ranges of files, never bytes.

use super::{Log, ReadError};
use crate::disk::DiskFile;
use crate::scan::ScanError;
use crate::segment::{Segment, Spot};
use base::{EndOffset, LastOffset};
use std::sync::Arc;

/// A range of a segment's file that holds batches. The file stays readable after the log has dropped it.
#[derive(Clone, Debug)]
pub struct ReadSlice {
    /// The segment's file.
    pub file: Arc<dyn DiskFile>,
    /// First byte.
    pub position: u64,
    /// Number of bytes; the last batch may be cut off, as in Kafka.
    pub length: u64,
    /// First offset of the first batch, which may be below the one asked for.
    pub base: LastOffset,
}

impl Log {
    /// The batches from the one with `from` on: at most `max_bytes`, nothing at or after `up_to`. With
    /// `at_least_one` the first batch is whole however large it is. `None` if there is nothing yet.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] before the start or after the end; `Damaged`; `Disk`.
    pub fn read(
        &mut self,
        from: EndOffset,
        max_bytes: u64,
        up_to: EndOffset,
        at_least_one: bool,
    ) -> Result<Option<ReadSlice>, ReadError> {
        if from < self.start || from > self.end {
            return Err(ReadError::OutOfRange { start: self.start, end: self.end });
        }
        let up_to = up_to.min(self.end);
        if from >= up_to {
            return Ok(None);
        }
        let mut base = self.floor_base(from.0);
        loop {
            let wanted = Wanted { from: from.0, up_to: up_to.0, max_bytes, at_least_one };
            let covers = self.next_base(base).is_some_and(|next| next <= up_to.0) || up_to == self.end;
            let found = self
                .ask(base, |segment| read_segment(segment, &wanted, covers))
                .map_err(|error| ReadError::scan(base, error))?;
            match (found, self.next_base(base)) {
                (Found::Slice(slice), _) => return Ok(Some(slice)),
                (Found::Nothing, Some(next)) if next < up_to.0 => base = next,
                (Found::Nothing | Found::TooLarge, _) => return Ok(None),
            }
        }
    }
}

struct Wanted {
    from: i64,
    up_to: i64,
    max_bytes: u64,
    at_least_one: bool,
}

enum Found {
    Slice(ReadSlice),
    /// No batch of the segment ends at or after the offset.
    Nothing,
    /// Not even one batch is visible, or fits.
    TooLarge,
}

fn read_segment(segment: &Segment, wanted: &Wanted, covers: bool) -> Result<Found, ScanError> {
    let Some(first) = segment.find(wanted.from)? else { return Ok(Found::Nothing) };
    let limit = if covers {
        segment.size
    } else {
        segment.find(wanted.up_to)?.map_or(segment.size, |spot| spot.position)
    };
    let Some(available) = limit.checked_sub(first.position).filter(|left| *left > 0) else {
        return Ok(Found::TooLarge);
    };
    let mut length = available.min(wanted.max_bytes);
    if length < first.bytes {
        if !wanted.at_least_one {
            return Ok(Found::TooLarge);
        }
        length = first.bytes;
    }
    if length < available {
        length = align(segment, &first, length)?;
    }
    let file = Arc::clone(&segment.file);
    Ok(Found::Slice(ReadSlice {
        file,
        position: first.position,
        length,
        base: LastOffset(first.base_offset),
    }))
}

/// Ends the range where an indexed batch begins, if one does after the first batch: what would be cut off is
/// not sent in vain.
fn align(segment: &Segment, first: &Spot, length: u64) -> Result<u64, ScanError> {
    let least = first.position + first.bytes;
    let floor = segment.floor_position(first.position + length)?;
    Ok(floor.filter(|position| *position >= least).map_or(length, |position| position - first.position))
}
