use super::*;
use base::plant::{Bug, arm};
use base::{Rng, rounds};

/// A closed log of several segments with producers, epochs and all files there are.
fn full_log() -> (MemDisk, Vec<BatchHeader>) {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    for k in 0..40i32 {
        let meta =
            BatchMeta { producer_id: 4, producer_epoch: 0, base_sequence: k * 3, ..BatchMeta::default() };
        let bytes = batch(meta, 3, 20, 1_000_000 + i64::from(k), b'x');
        let checked = CheckedBatches::from_produce(&bytes).unwrap();
        log.append(&checked, CLIENT, LeaderEpoch(k / 15), at(0)).unwrap();
    }
    checkpoint(&mut log, at(0));
    flush_twice(&mut log);
    let all = read_all(&mut log, EndOffset(0)).unwrap();
    (disk, all)
}

/// Everything that a reader can ask for, or the first refusal.
fn look(disk: &MemDisk) -> Result<Vec<BatchHeader>, String> {
    let (mut log, _) = open_with(disk, small()).map_err(|error| error.to_string())?;
    let all = read_all(&mut log, EndOffset(0))?;
    for (k, header) in all.iter().enumerate() {
        let mut some = Vec::new();
        if k % 5 == 0 {
            some = read_all(&mut log, EndOffset(header.base_offset))?;
        }
        if !some.is_empty() && some != all[k..] {
            return Err("a read from the middle disagrees with one from the start".to_owned());
        }
    }
    for k in (0..40i64).step_by(3) {
        let hit = log.find_time(Timestamp(1_000_000 + k), &NoCodec).map_err(|error| error.to_string())?;
        if hit.map(|hit| hit.offset.0) != Some(k * 3) {
            return Err(format!("time {k} is found at {hit:?}"));
        }
    }
    for k in 0..3i64 {
        let epoch = LeaderEpoch(i32::try_from(k).unwrap());
        let end = log.end_of_epoch(epoch).map_err(|error| error.to_string())?;
        if end.map(|end| end.end.0) != Some(((k + 1) * 45).min(120)) {
            return Err(format!("epoch {k} ends at {end:?}"));
        }
    }
    Ok(all)
}

#[test]
fn a_rotten_bit_in_any_derived_file_changes_nothing() {
    let (disk, all) = full_log();
    let mut rng = Rng::new(11);
    let derived: Vec<_> = files(&disk)
        .into_iter()
        .filter(|name| {
            name.ends_with("index") || name.ends_with(".snapshot") || name == "leader-epoch-checkpoint"
        })
        .collect();
    assert!(derived.iter().any(|n| n.ends_with(".snapshot")) && derived.len() > 6, "{derived:?}");
    for file in derived {
        let path = format!("t-0/{file}");
        for _ in 0..rounds(60) {
            let rotten = disk.crash_clone(&mut rng, 100);
            let bit = rng.below(length(&rotten, &path).max(1) * 8);
            rotten.flip_bit(&path, bit).unwrap();
            assert_eq!(look(&rotten).as_ref(), Ok(&all), "bit {bit} of {file}");
        }
        let rotten = disk.crash_clone(&mut rng, 100);
        rotten.remove(&path).unwrap();
        assert_eq!(look(&rotten).as_ref(), Ok(&all), "{file} is gone");
        let rotten = disk.crash_clone(&mut rng, 100);
        rotten.open(&path, OpenMode::Write).unwrap().truncate(length(&rotten, &path) / 2).unwrap();
        assert_eq!(look(&rotten).as_ref(), Ok(&all), "half of {file} is gone");
    }
}

#[test]
fn a_rotten_bit_in_the_log_is_seen_or_harmless() {
    let (disk, all) = full_log();
    let mut rng = Rng::new(12);
    let logs: Vec<_> = files(&disk).into_iter().filter(|name| name.ends_with(".log")).collect();
    let (mut seen, mut astray) = (0, 0);
    let tries = rounds(400);
    for k in 0..tries {
        let rotten = disk.crash_clone(&mut rng, 100);
        let path = format!("t-0/{}", logs[usize::try_from(k).unwrap() % logs.len()]);
        let bit = rng.below(length(&rotten, &path) * 8);
        rotten.flip_bit(&path, bit).unwrap();
        // The reader of the test compares checksums, as every client does.
        match look(&rotten) {
            Err(_) => seen += 1,
            // No checksum covers a batch's base offset, in Kafka's format: who reads on over it is led astray.
            Ok(_) if is_base_offset(&all, &path, bit / 8) => astray += 1,
            Ok(read) => {
                let same = read.iter().zip(&all).all(|(read, all)| read.crc == all.crc);
                assert!(same && read.len() == all.len(), "bit {bit} of {path}: {:?}", bases(&read));
            }
        }
    }
    assert!(astray < tries / 40, "{astray}");
    assert!(seen > tries * 3 / 4, "{seen}");
}

/// True if this byte of a segment is of a batch's base offset.
fn is_base_offset(all: &[BatchHeader], path: &str, at: u64) -> bool {
    let base: i64 = path["t-0/".len()..][..20].parse().unwrap();
    let mut position = 0;
    for header in all.iter().filter(|header| header.base_offset >= base) {
        if (position..position + 8).contains(&at) {
            return true;
        }
        position += header.total_bytes();
    }
    false
}

#[test]
fn whatever_stands_in_the_files_opening_ends_without_panic() {
    let (disk, _) = full_log();
    let mut rng = Rng::new(13);
    for _ in 0..rounds(300) {
        let rotten = disk.crash_clone(&mut rng, 100);
        let names = files(&rotten);
        for _ in 0..rng.between(1, 4) {
            let path = format!("t-0/{}", names[rng.index(names.len())]);
            let mut junk = vec![0; rng.index(300)];
            rng.fill(&mut junk);
            let size = length(&rotten, &path);
            let file = rotten.open(&path, OpenMode::Write).unwrap();
            file.write_at(&mut [std::io::IoSlice::new(&junk)], rng.below(size + 1)).unwrap();
        }
        if let Ok((mut log, _)) = open_with(&rotten, small()) {
            let mut next = log.start();
            while let Ok(Some(slice)) = log.read(next, 500, log.end(), true) {
                next = EndOffset(slice.base.0.max(next.0) + 1);
            }
            let _ = log.find_time(Timestamp(1_000_010), &NoCodec);
            let _ = log.plan_retention(log.end(), at(1 << 40));
            let _ = log.truncate_to(EndOffset(60), at(0));
        }
    }
}

#[test]
fn an_index_of_another_time_is_found_out() {
    let misled = |bug: Option<Bug>| {
        let (disk, all) = full_log();
        // Entries that name real batches by the wrong offsets.
        let path = "t-0/00000000000000000000.index";
        let file = disk.open(path, OpenMode::Write).unwrap();
        let mut raw = vec![0; usize::try_from(length(&disk, path)).unwrap()];
        file.read_at(&mut raw, 0).unwrap();
        for entry in raw.chunks_exact_mut(8) {
            let relative = u32::from_be_bytes(entry[..4].try_into().unwrap()).saturating_sub(6);
            entry[..4].copy_from_slice(&relative.to_be_bytes());
        }
        file.write_at(&mut [std::io::IoSlice::new(&raw)], 0).unwrap();
        let (mut log, _) = open_with(&disk, small()).unwrap();
        arm(bug);
        let mut wrong = 0;
        for header in &all {
            let read = log.read(EndOffset(header.base_offset), 1, log.end(), true);
            // To take a log that is sound for damaged is wrong as well.
            wrong += u32::from(!read.is_ok_and(|read| read.unwrap().base.0 == header.base_offset));
        }
        arm(None);
        wrong
    };
    assert_eq!(misled(None), 0);
    assert!(misled(Some(Bug::B7)) > 0, "planted bug B7 does its harm");
}

#[test]
fn the_batch_that_ends_a_durable_log_is_served_as_written_or_not_at_all() {
    let (disk, all) = full_log();
    let base = |name: &str| name[..20].parse::<i64>().unwrap();
    let last = files(&disk).into_iter().rfind(|name| name.ends_with(".log")).unwrap();
    let path = format!("t-0/{last}");
    let total: u64 = all.iter().filter(|h| h.base_offset >= base(&last)).map(BatchHeader::total_bytes).sum();
    let batch = all.last().unwrap().total_bytes();
    let (mut refused, mut cut) = (0, 0);
    for at in total - batch..total {
        let rotten = disk.crash_clone(&mut Rng::new(at), 100);
        rotten.flip_bit(&path, at * 8 + at % 8).unwrap();
        let is_epoch = (12..16).contains(&(at + batch - total));
        match open_with(&rotten, small()) {
            Ok((log, _)) => assert!(is_epoch && log.end() == EndOffset(120), "byte {at}"),
            Err(OpenLogError::Damaged(_)) => refused += 1,
            Err(error) => panic!("byte {at}: {error}"),
        }
        assert_eq!(length(&rotten, &path), total, "nothing is cut off");
        arm(Some(Bug::B9));
        cut += u64::from(open_with(&rotten, small()).is_ok_and(|(log, _)| log.end() == EndOffset(117)));
        arm(None);
    }
    assert_eq!(refused, batch - 4);
    assert!(cut > batch / 2, "planted bug B9 does its harm: {cut}");
}

#[test]
fn an_index_that_lies_gets_no_log_refused() {
    let (disk, all) = full_log();
    let active = files(&disk).into_iter().rfind(|name| name.ends_with(".log")).unwrap();
    let mut lies = 0;
    for kind in [".index", ".timeindex"] {
        let path = format!("t-0/{}", active.replace(".log", kind));
        for bit in 0..length(&disk, &path) * 8 {
            let rotten = disk.crash_clone(&mut Rng::new(bit), 100);
            rotten.flip_bit(&path, bit).unwrap();
            assert_eq!(look(&rotten).as_ref(), Ok(&all), "bit {bit} of {kind}");
            let (mut log, _) = open_with(&rotten, small()).unwrap();
            let latest = log.find_latest_time(&NoCodec).unwrap().map(|hit| hit.timestamp.0);
            assert_eq!(latest, Some(1_000_039), "bit {bit} of {kind}");
            lies += 1;
        }
    }
    assert!(lies > 100, "{lies}");
}

#[test]
fn records_that_are_missing_between_segments_are_missed() {
    let (disk, all) = full_log();
    let logs: Vec<_> = files(&disk).into_iter().filter(|name| name.ends_with(".log")).collect();
    let base = |k: usize| logs[k][..20].parse::<i64>().unwrap();
    let last = all.iter().rfind(|header| header.base_offset < base(2)).unwrap().total_bytes();
    let path = format!("t-0/{}", logs[1]);
    for left in [None, Some(0), Some(length(&disk, &path) - last)] {
        let rotten = disk.crash_clone(&mut Rng::new(1), 100);
        match left {
            None => rotten.remove(&path).unwrap(),
            Some(left) => rotten.open(&path, OpenMode::Write).unwrap().truncate(left).unwrap(),
        }
        let (mut log, _) = open_with(&rotten, small()).unwrap();
        let refused = log.read(EndOffset(base(2) - 1), 1, log.end(), true).unwrap_err();
        assert!(matches!(refused, ReadError::Damaged(_)), "{refused}");
        let rest = read_all(&mut log, EndOffset(base(2))).unwrap();
        assert_eq!(rest, all[all.len() - rest.len()..], "what is whole is served");
    }
}
