//! What a reader follows: its partitions, and which of them have news.
//!
//! A fetch session is a reader, and so is a connection whose client keeps none. A partition without news had nothing
//! to read when it was last looked at, and says so when that changes. A fetch looks at those with news alone, so that
//! one of a thousand partitions costs as much as one of one.

use crate::effects::Owner;
use crate::replica::{Replica, Waiter};
use crate::view::View;
use base::{EndOffset, PartitionIndex, TopicId, Uuid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use wire::fetch::{FetchPartition, FetchTopic, ForgottenTopic};

/// A topic as the client names it: by id where it uses ids, else by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TopicKey {
    pub(crate) id: Uuid,
    pub(crate) name: String,
}

/// High watermark and beginning of a log: what readers are told beside records.
pub(crate) type Marks = (i64, i64);

/// One partition that a reader follows.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) topic: Arc<TopicKey>,
    pub(crate) wanted: FetchPartition,
    /// What the partition was when it was last looked at.
    pub(crate) seen: Marks,
    /// Found once and kept until the metadata of it change; a partition that is gone is not kept alive by it.
    pub(crate) replica: Weak<Replica>,
    /// What the client was last told. A difference alone is worth a line of an answer.
    told: Option<Marks>,
    /// True if there was nothing to read and the partition has not spoken since.
    waits: bool,
    /// Bytes that were safe as far as the reader has heard.
    safe_bytes: u64,
    /// The order of service: a partition that gave records goes to the end, so that all get their turn.
    turn: u64,
    /// The request that named it last.
    named: u64,
}

/// What kind of reader it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// The client is told only what changed.
    pub(crate) is_session: bool,
    /// It is a replica: it reads up to the end of the log and not only what is safe.
    pub(crate) is_follower: bool,
}

impl Place {
    /// What a follower believes to be safe: what it was told last, or what it said. The first time in a leader's epoch it
    /// knows nothing, and is told at once even if there is nothing to read: before it has heard that its log is the
    /// beginning of this one, it may not say what is on its disk.
    pub(crate) fn follower_knows(&self) -> Option<EndOffset> {
        self.told.map(|(high_watermark, _)| EndOffset(high_watermark))
    }

    /// Where a follower believes that the leader's log begins.
    pub(crate) fn follower_knows_start(&self) -> Option<EndOffset> {
        self.told.map(|(_, start)| EndOffset(start))
    }
}

/// What of a topic is news in a view.
#[derive(Debug)]
pub(crate) struct Change {
    /// As clients name it: by id, and by name.
    keys: [TopicKey; 2],
    /// `None` if it is gone as a whole.
    partitions: Option<Vec<i32>>,
}

impl Change {
    fn new(id: TopicId, name: &str, partitions: Option<Vec<i32>>) -> Self {
        let by_id = TopicKey { id: id.0, name: String::new() };
        let by_name = TopicKey { id: Uuid::default(), name: name.to_owned() };
        Self { keys: [by_id, by_name], partitions }
    }

    /// All there are, found once for all readers.
    pub(crate) fn all_in(view: &View) -> Vec<Self> {
        let of_topic = |news: &[(TopicId, PartitionIndex)]| {
            let topic = view.image.topic_by_id(news.first()?.0)?;
            let indexes = news.iter().map(|(_, index)| index.0).collect();
            Some(Self::new(topic.id, &topic.name, Some(indexes)))
        };
        let changed = view.news.partitions.chunk_by(|one, next| one.0 == next.0).filter_map(of_topic);
        let gone = view.news.removed.iter().map(|(id, name)| Self::new(*id, name, None));
        changed.chain(gone).collect()
    }
}

/// A reader and its partitions.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) id: u64,
    owner: Owner,
    kind: Kind,
    places: BTreeMap<u32, Place>,
    by_topic: BTreeMap<Arc<TopicKey>, BTreeMap<i32, u32>>,
    /// Places that have to be looked at, in the order of service.
    news: BTreeSet<(u64, u32)>,
    next_place: u32,
    next_turn: u64,
    requests: u64,
    /// Places of partitions that the latest request names once more.
    repeated: Vec<u32>,
}

/// Partitions that a client without a session no longer names are forgotten once they are more than those that it names,
/// and as many as this besides.
const UNNAMED_MAX: usize = 16;

impl Reader {
    pub(crate) fn new(id: u64, owner: Owner, kind: Kind) -> Self {
        Self {
            id,
            owner,
            kind,
            places: BTreeMap::new(),
            by_topic: BTreeMap::new(),
            news: BTreeSet::new(),
            next_place: 0,
            next_turn: 0,
            requests: 0,
            repeated: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn place(&self, part: u32) -> Option<&Place> {
        self.places.get(&part)
    }

    /// The name under which a partition tells this reader of news.
    pub(crate) const fn waiter(&self, part: u32) -> Waiter {
        Waiter { owner: self.owner, ticket: self.id, part }
    }

    /// Notes what a request wants. Returns the places that it names, in its order. A partition that is named twice is
    /// answered twice outside of sessions, as Kafka does.
    pub(crate) fn want(&mut self, topics: Vec<FetchTopic>) -> Vec<u32> {
        self.requests += 1;
        for part in core::mem::take(&mut self.repeated) {
            self.drop_place(part);
        }
        let mut named = Vec::new();
        for topic in topics {
            let key = TopicKey { id: topic.topic_id, name: topic.topic.as_str().to_owned() };
            for wanted in topic.partitions {
                named.extend(self.want_one(&key, wanted));
            }
        }
        if !self.kind.is_session && self.places.len() > 2 * named.len() + UNNAMED_MAX {
            self.drop_unnamed();
        }
        named
    }

    /// The place of a partition, unless the request has named it before and that is to be ignored.
    fn want_one(&mut self, key: &TopicKey, mut wanted: FetchPartition) -> Option<u32> {
        // What nobody knows would keep the request's memory.
        wanted.unknown_tags = wire::UnknownTags::default();
        let known = self.by_topic.get(key).and_then(|parts| parts.get(&wanted.partition)).copied();
        let Some(part) = known else { return Some(self.add(key, wanted, true)) };
        let place = self.places.get_mut(&part)?;
        let is_repeated = place.named == self.requests;
        if is_repeated && !self.kind.is_session {
            let part = self.add(key, wanted, false);
            self.repeated.push(part);
            return Some(part);
        }
        place.named = self.requests;
        if place.wanted != wanted {
            if place.wanted.current_leader_epoch != wanted.current_leader_epoch {
                place.told = None;
            }
            place.wanted = wanted;
            place.waits = false;
            self.settle(part);
        }
        (!is_repeated).then_some(part)
    }

    fn add(&mut self, key: &TopicKey, wanted: FetchPartition, is_first: bool) -> u32 {
        let known = self.by_topic.get_key_value(key).map(|(topic, _)| topic.clone());
        let topic = known.unwrap_or_else(|| Arc::new(key.clone()));
        let part = self.next_place;
        self.next_place = self.next_place.wrapping_add(1);
        if is_first {
            self.by_topic.entry(topic.clone()).or_default().insert(wanted.partition, part);
        }
        let place = Place {
            topic,
            wanted,
            seen: (-1, -1),
            replica: Weak::new(),
            told: None,
            waits: false,
            safe_bytes: 0,
            turn: self.next_turn,
            named: self.requests,
        };
        self.next_turn += 1;
        self.places.insert(part, place);
        self.settle(part);
        part
    }

    fn drop_unnamed(&mut self) {
        let now = self.requests;
        let unnamed = self.places.iter().filter(|(_, place)| place.named != now).map(|(part, _)| *part);
        for part in unnamed.collect::<Vec<_>>() {
            self.drop_place(part);
        }
    }

    /// The client wants these no longer.
    pub(crate) fn forget(&mut self, topics: Vec<ForgottenTopic>) {
        for topic in topics {
            let key = TopicKey { id: topic.topic_id, name: topic.topic.as_str().to_owned() };
            for index in topic.partitions {
                if let Some(part) = self.by_topic.get(&key).and_then(|parts| parts.get(&index)).copied() {
                    self.drop_place(part);
                }
            }
        }
    }

    fn drop_place(&mut self, part: u32) {
        let waiter = self.waiter(part);
        let Some(place) = self.places.remove(&part) else { return };
        self.news.remove(&(place.turn, part));
        if let Some(parts) = self.by_topic.get_mut(&place.topic) {
            if parts.get(&place.wanted.partition) == Some(&part) {
                parts.remove(&place.wanted.partition);
            }
            if parts.is_empty() {
                self.by_topic.remove(&place.topic);
            }
        }
        if let Some(replica) = place.replica.upgrade() {
            replica.unwatch(waiter);
        }
    }

    /// No partition speaks to this reader any more.
    pub(crate) fn close(mut self) {
        for part in self.places.keys().copied().collect::<Vec<_>>() {
            self.drop_place(part);
        }
    }

    /// What was known of these partitions counts no more. True if there are such among them.
    pub(crate) fn forget_changed(&mut self, changes: &[Change]) -> bool {
        let mut changed = Vec::new();
        for Change { keys, partitions } in changes {
            for parts in keys.iter().filter_map(|key| self.by_topic.get(key)) {
                match partitions {
                    Some(indexes) => changed.extend(indexes.iter().filter_map(|index| parts.get(index))),
                    None => changed.extend(parts.values()),
                }
            }
        }
        if !changed.is_empty() {
            changed.extend(&self.repeated);
        }
        changed.iter().for_each(|part| self.forget_look(*part));
        !changed.is_empty()
    }

    /// Nothing that was known of any partition counts any more.
    pub(crate) fn forget_all(&mut self) {
        for part in self.places.keys().copied().collect::<Vec<_>>() {
            self.forget_look(part);
        }
    }

    fn forget_look(&mut self, part: u32) {
        if let Some(place) = self.places.get_mut(&part) {
            place.replica = Weak::new();
            place.waits = false;
        }
        self.settle(part);
    }

    /// Places with news, in the order of service.
    pub(crate) fn news(&self) -> Vec<u32> {
        self.news.iter().map(|(_, part)| *part).collect()
    }

    pub(crate) fn has_news(&self, part: u32) -> bool {
        self.places.get(&part).is_some_and(|place| self.news.contains(&(place.turn, part)))
    }

    pub(crate) fn found(&mut self, part: u32, replica: &Arc<Replica>) {
        if let Some(place) = self.places.get_mut(&part) {
            place.replica = Arc::downgrade(replica);
        }
    }

    /// A look has shown this; `waits` if there was nothing to read and the partition will speak.
    pub(crate) fn looked(&mut self, part: u32, seen: Marks, safe_bytes: u64, waits: bool) {
        if let Some(place) = self.places.get_mut(&part) {
            (place.seen, place.safe_bytes, place.waits) = (seen, safe_bytes, waits);
        }
        self.settle(part);
    }

    /// The partition has spoken.
    pub(crate) fn heard(&mut self, part: u32, bytes: u64) {
        if let Some(place) = self.places.get_mut(&part) {
            place.waits = false;
            place.safe_bytes = place.safe_bytes.saturating_add(bytes);
        }
        self.settle(part);
    }

    /// Asks a partition that has something to read to speak when there is more. Returns what has come meanwhile.
    pub(crate) fn listen(&mut self, part: u32) -> u64 {
        let waiter = self.waiter(part);
        let Some(place) = self.places.get_mut(&part) else { return 0 };
        let Some(replica) = place.replica.upgrade() else { return 0 };
        let more = match self.kind.is_follower {
            true => replica.watch_end(waiter, place.safe_bytes),
            false => replica.watch(waiter, place.safe_bytes),
        };
        place.safe_bytes = place.safe_bytes.saturating_add(more);
        more
    }

    /// True if the client has not been told what the partition is now.
    pub(crate) fn must_tell(&self, part: u32, now: Marks) -> bool {
        self.places.get(&part).is_none_or(|place| place.told != Some(now))
    }

    /// The client is told; nothing counts as told of a partition in trouble, which is told again until it is well.
    pub(crate) fn told(&mut self, part: u32, marks: Option<Marks>, with_records: bool) {
        let Some(place) = self.places.get_mut(&part) else { return };
        place.told = marks;
        if with_records {
            self.news.remove(&(place.turn, part));
            place.turn = self.next_turn;
            self.next_turn += 1;
        }
        self.settle(part);
    }

    /// Puts a place among those with news, or takes it out.
    fn settle(&mut self, part: u32) {
        let Some(place) = self.places.get(&part) else { return };
        let is_told = !self.kind.is_session || place.told == Some(place.seen);
        if place.waits && is_told {
            self.news.remove(&(place.turn, part));
        } else {
            self.news.insert((place.turn, part));
        }
    }
}
