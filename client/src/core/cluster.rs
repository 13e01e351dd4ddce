//! A client's connections to a cluster: dialling, back-off, routing of calls, and the metadata cache.
//!
//! A call is sent at most once. Whether it may be repeated is for the owner to say: the producer repeats
//! batches, the admin repeats reads. Calls wait (in a bounded queue's time, not place: each has a deadline)
//! until a connection to their target is ready.

mod links;
mod refresh;

use super::connection::{Encode, Outgoing};
use super::error::CallError;
use super::metadata::Metadata;
use super::{Address, CallId, Core, Effect, Input};
use base::{Instant, Now, Rng, Span};
use bytes::Bytes;
use links::{Links, Spot};
use refresh::Refresh;
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use wire::{ApiKey, Message as _, Reader, Request, Str, encode_request};

/// How a client connects.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// `bootstrap.servers`: where to begin.
    pub bootstrap: Vec<Address>,
    /// `client.id`: what the broker's logs and quotas call this client.
    pub client_id: Option<String>,
    /// `request.timeout.ms`: how long an answer may take.
    pub request_timeout: Span,
    /// `socket.connection.setup.timeout.ms`: how long opening a connection may take.
    pub connect_timeout: Span,
    /// `reconnect.backoff.ms` and, doubled per failure, at most `reconnect.backoff.max.ms`.
    pub reconnect_backoff: (Span, Span),
    /// `retry.backoff.ms` and, doubled per failure, at most `retry.backoff.max.ms`.
    pub retry_backoff: (Span, Span),
    /// `metadata.max.age.ms`: metadata is asked for again at least this often.
    pub metadata_max_age: Span,
    /// `allow.auto.create.topics`: whether asking for a topic may create it.
    pub allow_auto_create: bool,
    /// Requests in flight on one connection.
    pub in_flight_max: usize,
    /// The largest answer that is read.
    pub response_bytes_max: usize,
    /// Give up as soon as every address has refused once, instead of trying until each call's deadline. For
    /// command lines.
    pub fail_fast: bool,
}

impl ClusterSettings {
    /// Kafka's defaults for a client of these brokers.
    #[must_use]
    pub fn new(bootstrap: Vec<Address>) -> Self {
        Self {
            bootstrap,
            client_id: None,
            request_timeout: Span::from_secs(30),
            connect_timeout: Span::from_secs(10),
            reconnect_backoff: (Span::from_millis(50), Span::from_secs(1)),
            retry_backoff: (Span::from_millis(100), Span::from_secs(1)),
            metadata_max_age: Span::from_secs(300),
            allow_auto_create: true,
            in_flight_max: 5,
            response_bytes_max: 256 << 20,
            fail_fast: false,
        }
    }

    /// The pause before attempt `failures + 1` of something that failed.
    pub(crate) fn retry_pause(&self, failures: u32) -> Span {
        doubled(self.retry_backoff, failures)
    }
}

pub(crate) fn doubled((first, most): (Span, Span), failures: u32) -> Span {
    let factor = 1u64 << failures.saturating_sub(1).min(20);
    (first * factor).min(most)
}

/// Who should answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any broker.
    Any,
    /// The broker that takes changes to topics and configs.
    Controller,
    /// This broker.
    Broker(i32),
    /// This broker, on a connection of its own, so that long polls do not delay heartbeats.
    Coordinator(i32),
}

/// An answer, not yet decoded.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The version of request and response.
    pub version: i16,
    body: Reader,
}

impl Answer {
    /// The response to an `R`.
    ///
    /// # Errors
    /// [`CallError::Decode`] when the bytes are no such response.
    pub fn decode<R: Request>(&self) -> Result<R::Response, CallError> {
        R::Response::decode(&mut self.body.clone(), self.version).map_err(CallError::Decode)
    }
}

/// How a call ended.
#[derive(Debug)]
pub struct Completion {
    /// Which call.
    pub call: CallId,
    /// The answer; for calls that get none, an empty one once the request is on its way.
    pub outcome: Result<Answer, CallError>,
}

struct Call {
    id: CallId,
    target: Target,
    api: ApiKey,
    versions: RangeInclusive<i16>,
    encode: Encode,
    answered: bool,
    deadline: Instant,
}

/// Connections to one cluster, and what is known of it.
///
/// ```no_run
/// use base::{Now, Span};
/// use ottla_client::core::{Cluster, ClusterSettings, Core, Target, parse_addresses};
/// use wire::describe_cluster::DescribeClusterRequest;
///
/// let mut cluster = Cluster::new(ClusterSettings::new(parse_addresses("localhost:9092")?), 7);
/// let call = cluster.call(Now::default(), Target::Any, 0..=2, DescribeClusterRequest::default(), Span::from_secs(5));
/// while let Some(_effect) = cluster.poll_effect() { /* dial, write */ }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Cluster {
    settings: ClusterSettings,
    metadata: Metadata,
    links: Links,
    refresh: Refresh,
    waiting: VecDeque<Call>,
    done: VecDeque<Completion>,
    next_call: u64,
    /// When the last input came: back-offs before it have had their chance.
    clock: Instant,
}

impl Cluster {
    /// A client that has not connected yet. `seed` decides which of several brokers is asked first.
    #[must_use]
    pub fn new(settings: ClusterSettings, seed: u64) -> Self {
        let client_id = settings.client_id.as_ref().map(Str::from);
        Self {
            links: Links::new(client_id, Rng::new(seed)),
            metadata: Metadata::default(),
            refresh: Refresh::default(),
            waiting: VecDeque::new(),
            done: VecDeque::new(),
            next_call: 0,
            clock: Instant::ZERO,
            settings,
        }
    }

    /// How this client connects.
    #[must_use]
    pub const fn settings(&self) -> &ClusterSettings {
        &self.settings
    }

    /// What is known of the cluster.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub(crate) const fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// Calls `target` with a request, in the highest version of `versions` that the broker has.
    pub fn call<R: Request + Send + Sync + 'static>(
        &mut self,
        now: Now,
        target: Target,
        versions: RangeInclusive<i16>,
        request: R,
        timeout: Span,
    ) -> CallId {
        self.submit(now, target, versions, request, (timeout, true))
    }

    /// Sends a request that the broker does not answer (acks=0); it completes once it is on its way.
    pub(crate) fn post<R: Request + Send + Sync + 'static>(
        &mut self,
        now: Now,
        target: Target,
        versions: RangeInclusive<i16>,
        request: R,
        timeout: Span,
    ) -> CallId {
        self.submit(now, target, versions, request, (timeout, false))
    }

    fn submit<R: Request + Send + Sync + 'static>(
        &mut self,
        now: Now,
        target: Target,
        versions: RangeInclusive<i16>,
        request: R,
        (timeout, answered): (Span, bool),
    ) -> CallId {
        let id = CallId(self.next_call);
        self.next_call += 1;
        let encode: Encode = Box::new(move |version, correlation, client_id| {
            encode_request(correlation, client_id, version, &request)
        });
        let deadline = now.mono + timeout;
        self.waiting.push_back(Call { id, target, api: R::KEY, versions, encode, answered, deadline });
        self.pump(now);
        id
    }

    /// The next call that has ended.
    pub fn poll_completion(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }

    /// Calls that have not been sent yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a request to this broker would be sent at once. If there is no connection, opens one.
    pub(crate) fn is_ready(&mut self, now: Now, target: Target) -> bool {
        match self.links.find(target, &self.metadata) {
            Spot::Ready(id) => self.links.in_flight(id) < self.settings.in_flight_max,
            Spot::Opening => false,
            Spot::Missing => {
                // A failure shows in the metadata, which is asked for again when a connection is lost.
                let _dialled = self.links.dial(now.mono, target, &self.metadata, &self.settings);
                false
            }
        }
    }

    /// Keeps metadata of `topic` fresh from now on, and asks for it soon.
    pub fn watch(&mut self, topic: &Str) {
        self.refresh.watch(topic);
    }

    /// Keeps metadata of all topics fresh (for subscriptions by pattern).
    pub fn watch_all(&mut self) {
        self.refresh.watch_all();
    }

    /// Asks for metadata as soon as the back-off allows.
    pub fn request_refresh(&mut self) {
        self.refresh.request();
    }

    /// Counts the answers that metadata was taken from.
    #[must_use]
    pub const fn metadata_version(&self) -> u64 {
        self.refresh.version()
    }

    /// Why the last request for metadata failed, if it did.
    #[must_use]
    pub const fn metadata_error(&self) -> Option<&CallError> {
        self.refresh.error()
    }

    /// Makes a broker known that another answer named (a group's coordinator).
    pub(crate) fn learn_broker(&mut self, id: i32, address: Address) {
        let endpoint = super::BrokerEndpoint { id, address, rack: None };
        self.metadata.brokers.entry(id).or_insert(endpoint);
    }

    /// Closes everything; calls under way end as disconnected.
    pub fn close(&mut self) {
        self.links.close_all(&mut self.done);
    }

    /// Sends what can be sent, dials what is needed, fails what is too late.
    fn pump(&mut self, now: Now) {
        if let Some(request) = self.refresh.due(now.mono) {
            let timeout = self.settings.request_timeout;
            let request = request.build(&self.settings);
            let id = self.submit(now, Target::Any, 4..=13, request, (timeout, true));
            self.refresh.sent(id);
            return;
        }
        let mut later = VecDeque::with_capacity(self.waiting.len());
        while let Some(call) = self.waiting.pop_front() {
            match self.place(now, &call) {
                Placement::Later => later.push_back(call),
                Placement::Sent => {}
                Placement::Posted => self.finish(call.id, Ok(Answer::nothing())),
                Placement::Failed(error) => self.finish(call.id, Err(error)),
            }
        }
        self.waiting = later;
    }

    fn place(&mut self, now: Now, call: &Call) -> Placement {
        if now.mono >= call.deadline {
            return Placement::Failed(self.links.failure().unwrap_or(CallError::TimedOut { api: call.api }));
        }
        let Some(target) = self.resolve(call.target) else { return Placement::Later };
        match self.links.find(target, &self.metadata) {
            Spot::Ready(id) if self.links.in_flight(id) >= self.settings.in_flight_max => Placement::Later,
            Spot::Ready(id) => {
                let request = Outgoing {
                    api: call.api,
                    versions: &call.versions,
                    encode: &call.encode,
                    answered: call.answered,
                };
                match self.links.send(id, call.id, &request, call.deadline) {
                    Ok(()) if call.answered => Placement::Sent,
                    Ok(()) => Placement::Posted,
                    Err(error) => Placement::Failed(error),
                }
            }
            Spot::Opening => Placement::Later,
            Spot::Missing => match self.links.dial(now.mono, target, &self.metadata, &self.settings) {
                Ok(()) => Placement::Later,
                Err(error) => Placement::Failed(error),
            },
        }
    }

    /// The controller by its id; asks who it is if nobody has said.
    fn resolve(&mut self, target: Target) -> Option<Target> {
        match target {
            Target::Controller => match self.metadata.controller {
                Some(id) if self.metadata.brokers.contains_key(&id) => Some(Target::Broker(id)),
                _ if self.metadata.brokers.is_empty() => {
                    self.refresh.request();
                    None
                }
                // Every broker forwards (KIP-590); there is no better one to ask.
                _ => Some(Target::Any),
            },
            Target::Any | Target::Broker(_) | Target::Coordinator(_) => Some(target),
        }
    }

    fn finish(&mut self, call: CallId, outcome: Result<Answer, CallError>) {
        self.done.push_back(Completion { call, outcome });
    }

    /// Takes metadata out of the completions; the rest is for the owner.
    fn settle_metadata(&mut self, now: Now) {
        let Some(call) = self.refresh.in_flight() else { return };
        let Some(place) = self.done.iter().position(|done| done.call == call) else { return };
        let Some(done) = self.done.remove(place) else { return };
        let response = done.outcome.and_then(|answer| answer.decode::<wire::metadata::MetadataRequest>());
        if let Ok(response) = &response {
            self.metadata.update(response, self.refresh.is_all());
        }
        self.refresh.finished(now.mono, response.map(|_| ()), &self.settings);
    }

    /// Until nothing changes: an answer may be metadata that lets calls go, which may fail at once.
    fn advance(&mut self, now: Now) {
        self.links.expire(now.mono, &mut self.done, &self.settings);
        self.pump(now);
        self.settle_metadata(now);
        self.pump(now);
        self.settle_metadata(now);
    }
}

enum Placement {
    Sent,
    Posted,
    Later,
    Failed(CallError),
}

impl Answer {
    fn nothing() -> Self {
        Self { version: 0, body: Reader::new(Bytes::new()) }
    }
}

impl Core for Cluster {
    fn handle(&mut self, now: Now, input: Input) {
        self.clock = now.mono;
        match input {
            Input::Connected(id) => self.links.connected(now.mono, id, &self.settings),
            Input::Received(id, bytes) => {
                self.links.received(now.mono, id, &bytes, (&mut self.done, &self.settings));
            }
            Input::Closed(id, reason) => {
                self.links.closed(now.mono, id, &reason, (&mut self.done, &self.settings));
                // The peer may be gone for good; find out where its partitions went.
                self.refresh.request_if_watching();
            }
            Input::Tick => {}
        }
        self.advance(now);
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.links.poll_effect()
    }

    fn wake_at(&self) -> Option<Instant> {
        let calls = self.waiting.iter().map(|call| call.deadline).min();
        let redial = self.links.retry_after(self.clock);
        let times = [calls, redial, self.links.deadline(), self.refresh.wake_at()];
        times.into_iter().flatten().min()
    }
}
