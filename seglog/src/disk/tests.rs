use super::*;
use base::{Rng, Span};

fn write(file: &dyn DiskFile, at: u64, data: &[u8]) -> Result<(), DiskError> {
    file.write_at(&mut [IoSlice::new(data)], at)
}

fn read(disk: &dyn Disk, path: &str) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

fn names(disk: &dyn Disk, dir: &str) -> Vec<String> {
    disk.list(dir).unwrap().into_iter().map(|entry| entry.name).collect()
}

/// A disk with a directory `d` and a synced file `d/f` of `content`.
fn prepared(content: &[u8]) -> (MemDisk, Arc<dyn DiskFile>) {
    let disk = MemDisk::new();
    disk.create_dir("d").unwrap();
    disk.sync_dir("").unwrap();
    let file = disk.open("d/f", OpenMode::Create).unwrap();
    write(&*file, 0, content).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("d").unwrap();
    (disk, file)
}

/// What both implementations must do alike.
fn contract(disk: &dyn Disk) {
    let kind = |result: Result<Arc<dyn DiskFile>, DiskError>| result.unwrap_err().kind;
    assert_eq!(kind(disk.open("d/f", OpenMode::Read)), DiskErrorKind::NotFound);
    assert_eq!(kind(disk.open("d/f", OpenMode::Create)), DiskErrorKind::NotFound);
    disk.create_dir("d").unwrap();
    assert_eq!(disk.create_dir("d").unwrap_err().kind, DiskErrorKind::AlreadyExists);
    let file = disk.open("d/f", OpenMode::Create).unwrap();
    assert_eq!(kind(disk.open("d/f", OpenMode::Create)), DiskErrorKind::AlreadyExists);

    file.write_at(&mut [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")], 1).unwrap();
    file.write_at(&mut [], 100).unwrap();
    file.write_at(&mut [IoSlice::new(b"")], 100).unwrap();
    assert_eq!(read(disk, "d/f"), b"\0abcde");
    let mut buffer = [9; 4];
    assert_eq!(file.read_at(&mut buffer, 4).unwrap(), 2);
    assert_eq!(&buffer[..2], b"de");
    assert_eq!(file.read_at(&mut buffer, 50).unwrap(), 0);
    file.truncate(3).unwrap();
    file.truncate(5).unwrap();
    assert_eq!(read(disk, "d/f"), b"\0ab\0\0");
    file.sync_data().unwrap();

    // Many slices, past what one system call takes.
    let many: Vec<[u8; 2]> = (0..3_000u16).map(u16::to_be_bytes).collect();
    let mut parts: Vec<_> = many.iter().map(|part| IoSlice::new(part)).collect();
    file.write_at(&mut parts, 0).unwrap();
    assert_eq!(read(disk, "d/f"), many.concat());

    disk.open("d/g", OpenMode::Replace).unwrap();
    disk.rename("d/f", "d/g").unwrap();
    assert_eq!(names(disk, "d"), ["g"]);
    assert_eq!(disk.rename("d/f", "d/h").unwrap_err().kind, DiskErrorKind::NotFound);
    assert_eq!(disk.rename("d/g", "g").unwrap_err().kind, DiskErrorKind::InvalidPath);
    assert_eq!(file.length().unwrap(), 6_000);
    assert_eq!(disk.list("").unwrap(), [DirEntry { name: "d".into(), is_dir: true }]);

    assert_eq!(disk.remove_dir("d").unwrap_err().kind, DiskErrorKind::AlreadyExists);
    disk.remove("d/g").unwrap();
    assert_eq!(disk.remove("d/g").unwrap_err().kind, DiskErrorKind::NotFound);
    disk.sync_dir("d").unwrap();
    assert_eq!(file.length().unwrap(), 6_000, "a handle outlives its file");
    write(&*file, 0, b"x").unwrap();
    disk.remove_dir("d").unwrap();
    disk.sync_dir("").unwrap();
    disk.sync_fs().unwrap();
    assert_eq!(disk.sync_dir("d").unwrap_err().kind, DiskErrorKind::NotFound);

    for path in ["/etc/passwd", "..", "a/../b", "a//b", "a/."] {
        assert_eq!(kind(disk.open(path, OpenMode::Replace)), DiskErrorKind::InvalidPath, "{path}");
    }
    let space = disk.space().unwrap();
    assert!(0 < space.free && space.free <= space.total);

    let held = disk.lock(".lock").unwrap();
    assert_eq!(kind(disk.lock(".lock")), DiskErrorKind::Locked);
    drop(held);
    disk.lock(".lock").unwrap();
}

#[test]
fn the_simulated_disk_keeps_the_contract() {
    contract(&MemDisk::new());
}

#[test]
fn the_real_disk_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    contract(&RealDisk::create_root(&root.path().join("a/b")).unwrap());
}

#[test]
fn synced_data_survives_any_crash() {
    let mut rng = Rng::new(1);
    for survive in [0, 50, 100] {
        let (disk, file) = prepared(b"kept");
        write(&*file, 0, b"lost").unwrap();
        disk.rename("d/f", "d/g").unwrap();
        for _ in 0..50 {
            let after = disk.crash_clone(&mut rng, survive);
            let [name] = &names(&after, "d")[..] else { panic!("one name expected") };
            let content = read(&after, &format!("d/{name}"));
            assert!(content == b"kept" || content == b"lost", "{content:?}");
            if survive == 0 {
                assert_eq!((name.as_str(), &content[..]), ("f", &b"kept"[..]));
            } else if survive == 100 {
                assert_eq!((name.as_str(), &content[..]), ("g", &b"lost"[..]));
            }
        }
    }
}

#[test]
fn an_unsynced_name_may_vanish_although_its_data_was_synced() {
    let disk = MemDisk::new();
    let file = disk.open("f", OpenMode::Create).unwrap();
    write(&*file, 0, b"data").unwrap();
    file.sync_data().unwrap();
    let mut rng = Rng::new(1);
    assert!(names(&disk.crash_clone(&mut rng, 0), "").is_empty());
    disk.sync_dir("").unwrap();
    assert_eq!(read(&disk.crash_clone(&mut rng, 0), "f"), b"data");
}

#[test]
fn a_rename_of_unsynced_data_may_leave_an_empty_file() {
    let (disk, _file) = prepared(b"old");
    let temp = disk.open("d/t", OpenMode::Create).unwrap();
    write(&*temp, 0, b"new").unwrap();
    disk.rename("d/t", "d/f").unwrap();
    disk.sync_dir("d").unwrap();
    assert_eq!(read(&disk.crash_clone(&mut Rng::new(1), 0), "d/f"), b"");
}

#[test]
fn writes_are_torn_at_sectors_and_in_any_order() {
    let (disk, file) = prepared(&[1; 4096]);
    write(&*file, 0, &[2; 4096]).unwrap();
    let mut rng = Rng::new(3);
    let (mut prefix, mut scattered) = (false, false);
    for _ in 0..200 {
        let content = read(&disk.crash_clone(&mut rng, 60), "d/f");
        let sectors: Vec<bool> = content.chunks(512).map(|s| s == [2; 512]).collect();
        let kept = sectors.iter().filter(|new| **new).count();
        let in_order = sectors[..kept].iter().all(|new| *new);
        prefix |= in_order && (1..8).contains(&kept);
        scattered |= !in_order;
    }
    assert!(prefix && scattered);
}

#[test]
fn a_lost_sync_leaves_pages_that_look_clean() {
    let (disk, file) = prepared(b"old");
    write(&*file, 0, b"new").unwrap();
    disk.inject(Operation::Sync, 0, Fault::LostSync);
    assert_eq!(file.sync_data().unwrap_err().kind, DiskErrorKind::Io(5));
    file.sync_data().unwrap();
    assert_eq!(read(&disk, "d/f"), b"new");
    assert_eq!(read(&disk.crash_clone(&mut Rng::new(1), 100), "d/f"), b"old");
}

#[test]
fn faults_strike_the_asked_operation_once() {
    let (disk, file) = prepared(b"");
    disk.inject(Operation::Write, 1, Fault::Io);
    disk.inject(Operation::Read, 0, Fault::Io);
    write(&*file, 0, b"1234").unwrap();
    assert_eq!(write(&*file, 4, b"5678").unwrap_err().kind, DiskErrorKind::Io(5));
    write(&*file, 6, b"!").unwrap();
    assert_eq!(file.read_at(&mut [0], 0).unwrap_err().kind, DiskErrorKind::Io(5));
    assert_eq!(read(&disk, "d/f"), b"123456!");
}

#[test]
fn a_full_disk_takes_what_fits_and_gives_back_what_is_removed() {
    let (disk, file) = prepared(b"1234");
    disk.set_capacity(Some(6));
    assert_eq!(disk.space().unwrap(), Space { total: 6, free: 2 });
    assert_eq!(write(&*file, 4, b"5678").unwrap_err().kind, DiskErrorKind::NoSpace);
    assert_eq!(read(&disk, "d/f"), b"123456");
    write(&*file, 0, b"abcdef").unwrap();
    file.truncate(3).unwrap();
    let second = disk.open("d/g", OpenMode::Create).unwrap();
    write(&*second, 0, b"xyz").unwrap();
    assert!(write(&*second, 3, b"!").is_err());
    disk.remove("d/f").unwrap();
    write(&*second, 3, b"!!!").unwrap();
    assert_eq!(disk.space().unwrap().free, 0);
}

#[test]
fn nothing_happens_after_the_chosen_operation() {
    let (disk, file) = prepared(b"1");
    disk.fail_from(Some(disk.operations() + 1));
    write(&*file, 1, b"2").unwrap();
    assert_eq!(write(&*file, 2, b"3").unwrap_err().kind, DiskErrorKind::Crashed);
    assert_eq!(disk.sync_fs().unwrap_err().kind, DiskErrorKind::Crashed);
    disk.fail_from(None);
    assert_eq!(read(&disk, "d/f"), b"12");
}

#[test]
fn bits_rot_in_cache_and_on_the_medium() {
    let (disk, _file) = prepared(b"ab");
    disk.flip_bit("d/f", 9).unwrap();
    assert_eq!(read(&disk, "d/f"), b"a`");
    assert_eq!(read(&disk.crash_clone(&mut Rng::new(1), 0), "d/f"), b"a`");
    assert!(disk.flip_bit("d/g", 0).is_err());
}

#[test]
fn files_bear_the_time_of_their_last_change() {
    let (disk, file) = prepared(b"");
    disk.set_clock(base::Timestamp(77));
    write(&*file, 0, b"1").unwrap();
    disk.set_clock(base::Timestamp(99));
    assert_eq!(file.modified().unwrap(), base::Timestamp(77));
    let root = tempfile::tempdir().unwrap();
    let real = RealDisk::open_root(root.path()).unwrap().open("f", OpenMode::Create).unwrap();
    assert!(real.modified().unwrap() > base::Timestamp(1_600_000_000_000));
}

#[test]
fn latency_adds_up_until_it_is_taken() {
    let (disk, file) = prepared(b"");
    disk.set_latency(Operation::Sync, Span::from_millis(3));
    file.sync_data().unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.take_latency(), Span::from_millis(6));
    assert_eq!(disk.take_latency(), Span::ZERO);
}

#[test]
fn equal_seeds_crash_equally() {
    let (disk, file) = prepared(&[1; 3_000]);
    write(&*file, 700, &[2; 5_000]).unwrap();
    let crash = |seed| read(&disk.crash_clone(&mut Rng::new(seed), 50), "d/f");
    assert_eq!(crash(5), crash(5));
    assert!((0..20).any(|seed| crash(seed) != crash(5)));
}
