//! How fast throttled copies may go (KIP-73): a rate, what was copied under it, and until when that has to rest.
//!
//! What was copied is paid for with time. A copy may begin as soon as everything before it is paid for, and may then be
//! larger than the rate allows at once: a batch is never cut. Time in which nothing was copied is worth one window, so that
//! who waits for an answer loses nothing. Nothing here knows which replicas are throttled: a replica in sync never asks.

use base::{Instant, Span};
use cluster::config::{NodeConfig, ThrottleRates};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

const SECOND_NANOS: u64 = 1_000_000_000;

/// One direction's throttle.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Bytes per second; `None` for no limit.
    rate: Option<u64>,
    /// When everything that was copied is paid for.
    paid_at: Instant,
    window: Span,
    /// How many windows the measured rate is of.
    windows: u64,
    /// Bytes by window, the oldest first.
    copied: VecDeque<(u64, u64)>,
}

impl Throttle {
    const fn new() -> Self {
        Self {
            rate: None,
            paid_at: Instant::ZERO,
            window: Span::from_secs(1),
            windows: 11,
            copied: VecDeque::new(),
        }
    }

    /// Another rate forgets what was copied under the one before.
    fn set(&mut self, rate: Option<u64>) {
        if self.rate != rate {
            self.rate = rate;
            self.paid_at = Instant::ZERO;
        }
    }

    /// Until when nothing may be copied; `None` if it may be now.
    fn held_until(&self, now: Instant) -> Option<Instant> {
        match self.rate? {
            // It is looked at again now and then, and never let go.
            0 => Some(now + self.window),
            _ => Some(self.paid_at).filter(|at| *at > now),
        }
    }

    fn record(&mut self, now: Instant, bytes: u64) {
        let window = self.window_of(now);
        self.copied.retain(|(at, _)| at + self.windows > window);
        match self.copied.back_mut() {
            Some((at, sum)) if *at == window => *sum += bytes,
            Some(_) | None => self.copied.push_back((window, bytes)),
        }
        if let Some(rate) = self.rate.filter(|rate| *rate > 0) {
            let price = u128::from(bytes) * u128::from(SECOND_NANOS) / u128::from(rate);
            let price = Span::from_nanos(u64::try_from(price).unwrap_or(u64::MAX));
            let rested = Instant::from_nanos(now.as_nanos().saturating_sub(self.window.as_nanos()));
            self.paid_at = self.paid_at.max(rested) + price;
        }
    }

    const fn window_of(&self, at: Instant) -> u64 {
        at.as_nanos() / self.window.as_nanos()
    }

    /// Bytes per second over the last windows, as Kafka measures it: since the oldest of them began.
    fn byte_rate(&self, now: Instant) -> u64 {
        let window = self.window_of(now);
        let counted = || self.copied.iter().filter(|(at, _)| at + self.windows > window);
        let Some((oldest, _)) = counted().next() else { return 0 };
        let begun = Instant::from_nanos(oldest * self.window.as_nanos());
        let took = now.since(begun).max(self.window).as_nanos();
        let bytes: u128 = counted().map(|(_, bytes)| u128::from(*bytes)).sum();
        u64::try_from(bytes * u128::from(SECOND_NANOS) / u128::from(took)).unwrap_or(u64::MAX)
    }
}

/// One direction's throttle, for all owners of a node.
#[derive(Debug)]
pub struct SharedThrottle(Mutex<Throttle>);

impl SharedThrottle {
    fn lock(&self) -> MutexGuard<'_, Throttle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if there is a limit at all.
    pub(crate) fn is_on(&self) -> bool {
        self.lock().rate.is_some()
    }

    /// Until when nothing may be copied; `None` if it may be now.
    pub(crate) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.lock().held_until(now)
    }

    /// Notes what was copied.
    pub(crate) fn record(&self, now: Instant, bytes: u64) {
        if bytes > 0 {
            self.lock().record(now, bytes);
        }
    }

    /// Bytes per second that were copied under the throttle lately.
    #[must_use]
    pub fn byte_rate(&self, now: Instant) -> u64 {
        self.lock().byte_rate(now)
    }
}

/// The throttles of a node.
#[derive(Debug)]
pub struct Throttles {
    /// What it hands to replicas out of sync.
    pub leader: SharedThrottle,
    /// What it fetches while it is out of sync.
    pub follower: SharedThrottle,
}

impl Default for Throttles {
    fn default() -> Self {
        let new = || SharedThrottle(Mutex::new(Throttle::new()));
        Self { leader: new(), follower: new() }
    }
}

impl Throttles {
    /// Sets how the rates are measured: before anything is.
    pub(crate) fn measure(&self, config: &NodeConfig) {
        for throttle in [&self.leader, &self.follower] {
            let mut throttle = throttle.lock();
            throttle.window = config.replication_quota_window.max(Span::from_secs(1));
            throttle.windows = u64::from(config.replication_quota_windows.max(1));
        }
    }

    /// Sets the rates in force.
    pub(crate) fn set(&self, rates: ThrottleRates) {
        self.leader.lock().set(rates.leader);
        self.follower.lock().set(rates.follower);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Span::from_millis(millis)
    }

    /// Copies `lump` bytes whenever that is allowed, and says how many bytes that are.
    fn copied(throttle: &mut Throttle, lump: u64, millis: std::ops::Range<u64>) -> u64 {
        let mut sum = 0;
        for now in millis.map(at) {
            if throttle.held_until(now).is_none() {
                throttle.record(now, lump);
                sum += lump;
            }
        }
        sum
    }

    #[test]
    fn copies_keep_to_the_rate_whatever_their_size() {
        for lump in [1_000, 100_000, 3_000_000] {
            let mut throttle = Throttle::new();
            throttle.set(Some(1_000_000));
            let sum = copied(&mut throttle, lump, 5_000..65_000);
            // A window's worth in advance, and a last lump that is not paid for.
            assert!((60_000_000..=61_000_000 + lump).contains(&sum), "{lump}: {sum}");
        }
    }

    #[test]
    fn rest_is_worth_a_window() {
        let mut throttle = Throttle::new();
        throttle.set(Some(1_000));
        copied(&mut throttle, 100, 0..10_000);
        let sum = copied(&mut throttle, 100, 60_000..61_000);
        assert!((1_900..=2_100).contains(&sum), "{sum}");
    }

    #[test]
    fn without_a_rate_nothing_is_held_and_with_none_everything() {
        let mut throttle = Throttle::new();
        throttle.record(at(1), u64::MAX / 2);
        assert_eq!(throttle.held_until(at(1)), None);
        throttle.set(Some(0));
        assert_eq!(throttle.held_until(at(1)), Some(at(1_001)));
        throttle.set(Some(10));
        throttle.record(at(1), 20);
        assert_eq!(throttle.held_until(at(1)), Some(at(2_000)));
        throttle.set(None);
        assert_eq!(throttle.held_until(at(1)), None);
    }

    #[test]
    fn the_measured_rate_is_of_the_last_windows() {
        let mut throttle = Throttle::new();
        assert_eq!(throttle.byte_rate(at(1)), 0);
        throttle.record(at(0), 5_000);
        assert_eq!(throttle.byte_rate(at(10)), 5_000);
        throttle.record(at(4_500), 5_000);
        assert_eq!(throttle.byte_rate(at(5_000)), 2_000);
        assert_eq!(throttle.byte_rate(at(12_000)), 625, "the first is forgotten");
        assert_eq!(throttle.byte_rate(at(60_000)), 0);
    }
}
