//! What bytes between two ends meet on their way: nothing, a cut, a delay, a drip, or the end of their connection in the
//! middle of a frame. Each way has its own, so that what goes from one to the other may be cut while answers arrive.
//!
//! Bytes that a cut holds up are not lost: when it heals they arrive late, as what TCP sends again, or their connection
//! ends, as one that was silent for too long.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Who is at one end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::test) enum End {
    Node(i32),
    /// All clients are one.
    Clients,
}

/// From one end to another.
pub(in crate::test) type Way = (End, End);

/// What bytes on a way meet.
#[derive(Clone, Copy, Default)]
pub(in crate::test) struct Weather {
    pub(in crate::test) is_cut: bool,
    /// From at least to at most so long.
    pub(in crate::test) delay: (Duration, Duration),
    /// On each connection.
    pub(in crate::test) bytes_per_second: Option<u64>,
}

/// The weather everywhere.
#[derive(Default)]
pub(super) struct Sky {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ways: BTreeMap<Way, Weather>,
    /// How often the connections of a way were ended.
    torn: BTreeMap<Way, u64>,
    is_over: bool,
}

impl State {
    fn at(&self, way: Way) -> Weather {
        self.ways.get(&way).copied().unwrap_or_default()
    }

    fn torn(&self, way: Way) -> u64 {
        self.torn.get(&way).copied().unwrap_or(0)
    }
}

/// What becomes of bytes that have come so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// At most so many of them a second.
    Go(Option<u64>),
    /// Half of them arrive, and the connection ends.
    Torn,
}

impl Sky {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, way: Way, weather: Weather) {
        self.state().ways.insert(way, weather);
        self.changed.notify_all();
    }

    /// Ends what connections there are on a way with their next bytes.
    pub(super) fn tear(&self, way: Way) {
        *self.state().torn.entry(way).or_default() += 1;
        self.changed.notify_all();
    }

    /// Fair everywhere. What a cut has held up arrives now, or its connection ends.
    pub(super) fn heal(&self, ends_connections: bool) {
        let mut state = self.state();
        let ways = std::mem::take(&mut state.ways);
        let cut = ways.iter().filter(|(_, weather)| weather.is_cut && ends_connections);
        for (way, _) in cut {
            *state.torn.entry(*way).or_default() += 1;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Nothing goes anywhere any more.
    pub(super) fn end(&self) {
        self.state().is_over = true;
        self.changed.notify_all();
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().is_over
    }

    pub(super) fn delay(&self, way: Way) -> (Duration, Duration) {
        self.state().at(way).delay
    }

    /// How often connections of a way were ended: a new one is not meant by any of those.
    pub(super) fn torn(&self, way: Way) -> u64 {
        self.state().torn(way)
    }

    /// Waits out a cut. `torn` is what it was when the connection began.
    pub(super) fn pass(&self, way: Way, torn: u64) -> Pass {
        let mut state = self.state();
        loop {
            if state.is_over || state.torn(way) != torn {
                return Pass::Torn;
            }
            let weather = state.at(way);
            if !weather.is_cut {
                return Pass::Go(weather.bytes_per_second);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until no way is cut; true if none was.
    pub(super) fn is_open(&self, ways: [Way; 2]) -> bool {
        let mut state = self.state();
        let is_cut = |state: &State| ways.iter().any(|way| state.at(*way).is_cut) && !state.is_over;
        let was_open = !is_cut(&state);
        while is_cut(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        was_open
    }
}

/// Draws from a seed (SplitMix64).
pub(in crate::test) struct Rng(u64);

impl Rng {
    pub(in crate::test) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below a bound that is not zero.
    pub(in crate::test) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    pub(in crate::test) fn between(&mut self, (least, most): (Duration, Duration)) -> Duration {
        let span = usize::try_from(most.saturating_sub(least).as_micros()).unwrap_or(0);
        least + Duration::from_micros(u64::try_from(self.below(span + 1)).unwrap_or(0))
    }
}

/// Shared by all who look at it.
pub(super) type Shared = Arc<Sky>;

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Way = (End::Node(1), End::Node(2));
    const BACK: Way = (End::Node(2), End::Node(1));

    fn cut() -> Weather {
        Weather { is_cut: true, ..Weather::default() }
    }

    #[test]
    fn a_cut_holds_one_way_only_and_until_it_heals() {
        let sky = Shared::default();
        sky.set(WAY, cut());
        assert_eq!(sky.pass(BACK, 0), Pass::Go(None));
        std::thread::scope(|scope| {
            let held = scope.spawn(|| sky.pass(WAY, 0));
            assert!(!held.is_finished());
            sky.heal(false);
            assert_eq!(held.join().unwrap(), Pass::Go(None));
        });
    }

    #[test]
    fn connections_that_were_there_end_and_new_ones_do_not() {
        let sky = Shared::default();
        sky.set(WAY, cut());
        sky.heal(true);
        assert_eq!(sky.pass(WAY, 0), Pass::Torn);
        assert_eq!(sky.pass(WAY, sky.torn(WAY)), Pass::Go(None));
        assert_eq!(sky.pass(BACK, 0), Pass::Go(None));
    }

    #[test]
    fn a_seed_draws_the_same_again() {
        let draw = |seed| (0..8).map(|_| 1).scan(Rng::new(seed), |rng, _: i32| Some(rng.below(100)));
        assert!(draw(7).eq(draw(7)) && !draw(7).eq(draw(8)));
    }
}
