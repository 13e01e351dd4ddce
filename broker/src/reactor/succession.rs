//! Requests that wait for the successors of leaders that have hung up.

use super::Reactor;
use crate::effects::{Asked, Effects, Token};
use base::{Instant, Now};
use std::collections::BTreeSet;

/// All that wait: until when, who, and whether the controller was asked on their behalf. The connections keep the requests;
/// bounded by what is in flight.
#[derive(Debug, Default)]
pub(super) struct Awaiting(BTreeSet<(Instant, Token, bool)>);

impl Awaiting {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.0.first().map(|(until, ..)| *until)
    }
}

impl Reactor {
    /// Keeps a request until `until`, or a view with other leaders.
    pub(super) fn await_leaders(&mut self, asked: Asked, until: Instant, asked_controller: bool) {
        let token = asked.token;
        let Some(connection) = self.connections.get_mut(&token.conn) else { return };
        connection.keep(asked);
        self.successions.0.insert((until, token, asked_controller));
    }

    /// There is a new view: whoever still misses a leader waits on.
    pub(super) fn recheck_successions(&mut self, now: Now, fx: &mut Effects) {
        for (_, token, asked_controller) in core::mem::take(&mut self.successions.0) {
            self.run_kept(now, token, asked_controller, fx);
        }
    }

    /// Those who have waited long enough take what is known.
    pub(super) fn expire_successions(&mut self, now: Now, fx: &mut Effects) {
        while self.successions.next_deadline().is_some_and(|until| until <= now.mono)
            && let Some((_, token, asked_controller)) = self.successions.0.pop_first()
        {
            self.run_kept(now, token, asked_controller, fx);
        }
    }
}
