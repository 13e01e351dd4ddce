//! A node's way to serving: it registers as a broker, replays the metadata up to its registration, is unfenced, and says
//! from then on that it is alive.

use super::remote::{Asker, Errand};
use super::{Metadata, partitions};
use crate::effects::{Effects, Level};
use crate::job::Job;
use crate::view::{News, Node};
use base::{BrokerId, Instant, Now, Rng, Span, Uuid, hit};
use cluster::controller::{self, Command, Heartbeat};
use cluster::{Endpoint, Image};
use wire::ErrorCode;

/// The pause before a registration that was refused is tried again.
const RETRY: Span = Span::from_millis(500);

/// How far this node is on its way to serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No controller has registered it yet. Not to be tried before the moment.
    Starting(Instant),
    /// It waits for its registration.
    Registering,
    /// Registered in an epoch; it may not know all of the metadata yet.
    Registered(i64),
    /// Clients are served, in an epoch.
    Serving(i64),
}

/// This node as a broker of the cluster.
#[derive(Debug)]
pub(super) struct Own {
    endpoints: Vec<Endpoint>,
    peer_listener: String,
    incarnation: Uuid,
    phase: Phase,
    next_heartbeat: Instant,
    /// A heartbeat waits for its answer.
    is_beating: bool,
    /// The process is about to end.
    leaving: Leaving,
    /// It was registered before in this life: it has written since its directory was closed.
    was_registered: bool,
}

/// How far a node is that is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// It is not.
    No,
    /// It has asked, or will, that others lead.
    Asked,
    /// Others lead the partitions that it led. Another one is to lead the quorum, too: asked at this moment, again if need be.
    HandsOver(Instant),
    /// Others lead what it led, or nobody can.
    Done,
}

impl Own {
    pub(super) fn new(endpoints: Vec<Endpoint>, node: &Node, rng: &mut Rng) -> Self {
        let peer_listener = node.config.peer_listener().map(|listener| listener.name.clone());
        let first = || endpoints.first().map(|endpoint| endpoint.listener.clone());
        Self {
            peer_listener: peer_listener.or_else(first).unwrap_or_default(),
            endpoints,
            incarnation: rng.uuid(),
            phase: Phase::Starting(Instant::ZERO),
            next_heartbeat: Instant::ZERO,
            is_beating: false,
            leaving: Leaving::No,
            was_registered: false,
        }
    }

    pub(super) const fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving(_))
    }

    /// The epoch in which this broker is registered.
    pub(super) const fn epoch(&self) -> Option<i64> {
        match self.phase {
            Phase::Registered(epoch) | Phase::Serving(epoch) => Some(epoch),
            Phase::Starting(_) | Phase::Registering => None,
        }
    }

    /// True if this process is registered as far as these metadata go: they are not from before it started.
    pub(super) fn is_known_to(&self, image: &Image, id: BrokerId) -> bool {
        image.broker(id).is_some_and(|broker| broker.incarnation == self.incarnation)
    }
}

impl Metadata {
    /// True once clients may be served.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.own.is_serving()
    }

    /// The epoch in which this process is registered, as it was told.
    #[must_use]
    pub const fn broker_epoch(&self) -> Option<i64> {
        self.own.epoch()
    }

    /// Begins to leave: the partitions that it leads get other leaders, and so does the quorum, before the process ends.
    pub(super) fn leave(&mut self, now: Now) {
        if self.own.leaving == Leaving::No {
            hit!(node_leaves);
            self.own.leaving = if self.quorum.is_alone() || !self.own.is_serving() {
                Leaving::Done
            } else if self.node.config.roles.broker {
                Leaving::Asked
            } else {
                Leaving::HandsOver(now.mono)
            };
            self.own.next_heartbeat = now.mono;
        }
    }

    /// Asks again and again that another member leads, until one does or none is there. That one who was asked takes over is
    /// seen here before the process ends: what it was told might not have left this one.
    pub(super) fn hand_over_to_leave(&mut self, now: Now, fx: &mut Effects) {
        let Leaving::HandsOver(due) = self.own.leaving else { return };
        let leads = !self.quorum.progress().is_empty();
        if leads && now.mono < due {
            fx.wake(due);
        } else if leads && self.quorum.hand_over() {
            self.own.leaving = Leaving::HandsOver(now.mono + RETRY);
            fx.wake(now.mono + RETRY);
        } else {
            self.own.leaving = Leaving::Done;
        }
    }

    /// True once nobody would miss this node.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.own.leaving == Leaving::Done
    }

    /// Registers this broker, and serves once it is unfenced as far as the metadata here knows.
    pub(super) fn step_towards_serving(&mut self, now: Now, fx: &mut Effects) {
        let has_controller = self.leading.is_here() || self.controller_node().is_some();
        match self.own.phase {
            Phase::Starting(from) if from <= now.mono && has_controller => {
                if self.node.config.roles.broker {
                    self.register(now, fx);
                } else {
                    self.serve(now, 0, fx);
                }
            }
            Phase::Starting(from) if from > now.mono => fx.wake(from),
            Phase::Registered(epoch) if self.is_unfenced(epoch) => self.serve(now, epoch, fx),
            Phase::Starting(_) | Phase::Registering | Phase::Registered(_) | Phase::Serving(_) => {}
        }
        self.beat(now, fx);
    }

    fn register(&mut self, now: Now, fx: &mut Effects) {
        self.own.phase = Phase::Registering;
        let command = Command::RegisterBroker {
            id: self.node.config.node_id,
            incarnation: self.own.incarnation,
            endpoints: self.own.endpoints.clone(),
            peer_listener: self.own.peer_listener.clone(),
            rack: self.node.config.rack.clone(),
            directories: vec![self.node.directory_id],
            closed_in: self.closed_in(),
        };
        self.put(now, Asker::Own, Errand::Command(command), fx);
    }

    /// The epoch in which the directory was closed, if nothing was written since.
    fn closed_in(&self) -> i64 {
        self.shared.flusher.dir().clean_broker_epoch().filter(|_| !self.own.was_registered).unwrap_or(-1)
    }

    fn is_unfenced(&self, epoch: i64) -> bool {
        let own = self.committed.broker(self.node.config.node_id);
        own.is_some_and(|broker| broker.epoch == epoch && !broker.fenced)
    }

    fn serve(&mut self, now: Now, epoch: i64, fx: &mut Effects) {
        self.own.phase = Phase::Serving(epoch);
        self.clear_up(now, fx);
        fx.log(Level::Info, format!("Node {} serves", self.node.config.node_id));
    }

    /// Says that this broker is alive. Who is alone tells itself once.
    fn beat(&mut self, now: Now, fx: &mut Effects) {
        let epoch = match self.own.phase {
            Phase::Registered(epoch) => epoch,
            Phase::Serving(epoch) if !self.quorum.is_alone() && self.node.config.roles.broker => epoch,
            Phase::Starting(_) | Phase::Registering | Phase::Serving(_) => return,
        };
        if self.own.is_beating {
            return;
        }
        // Until it is unfenced only replaying its registration is waited for.
        let is_fenced = matches!(self.own.phase, Phase::Registered(_)) && self.own.leaving == Leaving::No;
        let caught_up = i64::try_from(self.committed.index).is_ok_and(|index| index >= epoch);
        if now.mono < self.own.next_heartbeat && !(is_fenced && caught_up) {
            return fx.wake(self.own.next_heartbeat);
        }
        self.own.is_beating = true;
        self.own.next_heartbeat = now.mono + self.node.config.broker_heartbeat_interval;
        let beat = Heartbeat {
            broker: self.node.config.node_id,
            epoch,
            replayed: self.committed.index,
            wants_fence: self.own.leaving != Leaving::No,
        };
        self.put(now, Asker::Own, Errand::Command(Command::Heartbeat(beat)), fx);
    }

    /// The controller's answer to something that this owner has asked on its own way.
    pub(super) fn own_answer(&mut self, now: Now, answer: &controller::Reply, fx: &mut Effects) {
        match answer {
            controller::Reply::Registered { epoch } => {
                self.own.phase = Phase::Registered(*epoch);
                self.own.was_registered = true;
                self.own.next_heartbeat = now.mono;
                fx.wake(now.mono);
            }
            controller::Reply::Alive(alive) => {
                self.own.is_beating = false;
                if self.own.leaving == Leaving::Asked && alive.is_fenced {
                    self.own.leaving = Leaving::HandsOver(now.mono);
                }
                if alive.is_fenced {
                    // Asked again soon, though not at once: it is not caught up, or was fenced meanwhile.
                    self.own.next_heartbeat = self.own.next_heartbeat.min(now.mono + RETRY);
                }
                fx.wake(self.own.next_heartbeat);
            }
            controller::Reply::Done(Err(refusal)) => self.own_refusal(now, refusal, fx),
            other @ (controller::Reply::Done(Ok(()))
            | controller::Reply::Created(_)
            | controller::Reply::Deleted(_)
            | controller::Reply::Changed(_)
            | controller::Reply::ProducerIds { .. }
            | controller::Reply::Expired(_)
            | controller::Reply::Partitions(_)
            | controller::Reply::Elected(_)
            | controller::Reply::Balanced { .. }) => {
                fx.log(Level::Error, format!("the controller answers {other:?} to a broker"));
            }
        }
    }

    fn own_refusal(&mut self, now: Now, refusal: &controller::Refusal, fx: &mut Effects) {
        let was_beating = core::mem::take(&mut self.own.is_beating);
        let is_unknown = refusal.code == ErrorCode::StaleBrokerEpoch;
        if was_beating && !is_unknown {
            return fx.wake(self.own.next_heartbeat);
        }
        if is_unknown {
            hit!(broker_registers_again);
        } else if refusal.code != ErrorCode::NotController {
            fx.log(Level::Error, format!("This broker cannot be registered: {}", refusal.message));
        }
        self.own.phase = Phase::Starting(now.mono + RETRY);
        fx.wake(now.mono + RETRY);
    }

    /// Now that all of the metadata is known: opens what had to wait for that, and lets go of what deletions
    /// have left behind.
    fn clear_up(&mut self, now: Now, fx: &mut Effects) {
        if let Some((_, topics)) = self.unopened.take() {
            self.open_missing_of(topics, now, fx);
        }
        let mut replicas = self.view.replicas.clone();
        let own = self.node.config.node_id;
        let moved = partitions::let_go_moved(own, &self.committed, &mut replicas, fx);
        if !moved.is_empty() {
            self.removals += moved.len();
            self.publish(replicas, News { partitions: moved, ..News::default() }, fx);
        }
        let removed = core::mem::take(&mut self.removed);
        let dir = self.shared.flusher.dir();
        match partitions::sweep(dir, (own, &self.committed), &self.view.replicas, &removed) {
            Ok((left, strays)) => {
                self.removals += left.len();
                fx.jobs.extend(left.into_iter().map(Job::Remove));
                for stray in strays {
                    fx.log(
                        Level::Warn,
                        format!("The directory {stray} belongs to no topic; it is left alone"),
                    );
                }
            }
            Err(error) => {
                // As long as no snapshot is taken the next start knows what is deleted.
                self.removals += 1;
                fx.log(
                    Level::Warn,
                    format!("Directories of deleted topics are left for the next start: {error}"),
                );
            }
        }
    }
}
