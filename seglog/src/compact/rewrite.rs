//! Writing the copy: batch by batch, whole, thinned, emptied or not at all.

use super::keys::LatestKeys;
use super::outcomes::Outcomes;
use super::{CompactError, CompactionJob};
use crate::disk::{DiskError, OpenMode};
use crate::index::{SegmentIndex, relative};
use crate::log::{RecordCodec, read_batch, read_records};
use crate::names::{FileKind, Stage};
use crate::scan::{Damage, Placed, ScanError};
use crate::segment::{Index, Segment, path};
use base::{Timestamp, hit};
use std::io::IoSlice;
use std::sync::Arc;
use wire::record::{
    Batch, BatchBuilder, BatchHeader, BatchMeta, Compression, Record, RecordFields, RecordHeader, Records,
    TimestampType,
};

/// Bytes that are written at a time.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes of a batch that is copied without being held.
const COPY_BYTES: usize = 256 << 10;

/// What becomes of a batch.
enum Fate {
    /// Copied as it is.
    Whole,
    /// Replaced by these bytes.
    Thinned(Vec<u8>),
    /// Left out.
    Gone,
}

/// Writes one new segment under its `.cleaned` name.
pub(super) struct Rewriter<'j> {
    job: &'j CompactionJob,
    codec: &'j dyn RecordCodec,
    outcomes: &'j Outcomes,
    keys: &'j LatestKeys,
    segment: Segment,
    /// Batches that are not in the file yet; the file and they make up `segment.size`.
    buffer: Vec<u8>,
    /// End offset and leader epoch of the last batch.
    last: (i64, i32),
}

impl<'j> Rewriter<'j> {
    pub(super) fn create(
        job: &'j CompactionJob,
        base: i64,
        codec: &'j dyn RecordCodec,
        outcomes: &'j Outcomes,
        keys: &'j LatestKeys,
    ) -> Result<Self, CompactError> {
        let target = path(&job.path, base, FileKind::Log, Stage::Cleaned);
        let file = job.dir.disk().open(&target, OpenMode::Replace)?;
        let segment = Segment::with_index(base, file, 0, Index::Memory(SegmentIndex::default()));
        Ok(Self { job, codec, outcomes, keys, segment, buffer: Vec::new(), last: (base, -1) })
    }

    /// Copies what stays of a source. The batch that ends at `end`, the group's, stays in some form, so that
    /// the copy covers the same offsets.
    pub(super) fn copy(&mut self, source: &Segment, end: i64) -> Result<(), ScanError> {
        let file = Arc::clone(&source.file);
        let mut hop = crate::scan::Hop::new(&*file, 0, source.size, source.base);
        while let Some(placed) = hop.next()? {
            let is_last = placed.header.end_offset().0 == end;
            match self.fate(source, &placed, is_last)? {
                Fate::Whole => self.put_whole(source, &placed)?,
                Fate::Thinned(bytes) => self.put(&bytes)?,
                Fate::Gone => hit!(batch_compacted_away),
            }
        }
        Ok(())
    }

    /// Makes the copy and its indexes durable. It ends where the group ends, as recovery expects it.
    pub(super) fn finish(mut self, end: i64) -> Result<Segment, CompactError> {
        if let Some(delta) = relative(self.last.0, end - 1) {
            // Another cleaner has left the end of a source empty.
            let (base_offset, partition_leader_epoch) = self.last;
            let meta = BatchMeta { base_offset, partition_leader_epoch, ..BatchMeta::default() };
            let mut builder = BatchBuilder::new(meta);
            builder.extend_to(i32::try_from(delta).unwrap_or(i32::MAX));
            self.put(&builder.finish())?;
        }
        self.write_out()?;
        self.segment.file.sync_data()?;
        self.segment.note_end();
        for write in self.segment.index_writes_as(&self.job.path, true, Stage::Cleaned) {
            write.run(&**self.job.dir.disk())?.sync_data()?;
        }
        self.segment.mark_written();
        Ok(self.segment)
    }

    fn fate(&self, source: &Segment, placed: &Placed, is_last: bool) -> Result<Fate, ScanError> {
        let header = &placed.header;
        if header.attributes.is_control() {
            return Ok(Fate::Whole);
        }
        let must_stay = is_last || self.job.producer_lasts.contains(&header.last_offset().0);
        let gone = || if must_stay { Fate::Thinned(emptied(header)) } else { Fate::Gone };
        if self.outcomes.is_aborted(header) {
            return Ok(gone());
        }
        if header.record_count == 0 {
            return Ok(if must_stay { Fate::Whole } else { Fate::Gone });
        }
        let Some(records) = read_sound(source, placed, self.codec)? else { return Ok(Fate::Whole) };
        let kept: Vec<Record<'_>> = Records::new(&records, header.record_count)
            .map_while(Result::ok)
            .filter(|record| self.stays(header, record))
            .collect();
        if kept.is_empty() {
            return Ok(gone());
        }
        let tombstones = kept.iter().any(|record| record.value.is_none());
        let horizon = tombstones && !header.attributes.has_delete_horizon();
        if kept.len() == usize::try_from(header.record_count).unwrap_or(0) && !horizon {
            return Ok(Fate::Whole);
        }
        Ok(self.thinned(header, &kept, horizon).map_or(Fate::Whole, Fate::Thinned))
    }

    fn stays(&self, header: &BatchHeader, record: &Record<'_>) -> bool {
        // A record without a key has no place in a compacted log; Kafka drops it too.
        let Some(key) = record.key else { return false };
        let offset = header.base_offset + i64::from(record.offset_delta);
        if self.keys.is_void(key, offset) {
            return false;
        }
        // The base timestamp of such a batch is its delete horizon (KIP-534).
        let expired = header.attributes.has_delete_horizon() && header.base_timestamp < self.job.now.0;
        record.value.is_some() || !expired
    }

    /// The batch with fewer records, or with a delete horizon. `None` if it cannot be compressed again.
    fn thinned(&self, header: &BatchHeader, kept: &[Record<'_>], horizon: bool) -> Option<Vec<u8>> {
        let new_horizon = Timestamp(self.job.now.0).plus(self.job.config.delete_retention).0;
        let old_horizon = header.attributes.has_delete_horizon().then_some(header.base_timestamp);
        let mut builder = BatchBuilder::new(BatchMeta {
            delete_horizon: if horizon { Some(new_horizon) } else { old_horizon },
            ..meta(header)
        });
        for record in kept {
            let headers: Vec<RecordHeader<'_>> = record.headers().collect();
            let fields = RecordFields {
                timestamp: header.base_timestamp.wrapping_add(record.timestamp_delta),
                key: record.key,
                value: record.value,
                headers: &headers,
            };
            builder.push_at(record.offset_delta, &fields);
        }
        builder.extend_to(header.last_offset_delta);
        if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
            builder.set_max_timestamp(header.max_timestamp);
        }
        let kind = header.attributes.compression().ok()?;
        if kind == Compression::None {
            return Some(builder.finish());
        }
        let payload = self.codec.compress(kind, builder.payload())?;
        Some(builder.finish_compressed(kind, &payload))
    }

    fn put(&mut self, batch: &[u8]) -> Result<(), DiskError> {
        if let Ok(header) = BatchHeader::decode(batch) {
            self.note(&header);
        }
        self.buffer.extend_from_slice(batch);
        if self.buffer.len() >= WRITE_BYTES { self.write_out() } else { Ok(()) }
    }

    fn note(&mut self, header: &BatchHeader) {
        let position = self.segment.size;
        self.segment.note(header, position, self.job.config.index_interval_bytes);
        self.segment.size += header.total_bytes();
        self.last = (header.end_offset().0, header.partition_leader_epoch);
    }

    fn put_whole(&mut self, source: &Segment, placed: &Placed) -> Result<(), DiskError> {
        self.note(&placed.header);
        let (mut at, end) = (placed.position, placed.end_position());
        while at < end {
            let take = usize::try_from(end - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let start = self.buffer.len();
            self.buffer.resize(start + take, 0);
            source.file.read_at(&mut self.buffer[start..], at)?;
            at += take as u64;
            if self.buffer.len() >= WRITE_BYTES {
                self.write_out_to(self.segment.size - (end - at))?;
            }
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), DiskError> {
        self.write_out_to(self.segment.size)
    }

    /// Writes the buffer so that it ends at `end`.
    fn write_out_to(&mut self, end: u64) -> Result<(), DiskError> {
        let at = end - self.buffer.len() as u64;
        self.segment.file.write_at(&mut [IoSlice::new(&self.buffer)], at)?;
        self.buffer.clear();
        Ok(())
    }
}

/// The plain records of a batch whose checksum is right; `None` if they cannot be read. A wrong checksum is
/// damage: what is copied gets a new one and would never be found out.
pub(super) fn read_sound(
    segment: &Segment,
    placed: &Placed,
    codec: &dyn RecordCodec,
) -> Result<Option<Vec<u8>>, ScanError> {
    let Some(bytes) = read_batch(segment, placed)? else { return Ok(None) };
    let damaged = |cause| ScanError::Damaged(Damage { position: placed.position, cause });
    let batch = Batch::parse(&bytes).map_err(damaged)?;
    batch.check_crc().map_err(damaged)?;
    let Some(records) = read_records(segment, placed, codec)? else { return Ok(None) };
    let readable = Records::new(&records, placed.header.record_count).all(|record| record.is_ok());
    Ok(readable.then_some(records))
}

/// A batch that stands for its offsets and sequences and holds nothing.
fn emptied(header: &BatchHeader) -> Vec<u8> {
    hit!(batch_emptied);
    let mut builder = BatchBuilder::new(meta(header));
    builder.extend_to(header.last_offset_delta);
    // It has no records, so it has no latest one: a search by time must not end here.
    builder.finish()
}

fn meta(header: &BatchHeader) -> BatchMeta {
    BatchMeta {
        base_offset: header.base_offset,
        partition_leader_epoch: header.partition_leader_epoch,
        timestamp_type: header.attributes.timestamp_type(),
        transactional: header.attributes.is_transactional(),
        control: false,
        delete_horizon: None,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
    }
}
