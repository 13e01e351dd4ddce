//! What goes into an owner and what comes out: inputs, effects, mail, replies.
//!
//! An *owner* is a piece of the node that one thread drives: each reactor, the metadata owner, the groups
//! owner. Owners share nothing but partitions (each behind its own leaf lock) and immutable views; everything
//! else travels as [`Mail`]. The shell carries effects out; the simulator is another shell.

use crate::groups::Teller;
use crate::job::{Job, JobDone};
use crate::peer::Identity;
use crate::replica::Replica;
use crate::view::View;
use base::{BrokerId, Instant};
use bytes::Bytes;
use cluster::controller::Command;
use seglog::disk::DiskFile;
use std::sync::Arc;
use wire::RequestHead;

/// A connection, unique within its reactor for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A connection that this node opens to another one, unique within its owner for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A connection to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// What it is called from now on.
    pub link: LinkId,
    /// A host name or address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Why a link is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// The machine lives and nobody listens there: the process is dead.
    Refused,
    /// It could not be opened for another reason, or has ended.
    Lost,
}

/// A piece of the node that one thread drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Owns connections.
    Reactor(u16),
    /// Owns the quorum, the controller and the image.
    Metadata,
    /// Owns the group coordinators.
    Groups,
    /// Owns what this node follows of others, and what its followers are asked to be.
    Replication,
}

/// Names a request that waits for its reply: answered exactly once, or never if the connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The reactor that owns the connection.
    pub reactor: u16,
    /// The connection.
    pub conn: ConnId,
    /// The request's place in the order of its connection.
    pub slot: u64,
}

/// A request on its way to the owner of its state, still encoded: who owns it decodes it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whom to answer.
    pub token: Token,
    /// The request's header.
    pub head: RequestHead,
    /// The client's address.
    pub peer: Arc<str>,
    /// The name of the listener that it came in by.
    pub listener: Arc<str>,
    /// The node at the other end of the connection, if it is one and has greeted.
    pub node: Option<BrokerId>,
    /// The header of the envelope that another node put around a client's request.
    pub envelope: Option<Box<RequestHead>>,
    /// What follows the header.
    pub body: Bytes,
}

impl Asked {
    /// What a reply needs. Nothing of it shares the request's memory, which the connection can use again at once.
    pub(crate) fn without_body(self) -> Self {
        let head = RequestHead { client_id: None, ..self.head };
        Self { head, body: Bytes::new(), ..self }
    }
}

/// What one owner tells another. Bounded by the requests in flight and the partitions that exist.
#[derive(Debug)]
pub enum Mail {
    /// A request for the receiver's state.
    Asked(Asked),
    /// The receiver asked the controller for something itself; the reply comes back as [`Mail::Controlled`].
    Control {
        /// Whom to tell when it is done.
        from: Owner,
        /// The receiver's own name for it.
        ticket: u64,
        /// What is wanted.
        command: Command,
    },
    /// What the controller answered to [`Mail::Control`].
    Controlled {
        /// The asker's name for it.
        ticket: u64,
        /// The answer.
        reply: cluster::controller::Reply,
    },
    /// An encoded reply for a waiting request.
    Reply {
        /// Whose.
        token: Token,
        /// The frame.
        reply: Reply,
    },
    /// The request was malformed: its connection must go.
    Refused {
        /// Whose.
        token: Token,
        /// For the log.
        reason: String,
    },
    /// The metadata or the set of local partitions changed.
    View(Arc<View>),
    /// A partition's high watermark passed what a waiter waits for.
    Safe {
        /// The waiter's own name for what waits.
        ticket: u64,
        /// Which of its partitions.
        part: u32,
        /// False when the partition can no longer promise it: it lost leadership or its disk.
        kept: bool,
    },
    /// The process is about to end: the node lets others lead first.
    Leave,
    /// Another node has greeted over a connection that it opened.
    Greeted(Identity),
    /// Somebody outside of the owners wants to know how the groups are.
    CountGroups(Teller),
    /// A partition wants to be looked at in a while: for the owner of the metadata, who has the clock for it.
    Upkeep,
    /// Partitions whose replication goes on: followers that have flushed, leaders whose replicas in sync may have to be
    /// others. For the replication owner.
    Replicas(Vec<Arc<Replica>>),
    /// A partition's log cannot go on as it is: for the owner of the metadata, who opens it anew.
    Reopen(Arc<Replica>),
    /// A batch that readers wanted is damaged: for the owner of the metadata, who sees to it that it is replaced.
    Damaged(Arc<Replica>),
    /// A partition has something new for a reader that looked at it.
    Readable {
        /// The owner's own name for the reader.
        ticket: u64,
        /// Which of its partitions.
        part: u32,
        /// About how many bytes.
        bytes: u64,
    },
}

/// What happens to an owner.
#[derive(Debug)]
pub enum Input {
    /// A client connected.
    Connected {
        /// The new connection.
        conn: ConnId,
        /// The client's address, for logs and `%h`.
        peer: String,
        /// The name of the listener that it came in by.
        listener: Arc<str>,
    },
    /// A whole frame arrived, without its size field.
    Frame {
        /// From where.
        conn: ConnId,
        /// The request.
        frame: Bytes,
    },
    /// The connection is gone.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// Another owner says something.
    Mail(Mail),
    /// A job that this owner started has ended.
    JobDone(JobDone),
    /// A dial has succeeded.
    Linked {
        /// Which.
        link: LinkId,
    },
    /// A whole frame arrived over a link, without its size field.
    LinkFrame {
        /// Which.
        link: LinkId,
        /// A response.
        frame: Bytes,
    },
    /// A link could not be opened or has ended, other than by [`Effects::hang_ups`]. It is not heard of again.
    LinkDown {
        /// Which.
        link: LinkId,
        /// Why.
        why: Down,
    },
    /// Time has passed; `wake_at` may be due.
    Tick,
}

/// A piece of a reply.
#[derive(Clone, Debug)]
pub enum Fragment {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes in a file, for `sendfile`.
    File {
        /// The file; the handle outlives its deletion.
        file: Arc<dyn DiskFile>,
        /// From where.
        position: u64,
        /// How many.
        length: u32,
    },
}

/// A frame to send, its size field included, in pieces.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// In order.
    pub fragments: Vec<Fragment>,
}

impl Reply {
    /// A reply that is wholly in memory.
    #[must_use]
    pub fn bytes(frame: Bytes) -> Self {
        Self { fragments: vec![Fragment::Bytes(frame)] }
    }

    /// Its size in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        let length = |fragment: &Fragment| match fragment {
            Fragment::Bytes(bytes) => bytes.len() as u64,
            Fragment::File { length, .. } => u64::from(*length),
        };
        self.fragments.iter().map(length).sum()
    }

    /// True for the reply to a request that wants none (Produce with acks=0).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }
}

/// A line for the log. Never one per request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How bad it is.
    pub level: Level,
    /// A sentence.
    pub text: String,
}

/// How bad a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something did not work and somebody must act.
    Error,
    /// Something odd.
    Warn,
    /// Something an operator likes to know.
    Info,
}

/// What an owner wants done, in the order of the fields: jobs and mail first, then replies.
#[derive(Debug, Default)]
#[must_use = "dropped effects are lost writes and lost replies"]
pub struct Effects {
    /// To run on a pool thread; the completion comes back to this owner.
    pub jobs: Vec<Job>,
    /// To other owners.
    pub mail: Vec<(Owner, Mail)>,
    /// Frames to send, in order per connection.
    pub replies: Vec<(ConnId, Reply)>,
    /// Connections to close once what was queued before has been sent.
    pub close: Vec<ConnId>,
    /// Connections to open to other nodes; each ends in [`Input::Linked`] or [`Input::LinkDown`].
    pub dials: Vec<Dial>,
    /// Frames to send over links, their size fields included, in order per link. What is sent before the link is there, or
    /// after it has ended, is lost.
    pub sends: Vec<(LinkId, Bytes)>,
    /// Links to end at once; nothing is heard of them any more.
    pub hang_ups: Vec<LinkId>,
    /// Lines for the log.
    pub log: Vec<LogLine>,
    /// When the owner next wants a tick.
    pub wake_at: Option<Instant>,
    /// The process must end: going on would break a promise.
    pub fatal: Option<String>,
}

impl Effects {
    /// True when nothing is to be done.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.jobs.is_empty()
            && self.mail.is_empty()
            && self.replies.is_empty()
            && self.close.is_empty()
            && self.dials.is_empty()
            && self.sends.is_empty()
            && self.hang_ups.is_empty()
            && self.log.is_empty()
            && self.wake_at.is_none()
            && self.fatal.is_none()
    }

    /// Asks for a tick at `at` or earlier.
    pub fn wake(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |old| old.min(at)));
    }

    /// Adds a log line.
    pub fn log(&mut self, level: Level, text: impl Into<String>) {
        self.log.push(LogLine { level, text: text.into() });
    }

    /// Adds mail.
    pub fn tell(&mut self, owner: Owner, mail: Mail) {
        self.mail.push((owner, mail));
    }
}
