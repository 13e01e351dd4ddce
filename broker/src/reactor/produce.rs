//! Produce requests that wait until their records are safe.

use super::Reactor;
use crate::api::produce_reply;
use crate::effects::{Asked, Effects, Level};
use base::{Instant, Now, hit};
use std::collections::{BTreeMap, BTreeSet};
use wire::ErrorCode;
use wire::produce::ProduceResponse;

/// One partition of a waiting request, appended to and waiting to become safe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Its topic's place in the response.
    pub(crate) topic: usize,
    /// Its own place among the topic's partitions.
    pub(crate) partition: usize,
    /// True until its records are safe.
    pub(crate) waits: bool,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) asked: Asked,
    /// The response as it will be if all goes well.
    pub(crate) response: ProduceResponse,
    /// What the reply waits for.
    pub(crate) parts: Vec<Part>,
    pub(crate) deadline: Instant,
}

/// All waiting produce requests of a reactor.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    waiting: BTreeMap<u64, Waiting>,
    deadlines: BTreeSet<(Instant, u64)>,
    next: u64,
}

impl Parked {
    pub(crate) fn next_ticket(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn remove(&mut self, ticket: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&ticket)?;
        self.deadlines.remove(&(waiting.deadline, ticket));
        Some(waiting)
    }
}

impl Waiting {
    fn is_done(&self) -> bool {
        self.parts.iter().all(|part| !part.waits)
    }

    /// Gives `code` to the partition of a part and stops waiting for it.
    fn fail(&mut self, part: usize, code: ErrorCode) {
        let Some(part) = self.parts.get_mut(part) else { return };
        part.waits = false;
        let response = &mut self.response.responses[part.topic].partition_responses[part.partition];
        response.error_code = code as i16;
        response.base_offset = -1;
    }
}

impl Reactor {
    /// Keeps a request until its parts are safe, or answers it at once.
    pub(crate) fn park_produce(&mut self, ticket: u64, waiting: Waiting, fx: &mut Effects) {
        if waiting.is_done() {
            return self.answer_produce(waiting, fx);
        }
        self.produces.deadlines.insert((waiting.deadline, ticket));
        self.produces.waiting.insert(ticket, waiting);
    }

    /// A partition says that a part is safe, or can no longer become so.
    pub(crate) fn produce_safe(&mut self, ticket: u64, part: u32, kept: bool, fx: &mut Effects) {
        let Some(waiting) = self.produces.waiting.get_mut(&ticket) else { return };
        let part = part as usize;
        if !kept {
            waiting.fail(part, ErrorCode::NotLeaderOrFollower);
        } else if let Some(part) = waiting.parts.get_mut(part) {
            part.waits = false;
        }
        if waiting.is_done()
            && let Some(waiting) = self.produces.remove(ticket)
        {
            self.answer_produce(waiting, fx);
        }
    }

    /// Answers the requests whose time is over: their records may still become safe, nobody knows.
    pub(crate) fn expire_produces(&mut self, now: Now, fx: &mut Effects) {
        while let Some((at, ticket)) = self.produces.deadlines.first().copied()
            && at <= now.mono
        {
            hit!(produce_timed_out);
            let Some(mut waiting) = self.produces.remove(ticket) else { continue };
            for part in 0..waiting.parts.len() {
                if waiting.parts[part].waits {
                    waiting.fail(part, ErrorCode::RequestTimedOut);
                }
            }
            self.answer_produce(waiting, fx);
        }
    }

    fn answer_produce(&mut self, waiting: Waiting, fx: &mut Effects) {
        let listener = self.listener_of(waiting.asked.token.conn);
        match produce_reply(&self.view, &listener, &waiting.asked, waiting.response) {
            Ok(reply) => self.complete(waiting.asked.token, reply, fx),
            Err(error) => fx.log(Level::Error, format!("a Produce response cannot be encoded: {error:?}")),
        }
    }
}
