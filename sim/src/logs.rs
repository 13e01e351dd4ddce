//! What the nodes' logs hold, read from their disks: the same offset of the same epoch has one content, everywhere and
//! for ever; and what is safe is on all replicas.

use base::{Rng, TopicId};
use core::ops::Range;
use seglog::disk::{Disk, MemDisk, OpenMode};
use seglog::text::decode_partition_metadata;
use std::collections::BTreeMap;
use wire::record::parse_batches;

/// A batch as it lies in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) base: i64,
    pub(crate) last: i64,
    pub(crate) epoch: i32,
    crc: u32,
}

/// A partition's log on one disk.
#[derive(Debug)]
pub(crate) struct LogOnDisk {
    pub(crate) topic: TopicId,
    pub(crate) name: String,
    pub(crate) index: i32,
    pub(crate) batches: Vec<Stored>,
    /// No batch of it is damaged.
    pub(crate) is_whole: bool,
}

impl LogOnDisk {
    /// Which offsets of which epochs there are.
    pub(crate) fn extent(&self) -> String {
        let mut text = format!("{}-{}:", self.name, self.index);
        for epoch in self.batches.chunk_by(|one, other| one.epoch == other.epoch) {
            let (first, last) = (epoch[0], epoch[epoch.len() - 1]);
            text += &format!(" {}..={} in {}", first.base, last.last, first.epoch);
        }
        text
    }
}

/// All logs on a disk as far as they are whole. The disk does not notice.
pub(crate) fn read_logs(disk: &MemDisk) -> Vec<LogOnDisk> {
    let copy = disk.crash_clone(&mut Rng::new(0), 100);
    let entries = copy.list("").unwrap_or_default();
    let dirs = entries.into_iter().filter(|entry| entry.is_dir);
    dirs.filter_map(|entry| read_log(&copy, &entry.name)).collect()
}

fn read_log(disk: &MemDisk, dir: &str) -> Option<LogOnDisk> {
    // What is set aside, or on its way out, has another name.
    let (name, index) = dir.rsplit_once('-')?;
    let topic = decode_partition_metadata(&content(disk, &format!("{dir}/partition.metadata"))?)?;
    let mut files: Vec<String> = disk.list(dir).ok()?.into_iter().map(|entry| entry.name).collect();
    files.retain(|file| file.ends_with(".log"));
    files.sort_unstable();
    let (mut batches, mut is_whole) = (Vec::new(), true);
    for file in files {
        let bytes = content(disk, &format!("{dir}/{file}"))?;
        for batch in parse_batches(&bytes) {
            let Some(batch) = batch.ok().filter(|batch| batch.check_crc().is_ok()) else {
                is_whole = false;
                break;
            };
            let header = batch.header();
            let last = header.base_offset + i64::from(header.last_offset_delta);
            let (base, epoch) = (header.base_offset, header.partition_leader_epoch);
            batches.push(Stored { base, last, epoch, crc: header.crc });
        }
    }
    Some(LogOnDisk { topic, name: name.to_owned(), index: index.parse().ok()?, batches, is_whole })
}

fn content(disk: &MemDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read).ok()?;
    let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
    let read = file.read_at(&mut bytes, 0).ok()?;
    bytes.truncate(read);
    Some(bytes)
}

/// A partition, an epoch and an offset.
type Place = (TopicId, i32, i32, i64);

/// Everything that was ever found in a log.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    known: BTreeMap<Place, Stored>,
}

impl Contents {
    /// Compares a log with all that were seen before.
    pub(crate) fn compare(&mut self, log: &LogOnDisk) -> Result<(), String> {
        for batch in &log.batches {
            let place = |offset| (log.topic, log.index, batch.epoch, offset);
            let overlapping = self.known.range(place(i64::MIN)..=place(batch.last)).next_back();
            match overlapping {
                Some((_, other)) if other == batch => {}
                Some((_, other)) if other.last >= batch.base => {
                    return Err(format!(
                        "{}-{} holds {batch:?} and held {other:?}: {:?}",
                        log.name, log.index, log.batches
                    ));
                }
                Some(_) | None => {
                    self.known.insert(place(batch.base), *batch);
                }
            }
        }
        Ok(())
    }
}

/// Where two replicas of a partition differ in `read`, from where both begin. What lies before is deleted: a replica that had
/// other records there before they were keeps them until their segment goes.
pub(crate) fn difference(one: &LogOnDisk, other: &LogOnDisk, read: &Range<i64>) -> Option<String> {
    let first = |log: &LogOnDisk| log.batches.first().map_or(read.end, |batch| batch.base);
    let start = first(one).max(first(other));
    let is_shared = |batch: &Stored| batch.base >= start && batch.last >= read.start && batch.last < read.end;
    let shared = |log: &LogOnDisk| -> Vec<Stored> { log.batches.iter().copied().filter(is_shared).collect() };
    let (one, other) = (shared(one), shared(other));
    let at = (0..one.len().max(other.len())).find(|at| one.get(*at) != other.get(*at))?;
    Some(format!("{:?} and {:?}", one.get(at), other.get(at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Uuid;

    fn log(batches: &[(i64, i64, i32, u32)]) -> LogOnDisk {
        let stored = |&(base, last, epoch, crc): &_| Stored { base, last, epoch, crc };
        let batches = batches.iter().map(stored).collect();
        LogOnDisk { topic: TopicId(Uuid([1; 16])), name: "t".into(), index: 0, batches, is_whole: true }
    }

    #[test]
    fn an_offset_of_an_epoch_has_one_content_and_another_epoch_may_have_another() {
        let mut contents = Contents::default();
        contents.compare(&log(&[(0, 4, 1, 7), (5, 5, 1, 8)])).unwrap();
        contents.compare(&log(&[(0, 4, 1, 7), (5, 5, 2, 9)])).unwrap();
        assert!(contents.compare(&log(&[(5, 5, 1, 9)])).is_err());
        assert!(contents.compare(&log(&[(3, 3, 1, 7)])).is_err(), "part of another batch");
    }

    #[test]
    fn replicas_that_begin_at_different_offsets_are_compared_where_both_are() {
        let (long, short) = (log(&[(0, 4, 1, 7), (5, 5, 1, 8), (6, 9, 2, 1)]), log(&[(5, 5, 1, 8)]));
        assert_eq!(difference(&long, &short, &(0..6)), None);
        assert!(difference(&long, &short, &(0..10)).is_some());
        let other_in_front = log(&[(0, 4, 0, 6), (5, 5, 1, 8)]);
        assert!(difference(&long, &other_in_front, &(4..6)).is_some());
        assert_eq!(difference(&long, &other_in_front, &(5..6)), None, "what is deleted may be another thing");
    }
}
