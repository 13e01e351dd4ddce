//! How the transactions in a stretch of a log ended, from the markers in it.

use std::collections::BTreeMap;
use wire::record::{BatchHeader, EndTxn, EndTxnMarker};

/// The ends of transactions by producer, in offset order.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    ends: BTreeMap<i64, Vec<(i64, EndTxn)>>,
    /// First offset of the transaction of each producer that is open at the end.
    open: BTreeMap<i64, i64>,
}

impl Outcomes {
    /// Notes the next batch of the log.
    pub(super) fn note(&mut self, header: &BatchHeader, marker: Option<EndTxnMarker>) {
        if let Some(marker) = marker {
            self.open.remove(&header.producer_id);
            let ends = self.ends.entry(header.producer_id).or_default();
            ends.push((header.base_offset, marker.end));
        } else if header.attributes.is_transactional() {
            self.open.entry(header.producer_id).or_insert(header.base_offset);
        }
    }

    /// How far compaction may go: not into a transaction whose end was not seen.
    pub(super) fn bound(&self, bound: i64) -> i64 {
        self.open.values().copied().fold(bound, i64::min)
    }

    /// True if the batch belongs to a transaction that was aborted.
    pub(super) fn is_aborted(&self, header: &BatchHeader) -> bool {
        if !header.attributes.is_transactional() || header.attributes.is_control() {
            return false;
        }
        let Some(ends) = self.ends.get(&header.producer_id) else { return false };
        let after = ends.partition_point(|(offset, _)| *offset <= header.base_offset);
        ends.get(after).is_some_and(|(_, end)| *end == EndTxn::Abort)
    }
}
