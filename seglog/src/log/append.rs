//! Appending: the only place where offsets are given out.

use super::open::remove_segment;
use super::{AppendError, Log};
use crate::disk::{DiskError, DiskErrorKind};
use crate::index::relative;
use crate::producer::{ProducerBatch, Verdict};
use crate::scan::Placed;
use crate::segment::{Segment, Spot};
use base::{EndOffset, LastOffset, LeaderEpoch, Now, Span, Timestamp, hit, planted};
use std::io::IoSlice;
use wire::record::{
    BatchHeader, CheckedBatches, EndTxnMarker, HEADER_BYTES, Records, TimestampType, stamp_log_append_time,
};

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client's Produce.
    Client {
        /// Refuse a producer of whom nothing is known unless its first sequence is zero (KIP-890: producers of
        /// transactions version 2). Kafka believes all others.
        strict: bool,
    },
    /// This broker itself: coordinators and markers. Size limits of clients do not apply.
    Broker,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base: LastOffset,
    /// Offset after the last record.
    pub end: EndOffset,
    /// The broker's time that all records got, if the topic has log append time.
    pub log_append_time: Option<Timestamp>,
    /// The batch was in the log already and nothing was written.
    pub duplicate: bool,
    /// Bytes written.
    pub bytes: u64,
}

impl Log {
    /// Appends batches at the end: gives them offsets and the leader's epoch, which lie outside of their CRC,
    /// and writes all of them at once without copying a payload.
    ///
    /// # Errors
    /// Any [`AppendError`] but `UnexpectedOffset`. The log is as before; after `Fenced` the whole directory is
    /// closed.
    pub fn append(
        &mut self,
        batches: &CheckedBatches<'_>,
        origin: Origin,
        epoch: LeaderEpoch,
        now: Now,
    ) -> Result<Appended, AppendError> {
        self.check_open()?;
        let mut headers: Vec<BatchHeader> = batches.iter().map(|batch| *batch.header()).collect();
        self.check_sizes(&headers, origin)?;
        if let Some(duplicate) = self.check_producers(&headers, origin)? {
            return Ok(duplicate);
        }
        self.give_offsets(&mut headers, epoch, now);
        self.roll_if_needed(batches.bytes().len() as u64, &headers, now)?;
        let heads: Vec<[u8; HEADER_BYTES]> = headers.iter().map(BatchHeader::encode).collect();
        let mut parts = Vec::with_capacity(headers.len() * 2);
        for (head, payload) in heads.iter().zip(payloads(batches, &headers)) {
            parts.push(IoSlice::new(head));
            parts.push(IoSlice::new(payload));
        }
        let base = LastOffset(self.end.0);
        let bytes = self.write(&mut parts, batches, &headers, now)?;
        let stamped = self.config.timestamp_type == TimestampType::LogAppendTime;
        let log_append_time = stamped.then_some(now.wall);
        Ok(Appended { base, end: self.end, log_append_time, duplicate: false, bytes })
    }

    /// Appends what a leader sent, as it is.
    ///
    /// # Errors
    /// [`AppendError::UnexpectedOffset`], `NoSpace`, `Fenced`.
    pub fn append_as_follower(
        &mut self,
        batches: &CheckedBatches<'_>,
        now: Now,
    ) -> Result<Appended, AppendError> {
        self.check_open()?;
        let first = batches.first().base_offset;
        if first < self.end.0 {
            return Err(AppendError::UnexpectedOffset { expected: self.end, found: first });
        }
        let headers: Vec<BatchHeader> = batches.iter().map(|batch| *batch.header()).collect();
        self.roll_if_needed(batches.bytes().len() as u64, &headers, now)?;
        let bytes = self.write(&mut [IoSlice::new(batches.bytes())], batches, &headers, now)?;
        let base = LastOffset(first);
        Ok(Appended { base, end: self.end, log_append_time: None, duplicate: false, bytes })
    }

    fn check_open(&self) -> Result<(), AppendError> {
        match self.dir.fenced() {
            Some(cause) if !planted!(B1) => Err(AppendError::Fenced(cause.clone())),
            Some(_) | None => Ok(()),
        }
    }

    fn check_sizes(&self, headers: &[BatchHeader], origin: Origin) -> Result<(), AppendError> {
        let max = self.config.message_bytes_max;
        let largest = headers.iter().map(BatchHeader::total_bytes).max().unwrap_or(0);
        if matches!(origin, Origin::Client { .. }) && largest > u64::from(max) {
            return Err(AppendError::BatchTooLarge { bytes: largest, max });
        }
        let (bytes, max) = (headers.iter().map(BatchHeader::total_bytes).sum(), self.config.segment_bytes);
        if bytes > u64::from(max) {
            return Err(AppendError::BatchesTooLarge { bytes, max });
        }
        Ok(())
    }

    fn check_producers(
        &self,
        headers: &[BatchHeader],
        origin: Origin,
    ) -> Result<Option<Appended>, AppendError> {
        for header in headers.iter().filter(|header| header.has_producer()) {
            match origin {
                Origin::Broker => self.producers.check_broker(header)?,
                Origin::Client { strict } => match self.producers.check_client(header, strict)? {
                    Verdict::New => {}
                    Verdict::Duplicate(batch) => return Ok(Some(self.duplicate(&batch))),
                },
            }
        }
        Ok(None)
    }

    /// The answer to a retry of a batch that is in the log.
    fn duplicate(&self, batch: &ProducerBatch) -> Appended {
        let stamped = self.config.timestamp_type == TimestampType::LogAppendTime;
        Appended {
            base: LastOffset(batch.base_offset()),
            end: EndOffset(batch.last_offset + 1),
            log_append_time: stamped.then_some(Timestamp(batch.timestamp)),
            duplicate: true,
            bytes: 0,
        }
    }

    fn give_offsets(&self, headers: &mut [BatchHeader], epoch: LeaderEpoch, now: Now) {
        let stamp = self.config.timestamp_type == TimestampType::LogAppendTime;
        let mut next = self.end.0;
        for header in headers {
            header.base_offset = next;
            header.partition_leader_epoch = epoch.0;
            if stamp && !header.attributes.is_control() {
                stamp_log_append_time(header, now.wall);
            }
            next = header.end_offset().0;
        }
    }

    /// Writes bytes at the end and lets the log's end move with them; what is derived follows (rule A18).
    fn write(
        &mut self,
        parts: &mut [IoSlice<'_>],
        batches: &CheckedBatches<'_>,
        headers: &[BatchHeader],
        now: Now,
    ) -> Result<u64, AppendError> {
        self.now = now;
        let position = self.active.size;
        self.active.reserve(position + batches.bytes().len() as u64);
        if let Err(error) = self.active.file.write_at(parts, position) {
            return Err(self.give_up(error));
        }
        let bytes: u64 = headers.iter().map(BatchHeader::total_bytes).sum();
        self.active.size += bytes;
        self.checkpoint.note_appended(bytes);
        if planted!(A18) {
            self.side_write_first()?;
        }
        if let Some(last) = headers.last() {
            self.end = last.end_offset();
        }
        self.note_appended(position, batches, headers, now);
        Ok(bytes)
    }

    /// What planted bug A18 does: the log's end waits for an index.
    fn side_write_first(&mut self) -> Result<(), AppendError> {
        for write in self.active.index_writes(&self.path, false) {
            write.run(&**self.dir.disk())?;
        }
        Ok(())
    }

    fn note_appended(
        &mut self,
        position: u64,
        batches: &CheckedBatches<'_>,
        headers: &[BatchHeader],
        now: Now,
    ) {
        let mut position = position;
        for (header, payload) in headers.iter().zip(payloads(batches, headers)) {
            self.active.note(header, position, self.config.index_interval_bytes);
            self.active.note_recent(Spot::from(Placed { header: *header, position }));
            let epoch = LeaderEpoch(header.partition_leader_epoch);
            self.epochs.assign(epoch, EndOffset(header.base_offset));
            if header.has_producer() {
                self.producers.apply(header, marker(header, payload), now.wall);
            }
            position += header.total_bytes();
        }
    }

    /// Undoes a failed write. A full disk is no reason to stop: what came through is cut off again (B10).
    /// Anything else closes the directory before anybody can hear of this append (B1, B2).
    fn give_up(&mut self, error: DiskError) -> AppendError {
        if error.kind == DiskErrorKind::NoSpace {
            hit!(append_without_space);
            if planted!(B10) {
                self.active.size = self.active.file.length().unwrap_or(self.active.size);
                return AppendError::NoSpace;
            }
            match self.active.file.truncate(self.active.size) {
                Ok(()) => return AppendError::NoSpace,
                Err(error) => self.dir.fence(&error),
            }
        } else {
            self.dir.fence(&error);
        }
        AppendError::Fenced(error)
    }

    /// Begins a new segment if the active one is full, old, or cannot name the offsets.
    fn roll_if_needed(&mut self, bytes: u64, headers: &[BatchHeader], now: Now) -> Result<(), AppendError> {
        let Some(last) = headers.last() else { return Ok(()) };
        let newest = headers.iter().map(|header| header.max_timestamp).max().unwrap_or(-1);
        if self.active.size == 0 {
            // An empty segment is only too old to name the offsets if a follower skips far ahead.
            return match relative(self.active.base, last.last_offset().0) {
                Some(_) => Ok(()),
                None => self.move_empty(headers.first().map_or(self.end.0, |first| first.base_offset)),
            };
        }
        let full = self.active.size + bytes > u64::from(self.config.segment_bytes)
            || self.active.index_bytes() + 16 > self.config.index_bytes_max as usize
            || relative(self.active.base, last.last_offset().0).is_none();
        if full || self.active_age(newest, now) > self.config.segment_time { self.roll(now) } else { Ok(()) }
    }

    /// How much time the active segment would span with a batch of this timestamp.
    fn active_age(&self, newest: i64, now: Now) -> Span {
        match self.active.first_timestamp {
            Some(first) if first >= 0 && newest >= 0 => Timestamp(newest).since(Timestamp(first)),
            Some(_) | None => now.mono.since(self.checkpoint.rolled_at()),
        }
    }

    /// Closes the active segment and begins a new one at the end of the log. Nothing here waits for the device.
    ///
    /// # Errors
    /// [`AppendError::NoSpace`] or `Fenced`; the active segment is then as before.
    pub fn roll(&mut self, now: Now) -> Result<(), AppendError> {
        if self.active.size == 0 {
            return Ok(());
        }
        let base = self.end.0;
        let created = Segment::create(&**self.dir.disk(), &self.path, base);
        let mut rolled = match self.dir.fence_on_error(created) {
            Ok(next) => std::mem::replace(&mut self.active, next),
            Err(error) => return Err(error.into()),
        };
        hit!(segment_rolled);
        rolled.note_end();
        rolled.release();
        rolled.forget_recent();
        self.flush.note_rolled(&rolled);
        self.checkpoint.note_rolled(now, base, &self.producers);
        self.closed.insert(rolled.base, rolled.into());
        Ok(())
    }
}

impl Log {
    /// Replaces an empty active segment by one that begins at `base`.
    fn move_empty(&mut self, base: i64) -> Result<(), AppendError> {
        let created = Segment::create(&**self.dir.disk(), &self.path, base);
        let next = self.dir.fence_on_error(created)?;
        let old = std::mem::replace(&mut self.active, next);
        self.flush.note_dir_dirty();
        // If this fails, an empty segment stays, which is dropped when the log is opened.
        let _ = remove_segment(&**self.dir.disk(), &self.path, old.base);
        Ok(())
    }
}

/// The records of each batch, by the headers, which need not be parsed again.
fn payloads<'a>(batches: &CheckedBatches<'a>, headers: &[BatchHeader]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = batches.bytes();
    headers.iter().map(move |header| {
        let total = usize::try_from(header.total_bytes()).unwrap_or(usize::MAX);
        let (batch, after) = rest.split_at_checked(total).unwrap_or((rest, &[]));
        rest = after;
        batch.get(HEADER_BYTES..).unwrap_or_default()
    })
}

fn marker(header: &BatchHeader, payload: &[u8]) -> Option<EndTxnMarker> {
    if !header.attributes.is_control() {
        return None;
    }
    let record = Records::new(payload, header.record_count).next()?.ok()?;
    EndTxnMarker::parse(&record)
}
