//! Requests that wait for the successors of leaders that have hung up.

use super::Reactor;
use crate::effects::{Asked, Effects, Token};
use base::{Instant, Now};
use std::collections::BTreeMap;

/// All that wait, and until when. The connections keep the requests; bounded by what is in flight.
#[derive(Debug, Default)]
pub(super) struct Awaiting {
    waiting: BTreeMap<Token, Instant>,
}

impl Awaiting {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().min().copied()
    }
}

impl Reactor {
    /// Keeps a request until `until`, or a view with other leaders.
    pub(super) fn await_leaders(&mut self, asked: Asked, until: Instant) {
        let token = asked.token;
        let Some(connection) = self.connections.get_mut(&token.conn) else { return };
        connection.keep(asked);
        self.successions.waiting.insert(token, until);
    }

    /// There is a new view: whoever still misses a leader waits on.
    pub(super) fn recheck_successions(&mut self, now: Now, fx: &mut Effects) {
        for (token, _) in core::mem::take(&mut self.successions.waiting) {
            self.run_kept(now, token, false, fx);
        }
    }

    /// Those who have waited long enough take what is known.
    pub(super) fn expire_successions(&mut self, now: Now, fx: &mut Effects) {
        let is_over = |_: &Token, until: &mut Instant| *until <= now.mono;
        for (token, _) in self.successions.waiting.extract_if(.., is_over).collect::<Vec<_>>() {
            self.run_kept(now, token, false, fx);
        }
    }
}
