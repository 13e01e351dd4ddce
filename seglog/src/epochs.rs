//! Which leader epoch wrote which stretch of a log (KIP-101, KIP-279).

use crate::text::EpochStart;
use base::{EndOffset, LeaderEpoch};

/// The starts of all leader epochs of one log, increasing in epoch and offset.
#[derive(Clone, Debug, Default)]
pub struct EpochCache {
    starts: Vec<EpochStart>,
    /// Counts changes; who wrote the state of a change number knows whether the file is current.
    changes: u64,
}

/// An answer to "where does this epoch end?": the epoch that the log has at or below it, and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch of the log that is not larger than the one asked for, or the one asked for if all
    /// that the log has are larger.
    pub epoch: LeaderEpoch,
    /// Where it ends.
    pub end: EndOffset,
}

impl EpochCache {
    /// A cache of what a file said.
    #[must_use]
    pub const fn new(starts: Vec<EpochStart>) -> Self {
        Self { starts, changes: 0 }
    }

    /// Notes that `epoch` begins at `start`, unless it is the latest already. What contradicts that (an epoch
    /// not below, a start not before) is dropped: the log tells the truth and the cache follows.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: EndOffset) {
        if epoch.0 < 0 {
            return;
        }
        if self.starts.last().is_some_and(|last| last.epoch == epoch && last.start <= start) {
            return;
        }
        let keep = self.starts.partition_point(|entry| entry.epoch < epoch && entry.start < start);
        self.starts.truncate(keep);
        self.starts.push(EpochStart { epoch, start });
        self.changes += 1;
    }

    /// The latest epoch in the log.
    #[must_use]
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|entry| entry.epoch)
    }

    /// The epoch that wrote `offset`.
    #[must_use]
    pub fn epoch_of(&self, offset: EndOffset) -> Option<LeaderEpoch> {
        let index = self.starts.partition_point(|entry| entry.start <= offset);
        index.checked_sub(1).and_then(|index| self.starts.get(index)).map(|entry| entry.epoch)
    }

    /// Where `epoch` ends in a log that ends at `log_end`; `None` for an unknown epoch or one later than all.
    #[must_use]
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: EndOffset) -> Option<EpochEnd> {
        if epoch == LeaderEpoch::UNKNOWN {
            return None;
        }
        if self.latest() == Some(epoch) {
            return Some(EpochEnd { epoch, end: log_end });
        }
        let after = self.starts.partition_point(|entry| entry.epoch <= epoch);
        let end = self.starts.get(after)?.start;
        let floor = after.checked_sub(1).and_then(|index| self.starts.get(index));
        Some(EpochEnd { epoch: floor.map_or(epoch, |entry| entry.epoch), end })
    }

    /// Forgets epochs that begin at or after `end`.
    pub fn truncate_end(&mut self, end: EndOffset) {
        let keep = self.starts.partition_point(|entry| entry.start < end);
        if keep < self.starts.len() {
            self.starts.truncate(keep);
            self.changes += 1;
        }
    }

    /// Forgets epochs that end at or before `start`; the one that covers it then begins there.
    pub fn truncate_start(&mut self, start: EndOffset) {
        let covered = self.starts.partition_point(|entry| entry.start <= start);
        let Some(first) = covered.checked_sub(1) else { return };
        if first == 0 && self.starts[0].start == start {
            return;
        }
        self.starts.drain(..first);
        self.starts[0].start = start;
        self.changes += 1;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.changes += 1;
        self.starts.clear();
    }

    /// All entries, in order.
    #[must_use]
    pub fn starts(&self) -> &[EpochStart] {
        &self.starts
    }

    /// Grows with each change.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Rng;

    fn cache(starts: &[(i32, i64)]) -> EpochCache {
        let mut cache = EpochCache::default();
        for (epoch, start) in starts {
            cache.assign(LeaderEpoch(*epoch), EndOffset(*start));
        }
        cache
    }

    fn pairs(cache: &EpochCache) -> Vec<(i32, i64)> {
        cache.starts().iter().map(|entry| (entry.epoch.0, entry.start.0)).collect()
    }

    fn end(cache: &EpochCache, epoch: i32) -> Option<(i32, i64)> {
        cache.end_of(LeaderEpoch(epoch), EndOffset(100)).map(|e| (e.epoch.0, e.end.0))
    }

    #[test]
    fn assignment_follows_the_log() {
        assert_eq!(pairs(&cache(&[(1, 0), (1, 5), (2, 6)])), [(1, 0), (2, 6)]);
        assert_eq!(pairs(&cache(&[(1, 0), (2, 6), (3, 6)])), [(1, 0), (3, 6)], "an epoch that wrote nothing");
        assert_eq!(pairs(&cache(&[(1, 0), (3, 6), (2, 8)])), [(1, 0), (2, 8)], "contradicted");
        assert_eq!(pairs(&cache(&[(1, 5), (1, 3)])), [(1, 3)], "an earlier start");
        assert_eq!(pairs(&cache(&[(-1, 5)])), []);
    }

    #[test]
    fn ends_are_kafkas() {
        let cache = cache(&[(2, 10), (4, 20), (7, 30)]);
        assert_eq!(end(&cache, 7), Some((7, 100)), "the latest ends with the log");
        assert_eq!(end(&cache, 8), None, "not known here");
        assert_eq!(end(&cache, -1), None);
        assert_eq!(end(&cache, 4), Some((4, 30)));
        assert_eq!(end(&cache, 5), Some((4, 30)), "the largest epoch below");
        assert_eq!(end(&cache, 3), Some((2, 20)));
        assert_eq!(end(&cache, 1), Some((1, 10)), "before all that is left");
        assert_eq!(end(&EpochCache::default(), 0), None);
    }

    #[test]
    fn epochs_of_offsets() {
        let cache = cache(&[(2, 10), (4, 20)]);
        let of = |offset| cache.epoch_of(EndOffset(offset)).map(|e| e.0);
        assert_eq!([of(9), of(10), of(19), of(20), of(99)], [None, Some(2), Some(2), Some(4), Some(4)]);
    }

    #[test]
    fn truncation_keeps_what_is_covered() {
        let cut = |end| {
            let mut cache = cache(&[(2, 10), (4, 20), (7, 30)]);
            cache.truncate_end(EndOffset(end));
            pairs(&cache)
        };
        assert_eq!(cut(31), [(2, 10), (4, 20), (7, 30)]);
        assert_eq!(cut(30), [(2, 10), (4, 20)]);
        assert_eq!(cut(10), []);
        let start = |start| {
            let mut cache = cache(&[(2, 10), (4, 20), (7, 30)]);
            let before = cache.changes();
            cache.truncate_start(EndOffset(start));
            (pairs(&cache), cache.changes() > before)
        };
        assert_eq!(start(5), (vec![(2, 10), (4, 20), (7, 30)], false));
        assert_eq!(start(10), (vec![(2, 10), (4, 20), (7, 30)], false));
        assert_eq!(start(15), (vec![(2, 15), (4, 20), (7, 30)], true));
        assert_eq!(start(20), (vec![(4, 20), (7, 30)], true));
        assert_eq!(start(99), (vec![(7, 99)], true));
    }

    /// Against a list of one epoch per offset.
    #[test]
    fn a_random_history_agrees_with_the_plain_model() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (mut cache, mut log, mut epoch, mut first) =
                (EpochCache::default(), Vec::new(), 0i32, 0usize);
            for _ in 0..60 {
                match rng.below(5) {
                    0 => epoch += 1 + i32::try_from(rng.below(2)).unwrap(),
                    1 => {
                        log.truncate(rng.index(log.len() + 1).max(first));
                        cache.truncate_end(EndOffset(i64::try_from(log.len()).unwrap()));
                    }
                    2 => {
                        first = first.max(rng.index(log.len() + 1));
                        cache.truncate_start(EndOffset(i64::try_from(first).unwrap()));
                    }
                    _ => {
                        cache.assign(LeaderEpoch(epoch), EndOffset(i64::try_from(log.len()).unwrap()));
                        log.push(epoch);
                    }
                }
                for (offset, epoch) in log.iter().enumerate().skip(first) {
                    let found = cache.epoch_of(EndOffset(i64::try_from(offset).unwrap()));
                    assert_eq!(found, Some(LeaderEpoch(*epoch)), "seed {seed}");
                }
            }
        }
    }
}
