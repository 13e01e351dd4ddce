//! The same log on the machine's own file system.

use super::*;
use crate::disk::RealDisk;
use wire::record::{EndTxn, EndTxnMarker};

/// A log with several segments, producers, epochs, a transaction and headers, closed cleanly.
fn fill(dir: &Arc<LogDir>) -> Log {
    let mut log = Log::create(dir, &name(), TOPIC, small(), at(0)).unwrap();
    for k in 0..60i32 {
        let meta = BatchMeta {
            producer_id: i64::from(k % 3),
            producer_epoch: 1,
            base_sequence: k / 3 * 2,
            transactional: k % 3 == 2,
            ..BatchMeta::default()
        };
        let bytes = batch(meta, 2, 50, at(0).wall.0 + i64::from(k) * 10, b'r');
        let checked = CheckedBatches::from_produce(&bytes).unwrap();
        log.append(&checked, CLIENT, LeaderEpoch(k / 20), at(0)).unwrap();
    }
    let marker = EndTxnMarker { end: EndTxn::Commit, coordinator_epoch: 4 }.batch(2, 1, at(0).wall);
    let checked = CheckedBatches::from_broker(&marker).unwrap();
    log.append(&checked, Origin::Broker, LeaderEpoch(3), at(0)).unwrap();
    log
}

fn close(log: &mut Log) {
    checkpoint(log, at(0));
    flush(log);
    let ends = crate::text::Offsets::from([(name(), log.end())]);
    let starts = crate::text::Offsets::from([(name(), log.start())]);
    log.dir().close(&ends, &starts, 7).unwrap();
}

#[test]
fn a_log_on_a_real_file_system_comes_back_whole() {
    let temp = tempfile::tempdir().unwrap();
    let root = std::option_env!("OTTLA_KEEP_DIR").map_or(temp.path(), std::path::Path::new);
    let open = || LogDir::open(Arc::new(RealDisk::create_root(root).unwrap()), "boot").unwrap();
    let mut log = fill(&open());
    let all = read_all(&mut log, EndOffset(0)).unwrap();
    let producers = log.producers().clone();
    close(&mut log);
    drop(log);
    let dir = open();
    assert_eq!((dir.was_clean(), dir.clean_broker_epoch()), (true, Some(7)));
    let (mut log, report) = Log::open(&dir, &name(), TOPIC, small(), at(0)).unwrap();
    assert_eq!(report, OpenReport::default());
    assert_eq!(read_all(&mut log, EndOffset(0)).unwrap(), all);
    assert_eq!(log.producers().iter().count(), producers.iter().count());
    assert_eq!(log.end_of_epoch(LeaderEpoch(1)).unwrap().unwrap().end, EndOffset(80));
    let hit = log.find_time(Timestamp(at(0).wall.0 + 305), &NoCodec).unwrap().unwrap();
    assert_eq!(hit.offset.0, 62);
    let job = log.delete_records(EndOffset(70), log.end()).unwrap().unwrap();
    job.run().unwrap().run().unwrap();
    log.truncate_to(EndOffset(100), at(0)).unwrap();
    assert_eq!((log.start(), log.end()), (EndOffset(70), EndOffset(100)));
    close(&mut log);
}
