//! The metadata owner: the quorum's member, the controller that it may be, and the image that follows.
//!
//! Requests become decisions, decisions become entries of the Raft log, committed entries become a new view
//! that all owners receive *before* whoever asked gets the answer: who is told that a topic exists finds it.

mod background;
mod partitions;
mod serving;
mod store;

use store::METADATA_TOPIC;
pub(crate) use store::{RaftStore, StoreError, Stored};

use crate::api::{self, Answer, Malformed, Run, ViewContext};
use crate::effects::{Asked, Effects, Input, Level, Mail, Owner, Reply};
use crate::job::{Job, JobDone};
use crate::shared::Shared;
use crate::view::{Node, Replicas, View};
use crate::wall::WallClock;
use base::{Instant, Machine, Now, Rng, Span, TopicId, Uuid, hit, planted};
use bytes::Bytes;
use cluster::controller::{self, Command, Controller, Defaults};
use cluster::record_codec::{decode_entry, encode_entry};
use cluster::{Delta, Endpoint, Image, Record};
use quorum::{Committed, Persist, ProposalId, Quorum, Role};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use wire::{EncodeError, ErrorCode};

/// How long a write of the metadata waits before it is tried again on a full disk.
const FULL_RETRY: Span = Span::from_millis(100);
/// The largest decision that goes into one entry.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Records per entry of a decision that is larger.
const RECORDS_PER_ENTRY: usize = 2_000;

/// Who asked the controller.
#[derive(Debug)]
enum Asker {
    /// A client.
    Client(Asked),
    /// Another owner of this node.
    Owner { from: Owner, ticket: u64 },
    /// This owner, on its way to serving.
    Own,
}

/// A decision that has not committed yet.
#[derive(Debug)]
struct Pending {
    id: ProposalId,
    replies: Vec<(controller::Token, controller::Reply)>,
}

/// How far this node is on its way to serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No leader yet.
    Electing,
    /// The registration is being written.
    Registering,
    /// Registered; the broker is about to be unfenced.
    Unfencing,
    /// Clients are served.
    Serving,
}

/// The metadata owner.
pub struct Metadata {
    node: Arc<Node>,
    shared: Arc<Shared>,
    quorum: Quorum,
    store: Arc<RaftStore>,
    committed: Image,
    /// The committed image with everything decided since; what decisions read.
    speculative: Option<Image>,
    defaults: Defaults,
    pending: VecDeque<Pending>,
    askers: BTreeMap<controller::Token, Asker>,
    next_token: controller::Token,
    view: Arc<View>,
    /// The same, for those outside of the owners.
    latest_view: Arc<Mutex<Arc<View>>>,
    /// Owners that receive every new view.
    readers: Vec<Owner>,
    endpoints: Vec<Endpoint>,
    incarnation: Uuid,
    phase: Phase,
    snapshotting: bool,
    /// A write that waits for room on the disk, and when it is tried again.
    full: Option<(Instant, Persist)>,
    /// Topics with partitions that could not be opened, and when they are tried again.
    unopened: Option<(Instant, Vec<TopicId>)>,
    /// Topics whose deletion was replayed on the way to serving: what is left of them may go.
    removed: BTreeSet<TopicId>,
    /// The operator has been told that they wait.
    told_waiting: bool,
    /// Deleted partitions whose directories are not gone yet.
    removals: usize,
    /// The records so far of a decision that spans entries.
    open: Option<Vec<Record>>,
    next_retention: Instant,
    wall_clock: WallClock,
}

/// What a metadata owner starts with.
pub(crate) struct Start {
    pub(crate) node: Arc<Node>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) stored: Stored,
    pub(crate) image: Image,
    pub(crate) readers: Vec<Owner>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) rng: Rng,
}

impl Metadata {
    pub(crate) fn new(start: Start, now: Now) -> Result<Self, quorum::QuorumError> {
        let Start { node, shared, stored, image, readers, endpoints, mut rng } = start;
        let quorum = Quorum::new(stored.start)?;
        let mut incarnation = [0; 16];
        rng.fill(&mut incarnation);
        let defaults = Defaults {
            num_partitions: node.config.num_partitions,
            replication_factor: node.config.default_replication_factor,
            delete_topics: node.config.delete_topics,
            fixed: node.fixed.clone(),
            session_timeout: node.config.broker_session_timeout,
            rng: Some(rng),
            ..Defaults::default()
        };
        let view = View { node: node.clone(), image: Arc::new(image.clone()), replicas: Replicas::default() };
        let view = Arc::new(view);
        let next_retention = now.mono + node.config.retention_check;
        Ok(Self {
            node,
            shared,
            quorum,
            store: stored.store,
            committed: image,
            speculative: None,
            defaults,
            pending: VecDeque::new(),
            askers: BTreeMap::new(),
            next_token: 0,
            latest_view: Arc::new(Mutex::new(view.clone())),
            view,
            readers,
            endpoints,
            incarnation: Uuid::random(incarnation),
            phase: Phase::Electing,
            snapshotting: false,
            full: None,
            unopened: None,
            removed: BTreeSet::new(),
            told_waiting: false,
            removals: 0,
            open: None,
            next_retention,
            wall_clock: WallClock::new(now),
        })
    }

    /// The latest view.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Where the latest view can always be found.
    pub(crate) fn latest_view(&self) -> Arc<Mutex<Arc<View>>> {
        self.latest_view.clone()
    }

    /// True once clients may be served.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// Begins: opens what the snapshot knows and lets the quorum stand for election.
    pub fn start(&mut self, now: Now, fx: &mut Effects) {
        let all = partitions::everything(&self.committed);
        self.apply_delta(&all, now, fx);
        self.drive(now, fx);
    }

    /// Takes an input and says what follows.
    pub fn handle(&mut self, now: Now, input: Input, fx: &mut Effects) {
        match input {
            Input::Mail(mail) => self.mail(now, mail, fx),
            Input::JobDone(done) => self.job_done(now, done, fx),
            Input::Tick => self.quorum.tick(),
            Input::Connected { .. }
            | Input::Frame { .. }
            | Input::Closed { .. }
            | Input::Linked { .. }
            | Input::LinkFrame { .. }
            | Input::LinkDown { .. } => {
                fx.fatal = Some("the metadata owner was sent a connection".into());
            }
        }
        self.drive(now, fx);
        self.retry_when_due(now, fx);
        self.open_when_due(now, fx);
        self.apply_retention(now, fx);
        self.look_after_partitions(now, fx);
    }

    fn mail(&mut self, now: Now, mail: Mail, fx: &mut Effects) {
        match mail {
            Mail::Asked(asked) => self.client_asks(now, asked, fx),
            Mail::Control { from, ticket, command } => {
                self.decide(now, Asker::Owner { from, ticket }, command, fx)
            }
            // Looked at like after every input.
            Mail::Upkeep => {}
            Mail::Controlled { .. }
            | Mail::Reply { .. }
            | Mail::Refused { .. }
            | Mail::View(_)
            | Mail::Safe { .. }
            | Mail::CountGroups(_)
            | Mail::Replicas(_)
            | Mail::Readable { .. } => {
                fx.fatal = Some("the metadata owner was sent another owner's mail".into())
            }
        }
    }

    fn client_asks(&mut self, now: Now, asked: Asked, fx: &mut Effects) {
        let run = api::row(asked.head.api_key).map(|row| row.run);
        let Some(Run::Controller { ask, .. }) = run else {
            fx.fatal = Some("the metadata owner was sent a request for another owner".into());
            return;
        };
        match ask(&asked) {
            Ok(Answer::Ask(command)) => self.decide(now, Asker::Client(asked), command, fx),
            Ok(Answer::Reply(bytes)) => reply(&asked, Ok(bytes), fx),
            Err(malformed) => reply(&asked, Err(malformed), fx),
        }
    }

    /// Decides a command and proposes what it writes. What reads only waits for what was decided before it.
    fn decide(&mut self, now: Now, asker: Asker, command: Command, fx: &mut Effects) {
        if self.speculative.is_none() {
            return not_controller(asker, fx);
        }
        self.next_token += 1;
        let token = self.next_token;
        let decided = Controller::decide(&self.speculative, &mut self.defaults, now, (token, command));
        self.askers.insert(token, asker);
        if decided.records.is_empty() {
            return self.answer_after_pending(now, decided.replies, fx);
        }
        let Ok(entries) = entries_of(&decided.records) else {
            fx.fatal = Some("the controller decided what the metadata log cannot say".into());
            return;
        };
        let mut id = None;
        for entry in &entries {
            match self.quorum.propose(entry) {
                Ok(proposed) => id = Some(proposed),
                // Not the leader any more: whatever was proposed is void, its askers time out and ask again.
                Err(_) => return,
            }
        }
        let Some(id) = id else { return };
        if let Some(image) = &mut self.speculative {
            for record in &decided.records {
                image.replay(record, &mut Delta::default());
            }
            image.index = id.index;
        }
        self.pending.push_back(Pending { id, replies: decided.replies });
    }

    fn answer_after_pending(
        &mut self,
        now: Now,
        replies: Vec<(controller::Token, controller::Reply)>,
        fx: &mut Effects,
    ) {
        match self.pending.back_mut() {
            Some(last) => last.replies.extend(replies),
            None => self.answer(now, replies, fx),
        }
    }

    /// Lets the quorum work until it waits for the disk.
    fn drive(&mut self, now: Now, fx: &mut Effects) {
        loop {
            let output = self.quorum.output();
            let idle = output.persist.is_none() && output.committed.is_empty() && output.role.is_none();
            if let Some(persist) = output.persist {
                fx.jobs.push(Job::PersistRaft { store: self.store.clone(), persist });
            }
            if let Some(role) = output.role {
                self.role_changed(role);
            }
            if !output.committed.is_empty() {
                self.apply(now, output.committed, fx);
            }
            self.step_towards_serving(now, fx);
            if idle || fx.fatal.is_some() {
                return;
            }
        }
    }

    fn role_changed(&mut self, role: Role) {
        // What was decided but not committed is void unless this node leads on.
        self.speculative = None;
        self.pending.clear();
        self.askers.clear();
        self.shared.counters.set_controller(role == Role::Leader);
        if role != Role::Leader {
            self.phase = Phase::Electing;
        }
    }

    fn apply(&mut self, now: Now, entries: Vec<Committed>, fx: &mut Effects) {
        let mut delta = Delta::default();
        let mut replies = Vec::new();
        for entry in entries {
            let (index, term, data) = match entry {
                Committed::Data { index, term, data } => (index, term, data),
                Committed::Membership { index, term, .. } => (index, term, Bytes::new()),
                Committed::Snapshot(point) => {
                    fx.fatal = Some(format!("a snapshot up to {} came from nowhere", point.index));
                    return;
                }
            };
            if let Err(reason) = self.apply_one(data, &mut delta) {
                // A node that cannot apply committed metadata must not go on (E1).
                fx.fatal = Some(format!("metadata entry {index} cannot be applied: {reason}"));
                return;
            }
            (self.committed.index, self.committed.term) = (index, term);
            while let Some(front) = self.pending.front()
                && front.id.index <= index
            {
                let Some(done) = self.pending.pop_front() else { break };
                assert_eq!(
                    done.id,
                    ProposalId { index, term },
                    "another entry committed at a proposal's index"
                );
                replies.extend(done.replies);
            }
        }
        // Only a leader that has committed in its own term knows all that was decided before it (A14).
        if self.quorum.is_established() && self.speculative.is_none() {
            self.speculative = Some(self.committed.clone());
        }
        self.apply_delta(&delta, now, fx);
        self.answer(now, replies, fx);
        self.snapshot_if_due(fx);
    }

    fn apply_one(&mut self, data: Bytes, delta: &mut Delta) -> Result<(), String> {
        if data.is_empty() {
            return Ok(());
        }
        let mut records = decode_entry(data).map_err(|error| format!("{error:?}"))?;
        if planted!(B14) {
            records.truncate(records.len().div_ceil(2));
        }
        for record in records {
            self.replay_one(record, delta);
        }
        Ok(())
    }

    /// A decision that spans entries is applied as a whole when its end is there, and never if it has none.
    fn replay_one(&mut self, record: Record, delta: &mut Delta) {
        match (record, &mut self.open) {
            (Record::Begin, open) => *open = Some(Vec::new()),
            (Record::Abort, open) => *open = None,
            (Record::End, open) => {
                hit!(decision_spans_entries);
                for record in open.take().unwrap_or_default() {
                    self.committed.replay(&record, delta);
                }
            }
            (record, Some(open)) => open.push(record),
            (record, None) => self.committed.replay(&record, delta),
        }
    }

    /// Opens and closes partitions as the metadata says and shows everybody the new view.
    fn apply_delta(&mut self, delta: &Delta, now: Now, fx: &mut Effects) {
        let mut replicas = self.view.replicas.clone();
        // A partition that could not be opened is not among the replicas: its directory makes way when it is in one.
        self.removed.extend(delta.removed.iter().map(|(id, _)| *id));
        let target = partitions::Target {
            node: &self.node,
            shared: &self.shared,
            image: &self.committed,
            removed: &self.removed,
            is_current: self.phase != Phase::Electing,
        };
        let before = fx.mail.len();
        let remaining = partitions::apply(&target, delta, &mut replicas, now, fx);
        // Who hears that this node leads something no more finds in the view who does.
        let told = fx.mail.split_off(before);
        if let Some(reason) = &remaining.reason
            && !self.told_waiting
        {
            fx.log(Level::Error, format!("Partitions that cannot be opened are tried again: {reason}"));
        }
        self.told_waiting = remaining.reason.is_some();
        self.removals += remaining.removals;
        if !remaining.topics.is_empty() {
            self.unopened = Some((now.mono + FULL_RETRY, remaining.topics));
        }
        let view = View { node: self.node.clone(), image: Arc::new(self.committed.clone()), replicas };
        self.view = Arc::new(view);
        *self.latest_view.lock().unwrap_or_else(PoisonError::into_inner) = self.view.clone();
        for reader in &self.readers {
            fx.mail.push((*reader, Mail::View(self.view.clone())));
        }
        fx.mail.extend(told);
    }

    fn answer(&mut self, now: Now, replies: Vec<(controller::Token, controller::Reply)>, fx: &mut Effects) {
        for (token, answer) in replies {
            match self.askers.remove(&token) {
                Some(Asker::Client(asked)) => self.answer_client(now, &asked, answer, fx),
                Some(Asker::Owner { from, ticket }) => {
                    fx.tell(from, Mail::Controlled { ticket, reply: answer })
                }
                Some(Asker::Own) => self.own_answer(now, &answer, fx),
                None => {}
            }
        }
    }

    fn answer_client(&self, now: Now, asked: &Asked, answer: controller::Reply, fx: &mut Effects) {
        let run = api::row(asked.head.api_key).map(|row| row.run);
        let Some(Run::Controller { answer: respond, .. }) = run else { return };
        let cx = ViewContext::new(&self.view, &self.shared, now, true);
        reply(asked, respond(&cx, asked, answer), fx);
    }

    fn job_done(&mut self, now: Now, done: JobDone, fx: &mut Effects) {
        match done {
            JobDone::RaftPersisted { number, outcome: Ok(()), .. } => {
                // Sending to peers comes with the cluster; a lone voter has none.
                let _messages = self.quorum.persisted(number);
                self.full = None;
            }
            JobDone::RaftPersisted { again: Some(persist), .. } => {
                hit!(metadata_waits_for_space);
                if self.full.is_none() {
                    fx.log(
                        Level::Error,
                        "The disk is full: changes of the metadata wait until there is room",
                    );
                }
                self.full = Some((now.mono + FULL_RETRY, *persist));
            }
            JobDone::RaftPersisted { outcome: Err(error), .. } => {
                // A fenced metadata directory ends the process: the log's tail is in doubt (B1).
                fx.fatal = Some(format!("the metadata log cannot be written: {error}"));
            }
            JobDone::Snapshotted { outcome: Ok(point) } => {
                self.snapshotting = false;
                self.quorum.compact(*point);
            }
            JobDone::Snapshotted { outcome: Err(error) } => {
                self.snapshotting = false;
                fx.log(Level::Error, format!("a snapshot of the metadata cannot be written: {error}"));
            }
            JobDone::Removed(outcome) => {
                // What was not removed is only known to be removable as long as the log says so.
                self.removals -= usize::from(outcome.is_ok());
                self.shared.job_done(now, JobDone::Removed(outcome), fx);
                self.snapshot_if_due(fx);
            }
            other @ (JobDone::Flushed(_)
            | JobDone::ShardLoaded { .. }
            | JobDone::Cut { .. }
            | JobDone::Trimmed { .. }
            | JobDone::Deleted(_)
            | JobDone::Checkpointed { .. }
            | JobDone::Compacted { .. }
            | JobDone::Swapped { .. }
            | JobDone::Warmed { .. }
            | JobDone::Searched { .. }) => self.shared.job_done(now, other, fx),
        }
    }
}

/// The entries of a decision: one if it fits, else several between a begin and an end (KIP-868).
fn entries_of(records: &[Record]) -> Result<Vec<Bytes>, EncodeError> {
    let whole = encode_entry(records)?;
    if whole.len() <= ENTRY_BYTES_MAX {
        return Ok(vec![whole]);
    }
    let mut entries = vec![encode_entry(&[Record::Begin])?];
    for chunk in records.chunks(RECORDS_PER_ENTRY) {
        entries.push(encode_entry(chunk)?);
    }
    entries.push(encode_entry(&[Record::End])?);
    Ok(entries)
}

/// Sends an encoded response, or closes the connection of what could not be answered.
fn reply(asked: &Asked, answer: Result<Bytes, Malformed>, fx: &mut Effects) {
    let token = asked.token;
    let mail = match answer {
        Ok(bytes) => Mail::Reply { token, reply: Reply::bytes(bytes) },
        Err(malformed) => Mail::Refused { token, reason: format!("{malformed:?}") },
    };
    fx.tell(Owner::Reactor(token.reactor), mail);
}

fn not_controller(asker: Asker, fx: &mut Effects) {
    hit!(not_controller);
    let refused = controller::Refusal {
        code: ErrorCode::NotController,
        message: "This is not the correct controller for this cluster.".into(),
    };
    let answer = controller::Reply::Done(Err(refused));
    match asker {
        // A connection that is closed is retried by every client; the request had no effect.
        Asker::Client(asked) => {
            let reason = "there is no controller".to_owned();
            fx.tell(Owner::Reactor(asked.token.reactor), Mail::Refused { token: asked.token, reason });
        }
        Asker::Owner { from, ticket } => fx.tell(from, Mail::Controlled { ticket, reply: answer }),
        Asker::Own => {}
    }
}
