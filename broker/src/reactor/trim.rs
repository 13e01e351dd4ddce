//! DeleteRecords requests that wait until what they delete is deleted by all who may lead next.

use super::Reactor;
use crate::api::{delete_records_reply, delete_records_timeout};
use crate::effects::{Asked, Effects, Level};
use crate::job::Trimmed;
use crate::replica::Waiter;
use base::{EndOffset, Instant, Now, hit};
use std::collections::{BTreeMap, BTreeSet};
use wire::ErrorCode;

/// A request, and what its partitions begin with.
#[derive(Debug)]
struct Waiting {
    asked: Asked,
    outcomes: Vec<Result<EndOffset, ErrorCode>>,
    /// The partitions that are waited for, by their place.
    waits: BTreeSet<usize>,
    deadline: Instant,
}

/// All that wait, by ticket. Bounded by the requests in flight.
#[derive(Debug, Default)]
pub(super) struct Trims {
    waiting: BTreeMap<u64, Waiting>,
}

impl Trims {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.deadline).min()
    }
}

impl Reactor {
    /// The beginnings have moved here.
    pub(super) fn trimmed(&mut self, now: Now, asked: Asked, trimmed: Vec<Trimmed>, fx: &mut Effects) {
        let ticket = self.produces.next_ticket();
        let (mut outcomes, mut waits) = (Vec::new(), BTreeSet::new());
        for (place, trimmed) in trimmed.into_iter().enumerate() {
            outcomes.push(trimmed.and_then(|(replica, start)| {
                // Readers hear of it, and followers, who are to do the same.
                replica.nudge(fx);
                let part = u32::try_from(place).unwrap_or(u32::MAX);
                let waiter = Waiter { owner: self.owner(), ticket, part };
                if !replica.begins_everywhere_or_wait(start, waiter)? {
                    waits.insert(place);
                }
                Ok(start)
            }));
        }
        let deadline = now.mono + delete_records_timeout(&asked);
        let waiting = Waiting { asked, outcomes, waits, deadline };
        if waiting.waits.is_empty() {
            return self.answer_trim(waiting, fx);
        }
        self.trims.waiting.insert(ticket, waiting);
    }

    /// The in-sync replicas of a partition have deleted it, or it is somebody else's now.
    pub(super) fn trim_safe(&mut self, ticket: u64, part: u32, kept: bool, fx: &mut Effects) {
        let Some(waiting) = self.trims.waiting.get_mut(&ticket) else { return };
        let place = part as usize;
        if waiting.waits.remove(&place) && !kept {
            waiting.outcomes[place] = Err(ErrorCode::NotLeaderOrFollower);
        }
        if waiting.waits.is_empty()
            && let Some(waiting) = self.trims.waiting.remove(&ticket)
        {
            self.answer_trim(waiting, fx);
        }
    }

    /// Answers the requests whose time is over: it is deleted here, and perhaps not everywhere.
    pub(super) fn expire_trims(&mut self, now: Now, fx: &mut Effects) {
        let is_over = |waiting: &Waiting| waiting.deadline <= now.mono;
        let over = self.trims.waiting.iter().filter(|(_, waiting)| is_over(waiting));
        for ticket in over.map(|(ticket, _)| *ticket).collect::<Vec<_>>() {
            hit!(deletion_timed_out);
            let Some(mut waiting) = self.trims.waiting.remove(&ticket) else { continue };
            for place in &waiting.waits {
                waiting.outcomes[*place] = Err(ErrorCode::RequestTimedOut);
            }
            self.answer_trim(waiting, fx);
        }
    }

    fn answer_trim(&mut self, waiting: Waiting, fx: &mut Effects) {
        match delete_records_reply(&waiting.asked, waiting.outcomes) {
            Ok(reply) => self.complete(waiting.asked.token, reply, fx),
            Err(error) => {
                fx.log(Level::Error, format!("a DeleteRecords response cannot be encoded: {error:?}"))
            }
        }
    }
}
