//! How long requests take: a histogram per API and reactor, written by its reactor alone and read by whoever looks.
//!
//! Buckets are an eighth of a power of two wide, so that a quantile is at most an eighth too high; noting a request
//! costs two plain memory accesses. Counts wrap: what counts is the difference between two looks.

use base::Span;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use wire::ApiKey;

/// Buckets of a power of two, as a power of two.
const STEPS_LOG: u32 = 3;
/// The greatest power of two of microseconds that is told apart: about nineteen hours.
const POWER_MAX: u32 = 36;
/// Buckets of a histogram.
pub const BUCKETS: usize = ((POWER_MAX - STEPS_LOG + 2) as usize) << STEPS_LOG;
/// API keys are small and dense.
const API_KEYS: usize = 96;

/// Counts by bucket.
pub type Counts = [u32; BUCKETS];

/// The latencies that one reactor has seen.
#[derive(Debug)]
pub struct Latencies {
    /// By API key; made when the API is first used.
    apis: [OnceLock<Box<[AtomicU32; BUCKETS]>>; API_KEYS],
}

impl Default for Latencies {
    fn default() -> Self {
        Self { apis: [const { OnceLock::new() }; API_KEYS] }
    }
}

impl Latencies {
    /// Notes a request that has its reply. For the owner alone: two writers would lose counts.
    pub(crate) fn note(&self, key: ApiKey, took: Span) {
        let Some(api) = usize::try_from(key.code()).ok().and_then(|key| self.apis.get(key)) else { return };
        let counts = api.get_or_init(|| Box::new([const { AtomicU32::new(0) }; BUCKETS]));
        let count = &counts[bucket(took.as_nanos() / 1_000)];
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Adds the counts of an API to `sum`.
    pub fn add_to(&self, key: ApiKey, sum: &mut Counts) {
        let api = usize::try_from(key.code()).ok().and_then(|key| self.apis.get(key)?.get());
        for (sum, count) in sum.iter_mut().zip(api.iter().flat_map(|counts| counts.iter())) {
            *sum = sum.wrapping_add(count.load(Ordering::Relaxed));
        }
    }
}

/// The bucket of a time in microseconds.
fn bucket(micros: u64) -> usize {
    let Some(power) = micros.checked_ilog2().filter(|power| *power >= STEPS_LOG) else {
        return usize::try_from(micros).unwrap_or(0);
    };
    if power > POWER_MAX {
        return BUCKETS - 1;
    }
    let step = (micros >> (power - STEPS_LOG)) & ((1 << STEPS_LOG) - 1);
    (((power - STEPS_LOG + 1) as usize) << STEPS_LOG) | usize::try_from(step).unwrap_or(0)
}

/// The greatest time in microseconds that falls into a bucket.
#[must_use]
pub fn greatest(bucket: usize) -> u64 {
    let steps = 1 << STEPS_LOG;
    let (row, step) = (bucket >> STEPS_LOG, (bucket % steps) as u64);
    match u32::try_from(row).unwrap_or(0).checked_sub(1) {
        None => step,
        Some(shift) => ((steps as u64 + step + 1) << shift) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_a_bucket_that_is_at_most_an_eighth_too_wide() {
        let powers = (0..=POWER_MAX).map(|power| 1u64 << power);
        for micros in powers.flat_map(|power| [power, power + power / 3, power + power / 2, 2 * power - 1]) {
            let greatest = greatest(bucket(micros));
            assert!((micros..=micros + micros / 8).contains(&greatest), "{micros}: {greatest}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_reactors_have_seen_adds_up() {
        let (one, other) = (Latencies::default(), Latencies::default());
        one.note(ApiKey::Fetch, Span::from_millis(500));
        other.note(ApiKey::Fetch, Span::from_millis(500));
        other.note(ApiKey::Produce, Span::from_millis(1));
        let mut sum = [0; BUCKETS];
        one.add_to(ApiKey::Fetch, &mut sum);
        other.add_to(ApiKey::Fetch, &mut sum);
        assert_eq!(sum.iter().sum::<u32>(), 2);
        assert_eq!(sum[bucket(500_000)], 2);
    }
}
