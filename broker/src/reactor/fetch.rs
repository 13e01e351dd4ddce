//! Fetch requests: whose they are, what they wait for, and when they are answered.
//!
//! A connection has one fetch under way at a time, as in Kafka; those that its client sent meanwhile stand in line.

use super::Reactor;
use super::reader::{Change, Kind, Reader};
use super::session::{Begun, Context, Sessions};
use crate::api::{FetchFound, fetch_look, fetch_refusal, fetch_reply};
use crate::effects::{Asked, ConnId, Effects, Level};
use crate::job::{Job, Warm};
use crate::replica::Isolation;
use base::{Instant, Now, hit};
use cluster::partition::Incarnation;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::ErrorCode;
use wire::fetch::FetchRequest;

/// A fetch and what it is ready to wait for.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) asked: Asked,
    pub(crate) context: Context,
    reader: u64,
    /// The places that the answer names whatever is found there; others are named if they have news.
    pub(crate) named: Vec<u32>,
    pub(crate) isolation: Isolation,
    /// The replica that fetches, if it is no consumer.
    pub(crate) follower: Option<Incarnation>,
    pub(crate) consumer: Consumer,
    /// It waits until there are this many bytes,
    bytes_min: u64,
    pub(crate) bytes_max: u32,
    /// of which it has seen these,
    bytes: u64,
    /// or until then.
    deadline: Instant,
}

/// Where a consumer may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Consumer {
    /// It knows that followers may be read from, too (KIP-392).
    pub(crate) may_follow: bool,
    /// Where it stands; empty if it does not say.
    pub(crate) rack: String,
}

/// What a request says besides its partitions.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) isolation: Isolation,
    pub(crate) bytes_min: u64,
    pub(crate) bytes_max: u32,
    pub(crate) wait_max: base::Span,
    pub(crate) follower: Option<Incarnation>,
    pub(crate) consumer: Consumer,
}

/// What a connection has under way.
#[derive(Debug, Default)]
struct Line {
    /// The reader of the fetch that waits, or whose records are being brought into memory.
    reader: Option<u64>,
    /// What came meanwhile. Bounded by the requests that a connection may have in flight.
    later: VecDeque<(Asked, FetchRequest, Terms)>,
}

/// A fetch whose answer is known but for bytes that have to be brought into memory.
#[derive(Debug)]
struct Warming {
    waiting: Waiting,
    found: FetchFound,
    number: u64,
}

/// All readers and fetches of a reactor.
#[derive(Debug)]
pub(crate) struct Fetches {
    sessions: Sessions,
    readers: BTreeMap<u64, Reader>,
    /// Readers of connections whose clients keep no session.
    plain: BTreeMap<ConnId, u64>,
    lines: BTreeMap<ConnId, Line>,
    /// By reader.
    waiting: BTreeMap<u64, Waiting>,
    warming: BTreeMap<u64, Warming>,
    deadlines: BTreeSet<(Instant, u64)>,
    /// Numbers of readers and of jobs.
    next: u64,
}

impl Fetches {
    pub(crate) fn new(sessions: Sessions) -> Self {
        Self {
            sessions,
            readers: BTreeMap::new(),
            plain: BTreeMap::new(),
            lines: BTreeMap::new(),
            waiting: BTreeMap::new(),
            warming: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next: 0,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    const fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn take_waiting(&mut self, reader: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&reader)?;
        self.deadlines.remove(&(waiting.deadline, reader));
        Some(waiting)
    }

    fn park(&mut self, waiting: Waiting) {
        self.deadlines.insert((waiting.deadline, waiting.reader));
        self.waiting.insert(waiting.reader, waiting);
    }

    fn drop_reader(&mut self, reader: u64) {
        if let Some(reader) = self.readers.remove(&reader) {
            reader.close();
        }
    }
}

impl Reactor {
    /// Takes a fetch, or lets it stand in line behind the one that its connection has under way.
    pub(crate) fn fetch(
        &mut self,
        now: Now,
        asked: Asked,
        request: FetchRequest,
        terms: Terms,
        fx: &mut Effects,
    ) {
        let conn = asked.token.conn;
        if let Some(line) = self.fetches.lines.get_mut(&conn) {
            hit!(fetch_stands_in_line);
            let is_follower = terms.follower.is_some();
            line.later.push_back((asked, request, terms));
            // A follower that asks again has something that it does not want to wait with.
            let waiting =
                line.reader.filter(|reader| is_follower && self.fetches.waiting.contains_key(reader));
            if let Some(reader) = waiting {
                self.cut_short(now, reader, fx);
            }
            return;
        }
        self.fetches.lines.insert(conn, Line::default());
        self.begin_fetch(now, asked, request, terms, fx);
        self.fetch_next(now, conn, fx);
    }

    /// Begins what stands in line, as long as what was begun before is answered.
    fn fetch_next(&mut self, now: Now, conn: ConnId, fx: &mut Effects) {
        while let Some(line) = self.fetches.lines.get_mut(&conn)
            && line.reader.is_none()
        {
            let Some((asked, request, terms)) = line.later.pop_front() else {
                self.fetches.lines.remove(&conn);
                return;
            };
            self.begin_fetch(now, asked, request, terms, fx);
        }
    }

    fn begin_fetch(
        &mut self,
        now: Now,
        asked: Asked,
        mut request: FetchRequest,
        terms: Terms,
        fx: &mut Effects,
    ) {
        let is_follower = terms.follower.is_some();
        let (begun, reader) = match self.reader_of(now, &asked, &request, is_follower, fx) {
            Ok(known) => known,
            Err(code) => return self.refuse_fetch(&asked, code, fx),
        };
        let Some(known) = self.fetches.readers.get_mut(&reader) else { return };
        known.forget(core::mem::take(&mut request.forgotten_topics_data));
        let named = known.want(core::mem::take(&mut request.topics));
        let waiting = Waiting {
            asked,
            context: begun.context,
            reader,
            named: if begun.context.is_incremental() { Vec::new() } else { named },
            isolation: terms.isolation,
            follower: terms.follower,
            consumer: terms.consumer,
            bytes_min: terms.bytes_min,
            bytes_max: terms.bytes_max,
            bytes: 0,
            deadline: now.mono + terms.wait_max,
        };
        if let Some(line) = self.fetches.lines.get_mut(&waiting.asked.token.conn) {
            line.reader = Some(reader);
        }
        self.try_fetch(now, waiting, fx);
    }

    /// The reader that a request is about; readers whose session is over go.
    fn reader_of(
        &mut self,
        now: Now,
        asked: &Asked,
        request: &FetchRequest,
        is_follower: bool,
        fx: &mut Effects,
    ) -> Result<(Begun, u64), ErrorCode> {
        let owner = self.owner();
        let fetches = &mut self.fetches;
        let number = fetches.next_number();
        let begun = fetches.sessions.begin((request.session_id, request.session_epoch), || number)?;
        let reader = match begun.reader {
            Some(reader) => reader,
            None => *fetches.plain.entry(asked.token.conn).or_insert(number),
        };
        let kind = Kind { is_session: begun.reader.is_some(), is_follower };
        fetches.readers.entry(reader).or_insert_with(|| Reader::new(reader, owner, kind));
        for gone in begun.gone.iter().chain(&[reader]) {
            // Its client has gone on without the answer, over another connection.
            self.cut_short(now, *gone, fx);
        }
        begun.gone.iter().for_each(|gone| self.fetches.drop_reader(*gone));
        Ok((begun, reader))
    }

    fn refuse_fetch(&mut self, asked: &Asked, code: ErrorCode, fx: &mut Effects) {
        match fetch_refusal(asked, code) {
            Ok(reply) => self.complete(asked.token, reply, fx),
            Err(error) => fx.log(Level::Error, format!("a Fetch response cannot be encoded: {error:?}")),
        }
    }

    /// Answers the fetch that a reader has under way with nothing.
    fn cut_short(&mut self, now: Now, reader: u64, fx: &mut Effects) {
        let waiting = self.fetches.take_waiting(reader);
        let warming = || self.fetches.warming.remove(&reader).map(|warming| warming.waiting);
        if let Some(mut waiting) = waiting.or_else(warming) {
            hit!(fetch_cut_short);
            waiting.named.clear();
            self.answer_fetch(now, &waiting, FetchFound::default(), fx);
        }
    }

    /// Answers a fetch if it can be, else lets it wait.
    fn try_fetch(&mut self, now: Now, mut waiting: Waiting, fx: &mut Effects) {
        let Some(reader) = self.fetches.readers.get_mut(&waiting.reader) else { return };
        let is_held =
            waiting.follower.is_some() && self.shared.throttles.leader.held_until(now.mono).is_some();
        let found = fetch_look(&self.view, reader, &waiting, (now, is_held), fx);
        let enough = found.bytes >= waiting.bytes_min || found.urgent;
        // Nothing to wait for: no partitions at all, or no time.
        if enough || reader.is_empty() || waiting.deadline <= now.mono {
            return self.send_fetch(now, waiting, found, fx);
        }
        waiting.bytes = found.bytes;
        for part in found.with_records() {
            waiting.bytes = waiting.bytes.saturating_add(reader.listen(part));
        }
        let (id, enough) = (waiting.reader, waiting.bytes >= waiting.bytes_min);
        self.fetches.park(waiting);
        if enough {
            self.fetch_again(now, id, fx);
        }
    }

    fn fetch_again(&mut self, now: Now, reader: u64, fx: &mut Effects) {
        if let Some(waiting) = self.fetches.take_waiting(reader) {
            self.try_fetch(now, waiting, fx);
        }
    }

    /// A partition has something new for a reader.
    pub(crate) fn fetch_readable(
        &mut self,
        now: Now,
        reader: u64,
        (part, bytes): (u32, u64),
        fx: &mut Effects,
    ) {
        let Some(known) = self.fetches.readers.get_mut(&reader) else { return };
        known.heard(part, bytes);
        let Some(waiting) = self.fetches.waiting.get_mut(&reader) else { return };
        waiting.bytes = waiting.bytes.saturating_add(bytes);
        if waiting.bytes < waiting.bytes_min {
            waiting.bytes = waiting.bytes.saturating_add(known.listen(part));
        }
        if waiting.bytes >= waiting.bytes_min {
            self.fetch_again(now, reader, fx);
        }
    }

    /// The metadata changed: a fetch of what is no longer here must hear of it. One of other partitions is not looked at.
    pub(crate) fn recheck_fetches(&mut self, now: Now, fx: &mut Effects) {
        // A broker that serves may be nearer to a consumer than this one.
        let is_about_all = self.view.node.config.reads_in_rack && self.view.news.has_brokers;
        let changes = Change::all_in(&self.view);
        if changes.is_empty() && !is_about_all {
            return;
        }
        let mut touched = Vec::new();
        for (id, reader) in &mut self.fetches.readers {
            if is_about_all {
                reader.forget_all();
                touched.push(*id);
            } else if reader.forget_changed(&changes) {
                touched.push(*id);
            }
        }
        for reader in touched {
            self.fetch_again(now, reader, fx);
        }
    }

    /// Answers the fetches whose time is over with what there is.
    pub(crate) fn expire_fetches(&mut self, now: Now, fx: &mut Effects) {
        while let Some((at, reader)) = self.fetches.deadlines.first().copied()
            && at <= now.mono
        {
            self.fetch_again(now, reader, fx);
        }
    }

    /// Sends an answer, once what it takes from files is in memory: the device never holds up a reactor.
    fn send_fetch(&mut self, now: Now, waiting: Waiting, found: FetchFound, fx: &mut Effects) {
        let cold = found.cold();
        if cold.is_empty() {
            return self.answer_fetch(now, &waiting, found, fx);
        }
        hit!(fetch_of_cold_records);
        let number = self.fetches.next_number();
        fx.jobs.push(Job::Warm(Warm { reader: waiting.reader, number, ranges: cold }));
        self.fetches.warming.insert(waiting.reader, Warming { waiting, found, number });
    }

    /// The records of an answer are in memory now.
    pub(crate) fn fetch_warmed(&mut self, now: Now, reader: u64, number: u64, fx: &mut Effects) {
        let is_this = self.fetches.warming.get(&reader).is_some_and(|warming| warming.number == number);
        if is_this && let Some(Warming { waiting, found, .. }) = self.fetches.warming.remove(&reader) {
            self.answer_fetch(now, &waiting, found, fx);
        }
    }

    fn answer_fetch(&mut self, now: Now, waiting: &Waiting, found: FetchFound, fx: &mut Effects) {
        let token = waiting.asked.token;
        let listener = self.listener_of(token.conn);
        self.shared.throttles.leader.record(now.mono, found.throttled_bytes());
        let reply = match self.fetches.readers.get_mut(&waiting.reader) {
            Some(reader) => fetch_reply(&self.view, &listener, reader, waiting, found),
            None => return,
        };
        match reply {
            Ok(reply) => self.complete(token, reply, fx),
            Err(error) => fx.log(Level::Error, format!("a Fetch response cannot be encoded: {error:?}")),
        }
        if let Some(line) = self.fetches.lines.get_mut(&token.conn) {
            line.reader = None;
        }
        self.fetch_next(now, token.conn, fx);
    }

    /// A connection is gone, and with it what it had under way. Its session may be taken up over another.
    pub(crate) fn fetches_closed(&mut self, conn: ConnId) {
        let fetches = &mut self.fetches;
        if let Some(reader) = fetches.lines.remove(&conn).and_then(|line| line.reader) {
            let _unanswered = fetches.take_waiting(reader);
            fetches.warming.remove(&reader);
        }
        if let Some(reader) = fetches.plain.remove(&conn) {
            fetches.drop_reader(reader);
        }
    }
}

#[cfg(test)]
mod tests;
