//! The leader's side of a partition: how far everybody is, how far the records count as safe, and who is in sync.
//!
//! On a `flushed` topic the high watermark is the least *flushed* offset of the in-sync replicas (rule A13), on a
//! `replicated` one the least written offset. In sync is who the controller has confirmed; while a change is on its way
//! to the controller both sets count (A8).

use super::state::{IsrChange, PartitionState};
use crate::config::Durability;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::{BrokerId, EndOffset, LeaderEpoch, planted};

/// How far one replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Progress {
    /// The end of what it has written.
    pub log_end: EndOffset,
    /// The end of what is on its disk; never beyond `log_end`.
    pub flushed: EndOffset,
}

/// One life of a broker: its id and the epoch of its registration (KIP-903).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    /// The broker.
    pub id: BrokerId,
    /// Its registration's epoch.
    pub epoch: i64,
}

/// What a topic asks of its replicas before something counts as safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rules {
    /// Where it has to be.
    pub durability: Durability,
    /// `min.insync.replicas`: with fewer in sync nothing more is safe.
    pub min_isr: usize,
}

/// A change of the in-sync replicas that the controller has to confirm.
pub type Proposal = IsrChange;

/// What a leader knows of a follower, from what was said in this leader's epoch alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Heard {
    broker_epoch: i64,
    progress: Progress,
}

/// A partition as its leader sees it.
///
/// Invariant: `high_watermark <= own.log_end`, and it never goes back while this leader leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leader {
    /// The epoch in which this broker leads.
    pub epoch: LeaderEpoch,
    /// Where that epoch begins in the log.
    epoch_start: EndOffset,
    rules: Rules,
    own_id: BrokerId,
    own: Progress,
    /// What the controller has confirmed.
    state: PartitionState,
    /// The in-sync replicas that the controller is being asked for, each in the life in which it was seen then (A10).
    proposed: Option<Vec<(BrokerId, i64)>>,
    /// The other replicas that have been heard of.
    followers: BTreeMap<BrokerId, Heard>,
    high_watermark: EndOffset,
}

impl Leader {
    /// A leader that starts with the log as it found it. Nothing counts as safe before the in-sync replicas
    /// have confirmed it, except what was known to be safe before.
    #[must_use]
    pub fn new(
        own_id: BrokerId,
        state: &PartitionState,
        rules: Rules,
        own: Progress,
        high_watermark: EndOffset,
    ) -> Self {
        assert!(own.flushed <= own.log_end, "flushed beyond the log's end");
        let mut leader = Self {
            epoch: state.leader_epoch,
            epoch_start: own.log_end,
            rules,
            own_id,
            own,
            state: state.clone(),
            proposed: None,
            followers: BTreeMap::new(),
            high_watermark: high_watermark.min(own.log_end),
        };
        leader.advance();
        leader
    }

    /// The log now ends at `end`. Returns true when the high watermark moved.
    pub fn appended(&mut self, end: EndOffset) -> bool {
        assert!(end >= self.own.log_end, "the log's end went back under a leader");
        self.own.log_end = end;
        self.advance()
    }

    /// Everything before `end` is on this broker's disk. Returns true when the high watermark moved.
    pub fn flushed(&mut self, end: EndOffset) -> bool {
        self.own.flushed = self.own.flushed.max(end).min(self.own.log_end);
        self.advance()
    }

    /// A follower fetches from `offset` on, in this epoch, and what it has is the beginning of this log: the caller has
    /// checked both (A3, A6). Returns true when the high watermark moved.
    pub fn fetched(&mut self, from: Incarnation, offset: EndOffset) -> bool {
        let Some(heard) = self.hear(from) else { return false };
        heard.progress.log_end = offset;
        self.advance()
    }

    /// A follower says, in this epoch, that everything before `flushed` is on its disk. Returns true when the high
    /// watermark moved.
    pub fn reported(&mut self, from: Incarnation, flushed: EndOffset) -> bool {
        let Some(heard) = self.hear(from) else { return false };
        heard.progress.flushed = flushed;
        self.advance()
    }

    /// What is known of a follower's life; nothing of an earlier one counts, in either direction (A10).
    fn hear(&mut self, from: Incarnation) -> Option<&mut Heard> {
        if !self.state.is_on(from.id) || from.id == self.own_id {
            return None;
        }
        let new = Heard { broker_epoch: from.epoch, progress: Progress::default() };
        let heard = self.followers.entry(from.id).or_insert(new);
        if heard.broker_epoch < from.epoch {
            *heard = new;
        }
        (heard.broker_epoch == from.epoch || planted!(E9)).then_some(heard)
    }

    /// The topic asks for something else. Going up never takes back what was promised.
    pub fn set_rules(&mut self, rules: Rules) -> bool {
        self.rules = rules;
        self.advance()
    }

    /// True when a follower may be in sync (A7): it was heard of in this epoch, has all that is safe, and has come as far
    /// as this epoch's beginning, where it has to be: a leader that lost power does not know that more was safe before.
    #[must_use]
    pub fn may_join(&self, id: BrokerId) -> bool {
        let Some(heard) = self.followers.get(&id) else { return false };
        let has = self.safe(&heard.progress);
        has >= self.high_watermark && (has >= self.epoch_start || planted!(A7))
    }

    /// Asks for other in-sync replicas: those that may join and shall, without those that shall leave. `None` while an
    /// earlier change is on its way, and if nothing would change.
    pub fn propose(&mut self, join: &[BrokerId], leave: &[BrokerId]) -> Option<Proposal> {
        if self.proposed.is_some() {
            return None;
        }
        let stays = |id: &BrokerId| *id == self.own_id || (self.is_in_sync(*id) && !leave.contains(id));
        let joins = |id: &BrokerId| join.contains(id) && !self.is_in_sync(*id) && self.may_join(*id);
        let isr: Vec<_> = self.state.replicas.iter().copied().filter(|id| stays(id) || joins(id)).collect();
        if isr == self.state.isr {
            return None;
        }
        // A replica that stays without having been heard of is not a claim about it.
        let lives: Vec<_> = isr.iter().map(|id| (*id, self.life_of(*id).unwrap_or(-1))).collect();
        self.proposed = Some(lives.clone());
        Some(self.change(lives))
    }

    /// The controller has decided: this is the state now. An earlier one than is known says nothing. Returns true when
    /// the high watermark moved.
    pub fn decided(&mut self, state: &PartitionState) -> bool {
        if state.leader_epoch != self.epoch || state.partition_epoch <= self.state.partition_epoch {
            return false;
        }
        self.state = state.clone();
        self.proposed = None;
        self.followers.retain(|id, _| state.is_on(*id));
        self.advance()
    }

    /// The controller has refused what was asked for against this state, and will not do it later.
    pub fn refused(&mut self, partition_epoch: i32) -> bool {
        if partition_epoch == self.state.partition_epoch {
            self.proposed = None;
        }
        self.advance()
    }

    /// The change that the controller is being asked for, as it was asked for: whoever is not answered asks again. Who was
    /// to join may have started anew since, with less than it had: nothing is claimed of that life (A10).
    #[must_use]
    pub fn asked(&self) -> Option<Proposal> {
        self.proposed.clone().map(|lives| self.change(lives))
    }

    const fn change(&self, isr: Vec<(BrokerId, i64)>) -> Proposal {
        IsrChange {
            from: self.own_id,
            leader_epoch: self.epoch,
            partition_epoch: self.state.partition_epoch,
            isr,
        }
    }

    /// The broker epoch in which a follower was heard of.
    #[must_use]
    pub fn life_of(&self, id: BrokerId) -> Option<i64> {
        self.followers.get(&id).map(|heard| heard.broker_epoch)
    }

    /// How far a follower's log is safe, as far as was heard of it in this epoch.
    #[must_use]
    pub fn safe_end_of(&self, id: BrokerId) -> EndOffset {
        self.followers.get(&id).map_or(EndOffset::ZERO, |heard| self.safe(&heard.progress))
    }

    /// How far a follower's log goes, as far as was heard of it in this epoch.
    #[must_use]
    pub fn log_end_of(&self, id: BrokerId) -> EndOffset {
        self.followers.get(&id).map_or(EndOffset::ZERO, |heard| heard.progress.log_end)
    }

    /// What the controller has confirmed.
    #[must_use]
    pub const fn state(&self) -> &PartitionState {
        &self.state
    }

    /// Where this leader's epoch begins in the log.
    #[must_use]
    pub const fn epoch_start(&self) -> EndOffset {
        self.epoch_start
    }

    /// When a record counts as safe.
    #[must_use]
    pub const fn durability(&self) -> Durability {
        self.rules.durability
    }

    /// The end of what is safe, and therefore of what consumers see.
    #[must_use]
    pub const fn high_watermark(&self) -> EndOffset {
        self.high_watermark
    }

    /// How far this broker itself is.
    #[must_use]
    pub const fn own(&self) -> Progress {
        self.own
    }

    /// How many replicas are in sync, this one included, as confirmed by the controller.
    #[must_use]
    pub const fn isr_len(&self) -> usize {
        self.state.isr.len()
    }

    /// The replicas that hold up what is safe: those in sync, and those that may be so already.
    pub fn maximal_isr(&self) -> impl Iterator<Item = BrokerId> + '_ {
        let is_of = |id: &BrokerId, lives: &Vec<(BrokerId, i64)>| lives.iter().any(|(other, _)| other == id);
        let proposed = move |id: &BrokerId| self.proposed.as_ref().is_some_and(|lives| is_of(id, lives));
        self.state
            .replicas
            .iter()
            .copied()
            .filter(move |id| *id == self.own_id || self.is_in_sync(*id) || (proposed(id) && !planted!(A8)))
    }

    fn is_in_sync(&self, id: BrokerId) -> bool {
        self.state.isr.contains(&id)
    }

    /// How far a replica's log is safe: what it says of its disk counts only for what it has of this log.
    fn safe(&self, progress: &Progress) -> EndOffset {
        match self.rules.durability {
            Durability::Flushed if planted!(A13) => progress.log_end,
            Durability::Flushed => progress.flushed.min(progress.log_end),
            Durability::Replicated => progress.log_end,
        }
    }

    fn advance(&mut self) -> bool {
        // With too few in sync those that have left must still hold all that is safe (KIP-966).
        let enough = self.state.isr.len() >= self.rules.min_isr.min(self.state.replicas.len());
        if !enough && !planted!(A11) {
            return false;
        }
        let of = |id: BrokerId| match self.followers.get(&id) {
            _ if id == self.own_id => self.safe(&self.own),
            Some(heard) => self.safe(&heard.progress),
            None => EndOffset::ZERO,
        };
        let least = self.maximal_isr().map(of).min().unwrap_or(EndOffset::ZERO);
        let moved = least > self.high_watermark;
        self.high_watermark = self.high_watermark.max(least);
        assert!(self.high_watermark <= self.own.log_end, "safe beyond the log's end");
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use base::plant::{self, Bug};

    fn led_by(replicas: &[i32], durability: Durability, own: Progress, high_watermark: i64) -> Leader {
        let state = PartitionState::new(replicas.iter().copied().map(BrokerId).collect());
        let rules = Rules { durability, min_isr: 1 };
        Leader::new(BrokerId(replicas[0]), &state, rules, own, EndOffset(high_watermark))
    }

    fn alone(durability: Durability) -> Leader {
        led_by(&[1], durability, Progress::default(), 0)
    }

    fn at(end: i64) -> Progress {
        Progress { log_end: EndOffset(end), flushed: EndOffset(end) }
    }

    fn life(id: i32) -> Incarnation {
        Incarnation { id: BrokerId(id), epoch: 7 }
    }

    #[test]
    fn replicated_counts_what_is_written_flushed_what_is_on_disk() {
        let mut leader = alone(Durability::Replicated);
        assert!(leader.appended(EndOffset(5)));
        assert_eq!(leader.high_watermark(), EndOffset(5));

        let mut leader = alone(Durability::Flushed);
        assert!(!leader.appended(EndOffset(5)));
        assert_eq!(leader.high_watermark(), EndOffset(0));
        assert!(leader.flushed(EndOffset(3)));
        assert_eq!(leader.high_watermark(), EndOffset(3));
    }

    #[test]
    fn a_stricter_level_takes_nothing_back() {
        let mut leader = alone(Durability::Replicated);
        leader.appended(EndOffset(5));
        leader.set_rules(Rules { durability: Durability::Flushed, min_isr: 1 });
        assert_eq!(leader.high_watermark(), EndOffset(5));
        leader.appended(EndOffset(8));
        assert_eq!(leader.high_watermark(), EndOffset(5));
        leader.flushed(EndOffset(8));
        assert_eq!(leader.high_watermark(), EndOffset(8));
    }

    #[test]
    fn silent_followers_hold_the_watermark() {
        let mut leader = led_by(&[1, 2], Durability::Flushed, at(9), 4);
        assert_eq!((leader.high_watermark(), leader.isr_len()), (EndOffset(4), 2));
        assert!(!leader.fetched(life(2), EndOffset(9)), "written is not flushed");
        assert!(leader.reported(life(2), EndOffset(8)));
        assert_eq!(leader.high_watermark(), EndOffset(8));
    }

    #[test]
    fn a_flush_counts_only_for_what_was_fetched_after() {
        let mut leader = led_by(&[1, 2], Durability::Flushed, at(9), 0);
        leader.reported(life(2), EndOffset(20));
        assert_eq!(leader.high_watermark(), EndOffset(0));
        leader.fetched(life(2), EndOffset(6));
        assert_eq!(leader.high_watermark(), EndOffset(6));
    }

    #[test]
    fn a_follower_joins_when_its_disk_has_what_may_have_been_safe_before() {
        // The leader lost power and with it the knowledge that everything was safe.
        let mut leader = led_by(&[1, 2], Durability::Flushed, at(4), 0);
        leader.fetched(life(2), EndOffset(4));
        leader.reported(life(2), EndOffset(1));
        assert_eq!((leader.high_watermark(), leader.may_join(BrokerId(2))), (EndOffset(1), false));
        leader.reported(life(2), EndOffset(4));
        assert!(leader.may_join(BrokerId(2)));
    }

    #[test]
    fn an_earlier_life_says_nothing_and_a_later_one_begins_anew() {
        let mut leader = led_by(&[1, 2], Durability::Replicated, at(9), 0);
        leader.fetched(life(2), EndOffset(3));
        assert!(!leader.fetched(Incarnation { id: BrokerId(2), epoch: 6 }, EndOffset(9)));
        assert!(!leader.fetched(Incarnation { id: BrokerId(2), epoch: 8 }, EndOffset(1)));
        assert!(leader.fetched(Incarnation { id: BrokerId(2), epoch: 8 }, EndOffset(5)));
        assert_eq!(leader.high_watermark(), EndOffset(5));
    }

    #[test]
    fn without_the_rule_an_earlier_life_would_count() {
        extern crate std;
        plant::arm(Some(Bug::E9));
        let caught =
            std::panic::catch_unwind(an_earlier_life_says_nothing_and_a_later_one_begins_anew).is_err();
        plant::arm(None);
        assert!(caught);
    }

    #[test]
    fn who_leaves_counts_until_the_controller_has_confirmed_it() {
        let mut leader = led_by(&[1, 2], Durability::Replicated, at(9), 0);
        let change = leader.propose(&[], &[BrokerId(2)]).unwrap();
        assert_eq!(change.isr, vec![(BrokerId(1), -1)]);
        assert_eq!(leader.propose(&[], &[BrokerId(2)]), None, "one change at a time");
        assert_eq!(leader.high_watermark(), EndOffset(0));
        let state = PartitionState::new(vec![BrokerId(1), BrokerId(2)]);
        let decided = state.change_isr(&change, 1, |_, _| true).unwrap();
        assert!(leader.decided(&decided));
        assert_eq!(leader.high_watermark(), EndOffset(9));
    }

    #[test]
    fn a_wish_that_is_repeated_claims_nothing_of_a_later_life() {
        let mut leader = led_by(&[1, 2], Durability::Replicated, at(9), 0);
        leader.state.isr = vec![BrokerId(1)];
        leader.fetched(life(2), EndOffset(9));
        let first = leader.propose(&[BrokerId(2)], &[]).unwrap();
        // It comes back with an empty disk before the controller has answered.
        leader.fetched(Incarnation { id: BrokerId(2), epoch: 8 }, EndOffset(0));
        let again = leader.asked().unwrap();
        assert_eq!((again.isr.clone(), &again), (vec![(BrokerId(1), -1), (BrokerId(2), 7)], &first));
    }

    #[test]
    fn with_too_few_in_sync_nothing_more_is_safe() {
        let mut leader = led_by(&[1, 2], Durability::Replicated, at(9), 0);
        leader.set_rules(Rules { durability: Durability::Replicated, min_isr: 2 });
        let change = leader.propose(&[], &[BrokerId(2)]).unwrap();
        let state = PartitionState::new(vec![BrokerId(1), BrokerId(2)]);
        let decided = state.change_isr(&change, 2, |_, _| true).unwrap();
        assert_eq!((&decided.isr[..], &decided.elr[..]), (&[BrokerId(1)][..], &[BrokerId(2)][..]));
        assert!(!leader.decided(&decided));
        assert_eq!(leader.high_watermark(), EndOffset(0));
        leader.fetched(life(2), EndOffset(9));
        assert!(leader.may_join(BrokerId(2)));
    }
}
