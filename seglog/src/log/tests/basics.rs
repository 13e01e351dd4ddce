use super::*;
use crate::producer::ProducerError;
use wire::record::{EndTxn, EndTxnMarker, TimestampType};

#[test]
fn offsets_are_given_in_order_and_read_back() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, LogConfig::default());
    let first = append(&mut log, &plain(3)).unwrap();
    assert_eq!((first.base, first.end, first.duplicate), (base::LastOffset(0), EndOffset(3), false));
    let second = append(&mut log, &plain(2)).unwrap();
    assert_eq!((second.base.0, log.end()), (3, EndOffset(5)));
    let read = read_all(&mut log, EndOffset(0)).unwrap();
    assert_eq!(bases(&read), [0, 3]);
    assert!(read.iter().all(|header| header.partition_leader_epoch == 3));
    assert_eq!(log.epochs().latest(), Some(LeaderEpoch(3)));
    assert_eq!(log.flushed(), EndOffset(0));
}

#[test]
fn a_read_may_begin_before_what_was_asked_and_ends_before_what_may_be_seen() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    for _ in 0..60 {
        append(&mut log, &plain(3)).unwrap();
    }
    assert!(log.segments() > 3);
    let batch_bytes = plain(3).len() as u64;
    for from in 0..180i64 {
        for up_to in [from, from + 1, (from / 3 + 1) * 3, 180] {
            let slice = log.read(EndOffset(from), 1, EndOffset(up_to), true).unwrap();
            let visible = up_to > from && up_to >= (from / 3 + 1) * 3;
            assert_eq!(slice.is_some(), visible, "{from} up to {up_to}");
            if let Some(slice) = slice {
                assert_eq!((slice.base.0, slice.length), (from / 3 * 3, batch_bytes));
            }
        }
        assert!(log.read(EndOffset(from), batch_bytes - 1, EndOffset(180), false).unwrap().is_none());
        let exact = log.read(EndOffset(from), batch_bytes, EndOffset(180), false).unwrap().unwrap();
        assert_eq!(exact.length, batch_bytes);
        let wide = log.read(EndOffset(from), 1 << 20, EndOffset(from / 3 * 3 + 6), false).unwrap().unwrap();
        assert!(wide.length <= 2 * batch_bytes);
    }
    assert!(log.read(EndOffset(180), 1, EndOffset(180), true).unwrap().is_none());
    for outside in [-1, 181] {
        let refused = log.read(EndOffset(outside), 1, EndOffset(180), true).unwrap_err();
        assert_eq!(refused, ReadError::OutOfRange { start: EndOffset(0), end: EndOffset(180) });
    }
}

#[test]
fn a_slice_outlives_its_segment() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    for _ in 0..60 {
        append(&mut log, &plain(3)).unwrap();
    }
    let slice = log.read(EndOffset(0), 1, EndOffset(180), true).unwrap().unwrap();
    let job = log.delete_records(EndOffset(170), EndOffset(180)).unwrap().unwrap();
    job.run().unwrap().run().unwrap();
    let mut bytes = vec![0; usize::try_from(slice.length).unwrap()];
    slice.file.read_at(&mut bytes, slice.position).unwrap();
    assert_eq!(parse_batches(&bytes).next().unwrap().unwrap().header().base_offset, 0);
}

#[test]
fn too_large_batches_are_refused_from_clients_only() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, LogConfig { message_bytes_max: 300, ..small() });
    let large = plain(20);
    let bytes = large.len() as u64;
    assert_eq!(append(&mut log, &large), Err(AppendError::BatchTooLarge { bytes, max: 300 }));
    let checked = CheckedBatches::from_broker(&large).unwrap();
    log.append(&checked, Origin::Broker, LeaderEpoch(3), at(0)).unwrap();
    let huge = plain(200);
    let checked = CheckedBatches::from_broker(&huge).unwrap();
    let refused = log.append(&checked, Origin::Broker, LeaderEpoch(3), at(0));
    assert!(matches!(refused, Err(AppendError::BatchesTooLarge { max: 2_000, .. })));
    assert_eq!(log.end(), EndOffset(20));
}

#[test]
fn append_time_is_the_brokers() {
    let disk = MemDisk::new();
    let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
    let mut log = create_with(&disk, config);
    let bytes = plain(3);
    let checked = CheckedBatches::from_produce(&bytes).unwrap();
    let appended = log.append(&checked, CLIENT, LeaderEpoch(0), at(777)).unwrap();
    assert_eq!(appended.log_append_time, Some(at(777).wall));
    let header = read_all(&mut log, EndOffset(0)).unwrap()[0];
    assert_eq!(header.max_timestamp, at(777).wall.0);
    assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
    let hit = log.find_time(at(777).wall, &NoCodec).unwrap().unwrap();
    assert_eq!((hit.offset.0, hit.timestamp), (0, at(777).wall));
}

#[test]
fn retries_are_answered_and_gaps_refused() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, LogConfig::default());
    let from = |sequence| {
        let meta =
            BatchMeta { producer_id: 9, producer_epoch: 0, base_sequence: sequence, ..BatchMeta::default() };
        batch(meta, 2, 10, 5, b'p')
    };
    append(&mut log, &plain(1)).unwrap();
    let first = append(&mut log, &from(0)).unwrap();
    append(&mut log, &from(2)).unwrap();
    let again = append(&mut log, &from(0)).unwrap();
    assert_eq!((again.base, again.end, again.duplicate), (first.base, first.end, true));
    assert_eq!(log.end(), EndOffset(5));
    let gap = append(&mut log, &from(6));
    assert_eq!(gap, Err(AppendError::Producer(ProducerError::OutOfOrder { sent: 6, last: 3 })));
}

#[test]
fn markers_are_understood_live_and_on_reload() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, LogConfig::default());
    let meta = BatchMeta {
        producer_id: 9,
        producer_epoch: 0,
        base_sequence: 0,
        transactional: true,
        ..BatchMeta::default()
    };
    append(&mut log, &batch(meta, 2, 10, 5, b'p')).unwrap();
    assert!(log.producers().first_open_transaction().is_some());
    let marker = EndTxnMarker { end: EndTxn::Commit, coordinator_epoch: 4 }.batch(9, 0, at(0).wall);
    let checked = CheckedBatches::from_broker(&marker).unwrap();
    log.append(&checked, Origin::Broker, LeaderEpoch(3), at(0)).unwrap();
    assert_eq!(log.producers().first_open_transaction(), None);
    let live = log.producers().clone();
    flush(&mut log);
    drop(log);
    let (reloaded, _) = open_with(&disk, LogConfig::default()).unwrap();
    assert_eq!(*reloaded.producers(), live);
}

#[test]
fn segments_roll_by_size_time_and_index() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, LogConfig { segment_time: Span::from_secs(10), ..LogConfig::default() });
    let stamped = |timestamp| batch(BatchMeta::default(), 1, 10, timestamp, b'x');
    append(&mut log, &stamped(1_000)).unwrap();
    append(&mut log, &stamped(11_000)).unwrap();
    assert_eq!(log.segments(), 1, "exactly the limit is not beyond it");
    append(&mut log, &stamped(11_001)).unwrap();
    assert_eq!((log.segments(), log.active_base()), (2, EndOffset(2)));
    log.configure(LogConfig { index_bytes_max: 40, index_interval_bytes: 0, ..LogConfig::default() });
    for _ in 0..10 {
        append(&mut log, &stamped(11_001)).unwrap();
    }
    assert!(log.segments() > 3);
    assert_eq!(bases(&read_all(&mut log, EndOffset(0)).unwrap()), (0..13).collect::<Vec<_>>());
}

#[test]
fn a_follower_takes_offsets_and_epochs_as_they_come() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, LogConfig::default());
    let given = |base_offset, epoch| {
        let meta = BatchMeta { base_offset, partition_leader_epoch: epoch, ..BatchMeta::default() };
        batch(meta, 2, 10, 5, b'f')
    };
    let bytes = [given(10, 1), given(12, 1), given(14, 2)].concat();
    let checked = CheckedBatches::from_leader(&bytes, log.end()).unwrap().unwrap();
    log.append_as_follower(&checked, at(0)).unwrap();
    assert_eq!(log.end(), EndOffset(16));
    assert_eq!(bases(&read_all(&mut log, EndOffset(0)).unwrap()), [10, 12, 14]);
    let epochs: Vec<_> = log.epochs().starts().iter().map(|entry| (entry.epoch.0, entry.start.0)).collect();
    assert_eq!(epochs, [(1, 10), (2, 14)]);
    let refused = log.append_as_follower(&checked, at(0));
    assert_eq!(refused, Err(AppendError::UnexpectedOffset { expected: EndOffset(16), found: 10 }));
    // Beyond what the empty segment's index could name.
    let mut log = {
        drop(log);
        let disk = MemDisk::new();
        create_with(&disk, LogConfig::default())
    };
    let far = given(1 << 40, 1);
    let checked = CheckedBatches::from_leader(&far, log.end()).unwrap().unwrap();
    log.append_as_follower(&checked, at(0)).unwrap();
    assert_eq!((log.segments(), log.active_base()), (1, EndOffset(1 << 40)));
}

#[test]
fn timestamps_find_the_first_record_that_is_late_enough() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    let times = [50, 10, 90, 90, 20, 130, 40, 130];
    let mut all = Vec::new();
    for round in 0..20 {
        for time in times {
            let timestamp = time + round * 30;
            let mut builder = BatchBuilder::new(BatchMeta::default());
            for delta in [0, 5, -7] {
                all.push(timestamp + delta);
                let fields =
                    RecordFields { timestamp: timestamp + delta, value: Some(b"v"), ..Default::default() };
                builder.push(&fields);
            }
            append(&mut log, &builder.finish()).unwrap();
        }
    }
    assert!(log.segments() > 2);
    for start in [0i64, 1, 55, 200, 460] {
        if let Some(job) = log.delete_records(EndOffset(start), log.end()).unwrap() {
            job.run().unwrap();
        }
        let live = || all.iter().enumerate().skip(usize::try_from(start).unwrap());
        for target in -5..720 {
            let expected = live().find(|(_, time)| **time >= target).map(|(k, _)| i64::try_from(k).unwrap());
            let found = log.find_time(Timestamp(target), &NoCodec).unwrap().map(|hit| hit.offset.0);
            assert_eq!(found, expected, "{target} from {start}");
        }
        let latest = live().map(|(_, time)| *time).max().unwrap();
        let first = live().find(|(_, time)| **time == latest).map(|(k, _)| i64::try_from(k).unwrap());
        let hit = log.find_latest_time(&NoCodec).unwrap().unwrap();
        assert_eq!((hit.timestamp.0, Some(hit.offset.0)), (latest, first));
    }
}

#[test]
fn epoch_ends_that_the_log_contradicts_are_read_from_it() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    for epoch in [1, 1, 2, 4, 4] {
        let bytes = plain(10);
        let checked = CheckedBatches::from_produce(&bytes).unwrap();
        log.append(&checked, CLIENT, LeaderEpoch(epoch), at(0)).unwrap();
    }
    let end =
        |log: &mut Log, epoch| log.end_of_epoch(LeaderEpoch(epoch)).unwrap().map(|e| (e.epoch.0, e.end.0));
    let truth: Vec<_> = (0..6).map(|epoch| end(&mut log, epoch)).collect();
    assert_eq!(truth, [Some((0, 0)), Some((1, 20)), Some((2, 30)), Some((2, 30)), Some((4, 50)), None]);
    flush(&mut log);
    drop(log);
    // A wrong digit in a file that has no checksum: epoch 2 begins at 24 instead of 20.
    let path = "t-0/leader-epoch-checkpoint";
    crate::durable::write_small(&disk, path, b"0\n3\n1 0\n2 24\n4 30\n").unwrap();
    let (mut log, _) = open_with(&disk, small()).unwrap();
    for epoch in [1, 2, 3, 4, 5, 0] {
        assert_eq!(end(&mut log, epoch), truth[usize::try_from(epoch).unwrap()], "epoch {epoch}");
    }
}

#[test]
fn truncation_cuts_batches_segments_epochs_and_producers() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    let mut states = Vec::new();
    for k in 0..60i32 {
        states.push((log.end(), log.producers().clone()));
        let meta =
            BatchMeta { producer_id: 1, producer_epoch: 0, base_sequence: k * 3, ..BatchMeta::default() };
        let bytes = batch(meta, 3, 20, 1_000 + i64::from(k), b'x');
        let checked = CheckedBatches::from_produce(&bytes).unwrap();
        log.append(&checked, CLIENT, LeaderEpoch(k / 10), at(0)).unwrap();
        if k % 7 == 0 {
            checkpoint(&mut log, at(0));
        }
    }
    flush_twice(&mut log);
    for cut in [175i64, 150, 149, 91, 90, 3, 1] {
        let end = log.truncate_to(EndOffset(cut), at(0)).unwrap();
        assert_eq!((end.0, log.end(), log.flushed()), (cut / 3 * 3, end, end));
        let index = usize::try_from(end.0 / 3).unwrap();
        let sequences = |states: &ProducerStates| -> Vec<i32> {
            states.iter().flat_map(|(_, s)| s.batches().last().map(|b| b.last_sequence)).collect()
        };
        assert_eq!(sequences(log.producers()), sequences(&states[index].1), "cut {cut}");
        assert!(log.epochs().starts().iter().all(|entry| entry.start < end));
        let disk = disk.crash_clone(&mut base::Rng::new(1), 0);
        let (mut log, report) = open_with(&disk, small()).unwrap();
        assert_eq!((log.end(), report.truncation), (end, None), "a cut is durable");
        assert_eq!(
            bases(&read_all(&mut log, EndOffset(0)).unwrap()),
            (0..end.0 / 3).map(|k| k * 3).collect::<Vec<_>>()
        );
    }
    assert_eq!(log.end(), EndOffset(0));
    assert_eq!(log.truncate_to(EndOffset(7), at(0)).unwrap(), EndOffset(0), "a log does not grow by a cut");
    append(&mut log, &plain(2)).unwrap();
    assert_eq!(bases(&read_all(&mut log, EndOffset(0)).unwrap()), [0]);
}

#[test]
fn a_log_can_start_over_elsewhere() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    for _ in 0..60 {
        append(&mut log, &plain(3)).unwrap();
    }
    flush_twice(&mut log);
    log.start_over_at(EndOffset(1_000), at(0)).unwrap();
    assert_eq!((log.start(), log.end(), log.segments()), (EndOffset(1_000), EndOffset(1_000), 1));
    let crashed = disk.crash_clone(&mut base::Rng::new(1), 0);
    let (reopened, _) = open_with(&crashed, small()).unwrap();
    assert_eq!((reopened.start(), reopened.end()), (EndOffset(1_000), EndOffset(1_000)));
    append(&mut log, &plain(3)).unwrap();
    assert_eq!(bases(&read_all(&mut log, EndOffset(1_000)).unwrap()), [1_000]);
}

#[test]
fn a_full_disk_refuses_appends_and_nothing_else() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    for _ in 0..20 {
        append(&mut log, &plain(3)).unwrap();
    }
    flush_twice(&mut log);
    let used = disk.space().unwrap();
    disk.set_capacity(Some(used.total - used.free + 50));
    for _ in 0..3 {
        assert_eq!(append(&mut log, &plain(3)), Err(AppendError::NoSpace));
    }
    assert_eq!(bases(&read_all(&mut log, EndOffset(0)).unwrap()).len(), 20);
    let job = log.delete_records(EndOffset(45), EndOffset(60)).unwrap().unwrap();
    job.run().unwrap().run().unwrap();
    append(&mut log, &plain(3)).unwrap();
    assert_eq!(log.dir().fenced(), None);
    disk.set_capacity(None);
    let all = bases(&read_all(&mut log, EndOffset(45)).unwrap());
    assert_eq!(all, (15..21).map(|k| k * 3).collect::<Vec<_>>());
}

#[test]
fn a_failed_write_closes_the_directory_before_anyone_hears_of_it() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    append(&mut log, &plain(3)).unwrap();
    disk.inject(crate::disk::Operation::Write, 0, crate::disk::Fault::Io);
    assert!(matches!(append(&mut log, &plain(3)), Err(AppendError::Fenced(_))));
    assert!(log.dir().fenced().is_some());
    assert!(matches!(append(&mut log, &plain(3)), Err(AppendError::Fenced(_))));
    assert_eq!(log.end(), EndOffset(3));
    assert!(matches!(Log::open(log.dir(), &name(), TOPIC, small(), at(0)), Err(OpenLogError::Fenced)));
}

#[test]
fn a_directory_of_another_topic_is_not_taken() {
    let disk = MemDisk::new();
    drop(create_with(&disk, small()));
    let dir = open_dir(&disk);
    assert_eq!(Log::topic_of(&dir, &name()).unwrap(), Some(TOPIC));
    assert_eq!(dir.partitions().unwrap(), [name()]);
    let other = Log::open(&dir, &name(), TopicId(Uuid([6; 16])), small(), at(0));
    assert!(matches!(other, Err(OpenLogError::WrongTopic { found: TOPIC })));
    let job = dir.delete_partition(&name(), TOPIC).unwrap();
    assert!(dir.partitions().unwrap().is_empty());
    assert_eq!(dir.deleted_partitions().unwrap().len(), 1);
    job.run().unwrap();
    assert!(dir.deleted_partitions().unwrap().is_empty());
    assert!(dir.partitions().unwrap().is_empty());
}

#[test]
fn jobs_of_a_deleted_partition_touch_nothing_of_the_next_of_its_name() {
    let disk = MemDisk::new();
    let mut old = create_with(&disk, small());
    let meta = BatchMeta { producer_id: 9, producer_epoch: 0, base_sequence: 0, ..BatchMeta::default() };
    append(&mut old, &batch(meta, 3, 10, 0, 1)).unwrap();
    for _ in 0..40 {
        append(&mut old, &plain(3)).unwrap();
    }
    assert!(old.segments() > 2);
    flush(&mut old);
    old.begin_epoch(LeaderEpoch(7));
    append(&mut old, &plain(3)).unwrap();
    let checkpoint = old.checkpoint_job(at(1)).unwrap();
    let flush_job = old.flush_job().unwrap();
    let middle = EndOffset(old.active_base().0);
    let trim = old.delete_records(middle, old.end()).unwrap().unwrap();
    let dir = Arc::clone(old.dir());
    old.abandon();
    let remove = dir.delete_partition(&name(), TOPIC).unwrap();
    let next = TopicId(Uuid([6; 16]));
    let mut new = Log::create(&dir, &name(), next, small(), at(1)).unwrap();
    append(&mut new, &plain(5)).unwrap();
    flush(&mut new);
    let before = disk.list("t-0").unwrap();
    checkpoint.run().unwrap();
    trim.run().unwrap().run().unwrap();
    let _ = dir.flush_round(vec![flush_job]).unwrap();
    remove.run().unwrap();
    assert_eq!(disk.list("t-0").unwrap(), before);
    assert_eq!(dir.fenced(), None);
    drop((old, new, dir));
    let dir = open_dir(&disk.crash_clone(&mut base::Rng::new(1), 0));
    let (new, _) = Log::open(&dir, &name(), next, small(), at(0)).unwrap();
    assert_eq!(new.end(), EndOffset(5));
}

#[test]
fn creation_waits_for_nothing_and_the_first_flush_makes_it_durable() {
    let disk = MemDisk::new();
    let dir = open_dir(&disk);
    disk.set_latency(crate::disk::Operation::Sync, Span::from_millis(1));
    disk.set_latency(crate::disk::Operation::SyncDir, Span::from_millis(1));
    let _ = disk.take_latency();
    let mut log = Log::create(&dir, &name(), TOPIC, small(), at(0)).unwrap();
    append(&mut log, &plain(3)).unwrap();
    assert_eq!(disk.take_latency(), Span::ZERO);
    flush(&mut log);
    drop(log);
    drop(dir);
    let (log, _) = open_with(&disk.crash_clone(&mut base::Rng::new(1), 0), small()).unwrap();
    assert_eq!((log.topic(), log.end()), (TOPIC, EndOffset(3)));
}

#[test]
fn a_lost_identity_is_restored_where_a_flush_vouches_for_it() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    append(&mut log, &plain(3)).unwrap();
    flush_twice(&mut log);
    drop(log);
    disk.open("t-0/partition.metadata", OpenMode::Replace).unwrap();
    let (mut log, _) = open_with(&disk, small()).unwrap();
    assert_eq!(log.end(), EndOffset(3));
    flush(&mut log);
    assert_eq!(Log::topic_of(log.dir(), &name()).unwrap(), Some(TOPIC));
}

#[test]
fn batches_that_are_nobodys_are_set_aside() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    append(&mut log, &plain(3)).unwrap();
    flush(&mut log);
    drop(log);
    disk.open("t-0/partition.metadata", OpenMode::Replace).unwrap();
    for round in 0..2 {
        let (mut log, _) = open_with(&disk, small()).unwrap();
        assert_eq!((log.start(), log.end()), (EndOffset(0), EndOffset(0)));
        append(&mut log, &plain(1)).unwrap();
        drop(log);
        disk.open("t-0/partition.metadata", OpenMode::Replace).unwrap();
        let strays = disk.list("").unwrap().into_iter().filter(|entry| entry.name.ends_with("-stray"));
        let strays: Vec<_> = strays.collect();
        assert_eq!(strays.len(), round + 1);
        assert!(length(&disk, &format!("{}/00000000000000000000.log", strays[0].name)) > 0);
    }
}

#[test]
fn releasing_files_changes_nothing_that_is_seen() {
    let disk = MemDisk::new();
    let mut log = create_with(&disk, small());
    for _ in 0..60 {
        append(&mut log, &plain(3)).unwrap();
    }
    let before = bases(&read_all(&mut log, EndOffset(0)).unwrap());
    log.release();
    assert_eq!(bases(&read_all(&mut log, EndOffset(0)).unwrap()), before);
    flush(&mut log);
    log.release();
    let opened = disk.operations();
    assert_eq!(bases(&read_all(&mut log, EndOffset(0)).unwrap()), before);
    assert!(disk.operations() > opened);
    assert_eq!(log.size().unwrap(), 60 * plain(3).len() as u64);
}
