//! Who drives which owner: mailboxes, the job pool, and the end of the process.

use crate::admission::Admitted;
use broker::loggers::NODE;
use broker::{Input, Job, JobDone, Mail, Owner, Shared};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

/// Threads that run jobs: flushes, Raft writes, deletions. They wait for the device most of the time.
const JOB_THREADS: usize = 4;

/// What a reactor's mailbox takes.
#[derive(Debug)]
pub(crate) enum ToReactor {
    /// For the reactor itself.
    Input(Input),
    /// A connection that was accepted for it.
    Connection(std::net::TcpStream, std::net::SocketAddr, Admitted),
    /// No more connections; answer what is under way and say when done.
    Drain(tokio::sync::mpsc::Sender<()>),
}

/// Sends everything to where it belongs. Mailboxes are bounded by what can be under way: every mail answers a
/// request in flight, tells of a partition, or ends a job.
#[derive(Clone, Debug)]
pub(crate) struct Router {
    pub(crate) reactors: Vec<UnboundedSender<ToReactor>>,
    pub(crate) metadata: Sender<Input>,
    pub(crate) groups: Sender<Input>,
    pub(crate) replication: Sender<Input>,
    pub(crate) jobs: Sender<(Owner, Job)>,
    pub(crate) end: tokio::sync::mpsc::UnboundedSender<End>,
}

/// Why the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The metadata owner serves: not an end but the beginning.
    Serving,
    /// Going on would break a promise.
    Fatal(String),
}

impl Router {
    /// Delivers an input. A receiver that is gone means that the process is ending.
    pub(crate) fn deliver(&self, owner: Owner, input: Input) {
        let gone = match owner {
            Owner::Reactor(id) => match self.reactors.get(usize::from(id)) {
                Some(reactor) => reactor.send(ToReactor::Input(input)).is_err(),
                None => true,
            },
            Owner::Metadata => self.metadata.send(input).is_err(),
            Owner::Groups => self.groups.send(input).is_err(),
            Owner::Replication => self.replication.send(input).is_err(),
        };
        if gone {
            tracing::debug!(target: NODE, ?owner, "mail for an owner that has ended");
        }
    }

    pub(crate) fn mail(&self, owner: Owner, mail: Mail) {
        self.deliver(owner, Input::Mail(mail));
    }

    pub(crate) fn job(&self, owner: Owner, job: Job) {
        if self.jobs.send((owner, job)).is_err() {
            self.fatal("the job threads have ended".into());
        }
    }

    /// Ends the process.
    pub(crate) fn fatal(&self, reason: String) {
        // Nobody listens any more only when the process is ending already.
        let _ending = self.end.send(End::Fatal(reason));
    }
}

/// The receiving ends that the threads take.
pub(crate) struct Mailboxes {
    pub(crate) metadata: Receiver<Input>,
    pub(crate) groups: Receiver<Input>,
    pub(crate) replication: Receiver<Input>,
    pub(crate) jobs: Receiver<(Owner, Job)>,
}

/// A router and its mailboxes.
pub(crate) fn new(
    reactors: Vec<UnboundedSender<ToReactor>>,
    end: tokio::sync::mpsc::UnboundedSender<End>,
) -> (Router, Mailboxes) {
    let (metadata, metadata_box) = channel();
    let (groups, groups_box) = channel();
    let (replication, replication_box) = channel();
    let (jobs, jobs_box) = channel();
    let router = Router { reactors, metadata, groups, replication, jobs, end };
    let mailboxes = Mailboxes {
        metadata: metadata_box,
        groups: groups_box,
        replication: replication_box,
        jobs: jobs_box,
    };
    (router, mailboxes)
}

/// Starts the job threads.
pub(crate) fn start_jobs(
    jobs: Receiver<(Owner, Job)>,
    shared: &Arc<Shared>,
    router: &Router,
) -> std::io::Result<()> {
    let jobs = Arc::new(Mutex::new(jobs));
    for number in 0..JOB_THREADS {
        let (jobs, shared, router) = (jobs.clone(), shared.clone(), router.clone());
        crate::thread::start(&format!("job-{number}"), router.clone(), move || {
            run_jobs(&jobs, &shared, &router)
        })?;
    }
    Ok(())
}

fn run_jobs(jobs: &Mutex<Receiver<(Owner, Job)>>, shared: &Shared, router: &Router) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((owner, job)) = next else { return };
        let done: JobDone = job.run(shared);
        router.deliver(owner, Input::JobDone(done));
    }
}
