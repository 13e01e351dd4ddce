//! The latest offset of each key. Keys are kept whole: a hash that collides would delete data.

use std::collections::BTreeMap;
use wire::record::{BatchHeader, Records};

/// What an entry takes besides its key, about.
const ENTRY_BYTES: usize = 64;

#[derive(Debug)]
pub(super) struct LatestKeys {
    latest: BTreeMap<Box<[u8]>, i64>,
    /// Everything before this offset has been looked at.
    end: i64,
    used: usize,
    memory: usize,
}

impl LatestKeys {
    pub(super) const fn new(from: i64, memory: usize) -> Self {
        Self { latest: BTreeMap::new(), end: from, used: 0, memory }
    }

    /// Where the looking ended.
    pub(super) const fn end(&self) -> i64 {
        self.end
    }

    /// A batch without keys that count.
    pub(super) const fn pass(&mut self, end: i64) {
        self.end = end;
    }

    /// Notes the keys of a batch; false if memory is used up: then the batch does not count.
    pub(super) fn note(&mut self, header: &BatchHeader, records: &[u8]) -> bool {
        let keyed = || {
            let records = Records::new(records, header.record_count).map_while(Result::ok);
            records
                .filter_map(|record| Some((record.key?, header.base_offset + i64::from(record.offset_delta))))
        };
        let new = |(key, _): &(&[u8], i64)| !self.latest.contains_key(*key);
        let needed: usize = keyed().filter(new).map(|(key, _)| key.len() + ENTRY_BYTES).sum();
        if self.used + needed > self.memory && !self.latest.is_empty() {
            return false;
        }
        self.used += needed;
        for (key, offset) in keyed() {
            match self.latest.get_mut(key) {
                Some(latest) => *latest = offset,
                None => _ = self.latest.insert(key.into(), offset),
            }
        }
        self.end = header.end_offset().0;
        true
    }

    /// True if a later record has the same key.
    pub(super) fn is_void(&self, key: &[u8], offset: i64) -> bool {
        self.latest.get(key).is_some_and(|latest| *latest > offset)
    }
}
