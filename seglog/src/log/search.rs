//! Finding offsets by timestamp.

use super::{Log, ReadError};
use crate::scan::{Hop, Placed, ScanError};
use crate::segment::Segment;
use base::{LastOffset, LeaderEpoch, Timestamp};
use wire::record::{Batch, Compression, Records, TimestampType};

/// Largest batch that is read into memory to look at its records.
const BATCH_BYTES_MAX: u64 = 128 << 20;

/// What the log needs of codecs, which it does not know.
pub trait RecordCodec {
    /// The plain records of a compressed payload; `None` if it is broken or too large.
    fn decompress(&self, codec: Compression, payload: &[u8]) -> Option<Vec<u8>>;

    /// The compressed form of plain records; `None` if that cannot be done.
    fn compress(&self, codec: Compression, records: &[u8]) -> Option<Vec<u8>>;
}

/// A record that was found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeHit {
    /// The record's offset.
    pub offset: LastOffset,
    /// The record's timestamp.
    pub timestamp: Timestamp,
    /// Epoch of the leader that wrote it.
    pub leader_epoch: LeaderEpoch,
}

impl Log {
    /// The first record at or after the start whose timestamp is at least `target`.
    ///
    /// # Errors
    /// [`ReadError::Damaged`], `Disk`.
    pub fn find_time(
        &mut self,
        target: Timestamp,
        codec: &dyn RecordCodec,
    ) -> Result<Option<TimeHit>, ReadError> {
        let start = self.start.0;
        let mut base = Some(self.floor_base(start));
        while let Some(current) = base {
            let search = |segment: &Segment| {
                if segment.latest.timestamp < target.0 {
                    return Ok(None);
                }
                let from = segment.offset_before_time(target.0)?.max(start);
                let Some(first) = segment.find_placed(from)? else { return Ok(None) };
                search_from(segment, &first, codec, &|timestamp, offset| {
                    timestamp >= target.0 && offset >= start
                })
            };
            let found = self.ask(current, search).map_err(|error| ReadError::scan(current, error))?;
            if found.is_some() {
                return Ok(found);
            }
            base = self.next_base(current);
        }
        Ok(None)
    }

    /// The first record that has the latest timestamp of the log (KIP-734).
    ///
    /// # Errors
    /// [`ReadError::Damaged`], `Disk`.
    pub fn find_latest_time(&mut self, codec: &dyn RecordCodec) -> Result<Option<TimeHit>, ReadError> {
        let mut best = None;
        let mut base = Some(self.floor_base(self.start.0));
        while let Some(current) = base {
            let latest = self.segment(current).map_err(|error| ReadError::scan(current, error))?.latest;
            if latest.timestamp >= 0 && best.is_none_or(|(_, timestamp)| latest.timestamp > timestamp) {
                best = Some((current, latest.timestamp));
            }
            base = self.next_base(current);
        }
        let Some((base, timestamp)) = best else { return Ok(None) };
        let search = |segment: &Segment| {
            let Some(first) = segment.find_placed(segment.latest.offset)? else { return Ok(None) };
            search_from(segment, &first, codec, &|found, _| found >= timestamp)
        };
        let found = self.ask(base, search).map_err(|error| ReadError::scan(base, error))?;
        // A record that was deleted by moving the start into its batch is found no more.
        Ok(found.filter(|hit| hit.offset.0 >= self.start.0))
    }
}

/// The first record from a batch on that is wanted.
fn search_from(
    segment: &Segment,
    first: &Placed,
    codec: &dyn RecordCodec,
    wanted: &dyn Fn(i64, i64) -> bool,
) -> Result<Option<TimeHit>, ScanError> {
    let mut hop = Hop::new(&*segment.file, first.position, segment.size, segment.base);
    while let Some(placed) = hop.next()? {
        if !wanted(placed.header.max_timestamp, placed.header.last_offset().0) {
            continue;
        }
        if let Some(hit) = search_batch(segment, &placed, codec, wanted)? {
            return Ok(Some(hit));
        }
    }
    Ok(None)
}

fn search_batch(
    segment: &Segment,
    placed: &Placed,
    codec: &dyn RecordCodec,
    wanted: &dyn Fn(i64, i64) -> bool,
) -> Result<Option<TimeHit>, ScanError> {
    let header = &placed.header;
    let Some(records) = read_records(segment, placed, codec)? else { return Ok(None) };
    let stamped = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    for record in Records::new(&records, header.record_count).map_while(Result::ok) {
        let offset = header.base_offset + i64::from(record.offset_delta);
        let timestamp = if stamped {
            header.max_timestamp
        } else {
            header.base_timestamp.wrapping_add(record.timestamp_delta)
        };
        if wanted(timestamp, offset) {
            return Ok(Some(TimeHit {
                offset: LastOffset(offset),
                timestamp: Timestamp(timestamp),
                leader_epoch: LeaderEpoch(header.partition_leader_epoch),
            }));
        }
    }
    Ok(None)
}

/// The plain records of a batch in a file; `None` if they cannot be had.
pub(crate) fn read_records(
    segment: &Segment,
    placed: &Placed,
    codec: &dyn RecordCodec,
) -> Result<Option<Vec<u8>>, ScanError> {
    let Some(bytes) = read_batch(segment, placed)? else { return Ok(None) };
    let Ok(batch) = Batch::parse(&bytes) else { return Ok(None) };
    Ok(match batch.header().attributes.compression() {
        Ok(Compression::None) => Some(batch.payload().to_vec()),
        Ok(kind) => codec.decompress(kind, batch.payload()),
        Err(_) => None,
    })
}

/// The bytes of a batch in a file; `None` if it is too large to be held.
pub(crate) fn read_batch(segment: &Segment, placed: &Placed) -> Result<Option<Vec<u8>>, ScanError> {
    let total = placed.header.total_bytes();
    if total > BATCH_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(total).unwrap_or(0)];
    let read = segment.file.read_at(&mut bytes, placed.position)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}
