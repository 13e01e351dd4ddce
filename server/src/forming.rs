//! A node that belongs to no cluster yet: other nodes are listened to and called, clients are not served.

use crate::accept::{Acceptor, LimitsNow};
use crate::clock::Clock;
use crate::links;
use crate::listen::Listening;
use crate::reactor::{self, Core, Limits};
use crate::router::{End, Mailbox, Owners, Router, ToReactor};
use crate::thread;
use base::{Instant, Now};
use broker::loggers::NODE;
use broker::{ConnId, Effects, Founding, Input, Owner};
use std::io;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// When people are first told whom the node waits for: nodes that are started together need not be told of.
const PROGRESS_FIRST: Duration = Duration::from_secs(1);
/// How often they are told from then on.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// What becomes known of a node on its way into a cluster.
type Awaited = Arc<Mutex<Vec<String>>>;

/// A node on its way into a cluster, as a shell of connections drives it.
struct Driven {
    founding: Box<Founding>,
    awaited: Awaited,
}

impl Core for Driven {
    fn owner(&self) -> Owner {
        Owner::Metadata
    }
    fn start(&mut self, now: Now, fx: &mut Effects) {
        self.founding.start(now, fx);
    }
    fn handle(&mut self, now: Now, input: Input, fx: &mut Effects) {
        self.founding.handle(now, input, fx);
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner) = self.founding.waits_for();
    }
    fn may_read(&self, _conn: ConnId) -> bool {
        true
    }
    fn in_flight(&self, _conn: ConnId) -> usize {
        0
    }
    fn is_peer(&self, _conn: ConnId) -> bool {
        true
    }
    fn note_done(&mut self, _now: impl FnOnce() -> Instant) {}
    fn is_over(&self) -> bool {
        self.founding.is_done()
    }
}

/// The threads of a node on its way into a cluster.
pub(crate) struct Forming {
    accepting: JoinSet<()>,
    threads: Vec<JoinHandle<()>>,
    /// Hears nothing but that its other end is gone.
    over: oneshot::Receiver<()>,
    awaited: Awaited,
}

impl Forming {
    /// Starts them. Only other nodes are listened to.
    pub(crate) fn start(
        founding: Box<Founding>,
        peers: &Listening,
        limits: (Limits, LimitsNow),
        clock: Clock,
        end: UnboundedSender<End>,
    ) -> io::Result<Self> {
        let (limits, limits_now) = limits;
        let (shell, mailbox) = unbounded_channel();
        let (router, wanted) = route(&shell, end.clone());
        let acceptor = Acceptor::new(vec![shell], limits_now, clock);
        let mut accepting = JoinSet::new();
        acceptor.accept_on([peers], &mut accepting)?;
        let (tell_over, over) = oneshot::channel();
        let awaited = Awaited::default();
        let driven = Driven { founding, awaited: awaited.clone() };
        let frame_bytes_max = limits.frame_bytes_max;
        let owners = router.owners.clone();
        let work = move || {
            if let Err(error) = reactor::run(driven, mailbox, router.clone(), clock, limits) {
                router.fatal(format!("the thread that forms a cluster could not start: {error}"));
            }
            drop(tell_over);
        };
        let forming = thread::start("forming", end.clone(), work)?;
        let links = links::start(wanted, owners, frame_bytes_max, end)?;
        Ok(Self { accepting, threads: vec![forming, links], over, awaited })
    }

    /// Until the node belongs to a cluster: then nothing of this is left. Tells people meanwhile.
    pub(crate) async fn wait(&mut self) {
        let first = tokio::time::Instant::now() + PROGRESS_FIRST;
        let mut progress = tokio::time::interval_at(first, PROGRESS_EVERY);
        loop {
            tokio::select! {
                // The other end is dropped when it is done.
                _over = &mut self.over => break,
                _ = progress.tick() => self.tell(),
            }
        }
        self.accepting.shutdown().await;
        for thread in self.threads.drain(..) {
            // A panic has ended the process already.
            let _panicked = thread.join();
        }
    }

    fn tell(&self) {
        let awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner).join(", ");
        if !awaited.is_empty() {
            tracing::info!(target: NODE, "not in a cluster yet: waiting for {awaited}");
        }
    }
}

/// All that such a node says to its owners goes to the one shell that it has.
fn route(
    shell: &UnboundedSender<ToReactor>,
    end: UnboundedSender<End>,
) -> (Router, UnboundedReceiver<links::ToLinks>) {
    let (links, wanted) = unbounded_channel();
    let mailbox = || Mailbox::Shell(shell.clone());
    let owners =
        Owners { reactors: Vec::new(), metadata: mailbox(), groups: mailbox(), replication: mailbox() };
    // It starts no jobs: what it writes it waits for.
    let (jobs, _nobody) = channel();
    (Router { owners, jobs, links, end }, wanted)
}
