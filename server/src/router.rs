//! Who drives which owner: mailboxes, the job pool, the links, and the end of the process.

use crate::admission::Admitted;
use crate::links::ToLinks;
use broker::loggers::NODE;
use broker::{Effects, Input, Job, JobDone, Mail, Owner, Shared};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Threads that run jobs: flushes, Raft writes, deletions. They wait for the device most of the time.
const JOB_THREADS: usize = 4;

/// What a reactor's mailbox takes.
#[derive(Debug)]
pub(crate) enum ToReactor {
    /// For the reactor itself.
    Input(Input),
    /// A connection that was accepted for it.
    Connection(Accepted),
    /// No more connections; answer what is under way and say when done.
    Drain(tokio::sync::mpsc::Sender<()>),
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) peer: std::net::SocketAddr,
    /// By which listener it came.
    pub(crate) listener: Arc<str>,
    pub(crate) admitted: Admitted,
}

/// Where an owner finds what happens to it.
#[derive(Clone, Debug)]
pub(crate) enum Mailbox {
    /// A thread takes one input at a time.
    Thread(Sender<Input>),
    /// A shell of connections takes them with everything else.
    Shell(UnboundedSender<ToReactor>),
}

impl Mailbox {
    /// False if nobody takes it any more.
    fn put(&self, input: Input) -> bool {
        match self {
            Self::Thread(thread) => thread.send(input).is_ok(),
            Self::Shell(shell) => shell.send(ToReactor::Input(input)).is_ok(),
        }
    }
}

/// The mailboxes of all owners. They are bounded by what can be under way: every mail answers a request in flight, tells
/// of a partition, or ends a job; over a link comes what was asked over it.
#[derive(Clone, Debug)]
pub(crate) struct Owners {
    pub(crate) reactors: Vec<UnboundedSender<ToReactor>>,
    pub(crate) metadata: Mailbox,
    pub(crate) groups: Mailbox,
    pub(crate) replication: Mailbox,
}

impl Owners {
    /// Delivers an input. A receiver that is gone means that the process is ending.
    pub(crate) fn deliver(&self, owner: Owner, input: Input) {
        let taken = match owner {
            Owner::Reactor(id) => match self.reactors.get(usize::from(id)) {
                Some(reactor) => reactor.send(ToReactor::Input(input)).is_ok(),
                None => false,
            },
            Owner::Metadata => self.metadata.put(input),
            Owner::Groups => self.groups.put(input),
            Owner::Replication => self.replication.put(input),
        };
        if !taken {
            tracing::debug!(target: NODE, ?owner, "mail for an owner that has ended");
        }
    }
}

/// Sends everything to where it belongs.
#[derive(Clone, Debug)]
pub(crate) struct Router {
    pub(crate) owners: Owners,
    pub(crate) jobs: Sender<(Owner, Job)>,
    pub(crate) links: UnboundedSender<ToLinks>,
    pub(crate) end: UnboundedSender<End>,
}

/// Why the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The metadata owner serves: not an end but the beginning.
    Serving,
    /// Other nodes lead what this one led: it may end.
    Left,
    /// Going on would break a promise.
    Fatal(String),
}

impl Router {
    pub(crate) fn mail(&self, owner: Owner, mail: Mail) {
        self.owners.deliver(owner, Input::Mail(mail));
    }

    pub(crate) fn job(&self, owner: Owner, job: Job) {
        if self.jobs.send((owner, job)).is_err() {
            self.fatal("the job threads have ended".into());
        }
    }

    /// Takes what is for the links out of an owner's effects.
    pub(crate) fn links(&self, owner: Owner, effects: &mut Effects) {
        if let Some(wanted) = ToLinks::take(owner, effects)
            && self.links.send(wanted).is_err()
        {
            self.fatal("the thread of the links has ended".into());
        }
    }

    /// Ends the process.
    pub(crate) fn fatal(&self, reason: String) {
        // Nobody listens any more only when the process is ending already.
        let _ending = self.end.send(End::Fatal(reason));
    }
}

/// The receiving ends that the threads of a node take.
pub(crate) struct Mailboxes {
    pub(crate) metadata: Receiver<Input>,
    pub(crate) groups: Receiver<Input>,
    pub(crate) replication: Receiver<Input>,
    pub(crate) jobs: Receiver<(Owner, Job)>,
    pub(crate) links: UnboundedReceiver<ToLinks>,
}

/// A node's router and its mailboxes.
pub(crate) fn new(
    reactors: Vec<UnboundedSender<ToReactor>>,
    end: UnboundedSender<End>,
) -> (Router, Mailboxes) {
    let (metadata, metadata_box) = channel();
    let (groups, groups_box) = channel();
    let (replication, replication_box) = channel();
    let (jobs, jobs_box) = channel();
    let (links, links_box) = unbounded_channel();
    let owners = Owners {
        reactors,
        metadata: Mailbox::Thread(metadata),
        groups: Mailbox::Thread(groups),
        replication: Mailbox::Thread(replication),
    };
    let mailboxes = Mailboxes {
        metadata: metadata_box,
        groups: groups_box,
        replication: replication_box,
        jobs: jobs_box,
        links: links_box,
    };
    (Router { owners, jobs, links, end }, mailboxes)
}

/// Starts the job threads.
pub(crate) fn start_jobs(
    jobs: Receiver<(Owner, Job)>,
    shared: &Arc<Shared>,
    router: &Router,
) -> std::io::Result<()> {
    let jobs = Arc::new(Mutex::new(jobs));
    for number in 0..JOB_THREADS {
        let (jobs, shared, owners) = (jobs.clone(), shared.clone(), router.owners.clone());
        let work = move || run_jobs(&jobs, &shared, &owners);
        crate::thread::start(&format!("job-{number}"), router.end.clone(), work)?;
    }
    Ok(())
}

fn run_jobs(jobs: &Mutex<Receiver<(Owner, Job)>>, shared: &Shared, owners: &Owners) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((owner, job)) = next else { return };
        let done: JobDone = job.run(shared);
        owners.deliver(owner, Input::JobDone(done));
    }
}
