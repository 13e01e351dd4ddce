//! The metadata owner: the quorum's member, the controller that it may be, and the image that follows.
//!
//! Requests become decisions, decisions become entries of the Raft log, committed entries become a new view
//! that all owners receive *before* whoever asked gets the answer: who is told that a topic exists finds it. Where the
//! controller is another node, questions travel there.

mod admission;
mod background;
mod deciding;
mod following;
mod partitions;
mod peers;
mod remote;
mod repair;
mod report;
mod serving;
mod snapshots;
mod store;
mod voters;

pub(crate) use report::MemberReport;
pub(crate) use store::METADATA_TOPIC;
pub(crate) use store::{RaftStore, StoreError, Stored, become_founder, become_member, is_member};
pub(crate) use voters::VoterChange;

use crate::api::{self, Answer, Malformed, PeerQuorum, Run, ViewContext};
use crate::departures::Departures;
use crate::effects::{Asked, Effects, Input, Mail, Owner, Reply};
use crate::job::JobDone;
use crate::peer::Identity;
use crate::shared::Shared;
use crate::view::{Node, Replicas, View};
use crate::wall::WallClock;
use admission::Admissions;
use base::{Instant, Now, Rng, Span, TopicId};
use bytes::Bytes;
use cluster::{Endpoint, Image, Record};
use deciding::Leading;
use peers::Peers;
use quorum::{Persist, Quorum};
use remote::{Asker, Errand, Remote};
use repair::Damage;
use serving::Own;
use snapshots::Fetching;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use wire::ErrorCode;

/// Carries out an API of the quorum's member.
pub(crate) type Handler = fn(&mut Metadata, Asked, Now, &mut Effects) -> Result<(), Malformed>;

/// How long a write of the metadata waits before it is tried again on a full disk.
const FULL_RETRY: Span = Span::from_millis(100);

/// The metadata owner.
pub struct Metadata {
    node: Arc<Node>,
    shared: Arc<Shared>,
    quorum: Quorum,
    store: Arc<RaftStore>,
    committed: Image,
    /// The controller's side, if this node is it.
    leading: Leading,
    /// What is asked of the controller, if another node is it.
    remote: Remote,
    peers: Peers,
    departures: Departures,
    /// This node as a broker of the cluster.
    own: Own,
    admissions: Admissions,
    /// A snapshot that comes from another node.
    fetching: Option<Fetching>,
    view: Arc<View>,
    /// The same, for those outside of the owners.
    latest_view: Arc<Mutex<Arc<View>>>,
    /// Owners that receive every new view.
    readers: Vec<Owner>,
    snapshotting: bool,
    /// A member is so far behind that it needs a newer snapshot than there is.
    snapshot_wanted: bool,
    /// A write that waits for room on the disk, and when it is tried again.
    full: Option<(Instant, Persist)>,
    /// Topics with partitions that are not open yet, and when that is tried next.
    unopened: Option<(Instant, Vec<TopicId>)>,
    /// Partitions whose files here lack what was durable.
    damage: Damage,
    /// Topics whose deletion was replayed on the way to serving: what is left of them may go.
    removed: BTreeSet<TopicId>,
    /// The operator has been told that they wait.
    told_waiting: bool,
    /// Deleted partitions whose directories are not gone yet.
    removals: usize,
    /// The partitions here have been told what they are to be: what is known is not from before this start.
    has_roles: bool,
    /// What has been carried out on the partitions here.
    applied: Option<Image>,
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
    pub(crate) identity: Identity,
    pub(crate) rng: Rng,
}

impl Metadata {
    pub(crate) fn new(start: Start, now: Now) -> Result<Self, quorum::QuorumError> {
        let Start { node, shared, stored, image, readers, endpoints, identity, mut rng } = start;
        let quorum = Quorum::new(stored.start)?;
        let own = Own::new(endpoints, &node, &mut rng);
        let peers = Peers::new(identity, &node.config, &image, rng.fork(1));
        let view = Arc::new(View {
            node: node.clone(),
            image: Arc::new(image.clone()),
            replicas: Replicas::default(),
            departures: Departures::default(),
            news: Arc::default(),
        });
        let next_retention = now.mono + node.config.retention_check;
        Ok(Self {
            leading: Leading::new(&node, rng),
            node,
            shared,
            quorum,
            store: stored.store,
            committed: image,
            remote: Remote::default(),
            peers,
            departures: Departures::default(),
            own,
            admissions: Admissions::default(),
            fetching: None,
            latest_view: Arc::new(Mutex::new(view.clone())),
            view,
            readers,
            snapshotting: false,
            snapshot_wanted: false,
            full: None,
            unopened: None,
            damage: Damage::default(),
            removed: BTreeSet::new(),
            told_waiting: false,
            removals: 0,
            has_roles: false,
            applied: None,
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

    /// Begins: opens what the snapshot knows and lets the quorum stand for election.
    pub fn start(&mut self, now: Now, fx: &mut Effects) {
        self.apply_delta(&partitions::everything(&self.committed), now, fx);
        self.want_links(fx);
        self.go_on(now, fx);
    }

    /// Takes an input and says what follows.
    pub fn handle(&mut self, now: Now, input: Input, fx: &mut Effects) {
        match input {
            Input::Mail(mail) => self.mail(now, mail, fx),
            Input::JobDone(done) => self.job_done(now, done, fx),
            Input::Linked { link } => self.peers.links.linked(now.mono, link, fx),
            Input::LinkFrame { link, frame } => {
                let heard = self.peers.links.frame(now.mono, link, &frame, fx);
                heard.into_iter().for_each(|heard| self.heard(now, heard, fx));
            }
            Input::LinkDown { link, why } => {
                let heard = self.peers.links.down(now.mono, link, why, fx);
                heard.into_iter().for_each(|heard| self.heard(now, heard, fx));
            }
            Input::Tick => {}
            Input::Connected { .. } | Input::Frame { .. } | Input::Closed { .. } => {
                fx.fatal = Some("the metadata owner was sent a connection".into());
            }
        }
        self.go_on(now, fx);
    }

    /// Whatever came: what is due is done.
    fn go_on(&mut self, now: Now, fx: &mut Effects) {
        for heard in self.peers.links.tick(now.mono, fx) {
            self.heard(now, heard, fx);
        }
        self.tick_quorum(now, fx);
        self.want_leader(fx);
        self.greet_while_unled(now, fx);
        self.drive(now, fx);
        self.expire_sessions(now, fx);
        self.balance_when_due(now, fx);
        self.step_towards_serving(now, fx);
        self.hand_over_to_leave(now, fx);
        self.tell_damage(now, fx);
        self.ask_for_a_vote(now, fx);
        self.ask_what_waits(now, fx);
        self.expire_fetch(now, fx);
        self.drive(now, fx);
        self.retry_when_due(now, fx);
        self.open_when_due(now, fx);
        self.apply_retention(now, fx);
        self.look_after_partitions(now, fx);
    }

    fn mail(&mut self, now: Now, mail: Mail, fx: &mut Effects) {
        match mail {
            Mail::Asked(asked) => self.asked(now, asked, fx),
            Mail::Control { from, ticket, command } => {
                self.put(now, Asker::Owner { from, ticket }, Errand::Command(command), fx);
            }
            Mail::Greeted(who) => self.greeted(&who, fx),
            Mail::Leave => self.leave(now),
            // Looked at like after every input.
            Mail::Upkeep => {}
            Mail::Reopen(replica) => self.reopen(&replica, now, fx),
            Mail::Damaged(replica) => self.damaged(&replica, fx),
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

    fn asked(&mut self, now: Now, asked: Asked, fx: &mut Effects) {
        let key = asked.head.api_key;
        let (row, is_peers) = match api::row(key) {
            Some(row) => (Some(row), false),
            None => (api::peer_row(key), true),
        };
        match row.map(|row| row.run) {
            Some(Run::Controller { answer, .. }) if is_peers && !self.leading.is_here() => {
                // Who asks knows where to ask next.
                let cx = ViewContext::new(&self.view, &self.shared, &asked.listener, now.mono);
                let refused = answer(&cx, &asked, api::refused(ErrorCode::NotController));
                self.reply(&asked, refused, fx);
            }
            Some(Run::Controller { .. }) => self.put(now, Asker::Client(asked), Errand::Request, fx),
            Some(Run::Metadata(handle)) => {
                let token = asked.token;
                if let Err(malformed) = handle(self, asked, now, fx) {
                    refuse(token, format!("{malformed:?}"), fx);
                }
            }
            Some(Run::OneWay(_)) => self.told(&asked, fx),
            Some(Run::View(_) | Run::Reactor(_) | Run::Groups(_)) | None => {
                fx.fatal = Some("the metadata owner was sent a request for another owner".into());
            }
        }
    }

    /// A message that is not answered.
    fn told(&mut self, asked: &Asked, fx: &mut Effects) {
        // Those who form a cluster learn from greetings that there is one.
        if asked.head.api_key != wire::ApiKey::PeerQuorum.code() {
            return;
        }
        let Ok(request) = api::decode::<PeerQuorum>(asked) else { return };
        if let Err(error) = self.quorum.step(&request.message) {
            fx.fatal = Some(error.to_string());
        }
    }

    /// Carries out a client's request here, where the controller is.
    fn carry_out(&mut self, now: Now, asked: Asked, fx: &mut Effects) {
        let run = api::any_row(asked.head.api_key).map(|row| row.run);
        match run {
            Some(Run::Controller { ask, .. }) => match ask(&asked) {
                Ok(Answer::Ask(command)) => self.decide(now, Asker::Client(asked), command, fx),
                Ok(Answer::Reply(bytes)) => self.reply(&asked, Ok(bytes), fx),
                Ok(Answer::AwaitLeaders(_)) => {
                    refuse(asked.token, "the controller waits for nobody".into(), fx)
                }
                Err(malformed) => self.reply(&asked, Err(malformed), fx),
            },
            Some(Run::Metadata(handle)) => {
                let token = asked.token;
                if let Err(malformed) = handle(self, asked, now, fx) {
                    refuse(token, format!("{malformed:?}"), fx);
                }
            }
            Some(Run::View(_) | Run::Reactor(_) | Run::Groups(_) | Run::OneWay(_)) | None => {}
        }
    }

    /// Sends an encoded response, in the envelope that its request came in, or closes the connection of what could not be
    /// answered.
    pub(crate) fn reply(&self, asked: &Asked, answer: Result<Bytes, Malformed>, fx: &mut Effects) {
        let token = asked.token;
        let wrapped = answer.and_then(|bytes| match &asked.envelope {
            Some(envelope) => api::wrap_in_envelope(envelope, &bytes),
            None => Ok(bytes),
        });
        match wrapped {
            Ok(bytes) => {
                let mail = Mail::Reply { token, reply: Reply::bytes(bytes) };
                fx.tell(Owner::Reactor(token.reactor), mail);
            }
            Err(malformed) => refuse(token, format!("{malformed:?}"), fx),
        }
    }

    /// Does what follows the end of a job.
    fn job_done(&mut self, now: Now, done: JobDone, fx: &mut Effects) {
        match done {
            JobDone::RaftPersisted { number, outcome, again } => {
                self.persisted(now, number, outcome, again, fx)
            }
            JobDone::Snapshotted { outcome } => self.snapshotted(outcome, fx),
            JobDone::Removed(outcome) => {
                // What was not removed is only known to be removable as long as the log says so.
                self.removals -= usize::from(outcome.is_ok());
                self.shared.job_done(now, JobDone::Removed(outcome), fx);
                self.snapshot_if_due(fx);
            }
            other @ (JobDone::Flushed(_)
            | JobDone::ShardLoaded { .. }
            | JobDone::Cut { .. }
            | JobDone::Verified { .. }
            | JobDone::Trimmed { .. }
            | JobDone::Deleted { .. }
            | JobDone::Checkpointed { .. }
            | JobDone::Compacted { .. }
            | JobDone::Swapped { .. }
            | JobDone::Warmed { .. }
            | JobDone::Searched { .. }) => self.shared.job_done(now, other, fx),
        }
    }
}

/// Closes the connection of a request that cannot be answered: every client tries again.
fn refuse(token: crate::effects::Token, reason: String, fx: &mut Effects) {
    fx.tell(Owner::Reactor(token.reactor), Mail::Refused { token, reason });
}

#[cfg(test)]
mod tests;
