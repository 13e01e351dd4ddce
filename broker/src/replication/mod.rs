//! The replication owner: what this node follows of other leaders, and what it asks the controller for as a leader.
//!
//! Each node that leads something of what this node holds is a [`source::Source`]: one link for fetches, of which one is
//! under way at a time, and one for reports of how far this disk is, so that a fetch that waits holds up no report.
//! Partitions where nothing happens cost nothing: their leader speaks of them when they have news, and this owner looks at
//! them when they say so ([`Mail::Replicas`]). What the followers of this node's own partitions have come to is noted where
//! their fetches are served; here it is decided who is to be in sync ([`in_sync`]).

#[cfg(test)]
mod failover;
mod in_sync;
mod source;
#[cfg(test)]
mod tests;
mod throttle;

pub use throttle::{SharedThrottle, Throttles};

use crate::effects::{Down, Effects, Input, Level, Mail, Owner};
use crate::job::JobDone;
use crate::peer::{Heard, Identity, Links};
use crate::replica::Replica;
use crate::shared::Shared;
use crate::view::View;
use base::{BrokerId, EndOffset, LeaderEpoch, Now, PartitionIndex, Rng, TopicId, hit};
use cluster::config::{ResourceKind, Throttled};
use cluster::partition::Incarnation;
use cluster::{PartitionState, Topic};
use in_sync::InSync;
use source::{Source, Taking};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::fetch::FetchResponse;
use wire::peer_progress::{PartitionProgress, PeerProgressRequest, TopicProgress};
use wire::{Message as _, Reader};

/// A partition.
type Key = (TopicId, PartitionIndex);

/// Partitions that one PeerProgress tells of.
const REPORTS_MAX: usize = 10_000;

/// What a link is for, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    Fetches(BrokerId),
    Reports(BrokerId),
}

/// Follows the leaders of the partitions that this node holds and does not lead.
#[derive(Debug)]
pub struct Replication {
    view: Arc<View>,
    shared: Arc<Shared>,
    links: Links<Line>,
    /// The nodes that lead what this node follows.
    sources: BTreeMap<BrokerId, Source>,
    /// Whom each partition is fetched from.
    followed: BTreeMap<Key, BrokerId>,
    /// What each leader is to be told of.
    reports: BTreeMap<BrokerId, BTreeSet<Key>>,
    in_sync: InSync,
    /// This node's life as others know it; `None` before it is registered.
    own: Option<Incarnation>,
}

impl Replication {
    pub(crate) fn new(view: Arc<View>, shared: Arc<Shared>, identity: Identity, rng: Rng) -> Self {
        Self {
            links: Links::new(identity, rng),
            view,
            shared,
            sources: BTreeMap::new(),
            followed: BTreeMap::new(),
            reports: BTreeMap::new(),
            in_sync: InSync::default(),
            own: None,
        }
    }

    /// Takes an input and says what follows.
    pub fn handle(&mut self, now: Now, input: Input, fx: &mut Effects) {
        match input {
            Input::Mail(mail) => self.mail(now, mail, fx),
            Input::JobDone(JobDone::Cut { replica, outcome }) => self.cut_done(replica, outcome.err(), fx),
            Input::JobDone(done) => self.shared.job_done(now, done, fx),
            Input::Tick => {}
            Input::Linked { link } => self.links.linked(now.mono, link, fx),
            Input::LinkFrame { link, frame } => {
                let heard = self.links.frame(now.mono, link, &frame, fx);
                self.heard(now, heard, fx);
            }
            Input::LinkDown { link, why } => {
                let heard = self.links.down(now.mono, link, why, fx);
                self.heard(now, heard, fx);
            }
            Input::Connected { .. } | Input::Frame { .. } | Input::Closed { .. } => {
                fx.fatal = Some("the replication owner was sent a connection".into());
            }
        }
        for heard in self.links.tick(now.mono, fx) {
            self.heard(now, Some(heard), fx);
        }
        self.go_on(now, fx);
    }

    fn mail(&mut self, now: Now, mail: Mail, fx: &mut Effects) {
        match mail {
            Mail::View(view) => self.new_view(now, view, fx),
            Mail::Replicas(replicas) => replicas.into_iter().for_each(|replica| self.look_at(replica)),
            Mail::Controlled { ticket, reply } => self.in_sync.answered(now.mono, ticket, reply, fx),
            Mail::Asked(_)
            | Mail::Control { .. }
            | Mail::Reply { .. }
            | Mail::Refused { .. }
            | Mail::Safe { .. }
            | Mail::Readable { .. }
            | Mail::Greeted(_)
            | Mail::Leave
            | Mail::CountGroups(_)
            | Mail::Upkeep
            | Mail::Reopen(_)
            | Mail::Damaged(_) => {
                fx.fatal = Some("the replication owner was sent another owner's mail".into());
            }
        }
    }

    /// A follower that has flushed, or a leader whose followers have come far enough.
    fn look_at(&mut self, replica: Arc<Replica>) {
        let key = (replica.topic, replica.index);
        match self.followed.get(&key) {
            Some(leader) => {
                self.reports.entry(*leader).or_default().insert(key);
                if let Some(source) = self.sources.get_mut(leader) {
                    source.look_at_start(key);
                }
            }
            None => self.in_sync.look_at(replica),
        }
    }

    // --- the view ---

    fn new_view(&mut self, now: Now, view: Arc<View>, fx: &mut Effects) {
        self.view = view.clone();
        let id = view.node.config.node_id;
        let own = view.image.broker(id).map(|broker| Incarnation { id, epoch: broker.epoch });
        let is_anew = own != self.own;
        if is_anew {
            // What was said in an earlier life counts no more, neither of the log nor of the disk.
            self.own = own;
            for (leader, source) in &mut self.sources {
                source.begin_anew();
                self.reports.entry(*leader).or_default().extend(source.keys());
            }
        }
        self.forget(&view.news.removed.iter().map(|(id, _)| *id).collect());
        if is_anew {
            view.image.topics().for_each(|topic| self.follow_topic(&view, topic));
        } else {
            for (topic, index) in &view.news.partitions {
                if let Some(topic) = view.image.topic_by_id(*topic)
                    && let Some(state) = topic.partition(*index)
                {
                    self.follow_partition(&view, topic, *index, state);
                }
            }
        }
        self.throttle(&view);
        self.in_sync.new_view(now.mono, &view);
        self.follow_nodes(&view, fx);
    }

    fn forget(&mut self, gone: &BTreeSet<TopicId>) {
        if gone.is_empty() {
            return;
        }
        let keys: Vec<Key> =
            self.followed.keys().filter(|(topic, _)| gone.contains(topic)).copied().collect();
        keys.into_iter().for_each(|key| self.unfollow(key));
        self.in_sync.forget(gone);
    }

    fn unfollow(&mut self, key: Key) {
        let Some(leader) = self.followed.remove(&key) else { return };
        if let Some(source) = self.sources.get_mut(&leader) {
            source.drop_place(key);
        }
        if let Some(due) = self.reports.get_mut(&leader) {
            due.remove(&key);
        }
    }

    fn follow_topic(&mut self, view: &View, topic: &Topic) {
        for (index, state) in (0..).map(PartitionIndex).zip(&topic.partitions) {
            self.follow_partition(view, topic, index, state);
        }
    }

    fn follow_partition(
        &mut self,
        view: &View,
        topic: &Topic,
        index: PartitionIndex,
        state: &PartitionState,
    ) {
        let own = view.node.config.node_id;
        let pause_max = view.node.config.replica_fetch_backoff;
        let key = (topic.id, index);
        let replica = view.replica(topic.id, index);
        self.in_sync.follow(key, replica.filter(|_| state.leader == Some(own)), state);
        let Some((replica, (leader, epoch))) = replica.and_then(|it| Some((it, it.followed()?))) else {
            return self.unfollow(key);
        };
        if self.followed.get(&key).is_some_and(|known| *known != leader) {
            self.unfollow(key);
        }
        self.followed.insert(key, leader);
        let source = self.sources.entry(leader).or_insert_with(|| Source::new(leader, pause_max));
        if source.want(key, replica, epoch) {
            self.reports.entry(leader).or_default().insert(key);
        }
    }

    /// Tells the sources which replicas may be held back: those that are throttled and not in sync.
    fn throttle(&mut self, view: &View) {
        let own = view.node.config.node_id;
        let mut throttled = BTreeSet::new();
        if self.shared.throttles.follower.is_on() {
            for (resource, set) in view.image.configs() {
                let lists = Throttled::of_followers(set);
                if resource.kind != ResourceKind::Topic || lists == Throttled::Nobody {
                    continue;
                }
                let Some(topic) = view.image.topic(&resource.name) else { continue };
                let states = (0..).map(PartitionIndex).zip(&topic.partitions);
                let held = states.filter(|(index, it)| lists.holds(*index, own) && !it.isr.contains(&own));
                throttled.extend(held.map(|(index, _)| (topic.id, index)));
            }
        }
        self.sources.values_mut().for_each(|source| source.throttle(&throttled));
    }

    /// Sees to it that there are links to all who lead what this node follows, and to nobody else.
    fn follow_nodes(&mut self, view: &View, fx: &mut Effects) {
        self.sources.retain(|leader, source| {
            if source.is_empty() {
                self.links.forget(Line::Fetches(*leader), fx);
                self.links.forget(Line::Reports(*leader), fx);
                self.reports.remove(leader);
            }
            !source.is_empty()
        });
        for leader in self.sources.keys() {
            let Some(address) = view.peer_address(*leader) else { continue };
            self.links.want(Line::Fetches(*leader), &address, fx);
            self.links.want(Line::Reports(*leader), &address, fx);
        }
    }

    // --- links ---

    fn heard(&mut self, now: Now, heard: Option<Heard<Line>>, fx: &mut Effects) {
        match heard {
            Some(Heard::Up { to, who }) => {
                let (Line::Fetches(leader) | Line::Reports(leader)) = to;
                if who.node != leader {
                    hit!(wrong_node_reached);
                    let down = self.links.give_up(now.mono, to, fx);
                    return self.heard(now, Some(down), fx);
                }
                self.up(to);
            }
            Some(Heard::Down { to: Line::Fetches(leader), why: Down::Refused | Down::Lost, .. }) => {
                if let Some(source) = self.sources.get_mut(&leader) {
                    source.begin_anew();
                }
            }
            Some(Heard::Answer { to: Line::Fetches(leader), number, version, body }) => {
                self.fetched(now, leader, number, (version, body), fx);
            }
            Some(Heard::Down { to: Line::Reports(_), .. } | Heard::Answer { to: Line::Reports(_), .. })
            | None => {}
        }
    }

    fn up(&mut self, to: Line) {
        match to {
            Line::Fetches(leader) => {
                if let Some(source) = self.sources.get_mut(&leader) {
                    source.begin_anew();
                }
            }
            // What was told over the link before may be lost.
            Line::Reports(leader) => {
                let all = self.sources.get(&leader).into_iter().flat_map(Source::keys);
                self.reports.entry(leader).or_default().extend(all);
            }
        }
    }

    fn fetched(
        &mut self,
        now: Now,
        leader: BrokerId,
        number: i32,
        (version, mut body): (i16, Reader),
        fx: &mut Effects,
    ) {
        let Some(source) = self.sources.get_mut(&leader) else { return };
        match FetchResponse::decode(&mut body, version) {
            Ok(response) => {
                let due = self.reports.entry(leader).or_default();
                source.answered(number, response, &mut Taking { now, shared: &self.shared, due, fx });
                self.complain(leader, fx);
            }
            Err(error) => {
                fx.log(Level::Warn, format!("Broker {leader} answers what cannot be read: {error}"));
                let down = self.links.give_up(now.mono, Line::Fetches(leader), fx);
                self.heard(now, Some(down), fx);
            }
        }
    }

    /// Tells a leader what it has sent damaged. If that is lost it will be sent again.
    fn complain(&mut self, leader: BrokerId, fx: &mut Effects) {
        let complaints = self.sources.get_mut(&leader).map(Source::complaints).unwrap_or_default();
        let Some(own) = self.own.filter(|_| !complaints.is_empty()) else { return };
        let topic = |((topic, index), epoch, offset): (Key, LeaderEpoch, EndOffset)| TopicProgress {
            topic_id: topic.0,
            partitions: vec![PartitionProgress {
                partition_index: index.0,
                leader_epoch: epoch.0,
                damaged_offset: offset.0,
                ..PartitionProgress::default()
            }],
            ..TopicProgress::default()
        };
        let topics = complaints.into_iter().map(topic).collect();
        self.links.tell(Line::Reports(leader), &progress(own, topics), fx);
    }

    fn cut_done(&mut self, replica: Arc<Replica>, error: Option<seglog::OpenLogError>, fx: &mut Effects) {
        let key = (replica.topic, replica.index);
        if let Some(error) = error {
            hit!(cut_failed);
            let text = format!(
                "The log of {}-{} could not be cut and is opened anew: {error}",
                replica.name, replica.index
            );
            fx.log(Level::Warn, text);
            self.shared.end_if_fenced(fx);
            fx.tell(Owner::Metadata, Mail::Reopen(replica));
        }
        let source = self.followed.get(&key).and_then(|leader| self.sources.get_mut(leader));
        if let Some(source) = source {
            source.cut_done(key);
        }
    }

    // --- going on ---

    /// Sends what there is to send, and gives up on what is not answered.
    fn go_on(&mut self, now: Now, fx: &mut Effects) {
        self.in_sync.go_on(now.mono, &self.view, fx);
        let Some(own) = self.own else { return };
        self.report(own, fx);
        let config = &self.view.node.config;
        let held_until = self.shared.throttles.follower.held_until(now.mono);
        for (leader, source) in &mut self.sources {
            let line = Line::Fetches(*leader);
            if source.is_overdue(now.mono) {
                hit!(fetch_not_answered);
                let _down = self.links.give_up(now.mono, line, fx);
                source.begin_anew();
            }
            if self.links.is_up(line)
                && let Some(request) = source.next_request(own, (now.mono, held_until), config)
            {
                let number = self.links.ask(line, &request, fx);
                source.asked(number);
            }
            // What rests is looked at when there is a link to ask over.
            if self.links.is_up(line)
                && let Some(at) = source.wake_at()
            {
                fx.wake(at);
            }
        }
    }

    /// Tells leaders how far this disk is.
    fn report(&mut self, own: Incarnation, fx: &mut Effects) {
        for (leader, due) in &mut self.reports {
            let line = Line::Reports(*leader);
            if due.is_empty() || !self.links.is_up(line) {
                continue;
            }
            let Some(source) = self.sources.get(leader) else { continue };
            let all = core::mem::take(due);
            let mut topics: Vec<TopicProgress> = Vec::new();
            let mut count = 0;
            for key in &all {
                let Some((epoch, flushed)) = source.replica(*key).and_then(|it| it.report(*leader)) else {
                    continue;
                };
                let part = PartitionProgress {
                    partition_index: key.1.0,
                    leader_epoch: epoch.0,
                    flushed_offset: flushed.0,
                    ..PartitionProgress::default()
                };
                match topics.last_mut().filter(|topic| topic.topic_id == key.0.0) {
                    Some(topic) => topic.partitions.push(part),
                    None => topics.push(TopicProgress {
                        topic_id: key.0.0,
                        partitions: vec![part],
                        ..TopicProgress::default()
                    }),
                }
                count += 1;
                if count % REPORTS_MAX == 0 {
                    self.links.tell(line, &progress(own, core::mem::take(&mut topics)), fx);
                }
            }
            if !topics.is_empty() {
                self.links.tell(line, &progress(own, topics), fx);
            }
        }
    }
}

fn progress(own: Incarnation, topics: Vec<TopicProgress>) -> PeerProgressRequest {
    PeerProgressRequest {
        replica_id: own.id.0,
        replica_epoch: own.epoch,
        topics,
        ..PeerProgressRequest::default()
    }
}
