//! The open and opening connections of a cluster.

use super::{Answer, ClusterSettings, Completion, Target, doubled};
use crate::core::connection::{Arrival, Connection, ConnectionId, Outgoing};
use crate::core::error::CallError;
use crate::core::metadata::Metadata;
use crate::core::{Address, CallId, Effect};
use base::{Instant, Rng};
use std::collections::{BTreeMap, VecDeque};
use wire::Str;

/// Whom a connection was opened for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Peer {
    Bootstrap,
    Broker(i32),
    Coordinator(i32),
}

struct Link {
    peer: Peer,
    address: Address,
    connection: Connection,
    /// Until when it must be open and have told its versions.
    opening: Option<Instant>,
}

struct Failure {
    count: u32,
    retry_at: Instant,
}

/// Where a call for a target would go.
pub(super) enum Spot {
    Ready(ConnectionId),
    Opening,
    Missing,
}

pub(super) struct Links {
    client_id: Option<Str>,
    rng: Rng,
    open: BTreeMap<ConnectionId, Link>,
    /// Addresses that failed since they last worked.
    failures: BTreeMap<Address, Failure>,
    last_failure: Option<CallError>,
    effects: VecDeque<Effect>,
    next_id: u64,
}

/// Where completions go, and the settings.
type Context<'a> = (&'a mut VecDeque<Completion>, &'a ClusterSettings);

impl Links {
    pub(super) const fn new(client_id: Option<Str>, rng: Rng) -> Self {
        Self {
            client_id,
            rng,
            open: BTreeMap::new(),
            failures: BTreeMap::new(),
            last_failure: None,
            effects: VecDeque::new(),
            next_id: 0,
        }
    }

    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Why the last attempt to connect failed, if none succeeded since.
    pub(super) fn failure(&self) -> Option<CallError> {
        self.last_failure.clone()
    }

    pub(super) fn in_flight(&self, id: ConnectionId) -> usize {
        self.open.get(&id).map_or(0, |link| link.connection.in_flight())
    }

    pub(super) fn find(&self, target: Target, metadata: &Metadata) -> Spot {
        let mut opening = false;
        let mut best: Option<(usize, ConnectionId)> = None;
        for (id, link) in self.open.iter().filter(|(_, link)| link.serves(target, metadata)) {
            if !link.connection.is_ready() {
                opening = true;
                continue;
            }
            let load = link.connection.in_flight();
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, *id));
            }
        }
        match best {
            Some((_, id)) => Spot::Ready(id),
            None if opening => Spot::Opening,
            None => Spot::Missing,
        }
    }

    pub(super) fn send(
        &mut self,
        id: ConnectionId,
        call: CallId,
        request: &Outgoing<'_>,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let Some(link) = self.open.get_mut(&id) else { return Ok(()) };
        let bytes = link.connection.send(call, request, deadline)?;
        self.effects.push_back(Effect::Write(id, bytes));
        Ok(())
    }

    /// Opens a connection for `target` unless back-off forbids it. Fails when there is nobody to dial, or
    /// all have refused and the settings say not to insist.
    pub(super) fn dial(
        &mut self,
        now: Instant,
        target: Target,
        metadata: &Metadata,
        settings: &ClusterSettings,
    ) -> Result<(), CallError> {
        let candidates = match target {
            Target::Broker(id) | Target::Coordinator(id) => {
                let known = metadata.brokers.get(&id).ok_or(CallError::UnknownBroker { id })?;
                let peer =
                    if target == Target::Broker(id) { Peer::Broker(id) } else { Peer::Coordinator(id) };
                vec![(peer, known.address.clone())]
            }
            Target::Any | Target::Controller => everybody(metadata, settings),
        };
        let free: Vec<_> = candidates.iter().filter(|(_, address)| self.may_dial(now, address)).collect();
        if settings.fail_fast && candidates.iter().all(|(_, address)| self.failures.contains_key(address)) {
            return Err(self.last_failure.clone().unwrap_or(CallError::UnknownBroker { id: -1 }));
        }
        if free.is_empty() {
            return Ok(());
        }
        let (peer, address) = free[self.rng.index(free.len())].clone();
        self.open(now, peer, address, settings);
        Ok(())
    }

    fn may_dial(&self, now: Instant, address: &Address) -> bool {
        self.failures.get(address).is_none_or(|failure| now >= failure.retry_at)
    }

    fn open(&mut self, now: Instant, peer: Peer, address: Address, settings: &ClusterSettings) {
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        self.effects.push_back(Effect::Dial(id, address.clone()));
        let connection = Connection::new(self.client_id.clone(), settings.response_bytes_max);
        let opening = Some(now + settings.connect_timeout);
        self.open.insert(id, Link { peer, address, connection, opening });
    }

    pub(super) fn connected(&mut self, now: Instant, id: ConnectionId, settings: &ClusterSettings) {
        let Some(link) = self.open.get_mut(&id) else { return };
        // A process that is stopped lets its kernel accept: others must have their turn before a call is too late.
        let opening = now + settings.connect_timeout.min(settings.request_timeout);
        link.opening = Some(opening);
        // Encoding our own constant request cannot fail.
        if let Ok(bytes) = link.connection.open(opening) {
            self.effects.push_back(Effect::Write(id, bytes));
        }
    }

    pub(super) fn received(&mut self, now: Instant, id: ConnectionId, bytes: &[u8], context: Context<'_>) {
        let Some(link) = self.open.get_mut(&id) else { return };
        link.connection.receive(bytes);
        loop {
            let Some(link) = self.open.get_mut(&id) else { return };
            match link.connection.next_arrival() {
                Ok(None) => return,
                Ok(Some((arrival, reply))) => {
                    self.effects.extend(reply.map(|bytes| Effect::Write(id, bytes)));
                    match arrival {
                        None => {}
                        Some(Arrival::Ready) => self.ready(id),
                        Some(Arrival::Answer { call, version, body }) => {
                            let outcome = Ok(Answer { version, body });
                            context.0.push_back(Completion { call, outcome });
                        }
                    }
                }
                Err(broken) => {
                    self.effects.push_back(Effect::Close(id));
                    return self.closed(now, id, &broken.to_string(), context);
                }
            }
        }
    }

    fn ready(&mut self, id: ConnectionId) {
        let Some(link) = self.open.get_mut(&id) else { return };
        link.opening = None;
        self.failures.remove(&link.address);
        self.last_failure = None;
    }

    pub(super) fn closed(
        &mut self,
        now: Instant,
        id: ConnectionId,
        reason: &str,
        (done, settings): Context<'_>,
    ) {
        let Some(mut link) = self.open.remove(&id) else { return };
        for (call, _) in link.connection.abandon() {
            let error = CallError::Disconnected { address: link.address.clone(), reason: reason.to_owned() };
            done.push_back(Completion { call, outcome: Err(error) });
        }
        if link.opening.is_some() {
            self.note_failure(now, link.address, reason, settings);
        }
    }

    fn note_failure(&mut self, now: Instant, address: Address, reason: &str, settings: &ClusterSettings) {
        self.last_failure =
            Some(CallError::Unreachable { address: address.clone(), reason: reason.to_owned() });
        let failure = self.failures.entry(address).or_insert(Failure { count: 0, retry_at: now });
        failure.count += 1;
        failure.retry_at = now + doubled(settings.reconnect_backoff, failure.count);
    }

    /// Closes connections that open or answer too slowly.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        done: &mut VecDeque<Completion>,
        settings: &ClusterSettings,
    ) {
        let late: Vec<_> =
            self.open.iter().filter(|(_, link)| link.due().is_some_and(|at| now >= at)).collect();
        let late: Vec<_> = late.into_iter().map(|(id, link)| (*id, link.opening.is_some())).collect();
        for (id, opening) in late {
            self.effects.push_back(Effect::Close(id));
            if let (false, Some(link)) = (opening, self.open.get_mut(&id)) {
                // The calls timed out; that they also lost their connection says less.
                for (call, api) in link.connection.abandon() {
                    done.push_back(Completion { call, outcome: Err(CallError::TimedOut { api }) });
                }
            }
            self.closed(now, id, "no answer in time", (done, settings));
        }
    }

    pub(super) fn close_all(&mut self, done: &mut VecDeque<Completion>) {
        for (id, mut link) in std::mem::take(&mut self.open) {
            self.effects.push_back(Effect::Close(id));
            for (call, _) in link.connection.abandon() {
                let error = CallError::Disconnected {
                    address: link.address.clone(),
                    reason: "the client was closed".to_owned(),
                };
                done.push_back(Completion { call, outcome: Err(error) });
            }
        }
    }

    /// When the next connection is too late.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open.values().filter_map(Link::due).min()
    }

    /// When, after `now`, an address may be dialled again.
    pub(super) fn retry_after(&self, now: Instant) -> Option<Instant> {
        self.failures.values().map(|failure| failure.retry_at).filter(|at| *at > now).min()
    }
}

impl Link {
    fn due(&self) -> Option<Instant> {
        let answer = self.connection.deadline();
        self.opening.map_or(answer, |opening| Some(answer.map_or(opening, |at| at.min(opening))))
    }

    fn serves(&self, target: Target, metadata: &Metadata) -> bool {
        match target {
            Target::Any | Target::Controller => self.peer_known(metadata),
            Target::Broker(id) => self.peer == Peer::Broker(id),
            Target::Coordinator(id) => self.peer == Peer::Coordinator(id),
        }
    }

    /// A broker that has left the cluster may still answer, but no longer knows what it says.
    fn peer_known(&self, metadata: &Metadata) -> bool {
        match self.peer {
            Peer::Bootstrap => true,
            Peer::Broker(id) => metadata.brokers.contains_key(&id),
            // Its heartbeats must not wait behind other answers.
            Peer::Coordinator(_) => false,
        }
    }
}

/// All addresses known: the cluster's own, then those of the settings, which may be other names for them.
fn everybody(metadata: &Metadata, settings: &ClusterSettings) -> Vec<(Peer, Address)> {
    let brokers = metadata.brokers.values().map(|b| (Peer::Broker(b.id), b.address.clone()));
    let bootstrap = settings.bootstrap.iter().map(|address| (Peer::Bootstrap, address.clone()));
    brokers.chain(bootstrap).collect()
}
