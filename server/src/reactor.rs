//! Drives one owner of connections on one thread: a current-thread runtime, a task per connection, a mailbox.

use crate::clock::Clock;
use crate::connection::{Outbox, Sent};
use crate::inbox::{Arriving, Inbox};
use crate::links::OwnLinks;
use crate::patience::Patience;
use crate::router::{Accepted, Router, ToReactor};
use base::{Instant, Now};
use broker::loggers::NETWORK;
use broker::{ConnId, Effects, Input, Mail, Owner, Reactor};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Sender, UnboundedReceiver};

/// Bytes that may wait on one connection before its requests are no longer read.
const OUTBOX_BYTES_MAX: u64 = 64 << 20;

/// An owner of connections as its shell sees it.
pub(crate) trait Core: 'static {
    fn owner(&self) -> Owner;
    fn start(&mut self, now: Now, fx: &mut Effects);
    fn handle(&mut self, now: Now, input: Input, fx: &mut Effects);
    /// Whether more requests of a connection are taken.
    fn may_read(&self, conn: ConnId) -> bool;
    /// How many requests of a connection wait for their replies.
    fn in_flight(&self, conn: ConnId) -> usize;
    /// Whether it is a connection of another node.
    fn is_peer(&self, conn: ConnId) -> bool;
    /// All effects so far are carried out.
    fn note_done(&mut self, now: impl FnOnce() -> Instant);
    /// True once it wants to be driven no further.
    fn is_over(&self) -> bool;
}

impl Core for Reactor {
    fn owner(&self) -> Owner {
        Owner::Reactor(self.id())
    }
    fn start(&mut self, _now: Now, _fx: &mut Effects) {}
    fn handle(&mut self, now: Now, input: Input, fx: &mut Effects) {
        Self::handle(self, now, input, fx);
    }
    fn may_read(&self, conn: ConnId) -> bool {
        Self::may_read(self, conn)
    }
    fn in_flight(&self, conn: ConnId) -> usize {
        Self::in_flight(self, conn)
    }
    fn is_peer(&self, conn: ConnId) -> bool {
        Self::is_peer(self, conn)
    }
    fn note_done(&mut self, now: impl FnOnce() -> Instant) {
        Self::note_done(self, now);
    }
    fn is_over(&self) -> bool {
        false
    }
}

/// Limits that the shell enforces.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) frame_bytes_max: usize,
    pub(crate) arriving: Arriving,
    pub(crate) idle_max: Option<Duration>,
}

/// A connection as the shell sees it.
#[derive(Default)]
struct Handle {
    outbox: RefCell<Outbox>,
    wake: Notify,
    closing: RefCell<bool>,
}

struct Shell<C> {
    core: RefCell<C>,
    links: RefCell<OwnLinks>,
    connections: RefCell<BTreeMap<ConnId, Rc<Handle>>>,
    router: Router,
    clock: Clock,
    limits: Limits,
    wake_at: RefCell<Option<Instant>>,
    timer: Notify,
    /// Once no more is asked.
    draining: Cell<bool>,
    /// Dropped once all is answered.
    drained: RefCell<Option<Sender<()>>>,
    over: Notify,
}

/// Runs an owner of connections until it is over.
pub(crate) fn run<C: Core>(
    core: C,
    mailbox: UnboundedReceiver<ToReactor>,
    router: Router,
    clock: Clock,
    limits: Limits,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let shell = Rc::new(Shell {
        core: RefCell::new(core),
        links: RefCell::default(),
        connections: RefCell::default(),
        router,
        clock,
        limits,
        wake_at: RefCell::default(),
        timer: Notify::new(),
        draining: Cell::default(),
        drained: RefCell::default(),
        over: Notify::new(),
    });
    let local = tokio::task::LocalSet::new();
    local.spawn_local(timer(shell.clone()));
    local.block_on(&runtime, async move {
        tokio::select! {
            () = receive(shell.clone(), mailbox) => {}
            () = shell.over.notified() => {}
        }
    });
    Ok(())
}

/// The mailbox: what came together is handled together and carried out once.
async fn receive<C: Core>(shell: Rc<Shell<C>>, mut mailbox: UnboundedReceiver<ToReactor>) {
    let mut effects = Effects::default();
    shell.core.borrow_mut().start(shell.clock.now(), &mut effects);
    shell.carry_out(effects);
    let mut next_connection = 0;
    let mut batch = Vec::new();
    while mailbox.recv_many(&mut batch, 256).await > 0 {
        let mut effects = Effects::default();
        for message in batch.drain(..) {
            match message {
                ToReactor::Input(input) => shell.handle(input, &mut effects),
                ToReactor::Connection(accepted) => {
                    next_connection += 1;
                    take_in(&shell, ConnId(next_connection), accepted, &mut effects);
                }
                ToReactor::Drain(done) => {
                    shell.draining.set(true);
                    *shell.drained.borrow_mut() = Some(done);
                }
            }
        }
        shell.carry_out(effects);
        shell.note_drained();
    }
}

/// Wakes the owner when it asked to be woken.
async fn timer<C: Core>(shell: Rc<Shell<C>>) {
    loop {
        let at = *shell.wake_at.borrow();
        match at {
            None => shell.timer.notified().await,
            Some(at) => {
                let sleep = tokio::time::sleep(shell.clock.until(at));
                tokio::select! {
                    () = sleep => {
                        *shell.wake_at.borrow_mut() = None;
                        shell.input(Input::Tick);
                    }
                    () = shell.timer.notified() => {}
                }
            }
        }
    }
}

fn take_in<C: Core>(shell: &Rc<Shell<C>>, conn: ConnId, accepted: Accepted, effects: &mut Effects) {
    let Accepted { stream, peer, listener, admitted } = accepted;
    let prepared = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
    let stream = match prepared.and_then(|()| TcpStream::from_std(stream)) {
        Ok(stream) => stream,
        Err(error) => {
            return tracing::warn!(target: NETWORK, %peer, %error, "a connection was lost as it came");
        }
    };
    let handle = Rc::new(Handle::default());
    shell.connections.borrow_mut().insert(conn, handle.clone());
    tracing::debug!(target: NETWORK, %peer, "a client has connected");
    shell.handle(Input::Connected { conn, peer: peer.ip().to_string(), listener }, effects);
    let shell = shell.clone();
    tokio::task::spawn_local(async move {
        let ended = serve(&shell, conn, &handle, &stream).await;
        if let Err(error) = ended
            && !matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        {
            tracing::debug!(target: NETWORK, %error, "a connection ended");
        }
        drop(admitted);
        shell.connections.borrow_mut().remove(&conn);
        shell.input(Input::Closed { conn });
        shell.note_drained();
    });
}

/// Reads frames and sends replies until either side closes.
async fn serve<C: Core>(
    shell: &Rc<Shell<C>>,
    conn: ConnId,
    handle: &Handle,
    stream: &TcpStream,
) -> io::Result<()> {
    let mut inbox = Inbox::new(shell.limits.frame_bytes_max, shell.limits.arriving.clone());
    let mut patience = Patience::new(shell.limits.idle_max);
    loop {
        let sent = handle.outbox.borrow_mut().send(stream)?;
        if *handle.closing.borrow() && sent == Sent::All {
            return Ok(());
        }
        if sent == Sent::All {
            shell.note_drained();
        }
        if sent == Sent::Some {
            // The turn is over: let others have theirs, then go on.
            tokio::task::yield_now().await;
            continue;
        }
        let needs = inbox.needs();
        let reads = needs.is_none() && shell.may_read(conn, handle);
        tokio::select! {
            biased;
            () = handle.wake.notified() => {}
            ready = stream.writable(), if sent == Sent::Blocked => ready?,
            leave = shell.limits.arriving.leave(needs.unwrap_or(0)), if needs.is_some() => inbox.take(leave),
            ready = stream.readable(), if reads => {
                ready?;
                if !read(shell, conn, stream, &mut inbox)? {
                    return Ok(());
                }
                patience.note_activity(!inbox.is_empty());
            }
            over = patience.wait() => {
                inbox.release();
                let waits_for_us = !reads || sent != Sent::All || !shell.is_quiet(conn);
                if over && !waits_for_us {
                    return Ok(());
                }
            }
        }
    }
}

/// Reads what is there and hands on all whole frames. False when the peer has closed or must be closed.
fn read<C: Core>(
    shell: &Rc<Shell<C>>,
    conn: ConnId,
    stream: &TcpStream,
    inbox: &mut Inbox,
) -> io::Result<bool> {
    match inbox.read(stream) {
        Ok(0) => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
        Err(error) => return Err(error),
    }
    let mut effects = Effects::default();
    let mut alive = true;
    loop {
        match inbox.next_frame() {
            Ok(Some(frame)) => shell.handle(Input::Frame { conn, frame }, &mut effects),
            Ok(None) => break,
            Err(error) => {
                let peer = stream.peer_addr();
                tracing::warn!(target: NETWORK, ?peer, %error, "closing a connection that sends no Kafka frames");
                alive = false;
                break;
            }
        }
    }
    shell.carry_out(effects);
    Ok(alive)
}

impl<C: Core> Shell<C> {
    fn input(&self, input: Input) {
        let mut effects = Effects::default();
        self.handle(input, &mut effects);
        self.carry_out(effects);
    }

    fn handle(&self, input: Input, effects: &mut Effects) {
        if self.links.borrow_mut().admit(&input) {
            self.core.borrow_mut().handle(self.clock.now(), input, effects);
        }
    }

    fn may_read(&self, conn: ConnId, handle: &Handle) -> bool {
        !*handle.closing.borrow()
            && handle.outbox.borrow().bytes < OUTBOX_BYTES_MAX
            && !self.is_drained(conn)
            && self.core.borrow().may_read(conn)
    }

    /// While draining no more is asked; what is under way may need other nodes until it is answered.
    fn is_drained(&self, conn: ConnId) -> bool {
        self.draining.get() && !self.core.borrow().is_peer(conn)
    }

    /// True when no request of this connection waits for its reply.
    fn is_quiet(&self, conn: ConnId) -> bool {
        self.core.borrow().in_flight(conn) == 0
    }

    fn carry_out(&self, effects: Effects) {
        let own = self.core.borrow().owner();
        let mut queue = VecDeque::from([effects]);
        while let Some(mut effects) = queue.pop_front() {
            self.links.borrow_mut().note(&effects);
            self.router.links(own, &mut effects);
            for job in effects.jobs {
                self.router.job(own, job);
            }
            let mut more = Effects::default();
            for (owner, mail) in effects.mail {
                self.deliver(own, owner, mail, &mut more);
            }
            queue.push_back(more);
            for (conn, reply) in effects.replies {
                self.with_connection(conn, |handle| handle.outbox.borrow_mut().push(reply));
            }
            for conn in effects.close {
                self.with_connection(conn, |handle| *handle.closing.borrow_mut() = true);
            }
            crate::owner::log(own, &effects.log);
            self.note_wake(effects.wake_at);
            if let Some(reason) = effects.fatal {
                self.router.fatal(reason);
            }
            queue.retain(|effects| !effects.is_empty());
        }
        self.core.borrow_mut().note_done(|| self.clock.now().mono);
        if self.core.borrow().is_over() {
            self.over.notify_one();
        }
    }

    fn deliver(&self, own: Owner, owner: Owner, mail: Mail, more: &mut Effects) {
        if owner == own {
            self.core.borrow_mut().handle(self.clock.now(), Input::Mail(mail), more);
        } else {
            self.router.mail(owner, mail);
        }
    }

    fn with_connection(&self, conn: ConnId, act: impl FnOnce(&Handle)) {
        if let Some(handle) = self.connections.borrow().get(&conn) {
            act(handle);
            handle.wake.notify_one();
        }
    }

    fn note_wake(&self, wake_at: Option<Instant>) {
        let mut current = self.wake_at.borrow_mut();
        if let Some(at) = wake_at
            && current.is_none_or(|old| at < old)
        {
            *current = Some(at);
            self.timer.notify_one();
        }
    }

    /// While draining: says so once every connection has its replies.
    fn note_drained(&self) {
        if self.drained.borrow().is_none() {
            return;
        }
        let quiet = |(conn, handle): (&ConnId, &Rc<Handle>)| {
            self.core.borrow().is_peer(*conn) || (handle.outbox.borrow().is_empty() && self.is_quiet(*conn))
        };
        if self.connections.borrow().iter().all(quiet) {
            // Dropping the sender is the signal.
            self.drained.borrow_mut().take();
        }
    }
}
