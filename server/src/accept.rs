//! Accepts connections: a task per listener, the same bounds for all of them.

use crate::admission::{Admission, Pace};
use crate::clock::Clock;
use crate::listen::Listening;
use crate::router::{Accepted, ToReactor};
use broker::loggers::NETWORK;
use cluster::config::{ConfigError, ConnectionLimits};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

/// What bounds connections at the moment.
pub(crate) type LimitsNow = Box<dyn Fn() -> Result<ConnectionLimits, ConfigError> + Send + Sync>;

/// What bounds connections of nodes.
const NO_LIMITS: ConnectionLimits = ConnectionLimits {
    max: u32::MAX,
    per_ip_max: u32::MAX,
    per_ip: BTreeMap::new(),
    per_second_max: u32::MAX,
};

/// Hands new connections to the reactors in turn.
pub(crate) struct Acceptor {
    reactors: Vec<UnboundedSender<ToReactor>>,
    admission: Arc<Admission>,
    pace: Mutex<Pace>,
    limits: LimitsNow,
    clock: Clock,
    next: AtomicUsize,
}

impl Acceptor {
    pub(crate) fn new(
        reactors: Vec<UnboundedSender<ToReactor>>,
        limits: LimitsNow,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new(Self {
            reactors,
            admission: Admission::new(),
            pace: Mutex::default(),
            limits,
            clock,
            next: AtomicUsize::new(0),
        })
    }

    /// Accepts on all these listeners, by tasks of this set.
    pub(crate) fn accept_on<'a>(
        self: &Arc<Self>,
        listeners: impl IntoIterator<Item = &'a Listening>,
        tasks: &mut JoinSet<()>,
    ) -> io::Result<()> {
        for listening in listeners {
            let socket = TcpListener::from_std(listening.socket.try_clone()?)?;
            let (name, for_nodes) = (listening.name.clone(), listening.for_nodes);
            tasks.spawn(self.clone().run(socket, name, for_nodes));
        }
        Ok(())
    }

    async fn run(self: Arc<Self>, socket: TcpListener, listener: Arc<str>, for_nodes: bool) {
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => self.take(stream, peer, &listener, for_nodes).await,
                Err(error) => {
                    // Out of descriptors, most likely: give others time to close theirs.
                    tracing::warn!(target: NETWORK, %error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn take(&self, stream: TcpStream, peer: SocketAddr, listener: &Arc<str>, for_nodes: bool) {
        // Clients, however many they are, must not keep nodes apart.
        let limits = if for_nodes { Ok(NO_LIMITS) } else { (self.limits)() };
        let limits = match limits {
            Ok(limits) => limits,
            Err(error) => return tracing::error!(target: NETWORK, %error, "no connection can be accepted"),
        };
        let wait = self.wait(limits.per_second_max);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let admitted = match self.admission.admit(peer.ip(), &limits) {
            Ok(admitted) => admitted,
            // Dropping the stream closes it.
            Err(reason) => return tracing::warn!(target: NETWORK, %peer, "a connection is refused: {reason}"),
        };
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.reactors.len().max(1);
        if let (Ok(stream), Some(reactor)) = (stream.into_std(), self.reactors.get(turn)) {
            let accepted = Accepted { stream, peer, listener: listener.clone(), admitted };
            // A reactor that is gone ends the process by itself.
            let _gone = reactor.send(ToReactor::Connection(accepted));
        }
    }

    /// How long the connection that comes now waits for its turn.
    fn wait(&self, per_second_max: u32) -> Duration {
        if per_second_max == u32::MAX {
            return Duration::ZERO;
        }
        let since_start = Duration::from_nanos(self.clock.now().mono.as_nanos());
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).wait(since_start, per_second_max)
    }
}
