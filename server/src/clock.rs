//! The only place that reads clocks and entropy.

use base::{Instant, Now, Timestamp};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The process's clock: monotonic time counts from its creation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: std::time::Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the shell's clock")]
    pub(crate) fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the shell's clock")]
    pub(crate) fn now(&self) -> Now {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        Now { mono: Instant::from_nanos(nanos), wall: Timestamp(millis) }
    }

    /// How long it is until `at`.
    pub(crate) fn until(&self, at: Instant) -> Duration {
        Duration::from_nanos(at.since(self.now().mono).as_nanos())
    }
}

/// Random bytes from the system.
pub(crate) fn entropy() -> std::io::Result<u64> {
    let mut bytes = [0u8; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(u64::from_ne_bytes(bytes))
}
