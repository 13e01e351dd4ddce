//! Quantiles of how long requests took lately, from histograms that only ever count up.

use broker::latency::{BUCKETS, Counts, Latencies, greatest};
use std::collections::VecDeque;
use std::sync::Arc;
use wire::ApiKey;

/// The quantiles of Kafka's dashboards.
pub(super) const QUANTILES: [(&str, f64); 6] =
    [("0.5", 0.5), ("0.75", 0.75), ("0.95", 0.95), ("0.98", 0.98), ("0.99", 0.99), ("0.999", 0.999)];
/// How far back a look goes …
const WINDOW_SECONDS: u64 = 60;
/// … and how close looks are kept that later ones are compared with.
const STEP_SECONDS: u64 = 10;

/// What has been seen at earlier looks.
#[derive(Debug, Default)]
pub(crate) struct Window {
    looks: VecDeque<Look>,
}

#[derive(Debug)]
struct Look {
    second: u64,
    /// By the order of the API table.
    counts: Vec<Counts>,
}

/// How long the requests of an API took.
#[derive(Debug, PartialEq)]
pub(super) struct Took {
    pub(super) api: ApiKey,
    /// In milliseconds, in the order of [`QUANTILES`].
    pub(super) millis: [f64; QUANTILES.len()],
}

impl Window {
    /// What has happened in the window, or since the first look if that is later; the first look has it all. APIs
    /// without requests are left out.
    pub(super) fn look(&mut self, second: u64, reactors: &[Arc<Latencies>]) -> Vec<Took> {
        let counts: Vec<Counts> = broker::TABLE.iter().map(|row| sum(row.key, reactors)).collect();
        let is_old = |look: &Look| look.second + WINDOW_SECONDS <= second;
        while self.looks.get(1).is_some_and(is_old) {
            self.looks.pop_front();
        }
        let before = self.looks.front();
        let took = broker::TABLE.iter().zip(&counts).enumerate().filter_map(|(at, (row, now))| {
            let millis = quantiles(now, before.map(|look| &look.counts[at]))?;
            Some(Took { api: row.key, millis })
        });
        let took = took.collect();
        if self.looks.back().is_none_or(|look| look.second + STEP_SECONDS <= second) {
            self.looks.push_back(Look { second, counts });
        }
        took
    }
}

fn sum(key: ApiKey, reactors: &[Arc<Latencies>]) -> Counts {
    let mut sum = [0; BUCKETS];
    reactors.iter().for_each(|reactor| reactor.add_to(key, &mut sum));
    sum
}

fn quantiles(now: &Counts, before: Option<&Counts>) -> Option<[f64; QUANTILES.len()]> {
    let new = |at: usize| u64::from(now[at].wrapping_sub(before.map_or(0, |before| before[at])));
    let total: u64 = (0..BUCKETS).map(new).sum();
    (total > 0).then(|| QUANTILES.map(|(_, share)| quantile(share, total, new)))
}

/// The greatest time of the bucket in which the share is reached.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and microseconds stay far below 2^52"
)]
fn quantile(share: f64, total: u64, new: impl Fn(usize) -> u64) -> f64 {
    let rank = (share * total as f64).ceil() as u64;
    let mut seen = 0;
    let reached = (0..BUCKETS).find(|at| {
        seen += new(*at);
        seen >= rank
    });
    greatest(reached.unwrap_or(BUCKETS - 1)) as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(usize, u32)]) -> Counts {
        let mut counts = [0; BUCKETS];
        of.iter().for_each(|(bucket, count)| counts[*bucket] = *count);
        counts
    }

    #[test]
    fn a_quantile_is_where_its_share_of_the_requests_is_reached() {
        let now = counts(&[(1, 50), (4, 45), (7, 5)]);
        let found = quantiles(&now, None).unwrap();
        assert_eq!(found, [0.001, 0.004, 0.004, 0.007, 0.007, 0.007]);
    }

    #[test]
    fn what_was_before_does_not_count() {
        let (before, now) = (counts(&[(1, 100), (7, u32::MAX)]), counts(&[(1, 100), (7, 1)]));
        assert_eq!(quantiles(&now, Some(&before)).unwrap()[0], 0.007, "counts wrap");
        assert_eq!(quantiles(&now, Some(&now)), None);
    }

    #[test]
    fn looks_are_forgotten_when_a_later_one_is_old_enough() {
        let mut window = Window::default();
        for second in 0..500 {
            window.look(second, &[]);
        }
        assert!(window.looks.len() <= 8, "{}", window.looks.len());
        assert!(
            window.looks.front().is_some_and(|look| look.second <= 439),
            "{:?}",
            window.looks.front().map(|l| l.second)
        );
    }
}
