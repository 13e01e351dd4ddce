//! The only place of this crate that reads the clock.

use base::{Instant, Now, Timestamp};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Monotonic time counts from the creation of the clock.
#[derive(Debug)]
pub(crate) struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    #[expect(clippy::disallowed_methods, reason = "the shell's clock module")]
    pub(crate) fn now(&self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        Now { mono: Instant::from_nanos(mono), wall: Timestamp(wall) }
    }

    /// The runtime's time of `at`.
    pub(crate) fn deadline(&self, at: Instant) -> tokio::time::Instant {
        // A year stands for never: the runtime's arithmetic ends before ours.
        let most = Duration::from_secs(365 * 24 * 3600);
        self.start + Duration::from_nanos(at.as_nanos()).min(most)
    }
}

/// A seed that differs from run to run; not for secrets.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0u8)
}
