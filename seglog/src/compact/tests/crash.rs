//! Compaction that is interrupted: by damage, by a cut, by a crash, by a full disk.

use super::*;

#[test]
fn damage_is_not_given_a_fresh_checksum() {
    let disk = MemDisk::new();
    let mut log = open(&disk, at(0));
    tombstones(&mut log, 3);
    flush(&mut log);
    let (before, _) = consume(&mut log).unwrap();
    disk.flip_bit("c-0/00000000000000000000.log", 70 * 8).unwrap();
    let end = log.end();
    let job = plan(&mut log, end, at(0)).unwrap();
    assert!(matches!(job.run(&Turned, MEMORY), Err(crate::compact::CompactError::Damaged(_))));
    log.compaction_failed();
    disk.flip_bit("c-0/00000000000000000000.log", 70 * 8).unwrap();
    assert_eq!(consume(&mut log).unwrap().0, before);
}

#[test]
fn a_cut_or_a_deletion_meanwhile_wins() {
    for (seed, step) in (0..60).flat_map(|seed| [(seed, 0), (seed, 1), (seed, 2)]) {
        let disk = MemDisk::new();
        let (mut log, mut writer) = (open(&disk, at(0)), Writer::new(seed));
        for k in 0..120 {
            writer.append(&mut log, at(k));
        }
        flush(&mut log);
        let cut = EndOffset(i64::try_from(writer.rng.below(u64::try_from(log.end().0).unwrap())).unwrap());
        let delete = writer.rng.chance(1, 2);
        let strike = |log: &mut Log| {
            if delete {
                let job = log.delete_records(cut, log.end()).unwrap();
                if let Some(job) = job {
                    job.run().unwrap().run().unwrap();
                }
            } else {
                log.truncate_to(cut, at(0)).unwrap();
            }
        };
        let (before, _) = consume(&mut log).unwrap();
        let end = log.end();
        let job = plan(&mut log, end, at(200)).unwrap();
        if step == 0 {
            strike(&mut log);
        }
        match job.run(&Turned, MEMORY) {
            Err(_) => log.compaction_failed(),
            Ok(done) => {
                if step == 1 {
                    strike(&mut log);
                }
                let swap = log.compacted(done).unwrap();
                if step == 2 {
                    strike(&mut log);
                }
                if let Some(swap) = swap {
                    swap.run().unwrap();
                    log.swapped();
                }
            }
        }
        for crash in [false, true] {
            if crash {
                flush(&mut log);
                let (start, end) = (log.start(), log.end());
                drop(log);
                log = open(&disk.crash_clone(&mut writer.rng, 0), at(200));
                assert_eq!((log.start(), log.end()), (start, end), "seed {seed} step {step}");
            }
            let (after, _) =
                consume(&mut log).unwrap_or_else(|error| panic!("seed {seed} step {step}: {error}"));
            let originals: BTreeMap<i64, &Seen> = before.iter().map(|seen| (seen.offset, seen)).collect();
            let aborted_again = |seen: &Seen| !originals.contains_key(&seen.offset);
            // A cut may take a marker away, so that records of an aborted transaction are open again.
            assert!(after.iter().all(|seen| aborted_again(seen) || originals[&seen.offset] == seen));
            if !delete {
                assert!(log.end() <= EndOffset(cut.0) && after.iter().all(|seen| seen.offset < cut.0));
            }
        }
    }
}

/// What the same compaction makes of a copy of the disk, and from where to where its groups reach.
fn undisturbed(disk: &MemDisk, seed: u64) -> (Vec<Seen>, Spans) {
    let disk = disk.crash_clone(&mut Rng::new(seed), 100);
    let mut log = open(&disk, at(0));
    flush(&mut log);
    let end = log.end();
    let job = plan(&mut log, end, at(200)).unwrap();
    let done = job.run(&Turned, MEMORY).unwrap();
    let mut starts: Vec<i64> = done.groups.iter().map(|group| group.segment.base).collect();
    starts.push(job.bases.iter().copied().find(|base| *base >= done.cleaned_to.0).unwrap_or(job.bound));
    let groups = starts.windows(2).map(|pair| (pair[0], pair[1])).collect();
    log.compacted(done).unwrap().unwrap().run().unwrap();
    log.swapped();
    (consume(&mut log).unwrap().0, groups)
}

#[test]
fn a_crash_leaves_the_old_or_the_new() {
    let (mut swaps, mut compacted) = (0, 0);
    let mut merged = 0;
    for seed in 0..400 {
        let disk = MemDisk::new();
        let (mut log, mut writer) = (open(&disk, at(0)), Writer::new(seed));
        for k in 0..100 {
            writer.append(&mut log, at(k));
        }
        flush(&mut log);
        let (before, _) = consume(&mut log).unwrap();
        let (clean, groups) = undisturbed(&disk, seed);
        merged += usize::from(groups.len() + 2 < log.segments());
        // Anywhere, or where it hurts most.
        let late = writer.rng.chance(1, 2);
        let strike = |within: u64| disk.fail_from(Some(disk.operations() + within));
        if !late {
            strike(writer.rng.below(1_200));
        }
        let end = log.end();
        let struck = (|| {
            let config = log.config().clone();
            log.configure(LogConfig { segment_bytes: 1_500, ..config });
            let job = log.compaction_job(end, at(200)).map_err(|_| ())?.ok_or(())?;
            let done = job.run(&Turned, MEMORY).map_err(|_| ())?;
            if late {
                strike(writer.rng.below(40));
            }
            let swap = log.compacted(done).map_err(|_| ())?.ok_or(())?;
            swap.run().map_err(|_| ())
        })()
        .is_err();
        disk.fail_from(None);
        drop(log);
        let survive = [0, 50, 100][writer.rng.index(3)];
        let _ = base::marks::take();
        let after = disk.crash_clone(&mut writer.rng, survive);
        let mut log = open(&after, at(200));
        swaps += u32::from(base::marks::take().contains_key("swap_completed_on_open"));
        assert_eq!(log.end(), end, "seed {seed}");
        let (seen, spans) = consume(&mut log).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        for offset in 0..end.0 {
            let slice = log.read(EndOffset(offset), 1, end, true).unwrap().unwrap();
            let expected = spans.iter().find(|span| span.1 > offset).unwrap().0;
            assert_eq!(slice.base.0, expected, "seed {seed}: {offset} is read from another segment");
        }
        for (first, end) in groups {
            let within = |seen: &[Seen]| -> Vec<Seen> {
                seen.iter().filter(|seen| (first..end).contains(&seen.offset)).cloned().collect()
            };
            let found = within(&seen);
            assert!(found == within(&before) || found == within(&clean), "seed {seed}: half of a group");
        }
        check(&before, &seen, 0, seed);
        compacted += u32::from(seen.len() < before.len());
        if !struck {
            assert!(seen.len() < before.len(), "seed {seed}");
        }
        let leftovers =
            after.list("c-0").unwrap().into_iter().filter(|entry| entry.name.matches('.').count() > 1);
        assert_eq!(leftovers.count(), 0, "seed {seed}");
    }
    assert!(swaps > 10 && compacted > 50, "{swaps} swaps completed, {compacted} logs compacted");
    assert!(merged > 100, "{merged}");
}

#[test]
fn a_compacted_log_is_whole_also_when_its_topic_compacts_no_more() {
    let disk = MemDisk::new();
    let (mut log, mut writer) = (open(&disk, at(0)), Writer::new(5));
    for k in 0..100 {
        writer.append(&mut log, at(k));
        if k == 20 {
            flush(&mut log);
            let _ = log.dir().flush_round(Vec::new()).unwrap();
        }
    }
    assert!(compact(&mut log, at(200), MEMORY));
    let (before, end) = (consume(&mut log).unwrap(), log.end());
    drop(log);
    let dir = LogDir::open(Arc::new(disk.crash_clone(&mut writer.rng, 0)), "boot").unwrap();
    let config = LogConfig { compacts: false, ..config() };
    let (mut log, report) = Log::open(&dir, &name(), TOPIC, config, at(200)).unwrap();
    assert_eq!((log.end(), report.truncation), (end, None));
    assert_eq!(consume(&mut log).unwrap(), before);
}

#[test]
fn a_full_disk_stops_compaction_and_nothing_else() {
    let disk = MemDisk::new();
    let (mut log, mut writer) = (open(&disk, at(0)), Writer::new(3));
    for k in 0..100 {
        writer.append(&mut log, at(k));
    }
    flush(&mut log);
    let (before, _) = consume(&mut log).unwrap();
    let space = disk.space().unwrap();
    disk.set_capacity(Some(space.total - space.free + 300));
    let end = log.end();
    let job = plan(&mut log, end, at(200)).unwrap();
    assert!(job.run(&Turned, MEMORY).is_err());
    log.compaction_failed();
    assert_eq!(log.dir().fenced(), None);
    assert_eq!(consume(&mut log).unwrap().0, before);
    disk.set_capacity(None);
    assert!(compact(&mut log, at(200), MEMORY));
}
