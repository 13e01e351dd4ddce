//! Logs that are recovered together and settled at once.

use super::*;
use crate::disk::{Fault, Operation};
use base::Rng;
use base::plant::{Bug, arm};

/// Enough logs that the file system is flushed instead of their files.
const MANY: i32 = 14;
/// So few that it is not: each has one segment.
const FEW: i32 = 4;
const BATCHES: i64 = 5;

fn nth(number: i32) -> PartitionName {
    PartitionName::new("t", PartitionIndex(number)).unwrap()
}

/// Logs of five batches of three records in one segment, of which the first batch is on the device and recorded so.
fn half_flushed(disk: &MemDisk, count: i32) {
    let dir = open_dir(disk);
    for number in 0..count {
        let mut log = Log::create(&dir, &nth(number), TOPIC, LogConfig::default(), at(0)).unwrap();
        append(&mut log, &plain(3)).unwrap();
        flush_twice(&mut log);
        for _ in 1..BATCHES {
            append(&mut log, &plain(3)).unwrap();
        }
    }
}

fn recover(dir: &Arc<LogDir>, number: i32) -> Result<Unsettled, OpenLogError> {
    Log::open_unsettled(dir, &nth(number), TOPIC, LogConfig::default(), at(0))
}

/// All of them that can be recovered.
fn recover_all(dir: &Arc<LogDir>, count: i32) -> Vec<Unsettled> {
    (0..count).filter_map(|number| recover(dir, number).ok()).collect()
}

/// The ends of the logs on a disk, recovered one by one.
fn ends(disk: &MemDisk, count: i32) -> Vec<i64> {
    let dir = open_dir(disk);
    (0..count).map(|number| recover(&dir, number).and_then(Unsettled::settle).unwrap().end().0).collect()
}

fn after_power_loss(disk: &MemDisk) -> MemDisk {
    disk.crash_clone(&mut Rng::new(1), 0)
}

fn refused(settled: &[Result<Log, OpenLogError>], with: impl Fn(&OpenLogError) -> bool) -> bool {
    !settled.is_empty() && settled.iter().all(|log| log.as_ref().is_err_and(&with))
}

#[test]
fn what_was_recovered_is_durable_once_it_is_settled_and_not_before() {
    for (count, at_once) in [(1, false), (FEW, false), (MANY, true)] {
        let disk = MemDisk::new();
        half_flushed(&disk, count);
        let dir = open_dir(&disk);
        let recovered = recover_all(&dir, count);
        let all = usize::try_from(count).unwrap();
        assert_eq!(ends(&after_power_loss(&disk), count), vec![3; all]);
        let _ = base::marks::take();
        let settled = dir.settle(recovered);
        assert_eq!(base::marks::take().contains_key("tails_flushed_with_file_system"), at_once);
        for (number, log) in (0..).zip(settled) {
            let log = log.unwrap();
            assert_eq!((log.name(), log.flushed(), log.end()), (&nth(number), EndOffset(15), EndOffset(15)));
        }
        assert_eq!(ends(&after_power_loss(&disk), count), vec![15; all]);
    }
}

#[test]
fn logs_that_were_closed_in_good_order_cost_the_device_nothing() {
    let disk = MemDisk::new();
    half_flushed(&disk, MANY);
    ends(&disk, MANY);
    for number in 0..MANY {
        let dir = open_dir(&disk);
        let mut log = recover(&dir, number).and_then(Unsettled::settle).unwrap();
        checkpoint(&mut log, at(0));
        flush_twice(&mut log);
    }
    let dir = open_dir(&disk);
    let recovered = recover_all(&dir, MANY);
    let before = disk.operations();
    assert!(dir.settle(recovered).iter().all(Result::is_ok));
    assert_eq!(disk.operations(), before);
}

#[test]
fn if_what_was_recovered_cannot_be_flushed_nothing_is_handed_out_and_the_directory_is_closed() {
    for (count, operation) in [
        (MANY, Operation::SyncFs),
        (MANY, Operation::Sync),
        (FEW, Operation::Sync),
        (FEW, Operation::SyncDir),
    ] {
        let all = [Fault::Io, Fault::LostSync, Fault::NoSpace];
        let faults = if operation == Operation::SyncDir { &all[..1] } else { &all };
        for fault in faults {
            let disk = MemDisk::new();
            half_flushed(&disk, count);
            let dir = open_dir(&disk);
            let (recovered, others) = (recover_all(&dir, count), recover_all(&dir, count));
            disk.inject(operation, 2 * u64::from(operation == Operation::Sync), *fault);
            let settled = dir.settle(recovered);
            let by_disk =
                |error: &OpenLogError| matches!(error, OpenLogError::Disk(e) if e.operation == operation);
            assert!(refused(&settled, by_disk), "{operation:?} {fault:?}: {settled:?}");
            assert!(dir.fenced().is_some());
            let is_fenced = |error: &OpenLogError| *error == OpenLogError::Fenced;
            assert!(refused(&dir.settle(others), is_fenced), "no second try");
            assert!(recover(&dir, 0).is_err_and(|error| is_fenced(&error)));
        }
    }
}

#[test]
fn without_the_fence_a_second_try_serves_what_is_not_there() {
    let disk = MemDisk::new();
    half_flushed(&disk, MANY);
    let dir = open_dir(&disk);
    disk.inject(Operation::SyncFs, 0, Fault::LostSync);
    arm(Some(Bug::B1));
    let first = dir.settle(recover_all(&dir, MANY));
    let second = dir.settle(recover_all(&dir, MANY));
    arm(None);
    assert!(first.iter().all(Result::is_err) && second.iter().all(Result::is_ok));
    drop((first, second, dir));
    assert_eq!(ends(&after_power_loss(&disk), 1), [3], "planted bug B1 does its harm");
}

#[test]
fn one_damaged_log_of_many_keeps_no_other_from_being_served() {
    let disk = MemDisk::new();
    half_flushed(&disk, MANY);
    let damaged = 7;
    // The length of the batch below the flush point.
    disk.flip_bit(&format!("t-{damaged}/00000000000000000000.log"), 8 * 8 + 1).unwrap();
    let dir = open_dir(&disk);
    assert!(matches!(recover(&dir, damaged), Err(OpenLogError::Damaged(_))));
    let settled = dir.settle(recover_all(&dir, MANY));
    let served: Vec<_> = settled.iter().map(|log| log.as_ref().unwrap().name().partition().0).collect();
    assert_eq!(served, (0..MANY).filter(|number| *number != damaged).collect::<Vec<_>>());
    assert!(dir.fenced().is_none());
}

#[test]
fn a_crash_between_opening_and_settling_costs_nothing_that_was_promised() {
    let (mut cut_short, mut torn) = (0, 0);
    let _ = base::marks::take();
    for seed in 0..120 {
        let count = if seed % 2 == 0 { FEW } else { MANY };
        let disk = MemDisk::new();
        half_flushed(&disk, count);
        let dir = open_dir(&disk);
        let recovered = recover_all(&dir, count);
        let mut rng = Rng::new(seed);
        disk.fail_from(Some(disk.operations() + rng.below(6)));
        let settled = dir.settle(recovered);
        disk.fail_from(None);
        let served: Vec<i64> = settled.iter().filter_map(|log| Some(log.as_ref().ok()?.end().0)).collect();
        cut_short += u32::from(served.is_empty());
        assert!(dir.fenced().is_none(), "the end of a process says nothing of the device");
        let kept = ends(&disk.crash_clone(&mut rng, 50), count);
        torn += u32::from(kept.iter().any(|end| *end < 15) && kept.iter().any(|end| *end > 3));
        for (number, end) in kept.iter().enumerate() {
            let promised = served.get(number).copied().unwrap_or(3);
            assert!(*end >= promised, "seed {seed}: {end} of {promised} in partition {number}");
        }
    }
    assert!(cut_short > 20 && torn > 20, "{cut_short} {torn}");
    assert!(base::marks::take().contains_key("recovered_not_settled"));
}

#[test]
fn many_tails_served_before_they_are_flushed_are_lost() {
    let disk = MemDisk::new();
    half_flushed(&disk, MANY);
    let dir = open_dir(&disk);
    arm(Some(Bug::B6));
    let settled = dir.settle(recover_all(&dir, MANY));
    arm(None);
    assert!(settled.iter().all(|log| log.as_ref().is_ok_and(|log| log.flushed() == EndOffset(15))));
    drop((settled, dir));
    assert_eq!(ends(&after_power_loss(&disk), 1), [3], "planted bug B6 does its harm");
}

/// Snapshots that are the newest of the recovered log belong to a tail that a crash could still take: older ones, and the
/// data that they are of, stay until it is settled.
#[test]
fn an_interrupted_deletion_goes_on_when_the_log_is_settled() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    while log.segments() < 4 {
        append(&mut log, &plain(3)).unwrap();
    }
    flush_twice(&mut log);
    append(&mut log, &plain(3)).unwrap();
    let job = log.delete_records(log.active_base(), log.end()).unwrap().unwrap();
    disk.inject(Operation::Rename, 0, Fault::Io);
    assert!(job.run().is_err());
    drop(log);
    let disk = disk.crash_clone(&mut Rng::new(1), 100);
    disk.remove(crate::names::FENCED).unwrap();
    let logs = |disk: &MemDisk| files(disk).iter().filter(|name| name.ends_with(".log")).count();
    let dir = open_dir(&disk);
    let recovered = Log::open_unsettled(&dir, &name(), TOPIC, small(), at(0)).unwrap();
    assert_eq!(logs(&disk), 4);
    let log = recovered.settle().unwrap();
    assert_eq!((logs(&disk), log.segments()), (1, 1));
}
