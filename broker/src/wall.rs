//! Whether the wall clock can be believed: what is forgotten for its age must not depend on a clock that jumped.

use base::{Instant, Now, Span, Timestamp};

/// A step of the wall clock against the monotonic one that is more than drift.
const JUMP: Span = Span::from_secs(60);
/// After so long a clock that jumped is believed: who set it had time to set it back.
const DOUBTED_FOR: Span = Span::from_secs(24 * 3_600);

/// Compares the two clocks each time it is asked.
#[derive(Debug)]
pub(crate) struct WallClock {
    believed: Now,
    doubted_since: Option<Instant>,
}

/// What to think of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Belief {
    /// It went on as the monotonic clock did.
    Sound,
    /// It has jumped, which was not known when it was last looked at.
    Jumped,
    /// It jumped some time ago and has not come back.
    Doubted,
}

impl WallClock {
    pub(crate) const fn new(now: Now) -> Self {
        Self { believed: now, doubted_since: None }
    }

    /// Looks at the clock.
    pub(crate) fn look(&mut self, now: Now) -> Belief {
        let expected = self.believed.wall.plus(now.mono.since(self.believed.mono));
        let is_near = difference(expected, now.wall) <= JUMP;
        let doubted_since = self.doubted_since.unwrap_or(now.mono);
        if is_near || now.mono.since(doubted_since) >= DOUBTED_FOR {
            // Small differences add up over the months: each look begins anew.
            *self = Self::new(now);
            return Belief::Sound;
        }
        let is_news = self.doubted_since.replace(doubted_since).is_none();
        if is_news { Belief::Jumped } else { Belief::Doubted }
    }
}

fn difference(one: Timestamp, other: Timestamp) -> Span {
    one.since(other).max(other.since(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_seconds: u64, wall_seconds: i64) -> Now {
        Now { mono: Instant::ZERO + Span::from_secs(mono_seconds), wall: Timestamp(wall_seconds * 1_000) }
    }

    #[test]
    fn drift_is_believed_and_jumps_are_not() {
        let mut clock = WallClock::new(at(0, 1_000));
        // Half a minute per step, ten minutes in all.
        for step in 1..=20 {
            assert_eq!(clock.look(at(step * 600, 1_000 + i64::try_from(step).unwrap() * 630)), Belief::Sound);
        }
        let (mono, wall) = (12_000, 13_600);
        assert_eq!(clock.look(at(mono + 10, wall + 1_000)), Belief::Jumped);
        assert_eq!(clock.look(at(mono + 20, wall + 1_010)), Belief::Doubted);
        assert_eq!(clock.look(at(mono + 30, wall + 30)), Belief::Sound);
        assert_eq!(clock.look(at(mono + 40, wall - 1_000)), Belief::Jumped);
    }

    #[test]
    fn a_clock_that_stays_is_believed_after_a_day() {
        let mut clock = WallClock::new(at(0, 1_000));
        assert_eq!(clock.look(at(10, 9_000)), Belief::Jumped);
        assert_eq!(clock.look(at(86_000, 9_000 + 85_990)), Belief::Doubted);
        assert_eq!(clock.look(at(86_410, 9_000 + 86_400)), Belief::Sound);
        assert_eq!(clock.look(at(86_420, 9_000 + 86_410)), Belief::Sound);
    }
}
