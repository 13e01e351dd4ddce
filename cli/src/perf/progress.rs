//! Time for a whole run: when it began, when it warms up no more, when it ends; and the progress line.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// One run, shared by its threads.
pub(super) struct Run {
    start: Instant,
    /// Until when results do not count.
    warm_at: Instant,
    end: Instant,
    /// Records so far, warm-up included; for the progress line.
    records: AtomicU64,
    bytes: AtomicU64,
    /// Nanoseconds from the start to the last record.
    last: AtomicU64,
    stopped: AtomicBool,
}

/// How often the progress line changes.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

impl Run {
    pub(super) fn new(warm_up: Duration, duration: Duration) -> Self {
        let start = now();
        Self {
            start,
            warm_at: start + warm_up,
            end: start + warm_up + duration,
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            last: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    pub(super) const fn start(&self) -> Instant {
        self.start
    }

    pub(super) const fn end(&self) -> Instant {
        self.end
    }

    pub(super) fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || now() >= self.end
    }

    /// Ends the run early.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether something that began at `at` counts.
    pub(super) fn counts(&self, at: Instant) -> bool {
        at >= self.warm_at
    }

    pub(super) fn add(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if records > 0 {
            let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.last.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// The time that is measured: to the end, or to the last record of a run that ended early.
    pub(super) fn measured(&self) -> Duration {
        let stopped = self.stopped.load(Ordering::Relaxed);
        let last = self.start + Duration::from_nanos(self.last.load(Ordering::Relaxed));
        let end = if stopped { last } else { now() };
        end.min(self.end).saturating_duration_since(self.warm_at)
    }

    /// Shows progress until the run is over, if somebody looks.
    pub(super) fn show_progress<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        if std::io::stderr().is_terminal() {
            let _runs_until_the_end: ScopedJoinHandle<'_, ()> = scope.spawn(|| self.draw());
        }
    }

    fn draw(&self) {
        let bar = ProgressBar::new_spinner();
        // A constant template: where it does not parse, the default is as good.
        if let Ok(style) = ProgressStyle::with_template("{elapsed} {msg}") {
            bar.set_style(style);
        }
        let (mut records, mut bytes) = (0, 0);
        while !self.is_over() {
            sleep_until(now() + PROGRESS_EVERY);
            let (new_records, new_bytes) = (self.records(), self.bytes.load(Ordering::Relaxed));
            let state = if self.counts(now()) { "" } else { " (warming up)" };
            let (rate, volume) = ((new_records - records) * 2, (new_bytes - bytes) * 2 / 1_000_000);
            bar.set_message(format!("{new_records} records, {rate}/s, {volume} MB/s{state}"));
            (records, bytes) = (new_records, new_bytes);
        }
        bar.finish_and_clear();
    }
}

#[expect(clippy::disallowed_methods, reason = "a load generator measures time")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Lets this thread's sleeps end when they should: the kernel puts them off by 50 µs otherwise, to end several at once.
/// Where that cannot be had, latencies of an open loop are longer by so much.
pub(super) fn sleep_exactly() {
    let _where_it_can = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// Sleeps until `at`, to some microseconds in a thread that asked to [`sleep_exactly`].
#[expect(clippy::disallowed_methods, reason = "a thread of the load generator keeps a schedule")]
pub(super) fn sleep_until(at: Instant) {
    let left = at.saturating_duration_since(now());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}
