//! Fetch requests that wait for records.

use super::Reactor;
use super::session::{Context, PartitionKey};
use crate::api::{fetch_read, fetch_reply};
use crate::effects::{Asked, Effects, Level};
use crate::replica::{Isolation, Waiter};
use base::{Instant, Now, PartitionIndex};
use std::collections::{BTreeMap, BTreeSet};
use wire::fetch::FetchPartition;

/// One partition that a fetch wants.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) key: PartitionKey,
    pub(crate) part: FetchPartition,
}

/// A fetch and what it is ready to wait for.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) asked: Asked,
    pub(crate) context: Context,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) isolation: Isolation,
    /// It waits until there are this many bytes,
    pub(crate) bytes_min: u64,
    pub(crate) bytes_max: u32,
    /// of which it has seen these,
    pub(crate) bytes: u64,
    /// or until then.
    pub(crate) deadline: Instant,
}

/// All waiting fetches of a reactor.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    waiting: BTreeMap<u64, Waiting>,
    deadlines: BTreeSet<(Instant, u64)>,
    next: u64,
}

impl Parked {
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn remove(&mut self, ticket: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&ticket)?;
        self.deadlines.remove(&(waiting.deadline, ticket));
        Some(waiting)
    }
}

impl Reactor {
    /// Answers a fetch at once if it can be, else lets it wait.
    pub(crate) fn fetch(&mut self, now: Now, mut waiting: Waiting, fx: &mut Effects) {
        let found = fetch_read(self, &waiting);
        let enough = found.bytes >= waiting.bytes_min || found.urgent;
        // Nothing to wait for: no partitions at all, or no time.
        if enough || waiting.wanted.is_empty() || waiting.deadline <= now.mono {
            return self.answer_fetch(&waiting, found, fx);
        }
        waiting.bytes = found.bytes;
        self.fetches.next += 1;
        let ticket = self.fetches.next;
        self.watch(ticket, &waiting);
        self.fetches.deadlines.insert((waiting.deadline, ticket));
        self.fetches.waiting.insert(ticket, waiting);
    }

    /// Asks every wanted partition to say when its high watermark moves.
    fn watch(&self, ticket: u64, waiting: &Waiting) {
        let waiter = Waiter { owner: self.owner(), ticket, part: 0 };
        self.each_replica(waiting, |replica| replica.watch(waiter));
    }

    fn unwatch(&self, ticket: u64, waiting: &Waiting) {
        let waiter = Waiter { owner: self.owner(), ticket, part: 0 };
        self.each_replica(waiting, |replica| replica.unwatch(waiter));
    }

    fn each_replica(&self, waiting: &Waiting, mut act: impl FnMut(&crate::replica::Replica)) {
        for Wanted { key, part } in &waiting.wanted {
            let topic = self.view.topic_of(&key.name, key.topic_id);
            let replica = topic.and_then(|topic| self.view.replica(topic.id, PartitionIndex(part.partition)));
            if let Some(replica) = replica {
                act(replica);
            }
        }
    }

    /// A partition's high watermark moved under a waiting fetch.
    pub(crate) fn fetch_readable(&mut self, _now: Now, ticket: u64, bytes: u64, fx: &mut Effects) {
        let Some(waiting) = self.fetches.waiting.get_mut(&ticket) else { return };
        waiting.bytes += bytes;
        if waiting.bytes >= waiting.bytes_min {
            self.finish_fetch(ticket, fx);
        }
    }

    /// The metadata changed: a fetch of what is no longer here must hear of it.
    pub(crate) fn recheck_fetches(&mut self, _now: Now, fx: &mut Effects) {
        let urgent = |waiting: &Waiting| fetch_read(self, waiting).urgent;
        let tickets: Vec<u64> = self
            .fetches
            .waiting
            .iter()
            .filter(|(_, waiting)| urgent(waiting))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in tickets {
            self.finish_fetch(ticket, fx);
        }
    }

    /// Answers the fetches whose time is over with what there is.
    pub(crate) fn expire_fetches(&mut self, now: Now, fx: &mut Effects) {
        while let Some((at, ticket)) = self.fetches.deadlines.first().copied()
            && at <= now.mono
        {
            self.finish_fetch(ticket, fx);
        }
    }

    fn finish_fetch(&mut self, ticket: u64, fx: &mut Effects) {
        let Some(waiting) = self.fetches.remove(ticket) else { return };
        self.unwatch(ticket, &waiting);
        let found = fetch_read(self, &waiting);
        self.answer_fetch(&waiting, found, fx);
    }

    fn answer_fetch(&mut self, waiting: &Waiting, found: crate::api::FetchFound, fx: &mut Effects) {
        let token = waiting.asked.token;
        match fetch_reply(self, waiting, found) {
            Ok(reply) => self.complete(token, reply, fx),
            Err(error) => fx.log(Level::Error, format!("a Fetch response cannot be encoded: {error:?}")),
        }
    }
}
