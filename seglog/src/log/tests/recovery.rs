use super::*;
use base::Rng;
use base::plant::{Bug, arm};

/// A log of 30 batches of three records, of which the first `flushed` are on the device and recorded so.
fn half_flushed(disk: &MemDisk, flushed: usize) -> Log {
    let mut log = create_with(disk, small());
    for k in 0..30 {
        append(&mut log, &plain(3)).unwrap();
        if k + 1 == flushed {
            flush_twice(&mut log);
        }
    }
    log
}

/// What a crash leaves, opened again under a planted bug or none.
fn crashed(disk: &MemDisk, seed: u64, survive: u8) -> MemDisk {
    disk.crash_clone(&mut Rng::new(seed), survive)
}

fn with<T>(bug: Bug, run: impl FnOnce() -> T) -> T {
    arm(Some(bug));
    let result = run();
    arm(None);
    result
}

#[test]
fn flushed_data_survives_and_the_rest_is_a_prefix() {
    let disk = MemDisk::new();
    drop(half_flushed(&disk, 17));
    let mut cut = 0;
    for seed in 0..200 {
        let survive = [0, 30, 70, 95, 100][usize::try_from(seed % 5).unwrap()];
        let after = crashed(&disk, seed, survive);
        let (mut log, report) = open_with(&after, small()).unwrap();
        assert!(log.end() >= EndOffset(51), "seed {seed}");
        assert_eq!(log.flushed(), log.end());
        let expected: Vec<_> = (0..log.end().0 / 3).map(|k| k * 3).collect();
        assert_eq!(bases(&read_all(&mut log, EndOffset(0)).unwrap()), expected, "seed {seed}");
        cut += u32::from(report.truncation.is_some());
        if survive == 100 {
            assert_eq!((log.end(), report.truncation), (EndOffset(90), None));
        }
    }
    assert!(cut > 20, "some tails are torn: {cut}");
}

#[test]
fn only_the_tail_past_the_flush_point_is_checked() {
    let disk = MemDisk::new();
    drop(half_flushed(&disk, 20));
    let (log, report) = open_with(&disk, small()).unwrap();
    let batch_bytes = plain(3).len() as u64;
    assert_eq!(report, OpenReport { checked_bytes: 10 * batch_bytes, truncation: None });
    drop(log);
    // A hundred times the data, all flushed: opening costs the same.
    let cost = |batches: usize| {
        let disk = MemDisk::new();
        let mut log = create_with(&disk, small());
        for _ in 0..batches {
            append(&mut log, &plain(3)).unwrap();
        }
        flush_twice(&mut log);
        checkpoint(&mut log, at(0));
        drop(log);
        let before = disk.operations();
        open_with(&disk, small()).unwrap();
        disk.operations() - before
    };
    let (little, much) = (cost(40), cost(4_000));
    assert!(much <= little + 2, "{little} operations for little, {much} for much");
}

#[test]
fn the_recovered_tail_is_durable_before_it_is_seen() {
    let lost = |bug: Option<Bug>| {
        let mut lost = 0;
        for seed in 0..40 {
            let disk = MemDisk::new();
            drop(half_flushed(&disk, 10));
            // The process died, not the machine: everything is still in the page cache.
            arm(bug);
            let (log, _) = open_with(&disk, small()).unwrap();
            arm(None);
            let promised = log.flushed();
            drop(log);
            let after = crashed(&disk, seed, 50);
            let kept = open_with(&after, small()).map(|(log, _)| log.end());
            lost += u32::from(kept.is_ok_and(|end| end < promised));
        }
        lost
    };
    assert_eq!(lost(None), 0);
    assert!(lost(Some(Bug::B6)) > 0, "planted bug B6 does its harm");
}

#[test]
fn damage_below_the_flush_point_is_refused_and_left_alone() {
    let disk = MemDisk::new();
    drop(half_flushed(&disk, 25));
    let below = |name: &String| name.ends_with(".log") && name[..20].parse::<i64>().unwrap() <= 75;
    let segment = files(&disk).into_iter().rfind(below).unwrap();
    let path = format!("t-0/{segment}");
    let rotten = crashed(&disk, 1, 100);
    // The length of a batch below the flush point: the walk cannot go on.
    rotten.flip_bit(&path, 8 * 8 + 1).unwrap();
    let before = length(&rotten, &path);
    let refused = open_with(&rotten, small()).unwrap_err();
    assert!(matches!(refused, OpenLogError::Damaged(LogDamage::Batch { .. })), "{refused}");
    assert_eq!(length(&rotten, &path), before);

    let cut = with(Bug::B9, || open_with(&rotten, small()));
    assert!(cut.is_ok() && length(&rotten, &path) < before, "planted bug B9 does its harm");
}

#[test]
fn a_log_that_lost_durable_data_is_refused() {
    let disk = MemDisk::new();
    drop(half_flushed(&disk, 30));
    let logs: Vec<_> = files(&disk).into_iter().filter(|name| name.ends_with(".log")).collect();
    assert!(logs.len() > 2);
    let without = |names: &[String]| {
        let disk = crashed(&disk, 1, 100);
        names.iter().for_each(|name| disk.remove(&format!("t-0/{name}")).unwrap());
        open_with(&disk, small()).map(|(log, _)| log.end())
    };
    let short = |result| matches!(result, Err(OpenLogError::Damaged(LogDamage::Short { .. })));
    assert!(short(without(&logs)), "all segments");
    assert!(short(without(&logs[logs.len() - 1..])), "the last segment");
    assert!(matches!(without(&logs[..1]), Err(OpenLogError::Damaged(LogDamage::Beheaded { .. }))));
    let disk = crashed(&disk, 1, 100);
    let path = format!("t-0/{}", logs[logs.len() - 1]);
    let size = length(&disk, &path);
    disk.open(&path, OpenMode::Write).unwrap().truncate(size - 1).unwrap();
    assert!(open_with(&disk, small()).is_err());
}

#[test]
fn a_hole_between_segments_ends_the_log() {
    let disk = MemDisk::new();
    drop(half_flushed(&disk, 1));
    let logs: Vec<_> = files(&disk).into_iter().filter(|name| name.ends_with(".log")).collect();
    disk.remove(&format!("t-0/{}", logs[1])).unwrap();
    let (mut log, report) = open_with(&disk, small()).unwrap();
    let second: i64 = logs[1][..20].parse().unwrap();
    assert_eq!((log.end(), log.segments()), (EndOffset(second), 1));
    assert!(report.truncation.is_some());
    append(&mut log, &plain(3)).unwrap();
    assert_eq!(read_all(&mut log, EndOffset(0)).unwrap().last().unwrap().base_offset, second);
}

#[test]
fn a_hole_that_a_crash_left_where_nothing_was_ever_flushed_ends_the_log_too() {
    for compacts in [false, true] {
        let config = LogConfig { compacts, ..small() };
        let disk = MemDisk::new();
        let mut log = create_with(&disk, config.clone());
        (0..30).for_each(|_| _ = append(&mut log, &plain(3)).unwrap());
        drop(log);
        let logs: Vec<_> = files(&disk).into_iter().filter(|name| name.ends_with(".log")).collect();
        disk.remove(&format!("t-0/{}", logs[1])).unwrap();
        let (mut log, report) = open_with(&disk, config.clone()).unwrap();
        let second: i64 = logs[1][..20].parse().unwrap();
        assert_eq!((log.end(), log.segments()), (EndOffset(second), 1));
        assert!(report.truncation.is_some());
        flush_twice(&mut log);
        drop(log);
        assert!(open_with(&disk, config).is_ok(), "and is no damage later");
    }
}

#[test]
fn a_torn_base_offset_moves_no_log_whether_it_compacts_or_not() {
    for compacts in [false, true] {
        let config = LogConfig { compacts, ..LogConfig::default() };
        let disk = MemDisk::new();
        let mut log = create_with(&disk, config.clone());
        (0..3).for_each(|_| _ = append(&mut log, &plain(3)).unwrap());
        let at = log.size().unwrap() / 3 * 2;
        drop(log);
        let path = "t-0/00000000000000000000.log";
        let file = disk.open(path, OpenMode::Write).unwrap();
        // A sector that did not get to the device ended within the header.
        file.write_at(&mut [std::io::IoSlice::new(&[0x49, 0x9e, 0x11])], at).unwrap();
        let (log, report) = open_with(&disk, config).unwrap();
        assert_eq!((log.end(), report.truncation.is_some()), (EndOffset(6), true), "{compacts}");
    }
}

#[test]
fn a_gap_that_apache_kafkas_cleaner_left_is_no_damage() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    (0..30).for_each(|_| _ = append(&mut log, &plain(3)).unwrap());
    log.roll(at(0)).unwrap();
    flush_twice(&mut log);
    drop(log);
    let logs: Vec<_> = files(&disk).into_iter().filter(|name| name.ends_with(".log")).collect();
    let batch = plain(3).len() as u64;
    for name in &logs[..logs.len() - 1] {
        let path = format!("t-0/{name}");
        let short = length(&disk, &path) - batch;
        disk.open(&path, OpenMode::Write).unwrap().truncate(short).unwrap();
        disk.remove(&path.replace(".log", ".index")).unwrap();
    }
    assert!(open_with(&disk, small()).is_err(), "in a directory of our own it is");
    for ours in [crate::names::FORMAT, crate::names::FLUSH_POINTS] {
        disk.remove(ours).unwrap();
    }
    let meta = "version=1\ncluster.id=c\nnode.id=1\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\n";
    crate::durable::write_small(&disk, "meta.properties", meta.as_bytes()).unwrap();
    crate::durable::write_small(&disk, "recovery-point-offset-checkpoint", b"0\n1\nt 0 90\n").unwrap();
    for config in [small(), LogConfig { compacts: true, ..small() }] {
        for _ in 0..2 {
            let (mut log, _) = open_with(&disk, config.clone()).unwrap();
            assert_eq!(log.end(), EndOffset(90));
            let found = (0..90).filter(|offset| {
                let slice = log.read(EndOffset(*offset), 1, log.end(), true).unwrap();
                slice.is_some_and(|slice| slice.base.0 <= *offset)
            });
            assert_eq!(found.count(), (31 - logs.len()) * 3);
            append(&mut log, &plain(3)).unwrap();
            flush_twice(&mut log);
            log.truncate_to(EndOffset(90), at(0)).unwrap();
        }
    }
}

#[test]
fn a_retry_after_a_restart_is_still_a_retry() {
    let from = |sequence| {
        let meta =
            BatchMeta { producer_id: 7, producer_epoch: 0, base_sequence: sequence, ..BatchMeta::default() };
        batch(meta, 2, 10, 5, b'p')
    };
    let retried = |bug: Option<Bug>, with_snapshot: bool, restart: bool| {
        let disk = MemDisk::new();
        let mut log = create_with(&disk, small());
        append(&mut log, &from(0)).unwrap();
        if with_snapshot {
            checkpoint(&mut log, at(0));
        }
        append(&mut log, &from(2)).unwrap();
        flush_twice(&mut log);
        arm(bug);
        if restart {
            drop(log);
            (log, _) = open_with(&crashed(&disk, 1, 0), small()).unwrap();
        }
        let answer = append(&mut log, &from(2)).unwrap();
        arm(None);
        answer.duplicate
    };
    for with_snapshot in [false, true] {
        assert!(retried(None, with_snapshot, false) && retried(None, with_snapshot, true));
        assert!(!retried(Some(Bug::C11), with_snapshot, true), "planted bug C11 does its harm");
    }
    assert!(!retried(Some(Bug::C12), false, false), "planted bug C12 does its harm");
}

#[test]
fn the_whole_window_is_there_after_a_restart() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    let from = |sequence| {
        let meta =
            BatchMeta { producer_id: 7, producer_epoch: 0, base_sequence: sequence, ..BatchMeta::default() };
        batch(meta, 1, 10, 5, b'p')
    };
    for sequence in 0..9 {
        append(&mut log, &from(sequence)).unwrap();
        append(&mut log, &plain(3)).unwrap();
    }
    checkpoint(&mut log, at(0));
    flush_twice(&mut log);
    drop(log);
    let (mut log, _) = open_with(&crashed(&disk, 1, 0), small()).unwrap();
    for sequence in 0..9 {
        let retried = append(&mut log, &from(sequence));
        assert_eq!(retried.is_ok_and(|appended| appended.duplicate), sequence >= 4, "{sequence}");
    }
}

#[test]
fn producers_outlive_the_data_that_they_came_from() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    let meta = BatchMeta { producer_id: 7, producer_epoch: 0, base_sequence: 0, ..BatchMeta::default() };
    let batch = batch(meta, 2, 10, 5, b'p');
    append(&mut log, &batch).unwrap();
    for k in 0..60 {
        append(&mut log, &plain(3)).unwrap();
        if k % 10 == 0 {
            checkpoint(&mut log, at(0));
        }
    }
    checkpoint(&mut log, at(0));
    flush_twice(&mut log);
    log.delete_records(log.end(), log.end()).unwrap().unwrap().run().unwrap().run().unwrap();
    flush_twice(&mut log);
    drop(log);
    let (mut log, _) = open_with(&crashed(&disk, 1, 0), small()).unwrap();
    assert!(append(&mut log, &batch).unwrap().duplicate);
}

#[test]
fn snapshots_that_nobody_needs_are_removed() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    for k in 0..90 {
        let meta =
            BatchMeta { producer_id: 7, producer_epoch: 0, base_sequence: k * 3, ..BatchMeta::default() };
        append(&mut log, &batch(meta, 3, 20, 5, b'p')).unwrap();
        checkpoint(&mut log, at(0));
    }
    let snapshots = files(&disk).into_iter().filter(|name| name.ends_with(".snapshot")).count();
    assert!(snapshots <= log.segments() + 2, "{snapshots} snapshots of {} segments", log.segments());
    assert!(snapshots >= log.segments() - 1);
}

#[test]
fn where_there_are_no_producers_nothing_is_scanned_for_them() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    for _ in 0..300 {
        append(&mut log, &plain(3)).unwrap();
    }
    checkpoint(&mut log, at(0));
    flush_twice(&mut log);
    drop(log);
    assert!(files(&disk).iter().all(|name| !name.ends_with(".snapshot")));
    let before = disk.operations();
    open_with(&disk, small()).unwrap();
    assert!(disk.operations() - before < 40);
}

#[test]
fn a_start_that_is_not_durable_lets_deleted_records_return() {
    let returned = |bug: Option<Bug>| {
        let mut returned = 0;
        for cut_at in 0..20 {
            let disk = MemDisk::new();
            let mut log = half_flushed(&disk, 30);
            let job = log.delete_records(EndOffset(80), EndOffset(90)).unwrap().unwrap();
            disk.fail_from(Some(disk.operations() + cut_at));
            arm(bug);
            let done = job.run().is_ok();
            arm(None);
            disk.fail_from(None);
            drop(log);
            match open_with(&crashed(&disk, cut_at, 50), small()) {
                // Files are gone that the log still counts on.
                Err(_) => returned += 1,
                Ok((log, _)) => {
                    returned += u32::from(done && log.start() < EndOffset(80));
                    assert_eq!(log.end(), EndOffset(90));
                }
            }
        }
        returned
    };
    assert_eq!(returned(None), 0);
    assert!(returned(Some(Bug::B15)) > 0, "planted bug B15 does its harm");
}

#[test]
fn the_end_moves_with_the_bytes_and_waits_for_nothing() {
    let reused = |bug: Option<Bug>| {
        let disk = MemDisk::new();
        let mut log = create_with(&disk, small());
        append(&mut log, &plain(3)).unwrap();
        arm(bug);
        // Whatever is opened next fails; an append that only writes bytes opens nothing.
        disk.inject(crate::disk::Operation::Open, 0, crate::disk::Fault::NoSpace);
        let _ = append(&mut log, &plain(3));
        let again = append(&mut log, &plain(3)).unwrap();
        arm(None);
        let after = crashed(&disk, 1, 100);
        let mut log = open_with(&after, small()).unwrap().0;
        again.base.0 == 3 || bases(&read_all(&mut log, EndOffset(0)).unwrap()) != [0, 3, 6]
    };
    assert!(!reused(None));
    assert!(reused(Some(Bug::A18)), "planted bug A18 does its harm");
}

#[test]
fn what_a_full_disk_cut_short_is_cut_off() {
    let broken = |bug: Option<Bug>| {
        let disk = MemDisk::new();
        let mut log = create_with(&disk, small());
        append(&mut log, &plain(3)).unwrap();
        disk.inject(crate::disk::Operation::Write, 0, crate::disk::Fault::NoSpace);
        arm(bug);
        assert_eq!(append(&mut log, &plain(3)), Err(AppendError::NoSpace));
        append(&mut log, &plain(3)).unwrap();
        arm(None);
        read_all(&mut log, EndOffset(0)).map(|headers| bases(&headers)) != Ok(vec![0, 3])
    };
    assert!(!broken(None));
    assert!(broken(Some(Bug::B10)), "planted bug B10 does its harm");
}

#[test]
fn names_are_durable_before_what_depends_on_them() {
    let lost = |bug: Option<Bug>| {
        let mut lost = 0;
        for seed in 0..30 {
            let disk = MemDisk::new();
            arm(bug);
            drop(half_flushed(&disk, 30));
            arm(None);
            let kept = open_with(&crashed(&disk, seed, 50), small()).map(|(log, _)| log.end());
            lost += u32::from(kept != Ok(EndOffset(90)));
        }
        lost
    };
    assert_eq!(lost(None), 0);
    assert!(lost(Some(Bug::B3)) > 0, "planted bug B3 does its harm");
}

#[test]
fn a_segment_that_was_not_recorded_as_flushed_gets_its_indexes_again() {
    let disk = MemDisk::new();
    drop(half_flushed(&disk, 3));
    for file in files(&disk).into_iter().filter(|name| name.ends_with("index")) {
        disk.remove(&format!("t-0/{file}")).unwrap();
    }
    let (mut log, _) = open_with(&disk, small()).unwrap();
    flush(&mut log);
    log.release();
    let indexes = files(&disk).into_iter().filter(|name| name.ends_with("index")).count();
    assert_eq!(indexes, 2 * (log.segments() - 1));
    let operations = disk.operations();
    let _ = base::marks::take();
    assert_eq!(read_all(&mut log, EndOffset(0)).unwrap().len(), 30);
    assert!(disk.operations() > operations && !base::marks::take().contains_key("index_rebuilt"));
}

#[test]
fn a_tail_that_was_cut_off_before_its_segment_was_closed_is_no_damage() {
    for seed in 0..60 {
        let disk = MemDisk::new();
        let mut log = create_with(&disk, small());
        let mut sent = 0;
        // Near the end of a segment, and all of it durable.
        while log.active_base() == EndOffset(0) && length(&disk, "t-0/00000000000000000000.log") < 900 {
            sent = append(&mut log, &plain(3)).unwrap().end.0;
        }
        flush_twice(&mut log);
        let space = disk.space().unwrap();
        disk.set_capacity(Some(space.total - space.free + 30));
        assert!(matches!(append(&mut log, &plain(3)), Err(AppendError::NoSpace)));
        disk.set_capacity(None);
        let old = log.active_base();
        log.configure(LogConfig { segment_bytes: 600, ..small() });
        append(&mut log, &plain(3)).unwrap();
        assert!(log.active_base() > old, "a new segment");
        drop(log);
        let after = disk.crash_clone(&mut base::Rng::new(seed), 50);
        let (mut log, _) = open_with(&after, small()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(log.end() >= EndOffset(sent), "seed {seed}");
        assert!(
            read_all(&mut log, EndOffset(0)).unwrap().len() >= usize::try_from(sent / 3).unwrap(),
            "seed {seed}"
        );
    }
}

#[test]
fn damage_in_what_is_deleted_takes_nothing_along_that_comes_after_it() {
    let big = || LogConfig { segment_bytes: 1 << 20, ..small() };
    let one = plain(3).len() as u64;
    for damaged in [&[4][..], &[4, 5], &[4, 6, 7]] {
        let disk = MemDisk::new();
        let mut log = create_with(&disk, big());
        for _ in 0..30 {
            append(&mut log, &plain(3)).unwrap();
        }
        flush(&mut log);
        // The start is on record at once, the flush point is not yet.
        log.delete_records(EndOffset(45), EndOffset(90)).unwrap().unwrap().run().unwrap();
        drop(log);
        let path = format!("t-0/{}", files(&disk).into_iter().find(|file| file.ends_with(".log")).unwrap());
        for batch in damaged {
            disk.flip_bit(&path, (batch * one + one - 2) * 8).unwrap();
        }
        let (mut log, _) = open_with(&crashed(&disk, 1, 0), big()).unwrap();
        assert_eq!((log.start(), log.end()), (EndOffset(45), EndOffset(90)), "{damaged:?}");
        assert_eq!(read_all(&mut log, EndOffset(45)).unwrap().len(), 15);
    }
}

#[test]
fn a_torn_tail_is_cut_though_the_log_begins_behind_it() {
    let big = || LogConfig { segment_bytes: 1 << 20, ..small() };
    let disk = MemDisk::new();
    let mut log = create_with(&disk, big());
    for _ in 0..10 {
        append(&mut log, &plain(3)).unwrap();
    }
    flush(&mut log);
    log.delete_records(EndOffset(30), EndOffset(30)).unwrap().unwrap().run().unwrap();
    drop(log);
    let path = format!("t-0/{}", files(&disk).into_iter().find(|file| file.ends_with(".log")).unwrap());
    disk.flip_bit(&path, (length(&disk, &path) - 2) * 8).unwrap();
    let (log, _) = open_with(&crashed(&disk, 1, 0), big()).unwrap();
    assert_eq!((log.start(), log.end()), (EndOffset(30), EndOffset(30)));
}
