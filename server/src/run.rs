//! A node's life: open, serve, drain, end.

use crate::accept::Acceptor;
use crate::clock::{Clock, entropy};
use crate::forming::Forming;
use crate::http::{self, Door, Phase};
use crate::inbox::Arriving;
use crate::listen::{self, Listening};
use crate::logging::Logging;
use crate::owner::{self, Driven};
use crate::reactor::{self, Limits};
use crate::router::{self, End, Router, ToReactor};
use crate::{links, settings, thread};
use base::Span;
use broker::loggers::NODE;
use broker::{Boot, Booted, Census, Founding, Input, Mail, Opened, Owner};
use cluster::Endpoint;
use cluster::config::{ConnectionLimits, Layers, NodeConfig, Overrides};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seglog::disk::RealDisk;
use std::fmt;
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

/// How long a node that is to end waits for others to lead what it leads.
const LEAVING_MAX: Duration = Duration::from_secs(5);

/// How to run a node.
pub struct Options {
    /// Its settings, by Kafka's keys.
    pub settings: Overrides,
    /// Where the HTTP side door listens; `None` for nowhere.
    pub http: Option<(String, u16)>,
    /// Where it logs, and how much at first.
    pub logging: Logging,
    /// How long a drain may take.
    pub shutdown_timeout: Duration,
    /// Called once the node serves.
    pub announce: Box<dyn FnOnce(&Announced) + Send>,
}

/// Where a node can be reached.
#[derive(Clone, Debug)]
pub struct Announced {
    /// What Kafka clients connect to.
    pub kafka: String,
    /// Where health and metrics are.
    pub http: Option<SocketAddr>,
    /// The cluster's id.
    pub cluster_id: String,
    /// The data directory.
    pub directory: String,
}

/// Why a node could not start, or had to stop.
#[derive(Debug)]
pub struct ServerError(pub String);

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServerError {}

fn failed(error: impl fmt::Display) -> ServerError {
    ServerError(error.to_string())
}

/// Runs a node until a signal ends it.
///
/// # Errors
/// When it cannot start, or must not go on.
pub fn run(options: Options) -> Result<(), ServerError> {
    let Options { settings, http, logging, shutdown_timeout, announce } = options;
    let config = settings::resolve(&settings).map_err(failed)?;
    raise_open_file_limit();
    let listening = listen::open(&config).map_err(ServerError)?;
    let endpoints = listen::endpoints(&config, &listening).map_err(ServerError)?;
    let http = http.as_ref().map(|(host, port)| listen::bind(host, *port, "--http")).transpose();
    let http = http.map_err(ServerError)?;
    let http_address = http.as_ref().map(|(_, address)| *address);
    let (end, end_box) = unbounded_channel();
    let process = Process { clock: Clock::new(), config, listening, end, door: Arc::default() };
    if let Some((listener, _)) = http {
        process.open_door(listener).map_err(failed)?;
    }
    let boot = process.boot(settings, endpoints)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async move {
        let mut until = Until { end: end_box, signals: Signals::catch().map_err(failed)? };
        let Some(booted) = process.belong(&boot, &mut until).await? else { return Ok(()) };
        booted.shared.loggers.start(logging.levels, Box::new(logging.filter));
        let node = Running::start(*booted, &process)?;
        process.door.show(node.http_state());
        let mut accepting = JoinSet::new();
        let acceptor = node.acceptor();
        let (early, late): (Vec<_>, Vec<_>) =
            process.listening.iter().partition(|listening| node.is_early(&process.config, listening));
        acceptor.accept_on(early, &mut accepting).map_err(failed)?;
        if !until.serving().await? {
            return Ok(());
        }
        acceptor.accept_on(late, &mut accepting).map_err(failed)?;
        process.door.enter(Phase::Ready);
        announce(&Announced {
            kafka: advertised(&process.config, &boot.endpoints),
            http: http_address,
            cluster_id: node.cluster_id.clone(),
            directory: boot.directory,
        });
        until.ended().await?;
        node.router.mail(Owner::Metadata, Mail::Leave);
        until.left().await?;
        accepting.shutdown().await;
        process.close();
        node.drain_for(shutdown_timeout, &mut until.signals).await;
        Ok(())
    })
}

/// Where clients are told to connect, for people.
fn advertised(config: &NodeConfig, endpoints: &[Endpoint]) -> String {
    let for_clients = endpoints.iter().find(|endpoint| !config.is_for_nodes(&endpoint.listener));
    let shown = |endpoint: &Endpoint| format!("{}:{}", bracketed(&endpoint.host), endpoint.port);
    for_clients.or(endpoints.first()).map(shown).unwrap_or_default()
}

/// An IPv6 address needs brackets before a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn unusable_directory(config: &NodeConfig, error: &seglog::disk::DiskError) -> ServerError {
    ServerError(format!(
        "The data directory {} cannot be used: {error}. Choose another with --data-dir (log.dirs)",
        config.log_dir
    ))
}

fn absolute(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

/// The kernel's name for this boot: after an fsync error a directory stays closed until it changes.
fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

fn reactor_count() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cores.clamp(1, 64)).unwrap_or(1)
}

/// Every segment and connection is a descriptor: take what the system gives.
fn raise_open_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(target: NODE, %error, "the open-file limit could not be raised");
    }
}

/// What there is before there is a node, and as long as the process lives.
struct Process {
    clock: Clock,
    config: NodeConfig,
    listening: Vec<Listening>,
    end: UnboundedSender<End>,
    door: Arc<Door>,
}

impl Process {
    fn boot(&self, settings: Overrides, endpoints: Vec<Endpoint>) -> Result<Boot, ServerError> {
        let config = &self.config;
        let disk = RealDisk::create_root(config.log_dir.as_ref());
        Ok(Boot {
            config: config.clone(),
            fixed: settings,
            disk: Arc::new(disk.map_err(|error| unusable_directory(config, &error))?),
            directory: absolute(&config.log_dir),
            boot_id: boot_id(),
            endpoints,
            reactors: reactor_count(),
            seed: entropy().map_err(failed)?,
        })
    }

    fn open_door(&self, listener: std::net::TcpListener) -> std::io::Result<()> {
        let door = self.door.clone();
        thread::start("http", self.end.clone(), move || {
            if let Err(error) = http::run(listener, door) {
                tracing::error!(target: NODE, %error, "the HTTP listener has ended");
            }
        })
        .map(drop)
    }

    /// Opens the data directory. One that belongs to no cluster yet forms one with others, or joins one, before that;
    /// `None` if a signal came first.
    async fn belong(&self, boot: &Boot, until: &mut Until) -> Result<Option<Box<Booted>>, ServerError> {
        loop {
            let founding = match broker::open(boot.clone(), self.clock.now()).map_err(failed)? {
                Opened::Node(booted) => return Ok(Some(booted)),
                Opened::Founding(founding) => founding,
            };
            self.door.enter(Phase::Founding);
            let mut forming = self.form(founding, &boot.fixed).map_err(failed)?;
            tokio::select! {
                () = forming.wait() => {}
                ended = until.ended() => return ended.map(|()| None),
            }
            self.door.enter(Phase::Starting);
        }
    }

    fn form(&self, founding: Box<Founding>, fixed: &Overrides) -> std::io::Result<Forming> {
        let name = self.config.peer_listener().map(|listener| listener.name.as_str());
        let peers = self.listening.iter().find(|listening| Some(&*listening.name) == name);
        let peers = peers.ok_or_else(|| std::io::Error::other("there is no listener for other nodes"))?;
        let fixed = fixed.clone();
        let limits_now = Box::new(move || {
            let none = Overrides::new();
            ConnectionLimits::resolve(&Layers { broker: &none, cluster: &none, fixed: &fixed })
        });
        Forming::start(founding, peers, (self.limits(), limits_now), self.clock, self.end.clone())
    }

    fn limits(&self) -> Limits {
        let config = &self.config;
        Limits {
            frame_bytes_max: config.request_bytes_max as usize,
            arriving: Arriving::new(config.queued_bytes_max),
            idle_max: config.connections_idle_max.map(Span::as_nanos).map(Duration::from_nanos),
        }
    }

    /// Nobody is taken in any more.
    fn close(self) {
        self.door.enter(Phase::Draining);
        drop(self.listening);
    }

    /// The largest answer of another node: as a request may be, and with what a fetch brings.
    fn answer_bytes_max(&self) -> usize {
        self.config.request_bytes_max as usize + self.config.fetch_bytes_max as usize
    }
}

/// What the process waits for besides its work.
struct Until {
    end: UnboundedReceiver<End>,
    signals: Signals,
}

/// The signals that ask for an end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Until {
    /// Until the node serves: true. False if a signal came first.
    async fn serving(&mut self) -> Result<bool, ServerError> {
        tokio::select! {
            end = self.end.recv() => match end {
                Some(End::Serving) => Ok(true),
                Some(End::Fatal(reason)) => Err(ServerError(reason)),
                Some(End::Left) => Ok(false),
                None => Err(ServerError("all threads have ended".into())),
            },
            () = self.signals.next() => Ok(false),
        }
    }

    /// Until other nodes lead what this one led, for so long and until a signal comes.
    async fn left(&mut self) -> Result<(), ServerError> {
        tokio::select! {
            end = self.end.recv() => {
                if let Some(End::Fatal(reason)) = end {
                    return Err(ServerError(reason));
                }
            }
            () = tokio::time::sleep(LEAVING_MAX) => {
                tracing::warn!(target: NODE, "no controller has found other leaders in time: ending all the same");
            }
            () = self.signals.next() => {}
        }
        Ok(())
    }

    /// Until a signal asks for an end, or going on would break a promise.
    async fn ended(&mut self) -> Result<(), ServerError> {
        loop {
            tokio::select! {
                end = self.end.recv() => if let Some(End::Fatal(reason)) = end { return Err(ServerError(reason)) },
                () = self.signals.next() => return Ok(()),
            }
        }
    }
}

/// A node whose threads run.
struct Running {
    router: Router,
    cluster_id: String,
    shared: Arc<broker::Shared>,
    view: Arc<Mutex<Arc<broker::View>>>,
    clock: Clock,
}

impl Running {
    fn start(booted: Booted, process: &Process) -> Result<Self, ServerError> {
        let Booted { shared, reactors, metadata, groups, replication, latest_view } = booted;
        let (clock, end) = (process.clock, process.end.clone());
        let (senders, boxes): (Vec<_>, Vec<_>) =
            reactors.iter().map(|_| unbounded_channel::<ToReactor>()).unzip();
        let (router, mailboxes) = router::new(senders, end.clone());
        router::start_jobs(mailboxes.jobs, &shared, &router).map_err(failed)?;
        links::start(mailboxes.links, router.owners.clone(), process.answer_bytes_max(), end.clone())
            .map_err(failed)?;
        let limits = process.limits();
        for (core, mailbox) in reactors.into_iter().zip(boxes) {
            let (own, limits) = (router.clone(), limits.clone());
            let name = format!("reactor-{}", core.id());
            thread::start(&name, end.clone(), move || {
                if let Err(error) = reactor::run(core, mailbox, own.clone(), clock, limits) {
                    own.fatal(format!("a reactor could not start: {error}"));
                }
            })
            .map_err(failed)?;
        }
        let cluster_id = metadata.view().node.cluster_id.clone();
        drive("groups", groups, mailboxes.groups, clock, &router)?;
        drive("replication", replication, mailboxes.replication, clock, &router)?;
        drive("metadata", metadata, mailboxes.metadata, clock, &router)?;
        Ok(Self { router, cluster_id, shared, view: latest_view, clock })
    }

    fn http_state(&self) -> http::State {
        http::State {
            shared: self.shared.clone(),
            router: self.router.clone(),
            view: self.view.clone(),
            clock: self.clock,
            window: Arc::default(),
        }
    }

    fn acceptor(&self) -> Arc<Acceptor> {
        let view = self.view.clone();
        let limits =
            Box::new(move || view.lock().unwrap_or_else(PoisonError::into_inner).connection_limits());
        Acceptor::new(self.router.owners.reactors.clone(), limits, self.clock)
    }

    /// Whether a listener is served before the node is ready for clients: other nodes are needed to become so.
    fn is_early(&self, config: &NodeConfig, listening: &Listening) -> bool {
        let is_for_peers = config.peer_listener().is_some_and(|peers| *peers.name == *listening.name);
        let census = Census::take(&self.view.lock().unwrap_or_else(PoisonError::into_inner));
        let has_peers = config.voters.len() > 1
            || !config.bootstrap_servers.is_empty()
            || census.active_brokers + census.fenced_brokers > 1;
        listening.for_nodes || (is_for_peers && has_peers)
    }

    /// Answers what is under way, for so long and until a signal comes.
    async fn drain_for(&self, drain: Duration, signals: &mut Signals) {
        tracing::info!(target: NODE, "draining: no new connections, requests under way are answered");
        tokio::select! {
            () = self.drain() => {}
            () = tokio::time::sleep(drain) => tracing::warn!(target: NODE, "the shutdown timeout is over: ending with requests under way"),
            () = signals.next() => tracing::warn!(target: NODE, "a second signal: ending at once"),
        }
    }

    async fn drain(&self) {
        let (done, mut all_done) = tokio::sync::mpsc::channel(1);
        for reactor in &self.router.owners.reactors {
            // A reactor that is gone has nothing to drain.
            let _gone = reactor.send(ToReactor::Drain(done.clone()));
        }
        drop(done);
        // Every reactor drops its sender when it is done.
        let _closed = all_done.recv().await;
        broker::close(&self.shared, &self.view);
    }
}

/// Starts an owner's thread.
fn drive<D: Driven + Send + 'static>(
    name: &str,
    driven: D,
    inbox: Receiver<Input>,
    clock: Clock,
    router: &Router,
) -> Result<(), ServerError> {
    let own = router.clone();
    let work = move || owner::run(driven, &inbox, clock, &own);
    thread::start(name, router.end.clone(), work).map(drop).map_err(failed)
}
