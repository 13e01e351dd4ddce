//! A node that leads partitions which this node follows: the fetch session with it and where each partition stands.
//!
//! A partition in trouble leaves the session and comes back after a pause, so that the others go on: an answer that tells
//! of trouble is not waited for by the leader, and would be given over and over.

use super::Key;
use crate::effects::{Effects, Level};
use crate::job::Job;
use crate::replica::{Copied, Cut, Replica, Served, TakeError, Took};
use crate::shared::Shared;
use crate::upkeep::Stirred;
use base::{BrokerId, EndOffset, Instant, LeaderEpoch, Now, PartitionIndex, Span, TopicId, Uuid, hit};
use bytes::Bytes;
use cluster::config::NodeConfig;
use cluster::partition::{EpochEnd, Incarnation, Position};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use wire::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, PartitionData, ReplicaState,
};
use wire::{ErrorCode, Records};

/// How long an answer may take beyond what the leader was asked to wait.
const ANSWER_MAX: Span = Span::from_secs(10);
/// The first pause of a partition in trouble; it doubles with each further one.
const PAUSE_MIN: Span = Span::from_millis(20);
/// The epoch of a request that begins a session.
const FIRST_EPOCH: i32 = 0;

/// A leader's node.
#[derive(Debug)]
pub(super) struct Source {
    leader: BrokerId,
    /// Its id, and the epoch of the next request.
    session: (i32, i32),
    /// Fetches without an answer, in order. There is one that waits at the leader, and at most another that ends the wait
    /// because a partition has come: it is not to wait for what happens elsewhere.
    under_way: VecDeque<UnderWay>,
    places: BTreeMap<Key, Place>,
    /// What the leader has sent damaged.
    complaints: Vec<(Key, LeaderEpoch, EndOffset)>,
    /// Places whose position the session does not know.
    changed: BTreeSet<Key>,
    /// What the session has and is not to have.
    forgotten: BTreeSet<Key>,
    /// Places that pause, and until when.
    resting: BTreeSet<(Instant, Key)>,
    /// Places that may be held back.
    throttled: BTreeSet<Key>,
    /// They are out of the session until then: enough was fetched of them.
    held_until: Option<Instant>,
    /// The session was refused: until then nothing is asked.
    paused_until: Option<Instant>,
    failures: u32,
    /// Requests so far.
    requests: u64,
    pause_max: Span,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    number: i32,
    /// Its place among all requests.
    request: u64,
    until: Instant,
}

/// One partition.
#[derive(Debug)]
struct Place {
    replica: Arc<Replica>,
    epoch: LeaderEpoch,
    phase: Phase,
    /// The position that the session has, and the request that said so.
    asked: Option<(Position, u64)>,
    /// The position that it had before: an answer to an earlier request is about that one (A4).
    before: Option<Position>,
    /// The beginning that the leader was last told.
    told_start: EndOffset,
    /// The leader waits for what it is to be told next.
    is_urgent: bool,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Ready,
    /// Its log is being cut.
    Cutting,
    Resting(Instant),
}

impl Source {
    pub(super) const fn new(leader: BrokerId, pause_max: Span) -> Self {
        Self {
            leader,
            session: (0, FIRST_EPOCH),
            under_way: VecDeque::new(),
            places: BTreeMap::new(),
            complaints: Vec::new(),
            changed: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            resting: BTreeSet::new(),
            throttled: BTreeSet::new(),
            held_until: None,
            paused_until: None,
            failures: 0,
            requests: 0,
            pause_max,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.places.keys().copied()
    }

    pub(super) fn replica(&self, key: Key) -> Option<&Arc<Replica>> {
        self.places.get(&key).map(|place| &place.replica)
    }

    /// Follows a partition in that epoch. Returns true if that is new.
    pub(super) fn want(&mut self, key: Key, replica: &Arc<Replica>, epoch: LeaderEpoch) -> bool {
        let known = self.places.get_mut(&key).filter(|place| Arc::ptr_eq(&place.replica, replica));
        if let Some(place) = known {
            if place.epoch == epoch {
                return false;
            }
            // What the session has stays known: an answer that is under way belongs to the epoch before.
            place.epoch = epoch;
            place.failures = 0;
            if let Phase::Resting(until) = place.phase {
                self.resting.remove(&(until, key));
                place.phase = Phase::Ready;
            }
        } else {
            self.drop_place(key);
            let phase = Phase::Ready;
            let place = Place {
                replica: replica.clone(),
                epoch,
                phase,
                asked: None,
                before: None,
                told_start: EndOffset::ZERO,
                is_urgent: false,
                failures: 0,
            };
            self.places.insert(key, place);
        }
        self.changed.insert(key);
        true
    }

    /// The beginning of a partition's log may have moved, for which others may wait.
    pub(super) fn look_at_start(&mut self, key: Key) {
        let Some(place) = self.places.get_mut(&key) else { return };
        if place.replica.going(self.leader).is_some_and(|going| going.log_start > place.told_start) {
            place.is_urgent = true;
            self.changed.insert(key);
        }
    }

    pub(super) fn drop_place(&mut self, key: Key) {
        let Some(place) = self.places.remove(&key) else { return };
        self.changed.remove(&key);
        self.throttled.remove(&key);
        if place.asked.is_some() {
            self.forgotten.insert(key);
        }
        if let Phase::Resting(until) = place.phase {
            self.resting.remove(&(until, key));
        }
    }

    /// The link is new, or this node is in another life: the leader knows nothing of what was asked before.
    pub(super) fn begin_anew(&mut self) {
        self.session = (0, FIRST_EPOCH);
        self.under_way.clear();
        self.forgotten.clear();
        for (key, place) in &mut self.places {
            (place.asked, place.before) = (None, None);
            self.changed.insert(*key);
        }
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.under_way.front().is_some_and(|oldest| oldest.until <= now)
    }

    /// The log of a partition has been cut.
    pub(super) fn cut_done(&mut self, key: Key) {
        if let Some(place) = self.places.get_mut(&key)
            && place.phase == Phase::Cutting
        {
            place.phase = Phase::Ready;
            self.changed.insert(key);
        }
    }

    /// When something is due.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let overdue = self.under_way.front().map(|oldest| oldest.until);
        let resting = self.resting.first().map(|(until, _)| *until);
        let held = self.held_until.filter(|_| !self.throttled.is_empty());
        overdue.into_iter().chain(resting).chain(held).chain(self.paused_until).min()
    }

    // --- asking ---

    /// The next fetch, if there is anything to fetch.
    pub(super) fn next_request(
        &mut self,
        own: Incarnation,
        (now, held_until): (Instant, Option<Instant>),
        config: &NodeConfig,
    ) -> Option<FetchRequest> {
        self.wake_resting(now);
        self.hold(held_until);
        self.paused_until = self.paused_until.filter(|until| *until > now);
        if self.paused_until.is_some() || !self.may_ask() {
            return None;
        }
        self.requests += 1;
        self.leave_out();
        let named = self.named(config);
        if !self.places.values().any(|place| place.asked.is_some()) {
            // The session, if there is one, is left to be forgotten by the leader.
            self.session = (0, FIRST_EPOCH);
            self.forgotten.clear();
            return None;
        }
        let request = FetchRequest {
            replica_state: ReplicaState {
                replica_id: own.id.0,
                replica_epoch: own.epoch,
                ..ReplicaState::default()
            },
            max_wait_ms: millis(config.replica_fetch_wait_max),
            min_bytes: config.replica_fetch_bytes_min,
            max_bytes: config.replica_fetch_response_bytes_max,
            session_id: self.session.0,
            session_epoch: self.next_epoch(),
            topics: topics_of(named),
            forgotten_topics_data: forgotten_of(core::mem::take(&mut self.forgotten)),
            ..FetchRequest::default()
        };
        let wait = config.replica_fetch_wait_max + ANSWER_MAX;
        self.under_way.push_back(UnderWay { number: 0, request: self.requests, until: now + wait });
        Some(request)
    }

    /// One fetch is under way at a time, unless a partition has come that the one that waits does not know of.
    fn may_ask(&self) -> bool {
        let has_come = |key: &Key| {
            let place = self.places.get(key);
            let is_ready = place.is_some_and(|place| {
                place.phase == Phase::Ready && (place.asked.is_none() || place.is_urgent)
            });
            is_ready && !self.is_held(key)
        };
        match self.under_way.len() {
            0 => true,
            1 if self.session.0 != 0 && self.changed.iter().any(has_come) => {
                hit!(follower_does_not_wait);
                true
            }
            _ => false,
        }
    }

    /// The epoch of the next request, which counts as sent.
    fn next_epoch(&mut self) -> i32 {
        let epoch = self.session.1;
        if self.session.0 != 0 {
            self.session.1 = epoch.checked_add(1).unwrap_or(FIRST_EPOCH + 1);
        }
        epoch
    }

    /// The request has this number; it could not be sent if it has none.
    pub(super) fn asked(&mut self, number: Option<i32>) {
        match (number, self.under_way.back_mut()) {
            (Some(number), Some(latest)) => latest.number = number,
            (_, _) => self.begin_anew(),
        }
    }

    /// These may be held back from now on, of those that are fetched here; others may not.
    pub(super) fn throttle(&mut self, all: &BTreeSet<Key>) {
        let mine: BTreeSet<Key> = all.iter().filter(|key| self.places.contains_key(key)).copied().collect();
        if mine != self.throttled {
            self.changed.extend(core::mem::replace(&mut self.throttled, mine));
        }
    }

    /// Until when what is throttled is not asked for. What is under way comes all the same, and is taken.
    fn hold(&mut self, until: Option<Instant>) {
        if self.held_until.is_some() && until.is_none() {
            self.changed.extend(&self.throttled);
        }
        self.held_until = until;
    }

    /// Takes what is held back out of the session.
    fn leave_out(&mut self) {
        if self.held_until.is_none() {
            return;
        }
        for key in &self.throttled {
            let Some(place) = self.places.get_mut(key).filter(|place| place.asked.is_some()) else {
                continue;
            };
            hit!(follower_holds_back);
            (place.asked, place.before) = (None, None);
            self.forgotten.insert(*key);
        }
    }

    fn is_held(&self, key: &Key) -> bool {
        self.held_until.is_some() && self.throttled.contains(key)
    }

    fn wake_resting(&mut self, now: Instant) {
        while let Some((until, key)) = self.resting.first().copied()
            && until <= now
        {
            self.resting.pop_first();
            if let Some(place) = self.places.get_mut(&key) {
                place.phase = Phase::Ready;
                self.changed.insert(key);
            }
        }
    }

    /// What the request names: everything in the first one of a session, then what the session does not know.
    fn named(&mut self, config: &NodeConfig) -> Vec<(Key, FetchPartition)> {
        let changed = core::mem::take(&mut self.changed);
        let mut named = Vec::new();
        let all = self.session.1 == FIRST_EPOCH;
        let keys: Vec<Key> =
            if all { self.places.keys().copied().collect() } else { changed.into_iter().collect() };
        for key in keys {
            // What is held back comes back by itself.
            if self.is_held(&key) {
                continue;
            }
            let Some(place) = self.places.get_mut(&key).filter(|place| place.phase == Phase::Ready) else {
                continue;
            };
            // If it has another role by now, the view that says so is on its way.
            let Some(going) = place.replica.going(self.leader) else { continue };
            place.before = place.asked.map(|(position, _)| position);
            place.asked = Some((going.position, self.requests));
            (place.told_start, place.is_urgent) = (going.log_start, false);
            let part = FetchPartition {
                partition: key.1.0,
                current_leader_epoch: going.position.leader_epoch.0,
                fetch_offset: going.position.offset.0,
                last_fetched_epoch: going.position.last_epoch.map_or(-1, |epoch| epoch.0),
                log_start_offset: going.log_start.0,
                partition_max_bytes: config.replica_fetch_bytes_max,
                high_watermark: going.high_watermark.0,
                ..FetchPartition::default()
            };
            named.push((key, part));
        }
        named
    }

    // --- answers ---

    /// Takes an answer. They come in the order of the requests.
    pub(super) fn answered(&mut self, number: i32, response: FetchResponse, taking: &mut Taking<'_>) {
        let Some(oldest) = self.under_way.front().copied().filter(|oldest| oldest.number == number) else {
            return;
        };
        self.under_way.pop_front();
        if response.error_code != 0 {
            hit!(follower_session_refused);
            self.begin_anew();
            self.paused_until = Some(taking.now.mono + pause(self.failures, self.pause_max));
            self.failures = self.failures.saturating_add(1);
            return;
        }
        self.failures = 0;
        if response.session_id == 0 {
            self.session = (0, FIRST_EPOCH);
        } else if self.session.0 == 0 {
            self.session = (response.session_id, FIRST_EPOCH + 1);
        }
        for topic in response.responses {
            for data in topic.partitions {
                let key = (TopicId(topic.topic_id), PartitionIndex(data.partition_index));
                self.part_answered(key, oldest.request, &data, taking);
            }
        }
    }

    fn part_answered(&mut self, key: Key, request: u64, data: &PartitionData, taking: &mut Taking<'_>) {
        let Some(place) = self.places.get(&key).filter(|place| place.phase == Phase::Ready) else { return };
        let Some((asked, named_by)) = place.asked else { return };
        let Some(asked) = (if named_by <= request { Some(asked) } else { place.before }) else { return };
        if data.error_code == ErrorCode::None as i16 {
            self.part_served(key, asked, data, taking);
        } else if data.error_code == ErrorCode::OffsetOutOfRange as i16 {
            self.start_over(key, asked, data, taking);
        } else {
            hit!(follower_refused);
            self.rest(key, taking.now.mono);
        }
    }

    fn part_served(&mut self, key: Key, asked: Position, data: &PartitionData, taking: &mut Taking<'_>) {
        let Some(place) = self.places.get_mut(&key) else { return };
        let empty = Bytes::new();
        let records = match &data.records {
            Some(Records::Bytes(bytes)) => bytes,
            Some(Records::Elsewhere { .. }) | None => &empty,
        };
        if self.throttled.contains(&key) {
            taking.shared.throttles.follower.record(taking.now.mono, records.len() as u64);
        }
        let diverging = EpochEnd {
            epoch: LeaderEpoch(data.diverging_epoch.epoch),
            end: EndOffset(data.diverging_epoch.end_offset),
        };
        let served = Served {
            asked,
            diverging: (diverging.end >= EndOffset::ZERO).then_some(diverging),
            high_watermark: EndOffset(data.high_watermark),
            log_start: EndOffset(data.log_start_offset),
            records,
        };
        match place.replica.take(&served, taking.now) {
            Ok(Took::Nothing) => {
                self.changed.insert(key);
            }
            Ok(Took::Cut(cut)) => self.cut(key, asked.leader_epoch, cut, taking),
            Ok(Took::Copied(copied)) => {
                place.failures = 0;
                if copied.bytes > 0 {
                    self.changed.insert(key);
                }
                taking.copied(key, &place.replica, copied);
            }
            Err(error) => {
                hit!(follower_could_not_take);
                if matches!(error, TakeError::Damaged(_)) {
                    self.complaints.push((key, asked.leader_epoch, asked.offset));
                }
                taking.failed(&place.replica, &error);
                self.rest(key, taking.now.mono);
            }
        }
    }

    /// What the leader is to look at itself: partition, epoch and offset of what came damaged.
    pub(super) fn complaints(&mut self) -> Vec<(Key, LeaderEpoch, EndOffset)> {
        core::mem::take(&mut self.complaints)
    }

    /// The leader has nothing where this log ends: it has deleted it, or has never had it.
    fn start_over(&mut self, key: Key, asked: Position, data: &PartitionData, taking: &mut Taking<'_>) {
        let Some(place) = self.places.get(&key) else { return };
        let is_now = place.replica.going(self.leader).is_some_and(|going| going.position == asked);
        if !is_now {
            self.changed.insert(key);
            return;
        }
        let start = EndOffset(data.log_start_offset);
        match place.replica.start_over_at(start) {
            Some((epoch, at)) if epoch == asked.leader_epoch => {
                hit!(follower_starts_over);
                let text = format!(
                    "{}-{} starts over at offset {at}: its leader has deleted everything up to there",
                    place.replica.name, place.replica.index
                );
                taking.fx.log(Level::Info, text);
                self.cut(key, epoch, Cut::StartOver(at), taking);
            }
            Some(_) | None => self.rest(key, taking.now.mono),
        }
    }

    fn cut(&mut self, key: Key, epoch: LeaderEpoch, cut: Cut, taking: &mut Taking<'_>) {
        let Some(place) = self.places.get_mut(&key) else { return };
        place.phase = Phase::Cutting;
        (place.asked, place.before) = (None, None);
        self.forgotten.insert(key);
        taking.fx.jobs.push(Job::Cut { replica: place.replica.clone(), epoch, cut, now: taking.now });
    }

    /// Takes a partition out of the session for a while.
    fn rest(&mut self, key: Key, now: Instant) {
        let Some(place) = self.places.get_mut(&key) else { return };
        let until = now + pause(place.failures, self.pause_max);
        place.failures = place.failures.saturating_add(1);
        place.phase = Phase::Resting(until);
        (place.asked, place.before) = (None, None);
        self.forgotten.insert(key);
        self.resting.insert((until, key));
    }
}

/// What an answer is taken with.
pub(super) struct Taking<'a> {
    pub(super) now: Now,
    pub(super) shared: &'a Shared,
    /// The partitions that the leader is to be told of.
    pub(super) due: &'a mut BTreeSet<Key>,
    pub(super) fx: &'a mut Effects,
}

impl Taking<'_> {
    fn copied(&mut self, key: Key, replica: &Arc<Replica>, mut copied: Copied) {
        copied.tell(self.fx);
        if copied.dirty {
            self.shared.flusher.schedule(replica, self.fx);
        }
        if copied.stirred != Stirred::No {
            self.shared.upkeep.stirred(replica, copied.stirred, self.now, self.fx);
        }
        if copied.reports {
            self.due.insert(key);
        }
        self.fx.jobs.extend(copied.retire.map(|retire| *retire));
    }

    fn failed(&mut self, replica: &Replica, error: &TakeError) {
        let (name, index) = (&replica.name, replica.index);
        match error {
            TakeError::Damaged(error) => {
                self.fx.log(Level::Warn, format!("What was fetched of {name}-{index} is damaged: {error}"));
            }
            TakeError::Append(error) => {
                self.fx
                    .log(Level::Warn, format!("What was fetched of {name}-{index} is not stored: {error}"));
            }
        }
        self.shared.end_if_fenced(self.fx);
    }
}

fn pause(failures: u32, longest: Span) -> Span {
    (PAUSE_MIN * (1 << failures.min(10))).min(longest)
}

fn millis(span: Span) -> i32 {
    i32::try_from(span.as_millis()).unwrap_or(i32::MAX)
}

/// Partitions by topic; those of a topic stand together.
fn topics_of(named: Vec<(Key, FetchPartition)>) -> Vec<FetchTopic> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for ((topic_id, _), part) in named {
        match topics.last_mut().filter(|topic| topic.topic_id == topic_id.0) {
            Some(topic) => topic.partitions.push(part),
            None => topics.push(FetchTopic {
                topic_id: topic_id.0,
                partitions: vec![part],
                ..FetchTopic::default()
            }),
        }
    }
    topics
}

fn forgotten_of(keys: BTreeSet<Key>) -> Vec<ForgottenTopic> {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (topic, index) in keys {
        topics.entry(topic.0).or_default().push(index.0);
    }
    let topic = |(topic_id, partitions)| ForgottenTopic { topic_id, partitions, ..ForgottenTopic::default() };
    topics.into_iter().map(topic).collect()
}
