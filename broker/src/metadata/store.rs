//! The durable side of the quorum: entries in a log of their own, term and vote and snapshots in small files.
//!
//! Entry `index` lies at offset `index − 1`, one batch per entry, its term as the batch's leader epoch.

mod files;

use crate::scan::{ScanError, each_batch};
use base::{EndOffset, LeaderEpoch, Now, PartitionIndex, Span, TopicId, Uuid, planted};
use bytes::Bytes;
use cluster::Image;
use files::{State, read_snapshot, read_state, write_snapshot, write_state};
use quorum::{Entry, EntryKind, HardState, Membership, Persist, RaftId, SnapshotPoint};
use seglog::dir::LogDir;
use seglog::disk::{DiskError, DiskErrorKind};
use seglog::{AppendError, Log, LogConfig, OpenLogError, Origin, PartitionName};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use wire::record::{Batch, BatchBuilder, BatchMeta, CheckedBatches, RecordFields, Records};

/// What Kafka calls the metadata log.
pub(super) const METADATA_TOPIC: &str = "__cluster_metadata";
/// The id that Kafka gives to its topic.
const TOPIC_ID: TopicId = TopicId(Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
/// Why the metadata cannot be read or written.
#[derive(Debug)]
pub enum StoreError {
    /// The log cannot be opened.
    Open(OpenLogError),
    /// The log cannot be written.
    Append(AppendError),
    /// The log cannot be read.
    Scan(String),
    /// A small file cannot be read or written.
    Disk(DiskError),
    /// A small file is damaged, or of a version that this program does not know.
    Damaged(&'static str),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Append(error) => error.fmt(f),
            Self::Scan(text) => f.write_str(text),
            Self::Disk(error) => error.fmt(f),
            Self::Damaged(file) => write!(f, "'{file}' is damaged or of a later version of this program"),
        }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    /// True when the disk is full: nothing is lost, and the same write may succeed later.
    pub(crate) fn is_no_space(&self) -> bool {
        match self {
            Self::Append(error) => matches!(error, AppendError::NoSpace),
            Self::Disk(error) => error.kind == DiskErrorKind::NoSpace,
            Self::Open(_) | Self::Scan(_) | Self::Damaged(_) => false,
        }
    }
}

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl From<ScanError> for StoreError {
    fn from(error: ScanError) -> Self {
        Self::Scan(error.to_string())
    }
}

/// The quorum's disk. One job at a time uses it.
#[derive(Debug)]
pub struct RaftStore {
    dir: Arc<LogDir>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    log: Log,
    state: State,
}

/// What a node finds when it starts.
pub(crate) struct Stored {
    pub(crate) store: Arc<RaftStore>,
    pub(crate) start: quorum::Start,
    /// The metadata of the latest snapshot, or of an empty cluster.
    pub(crate) image: Image,
}

impl RaftStore {
    /// Opens the quorum's files. An empty directory becomes a cluster of one: a lone voter has nobody to ask.
    pub(crate) fn open(
        dir: &Arc<LogDir>,
        cluster_id: Uuid,
        seed: u64,
        now: Now,
    ) -> Result<Stored, StoreError> {
        let state = match read_state(dir)? {
            Some(state) => state,
            None => form(dir, cluster_id)?,
        };
        let (image, snapshot) = read_snapshot(dir)?;
        let name = PartitionName::new(METADATA_TOPIC, PartitionIndex(0))
            .ok_or(StoreError::Damaged(METADATA_TOPIC))?;
        let mut log = Log::create(dir, &name, TOPIC_ID, log_config(), now).map_err(StoreError::Open)?;
        let entries = read_entries(&mut log, &snapshot)?;
        let start = quorum::Start {
            id: state.id,
            seed,
            snapshot,
            hard_state: state.hard_state,
            membership: state.membership.clone(),
            entries,
        };
        let store = Arc::new(Self { dir: dir.clone(), inner: Mutex::new(Inner { log, state }) });
        Ok(Stored { store, start, image })
    }

    /// Makes a write of the quorum durable. Waits for the device.
    pub(crate) fn persist(&self, persist: &Persist) -> Result<(), StoreError> {
        if persist.snapshot.is_some() {
            return Err(StoreError::Scan(
                "a snapshot of another node came in, but this node has no peers".into(),
            ));
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hard_state) = persist.hard_state {
            let state = State { hard_state, ..inner.state.clone() };
            inner.replace_state(&self.dir, state)?;
        }
        self.persist_entries(&mut inner, &persist.entries)?;
        // Its entry is durable: a membership never runs ahead of the log.
        if persist.membership.is_some() {
            let state = State { membership: persist.membership.clone(), ..inner.state.clone() };
            inner.replace_state(&self.dir, state)?;
        }
        Ok(())
    }

    fn persist_entries(&self, inner: &mut Inner, entries: &[Entry]) -> Result<(), StoreError> {
        let Some(first) = entries.first() else { return Ok(()) };
        let position = offset_of(first.index);
        if position < inner.log.end() {
            inner
                .log
                .truncate_to(position, Now::default())
                .map_err(|error| StoreError::Scan(error.to_string()))?;
        }
        for entry in entries {
            append(&mut inner.log, entry)?;
        }
        if planted!(B12) {
            return Ok(());
        }
        let Some(job) = inner.log.flush_job() else { return Ok(()) };
        for outcome in self.dir.flush_round(vec![job])? {
            inner.log.flushed_to(&outcome);
        }
        Ok(())
    }

    /// Writes a snapshot of the metadata as of `point`, after which the entries that it covers may go. Returns the
    /// point with its seal. Waits for the device.
    pub(crate) fn snapshot(&self, image: &Image, point: SnapshotPoint) -> Result<SnapshotPoint, StoreError> {
        let point = write_snapshot(&self.dir, image, point)?;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let covered = EndOffset(offset_of(point.index).0 + 1);
        let job = inner
            .log
            .delete_records(covered, covered)
            .map_err(|error| StoreError::Scan(error.to_string()))?;
        drop(inner);
        if let Some(job) = job {
            job.run()?.run()?;
        }
        Ok(point)
    }
}

impl Inner {
    fn replace_state(&mut self, dir: &LogDir, state: State) -> Result<(), StoreError> {
        files::write_state(dir, &state)?;
        self.state = state;
        Ok(())
    }
}

/// A cluster of one, formed durably before anything else happens: a snapshot of nothing that names the founder, and
/// the file that says that the directory is a member's.
fn form(dir: &LogDir, cluster_id: Uuid) -> Result<State, StoreError> {
    let id = RaftId(1);
    let point =
        SnapshotPoint { index: 1, term: 1, membership: Membership::of_voters([id]), seal: Bytes::new() };
    let mut image = Image::new(cluster_id);
    (image.index, image.term) = (point.index, point.term);
    write_snapshot(dir, &image, point)?;
    let hard_state = HardState { term: 1, ..HardState::default() };
    let state = State { id, hard_state, membership: None };
    write_state(dir, &state)?;
    Ok(state)
}

/// Where an entry lies.
fn offset_of(index: u64) -> EndOffset {
    EndOffset(i64::try_from(index).unwrap_or(i64::MAX) - 1)
}

fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 64 << 20,
        deletes: false,
        retention_time: None,
        segment_time: Span::MAX,
        ..LogConfig::default()
    }
}

fn append(log: &mut Log, entry: &Entry) -> Result<(), StoreError> {
    let mut batch = BatchBuilder::new(BatchMeta::default());
    let key = [entry.kind.code()];
    batch.push(&RecordFields { key: Some(&key), value: Some(&entry.data), ..RecordFields::default() });
    let bytes = batch.finish();
    let checked = CheckedBatches::from_broker(&bytes).map_err(|error| StoreError::Scan(error.to_string()))?;
    let term = LeaderEpoch(i32::try_from(entry.term).unwrap_or(i32::MAX));
    let appended = log.append(&checked, Origin::Broker, term, Now::default()).map_err(StoreError::Append)?;
    assert_eq!(appended.base.0, offset_of(entry.index).0, "an entry must lie where its index says");
    Ok(())
}

fn read_entries(log: &mut Log, snapshot: &SnapshotPoint) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    let from = EndOffset(offset_of(snapshot.index).0 + 1).max(log.start());
    if log.end() < from {
        // Everything in the log is covered by the snapshot, and the log was cut back by a crash: begin after it.
        log.start_over_at(from, Now::default()).map_err(|error| StoreError::Scan(error.to_string()))?;
        return Ok(entries);
    }
    let end = log.end();
    each_batch(log, from, end, |batch| {
        entries.push(read_entry(batch)?);
        Ok(())
    })?;
    Ok(entries)
}

fn read_entry(batch: &Batch<'_>) -> Result<Entry, ScanError> {
    let wrong = |text: &str| {
        ScanError::Content(format!("metadata entry at offset {}: {text}", batch.header().base_offset))
    };
    let record = Records::new(batch.payload(), batch.header().record_count).next();
    let record = record.and_then(Result::ok).ok_or_else(|| wrong("no record"))?;
    let kind = record
        .key
        .and_then(|key| EntryKind::from_code(*key.first()?))
        .ok_or_else(|| wrong("unknown kind"))?;
    Ok(Entry {
        index: u64::try_from(batch.header().base_offset + 1).map_err(|_| wrong("negative index"))?,
        term: u64::try_from(batch.header().partition_leader_epoch).map_err(|_| wrong("negative term"))?,
        kind,
        data: Bytes::copy_from_slice(record.value.unwrap_or_default()),
    })
}
