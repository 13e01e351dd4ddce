//! What the owners of a node share besides partitions: the disk, the flusher, counters, producer ids.

use crate::effects::Effects;
use crate::flusher::Flusher;
use crate::job::JobDone;
use crate::latency::Latencies;
use crate::loggers::Loggers;
use crate::replica::{Produced, Replica};
use crate::replication::Throttles;
use crate::upkeep::{Stirred, Upkeep};
use base::{Now, ProducerId, Span};
use seglog::disk::Disk;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use wire::ApiKey;

/// Shared by all owners of one node.
#[derive(Debug)]
pub struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) flusher: Flusher,
    pub(crate) upkeep: Upkeep,
    pub(crate) producer_ids: ProducerIds,
    /// The levels of its log lines.
    pub loggers: Loggers,
    latencies: Mutex<Vec<Arc<Latencies>>>,
    /// How fast throttled replicas are copied.
    pub throttles: Throttles,
    /// What the node has done so far.
    pub counters: Counters,
}

impl Shared {
    /// Going on with a directory that has failed a flush would acknowledge what is not there (B1).
    pub(crate) fn end_if_fenced(&self, fx: &mut Effects) {
        if let Some(cause) = self.flusher.dir().fenced() {
            fx.fatal = Some(format!("the data directory is fenced: {cause}"));
        }
    }

    pub(crate) fn new(disk: Arc<dyn Disk>, flusher: Flusher) -> Self {
        Self {
            disk,
            flusher,
            upkeep: Upkeep::default(),
            producer_ids: ProducerIds::default(),
            loggers: Loggers::default(),
            latencies: Mutex::default(),
            throttles: Throttles::default(),
            counters: Counters::default(),
        }
    }

    /// True if the last process that had the data directory flushed everything and said so.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.flusher.dir().was_clean()
    }

    /// How long requests took, by reactor.
    #[must_use]
    pub fn latencies(&self) -> Vec<Arc<Latencies>> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes what a new reactor notes its latencies in.
    pub(crate) fn latencies_of_reactor(&self) -> Arc<Latencies> {
        let latencies = Arc::<Latencies>::default();
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(latencies.clone());
        latencies
    }

    /// Does what follows the end of a job that any owner may have started.
    pub(crate) fn job_done(&self, now: Now, done: JobDone, fx: &mut Effects) {
        crate::job::finish(self, now, done, fx);
    }

    /// Does what follows an append, once the partition's lock is free.
    pub(crate) fn appended(
        &self,
        replica: &Arc<Replica>,
        produced: &mut Produced,
        now: Now,
        fx: &mut Effects,
    ) {
        self.counters.produced(produced.bytes, produced.records);
        if produced.dirty {
            self.flusher.schedule(replica, fx);
        }
        if produced.stirred != Stirred::No {
            self.upkeep.stirred(replica, produced.stirred, now, fx);
        }
        produced.tell(fx);
    }
}

/// A block of producer ids that the controller handed to this node.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    block: Mutex<(i64, i64)>,
}

impl ProducerIds {
    /// The next id, until the block is used up.
    pub(crate) fn next(&self) -> Option<ProducerId> {
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, end) = *block;
        (next < end).then(|| {
            block.0 += 1;
            ProducerId(next)
        })
    }

    /// Takes a new block. What was left of the old one is never used: ids may have gaps.
    pub(crate) fn refill(&self, first: ProducerId, count: i64) {
        *self.block.lock().unwrap_or_else(PoisonError::into_inner) = (first.0, first.0 + count);
    }
}

/// Counts for the metrics page; they are only ever added to.
#[derive(Debug)]
pub struct Counters {
    requests: [AtomicU64; API_KEYS],
    /// Bytes of records appended.
    pub bytes_in: AtomicU64,
    /// Records appended.
    pub messages_in: AtomicU64,
    /// Bytes of records handed to consumers.
    pub bytes_out: AtomicU64,
    /// Produce requests in which a partition failed.
    pub failed_produces: AtomicU64,
    /// Fetch requests in which a partition failed.
    pub failed_fetches: AtomicU64,
    /// Partitions of the offsets topic whose groups were loaded.
    pub shard_loads: AtomicU64,
    /// Milliseconds that took in all.
    pub shard_load_millis: AtomicU64,
    /// Milliseconds that the slowest of them took.
    pub shard_load_millis_max: AtomicU64,
    controller: AtomicBool,
}

/// API keys are small and dense.
const API_KEYS: usize = 96;

impl Default for Counters {
    fn default() -> Self {
        Self {
            requests: [const { AtomicU64::new(0) }; API_KEYS],
            bytes_in: AtomicU64::new(0),
            messages_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            failed_produces: AtomicU64::new(0),
            failed_fetches: AtomicU64::new(0),
            shard_loads: AtomicU64::new(0),
            shard_load_millis: AtomicU64::new(0),
            shard_load_millis_max: AtomicU64::new(0),
            controller: AtomicBool::new(false),
        }
    }
}

impl Counters {
    /// Counts a request.
    pub(crate) fn request(&self, key: ApiKey) {
        if let Some(count) = usize::try_from(key.code()).ok().and_then(|key| self.requests.get(key)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an append.
    pub(crate) fn produced(&self, bytes: u64, records: u64) {
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        self.messages_in.fetch_add(records, Ordering::Relaxed);
    }

    /// Counts a partition of the offsets topic whose groups were loaded.
    pub(crate) fn shard_loaded(&self, took: Span) {
        self.shard_loads.fetch_add(1, Ordering::Relaxed);
        self.shard_load_millis.fetch_add(took.as_millis(), Ordering::Relaxed);
        self.shard_load_millis_max.fetch_max(took.as_millis(), Ordering::Relaxed);
    }

    /// Notes whether this node leads the metadata quorum.
    pub(crate) fn set_controller(&self, leads: bool) {
        self.controller.store(leads, Ordering::Relaxed);
    }

    /// True while this node is the active controller.
    #[must_use]
    pub fn is_controller(&self) -> bool {
        self.controller.load(Ordering::Relaxed)
    }

    /// How many requests of an API have come.
    #[must_use]
    pub fn requests(&self, key: ApiKey) -> u64 {
        let count = usize::try_from(key.code()).ok().and_then(|key| self.requests.get(key));
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }
}
