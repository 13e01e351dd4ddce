//! A log under random operations, faults and crashes, beside a plain list of what it should hold.

use super::*;
use crate::dir::{FlushJob, FlushOutcome};
use base::ProducerId;
use base::Rng;
use std::collections::BTreeMap as Map;

const PRODUCERS: u64 = 3;

/// A batch as the model knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    base: i64,
    end: i64,
    crc: u32,
    epoch: i32,
    producer: i64,
    last_sequence: i32,
    /// Latest timestamp.
    time: i64,
}

/// What the log should hold and what was promised of it.
#[derive(Clone, Debug, Default)]
struct Model {
    /// All batches ever, but those that were cut off; deleted ones stay.
    history: Vec<Known>,
    /// Lowest start that a crash may bring back, and the start in memory.
    durable_start: i64,
    start: i64,
    /// No crash may lose what is before this.
    promised: i64,
    /// A crash during a cut may leave the log anywhere from here on.
    cut: Option<i64>,
}

impl Model {
    fn end(&self) -> i64 {
        self.history.last().map_or(self.start, |known| known.end.max(self.start))
    }

    fn live(&self) -> impl Iterator<Item = &Known> {
        self.history.iter().filter(|known| known.end > self.start)
    }

    fn truncate(&mut self, end: i64) {
        self.history.retain(|known| known.end <= end);
        self.promised = self.promised.min(end);
    }

    /// Last sequence by producer.
    fn sequences(&self) -> Map<i64, i32> {
        let produced = self.history.iter().filter(|known| known.producer >= 0);
        produced.map(|known| (known.producer, known.last_sequence)).collect()
    }
}

struct Rig {
    seed: u64,
    rng: Rng,
    disk: MemDisk,
    log: Option<Log>,
    model: Model,
    config: LogConfig,
    flushing: Option<(Vec<FlushJob>, i64)>,
    checkpointing: Option<CheckpointJob>,
    epoch: i32,
    millis: u64,
    crashes: u32,
    trace: Vec<String>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let tail = self.trace.len().saturating_sub(60);
            println!("seed {}, the last steps:\n{}", self.seed, self.trace[tail..].join("\n"));
        }
    }
}

impl Rig {
    fn new(seed: u64) -> Self {
        let rng = Rng::new(seed);
        let disk = MemDisk::new();
        let config = LogConfig { segment_bytes: 1_500, index_interval_bytes: 100, ..LogConfig::default() };
        let mut log = create_with(&disk, config.clone());
        flush_twice(&mut log);
        let model = Model::default();
        let (flushing, checkpointing) = (None, None);
        Self {
            seed,
            rng,
            disk,
            log: Some(log),
            model,
            config,
            flushing,
            checkpointing,
            epoch: 0,
            millis: 0,
            crashes: 0,
            trace: Vec::new(),
        }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("the log is open")
    }

    fn now(&mut self) -> Now {
        self.millis += self.rng.below(2_000);
        self.disk.set_clock(at(self.millis).wall);
        at(self.millis)
    }

    fn pick(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.rng.below(u64::try_from(high - low).unwrap() + 1)).unwrap()
    }

    /// One random operation; an error means that the simulated crash struck.
    fn step(&mut self) -> Result<(), ()> {
        match self.rng.below(100) {
            0..40 => self.append(),
            40..55 => self.flush(),
            55..63 => self.checkpoint(),
            63..67 => self.truncate(),
            67..71 => self.delete_records(),
            71..74 => self.retain(),
            74..76 => {
                self.epoch += 1;
                Ok(())
            }
            76..80 => {
                self.log().release();
                Ok(())
            }
            80..81 => self.start_over(),
            81..83 => self.reopen(),
            _ => self.look(),
        }
    }

    fn append(&mut self) -> Result<(), ()> {
        self.note("append");
        let now = self.now();
        let producer = if self.rng.chance(1, 2) { self.pick(0, 2) } else { -1 };
        let last = self.model.sequences().get(&producer).copied();
        let mut meta = BatchMeta::default();
        if producer >= 0 {
            (meta.producer_id, meta.producer_epoch) = (producer, 0);
            meta.base_sequence = last.map_or(0, |last| last + 1);
        }
        let (count, size) = (1 + self.rng.index(4), self.rng.index(200));
        let fill = u8::try_from(self.rng.below(256)).unwrap();
        let time = now.wall.0 - self.pick(0, 1_500);
        let bytes = batch(meta, count, size, time, fill);
        let checked = CheckedBatches::from_produce(&bytes).unwrap();
        let (epoch, seed) = (self.epoch, self.seed);
        let expected = self.model.end();
        let appended = match self.log().append(&checked, CLIENT, LeaderEpoch(epoch), now) {
            Ok(appended) => appended,
            Err(AppendError::Fenced(_)) => return Err(()),
            Err(other) => panic!("seed {seed}: {other}"),
        };
        assert_eq!((appended.base.0, appended.duplicate), (expected, false), "seed {seed}");
        let header = checked.first();
        self.model.history.push(Known {
            base: expected,
            end: appended.end.0,
            crc: header.crc,
            epoch,
            producer,
            last_sequence: header.last_sequence(),
            time,
        });
        if producer >= 0 && self.rng.chance(1, 3) {
            let again = self.log().append(&checked, CLIENT, LeaderEpoch(epoch), now).map_err(|_| ())?;
            assert_eq!((again.base.0, again.duplicate), (expected, true), "seed {seed}");
        }
        Ok(())
    }

    /// Begins a round, or ends one that began earlier: meanwhile anything may have happened.
    fn flush(&mut self) -> Result<(), ()> {
        self.note("flush");
        let Some((jobs, end)) = self.flushing.take() else {
            let end = self.log().end().0;
            self.flushing = Some((self.log().flush_job().into_iter().collect(), end));
            return Ok(());
        };
        let outcomes: Vec<FlushOutcome> = self.log().dir().flush_round(jobs).map_err(|_| ())?;
        let before = self.log().flushed();
        for outcome in &outcomes {
            self.log().flushed_to(outcome);
        }
        let flushed = self.log().flushed();
        assert!(flushed >= before && flushed.0 <= end.max(before.0), "seed {}", self.seed);
        self.model.promised = self.model.promised.max(flushed.0);
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), ()> {
        self.note("checkpoint");
        let now = self.now();
        match self.checkpointing.take() {
            None => self.checkpointing = self.log().checkpoint_job(now),
            Some(job) => {
                let done = job.run().map_err(|_| ())?;
                self.log().checkpointed(done);
            }
        }
        Ok(())
    }

    fn truncate(&mut self) -> Result<(), ()> {
        self.note("truncate");
        let (now, end) = (self.now(), self.model.end());
        let target = self.pick((end - 30).max(self.model.start + 1).min(end), end);
        let survivors = self.model.history.iter().filter(|known| known.end <= target).map(|known| known.end);
        let gone = self.model.history.iter().find(|known| known.end > target).map(|known| known.base);
        let expected = gone.or(survivors.max()).unwrap_or(target).min(target);
        self.model.cut = Some(expected);
        let cut = self.log().truncate_to(EndOffset(target), now).map_err(|_| ())?;
        assert_eq!(cut.0, expected, "seed {}", self.seed);
        self.model.truncate(cut.0);
        self.model.start = self.model.start.min(cut.0);
        self.model.durable_start = self.model.durable_start.min(cut.0);
        self.model.cut = None;
        let flushed = self.log().flushed().0;
        self.model.promised = flushed;
        Ok(())
    }

    fn delete_records(&mut self) -> Result<(), ()> {
        self.note("delete_records");
        let (start, end) = (self.model.start, self.model.end());
        let target = self.pick(start, (start + 40).min(end));
        let job = self.log().delete_records(EndOffset(target), EndOffset(end)).map_err(|_| ())?;
        self.model.start = target;
        self.delete(job)
    }

    fn delete(&mut self, job: Option<DeleteJob>) -> Result<(), ()> {
        let Some(job) = job else { return Ok(()) };
        let start = job.start().0;
        let remove = job.run().map_err(|_| ())?;
        self.model.durable_start = start;
        if self.rng.chance(1, 2) { remove.run().map_err(|_| ()) } else { Ok(()) }
    }

    fn retain(&mut self) -> Result<(), ()> {
        self.note("retain");
        let now = self.now();
        let span = Span::from_millis(5_000 + self.rng.below(20_000));
        self.config.retention_time = Some(span);
        self.config.retention_bytes = self.rng.chance(1, 3).then(|| 4_000 + self.rng.below(8_000));
        let config = self.config.clone();
        self.log().configure(config);
        let end = self.log().end();
        let job = self.log().plan_retention(end, now).map_err(|_| ())?;
        self.model.start = self.log().start().0;
        self.delete(job)
    }

    fn start_over(&mut self) -> Result<(), ()> {
        self.note("start_over");
        let now = self.now();
        let target = self.model.end() + self.pick(0, 50);
        self.model.cut = Some(0);
        self.log().start_over_at(EndOffset(target), now).map_err(|_| ())?;
        self.model = Model { start: target, durable_start: target, promised: target, ..Model::default() };
        Ok(())
    }

    /// The process ends and comes back; the page cache stays.
    fn reopen(&mut self) -> Result<(), ()> {
        self.note("reopen");
        (self.flushing, self.checkpointing) = (None, None);
        self.log = None;
        self.open().ok_or(())?;
        self.model.promised = self.log().flushed().0;
        Ok(())
    }

    fn open(&mut self) -> Option<()> {
        let now = self.now();
        let dir = LogDir::open(Arc::new(self.disk.clone()), "boot").ok()?;
        match Log::open(&dir, &name(), TOPIC, self.config.clone(), now) {
            Ok((log, _)) => self.log = Some(log),
            Err(OpenLogError::Disk(error)) => {
                assert_eq!(error.kind, crate::disk::DiskErrorKind::Crashed, "seed {}", self.seed);
                return None;
            }
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
        Some(())
    }

    /// Compares a random part with the model.
    fn look(&mut self) -> Result<(), ()> {
        self.note("look");
        let (seed, start, end) = (self.seed, self.model.start, self.model.end());
        assert_eq!((self.log().start().0, self.log().end().0), (start, end), "seed {seed}");
        let size = self.log().size().map_err(|_| ())?;
        assert_eq!(size, bytes_in_files(&self.disk).map_err(|_| ())?, "seed {seed}");
        let from = self.pick(start, end);
        let known: Vec<(i64, u32)> =
            self.model.live().filter(|known| known.end > from).map(|known| (known.base, known.crc)).collect();
        let read = match read_all(self.log(), EndOffset(from)) {
            Ok(read) => read,
            Err(error) if error.contains("simulated crash") => return Err(()),
            Err(error) => panic!("seed {seed}: {error}"),
        };
        let read: Vec<(i64, u32)> = read.iter().map(|header| (header.base_offset, header.crc)).collect();
        assert_eq!(read, known, "seed {seed} from {from}");
        self.look_at_time()?;
        self.look_at_epochs()?;
        self.look_at_producers();
        Ok(())
    }

    fn look_at_time(&mut self) -> Result<(), ()> {
        let seed = self.seed;
        let target = i64::try_from(self.rng.below(self.millis + 2_000)).unwrap() + 1_000_000 - 500;
        let start = self.model.start;
        let first = self.model.live().find(|known| known.time >= target).map(|known| known.base.max(start));
        match self.log().find_time(Timestamp(target), &NoCodec) {
            Ok(hit) => assert_eq!(hit.map(|hit| hit.offset.0), first, "seed {seed}: time {target}"),
            Err(_) => return Err(()),
        }
        Ok(())
    }

    fn look_at_epochs(&mut self) -> Result<(), ()> {
        let seed = self.seed;
        let epoch = i32::try_from(self.pick(0, i64::from(self.epoch))).unwrap();
        let present: Vec<i32> = self.model.live().map(|known| known.epoch).collect();
        let Some(found) = present.iter().copied().filter(|known| *known <= epoch).max() else {
            return Ok(());
        };
        let after = self.model.live().find(|known| known.epoch > epoch).map(|known| known.base);
        let answer = self.log().end_of_epoch(LeaderEpoch(epoch)).map_err(|_| ())?;
        if let Some(after) = after {
            let answer = answer.map(|answer| (answer.epoch.0, answer.end.0));
            assert_eq!(answer, Some((found, after)), "seed {seed}: epoch {epoch}");
        } else if epoch == found {
            assert_eq!(answer.map(|answer| answer.end.0), Some(self.model.end()), "seed {seed}");
        }
        Ok(())
    }

    fn look_at_producers(&mut self) {
        let expected = self.model.sequences();
        for id in 0..i64::try_from(PRODUCERS).unwrap() {
            let state = self.log().producers().get(ProducerId(id));
            let last = state.and_then(|state| state.batches().last()).map(|batch| batch.last_sequence);
            assert_eq!(last, expected.get(&id).copied(), "seed {}: producer {id}", self.seed);
        }
    }

    /// The machine dies; what comes back must be what was promised and nothing that never was.
    fn crash(&mut self) {
        self.crashes += 1;
        let survive = [0, 20, 50, 80, 100][self.rng.index(5)];
        self.disk.fail_from(None);
        self.disk = self.disk.crash_clone(&mut self.rng, survive);
        self.log = None;
        (self.flushing, self.checkpointing) = (None, None);
        // Recovery itself may be struck, any number of times.
        while self.rng.chance(1, 3) {
            self.disk.fail_from(Some(self.disk.operations() + self.rng.below(40)));
            let opened = self.open().is_some();
            self.disk.fail_from(None);
            self.log = None;
            if opened {
                self.check_recovered_after_reopen();
            }
            self.disk = self.disk.crash_clone(&mut self.rng, survive);
        }
        assert!(self.open().is_some(), "seed {}", self.seed);
        self.check_recovered();
    }

    /// What recovery flushed counts as promised from then on.
    fn check_recovered_after_reopen(&mut self) {
        if self.open().is_some() {
            self.check_recovered();
            self.log = None;
        }
    }

    fn check_recovered(&mut self) {
        let seed = self.seed;
        let (start, end) = (self.log().start().0, self.log().end().0);
        let promised = self.model.cut.map_or(self.model.promised, |cut| cut.min(self.model.promised));
        if self.model.cut == Some(0) {
            // The log was to be emptied: it is, or what is there is what was there.
            self.model.durable_start = start;
        } else {
            assert!(end >= promised, "seed {seed}: ends at {end}, promised {promised}");
            let lowest =
                self.model.cut.map_or(self.model.durable_start, |cut| cut.min(self.model.durable_start));
            assert!(start >= lowest, "seed {seed}: starts at {start}, not before {lowest}");
        }
        let read =
            read_all(self.log(), EndOffset(start)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let known: Map<i64, u32> = self.model.history.iter().map(|known| (known.base, known.crc)).collect();
        for header in &read {
            assert_eq!(
                known.get(&header.base_offset),
                Some(&header.crc),
                "seed {seed}: {}",
                header.base_offset
            );
        }
        self.model.history.retain(|known| known.end <= end);
        if self.model.history.last().is_none_or(|known| known.end < end) {
            // Everything before the start is gone, and the log begins anew there.
            assert_eq!((start, read.len()), (end, 0), "seed {seed}");
        }
        // What was deleted without ever having been flushed may have taken its producers along.
        let unsure = self.model.cut == Some(0) || promised < start;
        (self.model.start, self.model.durable_start) = (start, start);
        (self.model.promised, self.model.cut) = (end, None);
        if unsure {
            self.start_over().expect("nothing fails now");
        }
        self.look_at_producers();
    }

    fn note(&mut self, what: &str) {
        let log = self.log.as_ref().map(|log| (log.start().0, log.flushed().0, log.end().0, log.segments()));
        let snapshots = self.log.as_ref().map(|log| log.snapshots.clone());
        let model = (self.model.start, self.model.promised, self.model.end());
        self.trace.push(format!("{what} log {log:?} snapshots {snapshots:?} model {model:?}"));
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.rng.chance(1, 25) {
                self.disk.fail_from(Some(self.disk.operations() + self.rng.below(30)));
            }
            let failed = self.step().is_err();
            self.note(if failed { "struck" } else { "" });
            if failed || self.rng.chance(1, 120) {
                self.crash();
                self.note("crashed");
            }
        }
        self.disk.fail_from(None);
        if self.look().is_err() {
            self.crash();
        }
    }
}

#[test]
fn random_operations_and_crashes_agree_with_the_model() {
    let seeds: u64 = std::option_env!("OTTLA_SEEDS").and_then(|text| text.parse().ok()).unwrap_or(150);
    let mut crashes = 0;
    let _ = base::marks::take();
    for seed in 0..seeds {
        let mut rig = Rig::new(seed);
        rig.run(250);
        crashes += rig.crashes;
    }
    assert!(crashes > 300, "{crashes}");
    let marks = base::marks::take();
    for mark in
        ["tail_cut", "segment_cut", "log_truncated", "log_started_over", "segment_rolled", "log_start_moved"]
    {
        assert!(marks.contains_key(mark), "{mark} was never reached: {marks:?}");
    }
}
