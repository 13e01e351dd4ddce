//! What a partition knows of its producers: enough to answer a retry instead of writing it twice (KIP-98).
//!
//! The rules are Kafka's. The state is derived from the log, saved in snapshots and rebuilt by the same
//! [`ProducerStates::apply`] that runs live. It does not end with the deletion of the data that it came from
//! (rule C11), only with time.

mod snapshot;
#[cfg(test)]
mod tests;

pub(crate) use snapshot::{decode, encode};

use base::{LastOffset, ProducerEpoch, ProducerId, Span, Timestamp, hit, planted};
use std::collections::BTreeMap;
use std::fmt;
use wire::record::{BatchHeader, EndTxnMarker, NO_PRODUCER_EPOCH};

/// Batches that are remembered per producer: as many as a client may have in flight.
pub const WINDOW: usize = 5;
/// Most producers that one partition remembers; beyond, those that wrote longest ago are forgotten.
pub const PRODUCERS_MAX: usize = 100_000;

/// One batch of a producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Sequence of the last record.
    pub last_sequence: i32,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Last offset minus first.
    pub offset_delta: i32,
    /// The batch's max timestamp.
    pub timestamp: i64,
}

impl ProducerBatch {
    /// Sequence of the first record; sequences wrap from 2³¹−1 to 0.
    #[must_use]
    pub const fn first_sequence(&self) -> i32 {
        self.last_sequence.wrapping_sub(self.offset_delta) & i32::MAX
    }

    /// Offset of the first record.
    #[must_use]
    pub const fn base_offset(&self) -> i64 {
        self.last_offset - self.offset_delta as i64
    }
}

/// What is known of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// Its incarnation; −1 if only a coordinator was heard of.
    pub epoch: ProducerEpoch,
    /// Epoch of the coordinator that last ended a transaction; −1 for none.
    pub coordinator_epoch: i32,
    /// When it was last heard of, by the broker's wall clock at the append.
    pub seen: Timestamp,
    /// First offset of its open transaction.
    pub txn_first_offset: Option<i64>,
    batches: [ProducerBatch; WINDOW],
    count: usize,
}

/// The outcome of a check that lets a batch pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To be appended.
    New,
    /// Already in the log, there.
    Duplicate(ProducerBatch),
}

/// Why a producer's batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerError {
    /// An incarnation of the past (`INVALID_PRODUCER_EPOCH`).
    InvalidEpoch {
        /// In the batch.
        sent: ProducerEpoch,
        /// The latest known.
        current: ProducerEpoch,
    },
    /// A gap, or a repetition of what is no longer remembered (`OUT_OF_ORDER_SEQUENCE_NUMBER`).
    OutOfOrder {
        /// First sequence of the batch.
        sent: i32,
        /// Last sequence in the log; −1 if there is none in this epoch.
        last: i32,
    },
    /// Nothing is known of the producer and it does not begin at zero, where that was asked for
    /// (`OUT_OF_ORDER_SEQUENCE_NUMBER`; KIP-890).
    UnknownProducer {
        /// First sequence of the batch.
        sent: i32,
    },
    /// Outside of a transaction while one is open (`INVALID_TXN_STATE`).
    TransactionOpen,
}

/// All producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerStates {
    producers: BTreeMap<ProducerId, ProducerState>,
}

impl ProducerState {
    fn new(epoch: ProducerEpoch) -> Self {
        Self {
            epoch,
            coordinator_epoch: -1,
            seen: Timestamp::NONE,
            txn_first_offset: None,
            batches: [ProducerBatch::default(); WINDOW],
            count: 0,
        }
    }

    /// The remembered batches, oldest first.
    #[must_use]
    pub fn batches(&self) -> &[ProducerBatch] {
        &self.batches[..self.count]
    }

    fn push(&mut self, batch: ProducerBatch) {
        if self.count == WINDOW {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        self.batches[self.count] = batch;
        self.count += 1;
    }

    fn enter_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.count = 0;
        }
    }

    fn last_sequence(&self) -> i32 {
        self.batches().last().map_or(-1, |batch| batch.last_sequence)
    }

    fn last_offset(&self) -> i64 {
        self.batches().last().map_or(-1, |batch| batch.last_offset)
    }

    fn find_duplicate(&self, header: &BatchHeader) -> Option<ProducerBatch> {
        if header.producer_epoch != self.epoch.0 {
            return None;
        }
        let same = |batch: &&ProducerBatch| {
            batch.first_sequence() == header.base_sequence && batch.last_sequence == header.last_sequence()
        };
        self.batches().iter().find(same).copied()
    }

    fn check_epoch(&self, header: &BatchHeader) -> Result<(), ProducerError> {
        let sent = ProducerEpoch(header.producer_epoch);
        if sent < self.epoch {
            return Err(ProducerError::InvalidEpoch { sent, current: self.epoch });
        }
        Ok(())
    }

    fn check_sequence(&self, header: &BatchHeader) -> Result<(), ProducerError> {
        let sent = header.base_sequence;
        if self.epoch.0 == NO_PRODUCER_EPOCH {
            return Ok(());
        }
        let last = if header.producer_epoch == self.epoch.0 { self.last_sequence() } else { -1 };
        // A new epoch begins at zero, and so does the sequence after the largest.
        if sent == last.wrapping_add(1) & i32::MAX {
            return Ok(());
        }
        Err(ProducerError::OutOfOrder { sent, last })
    }

    fn check_transaction(&self, header: &BatchHeader) -> Result<(), ProducerError> {
        if self.txn_first_offset.is_some() && !header.attributes.is_transactional() {
            return Err(ProducerError::TransactionOpen);
        }
        Ok(())
    }
}

impl ProducerStates {
    /// Checks a client's batch. `strict` refuses a producer of whom nothing is known unless it begins at zero,
    /// as Kafka does for transactions of version 2; otherwise such a producer is believed, as in Kafka.
    ///
    /// # Errors
    /// Any [`ProducerError`].
    pub fn check_client(&self, header: &BatchHeader, strict: bool) -> Result<Verdict, ProducerError> {
        let Some(state) = self.producers.get(&ProducerId(header.producer_id)) else {
            if strict && header.base_sequence != 0 {
                return Err(ProducerError::UnknownProducer { sent: header.base_sequence });
            }
            return Ok(Verdict::New);
        };
        if planted!(C12) {
            return Ok(Verdict::New);
        }
        if let Some(batch) = state.find_duplicate(header) {
            hit!(duplicate_batch_found);
            return Ok(Verdict::Duplicate(batch));
        }
        state.check_epoch(header)?;
        state.check_sequence(header)?;
        state.check_transaction(header)?;
        Ok(Verdict::New)
    }

    /// Checks a batch that a coordinator writes for a producer, which has no sequence.
    ///
    /// # Errors
    /// [`ProducerError::InvalidEpoch`], [`ProducerError::TransactionOpen`].
    pub fn check_broker(&self, header: &BatchHeader) -> Result<(), ProducerError> {
        let Some(state) = self.producers.get(&ProducerId(header.producer_id)) else { return Ok(()) };
        state.check_epoch(header)?;
        if header.attributes.is_control() { Ok(()) } else { state.check_transaction(header) }
    }

    /// Notes a batch that is in the log; `marker` is what a control batch says, if it ends a transaction.
    /// The same code runs at the append and when a log is loaded.
    pub fn apply(&mut self, header: &BatchHeader, marker: Option<EndTxnMarker>, seen: Timestamp) {
        if !header.has_producer() {
            return;
        }
        let epoch = ProducerEpoch(header.producer_epoch);
        let id = ProducerId(header.producer_id);
        if header.attributes.is_control() {
            let Some(marker) = marker else { return };
            let state = self.producers.entry(id).or_insert_with(|| ProducerState::new(epoch));
            state.enter_epoch(epoch);
            state.coordinator_epoch = marker.coordinator_epoch;
            state.txn_first_offset = None;
            state.seen = state.seen.max(seen);
        } else {
            let state = self.producers.entry(id).or_insert_with(|| ProducerState::new(epoch));
            state.enter_epoch(epoch);
            state.push(ProducerBatch {
                last_sequence: header.last_sequence(),
                last_offset: header.last_offset().0,
                offset_delta: header.last_offset_delta,
                timestamp: header.max_timestamp,
            });
            if header.attributes.is_transactional() {
                state.txn_first_offset.get_or_insert(header.base_offset);
            }
            state.seen = state.seen.max(seen);
        }
        self.keep_bounded();
    }

    /// Fills windows of which a snapshot kept only the last batch, from states that saw the batches before it.
    pub(crate) fn refill(&mut self, seen: &Self) {
        for (id, state) in &mut self.producers {
            let Some(before) = seen.producers.get(id).filter(|before| before.epoch == state.epoch) else {
                continue;
            };
            let same = |a: &ProducerBatch, b: &ProducerBatch| {
                (a.last_sequence, a.last_offset) == (b.last_sequence, b.last_offset)
            };
            if state.count == 1 && before.batches().last().is_some_and(|last| same(last, &state.batches[0])) {
                (state.batches, state.count) = (before.batches, before.count);
            }
        }
    }

    /// Forgets producers that were not heard of for `expiration` and have no open transaction.
    pub fn expire(&mut self, now: Timestamp, expiration: Span) {
        self.producers
            .retain(|_, state| state.txn_first_offset.is_some() || now.since(state.seen) < expiration);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.producers.clear();
    }

    /// True if no producer is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// The producers, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerState)> {
        self.producers.iter().map(|(id, state)| (*id, state))
    }

    /// What is known of one producer.
    #[must_use]
    pub fn get(&self, id: ProducerId) -> Option<&ProducerState> {
        self.producers.get(&id)
    }

    /// First offset of the earliest open transaction.
    #[must_use]
    pub fn first_open_transaction(&self) -> Option<LastOffset> {
        self.producers.values().filter_map(|state| state.txn_first_offset).min().map(LastOffset)
    }

    /// By offset, so that a log that is loaded forgets the same producers as the one that was written.
    fn keep_bounded(&mut self) {
        if self.producers.len() <= PRODUCERS_MAX {
            return;
        }
        hit!(producers_forgotten);
        let mut offsets: Vec<i64> = self.producers.values().map(ProducerState::last_offset).collect();
        let (_, limit, _) = offsets.select_nth_unstable(PRODUCERS_MAX / 10);
        let limit = *limit;
        self.producers.retain(|_, state| state.txn_first_offset.is_some() || state.last_offset() > limit);
    }
}

impl fmt::Display for ProducerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::InvalidEpoch { sent, current } => {
                write!(f, "producer epoch {} is below the last seen {}", sent.0, current.0)
            }
            Self::OutOfOrder { sent, last } => write!(f, "sequence {sent} does not follow {last}"),
            Self::UnknownProducer { sent } => {
                write!(f, "unknown producer begins with sequence {sent} instead of 0")
            }
            Self::TransactionOpen => f.write_str("write outside of the producer's open transaction"),
        }
    }
}

impl std::error::Error for ProducerError {}
