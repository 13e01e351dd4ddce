//! Reading a partition: batches, offsets of timestamps, epochs, producers.

use super::accept::codec_of;
use super::role::Role;
use super::{Inner, Replica, Waiter};
use crate::census::LocalPartition;
use base::{BrokerId, EndOffset, LeaderEpoch, ProducerEpoch, ProducerId, Timestamp, hit, planted};
use cluster::Leader;
use seglog::{PartitionName, ReadSlice, RecordCodec};
use wire::ErrorCode;
use wire::record::{BatchError, CheckedBatches, Compression};

/// What a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset, which is the same as long as no transactions are served.
    ReadCommitted,
}

/// Why a read was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadError {
    pub(crate) code: ErrorCode,
}

/// What a reader wants of a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) from: EndOffset,
    /// The leader epoch that the client knows.
    pub(crate) epoch: LeaderEpoch,
    /// The epoch of the last batch that the client has, if it says so.
    pub(crate) last_epoch: Option<LeaderEpoch>,
    pub(crate) bytes_max: u64,
    /// Give a batch that is larger than that rather than nothing.
    pub(crate) whole_batch: bool,
    /// The reader knows that followers may be read from, too (KIP-392).
    pub(crate) may_follow: bool,
    /// Whom to tell of news if there is nothing to read.
    pub(crate) reader: Waiter,
}

/// What a look at a partition found.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) high_watermark: EndOffset,
    pub(crate) log_start: EndOffset,
    pub(crate) slice: Option<ReadSlice>,
    /// True if there is nothing to read and the reader will be told when there is.
    pub(crate) waits: bool,
    /// There is something that a follower is told even without records: more is safe than it knows.
    pub(crate) is_news: bool,
    /// Where the client's log leaves this one: it has to be cut there (KIP-595).
    pub(crate) diverges: Option<(LeaderEpoch, EndOffset)>,
    /// Bytes that were safe at this moment, for [`Replica::watch`].
    pub(crate) safe_bytes: u64,
    /// What is read goes to a replica that is throttled and not in sync.
    pub(crate) is_throttled: bool,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) timestamp: Timestamp,
    pub(crate) offset: EndOffset,
    pub(crate) epoch: LeaderEpoch,
}

/// From where to where a partition reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) name: PartitionName,
    pub(crate) start: EndOffset,
    pub(crate) end: EndOffset,
    pub(crate) high_watermark: EndOffset,
}

/// A producer that the partition remembers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownProducer {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
    pub(crate) last_sequence: i32,
    pub(crate) last_timestamp: Timestamp,
}

impl Replica {
    /// One look: finds batches up to the high watermark, or has the reader told when there are any.
    pub(crate) fn read(&self, wish: &Wish) -> Result<Read, ReadError> {
        let mut inner = self.inner();
        inner.check_readable(wish)?;
        // The bound is read once for the whole request (A20).
        let high_watermark = inner.high_watermark();
        let (log_start, end) = (inner.log.start(), inner.log.end());
        let diverges = inner.diverges(wish)?;
        let safe_bytes = inner.safe_bytes;
        let (waits, is_news) = (false, false);
        let mut read = Read {
            high_watermark,
            log_start,
            slice: None,
            waits,
            is_news,
            diverges,
            safe_bytes,
            is_throttled: false,
        };
        if diverges.is_some() {
            return Ok(read);
        }
        if wish.from < log_start || wish.from > end {
            hit!(fetch_out_of_range);
            return Err(ReadError { code: ErrorCode::OffsetOutOfRange });
        }
        if wish.from >= high_watermark {
            read.waits = true;
            inner.waiters.watch(wish.reader, safe_bytes);
            return Ok(read);
        }
        if wish.bytes_max > 0 || wish.whole_batch {
            let max = wish.bytes_max.min(u64::from(u32::MAX));
            let bound = if planted!(A20) { end } else { high_watermark };
            let slice = inner.log.read(wish.from, max, bound, wish.whole_batch);
            read.slice = slice.map_err(read_code)?;
        }
        Ok(read)
    }

    /// Checks the leader epoch that a client knows against this leader's (KIP-320).
    pub(crate) fn check_epoch(&self, epoch: LeaderEpoch) -> Result<(), ReadError> {
        self.inner().check_epoch(epoch)
    }

    /// The replica in sync that a reader at `from` is best served by, among those that are near it: the one that has the
    /// most. `None` if this one does not lead, or none of them has what is wanted.
    pub(crate) fn nearest(&self, from: EndOffset, is_near: impl Fn(BrokerId) -> bool) -> Option<BrokerId> {
        match &self.inner().role {
            Role::Leads(leads) => leads.nearest(from, is_near),
            Role::Follows(_) | Role::StandsBy { .. } | Role::Gone => None,
        }
    }

    /// True if one of the batches that a follower gets from there on is damaged. Waits for the device.
    pub(crate) fn is_damaged_from(&self, from: EndOffset, bytes_max: u64) -> bool {
        let slice = {
            let mut inner = self.inner();
            let end = inner.log.end();
            inner.log.read(from, bytes_max, end, true)
        };
        match slice {
            Ok(Some(slice)) => is_damaged(&slice, from),
            Ok(None) | Err(seglog::ReadError::OutOfRange { .. } | seglog::ReadError::Disk(_)) => false,
            Err(seglog::ReadError::Damaged(_)) => true,
        }
    }

    /// The end of what a reader may see, once that is known.
    pub(crate) fn latest(&self, _isolation: Isolation) -> Result<Position, ErrorCode> {
        let inner = self.inner();
        inner.check_settled()?;
        Ok(Position { timestamp: Timestamp::NONE, offset: inner.high_watermark(), epoch: inner.epoch() })
    }

    /// The log's beginning.
    pub(crate) fn earliest(&self) -> Position {
        let inner = self.inner();
        let offset = inner.log.start();
        let epoch = inner.log.epochs().epoch_of(offset).unwrap_or(inner.epoch());
        Position { timestamp: Timestamp::NONE, offset, epoch }
    }

    /// The first record that is not older than `timestamp`.
    pub(crate) fn offset_at(&self, timestamp: Timestamp) -> Result<Option<Position>, ErrorCode> {
        let mut inner = self.inner();
        let high_watermark = inner.high_watermark();
        let opener = Opener { bytes_max: inner.config.max_decompressed_bytes };
        let hit = inner.log.find_time(timestamp, &opener).map_err(|e| read_code(e).code)?;
        inner.seen(hit.map(position), high_watermark)
    }

    /// The record with the greatest timestamp.
    pub(crate) fn max_timestamp(&self) -> Result<Option<Position>, ErrorCode> {
        let mut inner = self.inner();
        let high_watermark = inner.high_watermark();
        let opener = Opener { bytes_max: inner.config.max_decompressed_bytes };
        let hit = inner.log.find_latest_time(&opener).map_err(|e| read_code(e).code)?;
        inner.seen(hit.map(position), high_watermark)
    }

    /// The greatest epoch not above `epoch`, and where it ends.
    pub(crate) fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, EndOffset)> {
        let mut inner = self.inner();
        let end = inner.log.end_of_epoch(epoch).ok().flatten()?;
        Some((end.epoch, end.end))
    }

    /// Bytes on disk.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.inner().log.size().unwrap_or(0)
    }

    /// How far it has come, and how many in-sync replicas acks=all needs if it leads; `None` once it is gone.
    pub(crate) fn census(&self) -> Option<(LocalPartition, Option<usize>)> {
        let mut inner = self.inner();
        if inner.role.is_gone() {
            return None;
        }
        let min_isr = inner.role.leader().map(|_| inner.config.min_insync_replicas as usize);
        let local = LocalPartition {
            topic: self.name.clone(),
            index: self.index,
            start: inner.log.start(),
            high_watermark: inner.high_watermark(),
            end: inner.log.end(),
            bytes: inner.log.size().unwrap_or(0),
        };
        Some((local, min_isr))
    }

    /// What the partition remembers of producers.
    pub(crate) fn producers<T>(&self, show: impl Fn(&KnownProducer) -> T) -> Vec<T> {
        let inner = self.inner();
        let known = inner.log.producers().iter().map(|(id, state)| KnownProducer {
            id,
            epoch: state.epoch,
            last_sequence: state.batches().last().map_or(-1, |batch| batch.last_sequence),
            last_timestamp: state
                .batches()
                .last()
                .map_or(Timestamp::NONE, |batch| Timestamp(batch.timestamp)),
        });
        known.map(|known| show(&known)).collect()
    }

    /// The partition's name and bounds, for the checkpoints of a clean end.
    pub(crate) fn bounds(&self) -> Option<Bounds> {
        let inner = self.inner();
        let (name, start, end) = (inner.log.name().clone(), inner.log.start(), inner.log.end());
        let high_watermark = inner.high_watermark();
        (!inner.role.is_gone()).then_some(Bounds { name, start, end, high_watermark })
    }
}

impl Inner {
    /// Where the log of a reader, which ends in another epoch than this one there, must be cut.
    fn diverges(&mut self, wish: &Wish) -> Result<Option<(LeaderEpoch, EndOffset)>, ReadError> {
        let Some(asked) = wish.last_epoch else { return Ok(None) };
        let found = self.log.end_of_epoch(asked).ok().flatten();
        let found = found.ok_or(ReadError { code: ErrorCode::OffsetOutOfRange })?;
        let agrees = found.epoch == asked && found.end >= wish.from;
        Ok((!agrees).then_some((found.epoch, found.end)))
    }

    fn epoch(&self) -> LeaderEpoch {
        self.role.leader().map_or(LeaderEpoch::UNKNOWN, |leader| leader.epoch)
    }

    /// A new leader may not know yet that something is safe which clients have been told of before. Then nobody is told an
    /// end that lies before what they have seen (KIP-207).
    fn check_settled(&self) -> Result<(), ErrorCode> {
        let settled = |leader: &Leader| leader.high_watermark() >= leader.epoch_start();
        if self.role.leader().is_some_and(settled) {
            return Ok(());
        }
        hit!(end_not_known_yet);
        Err(ErrorCode::OffsetNotAvailable)
    }

    /// A record that was found, if readers may see it. There may be one that they will see later.
    fn seen(
        &self,
        found: Option<Position>,
        high_watermark: EndOffset,
    ) -> Result<Option<Position>, ErrorCode> {
        let seen = found.filter(|found| found.offset < high_watermark);
        if seen.is_none() {
            self.check_settled()?;
        }
        Ok(seen)
    }

    /// A leader serves everybody, a follower those who know that it may be one.
    fn check_readable(&self, wish: &Wish) -> Result<(), ReadError> {
        match &self.role {
            Role::Follows(follows) if wish.may_follow => {
                hit!(follower_read);
                compare_epochs(wish.epoch, follows.follower.epoch())
            }
            Role::Leads(_) | Role::Follows(_) | Role::StandsBy { .. } | Role::Gone => {
                self.check_epoch(wish.epoch)
            }
        }
    }

    pub(super) fn check_epoch(&self, epoch: LeaderEpoch) -> Result<(), ReadError> {
        match self.role.leader() {
            Some(leader) => compare_epochs(epoch, leader.epoch),
            None => Err(ReadError { code: ErrorCode::NotLeaderOrFollower }),
        }
    }
}

fn is_damaged(slice: &ReadSlice, from: EndOffset) -> bool {
    let mut bytes = vec![0; usize::try_from(slice.length).unwrap_or(0)];
    match slice.file.read_at(&mut bytes, slice.position) {
        Ok(length) if length == bytes.len() => match CheckedBatches::from_leader(&bytes, from) {
            // A log may begin within a batch.
            Ok(_) | Err(BatchError::OffsetsNotIncreasing { .. }) => false,
            Err(_) => true,
        },
        Ok(_) | Err(_) => false,
    }
}

fn compare_epochs(asked: LeaderEpoch, own: LeaderEpoch) -> Result<(), ReadError> {
    match asked {
        LeaderEpoch::UNKNOWN => Ok(()),
        older if older < own => Err(ReadError { code: ErrorCode::FencedLeaderEpoch }),
        newer if newer > own => Err(ReadError { code: ErrorCode::UnknownLeaderEpoch }),
        _ => Ok(()),
    }
}

fn position(hit: seglog::TimeHit) -> Position {
    Position { timestamp: hit.timestamp, offset: EndOffset(hit.offset.0), epoch: hit.leader_epoch }
}

/// Opens compressed payloads for searches by timestamp.
pub(super) struct Opener {
    pub(super) bytes_max: u32,
}

impl RecordCodec for Opener {
    fn decompress(&self, compression: Compression, payload: &[u8]) -> Option<Vec<u8>> {
        codec::decompress(codec_of(compression), payload, u64::from(self.bytes_max)).ok()
    }

    fn compress(&self, compression: Compression, records: &[u8]) -> Option<Vec<u8>> {
        codec::compress(codec_of(compression), None, records).ok()
    }
}

pub(super) fn read_code(error: seglog::ReadError) -> ReadError {
    let code = match error {
        seglog::ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        seglog::ReadError::Damaged(_) => ErrorCode::CorruptMessage,
        seglog::ReadError::Disk(_) => ErrorCode::KafkaStorageError,
    };
    ReadError { code }
}
