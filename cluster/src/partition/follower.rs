//! A follower's side of a partition: where its log parts from the leader's, and how far it may say that it is.

use base::{EndOffset, LeaderEpoch, planted};

/// The end of an epoch in some log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochEnd {
    /// The largest epoch of that log that is not larger than the one asked for.
    pub epoch: LeaderEpoch,
    /// Where it ends there.
    pub end: EndOffset,
}

/// What a log knows of the epochs that wrote it.
pub trait Epochs {
    /// The latest epoch in the log.
    fn latest(&self) -> Option<LeaderEpoch>;

    /// Where the largest epoch that is not larger than `epoch` ends; `None` if all are larger or there is none.
    fn end_of(&self, epoch: LeaderEpoch) -> Option<EpochEnd>;
}

/// Where a follower goes on; every fetch carries all of it (A3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The epoch in which it follows.
    pub leader_epoch: LeaderEpoch,
    /// The end of its log.
    pub offset: EndOffset,
    /// The epoch of its last record.
    pub last_epoch: Option<LeaderEpoch>,
}

impl Position {
    /// Where a leader's log parts from the one of the follower that fetches here; `None` if what the follower has is the
    /// beginning of the leader's log. Such a fetch says nothing of how far the follower is (A6).
    #[must_use]
    pub fn divergence(&self, leader: &impl Epochs) -> Option<EpochEnd> {
        let last = self.last_epoch?;
        let bottom = EpochEnd { epoch: LeaderEpoch::UNKNOWN, end: EndOffset::ZERO };
        let own = leader.end_of(last).unwrap_or(bottom);
        ((own.epoch < last && !planted!(A2)) || own.end < self.offset).then_some(own)
    }
}

/// What a leader answers to a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Answer {
    /// The epoch that the fetch was sent in.
    pub asked_in: LeaderEpoch,
    /// Present when the logs part; everything else then means nothing (A5).
    pub diverging: Option<EpochEnd>,
    /// The leader's high watermark.
    pub high_watermark: EndOffset,
}

/// What a follower has to do with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is an answer to an earlier life.
    Drop,
    /// Cut the log back to this end, then say [`Follower::truncated`].
    Truncate(EndOffset),
    /// Append the records, then say [`Follower::appended`].
    Append,
}

/// A partition as one of its followers sees it.
///
/// Invariant: `flushed <= log_end` and `high_watermark <= log_end`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Follower {
    epoch: LeaderEpoch,
    /// The leader has confirmed in this epoch that the log is the beginning of its own: there is nothing left to cut.
    is_aligned: bool,
    log_end: EndOffset,
    flushed: EndOffset,
    high_watermark: EndOffset,
}

impl Follower {
    /// A follower that begins with the log as it found it.
    #[must_use]
    pub fn new(
        epoch: LeaderEpoch,
        log_end: EndOffset,
        flushed: EndOffset,
        high_watermark: EndOffset,
    ) -> Self {
        assert!(flushed <= log_end, "flushed beyond the log's end");
        Self { epoch, is_aligned: false, log_end, flushed, high_watermark: high_watermark.min(log_end) }
    }

    /// The epoch in which it follows.
    #[must_use]
    pub const fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The end of what is known to be safe, and therefore of what its consumers see.
    #[must_use]
    pub const fn high_watermark(&self) -> EndOffset {
        self.high_watermark
    }

    /// Where it goes on.
    #[must_use]
    pub fn position(&self, log: &impl Epochs) -> Position {
        Position { leader_epoch: self.epoch, offset: self.log_end, last_epoch: log.latest() }
    }

    /// What to do with an answer.
    #[must_use]
    pub fn answered(&mut self, answer: &Answer, log: &impl Epochs) -> Step {
        // A late answer of an earlier epoch could cut what this one has confirmed (A4).
        if answer.asked_in != self.epoch && !planted!(A4) {
            return Step::Drop;
        }
        if planted!(A1) && !self.is_aligned {
            self.is_aligned = true;
            return Step::Truncate(self.high_watermark);
        }
        match answer.diverging {
            None => {
                self.is_aligned = true;
                Step::Append
            }
            Some(theirs) => {
                if planted!(A5) {
                    self.high_watermark = self.high_watermark.max(answer.high_watermark.min(self.log_end));
                }
                Step::Truncate(self.parting(theirs, log))
            }
        }
    }

    /// Where the log parts from one in which `theirs` is true: at the end of the largest epoch that both have, which may
    /// be below the one asked for on either side (A2). The high watermark has no say in it (A1).
    fn parting(&self, theirs: EpochEnd, log: &impl Epochs) -> EndOffset {
        let own = log.end_of(theirs.epoch);
        // Nothing as old as that: nothing in common. If only that epoch is missing, the one before it is asked about next.
        own.map_or(EndOffset::ZERO, |own| own.end.min(theirs.end).min(self.log_end))
    }

    /// The log now ends at `end`. All that is said of it moves together (A15).
    pub fn truncated(&mut self, end: EndOffset) {
        self.log_end = self.log_end.min(end);
        if planted!(A15) {
            return;
        }
        self.flushed = self.flushed.min(self.log_end);
        self.high_watermark = self.high_watermark.min(self.log_end);
    }

    /// The records of an answer are in the log, which now ends at `end`; the answer said what is safe.
    pub fn appended(&mut self, end: EndOffset, answer: &Answer) {
        assert!(self.is_aligned && end >= self.log_end, "records of a log that is not the leader's");
        self.log_end = end;
        self.high_watermark = self.high_watermark.max(answer.high_watermark.min(end));
    }

    /// Everything before `end` is on this broker's disk.
    pub fn flushed_to(&mut self, end: EndOffset) {
        self.flushed = self.flushed.max(end.min(self.log_end));
    }

    /// How far the leader may be told that this disk is. Nothing before it has confirmed the log: what is cut and
    /// written again is not on the disk, though its offsets once were (A13).
    #[must_use]
    pub fn report(&self) -> Option<EndOffset> {
        (self.is_aligned || planted!(A3)).then_some(self.flushed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use base::plant::{self, Bug};

    /// The epoch of each record.
    struct Written(Vec<i32>);

    impl Epochs for Written {
        fn latest(&self) -> Option<LeaderEpoch> {
            self.0.last().copied().map(LeaderEpoch)
        }

        fn end_of(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
            let end = self.0.partition_point(|written| *written <= epoch.0);
            let last = self.0.get(end.checked_sub(1)?)?;
            Some(end_at(*last, i64::try_from(end).ok()?))
        }
    }

    fn end_at(epoch: i32, end: i64) -> EpochEnd {
        EpochEnd { epoch: LeaderEpoch(epoch), end: EndOffset(end) }
    }

    /// Lets a follower fetch from a leader until nothing is cut any more; says where it was cut.
    fn cuts(mut log: Vec<i32>, leader: &[i32]) -> Vec<i64> {
        let leader = Written(leader.to_vec());
        let end = EndOffset(i64::try_from(log.len()).unwrap());
        let mut follower = Follower::new(LeaderEpoch(9), end, end, EndOffset::ZERO);
        let mut cuts = Vec::new();
        loop {
            let own = Written(log.clone());
            let diverging = follower.position(&own).divergence(&leader);
            let high_watermark = EndOffset::ZERO;
            let answer = Answer { asked_in: LeaderEpoch(9), diverging, high_watermark };
            match follower.answered(&answer, &own) {
                Step::Truncate(end) => {
                    cuts.push(end.0);
                    log.truncate(usize::try_from(end.0).unwrap());
                    follower.truncated(end);
                }
                Step::Append | Step::Drop => break,
            }
        }
        assert!(leader.0.starts_with(&log), "{log:?} is not the beginning of {:?}", leader.0);
        cuts
    }

    #[test]
    fn a_log_is_cut_where_it_parts_from_the_leaders_and_not_before() {
        assert_eq!(cuts([1, 1].to_vec(), &[1, 1, 2]), [0; 0]);
        assert_eq!(cuts([1, 1, 1].to_vec(), &[1, 1, 2]), [2]);
        assert_eq!(cuts([1, 3].to_vec(), &[1, 2, 2]), [1]);
        assert_eq!(cuts([5, 5].to_vec(), &[6]), [0]);
        assert_eq!(cuts([].to_vec(), &[1]), [0; 0]);
    }

    #[test]
    fn epochs_that_only_one_side_saw_are_searched_back() {
        // Three fast changes of the leader: neither side knows the other's last epochs (KIP-279).
        assert_eq!(cuts([1, 2, 4, 4].to_vec(), &[1, 2, 3, 3, 5]), [2]);
        assert_eq!(cuts([1, 4, 6].to_vec(), &[1, 3, 5, 7]), [2, 1]);
    }

    #[test]
    fn where_the_logs_part_nothing_else_is_believed() {
        let log = Written([1, 1, 1].to_vec());
        let mut follower = Follower::new(LeaderEpoch(2), EndOffset(3), EndOffset(3), EndOffset(1));
        let asked_in = LeaderEpoch(2);
        let answer = Answer { asked_in, diverging: Some(end_at(1, 2)), high_watermark: EndOffset(3) };
        assert_eq!(follower.answered(&answer, &log), Step::Truncate(EndOffset(2)));
        // Until the log is cut readers here see no more than before.
        assert_eq!(follower.high_watermark(), EndOffset(1));
    }

    #[test]
    fn without_the_rule_a_high_watermark_of_another_log_would_be_believed() {
        extern crate std;
        plant::arm(Some(Bug::A5));
        let caught = std::panic::catch_unwind(where_the_logs_part_nothing_else_is_believed).is_err();
        plant::arm(None);
        assert!(caught);
    }

    #[test]
    fn nothing_is_said_of_the_disk_before_the_leader_has_confirmed_the_log() {
        let mut follower = Follower::new(LeaderEpoch(2), EndOffset(3), EndOffset(3), EndOffset(1));
        assert_eq!(follower.report(), None);
        let log = Written([1, 1, 1].to_vec());
        let late = Answer { asked_in: LeaderEpoch(1), diverging: None, high_watermark: EndOffset(3) };
        assert_eq!(follower.answered(&late, &log), Step::Drop);
        assert_eq!(follower.report(), None);
        let answer = Answer { asked_in: LeaderEpoch(2), ..late };
        assert_eq!(follower.answered(&answer, &log), Step::Append);
        follower.appended(EndOffset(5), &answer);
        assert_eq!((follower.report(), follower.high_watermark()), (Some(EndOffset(3)), EndOffset(3)));
        follower.truncated(EndOffset(2));
        assert_eq!((follower.report(), follower.high_watermark()), (Some(EndOffset(2)), EndOffset(2)));
    }
}
