mod basics;
mod damage;
mod golden;
mod model;
mod real;
mod recovery;
mod retention;
mod settle;

use super::*;
use crate::disk::{Disk, MemDisk, OpenMode};
use base::{Instant, PartitionIndex, Span, Timestamp, Uuid};
use wire::record::{
    BatchBuilder, BatchHeader, BatchMeta, CheckedBatches, Compression, RecordFields, parse_batches,
};

pub(super) const TOPIC: TopicId = TopicId(Uuid([5; 16]));
pub(super) const CLIENT: Origin = Origin::Client { strict: false };

/// A codec for logs without compression.
pub(super) struct NoCodec;

impl RecordCodec for NoCodec {
    fn decompress(&self, _: Compression, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn compress(&self, _: Compression, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

pub(super) fn name() -> PartitionName {
    PartitionName::new("t", PartitionIndex(0)).unwrap()
}

pub(super) fn at(millis: u64) -> Now {
    let wall = Timestamp(1_000_000 + i64::try_from(millis).unwrap());
    Now { mono: Instant::from_nanos(millis * 1_000_000), wall }
}

/// Small segments and dense indexes, so that little data exercises much.
pub(super) fn small() -> LogConfig {
    LogConfig { segment_bytes: 2_000, index_interval_bytes: 150, ..LogConfig::default() }
}

pub(super) fn open_dir(disk: &MemDisk) -> Arc<LogDir> {
    LogDir::open(Arc::new(disk.clone()), "boot").unwrap()
}

pub(super) fn open_with(disk: &MemDisk, config: LogConfig) -> Result<(Log, OpenReport), OpenLogError> {
    Log::open(&open_dir(disk), &name(), TOPIC, config, at(0))
}

pub(super) fn create_with(disk: &MemDisk, config: LogConfig) -> Log {
    Log::create(&open_dir(disk), &name(), TOPIC, config, at(0)).unwrap()
}

/// A batch of `count` records of `bytes` each, all at `timestamp`, filled with `fill`.
pub(super) fn batch(meta: BatchMeta, count: usize, bytes: usize, timestamp: i64, fill: u8) -> Vec<u8> {
    let mut builder = BatchBuilder::new(meta);
    let value = vec![fill; bytes];
    for _ in 0..count {
        builder.push(&RecordFields { timestamp, value: Some(&value), ..RecordFields::default() });
    }
    builder.finish()
}

pub(super) fn plain(count: usize) -> Vec<u8> {
    batch(BatchMeta::default(), count, 20, 1_000_000, b'x')
}

pub(super) fn append(log: &mut Log, bytes: &[u8]) -> Result<Appended, AppendError> {
    let checked = CheckedBatches::from_produce(bytes).unwrap();
    log.append(&checked, CLIENT, LeaderEpoch(3), at(0))
}

pub(super) fn flush(log: &mut Log) {
    let jobs: Vec<_> = log.flush_job().into_iter().collect();
    let outcomes = log.dir().flush_round(jobs).unwrap();
    outcomes.iter().for_each(|outcome| log.flushed_to(outcome));
}

/// Flushes, and records the flush point as well.
pub(super) fn flush_twice(log: &mut Log) {
    flush(log);
    let _ = log.dir().flush_round(Vec::new()).unwrap();
}

pub(super) fn checkpoint(log: &mut Log, now: Now) {
    if let Some(job) = log.checkpoint_job(now) {
        let done = job.run().unwrap();
        log.checkpointed(done);
    }
}

/// The headers of all batches from `from` on, read as a consumer reads, checksums compared.
pub(super) fn read_all(log: &mut Log, from: EndOffset) -> Result<Vec<BatchHeader>, String> {
    let mut headers: Vec<BatchHeader> = Vec::new();
    let mut next = from;
    while let Some(slice) = log.read(next, 700, log.end(), true).map_err(|error| error.to_string())? {
        let mut bytes = vec![0; usize::try_from(slice.length).unwrap()];
        let read = slice.file.read_at(&mut bytes, slice.position).map_err(|error| error.to_string())?;
        assert_eq!(read, bytes.len());
        let before = next;
        for batch in parse_batches(&bytes).map_while(Result::ok) {
            batch.check_crc().map_err(|error| error.to_string())?;
            next = batch.header().end_offset();
            headers.push(*batch.header());
        }
        if next <= before {
            return Err(format!("a read at {before} brings no whole batch"));
        }
    }
    if next < log.end() { Err(format!("nothing at {next}")) } else { Ok(headers) }
}

pub(super) fn bases(headers: &[BatchHeader]) -> Vec<i64> {
    headers.iter().map(|header| header.base_offset).collect()
}

pub(super) fn files(disk: &MemDisk) -> Vec<String> {
    disk.list("t-0").unwrap().into_iter().map(|entry| entry.name).collect()
}

pub(super) fn length(disk: &MemDisk, path: &str) -> u64 {
    disk.open(path, OpenMode::Read).unwrap().length().unwrap()
}

/// Bytes of the files that hold the log's batches.
pub(super) fn bytes_in_files(disk: &MemDisk) -> Result<u64, crate::disk::DiskError> {
    let logs = disk.list("t-0")?.into_iter().filter(|entry| entry.name.ends_with(".log"));
    logs.map(|entry| disk.length(&format!("t-0/{}", entry.name))).sum()
}
