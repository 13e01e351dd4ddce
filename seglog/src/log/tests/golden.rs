//! A directory that Apache Kafka 4.4.0 wrote is ours to open.

use super::*;
use crate::durable::{read_small, write_small};
use base::{ProducerEpoch, ProducerId};
use std::io::IoSlice;

const FILES: [(&str, &[u8]); 12] = [
    (".kafka_cleanshutdown", include_bytes!("../../../tests/golden/kafka-4.4.0/.kafka_cleanshutdown")),
    ("meta.properties", include_bytes!("../../../tests/golden/kafka-4.4.0/meta.properties")),
    (
        "cleaner-offset-checkpoint",
        include_bytes!("../../../tests/golden/kafka-4.4.0/cleaner-offset-checkpoint"),
    ),
    (
        "log-start-offset-checkpoint",
        include_bytes!("../../../tests/golden/kafka-4.4.0/log-start-offset-checkpoint"),
    ),
    (
        "recovery-point-offset-checkpoint",
        include_bytes!("../../../tests/golden/kafka-4.4.0/recovery-point-offset-checkpoint"),
    ),
    (
        "replication-offset-checkpoint",
        include_bytes!("../../../tests/golden/kafka-4.4.0/replication-offset-checkpoint"),
    ),
    (
        "golden-0/00000000000000000000.log",
        include_bytes!("../../../tests/golden/kafka-4.4.0/golden-0/00000000000000000000.log"),
    ),
    (INDEX, include_bytes!("../../../tests/golden/kafka-4.4.0/golden-0/00000000000000000000.index")),
    (TIMES, include_bytes!("../../../tests/golden/kafka-4.4.0/golden-0/00000000000000000000.timeindex")),
    (
        "golden-0/00000000000000000013.snapshot",
        include_bytes!("../../../tests/golden/kafka-4.4.0/golden-0/00000000000000000013.snapshot"),
    ),
    (
        "golden-0/leader-epoch-checkpoint",
        include_bytes!("../../../tests/golden/kafka-4.4.0/golden-0/leader-epoch-checkpoint"),
    ),
    (
        "golden-0/partition.metadata",
        include_bytes!("../../../tests/golden/kafka-4.4.0/golden-0/partition.metadata"),
    ),
];
const INDEX: &str = "golden-0/00000000000000000000.index";
const TIMES: &str = "golden-0/00000000000000000000.timeindex";

fn kafkas_disk() -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir("golden-0").unwrap();
    for (path, content) in FILES {
        write_small(&disk, path, content).unwrap();
    }
    disk.sync_fs().unwrap();
    disk
}

fn config() -> LogConfig {
    LogConfig { index_interval_bytes: 0, ..LogConfig::default() }
}

fn open(disk: &MemDisk) -> (Log, OpenReport) {
    let dir = open_dir(disk);
    assert_eq!((dir.was_clean(), dir.clean_broker_epoch()), (true, Some(12)));
    assert_eq!(dir.identity().unwrap().cluster_id, "4L6g3nShT-eMCtK--X86sw");
    let name = dir.partitions().unwrap().remove(0);
    assert_eq!(dir.read_high_watermarks().unwrap()[&name], EndOffset(13));
    let topic = Log::topic_of(&dir, &name).unwrap().unwrap();
    assert_eq!(topic.to_string(), "d71DSBtKQcmwVziptzW0cA");
    // Before the producers of the files expire.
    let now = Now { mono: Instant::ZERO, wall: Timestamp(1_795_406_411_000) };
    Log::open(&dir, &name, topic, config(), now).unwrap()
}

#[test]
fn kafkas_log_is_read() {
    let (mut log, report) = open(&kafkas_disk());
    assert_eq!(report, OpenReport::default());
    assert_eq!((log.start(), log.end(), log.flushed()), (EndOffset(0), EndOffset(13), EndOffset(13)));
    let all = read_all(&mut log, EndOffset(0)).unwrap();
    assert_eq!(bases(&all), [0, 2, 4, 6, 7, 8, 9, 10, 12]);
    let (_, stored) = FILES[6];
    let again: Vec<u8> = all.iter().flat_map(|header| header.encode()).collect();
    let heads: Vec<u8> =
        parse_batches(stored).flat_map(|batch| batch.unwrap().bytes()[..61].to_vec()).collect();
    assert_eq!(again, heads, "headers are written as they are read");
    assert_eq!(all[3].attributes.compression(), Ok(Compression::Lz4));
    assert!(all[6].attributes.is_control() && all[6].attributes.is_transactional());
    assert_eq!(log.epochs().latest(), Some(LeaderEpoch(0)));
    let hit = log.find_time(Timestamp(1_795_406_408_455), &NoCodec).unwrap().unwrap();
    assert_eq!(hit.offset.0, 5);
}

#[test]
fn kafkas_producers_are_known_and_rebuilt_alike() {
    let disk = kafkas_disk();
    let from_snapshot = open(&disk).0;
    let disk = kafkas_disk();
    disk.remove("golden-0/00000000000000000013.snapshot").unwrap();
    let rebuilt = open(&disk).0;
    for log in [&from_snapshot, &rebuilt] {
        let ids: Vec<i64> = log.producers().iter().map(|(id, _)| id.0).collect();
        assert_eq!(ids, [3, 4, 5, 6, 7]);
        let transactional = log.producers().get(ProducerId(7)).unwrap();
        assert_eq!((transactional.epoch, transactional.coordinator_epoch), (ProducerEpoch(2), 0));
        assert_eq!((transactional.txn_first_offset, transactional.batches().len()), (None, 0));
        let plain = log.producers().get(ProducerId(5)).unwrap();
        let last = plain.batches().last().unwrap();
        assert_eq!((last.base_offset(), last.last_offset, last.last_sequence), (4, 5, 1));
    }
}

#[test]
fn our_indexes_are_kafkas_to_the_byte() {
    let disk = kafkas_disk();
    let (mut log, _) = open(&disk);
    log.roll(at(0)).unwrap();
    flush(&mut log);
    for path in [INDEX, TIMES] {
        let kafkas = FILES.iter().find(|(name, _)| *name == path).unwrap().1;
        assert_eq!(read_small(&disk, path).unwrap().unwrap(), kafkas, "{path}");
    }
}

#[test]
fn a_kafka_directory_goes_on_with_us_and_survives_a_crash() {
    let disk = kafkas_disk();
    let (mut log, _) = open(&disk);
    append(&mut log, &plain(3)).unwrap();
    flush_twice(&mut log);
    append(&mut log, &plain(3)).unwrap();
    let (key, name, topic) = (log.key(), log.name().clone(), log.topic());
    drop(log);
    let after = disk.crash_clone(&mut base::Rng::new(3), 0);
    let dir = open_dir(&after);
    assert!(!dir.was_clean());
    assert_eq!(dir.flush_point(key, &name).unwrap().end, EndOffset(16));
    let (mut log, _) = Log::open(&dir, &name, topic, config(), at(0)).unwrap();
    assert_eq!(bases(&read_all(&mut log, EndOffset(0)).unwrap()), [0, 2, 4, 6, 7, 8, 9, 10, 12, 13]);
}

#[test]
fn kafkas_preallocated_indexes_are_no_obstacle() {
    let disk = kafkas_disk();
    for path in [INDEX, TIMES] {
        let file = disk.open(path, OpenMode::Write).unwrap();
        let end = file.length().unwrap();
        file.write_at(&mut [IoSlice::new(&vec![0; 60_000])], end).unwrap();
    }
    let (mut log, _) = open(&disk);
    assert_eq!(read_all(&mut log, EndOffset(0)).unwrap().len(), 9);
}
