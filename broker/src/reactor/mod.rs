//! A reactor: owns connections for life, answers what the view can answer, appends and reads partitions, and
//! passes on the rest. One thread drives it; it never waits.

mod connection;
pub(crate) mod fetch;
pub(crate) mod produce;
pub(crate) mod reader;
pub(crate) mod session;
mod succession;
mod trim;

pub use connection::IN_FLIGHT_MAX;

use crate::api::{self, Answer, Malformed, Row, Run, ViewContext};
use crate::effects::{Asked, ConnId, Effects, Input, Level, Mail, Owner, Reply, Token};
use crate::job::JobDone;
use crate::latency::Latencies;
use crate::peer::Identity;
use crate::replica::Opened;
use crate::shared::Shared;
use crate::view::View;
use base::{Instant, Now, hit};
use bytes::Bytes;
use cluster::controller::Command;
use connection::Connection;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::{ApiKey, Reader, RequestHead};

/// Carries out an API that needs the reactor itself.
pub(crate) type Handler = fn(&mut Reactor, Asked, Now, &mut Effects) -> Result<(), Malformed>;

/// One of the node's reactors.
#[derive(Debug)]
pub struct Reactor {
    id: u16,
    pub(crate) view: Arc<View>,
    pub(crate) shared: Arc<Shared>,
    connections: BTreeMap<ConnId, Connection>,
    pub(crate) produces: produce::Parked,
    fetches: fetch::Fetches,
    trims: trim::Trims,
    successions: succession::Awaiting,
    pub(crate) opened: Opened,
    /// Requests that wait for the controller: ticket → where they are kept.
    asking: BTreeMap<u64, Token>,
    next_ticket: u64,
    /// The time of the input that is being handled.
    now: Instant,
    /// Requests whose replies have left and that nobody has noted yet: their APIs and when they came.
    done: Vec<(ApiKey, Instant)>,
    latencies: Arc<Latencies>,
}

/// Requests that may wait for being noted; who drives no clock, as the simulator, notes none.
const DONE_MAX: usize = 4_096;

impl Reactor {
    pub(crate) fn new(id: u16, view: Arc<View>, shared: Arc<Shared>) -> Self {
        let sessions = session::Sessions::new(id, view.node.config.fetch_sessions_max);
        let latencies = shared.latencies_of_reactor();
        Self {
            id,
            view,
            shared,
            connections: BTreeMap::new(),
            produces: produce::Parked::default(),
            fetches: fetch::Fetches::new(sessions),
            trims: trim::Trims::default(),
            successions: succession::Awaiting::default(),
            opened: Opened::default(),
            asking: BTreeMap::new(),
            next_ticket: 0,
            now: Instant::from_nanos(0),
            done: Vec::new(),
            latencies,
        }
    }

    /// This reactor's name.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        Owner::Reactor(self.id)
    }

    /// True while `conn` may send more requests.
    #[must_use]
    pub fn may_read(&self, conn: ConnId) -> bool {
        self.connections.get(&conn).is_some_and(|connection| connection.in_flight() < IN_FLIGHT_MAX)
    }

    /// Takes an input and says what follows.
    pub fn handle(&mut self, now: Now, input: Input, fx: &mut Effects) {
        self.now = now.mono;
        match input {
            Input::Connected { conn, peer, listener } => {
                self.connections.insert(conn, Connection::new(peer, listener));
            }
            Input::Frame { conn, frame } => self.frame(now, conn, frame, fx),
            Input::Closed { conn } => {
                self.connections.remove(&conn);
                self.fetches_closed(conn);
            }
            Input::Mail(mail) => self.mail(now, mail, fx),
            Input::JobDone(done) => self.job_done(now, done, fx),
            Input::Tick => {}
            Input::Linked { .. } | Input::LinkFrame { .. } | Input::LinkDown { .. } => {
                fx.fatal = Some("a reactor was sent a link".into());
            }
        }
        self.expire(now, fx);
    }

    fn expire(&mut self, now: Now, fx: &mut Effects) {
        self.expire_produces(now, fx);
        self.expire_fetches(now, fx);
        self.expire_trims(now, fx);
        self.expire_successions(now, fx);
        let next = [
            self.produces.next_deadline(),
            self.fetches.next_deadline(),
            self.trims.next_deadline(),
            self.successions.next_deadline(),
        ];
        if let Some(at) = next.into_iter().flatten().min() {
            fx.wake(at);
        }
    }

    fn frame(&mut self, now: Now, conn: ConnId, frame: Bytes, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let mut reader = Reader::new(frame);
        let head = match RequestHead::decode(&mut reader) {
            Ok(head) => head,
            Err(error) => return self.refuse(conn, &format!("a request header cannot be read: {error}"), fx),
        };
        let token = Token { reactor: self.id, conn, slot: connection.open_slot(head.api_key, now.mono) };
        let asked = Asked {
            token,
            head,
            peer: connection.peer.clone(),
            listener: connection.listener.clone(),
            node: connection.node,
            envelope: None,
            body: reader.rest(),
        };
        let row = api::row(asked.head.api_key).or_else(|| self.peer_row(&asked));
        let Some(row) = row else {
            let text = format!("API key {} is not served", asked.head.api_key);
            return self.refuse(conn, &text, fx);
        };
        if !row.served.contains(&asked.head.version) {
            return self.unsupported_version(row, &asked, fx);
        }
        self.shared.counters.request(row.key);
        self.run(now, row, asked, false, fx);
    }

    /// What only nodes are served, and only over the listener that is theirs, once they have said who they are.
    fn peer_row(&self, asked: &Asked) -> Option<&'static Row> {
        let row = api::peer_row(asked.head.api_key)?;
        let own = self.view.node.config.peer_listener();
        let is_peers = own.is_some_and(|listener| *listener.name == *asked.listener);
        let has_greeted = asked.node.is_some() || row.key == ApiKey::PeerGreet;
        (is_peers && has_greeted).then_some(row)
    }

    /// A node has said who it is.
    pub(crate) fn greeted(&mut self, conn: ConnId, who: Identity, fx: &mut Effects) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.node = Some(who.node);
            fx.tell(Owner::Metadata, Mail::Greeted(who));
        }
    }

    /// Takes a client's request out of the envelope that another node put around it.
    /// False if it is none for the controller.
    pub(crate) fn unwrapped(&mut self, asked: Asked, fx: &mut Effects) -> bool {
        let row = api::row(asked.head.api_key).filter(|row| row.served.contains(&asked.head.version));
        let is_for_controller =
            matches!(row.map(|row| row.run), Some(Run::Controller { .. } | Run::Metadata(_)));
        if is_for_controller {
            fx.tell(Owner::Metadata, Mail::Asked(asked));
        }
        is_for_controller
    }

    fn unsupported_version(&mut self, row: &Row, asked: &Asked, fx: &mut Effects) {
        if row.key != ApiKey::ApiVersions {
            let text = format!("version {} of {} is not served", asked.head.version, row.key.name());
            return self.refuse(asked.token.conn, &text, fx);
        }
        hit!(api_versions_downgraded);
        let correlation_id = asked.head.correlation_id;
        match wire::encode_response(ApiKey::ApiVersions, 0, correlation_id, &api::unsupported_api_versions())
        {
            Ok(encoded) => self.complete(asked.token, Reply::bytes(encoded.bytes), fx),
            Err(error) => self.refuse(asked.token.conn, &format!("{error:?}"), fx),
        }
    }

    fn run(&mut self, now: Now, row: &'static Row, asked: Asked, asked_controller: bool, fx: &mut Effects) {
        let conn = asked.token.conn;
        let done = match row.run {
            Run::View(handle) => {
                let listener = asked.listener.clone();
                let came = self.connections.get(&conn).and_then(|open| open.came(asked.token.slot));
                let came = came.unwrap_or(now.mono);
                let cx = ViewContext::new(&self.view, &self.shared, &listener, now.mono);
                let cx = ViewContext { asked_controller, came, ..cx };
                handle(&cx, &asked).map(|answer| self.view_answer(asked, answer, asked_controller, fx))
            }
            Run::Reactor(handle) => handle(self, asked, now, fx),
            Run::Groups(_) => {
                fx.tell(Owner::Groups, Mail::Asked(asked));
                Ok(())
            }
            Run::Controller { .. } | Run::Metadata(_) => {
                fx.tell(Owner::Metadata, Mail::Asked(asked));
                Ok(())
            }
            Run::OneWay(owner) => {
                let token = asked.token;
                fx.tell(owner, Mail::Asked(asked));
                self.complete(token, Reply::default(), fx);
                Ok(())
            }
        };
        if let Err(malformed) = done {
            self.refuse(conn, &format!("{} cannot be answered: {malformed:?}", row.key.name()), fx);
        }
    }

    fn view_answer(&mut self, asked: Asked, answer: Answer<Bytes>, asked_controller: bool, fx: &mut Effects) {
        match answer {
            Answer::Reply(bytes) => self.complete(asked.token, Reply::bytes(bytes), fx),
            Answer::Ask(command) => self.ask_controller(asked, command, fx),
            Answer::AwaitLeaders(until) => self.await_leaders(asked, until, asked_controller),
        }
    }

    /// Asks the controller on behalf of a request, which runs again when the answer is here.
    pub(crate) fn ask_controller(&mut self, asked: Asked, command: Command, fx: &mut Effects) {
        let token = asked.token;
        let Some(connection) = self.connections.get_mut(&token.conn) else { return };
        connection.keep(asked);
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.asking.insert(ticket, token);
        fx.tell(Owner::Metadata, Mail::Control { from: self.owner(), ticket, command });
    }

    fn mail(&mut self, now: Now, mail: Mail, fx: &mut Effects) {
        match mail {
            Mail::Reply { token, reply } => self.complete(token, reply, fx),
            Mail::Refused { token, reason } => self.refuse(token.conn, &reason, fx),
            Mail::View(view) => self.new_view(now, view, fx),
            Mail::Controlled { ticket, reply } => self.controlled(now, ticket, reply, fx),
            Mail::Safe { ticket, part, kept } => {
                self.produce_safe(ticket, part, kept, fx);
                self.trim_safe(ticket, part, kept, fx);
            }
            Mail::Readable { ticket, part, bytes } => self.fetch_readable(now, ticket, (part, bytes), fx),
            Mail::Asked(_)
            | Mail::Control { .. }
            | Mail::Greeted(_)
            | Mail::Leave
            | Mail::CountGroups(_)
            | Mail::Replicas(_)
            | Mail::Upkeep
            | Mail::Reopen(_)
            | Mail::Damaged(_) => {
                fx.fatal = Some("a reactor was sent a request for another owner".into());
            }
        }
    }

    fn new_view(&mut self, now: Now, view: Arc<View>, fx: &mut Effects) {
        self.view = view;
        // Leaders or topics may have gone: waiting fetches look again and tell their clients.
        self.recheck_fetches(now, fx);
        self.recheck_successions(now, fx);
    }

    fn controlled(&mut self, now: Now, ticket: u64, reply: cluster::controller::Reply, fx: &mut Effects) {
        if let cluster::controller::Reply::ProducerIds { first, count } = reply {
            self.shared.producer_ids.refill(first, count);
        }
        if let Some(token) = self.asking.remove(&ticket) {
            self.run_kept(now, token, true, fx);
        }
    }

    /// Runs a request again that was kept. Its connection may have gone.
    fn run_kept(&mut self, now: Now, token: Token, asked_controller: bool, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&token.conn) else { return };
        let Some(asked) = connection.take_kept(token.slot) else { return };
        if let Some(row) = api::row(asked.head.api_key) {
            self.run(now, row, asked, asked_controller, fx);
        }
    }

    fn job_done(&mut self, now: Now, done: JobDone, fx: &mut Effects) {
        if let JobDone::Warmed { reader, number } = done {
            return self.fetch_warmed(now, reader, number, fx);
        }
        if let JobDone::Trimmed { asked, outcomes } = done {
            return self.trimmed(now, asked, outcomes, fx);
        }
        self.shared.job_done(now, done, fx);
    }

    /// Answers a request; what can leave in order leaves.
    pub(crate) fn complete(&mut self, token: Token, reply: Reply, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&token.conn) else { return };
        for (asked, reply) in connection.complete(token.slot, reply) {
            if self.done.len() < DONE_MAX
                && let Some(row) = api::any_row(asked.api_key)
            {
                self.done.push((row.key, asked.at));
            }
            if !reply.is_empty() {
                fx.replies.push((token.conn, reply));
            }
        }
    }

    /// Notes how long the requests took whose replies have left. Carrying out a request takes time as well, which only
    /// a clock that is read afterwards shows; it is read only if there is something to note.
    pub fn note_done(&mut self, now: impl FnOnce() -> Instant) {
        if self.done.is_empty() {
            return;
        }
        let now = now();
        for (key, since) in self.done.drain(..) {
            self.latencies.note(key, now.since(since));
        }
    }

    /// The name of the listener that a connection came in by.
    pub(crate) fn listener_of(&self, conn: ConnId) -> Arc<str> {
        self.connections.get(&conn).map(|connection| connection.listener.clone()).unwrap_or_default()
    }

    /// Closes the connection of a client that sent what cannot be answered.
    fn refuse(&mut self, conn: ConnId, reason: &str, fx: &mut Effects) {
        let Some(connection) = self.connections.remove(&conn) else { return };
        hit!(connection_refused);
        fx.log(Level::Warn, format!("Closing the connection of {}: {reason}", connection.peer));
        fx.close.push(conn);
    }

    /// Requests of a connection that wait for their replies.
    #[must_use]
    pub fn in_flight(&self, conn: ConnId) -> usize {
        self.connections.get(&conn).map_or(0, Connection::in_flight)
    }

    /// True for a connection that another node has opened.
    #[must_use]
    pub fn is_peer(&self, conn: ConnId) -> bool {
        self.connections.get(&conn).is_some_and(|connection| connection.node.is_some())
    }

    /// Its number among the node's reactors.
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.id
    }
}
