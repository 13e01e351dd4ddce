//! The durable side of the quorum: entries in a log of their own, term and vote and snapshots in small files.
//!
//! Entry `index` lies at offset `index − 1`, one batch per entry, its term as the batch's leader epoch.

mod files;

use crate::scan::{ScanError, each_batch};
use base::{EndOffset, LeaderEpoch, Now, PartitionIndex, Span, TopicId, Uuid, hit, planted};
use bytes::Bytes;
use cluster::Image;
use files::{
    State, parse_snapshot, read_piece, read_snapshot, read_state, seal_of, write_snapshot, write_state,
};
use quorum::{Entry, EntryKind, HardState, Membership, Persist, RaftId, SnapshotPoint};
use seglog::dir::LogDir;
use seglog::disk::{DiskError, DiskErrorKind};
use seglog::{AppendError, Log, LogConfig, OpenLogError, Origin, PartitionName};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use wire::record::{Batch, BatchBuilder, BatchMeta, CheckedBatches, RecordFields, Records};

/// What Kafka calls the metadata log.
pub(crate) const METADATA_TOPIC: &str = "__cluster_metadata";
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
            Self::Disk(error) | Self::Open(OpenLogError::Disk(error)) => error.kind == DiskErrorKind::NoSpace,
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
    /// The index of the snapshot on the disk.
    snapshot: u64,
    /// A snapshot that was fetched and is not in place yet.
    fetched: Option<Fetched>,
    /// The metadata of one that was put in place and not taken over yet.
    installed: Option<Image>,
}

/// A snapshot of another node's.
#[derive(Debug)]
struct Fetched {
    point: SnapshotPoint,
    file: Bytes,
    image: Image,
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
        (cluster_id, directory): (Uuid, Uuid),
        seed: u64,
        now: Now,
    ) -> Result<Stored, StoreError> {
        let state = match read_state(dir)? {
            Some(state) => state,
            None => {
                let own = RaftId::of(directory);
                found(dir, cluster_id, own, Membership::of_voters([own]))?
            }
        };
        let (image, snapshot) = read_snapshot(dir)?;
        let name = PartitionName::new(METADATA_TOPIC, PartitionIndex(0))
            .ok_or(StoreError::Damaged(METADATA_TOPIC))?;
        let mut log = Log::create(dir, &name, TOPIC_ID, log_config(), now).map_err(StoreError::Open)?;
        let entries = read_entries(&mut log, &snapshot)?;
        // What was written last before a crash may be the snapshot.
        let term = state.hard_state.term.max(snapshot.term);
        let covered = snapshot.index;
        let start = quorum::Start {
            id: state.id,
            seed,
            snapshot,
            hard_state: HardState { term, ..state.hard_state },
            membership: state.membership.clone(),
            entries,
        };
        let inner = Inner { log, state, snapshot: covered, fetched: None, installed: None };
        let store = Arc::new(Self { dir: dir.clone(), inner: Mutex::new(inner) });
        Ok(Stored { store, start, image })
    }

    /// Makes a write of the quorum durable. Waits for the device.
    pub(crate) fn persist(&self, persist: &Persist) -> Result<(), StoreError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hard_state) = persist.hard_state {
            let state = State { hard_state, ..inner.state.clone() };
            inner.replace_state(&self.dir, state)?;
        }
        if let Some(point) = &persist.snapshot {
            inner.install(&self.dir, point)?;
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
            inner.log.truncate_to(position, Now::default()).map_err(StoreError::Open)?;
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

    /// Takes the file of a snapshot that another node has offered. False if it is not the one that was offered.
    pub(crate) fn take_file(&self, point: &SnapshotPoint, file: Bytes) -> bool {
        if seal_of(&file) != point.seal {
            return false;
        }
        let Some((image, found)) = parse_snapshot(&file) else { return false };
        if (found.index, found.term) != (point.index, point.term) {
            return false;
        }
        let fetched = Fetched { point: point.clone(), file, image };
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).fetched = Some(fetched);
        true
    }

    /// The metadata of a fetched snapshot that is in place now.
    pub(crate) fn take_installed(&self) -> Option<Image> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).installed.take()
    }

    /// The file of the latest snapshot from `position` on, and its size; `None` if it is not the one of this index and
    /// term any more.
    pub(crate) fn piece(
        &self,
        (index, term): (u64, u64),
        position: u64,
        bytes_max: usize,
    ) -> Result<Option<(u64, Bytes)>, StoreError> {
        read_piece(&self.dir, (index, term), position, bytes_max)
    }

    /// Writes a snapshot of the metadata as of `point`, after which the entries that it covers may go. Returns the
    /// point with its seal. Waits for the device.
    pub(crate) fn snapshot(&self, image: &Image, point: SnapshotPoint) -> Result<SnapshotPoint, StoreError> {
        // A later one may have come from another node meanwhile, and the log follows that.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if point.index < inner.snapshot {
            hit!(own_snapshot_outdated);
            return Ok(point);
        }
        let point = write_snapshot(&self.dir, image, point)?;
        inner.snapshot = point.index;
        let covered = match planted!(E2) {
            true => inner.log.end(),
            false => EndOffset(offset_of(point.index).0 + 1),
        };
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
    /// Puts a fetched snapshot in the place of everything before it. A crash in between leaves a log that does not follow
    /// it, which the next start lets go.
    fn install(&mut self, dir: &LogDir, point: &SnapshotPoint) -> Result<(), StoreError> {
        let is_it =
            |fetched: &&Fetched| (fetched.point.index, fetched.point.term) == (point.index, point.term);
        let Some(fetched) = self.fetched.as_ref().filter(is_it) else {
            return Err(StoreError::Scan(format!("the snapshot up to {} was not fetched", point.index)));
        };
        hit!(snapshot_installed);
        files::write_snapshot_file(dir, &fetched.file)?;
        self.snapshot = point.index;
        let after = EndOffset(offset_of(point.index).0 + 1);
        self.log.start_over_at(after, Now::default()).map_err(StoreError::Open)?;
        // Not before: what a full disk has refused is tried again.
        self.installed = self.fetched.take().map(|fetched| fetched.image);
        Ok(())
    }

    fn replace_state(&mut self, dir: &LogDir, state: State) -> Result<(), StoreError> {
        files::write_state(dir, &state)?;
        self.state = state;
        Ok(())
    }
}

/// True if the directory is a member's.
pub(crate) fn is_member(dir: &LogDir) -> Result<bool, StoreError> {
    Ok(read_state(dir)?.is_some())
}

/// A cluster begins, durably and before anything else happens: a snapshot of nothing that names the founders, and then
/// the file that says that the directory is a member's.
fn found(dir: &LogDir, cluster_id: Uuid, own: RaftId, founders: Membership) -> Result<State, StoreError> {
    let point = SnapshotPoint { index: 1, term: 1, membership: founders, seal: Bytes::new() };
    let hard_state = HardState { term: 1, ..HardState::default() };
    begin(dir, cluster_id, point, State { id: own, hard_state, membership: None })
}

/// Makes the directory that of a founder.
pub(crate) fn become_founder(
    dir: &LogDir,
    cluster_id: Uuid,
    own: RaftId,
    founders: Membership,
) -> Result<(), StoreError> {
    found(dir, cluster_id, own, founders).map(|_| ())
}

/// Makes the directory that of a member who knows nothing yet: the leader tells it everything.
pub(crate) fn become_member(dir: &LogDir, cluster_id: Uuid, own: RaftId) -> Result<(), StoreError> {
    let state = State { id: own, hard_state: HardState::default(), membership: None };
    begin(dir, cluster_id, SnapshotPoint::default(), state).map(|_| ())
}

fn begin(dir: &LogDir, cluster_id: Uuid, point: SnapshotPoint, state: State) -> Result<State, StoreError> {
    let mut image = Image::new(cluster_id);
    (image.index, image.term) = (point.index, point.term);
    write_snapshot(dir, &image, point)?;
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
        log.start_over_at(from, Now::default()).map_err(StoreError::Open)?;
        return Ok(entries);
    }
    let end = log.end();
    each_batch(log, from, end, |batch| {
        entries.push(read_entry(batch)?);
        Ok(())
    })?;
    if entries.first().is_some_and(|first: &Entry| first.term < snapshot.term) {
        // A crash struck between a fetched snapshot and the end of the log that it replaces.
        hit!(log_before_a_fetched_snapshot);
        log.start_over_at(from, Now::default()).map_err(StoreError::Open)?;
        entries.clear();
    }
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
