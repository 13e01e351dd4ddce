//! Transaction markers: the one record of a control batch that ends a transaction (KIP-98).

use super::build::{BatchBuilder, BatchMeta, RecordFields};
use super::walk::Record;
use alloc::vec::Vec;
use base::Timestamp;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndTxn {
    /// What it wrote is to be skipped.
    Abort,
    /// What it wrote counts.
    Commit,
}

/// A transaction marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTxnMarker {
    /// Commit or abort.
    pub end: EndTxn,
    /// Epoch of the coordinator that decided.
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    /// The marker in a control record; `None` for other control records and for malformed ones.
    #[must_use]
    pub fn parse(record: &Record<'_>) -> Option<Self> {
        let (_version, kind) = record.key?.split_first_chunk::<2>()?;
        let end = match i16::from_be_bytes(*kind.first_chunk()?) {
            0 => EndTxn::Abort,
            1 => EndTxn::Commit,
            _ => return None,
        };
        let (_version, epoch) = record.value?.split_first_chunk::<2>()?;
        Some(Self { end, coordinator_epoch: i32::from_be_bytes(*epoch.first_chunk()?) })
    }

    /// The control batch of this marker for a producer.
    #[must_use]
    pub fn batch(self, producer_id: i64, producer_epoch: i16, now: Timestamp) -> Vec<u8> {
        let kind: i16 = match self.end {
            EndTxn::Abort => 0,
            EndTxn::Commit => 1,
        };
        let key = [[0, 0], kind.to_be_bytes()].concat();
        let value = [&[0, 0][..], &self.coordinator_epoch.to_be_bytes()].concat();
        let mut builder = BatchBuilder::new(BatchMeta {
            transactional: true,
            control: true,
            producer_id,
            producer_epoch,
            ..BatchMeta::default()
        });
        builder.push(&RecordFields {
            timestamp: now.0,
            key: Some(&key),
            value: Some(&value),
            ..RecordFields::default()
        });
        builder.finish()
    }
}
