//! Incremental fetch sessions (KIP-227): the client names its partitions once and then only what changes.

use base::{Rng, Uuid, hit};
use std::collections::{BTreeMap, VecDeque};
use wire::ErrorCode;
use wire::fetch::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic, PartitionData};

/// Names a partition inside a session: by id where the client uses ids, else by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartitionKey {
    pub(crate) topic_id: Uuid,
    pub(crate) name: String,
    pub(crate) index: i32,
}

/// What a session remembers of a partition.
#[derive(Clone, Debug)]
struct Remembered {
    wanted: FetchPartition,
    /// What the client was last told; a difference alone is worth an answer.
    told: Option<(i64, i64)>,
}

/// One client's session.
#[derive(Debug)]
struct Session {
    epoch: i32,
    partitions: BTreeMap<PartitionKey, Remembered>,
    /// The order of service: a partition that gave records goes to the end, so that all get their turn.
    order: VecDeque<PartitionKey>,
    /// For eviction: the session used longest ago goes first.
    used: u64,
}

/// How a fetch is answered.
#[derive(Debug)]
pub(crate) enum Context {
    /// All partitions are named in the request and told in the answer.
    Full,
    /// A new session: all partitions are told, later ones only when something changed.
    New(i32),
    /// A known session: only what changed is told.
    Incremental(i32),
}

/// The sessions of one reactor.
#[derive(Debug)]
pub(crate) struct Sessions {
    sessions: BTreeMap<i32, Session>,
    max: usize,
    reactor: u16,
    rng: Rng,
    clock: u64,
}

/// Session ids carry their reactor, so that two reactors never hand out the same.
const REACTOR_BITS: u32 = 8;

impl Sessions {
    pub(crate) fn new(reactor: u16, max: u32) -> Self {
        let rng = Rng::new(u64::from(reactor) + 1);
        Self { sessions: BTreeMap::new(), max: max as usize, reactor, rng, clock: 0 }
    }

    /// Finds out which partitions a request is about, and under which session.
    pub(crate) fn begin(
        &mut self,
        request: &mut FetchRequest,
    ) -> Result<(Context, Vec<(PartitionKey, FetchPartition)>), ErrorCode> {
        const FINAL_EPOCH: i32 = -1;
        const INITIAL_EPOCH: i32 = 0;
        match (request.session_id, request.session_epoch) {
            (id, FINAL_EPOCH) => {
                self.sessions.remove(&id);
                Ok((Context::Full, named(core::mem::take(&mut request.topics)).collect()))
            }
            (id, INITIAL_EPOCH) => {
                self.sessions.remove(&id);
                Ok(self.open(core::mem::take(&mut request.topics)))
            }
            (id, epoch) => self.resume(id, epoch, request),
        }
    }

    fn open(&mut self, topics: Vec<FetchTopic>) -> (Context, Vec<(PartitionKey, FetchPartition)>) {
        let wanted: Vec<_> = named(topics).collect();
        if self.max == 0 {
            return (Context::Full, wanted);
        }
        if self.sessions.len() >= self.max {
            hit!(fetch_session_evicted);
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used).map(|(id, _)| *id);
            oldest.map(|id| self.sessions.remove(&id));
        }
        let id = self.new_id();
        let remember = |(key, part): &(PartitionKey, FetchPartition)| {
            (key.clone(), Remembered { wanted: part.clone(), told: None })
        };
        self.clock += 1;
        let session = Session {
            epoch: 1,
            partitions: wanted.iter().map(remember).collect(),
            order: wanted.iter().map(|(key, _)| key.clone()).collect(),
            used: self.clock,
        };
        self.sessions.insert(id, session);
        (Context::New(id), wanted)
    }

    fn new_id(&mut self) -> i32 {
        loop {
            let random = self.rng.between(1, (1 << (31 - REACTOR_BITS)) - 1);
            let id = (random << REACTOR_BITS) | u64::from(self.reactor & 0xff);
            let id = i32::try_from(id).unwrap_or(1);
            if !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    fn resume(
        &mut self,
        id: i32,
        epoch: i32,
        request: &mut FetchRequest,
    ) -> Result<(Context, Vec<(PartitionKey, FetchPartition)>), ErrorCode> {
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            hit!(fetch_session_epoch_refused);
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        self.clock += 1;
        session.used = self.clock;
        session.forget(core::mem::take(&mut request.forgotten_topics_data));
        session.update(core::mem::take(&mut request.topics));
        let wanted = |key: &PartitionKey| {
            let remembered = session.partitions.get(key)?;
            Some((key.clone(), remembered.wanted.clone()))
        };
        Ok((Context::Incremental(id), session.order.iter().filter_map(wanted).collect()))
    }

    /// True when the client of this context must be told about the partition.
    pub(crate) fn must_tell(&self, context: &Context, key: &PartitionKey, data: &PartitionData) -> bool {
        let Context::Incremental(id) = context else { return true };
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        if has_records || data.error_code != 0 {
            return true;
        }
        let remembered = self.sessions.get(id).and_then(|session| session.partitions.get(key));
        remembered.is_none_or(|remembered| remembered.told != Some(marks(data)))
    }

    /// Notes what the client is now told.
    pub(crate) fn told(&mut self, context: &Context, key: &PartitionKey, data: &PartitionData) {
        let (Context::New(id) | Context::Incremental(id)) = context else { return };
        let Some(session) = self.sessions.get_mut(id) else { return };
        if let Some(remembered) = session.partitions.get_mut(key) {
            // A partition in trouble is told again until it is well.
            remembered.told = (data.error_code == 0).then(|| marks(data));
        }
        if data.records.as_ref().is_some_and(|records| !records.is_empty()) {
            session.order.retain(|other| other != key);
            session.order.push_back(key.clone());
        }
    }

    /// How many sessions there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }
}

impl Session {
    fn forget(&mut self, topics: Vec<ForgottenTopic>) {
        for topic in topics {
            for index in topic.partitions {
                let key =
                    PartitionKey { topic_id: topic.topic_id, name: topic.topic.as_str().to_owned(), index };
                if self.partitions.remove(&key).is_some() {
                    self.order.retain(|other| *other != key);
                }
            }
        }
    }

    fn update(&mut self, topics: Vec<FetchTopic>) {
        for (key, wanted) in named(topics) {
            match self.partitions.get_mut(&key) {
                Some(remembered) => remembered.wanted = wanted,
                None => {
                    self.order.push_back(key.clone());
                    self.partitions.insert(key, Remembered { wanted, told: None });
                }
            }
        }
    }
}

const fn marks(data: &PartitionData) -> (i64, i64) {
    (data.high_watermark, data.log_start_offset)
}

fn named(topics: Vec<FetchTopic>) -> impl Iterator<Item = (PartitionKey, FetchPartition)> {
    topics.into_iter().flat_map(|topic| {
        let (topic_id, name) = (topic.topic_id, topic.topic.as_str().to_owned());
        let key = move |part: FetchPartition| {
            (PartitionKey { topic_id, name: name.clone(), index: part.partition }, part)
        };
        topic.partitions.into_iter().map(key)
    })
}

#[cfg(test)]
mod tests;
