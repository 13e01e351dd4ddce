//! The leader's side of replication: what followers read, how far they say that they are, who is to be in sync.

use super::look::{Read, ReadError, Wish, read_code};
use super::role::{Lag, Leads, Role};
use super::{Inner, Replica, Told, Waiter, tell};
use crate::effects::{Effects, Mail, Owner};
use base::{BrokerId, EndOffset, Instant, LeaderEpoch, PartitionIndex, Span, hit, planted};
use cluster::PartitionState;
use cluster::controller::PartitionChange;
use cluster::partition::{EpochEnd, Epochs, Incarnation, Position};
use seglog::{EpochStart, Log};
use std::sync::Arc;
use wire::ErrorCode;

/// Which follower reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Following {
    /// Who it is.
    pub(crate) life: Incarnation,
    /// What it believes to be safe; `None` if it has not been told anything yet.
    pub(crate) high_watermark: Option<EndOffset>,
    /// Where it believes the leader's log to begin.
    pub(crate) log_start: Option<EndOffset>,
    /// Where its own begins.
    pub(crate) own_start: EndOffset,
    /// Enough was handed out under the throttle: it gets nothing if it is throttled.
    pub(crate) is_held: bool,
}

/// A log's epochs as far as records were written in them.
pub(super) struct Written<'a> {
    starts: &'a [EpochStart],
    log_start: EndOffset,
    log_end: EndOffset,
}

impl<'a> Written<'a> {
    pub(super) fn of(log: &'a Log) -> Self {
        let (log_start, log_end) = (log.start(), log.end());
        let starts = log.epochs().starts();
        let written = starts.partition_point(|entry| entry.start < log_end);
        Self { starts: &starts[..written], log_start, log_end }
    }
}

impl Epochs for Written<'_> {
    fn latest(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|entry| entry.epoch)
    }

    /// What was deleted at the front is not known any more: an epoch before all that are left has ended where they begin.
    fn end_of(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        let after = self.starts.partition_point(|entry| entry.epoch <= epoch);
        let end = self.starts.get(after).map_or(self.log_end, |next| next.start);
        let own = after.checked_sub(1).and_then(|at| self.starts.get(at));
        Some(own.map_or(EpochEnd { epoch, end: self.log_start }, |own| EpochEnd { epoch: own.epoch, end }))
    }
}

impl Leads {
    /// Takes note of how far a follower is. Returns true if it may be in sync and is not.
    fn note(&mut self, id: BrokerId, now: Instant) -> bool {
        if !self.leader.state().is_on(id) {
            return false;
        }
        let end = self.leader.own().log_end;
        let has = self.leader.safe_end_of(id);
        self.lags.entry(id).or_insert_with(|| Lag::new(now, end)).note(has, end, now);
        let joins = !self.leader.state().isr.contains(&id) && self.may_join(id);
        let is_news = joins && !self.is_noted;
        self.is_noted |= joins;
        is_news
    }

    /// A follower may be in sync if it has everything that is safe, and nothing that was deleted by request.
    fn may_join(&self, id: BrokerId) -> bool {
        let start = self.starts.get(&id).copied().unwrap_or_default();
        self.leader.may_join(id) && start >= self.start_min
    }

    /// The replica in sync that has `from` and the most besides, among those that are near; this one if it is near itself.
    pub(super) fn nearest(&self, from: EndOffset, is_near: impl Fn(BrokerId) -> bool) -> Option<BrokerId> {
        let state = self.leader.state();
        let own = state.leader.filter(|own| is_near(*own));
        let has = |id: &BrokerId| {
            let start = self.starts.get(id).copied().unwrap_or(EndOffset(i64::MAX));
            (start..=self.leader.log_end_of(*id)).contains(&from)
        };
        let near = || state.isr.iter().copied().filter(|id| is_near(*id) && has(id));
        own.or_else(|| near().max_by_key(|id| self.leader.log_end_of(*id)))
    }

    /// The least beginning of those that are in sync, this one aside.
    fn least_start(&self) -> EndOffset {
        let state = self.leader.state();
        let others = self.leader.maximal_isr().filter(|id| state.leader != Some(*id));
        let starts = others.map(|id| self.starts.get(&id).copied().unwrap_or_default());
        starts.min().unwrap_or(EndOffset(i64::MAX))
    }

    /// In-sync followers that have not had everything for longer than `lag_max`.
    fn laggards(&self, now: Instant, lag_max: Span) -> Vec<BrokerId> {
        let state = self.leader.state();
        let end = self.leader.own().log_end;
        let lags = |id: &&BrokerId| {
            let caught_up = self.lags.get(id).map_or(Instant::default(), Lag::caught_up_at);
            state.leader != Some(**id)
                && self.leader.safe_end_of(**id) < end
                && now.since(caught_up) > lag_max
        };
        state.isr.iter().filter(lags).copied().collect()
    }

    fn joiners(&self, is_eligible: impl Fn(BrokerId, i64) -> bool) -> Vec<BrokerId> {
        let state = self.leader.state();
        let may = |id: &&BrokerId| {
            let life = self.leader.life_of(**id);
            !state.isr.contains(id) && self.may_join(**id) && life.is_some_and(|life| is_eligible(**id, life))
        };
        state.replicas.iter().filter(may).copied().collect()
    }
}

/// What follows from hearing of a follower.
#[derive(Debug, Default)]
struct Heard {
    told: Vec<(Waiter, Told)>,
    /// Other replicas may have to be in sync.
    notes: bool,
}

impl Replica {
    /// One look for a follower: takes note of how far it is and finds batches up to the log's end, or has the follower
    /// told when there are any.
    pub(crate) fn serve(
        self: &Arc<Self>,
        wish: &Wish,
        from: &Following,
        now: Instant,
        fx: &mut Effects,
    ) -> Result<Read, ReadError> {
        let mut heard = Heard::default();
        let read = self.inner().serve(wish, from, (self.index, now), &mut heard);
        self.heard(heard, fx);
        read
    }

    /// Where a follower starts over that is behind all that there is here.
    pub(crate) fn first_batch(&self) -> EndOffset {
        self.inner().first_batch()
    }

    /// True if all in-sync replicas begin at `start`, as this one does; else `waiter` is told when they do. From now on
    /// nobody gets in sync who does not.
    pub(crate) fn begins_everywhere_or_wait(
        &self,
        start: EndOffset,
        waiter: Waiter,
    ) -> Result<bool, ErrorCode> {
        let mut inner = self.inner();
        let Role::Leads(leads) = &mut inner.role else { return Err(ErrorCode::NotLeaderOrFollower) };
        leads.start_min = leads.start_min.max(start);
        let is_done = leads.least_start() >= start;
        if !is_done {
            hit!(deletion_waits_for_followers);
            inner.waiters.until_begun(start, waiter);
        }
        Ok(is_done)
    }

    /// A follower says how far its disk is.
    pub(crate) fn reported(
        self: &Arc<Self>,
        from: Incarnation,
        epoch: LeaderEpoch,
        flushed: EndOffset,
        now: Instant,
        fx: &mut Effects,
    ) {
        let heard = self.inner().reported(from, epoch, flushed, now);
        self.heard(heard, fx);
    }

    fn heard(self: &Arc<Self>, heard: Heard, fx: &mut Effects) {
        if heard.notes {
            fx.tell(Owner::Replication, Mail::Replicas(vec![self.clone()]));
        }
        tell(heard.told, fx);
    }

    /// Asks to be told of more than the `seen` bytes that were there at an earlier look; says how many there are already.
    pub(crate) fn watch_end(&self, follower: Waiter, seen: u64) -> u64 {
        let mut inner = self.inner();
        let bytes = inner.bytes;
        inner.waiters.watch_end(follower, bytes);
        bytes.saturating_sub(seen)
    }

    /// What the controller is to be asked for: what it was asked for before as long as it has not answered, else what has
    /// become of the followers. `is_eligible` knows which brokers may be in sync in which life (A9, A10).
    pub(crate) fn proposal(
        &self,
        now: Instant,
        lag_max: Span,
        is_eligible: impl Fn(BrokerId, i64) -> bool,
    ) -> Option<PartitionChange> {
        let mut inner = self.inner();
        let Role::Leads(leads) = &mut inner.role else { return None };
        leads.is_noted = false;
        let change = leads.leader.asked().or_else(|| {
            let (join, leave) = (leads.joiners(is_eligible), leads.laggards(now, lag_max));
            leads.leader.propose(&join, &leave)
        });
        change.map(|change| PartitionChange { topic: self.topic, index: self.index, change })
    }

    /// The controller has decided.
    pub(crate) fn decided(&self, state: &PartitionState, now: Instant, fx: &mut Effects) {
        let told = self.inner().take_decision(state, now);
        tell(told, fx);
    }

    /// The controller has refused what it was asked for against this state.
    pub(crate) fn refused(&self, partition_epoch: i32, fx: &mut Effects) {
        hit!(in_sync_change_refused);
        let mut inner = self.inner();
        let moved = inner.role.leader_mut().is_some_and(|leader| leader.refused(partition_epoch));
        let told = inner.wake_if(moved);
        drop(inner);
        tell(told, fx);
    }
}

impl Inner {
    fn serve(
        &mut self,
        wish: &Wish,
        from: &Following,
        (index, now): (PartitionIndex, Instant),
        heard: &mut Heard,
    ) -> Result<Read, ReadError> {
        // Every fetch of a replica says in which epoch it follows, and nothing is touched before that has been
        // compared, in both directions (A3).
        if wish.epoch == LeaderEpoch::UNKNOWN {
            return Err(ReadError { code: ErrorCode::FencedLeaderEpoch });
        }
        self.check_epoch(wish.epoch)?;
        let is_known = |leader: &cluster::Leader| leader.state().is_on(from.life.id);
        if !self.role.leader().is_some_and(is_known) {
            hit!(unknown_follower);
            return Err(ReadError { code: ErrorCode::NotLeaderOrFollower });
        }
        let (log_start, end) = (self.log.start(), self.log.end());
        let mut read = Read {
            high_watermark: self.high_watermark(),
            log_start,
            slice: None,
            waits: false,
            is_news: false,
            diverges: self.parts(wish),
            safe_bytes: self.bytes,
            is_throttled: false,
        };
        // Such a fetch says nothing of how far the follower is (A6).
        if read.diverges.is_some() {
            hit!(follower_diverges);
            if planted!(A6) {
                self.note_fetch(from, wish.from, now, heard);
            }
            return Ok(read);
        }
        if wish.from > end || (wish.from < log_start && wish.from < self.first_batch()) {
            hit!(follower_out_of_range);
            return Err(ReadError { code: ErrorCode::OffsetOutOfRange });
        }
        self.note_fetch(from, wish.from, now, heard);
        // Read after that, for the fetch may have moved it; once for the whole request (A20).
        read.high_watermark = self.high_watermark();
        read.is_news = from.high_watermark.is_none_or(|known| known < read.high_watermark)
            || from.log_start.is_some_and(|known| known < log_start);
        read.is_throttled = self.is_throttled(index, from.life.id);
        if wish.from == end {
            read.waits = true;
            self.waiters.watch_end(wish.reader, self.bytes);
        } else if read.is_throttled && from.is_held {
            // It has news for as long, and is looked at again with the next fetch.
            hit!(leader_holds_back);
        } else if wish.bytes_max > 0 || wish.whole_batch {
            let max = wish.bytes_max.min(u64::from(u32::MAX));
            let from = wish.from.max(log_start);
            read.slice = self.log.read(from, max, end, wish.whole_batch).map_err(read_code)?;
        }
        Ok(read)
    }

    /// Whether a follower may be held back. One that is in sync, or is to be by what was asked for, never is: the high
    /// watermark waits for it.
    fn is_throttled(&self, index: PartitionIndex, follower: BrokerId) -> bool {
        let Some(leader) = self.role.leader() else { return false };
        let own = leader.state().leader;
        !leader.maximal_isr().any(|id| id == follower)
            && own.is_some_and(|own| self.config.leader_throttled.holds(index, own))
    }

    /// Where the batch begins in which the log begins. A log may begin within a batch, which a follower then copies whole.
    fn first_batch(&mut self) -> EndOffset {
        let (start, end) = (self.log.start(), self.log.end());
        let first = self.log.read(start, 1, end, true).ok().flatten();
        first.map_or(start, |first| EndOffset(first.base.0).min(start))
    }

    /// Where the log of a follower parts from this one. What the epochs' file says of it is compared with the log.
    fn parts(&mut self, wish: &Wish) -> Option<(LeaderEpoch, EndOffset)> {
        let position = Position { leader_epoch: wish.epoch, offset: wish.from, last_epoch: wish.last_epoch };
        let found = position.divergence(&Written::of(&self.log))?;
        let truth = self.log.end_of_epoch(position.last_epoch?).map(|_| Written::of(&self.log));
        let found = truth.map_or(Some(found), |truth| position.divergence(&truth))?;
        Some((found.epoch, found.end))
    }

    fn note_fetch(&mut self, from: &Following, offset: EndOffset, now: Instant, heard: &mut Heard) {
        let Role::Leads(leads) = &mut self.role else { return };
        let moved = leads.leader.fetched(from.life, offset);
        if leads.leader.life_of(from.life.id) == Some(from.life.epoch) {
            leads.starts.insert(from.life.id, from.own_start);
        }
        heard.notes = leads.note(from.life.id, now);
        heard.told = self.wake_if(moved);
        heard.told.extend(self.wake_trims());
    }

    /// Those who wait for records to be deleted everywhere.
    pub(super) fn wake_trims(&mut self) -> Vec<(Waiter, Told)> {
        match &self.role {
            Role::Leads(leads) if self.waiters.has_trims() => {
                let least = leads.least_start();
                self.waiters.begun(least)
            }
            Role::Leads(_) | Role::Follows(_) | Role::StandsBy { .. } | Role::Gone => Vec::new(),
        }
    }

    fn reported(&mut self, from: Incarnation, epoch: LeaderEpoch, flushed: EndOffset, now: Instant) -> Heard {
        let Role::Leads(leads) = &mut self.role else { return Heard::default() };
        if leads.leader.epoch != epoch {
            hit!(late_report_dropped);
            return Heard::default();
        }
        let moved = leads.leader.reported(from, flushed);
        let notes = leads.note(from.id, now);
        Heard { told: self.wake_if(moved), notes }
    }
}
