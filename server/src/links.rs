//! Connections that this node opens to others: dialled, written and read on one thread.
//!
//! An owner names a link and says what to send over it; it hears that the link is there, what comes over it, and that it
//! is gone. Whom to call, who is at the other end and when to try again is not decided here.

use crate::connection::{Outbox, Sent};
use crate::inbox::{Arriving, Inbox};
use crate::router::{End, Owners};
use crate::thread;
use broker::loggers::NETWORK;
use broker::{Dial, Down, Effects, Input, LinkId, Owner, Reply};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};
use tokio::time::timeout;

/// How long finding out a name's addresses may take.
const RESOLVE_MAX: Duration = Duration::from_secs(2);
/// How long one address may take to answer.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// How long what was sent may stay unconfirmed before the kernel gives the link up.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(5);
/// Bytes that may wait on one link. A peer that takes nothing for so long is as good as gone.
const OUTBOX_BYTES_MAX: u64 = 64 << 20;
/// Turns that the links have once nobody can want anything any more.
const LAST_TURNS: usize = 4;

/// What one owner wants done with its links.
#[derive(Debug)]
pub(crate) struct ToLinks {
    owner: Owner,
    dials: Vec<Dial>,
    sends: Vec<(LinkId, Bytes)>,
    hang_ups: Vec<LinkId>,
}

impl ToLinks {
    /// Takes it out of the owner's effects; `None` if nothing is wanted.
    pub(crate) fn take(owner: Owner, fx: &mut Effects) -> Option<Self> {
        if fx.dials.is_empty() && fx.sends.is_empty() && fx.hang_ups.is_empty() {
            return None;
        }
        Some(Self {
            owner,
            dials: std::mem::take(&mut fx.dials),
            sends: std::mem::take(&mut fx.sends),
            hang_ups: std::mem::take(&mut fx.hang_ups),
        })
    }
}

/// The links that an owner has, as its own thread knows them: what was under way when it hung up does not reach it.
#[derive(Debug, Default)]
pub(crate) struct OwnLinks(BTreeSet<LinkId>);

impl OwnLinks {
    /// The owner has said what it wants.
    pub(crate) fn note(&mut self, fx: &Effects) {
        self.0.extend(fx.dials.iter().map(|dial| dial.link));
        for link in &fx.hang_ups {
            self.0.remove(link);
        }
    }

    /// False for news of a link that the owner does not have any more.
    pub(crate) fn admit(&mut self, input: &Input) -> bool {
        match input {
            Input::Linked { link } | Input::LinkFrame { link, .. } => self.0.contains(link),
            Input::LinkDown { link, .. } => self.0.remove(link),
            Input::Connected { .. }
            | Input::Frame { .. }
            | Input::Closed { .. }
            | Input::Mail(_)
            | Input::JobDone(_)
            | Input::Tick => true,
        }
    }
}

type Key = (Owner, LinkId);

/// A link as its task and its owner's wishes share it.
#[derive(Default)]
struct Line {
    outbox: RefCell<Outbox>,
    wake: Notify,
    is_there: Cell<bool>,
}

/// A link and the task that lives it.
type Living = (Rc<Line>, JoinHandle<()>);

struct Links {
    lines: RefCell<HashMap<Key, Living>>,
    owners: Owners,
    frame_bytes_max: usize,
}

/// Starts the thread of the links. It ends when nobody can want anything any more.
pub(crate) fn start(
    wanted: UnboundedReceiver<ToLinks>,
    owners: Owners,
    frame_bytes_max: usize,
    end: UnboundedSender<End>,
) -> io::Result<std::thread::JoinHandle<()>> {
    let fatal = end.clone();
    thread::start("links", end, move || {
        if let Err(error) = run(wanted, owners, frame_bytes_max) {
            // Nobody listens any more only when the process is ending already.
            let _ending = fatal.send(End::Fatal(format!("the links could not start: {error}")));
        }
    })
}

/// Carries out what owners want of their links, until nobody can want anything any more.
fn run(wanted: UnboundedReceiver<ToLinks>, owners: Owners, frame_bytes_max: usize) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let links = Rc::new(Links { lines: RefCell::default(), owners, frame_bytes_max });
    LocalSet::new().block_on(&runtime, receive(links, wanted));
    // A name that is still being looked up must not hold up anybody.
    runtime.shutdown_background();
    Ok(())
}

async fn receive(links: Rc<Links>, mut wanted: UnboundedReceiver<ToLinks>) {
    while let Some(ToLinks { owner, dials, sends, hang_ups }) = wanted.recv().await {
        for dial in dials {
            links.dial(owner, dial);
        }
        for (link, frame) in sends {
            links.send((owner, link), frame);
        }
        for link in hang_ups {
            links.end((owner, link));
        }
    }
    // What was said last still leaves, as far as the sockets take it.
    for _ in 0..LAST_TURNS {
        yield_now().await;
    }
}

impl Links {
    fn dial(self: &Rc<Self>, owner: Owner, dial: Dial) {
        let (key, line) = ((owner, dial.link), Rc::<Line>::default());
        let task = spawn_local(live(self.clone(), key, dial, line.clone()));
        self.lines.borrow_mut().insert(key, (line, task));
    }

    fn send(&self, key: Key, frame: Bytes) {
        let line = self.lines.borrow().get(&key).map(|(line, _)| line.clone());
        let Some(line) = line.filter(|line| line.is_there.get()) else { return };
        let waits = line.outbox.borrow().bytes;
        if waits + frame.len() as u64 > OUTBOX_BYTES_MAX {
            tracing::warn!(target: NETWORK, owner = ?key.0, "a peer takes nothing any more: {waits} bytes wait for it");
            self.end(key);
            self.tell(key, Down::Lost);
            return;
        }
        line.outbox.borrow_mut().push(Reply::bytes(frame));
        line.wake.notify_one();
    }

    /// The task is not polled any more: nothing of this link is delivered from here on.
    fn end(&self, key: Key) {
        if let Some((_, task)) = self.lines.borrow_mut().remove(&key) {
            task.abort();
        }
    }

    fn tell(&self, (owner, link): Key, why: Down) {
        self.owners.deliver(owner, Input::LinkDown { link, why });
    }
}

/// A link's life.
async fn live(links: Rc<Links>, key: Key, dial: Dial, line: Rc<Line>) {
    let why = match connect(&dial.host, dial.port).await {
        Ok(stream) => {
            line.is_there.set(true);
            links.owners.deliver(key.0, Input::Linked { link: key.1 });
            if let Err(error) = talk(&links, key, &line, &stream).await {
                tracing::debug!(target: NETWORK, host = dial.host, port = dial.port, %error, "a link has ended");
            }
            Down::Lost
        }
        Err(why) => why,
    };
    links.lines.borrow_mut().remove(&key);
    links.tell(key, why);
}

/// Tries every address of the host. Only if all of them refuse is nobody there.
async fn connect(host: &str, port: u16) -> Result<TcpStream, Down> {
    let found = timeout(RESOLVE_MAX, lookup_host((host, port))).await;
    let addresses = found.map_err(|_| Down::Lost)?.map_err(|_| Down::Lost)?;
    let (mut refused, mut other) = (false, false);
    for address in addresses {
        match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => match prepare(&stream) {
                // An address of this machine where nobody listens can be met by the connection's own beginning.
                Ok(true) => refused = true,
                Ok(false) => return Ok(stream),
                Err(_) => other = true,
            },
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => refused = true,
            Ok(Err(_)) | Err(_) => other = true,
        }
    }
    Err(if refused && !other { Down::Refused } else { Down::Lost })
}

/// True if the other end is this one.
fn prepare(stream: &TcpStream) -> io::Result<bool> {
    stream.set_nodelay(true)?;
    let millis = u32::try_from(UNCONFIRMED_MAX.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(stream, millis)?;
    Ok(stream.local_addr()? == stream.peer_addr()?)
}

/// Writes and reads until either side closes.
async fn talk(links: &Links, key: Key, line: &Line, stream: &TcpStream) -> io::Result<()> {
    let mut inbox = Inbox::new(links.frame_bytes_max, Arriving::new(None));
    loop {
        let sent = line.outbox.borrow_mut().send(stream)?;
        if sent == Sent::Some {
            // The turn is over: let others have theirs, then go on.
            yield_now().await;
        }
        tokio::select! {
            () = line.wake.notified() => {}
            () = std::future::ready(()), if sent == Sent::Some => {}
            ready = stream.writable(), if sent == Sent::Blocked => ready?,
            ready = stream.readable() => {
                ready?;
                if !read(links, key, stream, &mut inbox)? {
                    return Ok(());
                }
            }
        }
    }
}

/// Reads what is there and hands on all whole frames. False when the peer has closed.
fn read(links: &Links, (owner, link): Key, stream: &TcpStream, inbox: &mut Inbox) -> io::Result<bool> {
    match inbox.read(stream) {
        Ok(0) => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
        Err(error) => return Err(error),
    }
    while let Some(frame) = inbox.next_frame().map_err(io::Error::other)? {
        links.owners.deliver(owner, Input::LinkFrame { link, frame });
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
