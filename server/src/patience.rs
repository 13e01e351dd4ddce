//! How long a connection may be silent. One timer per connection that is moved when it goes off, not with every
//! request: most connections are busy, and their timers would be set in vain.

use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A frame that has begun must go on within this time (slow-loris). A connection that was silent for so long gives
/// its memory back.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Further away than any process lives.
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 10);

/// The patience with one connection.
pub(crate) struct Patience {
    alarm: Pin<Box<Sleep>>,
    idle_max: Duration,
    /// When something last came.
    last: Instant,
    /// A frame has begun and not ended.
    in_frame: bool,
}

impl Patience {
    pub(crate) fn new(idle_max: Option<Duration>) -> Self {
        let last = Instant::now();
        let alarm = Box::pin(sleep_until(last + STALL_MAX));
        Self { alarm, idle_max: idle_max.unwrap_or(NEVER), last, in_frame: false }
    }

    /// Something came; it may have ended within a frame.
    pub(crate) fn note_activity(&mut self, in_frame: bool) {
        self.last = Instant::now();
        self.in_frame = in_frame;
        // Ahead of the alarm only if it was put off for a connection that was idle.
        let latest = self.last + STALL_MAX;
        if self.alarm.deadline() > latest {
            self.alarm.as_mut().reset(latest);
        }
    }

    /// Waits until the connection has been silent for a while. True when patience is over, false when only its
    /// memory should go.
    pub(crate) async fn wait(&mut self) -> bool {
        loop {
            self.alarm.as_mut().await;
            let (last, now) = (self.last, Instant::now());
            let stalled = last + STALL_MAX;
            let over = if self.in_frame { stalled } else { last + self.idle_max };
            if now >= over {
                // Whoever looks again and finds a reason to wait has the same time once more.
                self.alarm.as_mut().reset(now + STALL_MAX);
                return true;
            }
            self.alarm.as_mut().reset(if now < stalled { stalled } else { over });
            if now >= stalled {
                return false;
            }
        }
    }
}
