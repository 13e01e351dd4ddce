//! The leader's side of a partition: how far everybody is, and how far the records count as safe.
//!
//! Pure arithmetic over offsets; the bytes are the log's. On a `flushed` topic the high watermark is the least
//! *flushed* offset of the in-sync replicas (rule A13), on a `replicated` one the least written offset.

use crate::config::Durability;
use alloc::collections::BTreeMap;
use base::{BrokerId, EndOffset, LeaderEpoch, planted};

/// How far one replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The end of what it has written.
    pub log_end: EndOffset,
    /// The end of what is on its disk; never beyond `log_end`.
    pub flushed: EndOffset,
}

/// A partition as its leader sees it.
///
/// Invariant: `high_watermark <= own.log_end`, and it never goes back while this leader leads.
#[derive(Clone, Debug)]
pub struct Leader {
    /// The epoch in which this broker leads.
    pub epoch: LeaderEpoch,
    durability: Durability,
    own: Progress,
    /// The in-sync replicas other than this broker.
    followers: BTreeMap<BrokerId, Progress>,
    high_watermark: EndOffset,
}

impl Leader {
    /// A leader that starts with the log as it found it. Nothing counts as safe before the in-sync replicas
    /// have confirmed it, except what was known to be safe before.
    #[must_use]
    pub fn new(
        epoch: LeaderEpoch,
        durability: Durability,
        followers: impl Iterator<Item = BrokerId>,
        own: Progress,
        high_watermark: EndOffset,
    ) -> Self {
        assert!(own.flushed <= own.log_end, "flushed beyond the log's end");
        let followers = followers.map(|id| (id, Progress::default())).collect();
        let high_watermark = high_watermark.min(own.log_end);
        let mut leader = Self { epoch, durability, own, followers, high_watermark };
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

    /// The topic's durability changed. Going up never takes back what was promised.
    pub fn set_durability(&mut self, durability: Durability) -> bool {
        self.durability = durability;
        self.advance()
    }

    /// When a record counts as safe.
    #[must_use]
    pub const fn durability(&self) -> Durability {
        self.durability
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

    /// How many replicas are in sync, this one included.
    #[must_use]
    pub fn isr_len(&self) -> usize {
        1 + self.followers.len()
    }

    fn advance(&mut self) -> bool {
        let safe = |progress: &Progress| match self.durability {
            Durability::Flushed if planted!(A13) => progress.log_end,
            Durability::Flushed => progress.flushed,
            Durability::Replicated => progress.log_end,
        };
        let least = self.followers.values().map(safe).fold(safe(&self.own), EndOffset::min);
        let moved = least > self.high_watermark;
        self.high_watermark = self.high_watermark.max(least);
        assert!(self.high_watermark <= self.own.log_end, "safe beyond the log's end");
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(durability: Durability) -> Leader {
        Leader::new(LeaderEpoch(0), durability, core::iter::empty(), Progress::default(), EndOffset::ZERO)
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
        leader.set_durability(Durability::Flushed);
        assert_eq!(leader.high_watermark(), EndOffset(5));
        leader.appended(EndOffset(8));
        assert_eq!(leader.high_watermark(), EndOffset(5));
        leader.flushed(EndOffset(8));
        assert_eq!(leader.high_watermark(), EndOffset(8));
    }

    #[test]
    fn silent_followers_hold_the_watermark() {
        let own = Progress { log_end: EndOffset(9), flushed: EndOffset(9) };
        let follower = core::iter::once(BrokerId(2));
        let leader = Leader::new(LeaderEpoch(1), Durability::Flushed, follower, own, EndOffset(4));
        assert_eq!((leader.high_watermark(), leader.isr_len()), (EndOffset(4), 2));
    }
}
