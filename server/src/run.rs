//! A node's life: open, serve, drain, end.

use crate::admission::{Admission, Pace};
use crate::clock::{Clock, entropy};
use crate::inbox::Arriving;
use crate::logging::Logging;
use crate::reactor::Limits;
use crate::router::{End, Router, ToReactor};
use crate::{http, listen, owner, reactor, router, settings, thread};
use base::Span;
use broker::loggers::{NETWORK, NODE};
use broker::{Boot, Booted};
use cluster::config::{NodeConfig, Overrides};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seglog::disk::RealDisk;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

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
    let config = settings::resolve(&options.settings).map_err(failed)?;
    raise_open_file_limit();
    let clock = Clock::new();
    let (listener, address) = open_listener(&config)?;
    let endpoint = listen::endpoint(&config, &config.listeners[0], address).map_err(ServerError)?;
    let http = options.http.as_ref().map(|(host, port)| listen::bind(host, *port, "--http")).transpose();
    let http = http.map_err(ServerError)?;
    let reactors = reactor_count();
    let boot = Boot {
        config: config.clone(),
        fixed: options.settings,
        disk: Arc::new(
            RealDisk::create_root(config.log_dir.as_ref())
                .map_err(|error| unusable_directory(&config, &error))?,
        ),
        directory: absolute(&config.log_dir),
        boot_id: boot_id(),
        endpoints: vec![endpoint.clone()],
        reactors,
        seed: entropy().map_err(failed)?,
    };
    let booted = broker::boot(boot, clock.now()).map_err(failed)?;
    booted.shared.loggers.start(options.logging.levels, Box::new(options.logging.filter));
    let mut node = Running::start(booted, clock, &config)?;
    let http_address = http.as_ref().map(|(_, address)| *address);
    if let Some((listener, _)) = http {
        let state = node.http_state();
        thread::start("http", node.router.clone(), move || {
            if let Err(error) = http::run(listener, state) {
                tracing::error!(target: NODE, %error, "the HTTP listener has ended");
            }
        })
        .map_err(failed)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let announced = Announced {
        kafka: format!("{}:{}", bracketed(&endpoint.host), endpoint.port),
        http: http_address,
        cluster_id: node.cluster_id.clone(),
        directory: absolute(&config.log_dir),
    };
    runtime.block_on(async move {
        node.until_serving().await?;
        (options.announce)(&announced);
        node.serve(listener, options.shutdown_timeout).await
    })
}

/// An IPv6 address needs brackets before a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn open_listener(config: &NodeConfig) -> Result<(TcpListener, SocketAddr), ServerError> {
    let [listener] = config.listeners.as_slice() else {
        return Err(ServerError("listeners: this version serves exactly one listener".into()));
    };
    listen::bind(&listener.host, listener.port, "--listen (listeners)").map_err(ServerError)
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

/// A node whose threads run.
struct Running {
    router: Router,
    end: UnboundedReceiver<End>,
    cluster_id: String,
    shared: Arc<broker::Shared>,
    view: Arc<Mutex<Arc<broker::View>>>,
    ready: Arc<AtomicBool>,
    clock: Clock,
}

impl Running {
    fn start(booted: Booted, clock: Clock, config: &NodeConfig) -> Result<Self, ServerError> {
        let Booted { shared, reactors, metadata, groups, replication, latest_view } = booted;
        let (end, end_box) = unbounded_channel();
        let (senders, boxes): (Vec<_>, Vec<_>) =
            reactors.iter().map(|_| unbounded_channel::<ToReactor>()).unzip();
        let (router, mailboxes) = router::new(senders, end);
        router::start_jobs(mailboxes.jobs, &shared, &router).map_err(failed)?;
        let idle_max = config.connections_idle_max.map(Span::as_nanos).map(Duration::from_nanos);
        let arriving = Arriving::new(config.queued_bytes_max);
        let limits = Limits { frame_bytes_max: config.request_bytes_max as usize, arriving, idle_max };
        for (core, mailbox) in reactors.into_iter().zip(boxes) {
            let (own, limits) = (router.clone(), limits.clone());
            let name = format!("reactor-{}", core.id());
            thread::start(&name, router.clone(), move || {
                if let Err(error) = reactor::run(core, mailbox, own.clone(), clock, limits) {
                    own.fatal(format!("a reactor could not start: {error}"));
                }
            })
            .map_err(failed)?;
        }
        let own = router.clone();
        let inbox = mailboxes.groups;
        thread::start("groups", router.clone(), move || owner::run(groups, &inbox, clock, &own))
            .map_err(failed)?;
        let own = router.clone();
        let inbox = mailboxes.replication;
        thread::start("replication", router.clone(), move || owner::run(replication, &inbox, clock, &own))
            .map_err(failed)?;
        let cluster_id = metadata.view().node.cluster_id.clone();
        let own = router.clone();
        let inbox = mailboxes.metadata;
        thread::start("metadata", router.clone(), move || owner::run(metadata, &inbox, clock, &own))
            .map_err(failed)?;
        let ready = Arc::new(AtomicBool::new(false));
        Ok(Self { router, end: end_box, cluster_id, shared, view: latest_view, ready, clock })
    }

    fn http_state(&self) -> http::State {
        http::State {
            shared: self.shared.clone(),
            router: self.router.clone(),
            ready: self.ready.clone(),
            view: self.view.clone(),
            clock: self.clock,
            window: Arc::default(),
        }
    }

    async fn until_serving(&mut self) -> Result<(), ServerError> {
        match self.end.recv().await {
            Some(End::Serving) => {
                self.ready.store(true, Ordering::Release);
                Ok(())
            }
            Some(End::Fatal(reason)) => Err(ServerError(reason)),
            None => Err(ServerError("all threads have ended".into())),
        }
    }

    /// Accepts until a signal comes, then drains.
    async fn serve(&mut self, listener: TcpListener, drain: Duration) -> Result<(), ServerError> {
        use tokio::signal::unix::{SignalKind, signal};
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut acceptor = Acceptor {
            router: self.router.clone(),
            admission: Admission::new(),
            pace: Pace::default(),
            view: self.view.clone(),
            clock: self.clock,
            next: 0,
        };
        loop {
            tokio::select! {
                accepted = listener.accept() => acceptor.accept(accepted).await,
                end = self.end.recv() => if let Some(End::Fatal(reason)) = end { return Err(ServerError(reason)) },
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        drop(listener);
        self.ready.store(false, Ordering::Release);
        tracing::info!(target: NODE, "draining: no new connections, requests under way are answered");
        tokio::select! {
            () = self.drain() => {}
            () = tokio::time::sleep(drain) => tracing::warn!(target: NODE, "the shutdown timeout is over: ending with requests under way"),
            _ = terminate.recv() => tracing::warn!(target: NODE, "a second signal: ending at once"),
            _ = interrupt.recv() => tracing::warn!(target: NODE, "a second signal: ending at once"),
        }
        Ok(())
    }

    async fn drain(&self) {
        let (done, mut all_done) = tokio::sync::mpsc::channel(1);
        for reactor in &self.router.reactors {
            // A reactor that is gone has nothing to drain.
            let _gone = reactor.send(ToReactor::Drain(done.clone()));
        }
        drop(done);
        // Every reactor drops its sender when it is done.
        let _closed = all_done.recv().await;
        broker::close(&self.shared, &self.view);
    }
}

/// Hands new connections to the reactors in turn.
struct Acceptor {
    router: Router,
    admission: Arc<Admission>,
    pace: Pace,
    view: Arc<Mutex<Arc<broker::View>>>,
    clock: Clock,
    next: usize,
}

impl Acceptor {
    async fn accept(&mut self, accepted: std::io::Result<(tokio::net::TcpStream, SocketAddr)>) {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: give others time to close theirs.
                tracing::warn!(target: NETWORK, %error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                return;
            }
        };
        let limits = self.view.lock().unwrap_or_else(PoisonError::into_inner).connection_limits();
        let limits = match limits {
            Ok(limits) => limits,
            Err(error) => return tracing::error!(target: NETWORK, %error, "no connection can be accepted"),
        };
        let since_start = Duration::from_nanos(self.clock.now().mono.as_nanos());
        let wait = self.pace.wait(since_start, limits.per_second_max);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let admitted = match self.admission.admit(peer.ip(), &limits) {
            Ok(admitted) => admitted,
            // Dropping the stream closes it.
            Err(reason) => return tracing::warn!(target: NETWORK, %peer, "a connection is refused: {reason}"),
        };
        self.next = (self.next + 1) % self.router.reactors.len();
        if let (Ok(stream), Some(reactor)) = (stream.into_std(), self.router.reactors.get(self.next)) {
            // A reactor that is gone ends the process by itself.
            let _gone = reactor.send(ToReactor::Connection(stream, peer, admitted));
        }
    }
}
