//! The durable side of the quorum: entries in a log of their own, term and vote and snapshots in small files.
//!
//! Entry `index` lies at offset `index − 1`, one batch per entry, its term as the batch's leader epoch.

use crate::scan::{ScanError, each_batch};
use base::{EndOffset, LeaderEpoch, Now, PartitionIndex, Span, TopicId, Uuid, planted};
use bytes::{BufMut, Bytes, BytesMut};
use cluster::record_codec::{decode_entry, encode_entry};
use cluster::{Delta, Image, Record};
use quorum::{Entry, EntryKind, HardState, Membership, Persist, RaftId, SnapshotPoint};
use seglog::dir::LogDir;
use seglog::disk::{DiskError, DiskErrorKind};
use seglog::durable::{read_small, seal, unseal, write_small};
use seglog::{AppendError, Log, LogConfig, OpenLogError, Origin, PartitionName};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use wire::record::{Batch, BatchBuilder, BatchMeta, CheckedBatches, RecordFields, Records};
use wire::{Reader, Writer};

/// What Kafka calls the metadata log.
pub(super) const METADATA_TOPIC: &str = "__cluster_metadata";
/// The id that Kafka gives to its topic.
const TOPIC_ID: TopicId = TopicId(Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
/// Term, vote and membership.
const STATE_FILE: &str = "quorum-state";
const STATE_MAGIC: [u8; 4] = *b"OTQS";
/// The latest snapshot.
const SNAPSHOT_FILE: &str = "metadata-snapshot";
const SNAPSHOT_MAGIC: [u8; 4] = *b"OTMS";
const VERSION: u32 = 1;
/// Records per entry of a snapshot file.
const SNAPSHOT_CHUNK: usize = 500;

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
    id: RaftId,
    membership: Membership,
}

/// What a node finds when it starts.
pub(crate) struct Stored {
    pub(crate) store: Arc<RaftStore>,
    pub(crate) start: quorum::Start,
    /// The metadata of the latest snapshot, or of an empty cluster.
    pub(crate) image: Image,
}

/// What `quorum-state` holds.
struct State {
    id: RaftId,
    hard_state: HardState,
    membership: Membership,
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
            None => form(dir)?,
        };
        let (image, snapshot) = read_snapshot(dir, cluster_id, &state.membership)?;
        let name = PartitionName::new(METADATA_TOPIC, PartitionIndex(0))
            .ok_or(StoreError::Damaged(METADATA_TOPIC))?;
        let mut log = Log::create(dir, &name, TOPIC_ID, log_config(), now).map_err(StoreError::Open)?;
        let entries = read_entries(&mut log, &snapshot)?;
        let start = quorum::Start { id: state.id, seed, snapshot, hard_state: state.hard_state, entries };
        let inner = Inner { log, id: state.id, membership: state.membership };
        let store = Arc::new(Self { dir: dir.clone(), inner: Mutex::new(inner) });
        Ok(Stored { store, start, image })
    }

    /// Makes a write of the quorum durable. Waits for the device.
    pub(crate) fn persist(&self, persist: &Persist) -> Result<(), StoreError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hard_state) = persist.hard_state {
            write_state(&self.dir, inner.id, hard_state, &inner.membership)?;
        }
        let Some(first) = persist.entries.first() else { return Ok(()) };
        let position = offset_of(first.index);
        if position < inner.log.end() {
            inner
                .log
                .truncate_to(position, Now::default())
                .map_err(|error| StoreError::Scan(error.to_string()))?;
        }
        for entry in &persist.entries {
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

    /// Writes a snapshot, after which the entries that it covers may go. Waits for the device.
    pub(crate) fn snapshot(&self, image: &Image) -> Result<(), StoreError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let body = encode_snapshot(image, &inner.membership)?;
        write_small(&**self.dir.disk(), SNAPSHOT_FILE, &seal(SNAPSHOT_MAGIC, VERSION, &body))?;
        let covered = EndOffset(offset_of(image.index).0 + 1);
        let job = inner
            .log
            .delete_records(covered, covered)
            .map_err(|error| StoreError::Scan(error.to_string()))?;
        drop(inner);
        if let Some(job) = job {
            job.run()?.run()?;
        }
        Ok(())
    }
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

/// A cluster of one, formed durably before anything else happens.
fn form(dir: &LogDir) -> Result<State, StoreError> {
    let id = RaftId(1);
    let state = State {
        id,
        hard_state: HardState::default(),
        membership: Membership { voters: vec![id], learners: Vec::new() },
    };
    write_state(dir, state.id, state.hard_state, &state.membership)?;
    Ok(state)
}

fn write_state(
    dir: &LogDir,
    id: RaftId,
    state: HardState,
    membership: &Membership,
) -> Result<(), StoreError> {
    let mut body = BytesMut::new();
    body.put_u64(id.0);
    body.put_u64(state.term);
    body.put_u64(state.vote);
    put_membership(&mut body, membership);
    write_small(&**dir.disk(), STATE_FILE, &seal(STATE_MAGIC, VERSION, &body))?;
    Ok(())
}

fn put_membership(body: &mut BytesMut, membership: &Membership) {
    for ids in [&membership.voters, &membership.learners] {
        body.put_u32(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        ids.iter().for_each(|id| body.put_u64(id.0));
    }
}

fn read_state(dir: &LogDir) -> Result<Option<State>, StoreError> {
    let Some(sealed) = read_small(&**dir.disk(), STATE_FILE)? else { return Ok(None) };
    let Some((VERSION, body)) = unseal(STATE_MAGIC, &sealed) else {
        return Err(StoreError::Damaged(STATE_FILE));
    };
    let mut fields = Fields { rest: body };
    let state = (|| {
        let id = RaftId(fields.u64()?);
        let hard_state = HardState { term: fields.u64()?, vote: fields.u64()?, commit: 0 };
        Some(State { id, hard_state, membership: fields.membership()? })
    })();
    state.map(Some).ok_or(StoreError::Damaged(STATE_FILE))
}

/// Fixed-width numbers, one after the other.
struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    fn u64(&mut self) -> Option<u64> {
        let (number, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u64::from_be_bytes(*number))
    }

    fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn ids(&mut self) -> Option<Vec<RaftId>> {
        (0..self.u32()?).map(|_| self.u64().map(RaftId)).collect()
    }

    fn membership(&mut self) -> Option<Membership> {
        Some(Membership { voters: self.ids()?, learners: self.ids()? })
    }
}

fn encode_snapshot(image: &Image, membership: &Membership) -> Result<Bytes, StoreError> {
    let mut body = BytesMut::new();
    body.put_slice(&image.cluster_id.0);
    body.put_u64(image.index);
    body.put_u64(image.term);
    put_membership(&mut body, membership);
    let records: Vec<Record> = image.snapshot().collect();
    let mut entries = Writer::with_capacity(1 << 16);
    for chunk in records.chunks(SNAPSHOT_CHUNK) {
        let entry = encode_entry(chunk).map_err(|error| StoreError::Scan(format!("{error:?}")))?;
        entries.bytes(true, &entry);
    }
    let entries = entries.finish().map_err(|error| StoreError::Scan(format!("{error:?}")))?;
    body.put_slice(&entries.bytes);
    Ok(body.freeze())
}

fn read_snapshot(
    dir: &LogDir,
    cluster_id: Uuid,
    formed: &Membership,
) -> Result<(Image, SnapshotPoint), StoreError> {
    let Some(sealed) = read_small(&**dir.disk(), SNAPSHOT_FILE)? else {
        let point = SnapshotPoint { index: 0, term: 0, membership: formed.clone() };
        return Ok((Image::new(cluster_id), point));
    };
    let Some((VERSION, body)) = unseal(SNAPSHOT_MAGIC, &sealed) else {
        return Err(StoreError::Damaged(SNAPSHOT_FILE));
    };
    decode_snapshot(body).ok_or(StoreError::Damaged(SNAPSHOT_FILE))
}

fn decode_snapshot(body: &[u8]) -> Option<(Image, SnapshotPoint)> {
    let (cluster_id, rest) = body.split_first_chunk::<16>()?;
    let mut fields = Fields { rest };
    let point = SnapshotPoint { index: fields.u64()?, term: fields.u64()?, membership: fields.membership()? };
    let mut image = Image::new(Uuid(*cluster_id));
    let mut reader = Reader::new(Bytes::copy_from_slice(fields.rest));
    while reader.remaining() > 0 {
        for record in decode_entry(reader.bytes(true).ok()?).ok()? {
            image.replay(&record, &mut Delta::default());
        }
    }
    (image.index, image.term) = (point.index, point.term);
    Some((image, point))
}
