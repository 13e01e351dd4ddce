use super::*;
use crate::disk::{Fault, MemDisk, OpenMode, Operation};
use crate::log::Lease;
use base::plant::{Bug, arm};
use base::{PartitionIndex, Rng, TopicId, Uuid};
use std::io::IoSlice;

const BOOT: &str = "boot-1";

fn key(number: i32) -> PartitionKey {
    PartitionKey { topic: TopicId(Uuid([3; 16])), partition: PartitionIndex(number) }
}

fn name(number: i32) -> PartitionName {
    PartitionName::new("t", PartitionIndex(number)).unwrap()
}

fn open(disk: &MemDisk) -> Result<Arc<LogDir>, OpenDirError> {
    LogDir::open(Arc::new(disk.clone()), BOOT)
}

fn point(end: i64) -> FlushPoint {
    FlushPoint { end: EndOffset(end), ..FlushPoint::default() }
}

fn job(dir: &LogDir, number: i32, end: i64) -> FlushJob {
    let path = format!("f{number}");
    let file = dir
        .disk()
        .open(&path, OpenMode::Write)
        .unwrap_or_else(|_| dir.disk().open(&path, OpenMode::Create).unwrap());
    file.write_at(&mut [IoSlice::new(&[1])], u64::try_from(end).unwrap()).unwrap();
    FlushJob {
        key: key(number),
        point: point(end),
        generation: dir.points().generation(key(number)),
        files: vec![file],
        indexes: Vec::new(),
        dir: None,
        is_new: true,
        epochs: None,
        lease: Lease::default(),
    }
}

fn length(disk: &MemDisk, number: i32) -> i64 {
    let file = disk.open(&format!("f{number}"), OpenMode::Read);
    file.map_or(0, |file| i64::try_from(file.length().unwrap()).unwrap())
}

#[test]
fn only_one_process_has_a_directory() {
    let disk = MemDisk::new();
    let held = open(&disk).unwrap();
    assert_eq!(open(&disk).unwrap_err(), OpenDirError::Locked);
    disk.remove(names::LOCK).unwrap();
    drop(held);
    open(&disk).unwrap();
}

#[test]
fn identity_and_watermarks_read_back() {
    let disk = MemDisk::new();
    let identity = DirIdentity { cluster_id: "c".into(), node_id: 1, directory_id: Uuid([9; 16]) };
    let offsets = Offsets::from([(name(0), EndOffset(5))]);
    {
        let dir = open(&disk).unwrap();
        assert_eq!(dir.identity(), None);
        dir.write_identity(&identity).unwrap();
        dir.write_high_watermarks(&offsets).unwrap();
        dir.note_cleaned(&name(0), EndOffset(5)).unwrap();
    }
    let disk = disk.crash_clone(&mut Rng::new(1), 0);
    let dir = open(&disk).unwrap();
    assert_eq!(dir.identity(), Some(&identity));
    assert_eq!(dir.read_high_watermarks().unwrap(), offsets);
    assert_eq!((dir.cleaned(&name(0)), dir.cleaned(&name(1))), (EndOffset(5), EndOffset(0)));
    disk.flip_bit(names::CLEANER_OFFSETS, 0).unwrap();
    drop(dir);
    let dir = open(&disk).unwrap();
    assert_eq!(dir.cleaned(&name(0)), EndOffset(0));
    disk.flip_bit(names::HIGH_WATERMARKS, 0).unwrap();
    let damaged = dir.read_high_watermarks();
    assert_eq!(damaged, Err(OpenDirError::Damaged { file: names::HIGH_WATERMARKS }));
}

#[test]
fn a_point_on_the_device_never_claims_what_is_not_there() {
    let mut rng = Rng::new(4);
    for seed in 0..300 {
        let disk = MemDisk::new();
        let dir = open(&disk).unwrap();
        let mut rng_ops = Rng::new(seed);
        let crash_at = disk.operations() + rng_ops.below(60);
        disk.fail_from(Some(crash_at));
        let (mut done, mut ends) = (Vec::new(), [0i64; 3]);
        for _ in 0..6 {
            let mut jobs = Vec::new();
            if disk.operations() >= crash_at {
                break;
            }
            disk.fail_from(None);
            for number in 0..3 {
                if rng_ops.chance(1, 2) {
                    ends[usize::try_from(number).unwrap()] += 700;
                    jobs.push(job(&dir, number, ends[usize::try_from(number).unwrap()]));
                }
            }
            disk.fail_from(Some(crash_at));
            let Ok(outcomes) = dir.flush_round(jobs) else { break };
            done.extend(outcomes);
        }
        disk.fail_from(None);
        let survive = [0, 50, 100][rng.index(3)];
        let after = disk.crash_clone(&mut rng, survive);
        let dir = open(&after).unwrap();
        for number in 0..3 {
            let claimed = dir.flush_point(key(number), &name(number)).map_or(0, |point| point.end.0);
            assert!(claimed == 0 || claimed < length(&after, number), "seed {seed}");
            let reached = done.iter().filter(|o| o.key == key(number)).map(|o| o.flushed).next_back();
            if let Some(Flushed::To(end)) = reached {
                assert!(length(&after, number) > end.0, "seed {seed}: flushed data is lost");
            }
        }
    }
}

#[test]
fn a_later_round_records_what_those_before_reached() {
    let disk = MemDisk::new();
    let dir = open(&disk).unwrap();
    let known = |disk: &MemDisk| {
        let after = disk.crash_clone(&mut Rng::new(1), 0);
        open(&after).unwrap().flush_point(key(0), &name(0)).map(|point| point.end.0)
    };
    for round in 1..=i64::from(points::RECORD_ROUNDS) {
        assert_eq!(known(&disk), None);
        let _ = dir.flush_round(vec![job(&dir, 0, round * 10)]).unwrap();
    }
    let rounds = i64::from(points::RECORD_ROUNDS);
    assert_eq!(known(&disk), Some((rounds - 1) * 10), "not what the round itself reached");
    assert!(dir.wants_closing_round());
    let _ = dir.flush_round(vec![]).unwrap();
    assert_eq!(known(&disk), Some(rounds * 10));
    assert!(!dir.wants_closing_round());
}

#[test]
fn many_files_are_flushed_with_the_file_system() {
    let disk = MemDisk::new();
    let dir = open(&disk).unwrap();
    let _ = base::marks::take();
    let jobs = (0..i32::try_from(SYNC_FS_FILES).unwrap()).map(|number| job(&dir, number, 9)).collect();
    assert_eq!(dir.flush_round(jobs).unwrap().len(), SYNC_FS_FILES);
    assert!(base::marks::take().contains_key("round_flushed_file_system"));
    let after = disk.crash_clone(&mut Rng::new(1), 0);
    assert_eq!((length(&after, 0), length(&after, 5)), (10, 10));
}

#[test]
fn a_lowered_point_is_not_raised_by_a_round_that_began_before() {
    let disk = MemDisk::new();
    let dir = open(&disk).unwrap();
    let early = job(&dir, 0, 50);
    dir.points().lower(key(0), point(10)).unwrap();
    let outcomes = dir.flush_round(vec![early]).unwrap();
    assert_eq!(outcomes[0].flushed, Flushed::To(EndOffset(50)));
    let _ = dir.flush_round(vec![]).unwrap();
    assert_eq!(dir.flush_point(key(0), &name(0)), Some(point(10)));
    let _ = dir.flush_round(vec![job(&dir, 0, 12)]).unwrap();
    let _ = dir.flush_round(vec![]).unwrap();
    assert_eq!(dir.flush_point(key(0), &name(0)), Some(point(12)));
}

#[test]
fn a_start_is_durable_at_once_and_no_round_takes_it_back() {
    let disk = MemDisk::new();
    let dir = open(&disk).unwrap();
    let early = job(&dir, 0, 50);
    dir.set_start(key(0), EndOffset(30)).unwrap();
    let after = disk.crash_clone(&mut Rng::new(1), 0);
    let start = |dir: &LogDir| dir.flush_point(key(0), &name(0)).unwrap().start;
    assert_eq!(start(&open(&after).unwrap()), EndOffset(30));
    let _ = dir.flush_round(vec![early]).unwrap();
    let _ = dir.flush_round(vec![]).unwrap();
    assert_eq!(start(&dir), EndOffset(30));
    dir.set_start(key(0), EndOffset(20)).unwrap();
    assert_eq!(start(&dir), EndOffset(30), "a start only grows");
}

fn failed_flush(fault: Fault) -> (MemDisk, Arc<LogDir>, bool) {
    let disk = MemDisk::new();
    let dir = open(&disk).unwrap();
    let job = job(&dir, 0, 9);
    disk.inject(Operation::Sync, 0, fault);
    let failed = dir.flush_round(vec![job]).is_err();
    (disk, dir, failed)
}

#[test]
fn a_failed_flush_closes_the_directory_until_the_machine_boots() {
    for fault in [Fault::Io, Fault::LostSync, Fault::NoSpace] {
        let (disk, dir, failed) = failed_flush(fault);
        assert!(failed && dir.fenced().is_some());
        assert!(dir.flush_round(vec![job(&dir, 0, 10)]).is_err(), "no second try");
        assert!(dir.close(&Offsets::new(), &Offsets::new(), 1).is_err());
        drop(dir);
        assert_eq!(open(&disk).unwrap_err(), OpenDirError::Fenced);
        let other_boot = LogDir::open(Arc::new(disk.clone()), "boot-2").unwrap();
        assert!(!other_boot.was_clean());
        drop(other_boot);
        open(&disk).unwrap();
    }
}

#[test]
fn without_the_fence_a_lost_flush_is_acknowledged() {
    arm(Some(Bug::B1));
    let (disk, dir, failed) = failed_flush(Fault::LostSync);
    assert!(failed);
    let again = FlushJob { files: vec![disk.open("f0", OpenMode::Write).unwrap()], ..job(&dir, 0, 0) };
    let acknowledged = dir.flush_round(vec![FlushJob { point: point(9), ..again }]).is_ok();
    arm(None);
    let lost = length(&disk.crash_clone(&mut Rng::new(1), 100), 0) < 10;
    assert!(acknowledged && lost, "planted bug B1 does its harm");
}

#[test]
fn a_full_disk_postpones_leader_epochs_and_fences_nothing() {
    let disk = MemDisk::new();
    let dir = open(&disk).unwrap();
    let epochs = Some(("epochs".to_owned(), "x".repeat(100), 7));
    disk.set_capacity(Some(disk.space().unwrap().total - disk.space().unwrap().free + 20));
    let full = dir.flush_round(vec![FlushJob { epochs: epochs.clone(), ..job(&dir, 0, 9) }]).unwrap();
    assert_eq!((full[0].flushed, full[0].epochs), (Flushed::Postponed, None));
    assert!(!dir.wants_closing_round());
    disk.set_capacity(None);
    let fine = dir.flush_round(vec![FlushJob { epochs, ..job(&dir, 0, 9) }]).unwrap();
    assert_eq!((fine[0].flushed, fine[0].epochs), (Flushed::To(EndOffset(9)), Some(7)));
}

#[test]
fn the_clean_marker_is_consumed_before_loading() {
    for planted in [false, true] {
        let disk = MemDisk::new();
        let dir = open(&disk).unwrap();
        assert!(!dir.was_clean());
        dir.close(&Offsets::from([(name(0), EndOffset(3))]), &Offsets::new(), 12).unwrap();
        drop(dir);
        arm(planted.then_some(Bug::B5));
        let dir = open(&disk).unwrap();
        arm(None);
        assert_eq!((dir.was_clean(), dir.clean_broker_epoch()), (true, Some(12)));
        let crashed = disk.crash_clone(&mut Rng::new(1), 0);
        assert_eq!(open(&crashed).unwrap().was_clean(), planted, "planted bug B5 shows");
    }
}

#[test]
fn small_files_are_whole_after_any_crash_unless_a_rule_is_broken() {
    let harm = |bug: Option<Bug>| {
        let mut rng = Rng::new(2);
        let mut broken = 0;
        for seed in 0..200 {
            let disk = MemDisk::new();
            write_small(&disk, "state", b"old").unwrap();
            let durable = disk.crash_clone(&mut rng, 0);
            durable.fail_from(Some(seed % 7));
            arm(bug);
            let wrote = write_small(&durable, "state", &[7; 2_000]).is_ok();
            arm(None);
            durable.fail_from(None);
            let after = durable.crash_clone(&mut rng, 50);
            let content = read_small(&after, "state").unwrap();
            let fine = match content.as_deref() {
                Some(b"old") => !wrote,
                Some(content) => content == [7; 2_000],
                None => false,
            };
            broken += u32::from(!fine);
        }
        broken
    };
    assert_eq!(harm(None), 0);
    assert!(harm(Some(Bug::B3)) > 0, "planted bug B3 does its harm");
    assert!(harm(Some(Bug::B4)) > 0, "planted bug B4 does its harm");
}

#[test]
fn a_torn_or_rotten_points_file_loses_points_and_invents_none() {
    let disk = MemDisk::new();
    let dir = open(&disk).unwrap();
    for end in 1..20 {
        dir.points().set(key(i32::try_from(end % 3).unwrap()), point(end)).unwrap();
    }
    let bytes = read_small(&disk, names::FLUSH_POINTS).unwrap().unwrap();
    let blocks = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    for bit in 0..blocks * 8 {
        let rotten = disk.crash_clone(&mut Rng::new(bit), 0);
        rotten.flip_bit(names::FLUSH_POINTS, bit).unwrap();
        let dir = open(&rotten).unwrap();
        for number in 0..3 {
            let read = dir.flush_point(key(number), &name(number)).map_or(0, |point| point.end.0);
            assert!(read == 0 || (read < 20 && read % 3 == i64::from(number)), "bit {bit}: {read}");
        }
        // What is appended afterwards counts, and nothing stale behind it does.
        dir.points().set(key(0), point(100)).unwrap();
        drop(dir);
        let dir = open(&rotten.crash_clone(&mut Rng::new(1), 0)).unwrap();
        assert_eq!(dir.flush_point(key(0), &name(0)), Some(point(100)), "bit {bit}");
    }
}

#[test]
fn the_points_file_is_written_anew_when_it_is_mostly_history() {
    let disk = MemDisk::new();
    let dir = open(&disk).unwrap();
    let before = |disk: &MemDisk| read_small(disk, names::FLUSH_POINTS).unwrap().unwrap().len();
    let mut largest = 0;
    for end in 1..30_000 {
        dir.points().reached(key(0), point(end), 0);
        dir.points().record(&disk, true).unwrap();
        if end % 500 == 0 {
            largest = largest.max(before(&disk));
        }
    }
    assert!(largest > 900_000 && largest < 1_100_000, "{largest}");
    dir.flush_round(vec![]).unwrap().clear();
    drop(dir);
    assert_eq!(open(&disk).unwrap().flush_point(key(0), &name(0)), Some(point(29_999)));
}

#[test]
fn a_directory_of_a_later_version_is_left_alone() {
    let disk = MemDisk::new();
    write_small(&disk, names::FORMAT, &seal(FORMAT_MAGIC, 2, b"")).unwrap();
    assert_eq!(open(&disk).unwrap_err(), OpenDirError::UnknownFormat { version: 2 });
    disk.flip_bit(names::FORMAT, 70).unwrap();
    assert_eq!(open(&disk).unwrap_err(), OpenDirError::Damaged { file: names::FORMAT });
}

#[test]
fn kafkas_checkpoints_are_taken_over_once() {
    let disk = MemDisk::new();
    write_small(&disk, names::RECOVERY_POINTS, b"0\n1\nt 0 40\n").unwrap();
    write_small(&disk, names::START_OFFSETS, b"0\n1\nt 0 15\n").unwrap();
    let dir = open(&disk).unwrap();
    let taken = FlushPoint { start: EndOffset(15), ..point(40) };
    assert_eq!(dir.flush_point(key(0), &name(0)), Some(taken));
    assert_eq!(dir.flush_point(key(1), &name(1)), None);
    drop(dir);
    assert_eq!(open(&disk).unwrap().flush_point(key(0), &name(0)), None, "ours now: the text may be stale");
}
