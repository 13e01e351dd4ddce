//! The batches of one partition, in order, and its sequences.

use super::batch::{Batch, Member, OpenBatch, Stamp};
use super::{DeliveryId, ProduceError, ProducerRecord, ProducerSettings};
use base::Instant;
use std::collections::VecDeque;

/// Members that failed together, and why.
pub(super) type Failed = (Vec<Member>, ProduceError);

#[derive(Debug, Default)]
pub(super) struct Queue {
    open: Option<OpenBatch>,
    /// Closed, in order; repetitions stand in front.
    ready: VecDeque<Batch>,
    /// Orders of the batches that are being sent.
    in_flight: Vec<u64>,
    next_order: u64,
    /// Producer id and epoch of this partition, once it has sent a batch, and its next sequence.
    next: Option<Stamp>,
    /// A repetition is in flight: nothing may overtake it.
    repeating: bool,
    /// A sequence was lost for good: begin a new epoch as soon as nothing is in flight.
    broken: bool,
    /// The back-off after a failure.
    not_before: Instant,
}

impl Queue {
    /// Adds a record; returns when the queue wants to be looked at.
    pub(super) fn append(
        &mut self,
        now: Instant,
        id: DeliveryId,
        (record, bytes): (&ProducerRecord, usize),
        settings: &ProducerSettings,
    ) -> Instant {
        let fits = self.open.as_ref().is_none_or(|open| open.fits(bytes, settings.batch_bytes));
        if !fits {
            self.close_open(settings).unwrap_or_else(|failed| self.refuse_later(failed));
        }
        let open = self.open.get_or_insert_with(|| OpenBatch::new(now));
        open.push(id, record, bytes);
        let full = !fits || open.is_full(settings.batch_bytes);
        if full { now } else { open.opened_at + settings.linger }
    }

    /// A batch that cannot be compressed still has to tell its records: it goes the way of the others and is
    /// refused when its turn comes.
    fn refuse_later(&mut self, (members, error): Failed) {
        let order = self.next_order;
        self.next_order += 1;
        self.ready.push_back(Batch {
            bytes: bytes::Bytes::new(),
            members,
            order,
            deadline: Instant::ZERO,
            stamp: None,
            attempts: 0,
            uncertain: false,
            last: Some(error.to_string()),
        });
    }

    fn close_open(&mut self, settings: &ProducerSettings) -> Result<(), Failed> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let batch = open.close(self.next_order, settings)?;
        self.next_order += 1;
        self.ready.push_back(batch);
        Ok(())
    }

    /// When the next batch may go; `None` if there is none or it must wait for an answer.
    pub(super) fn sendable_at(&self, settings: &ProducerSettings, flushing: bool) -> Option<Instant> {
        let blocked = self.repeating
            || (self.broken && !self.in_flight.is_empty())
            || self.in_flight.len() >= settings.cluster.in_flight_max;
        if blocked {
            return None;
        }
        match (self.ready.front(), &self.open) {
            // A repetition waits until nothing is in flight that might be answered before it.
            (Some(batch), _) if batch.attempts > 0 && !self.in_flight.is_empty() => None,
            (Some(_), _) => Some(self.not_before),
            (None, Some(open)) if flushing || open.is_full(settings.batch_bytes) => Some(self.not_before),
            (None, Some(open)) => Some((open.opened_at + settings.linger).max(self.not_before)),
            (None, None) => None,
        }
    }

    /// When the oldest batch that is not in flight is too late.
    pub(super) fn deadline(&self, settings: &ProducerSettings) -> Option<Instant> {
        let open = self.open.as_ref().map(|open| open.opened_at + settings.delivery_timeout);
        self.ready.iter().map(|batch| batch.deadline).min().or(open)
    }

    /// Takes the next batch, if it is at most `room` bytes, and stamps it for `identity`.
    pub(super) fn take(
        &mut self,
        identity: Option<(i64, i16)>,
        room: usize,
        settings: &ProducerSettings,
    ) -> Result<Option<Batch>, Failed> {
        if self.ready.is_empty() {
            self.close_open(settings)?;
        }
        let Some(mut batch) = self.ready.pop_front_if(|batch| batch.bytes.len() <= room) else {
            return Ok(None);
        };
        if let (Some((producer_id, epoch)), None) = (identity, batch.stamp) {
            let stamp = *self.next.get_or_insert(Stamp { producer_id, epoch, sequence: 0 });
            batch.stamp(stamp);
            let sequence = stamp.sequence.wrapping_add(batch.count()) & i32::MAX;
            self.next = Some(Stamp { sequence, ..stamp });
        }
        self.repeating = batch.attempts > 0;
        self.in_flight.push(batch.order);
        batch.attempts += 1;
        Ok(Some(batch))
    }

    /// A batch is no longer in flight.
    pub(super) fn landed(&mut self, order: u64) {
        self.in_flight.retain(|other| *other != order);
        self.repeating = false;
    }

    /// Puts a batch back, before all later ones, not to be sent before `at`.
    pub(super) fn put_back(&mut self, batch: Batch, at: Instant) {
        self.not_before = self.not_before.max(at);
        let place = self.ready.partition_point(|other| other.order < batch.order);
        self.ready.insert(place, batch);
    }

    /// Whether a batch before this one has no outcome yet.
    pub(super) fn has_earlier(&self, order: u64) -> bool {
        self.in_flight.iter().chain(self.ready.iter().map(|batch| &batch.order)).any(|other| *other < order)
    }

    /// Notes that the sequence is broken: a stamped batch failed for good.
    pub(super) const fn break_sequence(&mut self) {
        self.broken = true;
    }

    /// Begins a new epoch if the sequence is broken and nothing is in flight. Batches that may have been
    /// written under the old one fail: they cannot be told from new ones.
    pub(super) fn mend(&mut self) -> Option<Failed> {
        if !self.broken || !self.in_flight.is_empty() {
            return None;
        }
        self.broken = false;
        // At the last epoch a new producer id is needed; the next batch takes the producer's present one.
        self.next = self.next.and_then(|stamp| {
            let epoch = stamp.epoch.checked_add(1)?;
            Some(Stamp { epoch, sequence: 0, ..stamp })
        });
        let mut lost = Vec::new();
        self.ready.retain_mut(|batch| {
            if batch.stamp.take().is_some() && batch.uncertain {
                lost.append(&mut batch.members);
                return false;
            }
            true
        });
        (!lost.is_empty()).then_some((lost, ProduceError::OutcomeUnknown))
    }

    /// Forgets the producer id: the next batch takes a new one.
    pub(super) const fn forget_identity(&mut self) {
        self.next = None;
        self.broken = true;
    }

    /// Takes out the batches that are too late.
    pub(super) fn expire(&mut self, now: Instant, settings: &ProducerSettings) -> Vec<Failed> {
        let mut failed = Vec::new();
        while let Some(batch) = self.ready.pop_front_if(|batch| now >= batch.deadline) {
            self.broken |= batch.stamp.is_some();
            failed.push(batch.into_late());
        }
        let late = self.open.take_if(|open| now >= open.opened_at + settings.delivery_timeout);
        if let Some(open) = late {
            failed.push(open.close(self.next_order, settings).map_or_else(|failed| failed, Batch::into_late));
        }
        failed
    }

    /// Takes everything out, for a reason that concerns the whole producer.
    pub(super) fn drain(&mut self, settings: &ProducerSettings) -> Vec<Member> {
        let open = self.open.take().map(|open| open.close(self.next_order, settings));
        let mut members: Vec<_> = self.ready.drain(..).flat_map(|batch| batch.members).collect();
        members
            .extend(open.into_iter().flat_map(|closed| closed.map_or_else(|failed| failed.0, |b| b.members)));
        members
    }
}

impl Batch {
    /// The outcome of a batch whose time is over.
    pub(super) fn into_late(self) -> Failed {
        (self.members, ProduceError::TimedOut { uncertain: self.uncertain, last: self.last })
    }
}
