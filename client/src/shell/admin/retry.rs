//! What goes to a partition's leader or a group's coordinator: repeated with a look-up before each attempt, for it may be
//! another by then. Kafka's admin client does the same until its time is over.

use super::{Admin, AdminError};
use crate::core::CallError;
use std::time::Duration;
use tokio::time::Instant;
use wire::ErrorCode;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// Another attempt may go better.
    ForNow(AdminError),
    /// None will.
    ForGood(AdminError),
}

impl Failed {
    /// What whoever was looked up has answered. That it does not know a partition may be because it is the leader of a
    /// moment ago, or has not opened what was just created.
    pub(super) fn answered(error: AdminError) -> Self {
        if error.code().is_retriable() { Self::ForNow(error) } else { Self::ForGood(error) }
    }
}

/// What the look-up says; it has repeated itself what can be repeated, but for a leader that is being elected.
impl From<AdminError> for Failed {
    fn from(error: AdminError) -> Self {
        match &error {
            AdminError::Refused { code: ErrorCode::LeaderNotAvailable, .. } => Self::ForNow(error),
            AdminError::Refused { .. } | AdminError::Call(_) => Self::ForGood(error),
        }
    }
}

/// Whoever was looked up does not answer: it may be gone, and another in its place.
impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        let is_for_now = error.is_retriable();
        let error = AdminError::Call(error);
        if is_for_now { Self::ForNow(error) } else { Self::ForGood(error) }
    }
}

impl Admin {
    /// Attempts something until it succeeds, fails for good, or a request's time is over.
    pub(super) async fn repeat<T>(
        &self,
        mut attempt: impl AsyncFnMut() -> Result<T, Failed>,
    ) -> Result<T, AdminError> {
        let until = Instant::now() + Duration::from_nanos(self.settings.request_timeout.as_nanos());
        let mut failures = 0;
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::ForNow(error)) => error,
            };
            failures += 1;
            let pause = Duration::from_nanos(self.settings.retry_pause(failures).as_nanos());
            if Instant::now() + pause > until {
                return Err(error);
            }
            self.driver.act(|core, _, _| core.request_refresh());
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests;
