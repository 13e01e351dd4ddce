//! One partition as this node holds it: its log and what it is to it, behind one leaf lock, and those who wait for it.
//!
//! The lock is held for offset assignment and the write, never for a flush. No two partition locks are ever
//! held at once.

mod accept;
mod follow;
mod lead;
mod look;
mod own;
mod role;
mod standing;
mod tend;
mod wait;

pub(crate) use accept::{Opened, codec_of};
pub(crate) use follow::{Copied, Cut, Served, TakeError, Took};
pub(crate) use lead::Following;
pub(crate) use look::{Isolation, KnownProducer, Position, Read, ReadError, Wish};
pub use standing::Standing;
pub(crate) use tend::{Compaction, Look};
pub(crate) use wait::Waiter;

use crate::effects::{Effects, Level, Mail};
use crate::job::Job;
use crate::upkeep::Stirred;
use accept::{Accepted, accept, too_large};
use base::{EndOffset, LastOffset, LeaderEpoch, Now, PartitionIndex, Span, Timestamp, TopicId, planted};
use cluster::config::{Durability, TimestampType, TopicConfig};
use cluster::partition::Rules;
use role::Role;
use seglog::dir::{FlushJob, FlushOutcome, Flushed, LogDir};
use seglog::producer::ProducerError;
use seglog::{AppendError, Log, LogConfig, OpenLogError, Origin, PartitionName, Unsettled};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tend::Tending;
use wait::Waiters;
use wire::ErrorCode;
use wire::record::{BatchError, CheckedBatches, TimestampType as Stamp};

/// What a produce asks for before its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acks {
    /// No reply at all.
    None,
    /// Written by the leader.
    Leader,
    /// Safe: the high watermark has passed it.
    All,
}

/// A partition of this node.
#[derive(Debug)]
pub struct Replica {
    pub(crate) topic: TopicId,
    pub(crate) name: Arc<str>,
    pub(crate) index: PartitionIndex,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    log: Log,
    role: Role,
    config: Arc<TopicConfig>,
    /// How many replicas there are: no more than these can be in sync.
    replicas: usize,
    waiters: Waiters,
    /// True while the flusher knows that there is something to flush.
    scheduled: bool,
    /// Bytes appended since the partition was opened, for those who wait for an amount.
    bytes: u64,
    /// Those bytes at the high watermark: exact when all of them are safe, else as if all records were of one size.
    safe_bytes: u64,
    /// The high watermark that they belong to.
    safe_to: EndOffset,
    /// Where the log begins even if the power goes now.
    durable_start: EndOffset,
    tending: Tending,
}

/// What a produce did.
#[derive(Debug)]
pub(crate) struct Produced {
    /// Offset of the first record.
    pub(crate) base: LastOffset,
    /// The broker's time, if the topic has log append time.
    pub(crate) log_append_time: Option<Timestamp>,
    /// Where the log begins.
    pub(crate) log_start: EndOffset,
    /// True if the reply has to wait until the records are safe.
    pub(crate) waits: bool,
    /// True if the flusher is to be told.
    pub(crate) dirty: bool,
    /// What it means for the partition's upkeep.
    pub(crate) stirred: Stirred,
    /// Bytes written.
    pub(crate) bytes: u64,
    /// Records written.
    pub(crate) records: u64,
    told: Vec<(Waiter, Told)>,
}

/// What a waiter is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Safe,
    Gone,
    Readable(u64),
}

/// What follows a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AfterFlush {
    /// There is more to flush already.
    pub(crate) again: bool,
    /// The leader is to be told.
    pub(crate) reports: bool,
}

/// Why a produce was refused.
#[derive(Debug)]
pub(crate) struct ProduceError {
    pub(crate) code: ErrorCode,
    pub(crate) message: Option<String>,
    /// Records that are to blame, by their place in the batch.
    pub(crate) records: Vec<(i32, String)>,
    /// Where the log begins, if the records came as far as the log.
    pub(crate) log_start: Option<EndOffset>,
}

impl ProduceError {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()), records: Vec::new(), log_start: None }
    }

    /// Kafka tells the log's beginning with every refusal that is not about size or damage.
    #[expect(clippy::wildcard_enum_match_arm, reason = "Kafka's codes are many, these are the exceptions")]
    fn beside(self, log_start: EndOffset) -> Self {
        match self.code {
            ErrorCode::CorruptMessage
            | ErrorCode::MessageTooLarge
            | ErrorCode::RecordListTooLarge
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::TransactionalIdAuthorizationFailed
            | ErrorCode::KafkaStorageError => self,
            _ => Self { log_start: Some(log_start), ..self },
        }
    }
}

/// Why a log's beginning was not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrimError {
    /// Beyond what is safe, or below zero.
    BeyondHighWatermark,
    /// A topic that is only compacted loses no records by request.
    CompactedOnly,
    /// Somebody else leads.
    NotLeader,
    /// The disk failed.
    Storage,
}

fn tell(told: Vec<(Waiter, Told)>, fx: &mut Effects) {
    for (Waiter { owner, ticket, part }, told) in told {
        let mail = match told {
            Told::Safe => Mail::Safe { ticket, part, kept: true },
            Told::Gone => Mail::Safe { ticket, part, kept: false },
            Told::Readable(bytes) => Mail::Readable { ticket, part, bytes },
        };
        fx.tell(owner, mail);
    }
}

impl Produced {
    /// Tells those who waited for these records.
    pub(crate) fn tell(&mut self, fx: &mut Effects) {
        tell(core::mem::take(&mut self.told), fx);
    }
}

/// What is needed to open a partition.
#[derive(Clone)]
pub(crate) struct Opening<'a> {
    pub(crate) dir: &'a Arc<LogDir>,
    pub(crate) topic: TopicId,
    pub(crate) name: &'a Arc<str>,
    pub(crate) index: PartitionIndex,
    pub(crate) config: Arc<TopicConfig>,
    pub(crate) producer_expiration: Span,
    /// What is known to be safe of its log, if that is there.
    pub(crate) high_watermark: EndOffset,
}

impl Opening<'_> {
    /// Recovers the partition's log, creating it if need be. A replica it is once it is settled.
    pub(crate) fn recover(&self, now: Now) -> Result<Unsettled, OpenLogError> {
        let log_config = log_config(&self.config, self.producer_expiration);
        let partition = PartitionName::new(self.name, self.index).ok_or(OpenLogError::Fenced)?;
        Log::create_unsettled(self.dir, &partition, self.topic, log_config, now)
    }
}

impl Replica {
    /// The partition with its log. It stands by until it is told what it is to be.
    pub(crate) fn new(opening: Opening<'_>, log: Log) -> Self {
        let Opening { topic, name, index, config, .. } = opening;
        // No more is known to be safe than what was known at a clean end: how far the others are has to be heard anew.
        let high_watermark = opening.high_watermark.clamp(log.start(), log.end());
        let durable_start = log.start();
        let inner = Inner {
            log,
            role: Role::StandsBy { epoch: LeaderEpoch::UNKNOWN, high_watermark },
            config,
            replicas: 1,
            waiters: Waiters::default(),
            scheduled: false,
            bytes: 0,
            safe_bytes: 0,
            safe_to: high_watermark,
            durable_start,
            tending: Tending::default(),
        };
        Self { topic, name: name.clone(), index, inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a client's batch.
    pub(crate) fn produce(
        &self,
        records: &[u8],
        acks: Acks,
        now: Now,
        waiter: Waiter,
        opened: &mut Opened,
    ) -> Result<Produced, ProduceError> {
        let (config, log_start) = {
            let inner = self.inner();
            (inner.config.clone(), inner.log.start())
        };
        // What is no batch does not come as far as the log.
        let sent = CheckedBatches::from_produce(records).map_err(|error| refused_batch(error, log_start))?;
        let accepted = accept(sent, &config, now, opened).map_err(|error| error.beside(log_start))?;
        let again;
        let checked = match accepted {
            Accepted::AsSent(checked) => checked,
            Accepted::Again(bytes) => {
                again = bytes;
                CheckedBatches::from_produce(&again)?
            }
        };
        let mut inner = self.inner();
        inner.check_isr(acks)?;
        let appended = inner.append(&checked, Origin::Client { strict: false }, acks, now, waiter);
        appended.map_err(|error| error.beside(log_start))
    }

    /// Appends a batch of the broker's own; it waits until the batch is safe.
    pub(crate) fn append_own(
        &self,
        batch: &CheckedBatches<'_>,
        now: Now,
        waiter: Waiter,
    ) -> Result<Produced, ProduceError> {
        self.inner().append(batch, Origin::Broker, Acks::All, now, waiter)
    }

    /// What the flusher has to make durable.
    pub(crate) fn begin_flush(&self) -> Option<FlushJob> {
        let mut inner = self.inner();
        inner.scheduled = false;
        // What is deleted need not be durable.
        if inner.role.is_gone() {
            return None;
        }
        inner.log.flush_job()
    }

    /// Takes note of a flush.
    pub(crate) fn flushed(&self, outcome: FlushOutcome, fx: &mut Effects) -> AfterFlush {
        let mut inner = self.inner();
        let postponed = matches!(outcome.flushed, Flushed::Postponed);
        inner.log.flushed_to(&outcome);
        let flushed = inner.log.flushed();
        let moved = inner.role.leader_mut().is_some_and(|leader| leader.flushed(flushed));
        let told = inner.wake_if(moved);
        let again = postponed && !inner.scheduled;
        inner.scheduled |= again;
        let reports = inner.follower_flushed(flushed);
        drop(inner);
        tell(told, fx);
        AfterFlush { again, reports }
    }

    /// A flush failed: nothing of it counts.
    pub(crate) fn flush_failed(&self) {
        let mut inner = self.inner();
        inner.log.flush_failed();
        inner.scheduled = true;
    }

    /// Other settings are in force.
    pub(crate) fn configure(&self, config: Arc<TopicConfig>, producer_expiration: Span, fx: &mut Effects) {
        let mut inner = self.inner();
        inner.log.configure(log_config(&config, producer_expiration));
        let moved = inner.role.leader_mut().is_some_and(|leader| leader.set_rules(rules(&config)));
        inner.config = config;
        inner.tending.reconfigured();
        let told = inner.wake_if(moved);
        drop(inner);
        tell(told, fx);
    }

    /// The partition is gone: everybody who waits is told, its name is free, and its files are let go.
    pub(crate) fn delete(&self, fx: &mut Effects) {
        let mut inner = self.inner();
        inner.role = Role::Gone;
        let told = inner.waiters.all_gone();
        inner.log.abandon();
        let removed = inner.log.dir().delete_partition(inner.log.name(), self.topic);
        drop(inner);
        tell(told, fx);
        match removed {
            Ok(job) => fx.jobs.push(Job::Remove(job)),
            // The next start finds it.
            Err(error) => fx.log(Level::Error, format!("{}-{}: {error}", self.name, self.index)),
        }
    }

    /// Durably moves the log's beginning (`None`: to the high watermark). Waits for the device.
    pub(crate) fn trim(&self, to: Option<EndOffset>) -> Result<EndOffset, TrimError> {
        let mut inner = self.inner();
        if inner.role.leader().is_none() {
            return Err(TrimError::NotLeader);
        }
        if inner.config.cleanup.compact && !inner.config.cleanup.delete {
            return Err(TrimError::CompactedOnly);
        }
        let high_watermark = inner.high_watermark();
        let to = to.unwrap_or(high_watermark);
        if to > high_watermark || to < EndOffset::ZERO {
            return Err(TrimError::BeyondHighWatermark);
        }
        let job = inner.log.delete_records(to, high_watermark).map_err(|_| TrimError::Storage)?;
        let start = inner.log.start();
        drop(inner);
        if let Some(job) = job {
            job.run().and_then(|files| files.run()).map_err(|_| TrimError::Storage)?;
            self.begins_durably(start);
        }
        Ok(start)
    }

    /// The log's beginning is on the disk.
    pub(crate) fn begins_durably(&self, start: EndOffset) {
        let mut inner = self.inner();
        inner.durable_start = inner.durable_start.max(start.min(inner.log.start()));
    }

    /// Asks to be told of more than the `seen` bytes that were safe at an earlier look; says how many there are already.
    pub(crate) fn watch(&self, reader: Waiter, seen: u64) -> u64 {
        let mut inner = self.inner();
        let safe_bytes = inner.safe_bytes;
        inner.waiters.watch(reader, safe_bytes);
        safe_bytes.saturating_sub(seen)
    }

    /// Takes that back.
    pub(crate) fn unwatch(&self, reader: Waiter) {
        self.inner().waiters.unwatch(reader);
    }

    /// The log's beginning has moved: readers are told with what they are told next.
    pub(crate) fn nudge(&self, fx: &mut Effects) {
        let told = self.inner().waiters.nudge();
        tell(told, fx);
    }
}

impl Inner {
    fn high_watermark(&self) -> EndOffset {
        self.role.high_watermark()
    }

    /// What is asked for by `min.insync.replicas`, as far as there are replicas at all.
    fn min_in_sync(&self) -> usize {
        (self.config.min_insync_replicas as usize).min(self.replicas)
    }

    fn check_isr(&self, acks: Acks) -> Result<(), ProduceError> {
        let Some(leader) = self.role.leader() else { return Err(not_leader()) };
        let needed = self.min_in_sync();
        if acks == Acks::All && leader.isr_len() < needed {
            let text = format!(
                "The size of the current ISR is {}, less than min.insync.replicas {needed}",
                leader.isr_len()
            );
            return Err(ProduceError::new(ErrorCode::NotEnoughReplicas, text));
        }
        Ok(())
    }

    fn append(
        &mut self,
        batches: &CheckedBatches<'_>,
        origin: Origin,
        acks: Acks,
        now: Now,
        waiter: Waiter,
    ) -> Result<Produced, ProduceError> {
        let Some(leader) = self.role.leader_mut() else { return Err(not_leader()) };
        let appended = self.log.append(batches, origin, leader.epoch, now).map_err(refusal)?;
        let moved = leader.appended(self.log.end());
        self.bytes += appended.bytes;
        let safe = leader.high_watermark() >= appended.end || planted!(D1);
        let waits = acks == Acks::All && !safe;
        if waits {
            self.waiters.until(appended.end, waiter);
        }
        let wants_flush = leader.durability() == Durability::Flushed && !appended.duplicate;
        let dirty = wants_flush && !self.scheduled;
        self.scheduled |= dirty;
        let stirred = if appended.duplicate { Stirred::No } else { self.stir() };
        Ok(Produced {
            base: appended.base,
            log_append_time: appended.log_append_time,
            log_start: self.log.start(),
            waits,
            dirty,
            stirred,
            bytes: appended.bytes,
            records: if appended.duplicate { 0 } else { (appended.end.0 - appended.base.0).unsigned_abs() },
            told: if moved { self.wake_if(true) } else { self.waiters.wake_followers(self.bytes) },
        })
    }

    /// Those for whom the high watermark has moved far enough, if it did.
    fn wake_if(&mut self, moved: bool) -> Vec<(Waiter, Told)> {
        if !moved {
            return Vec::new();
        }
        let high_watermark = self.high_watermark();
        let (safe, all) = (high_watermark.0 - self.safe_to.0, self.log.end().0 - self.safe_to.0);
        if safe > 0 {
            let bytes = i128::from(self.bytes - self.safe_bytes) * i128::from(safe) / i128::from(all);
            self.safe_bytes += u64::try_from(bytes).unwrap_or(0);
            self.safe_to = high_watermark;
        }
        self.waiters.wake(high_watermark, self.safe_bytes, self.bytes)
    }
}

fn not_leader() -> ProduceError {
    ProduceError::new(ErrorCode::NotLeaderOrFollower, "this broker does not lead the partition")
}

const fn rules(config: &TopicConfig) -> Rules {
    Rules { durability: config.durability, min_isr: config.min_insync_replicas as usize }
}

/// The refusal of what is not exactly one whole batch of the right format says nothing of the log.
fn refused_batch(error: BatchError, log_start: EndOffset) -> ProduceError {
    let early = matches!(
        error,
        BatchError::NotOneBatch { .. } | BatchError::Truncated { .. } | BatchError::UnsupportedMagic { .. }
    );
    let refused = ProduceError::from(error);
    if early { refused } else { refused.beside(log_start) }
}

fn refusal(error: AppendError) -> ProduceError {
    let text = error.to_string();
    match error {
        AppendError::BatchTooLarge { bytes, max } => too_large(bytes, max),
        AppendError::BatchesTooLarge { .. } => ProduceError::new(ErrorCode::RecordListTooLarge, text),
        AppendError::Producer(error) => ProduceError::new(producer_code(error), text),
        AppendError::UnexpectedOffset { .. } => ProduceError::new(ErrorCode::InvalidRecord, text),
        AppendError::NoSpace | AppendError::Fenced(_) => {
            ProduceError::new(ErrorCode::KafkaStorageError, text)
        }
    }
}

const fn producer_code(error: ProducerError) -> ErrorCode {
    match error {
        ProducerError::InvalidEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        ProducerError::OutOfOrder { .. } | ProducerError::UnknownProducer { .. } => {
            ErrorCode::OutOfOrderSequenceNumber
        }
        ProducerError::TransactionOpen => ErrorCode::InvalidTxnState,
    }
}

fn log_config(config: &TopicConfig, producer_expiration: Span) -> LogConfig {
    LogConfig {
        segment_bytes: config.segment_bytes,
        segment_time: config.segment_age,
        index_bytes_max: config.segment_index_bytes,
        index_interval_bytes: config.index_interval_bytes,
        message_bytes_max: config.max_message_bytes,
        timestamp_type: match config.timestamp_type {
            TimestampType::CreateTime => Stamp::CreateTime,
            TimestampType::LogAppendTime => Stamp::LogAppendTime,
        },
        retention_time: config.retention,
        retention_bytes: config.retention_bytes,
        deletes: config.cleanup.delete,
        compacts: config.cleanup.compact,
        delete_retention: config.delete_retention,
        producer_expiration,
        ..LogConfig::default()
    }
}
