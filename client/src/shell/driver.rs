//! The task that drives a core: performs its effects, brings it inputs, lets its handles know.

use super::clock::Clock;
use crate::core::{Address, ConnectionId, Core, Effect, Input};
use base::{Instant, Now};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

/// Inputs that wait for the driver; more and the readers stop reading.
const INPUTS_MAX: usize = 64;
/// Room that a read offers to the socket.
const READ_BYTES: usize = 64 << 10;

/// A core with those who wait for it.
pub(crate) trait Driven: Core + Send + 'static {
    /// Who waits for what.
    type Waiters: Default + Send;

    /// Hands outcomes to those who wait for them.
    fn settle(&mut self, waiters: &mut Self::Waiters);
}

pub(crate) struct Shared<C: Driven> {
    inner: Mutex<Inner<C>>,
    clock: Clock,
    /// The driver should look again.
    kick: Notify,
    /// Something was settled.
    settled: Notify,
}

struct Inner<C: Driven> {
    core: C,
    waiters: C::Waiters,
    closed: bool,
    /// When the driver wakes by itself; `None` while it runs.
    scheduled: Option<Instant>,
}

/// What handles hold: the last one to go closes the client.
pub(crate) struct Driver<C: Driven> {
    shared: Arc<Shared<C>>,
}

impl<C: Driven> Driver<C> {
    /// Starts a task that drives `core`.
    pub(crate) fn spawn(core: C) -> Self {
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner { core, waiters: C::Waiters::default(), closed: false, scheduled: None }),
            clock: Clock::new(),
            kick: Notify::new(),
            settled: Notify::new(),
        });
        tokio::spawn(drive(Arc::clone(&shared)));
        Self { shared }
    }

    /// Runs `act` on the core and has the driver look at what came of it.
    pub(crate) fn act<T>(&self, act: impl FnOnce(&mut C, &mut C::Waiters, Now) -> T) -> T {
        let mut inner = self.shared.lock();
        let now = self.shared.clock.now();
        let Inner { core, waiters, .. } = &mut *inner;
        let outcome = act(core, waiters, now);
        drop(inner);
        self.shared.kick.notify_one();
        outcome
    }

    /// As [`Driver::act`], but wakes the driver only if the core wants it earlier than planned: for what is
    /// called often and leaves effects to the next tick.
    pub(crate) fn act_lazily<T>(&self, act: impl FnOnce(&mut C, &mut C::Waiters, Now) -> T) -> T {
        let mut inner = self.shared.lock();
        let now = self.shared.clock.now();
        let Inner { core, waiters, .. } = &mut *inner;
        let outcome = act(core, waiters, now);
        let wanted = inner.core.wake_at();
        let earlier = wanted.is_some_and(|at| inner.scheduled.is_none_or(|planned| at < planned));
        if earlier {
            inner.scheduled = wanted;
        }
        drop(inner);
        if earlier {
            self.shared.kick.notify_one();
        }
        outcome
    }

    /// Until `ask` has an answer; it is asked again whenever something was settled.
    pub(crate) async fn wait<T>(&self, mut ask: impl FnMut(&mut C, &mut C::Waiters, Now) -> Option<T>) -> T {
        loop {
            let mut settled = std::pin::pin!(self.shared.settled.notified());
            // Registered before asking, so that nothing settled in between is missed.
            settled.as_mut().enable();
            // Lazily: the driver settles when it looks, and would be woken by every question again.
            if let Some(answer) = self.act_lazily(&mut ask) {
                return answer;
            }
            settled.await;
        }
    }
}

impl<C: Driven> Drop for Driver<C> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.kick.notify_one();
    }
}

impl<C: Driven> Shared<C> {
    /// A core that panicked is no reason to panic in every handle as well; it keeps what state it had.
    fn lock(&self) -> MutexGuard<'_, Inner<C>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn drive<C: Driven>(shared: Arc<Shared<C>>) {
    let (inputs, mut arrivals) = mpsc::channel(INPUTS_MAX);
    let mut sockets = Sockets { inputs, open: HashMap::new() };
    loop {
        let Some(wake_at) = shared.perform(&mut sockets) else { return };
        let deadline = wake_at.map(|at| shared.clock.deadline(at));
        let input = tokio::select! {
            arrived = arrivals.recv() => arrived.unwrap_or(Input::Tick),
            () = shared.kick.notified() => Input::Tick,
            () = until(deadline) => Input::Tick,
        };
        shared.take(input);
        while let Ok(input) = arrivals.try_recv() {
            shared.take(input);
        }
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl<C: Driven> Shared<C> {
    fn take(&self, input: Input) {
        let mut inner = self.lock();
        inner.scheduled = None;
        inner.core.handle(self.clock.now(), input);
    }

    /// Performs what the core wants and returns when it wants to be woken; `None` once the client is closed.
    fn perform(&self, sockets: &mut Sockets) -> Option<Option<Instant>> {
        let mut inner = self.lock();
        let Inner { core, waiters, closed, scheduled } = &mut *inner;
        core.settle(waiters);
        while let Some(effect) = core.poll_effect() {
            sockets.perform(effect);
        }
        let wake_at = core.wake_at();
        *scheduled = Some(wake_at.unwrap_or(Instant::from_nanos(u64::MAX)));
        let closed = *closed;
        drop(inner);
        self.settled.notify_waiters();
        if closed {
            sockets.close_all();
            return None;
        }
        Some(wake_at)
    }
}

struct Sockets {
    inputs: mpsc::Sender<Input>,
    open: HashMap<ConnectionId, Socket>,
}

struct Socket {
    /// Bounded by the core: requests in flight per connection, bytes per request.
    outbox: mpsc::UnboundedSender<Bytes>,
    task: AbortHandle,
}

impl Sockets {
    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Dial(id, address) => {
                let (outbox, bytes) = mpsc::unbounded_channel();
                let task = tokio::spawn(connection(id, address, bytes, self.inputs.clone())).abort_handle();
                self.open.insert(id, Socket { outbox, task });
            }
            Effect::Write(id, bytes) => {
                if let Some(socket) = self.open.get(&id) {
                    // A socket whose task has ended has told so already.
                    let _gone = socket.outbox.send(bytes);
                }
            }
            Effect::Close(id) => {
                if let Some(socket) = self.open.remove(&id) {
                    socket.task.abort();
                }
            }
        }
        self.open.retain(|_, socket| !socket.outbox.is_closed());
    }

    fn close_all(&mut self) {
        // What was written last (a LeaveGroup, say) is still sent: the tasks end when their outboxes do.
        self.open.clear();
    }
}

async fn connection(
    id: ConnectionId,
    address: Address,
    outbox: mpsc::UnboundedReceiver<Bytes>,
    inputs: mpsc::Sender<Input>,
) {
    let reason = match TcpStream::connect((address.host.as_str(), address.port)).await {
        Ok(stream) => {
            // Small requests must not wait for each other; where this fails they only get slower.
            let _slower = stream.set_nodelay(true);
            let _closed = inputs.send(Input::Connected(id)).await;
            let (reader, writer) = stream.into_split();
            tokio::select! {
                reason = read(id, reader, &inputs) => reason,
                reason = write(writer, outbox) => reason,
            }
        }
        Err(error) => error.to_string(),
    };
    let _closed = inputs.send(Input::Closed(id, reason)).await;
}

async fn read(id: ConnectionId, mut reader: OwnedReadHalf, inputs: &mpsc::Sender<Input>) -> String {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_BYTES);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return "the broker closed the connection".to_owned(),
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
        if inputs.send(Input::Received(id, buffer.split().freeze())).await.is_err() {
            return "the client was closed".to_owned();
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut outbox: mpsc::UnboundedReceiver<Bytes>) -> String {
    while let Some(bytes) = outbox.recv().await {
        if let Err(error) = writer.write_all(&bytes).await {
            return error.to_string();
        }
    }
    "the client was closed".to_owned()
}
