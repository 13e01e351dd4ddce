//! Following the log: what has committed is replayed into the image, and the image becomes everybody's view.

use super::{FULL_RETRY, Metadata, partitions};
use crate::effects::{Effects, Level, Mail};
use crate::job::Job;
use crate::view::{News, Replicas, View};
use base::{BrokerId, Now, TopicId, hit, planted};
use bytes::Bytes;
use cluster::record_codec::decode_entry;
use cluster::{Delta, Record};
use quorum::{Committed, Persist, ProposalId, Role, SnapshotPoint};
use std::sync::{Arc, PoisonError};

impl Metadata {
    /// Lets the quorum work until it waits for the disk.
    pub(super) fn drive(&mut self, now: Now, fx: &mut Effects) {
        loop {
            let output = self.quorum.output();
            let idle = output.persist.is_none() && output.committed.is_empty() && output.role.is_none();
            self.peers.send(output.send, fx);
            if let Some(persist) = output.persist {
                fx.jobs.push(Job::PersistRaft { store: self.store.clone(), persist });
            }
            if let Some(role) = output.role {
                self.role_changed(now, role, fx);
            }
            if let Some(offer) = output.fetch {
                self.begin_fetch(now, offer, fx);
            }
            self.snapshot_wanted |= output.snapshot_wanted;
            if !output.committed.is_empty() {
                self.apply(now, output.committed, fx);
            }
            self.snapshot_if_due(fx);
            if idle || fx.fatal.is_some() {
                return;
            }
        }
    }

    fn role_changed(&mut self, now: Now, role: Role, fx: &mut Effects) {
        // What was decided but not committed is void unless this node leads on.
        for (asker, errand) in self.leading.step_down() {
            self.ask_again(now, asker, errand, fx);
        }
        self.shared.counters.set_controller(role == Role::Leader);
        if role != Role::Leader {
            self.refuse_admissions(fx);
        } else if planted!(A14) {
            self.take_office(now, fx);
        }
        self.want_links(fx);
    }

    pub(super) fn persisted(
        &mut self,
        now: Now,
        number: u64,
        outcome: Result<(), super::StoreError>,
        again: Option<Box<Persist>>,
        fx: &mut Effects,
    ) {
        match (outcome, again) {
            (Ok(()), _) => {
                let messages = self.quorum.persisted(number);
                self.peers.send(messages, fx);
                self.full = None;
            }
            (Err(_), Some(persist)) => {
                hit!(metadata_waits_for_space);
                if self.full.is_none() {
                    fx.log(
                        Level::Error,
                        "The disk is full: changes of the metadata wait until there is room",
                    );
                }
                self.full = Some((now.mono + FULL_RETRY, *persist));
            }
            (Err(error), None) => {
                // A fenced metadata directory ends the process: the log's tail is in doubt (B1).
                fx.fatal = Some(format!("the metadata log cannot be written: {error}"));
            }
        }
    }

    fn apply(&mut self, now: Now, entries: Vec<Committed>, fx: &mut Effects) {
        let mut delta = Delta::default();
        let mut replies = Vec::new();
        let mut membership_changed = false;
        for entry in entries {
            let (index, term, data) = match entry {
                Committed::Data { index, term, data } => (index, term, data),
                Committed::Membership { index, term, .. } => {
                    membership_changed = true;
                    (index, term, Bytes::new())
                }
                Committed::Snapshot(point) => {
                    membership_changed = true;
                    self.jump(&point, &mut delta, fx);
                    continue;
                }
            };
            // The bug brings its failure along: nothing else makes one.
            let fails = planted!(E1) && index.is_multiple_of(16);
            if let Err(reason) = self.apply_one(if fails { Bytes::new() } else { data }, &mut delta) {
                // A node that cannot apply committed metadata must not go on (E1).
                fx.fatal = Some(format!("metadata entry {index} cannot be applied: {reason}"));
                return;
            }
            (self.committed.index, self.committed.term) = (index, term);
            while let Some(front) = self.leading.pending.front()
                && front.id.index <= index
            {
                let Some(done) = self.leading.pending.pop_front() else { break };
                assert_eq!(
                    done.id,
                    ProposalId { index, term },
                    "another entry committed at a proposal's index"
                );
                replies.extend(done.replies);
            }
        }
        self.peers.book.note_registered(&self.committed, &delta.brokers);
        if self.quorum.is_established() && !self.leading.is_here() {
            self.take_office(now, fx);
        }
        self.apply_delta(&delta, now, fx);
        if membership_changed {
            self.settle_admissions(fx);
        }
        if membership_changed || !delta.brokers.is_empty() {
            self.want_links(fx);
            self.brokers_changed(&delta.brokers, now, fx);
        }
        self.answer(now, replies, fx);
    }

    /// A snapshot has taken the place of everything up to it.
    fn jump(&mut self, point: &SnapshotPoint, delta: &mut Delta, fx: &mut Effects) {
        let Some(image) = self.store.take_installed() else {
            fx.fatal = Some(format!("a snapshot up to {} came from nowhere", point.index));
            return;
        };
        fx.log(Level::Info, format!("Took over a snapshot of the metadata up to {}", point.index));
        delta.extend(self.committed.difference(&image));
        self.committed = image;
        self.open = None;
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

    fn note_departures(&mut self, brokers: &[BrokerId], now: Now, fx: &mut Effects) {
        for broker in brokers {
            let serves = self.committed.serves(*broker);
            if self.view.image.serves(*broker) != serves {
                self.departures.serves(*broker, serves, now.mono);
                self.tell_whether_serves(*broker, serves, fx);
            }
        }
    }

    /// What is replayed on the way to serving is no news.
    fn tell_whether_serves(&self, broker: BrokerId, serves: bool, fx: &mut Effects) {
        if !self.own.is_serving() {
            return;
        }
        let (level, what) = match serves {
            true => (Level::Info, "serves again"),
            false if broker == self.node.config.node_id => (Level::Warn, "(this one) is fenced"),
            false => (Level::Info, "is fenced: it leads nothing"),
        };
        fx.log(level, format!("Broker {broker} {what}"));
    }

    /// Opens and closes partitions as the metadata says, and shows everybody. Of the topics that the delta names, partitions
    /// are looked at that are not what they were when this was done last.
    pub(super) fn apply_delta(&mut self, delta: &Delta, now: Now, fx: &mut Effects) {
        self.bring_about(delta, false, now, fx);
    }

    /// Opens what is not open yet of these topics.
    pub(super) fn open_missing_of(&mut self, topics: Vec<TopicId>, now: Now, fx: &mut Effects) {
        self.bring_about(&Delta { topics, ..Delta::default() }, true, now, fx);
    }

    fn bring_about(&mut self, delta: &Delta, opens_missing: bool, now: Now, fx: &mut Effects) {
        let applied = self.applied.take();
        let mut before = applied.as_ref();
        let is_awaited = before.is_some() && !self.quorum.is_alone();
        let opens_max = if is_awaited { partitions::OPENED_AT_ONCE } else { usize::MAX };
        self.note_departures(&delta.brokers, now, fx);
        let mut replicas = self.view.replicas.clone();
        let all;
        let mut delta = delta;
        if !self.has_roles && self.own.is_known_to(&self.committed, self.node.config.node_id) {
            self.has_roles = true;
            all = Delta { topics: partitions::everything(&self.committed).topics, ..delta.clone() };
            (delta, before) = (&all, None);
        }
        // A partition that could not be opened is not among the replicas: its directory makes way when it is in one.
        self.removed.extend(delta.removed.iter().map(|(id, _)| *id));
        let target = partitions::Target {
            node: &self.node,
            shared: &self.shared,
            image: &self.committed,
            before,
            opens_max,
            opens_missing,
            removed: &self.removed,
            damaged: self.damage.partitions(),
            is_current: self.own.is_serving() || self.leading.is_here(),
            has_roles: self.has_roles,
        };
        let sent = fx.mail.len();
        let remaining = partitions::apply(&target, delta, &mut replicas, now, fx);
        self.applied = Some(self.committed.clone());
        // Who hears that this node leads something no more finds in the view who does.
        let told = fx.mail.split_off(sent);
        self.removals += remaining.removals;
        self.damage.found(&remaining, &replicas, &self.committed, self.node.config.node_id);
        self.see_to_the_rest(&remaining, now, fx);
        let news = News {
            partitions: remaining.touched,
            removed: delta.removed.clone(),
            has_brokers: !delta.brokers.is_empty(),
        };
        self.publish(replicas, news, fx);
        fx.mail.extend(told);
    }

    /// What could not be opened, and what was too much, is opened later.
    fn see_to_the_rest(&mut self, remaining: &partitions::Remaining, now: Now, fx: &mut Effects) {
        if let Some(reason) = &remaining.reason
            && !self.told_waiting
        {
            fx.log(Level::Error, format!("Partitions that cannot be opened are tried again: {reason}"));
        }
        self.told_waiting = remaining.reason.is_some();
        self.open_later(&remaining.topics, now.mono + FULL_RETRY);
        self.open_later(&remaining.more, now.mono);
    }

    /// Shows everybody the new view, and what is news in it.
    pub(super) fn publish(&mut self, replicas: Replicas, news: News, fx: &mut Effects) {
        self.view = Arc::new(View {
            node: self.node.clone(),
            image: Arc::new(self.committed.clone()),
            replicas,
            departures: self.departures.clone(),
            news: Arc::new(news),
        });
        *self.latest_view.lock().unwrap_or_else(PoisonError::into_inner) = self.view.clone();
        for reader in &self.readers {
            fx.mail.push((*reader, Mail::View(self.view.clone())));
        }
    }
}
