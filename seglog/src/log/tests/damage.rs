use super::*;
use base::Rng;
use base::plant::{Bug, arm};

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
        for _ in 0..60 {
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
    let mut seen = 0;
    for k in 0..400 {
        let rotten = disk.crash_clone(&mut rng, 100);
        let path = format!("t-0/{}", logs[k % logs.len()]);
        rotten.flip_bit(&path, rng.below(length(&rotten, &path) * 8)).unwrap();
        // The reader of the test compares checksums, as every client does.
        match look(&rotten) {
            Err(_) => seen += 1,
            Ok(read) => {
                // Only the leader epoch and the base offset lie outside of the checksum.
                let same = read.iter().zip(&all).all(|(read, all)| read.crc == all.crc);
                assert!(same && read.len() == all.len());
            }
        }
    }
    assert!(seen > 300, "{seen}");
}

#[test]
fn whatever_stands_in_the_files_opening_ends_without_panic() {
    let (disk, _) = full_log();
    let mut rng = Rng::new(13);
    for _ in 0..300 {
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
            let slice = log.read(EndOffset(header.base_offset), 1, log.end(), true).unwrap().unwrap();
            wrong += u32::from(slice.base.0 != header.base_offset);
        }
        arm(None);
        wrong
    };
    assert_eq!(misled(None), 0);
    assert!(misled(Some(Bug::B7)) > 0, "planted bug B7 does its harm");
}
