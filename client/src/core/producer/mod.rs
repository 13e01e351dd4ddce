//! The producer: records go into one batch per partition, batches into requests, outcomes back to records.
//!
//! With idempotence (KIP-98) each batch carries a producer id, an epoch and a sequence, so that a repeated batch
//! is written once and in order. The epoch is counted per partition: after a sequence is lost for good, only
//! that partition begins anew (KIP-360 does it for the whole producer).
//!
//! Bounded by `buffer_bytes`: what is not yet delivered. Does not do transactions, and does not split a batch
//! that the broker finds too large.

mod batch;
mod dispatch;
mod identity;
mod queue;
mod settings;

#[cfg(test)]
mod tests;

pub use settings::{Acks, ProducerSettings};

use super::cluster::Cluster;
use super::error::CallError;
use super::partitioner::{DefaultPartitioner, PartitionChoice, Partitioner};
use super::{CallId, Core, Effect, Input};
use base::{Instant, LastOffset, Now, Rng, Timestamp};
use bytes::Bytes;
use dispatch::InFlight;
use identity::Identity;
use queue::Queue;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use wire::{ErrorCode, Str};

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Meant to be UTF-8.
    pub key: Bytes,
    /// May be null.
    pub value: Option<Bytes>,
}

/// A record to be produced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerRecord {
    /// Where to.
    pub topic: Str,
    /// Which partition; `None` leaves it to the partitioner.
    pub partition: Option<i32>,
    /// The key; null is not the same as empty.
    pub key: Option<Bytes>,
    /// The value; null is a tombstone in a compacted topic.
    pub value: Option<Bytes>,
    /// In order; keys may repeat.
    pub headers: Vec<Header>,
    /// Milliseconds since 1970; `None` means now.
    pub timestamp: Option<Timestamp>,
}

/// A record that was accepted; its [`Delivery`] comes exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub u64);

/// What became of a record.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Which record.
    pub id: DeliveryId,
    /// Where it stands, or why it does not.
    pub outcome: Result<Delivered, ProduceError>,
}

/// Where a record stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Its topic.
    pub topic: Str,
    /// Its partition.
    pub partition: i32,
    /// Its offset; `None` when nobody says: with acks=0, or when the broker recognised a repetition whose
    /// first answer was lost long ago.
    pub offset: Option<LastOffset>,
    /// Its timestamp: the sender's, or the broker's where the topic wants that.
    pub timestamp: Timestamp,
}

/// Why a record was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProduceError {
    /// The broker refused it.
    Refused {
        /// Its code.
        code: ErrorCode,
        /// Its words, if it had any.
        message: Option<String>,
    },
    /// Not delivered within the delivery timeout; it may have been written if `uncertain`.
    TimedOut {
        /// Whether an attempt was sent whose outcome is unknown.
        uncertain: bool,
        /// What the last attempt ended with, or why none could be made.
        last: Option<String>,
    },
    /// The topic has no such partition.
    UnknownPartition {
        /// The topic.
        topic: Str,
        /// The partition.
        partition: i32,
    },
    /// An attempt was lost, and an earlier batch of the partition failed for good: whether this one was
    /// written cannot be found out, and repeating it might write it twice.
    OutcomeUnknown,
    /// The call failed in a way that repeating does not help.
    Call(CallError),
    /// The batch could not be compressed.
    Compression(codec::CodecError),
}

/// Why a record was not accepted.
#[derive(Clone, Debug)]
pub enum SendError {
    /// The buffer is full: come back when something was delivered. Here is the record.
    BufferFull(Box<ProducerRecord>),
    /// The record is larger than a request may be.
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The most that [`ProducerSettings::request_bytes_max`] allows.
        max: usize,
    },
}

struct Parked {
    id: DeliveryId,
    record: ProducerRecord,
    bytes: usize,
    deadline: Instant,
}

#[derive(Default)]
struct Topic {
    /// Records that came before the partitions were known.
    parked: VecDeque<Parked>,
    queues: Vec<Queue>,
    /// Partitions with a leader, ascending.
    available: Vec<i32>,
}

/// The producer as a machine; see [`Core`] for how it is driven.
pub struct Producer {
    settings: ProducerSettings,
    cluster: Cluster,
    partitioner: Box<dyn Partitioner>,
    identity: Identity,
    topics: BTreeMap<Str, Topic>,
    in_flight: BTreeMap<CallId, InFlight>,
    deliveries: VecDeque<Delivery>,
    next_delivery: u64,
    outstanding: u64,
    buffered_bytes: usize,
    flushing: bool,
    metadata_seen: u64,
    /// When something is to be done without input.
    wake_at: Option<Instant>,
}

impl Producer {
    /// A producer that has not connected yet; `seed` decides between equals (partitions, brokers, jitter).
    #[must_use]
    pub fn new(settings: ProducerSettings, seed: u64) -> Self {
        let partitioner = DefaultPartitioner::new(settings.batch_bytes, Rng::new(seed).fork(1));
        Self {
            cluster: Cluster::new(settings.cluster.clone(), seed),
            partitioner: Box::new(partitioner),
            identity: Identity::new(settings.is_idempotent()),
            topics: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            deliveries: VecDeque::new(),
            next_delivery: 0,
            outstanding: 0,
            buffered_bytes: 0,
            flushing: false,
            metadata_seen: 0,
            wake_at: None,
            settings,
        }
    }

    /// Lets `partitioner` choose from now on.
    #[must_use]
    pub fn with_partitioner(mut self, partitioner: Box<dyn Partitioner>) -> Self {
        self.partitioner = partitioner;
        self
    }

    /// Accepts a record; its outcome comes from [`Producer::poll_delivery`].
    ///
    /// # Errors
    /// A full buffer, a record above the request size.
    pub fn send(&mut self, now: Now, mut record: ProducerRecord) -> Result<DeliveryId, SendError> {
        let bytes = batch::record_bytes(&record);
        let max = self.settings.request_bytes_max;
        if bytes > max {
            return Err(SendError::TooLarge { bytes, max });
        }
        // One record always fits, or a small buffer would wait for ever.
        if self.outstanding > 0 && self.buffered_bytes + bytes > self.settings.buffer_bytes {
            return Err(SendError::BufferFull(Box::new(record)));
        }
        record.timestamp.get_or_insert(now.wall);
        let id = DeliveryId(self.next_delivery);
        self.next_delivery += 1;
        self.outstanding += 1;
        self.buffered_bytes += bytes;
        let known =
            self.topics.get(&record.topic).is_some_and(|t| t.parked.is_empty() && !t.queues.is_empty());
        if known {
            self.append(now, id, &record, bytes);
        } else {
            self.park(now, Parked { id, record, bytes, deadline: now.mono + self.settings.metadata_timeout });
        }
        Ok(id)
    }

    fn park(&mut self, now: Now, parked: Parked) {
        self.cluster.watch(&parked.record.topic);
        let topic = self.topics.entry(parked.record.topic.clone()).or_default();
        topic.parked.push_back(parked);
        self.wake(now.mono);
    }

    fn append(&mut self, now: Now, id: DeliveryId, record: &ProducerRecord, bytes: usize) {
        let Some(topic) = self.topics.get_mut(&record.topic) else { return };
        let partitions = i32::try_from(topic.queues.len()).unwrap_or(i32::MAX);
        let partition = record.partition.unwrap_or_else(|| {
            self.partitioner.partition(&PartitionChoice {
                topic: &record.topic,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                bytes,
                partitions,
                available: &topic.available,
            })
        });
        let queue = usize::try_from(partition).ok().and_then(|k| topic.queues.get_mut(k));
        match queue {
            Some(queue) => {
                let due = queue.append(now.mono, id, (record, bytes), &self.settings);
                self.wake(due);
            }
            None => {
                let topic = record.topic.clone();
                self.fail(id, bytes, ProduceError::UnknownPartition { topic, partition });
            }
        }
    }

    /// Sends what there is without waiting for fuller batches, until nothing is outstanding.
    pub fn flush(&mut self, now: Now) {
        self.flushing = self.outstanding > 0;
        self.advance(now);
    }

    /// Records that were accepted and have no outcome yet.
    #[must_use]
    pub const fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Bytes of the records that have no outcome yet.
    #[must_use]
    pub const fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    /// The next outcome.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    /// The connections and the metadata of this producer.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Closes the connections; what is outstanding never gets an outcome.
    pub fn close(&mut self) {
        self.cluster.close();
    }

    fn wake(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |old| old.min(at)));
    }

    fn fail(&mut self, id: DeliveryId, bytes: usize, error: ProduceError) {
        self.resolve(id, bytes, Err(error));
    }

    fn resolve(&mut self, id: DeliveryId, bytes: usize, outcome: Result<Delivered, ProduceError>) {
        self.outstanding -= 1;
        self.buffered_bytes -= bytes;
        self.flushing &= self.outstanding > 0;
        self.deliveries.push_back(Delivery { id, outcome });
    }
}

impl Core for Producer {
    fn handle(&mut self, now: Now, input: Input) {
        self.cluster.handle(now, input);
        self.advance(now);
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.cluster.poll_effect()
    }

    fn wake_at(&self) -> Option<Instant> {
        [self.cluster.wake_at(), self.wake_at].into_iter().flatten().min()
    }
}

impl fmt::Display for ProduceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, message } => {
                let words = message.as_deref().unwrap_or(code.message());
                write!(f, "{}: {words}", code.name())
            }
            Self::TimedOut { uncertain, last } => {
                f.write_str("not delivered in time")?;
                if let Some(last) = last {
                    write!(f, " ({last})")?;
                }
                f.write_str(if *uncertain { "; it may have been written" } else { "" })
            }
            Self::UnknownPartition { topic, partition } => write!(f, "{topic} has no partition {partition}"),
            Self::OutcomeUnknown => f.write_str("it may or may not have been written"),
            Self::Call(error) => error.fmt(f),
            Self::Compression(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferFull(_) => f.write_str("the producer's buffer is full"),
            Self::TooLarge { bytes, max } => {
                write!(f, "the record takes {bytes} bytes and a request at most {max}")
            }
        }
    }
}

impl std::error::Error for ProduceError {}
impl std::error::Error for SendError {}
