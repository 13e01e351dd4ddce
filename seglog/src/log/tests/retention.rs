use super::super::retention::{Candidate, Limits, believable, may_delete};
use super::*;
use base::Rng;

const HOUR: i64 = 3_600_000;

fn candidate(end: i64, bytes: u64, youngest: i64) -> Candidate {
    Candidate { end, bytes, youngest: Timestamp(youngest), is_active: false }
}

fn limits(time: Option<u64>, bytes: Option<u64>, now: i64) -> Limits {
    let time = time.map(Span::from_millis);
    Limits { time, bytes, start: 0, high_watermark: 1_000, now: Timestamp(now) }
}

#[test]
fn the_predicate_at_its_edges() {
    let old = |age, limit| may_delete(&candidate(10, 5, 0), 5, &limits(Some(limit), None, age));
    assert_eq!([old(99, 100), old(100, 100), old(101, 100)], [false, false, true]);
    assert!(!old(0, 0));
    assert!(old(1, 0));
    assert!(!old(-50, 0), "a clock that went back deletes nothing");

    let large = |total, limit| may_delete(&candidate(10, 40, 0), total, &limits(None, Some(limit), 0));
    assert_eq!([large(139, 100), large(140, 100), large(141, 100)], [false, true, true]);
    assert!(large(40, 0), "nothing is to be kept");

    let started = |start| may_delete(&candidate(10, 5, 0), 5, &Limits { start, ..limits(None, None, 0) });
    assert_eq!([started(9), started(10), started(11)], [false, true, true]);

    let all = |high_watermark| {
        let limits = Limits { high_watermark, start: 50, ..limits(Some(0), Some(0), 500) };
        may_delete(&candidate(10, 5, 0), 5, &limits)
    };
    assert_eq!([all(9), all(10)], [false, true], "nothing that is not committed goes");
    let empty = Candidate { is_active: true, bytes: 0, ..candidate(10, 0, 0) };
    assert!(!may_delete(&empty, 0, &limits(Some(0), Some(0), 500)));
}

#[test]
fn timestamps_are_believed_within_reason() {
    let modified = Timestamp(10 * HOUR);
    for (latest, believed) in [
        (5 * HOUR, 5 * HOUR),
        (0, 0),
        (11 * HOUR, 11 * HOUR),
        (11 * HOUR + 1, 10 * HOUR),
        (i64::MAX, 10 * HOUR),
        (-1, 10 * HOUR),
        (i64::MIN, 10 * HOUR),
    ] {
        assert_eq!(believable(latest, modified), Timestamp(believed), "{latest}");
    }
}

#[test]
fn whatever_is_deleted_was_beyond_a_limit_and_whatever_stays_first_was_not() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let disk = MemDisk::new();
        let config = LogConfig {
            retention_time: rng.chance(1, 2).then(|| Span::from_millis(rng.below(400))),
            retention_bytes: rng.chance(1, 2).then(|| rng.below(6_000)),
            deletes: rng.chance(5, 6),
            ..small()
        };
        let mut log = create_with(&disk, config.clone());
        flush_twice(&mut log);
        for k in 0..i64::try_from(rng.below(60)).unwrap() {
            let jitter = i64::try_from(rng.below(30)).unwrap();
            append(&mut log, &batch(BatchMeta::default(), 3, 20, 1_000_000 + k * 10 - jitter, b'x')).unwrap();
        }
        let before = read_all(&mut log, EndOffset(0)).unwrap();
        let high = EndOffset(i64::try_from(rng.below(u64::try_from(log.end().0).unwrap() + 1)).unwrap());
        let now = at(rng.below(1_500));
        disk.set_clock(now.wall);
        let end = log.end();
        if let Some(job) = log.plan_retention(high, now).unwrap() {
            job.run().unwrap().run().unwrap();
        }
        assert!(log.start() <= high.max(EndOffset(0)) && log.end() == end, "seed {seed}");
        let (gone, kept): (Vec<&BatchHeader>, Vec<&BatchHeader>) =
            before.iter().partition(|h| h.end_offset() <= log.start());
        let start = log.start();
        assert_eq!(
            bases(&read_all(&mut log, start).unwrap()),
            kept.iter().map(|h| h.base_offset).collect::<Vec<_>>()
        );
        let kept_bytes: u64 = kept.iter().map(|header| header.total_bytes()).sum();
        let youngest_gone = gone.iter().map(|header| header.max_timestamp).max();
        if let Some(youngest) = youngest_gone {
            assert!(config.deletes);
            let by_time =
                config.retention_time.is_some_and(|limit| now.wall.since(Timestamp(youngest)) > limit);
            let by_size = config.retention_bytes.is_some_and(|limit| kept_bytes >= limit);
            assert!(by_time || by_size, "seed {seed}: deleted within the limits");
        }
        assert!(log.plan_retention(high, now).unwrap().is_none(), "seed {seed}: once is enough");
        let crashed = disk.crash_clone(&mut rng, 50);
        let (log, _) = open_with(&crashed, config).unwrap();
        assert!(log.start() >= start.min(log.end()), "seed {seed}: a deleted record came back");
    }
}

#[test]
fn a_whole_log_may_expire_and_goes_on() {
    let disk = MemDisk::new();
    disk.set_clock(at(0).wall);
    let mut log = create_with(&disk, LogConfig { retention_time: Some(Span::from_millis(10)), ..small() });
    for _ in 0..30 {
        append(&mut log, &plain(3)).unwrap();
    }
    let job = log.plan_retention(EndOffset(90), at(11)).unwrap().unwrap();
    assert_eq!((job.start(), log.start(), log.end()), (EndOffset(90), EndOffset(90), EndOffset(90)));
    job.run().unwrap().run().unwrap();
    assert_eq!(log.segments(), 1);
    append(&mut log, &plain(3)).unwrap();
    assert_eq!(bases(&read_all(&mut log, EndOffset(90)).unwrap()), [90]);
    let logs = files(&disk).into_iter().filter(|name| name.ends_with(".log")).count();
    assert_eq!(logs, 1);
}

#[test]
fn an_index_is_no_reason_to_delete() {
    let disk = MemDisk::new();
    disk.set_clock(at(0).wall);
    let config = LogConfig { retention_time: Some(Span::from_millis(500)), ..small() };
    let mut log = create_with(&disk, config);
    for _ in 0..30 {
        append(&mut log, &plain(3)).unwrap();
    }
    flush_twice(&mut log);
    log.release();
    // The first segment's time index now says that it is older than it is.
    let path = "t-0/00000000000000000000.timeindex";
    assert!(length(&disk, path) >= 12);
    disk.flip_bit(path, length(&disk, path) * 8 - 12 * 8 + 45).unwrap();
    assert!(log.plan_retention(EndOffset(90), at(400)).unwrap().is_none());
    assert!(log.plan_retention(EndOffset(90), at(501)).unwrap().is_some());
}

#[test]
fn records_are_deleted_by_request_and_stay_deleted() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    for _ in 0..30 {
        append(&mut log, &plain(3)).unwrap();
    }
    let beyond = log.delete_records(EndOffset(61), EndOffset(60)).unwrap_err();
    assert!(matches!(beyond, ReadError::OutOfRange { .. }));
    let job = log.delete_records(EndOffset(50), EndOffset(60)).unwrap().unwrap();
    assert_eq!(log.start(), EndOffset(50));
    job.run().unwrap();
    assert!(log.delete_records(EndOffset(40), EndOffset(60)).unwrap().is_none(), "a start only grows");
    flush_twice(&mut log);
    for survive in [0, 50, 100] {
        let crashed = disk.crash_clone(&mut Rng::new(survive), u8::try_from(survive).unwrap());
        let (mut log, _) = open_with(&crashed, small()).unwrap();
        assert_eq!((log.start(), log.end()), (EndOffset(50), EndOffset(90)));
        assert_eq!(bases(&read_all(&mut log, EndOffset(50)).unwrap())[0], 48);
        assert!(log.read(EndOffset(49), 1, EndOffset(90), true).is_err());
    }
}

#[test]
fn the_size_is_that_of_the_files_and_opens_none() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    let measured = |log: &mut Log, when: &str| {
        disk.inject(crate::disk::Operation::Open, 0, crate::disk::Fault::Io);
        let size = log.size().unwrap_or_else(|error| panic!("{when}: {error}"));
        disk.clear_faults();
        assert_eq!(Ok(size), bytes_in_files(&disk), "{when}");
        size
    };
    (0..60).for_each(|_| _ = append(&mut log, &plain(3)).unwrap());
    flush_twice(&mut log);
    let full = measured(&mut log, "after rolls");
    log.release();
    assert_eq!(measured(&mut log, "when released"), full);
    drop(log);
    let (mut log, _) = open_with(&disk, small()).unwrap();
    assert_eq!(measured(&mut log, "when opened"), full);
    let job = log.delete_records(EndOffset(50), log.end()).unwrap().unwrap();
    job.run().unwrap().run().unwrap();
    assert!(measured(&mut log, "after a trim") < full);
    log.truncate_to(EndOffset(100), at(0)).unwrap();
    let cut = measured(&mut log, "after a cut");
    log.configure(LogConfig { retention_bytes: Some(cut / 4), ..small() });
    log.plan_retention(log.end(), at(0)).unwrap().unwrap().run().unwrap().run().unwrap();
    let kept = measured(&mut log, "after retention");
    assert!((cut / 4..cut).contains(&kept));
    drop(log);
    let (mut log, _) = open_with(&disk, small()).unwrap();
    assert_eq!(measured(&mut log, "when opened again"), kept);
}
