mod crash;

use crate::compact::CompactionJob;
use crate::dir::LogDir;
use crate::disk::{Disk, MemDisk};
use crate::log::{Log, LogConfig, Origin, RecordCodec};
use crate::names::PartitionName;
use base::{EndOffset, Instant, LeaderEpoch, Now, PartitionIndex, Rng, Span, Timestamp, TopicId, Uuid};
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::record::{
    BatchBuilder, BatchMeta, CheckedBatches, Compression, EndTxn, EndTxnMarker, RecordFields, Records,
    parse_batches,
};

const TOPIC: TopicId = TopicId(Uuid([5; 16]));
const MEMORY: usize = 1 << 20;
const DAY: u64 = 24 * 3_600_000;

/// "Compresses" by turning every bit over.
struct Turned;

impl RecordCodec for Turned {
    fn decompress(&self, _: Compression, payload: &[u8]) -> Option<Vec<u8>> {
        Some(payload.iter().map(|byte| !byte).collect())
    }

    fn compress(&self, _: Compression, records: &[u8]) -> Option<Vec<u8>> {
        Some(records.iter().map(|byte| !byte).collect())
    }
}

fn at(millis: u64) -> Now {
    let wall = Timestamp(1_000_000_000 + i64::try_from(millis).unwrap());
    Now { mono: Instant::from_nanos(millis * 1_000_000), wall }
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 500,
        index_interval_bytes: 150,
        compacts: true,
        deletes: false,
        retention_time: None,
        dirty_percent_min: 1,
        ..LogConfig::default()
    }
}

fn name() -> PartitionName {
    PartitionName::new("c", PartitionIndex(0)).unwrap()
}

fn open(disk: &MemDisk, now: Now) -> Log {
    let dir = LogDir::open(Arc::new(disk.clone()), "boot").unwrap();
    Log::create(&dir, &name(), TOPIC, config(), now).unwrap()
}

fn flush(log: &mut Log) {
    let jobs: Vec<_> = log.flush_job().into_iter().collect();
    for outcome in log.dir().flush_round(jobs).unwrap() {
        log.flushed_to(&outcome);
    }
}

/// Plans a compaction into segments larger than the sources, so that several become one.
fn plan(log: &mut Log, high_watermark: EndOffset, now: Now) -> Option<CompactionJob> {
    let config = log.config().clone();
    log.configure(LogConfig { segment_bytes: 1_500, ..log.config().clone() });
    let job = log.compaction_job(high_watermark, now);
    log.configure(config);
    job.unwrap()
}

/// One compaction from plan to swap; false if there was nothing to do.
fn compact(log: &mut Log, now: Now, memory: usize) -> bool {
    flush(log);
    let end = log.end();
    let Some(job) = plan(log, end, now) else { return false };
    let done = job.run(&Turned, memory).unwrap();
    if let Some(swap) = log.compacted(done).unwrap() {
        swap.run().unwrap();
        log.swapped();
        return true;
    }
    false
}

/// A record as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    offset: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    timestamp: i64,
    headers: usize,
}

/// Base and end offsets of batches.
type Spans = Vec<(i64, i64)>;

/// All records but those of aborted transactions, in order; also the batches' base and end offsets.
fn consume(log: &mut Log) -> Result<(Vec<Seen>, Spans), String> {
    let (mut seen, mut spans): (Vec<(i64, bool, Seen)>, _) = (Vec::new(), Vec::new());
    let mut next = log.start();
    while let Some(slice) = log.read(next, 900, log.end(), true).map_err(|error| error.to_string())? {
        let mut bytes = vec![0; usize::try_from(slice.length).unwrap()];
        slice.file.read_at(&mut bytes, slice.position).map_err(|error| error.to_string())?;
        for batch in parse_batches(&bytes).map_while(Result::ok) {
            batch.check_crc().map_err(|error| error.to_string())?;
            let header = *batch.header();
            next = header.end_offset();
            spans.push((header.base_offset, next.0));
            let compressed = header.attributes.compression().unwrap() != Compression::None;
            let plain = if compressed {
                Turned.decompress(Compression::Gzip, batch.payload()).unwrap()
            } else {
                batch.payload().to_vec()
            };
            for record in Records::new(&plain, header.record_count) {
                let record = record.map_err(|error| error.to_string())?;
                if header.attributes.is_control() {
                    if EndTxnMarker::parse(&record).unwrap().end == EndTxn::Abort {
                        seen.retain(|(producer, open, _)| *producer != header.producer_id || !open);
                    }
                    for (producer, open, _) in &mut seen {
                        *open &= *producer != header.producer_id;
                    }
                    continue;
                }
                let found = Seen {
                    offset: header.base_offset + i64::from(record.offset_delta),
                    key: record.key.unwrap_or_default().to_vec(),
                    value: record.value.map(<[u8]>::to_vec),
                    timestamp: header.base_timestamp + record.timestamp_delta,
                    headers: record.headers().len(),
                };
                seen.push((header.producer_id, header.attributes.is_transactional(), found));
            }
        }
    }
    if next < log.end() {
        return Err(format!("nothing at {next}"));
    }
    Ok((seen.into_iter().map(|(_, _, seen)| seen).collect(), spans))
}

fn latest(seen: &[Seen]) -> BTreeMap<Vec<u8>, Seen> {
    seen.iter().map(|seen| (seen.key.clone(), seen.clone())).collect()
}

/// Appends random keyed batches: plain, idempotent, transactional, compressed, with tombstones and headers.
struct Writer {
    rng: Rng,
    sequences: BTreeMap<i64, i32>,
    /// Producers with an open transaction.
    open: Vec<i64>,
}

impl Writer {
    fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), sequences: BTreeMap::new(), open: Vec::new() }
    }

    fn append(&mut self, log: &mut Log, now: Now) {
        if !self.open.is_empty() && self.rng.chance(1, 3) {
            let producer = self.open.swap_remove(self.rng.index(self.open.len()));
            let end = if self.rng.chance(1, 2) { EndTxn::Abort } else { EndTxn::Commit };
            let bytes = EndTxnMarker { end, coordinator_epoch: 0 }.batch(producer, 0, now.wall);
            let checked = CheckedBatches::from_broker(&bytes).unwrap();
            log.append(&checked, Origin::Broker, LeaderEpoch(1), now).unwrap();
            return;
        }
        let producer = i64::try_from(self.rng.below(5)).unwrap() - 1;
        let mut meta = BatchMeta::default();
        if producer >= 0 {
            // Producers 2 and 3 are transactional.
            meta.transactional = producer >= 2;
            if meta.transactional && !self.open.contains(&producer) {
                self.open.push(producer);
            }
            let sequence = self.sequences.entry(producer).or_default();
            (meta.producer_id, meta.producer_epoch, meta.base_sequence) = (producer, 0, *sequence);
        }
        let mut builder = BatchBuilder::new(meta);
        for _ in 0..=self.rng.below(3) {
            let key = [b'k', u8::try_from(self.rng.below(12)).unwrap()];
            let value = vec![u8::try_from(self.rng.below(256)).unwrap(); self.rng.index(60)];
            let headers = [wire::record::RecordHeader { key: b"h", value: None }];
            builder.push(&RecordFields {
                timestamp: now.wall.0 - i64::try_from(self.rng.below(500)).unwrap(),
                key: Some(&key),
                value: (!self.rng.chance(1, 4)).then_some(&value),
                headers: &headers[..self.rng.index(2)],
            });
        }
        if let Some(sequence) = self.sequences.get_mut(&producer) {
            *sequence += builder.count();
        }
        let bytes = if self.rng.chance(1, 3) {
            let payload = Turned.compress(Compression::Gzip, builder.payload()).unwrap();
            builder.finish_compressed(Compression::Gzip, &payload)
        } else {
            builder.finish()
        };
        let checked = CheckedBatches::from_produce(&bytes).unwrap();
        log.append(&checked, Origin::Client { strict: false }, LeaderEpoch(1), now).unwrap();
    }
}

/// What must hold between a log before and after compaction.
fn check(before: &[Seen], after: &[Seen], cleaned_to: i64, seed: u64) {
    let originals: BTreeMap<i64, &Seen> = before.iter().map(|seen| (seen.offset, seen)).collect();
    for seen in after {
        assert_eq!(originals.get(&seen.offset), Some(&seen), "seed {seed}: a record changed");
    }
    let values = |seen: &[Seen]| -> BTreeMap<Vec<u8>, Vec<u8>> {
        latest(seen).into_iter().filter_map(|(key, seen)| Some((key, seen.value?))).collect()
    };
    assert_eq!(values(before), values(after), "seed {seed}: a latest value is gone or an old one is back");
    let mut below: Vec<_> = after.iter().filter(|seen| seen.offset < cleaned_to).collect();
    let all = below.len();
    below.sort_by(|a, b| a.key.cmp(&b.key));
    below.dedup_by(|a, b| a.key == b.key);
    assert_eq!(below.len(), all, "seed {seed}: a key has two values in the clean part");
}

/// Searches by time find records and not the places where some were.
fn check_times(log: &mut Log, seen: &[Seen], seed: u64) {
    let newest = seen.iter().map(|seen| seen.timestamp).max().unwrap_or(-1);
    let found = log.find_latest_time(&Turned).unwrap();
    assert!(found.is_some_and(|hit| hit.timestamp.0 >= newest), "seed {seed}: {found:?}");
    for target in seen.iter().step_by(7).map(|seen| seen.timestamp) {
        let hit = log.find_time(Timestamp(target), &Turned).unwrap().unwrap();
        let first = seen.iter().find(|seen| seen.timestamp >= target).unwrap();
        // A marker or an aborted record may be as late.
        assert!(hit.timestamp.0 >= target && hit.offset.0 <= first.offset, "seed {seed}");
    }
}

#[test]
fn random_logs_keep_the_latest_of_every_key() {
    let mut shrunk = 0;
    for seed in 0..200 {
        let disk = MemDisk::new();
        let (mut log, mut writer) = (open(&disk, at(0)), Writer::new(seed));
        let mut now = 0;
        for _ in 0..4 {
            for _ in 0..60 {
                now += writer.rng.below(1_000);
                writer.append(&mut log, at(now));
            }
            let memory = if writer.rng.chance(1, 4) { 300 } else { MEMORY };
            let (before, spans) = consume(&mut log).unwrap();
            let producers = log.producers().clone();
            let (start, end) = (log.start(), log.end());
            compact(&mut log, at(now), memory);
            let (after, after_spans) = consume(&mut log).unwrap();
            check(&before, &after, log.cleaned_to().0, seed);
            check_times(&mut log, &after, seed);
            shrunk += before.len() - after.len();
            assert_eq!((log.start(), log.end()), (start, end));
            assert!(
                after_spans.iter().all(|span| spans.contains(span)),
                "seed {seed}: a batch has other offsets"
            );
            flush(&mut log);
            drop(log);
            log = open(&disk, at(now));
            assert_eq!(consume(&mut log).unwrap().0, after, "seed {seed}");
            let last = |p: &crate::producer::ProducerStates| -> Vec<_> {
                p.iter()
                    .map(|(id, s)| (id, s.batches().last().map(|b| (b.last_sequence, b.last_offset))))
                    .collect()
            };
            assert_eq!(last(log.producers()), last(&producers), "seed {seed}");
        }
    }
    assert!(shrunk > 10_000, "{shrunk}");
}

#[test]
fn producers_are_rebuilt_from_a_compacted_log() {
    let disk = MemDisk::new();
    let (mut log, mut writer) = (open(&disk, at(0)), Writer::new(7));
    for k in 0..300 {
        writer.append(&mut log, at(k));
    }
    let sequences = writer.sequences.clone();
    assert!(compact(&mut log, at(300), MEMORY));
    flush(&mut log);
    drop(log);
    for entry in disk.list("c-0").unwrap() {
        assert!(!entry.name.ends_with(".snapshot"), "none was taken");
    }
    let log = open(&disk, at(300));
    for (id, next) in sequences {
        let state = log.producers().get(base::ProducerId(id)).unwrap();
        assert_eq!(state.batches().last().unwrap().last_sequence, next - 1, "producer {id}");
    }
}

/// A log with one key written again and again, and tombstones for the keys below `count`.
fn tombstones(log: &mut Log, count: u8) {
    for k in 0..40 {
        let mut builder = BatchBuilder::new(BatchMeta::default());
        let key = if k % (count + 1) < count { [k % (count + 1)] } else { [99] };
        let filler = [k; 40];
        let value = (key[0] == 99).then_some(&filler[..]);
        builder.push(&RecordFields { timestamp: at(0).wall.0, key: Some(&key), value, headers: &[] });
        let bytes = builder.finish();
        let checked = CheckedBatches::from_produce(&bytes).unwrap();
        log.append(&checked, Origin::Client { strict: false }, LeaderEpoch(1), at(0)).unwrap();
    }
    log.roll(at(0)).unwrap();
}

#[test]
fn tombstones_stay_for_their_time_and_then_go() {
    let disk = MemDisk::new();
    let mut log = open(&disk, at(0));
    let present = |log: &mut Log| -> Vec<u8> {
        let seen = consume(log).unwrap().0;
        seen.iter().filter(|seen| seen.value.is_none()).map(|seen| seen.key[0]).collect()
    };
    tombstones(&mut log, 3);
    assert!(compact(&mut log, at(0), MEMORY));
    let first = present(&mut log);
    assert_eq!(
        {
            let mut keys = first.clone();
            keys.sort_unstable();
            keys
        },
        [0, 1, 2]
    );
    // Within the time: another pass changes neither them nor their horizon.
    tombstones(&mut log, 0);
    assert!(compact(&mut log, at(DAY), MEMORY));
    assert_eq!(present(&mut log), first);
    tombstones(&mut log, 0);
    assert!(compact(&mut log, at(DAY + 1), MEMORY));
    assert_eq!(present(&mut log), []);
    assert!(log.start() == EndOffset(0) && log.end() == EndOffset(120));
}

#[test]
fn nothing_uncommitted_or_unflushed_is_touched() {
    let disk = MemDisk::new();
    let (mut log, mut writer) = (open(&disk, at(0)), Writer::new(1));
    for k in 0..100 {
        writer.append(&mut log, at(k));
    }
    assert!(log.compaction_job(log.end(), at(0)).unwrap().is_none(), "nothing is flushed");
    flush(&mut log);
    assert!(log.compaction_job(EndOffset(0), at(0)).unwrap().is_none(), "nothing is committed");
    let half = EndOffset(log.end().0 / 2);
    let (before, _) = consume(&mut log).unwrap();
    let job = plan(&mut log, half, at(0)).unwrap();
    assert!(log.compaction_job(half, at(0)).unwrap().is_none(), "one at a time");
    let done = job.run(&Turned, MEMORY).unwrap();
    assert!(done.cleaned_to() <= half);
    let (read, written) = done.bytes();
    assert!(written < read);
    let bound = done.cleaned_to().0;
    log.compacted(done).unwrap().unwrap().run().unwrap();
    log.swapped();
    let (after, _) = consume(&mut log).unwrap();
    let above = |seen: &[Seen]| seen.iter().filter(|seen| seen.offset >= bound).cloned().collect::<Vec<_>>();
    assert_eq!(above(&before), above(&after));
    // A key is void only through records below the bound.
    let below =
        |seen: &[Seen]| latest(&seen.iter().filter(|s| s.offset < bound).cloned().collect::<Vec<_>>());
    assert_eq!(below(&before), below(&after));
}

#[test]
fn lag_and_ratio_decide_when() {
    let disk = MemDisk::new();
    let mut log = open(&disk, at(0));
    tombstones(&mut log, 3);
    flush(&mut log);
    let wanted = |log: &mut Log, config: LogConfig, now: Now| {
        log.configure(config);
        let job = log.compaction_job(log.end(), now).unwrap().is_some();
        log.compaction_failed();
        job
    };
    let lag = Span::from_secs(10);
    assert!(!wanted(&mut log, LogConfig { compacts: false, ..config() }, at(0)));
    assert!(!wanted(&mut log, LogConfig { compaction_lag_min: lag, ..config() }, at(9_999)));
    assert!(wanted(&mut log, LogConfig { compaction_lag_min: lag, ..config() }, at(10_000)));
    log.configure(config());
    assert!(compact(&mut log, at(0), MEMORY));
    let half = || LogConfig { dirty_percent_min: 101, ..config() };
    tombstones(&mut log, 3);
    flush(&mut log);
    assert!(!wanted(&mut log, half(), at(0)), "not dirty enough");
    assert!(!wanted(&mut log, LogConfig { compaction_lag_max: lag, ..half() }, at(10_000)));
    assert!(wanted(&mut log, LogConfig { compaction_lag_max: lag, ..half() }, at(10_001)));
}
