//! From the records of a decision to batches in the partition.

use super::Io;
use crate::effects::Owner;
use crate::replica::{Replica, Waiter};
use base::{PartitionIndex, Timestamp};
use coordinator::group::codec::{Encoded, encode};
use coordinator::group::{Producer, Record};
use std::sync::Arc;
use wire::record::{BatchBuilder, BatchMeta, CheckedBatches, RecordFields};
use wire::{EncodeError, ErrorCode};

/// When replies may leave that rest on what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// At once: it is safe already, and so is all that was written before.
    Safe,
    /// When this ticket is.
    At(u64),
}

/// Appends records in as many batches as the partition's bound needs, and asks to be told when the last is safe.
///
/// # Errors
/// Kafka's code for what the partition said. Some batches may have been appended.
pub(super) fn append(
    replica: &Arc<Replica>,
    shard: PartitionIndex,
    records: &[Record],
    io: &mut Io<'_>,
) -> Result<Written, ErrorCode> {
    let bytes_max = replica.config().max_message_bytes as usize;
    let batches =
        batches(records, io.now.wall, bytes_max).map_err(|_too_long| ErrorCode::UnknownServerError)?;
    let mut written = Written::Safe;
    for batch in batches {
        let checked = CheckedBatches::from_broker(&batch).map_err(|_odd| ErrorCode::UnknownServerError)?;
        let ticket = io.ticket();
        let part = shard.0.unsigned_abs();
        let waiter = Waiter { owner: Owner::Groups, ticket, part };
        let appended = replica.append_own(&checked, io.now, waiter);
        let mut produced = appended.map_err(|error| code_of(error.code))?;
        io.shared.appended(replica, &mut produced, io.now, io.fx);
        written = if produced.waits { Written::At(ticket) } else { Written::Safe };
    }
    Ok(written)
}

/// What a member of a group is told when its coordinator cannot write.
pub(super) const fn code_of(code: ErrorCode) -> ErrorCode {
    if matches!(
        code,
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut
    ) {
        ErrorCode::CoordinatorNotAvailable
    } else if matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError) {
        ErrorCode::NotCoordinator
    } else {
        ErrorCode::UnknownServerError
    }
}

/// Batches of at most `bytes_max` bytes, unless one record is larger.
fn batches(records: &[Record], now: Timestamp, bytes_max: usize) -> Result<Vec<Vec<u8>>, EncodeError> {
    let mut packing = Packing { now, bytes_max, open: None, done: Vec::new() };
    for record in records {
        match encode(record)? {
            Encoded::Plain { key, value } => packing.add(None, &key, value.as_deref()),
            Encoded::Transactional { producer, key, value } => {
                packing.add(Some(producer), &key, Some(&value));
            }
            Encoded::Marker { producer, marker } => {
                packing.close();
                packing.done.push(marker.batch(producer.id.0, producer.epoch.0, now));
            }
        }
    }
    packing.close();
    Ok(packing.done)
}

struct Packing {
    now: Timestamp,
    bytes_max: usize,
    /// The batch being filled, and whose transaction it belongs to.
    open: Option<(Option<Producer>, BatchBuilder)>,
    done: Vec<Vec<u8>>,
}

impl Packing {
    fn add(&mut self, producer: Option<Producer>, key: &[u8], value: Option<&[u8]>) {
        let fields = RecordFields { timestamp: self.now.0, key: Some(key), value, headers: &[] };
        let fits = |(owner, batch): &(Option<Producer>, BatchBuilder)| {
            *owner == producer
                && batch.total_bytes() + BatchBuilder::record_bytes_max(&fields) <= self.bytes_max
        };
        if !self.open.as_ref().is_some_and(fits) {
            self.close();
        }
        let (_, batch) = self.open.get_or_insert_with(|| (producer, BatchBuilder::new(meta(producer))));
        batch.push(&fields);
    }

    fn close(&mut self) {
        self.done.extend(self.open.take().map(|(_, batch)| batch.finish()));
    }
}

fn meta(producer: Option<Producer>) -> BatchMeta {
    let Some(producer) = producer else { return BatchMeta::default() };
    BatchMeta {
        transactional: true,
        producer_id: producer.id.0,
        producer_epoch: producer.epoch.0,
        ..BatchMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coordinator::group::GroupId;

    fn tombstones(count: usize) -> Vec<Record> {
        let name = |at| GroupId::from(format!("group-{at}").as_str());
        (0..count).map(|at| Record::GroupMetadata { group: name(at), metadata: None }).collect()
    }

    #[test]
    fn records_are_cut_into_batches_within_the_bound() {
        let all = batches(&tombstones(100), Timestamp(7), 500).unwrap();
        assert!(all.len() > 1);
        let mut count = 0;
        for batch in &all {
            assert!(batch.len() <= 500, "{}", batch.len());
            count += CheckedBatches::from_broker(batch).unwrap().first().record_count;
        }
        assert_eq!(count, 100);
        assert_eq!(batches(&tombstones(100), Timestamp(7), 1 << 20).unwrap().len(), 1);
        assert!(batches(&[], Timestamp(7), 500).unwrap().is_empty());
    }

    #[test]
    fn a_record_beyond_the_bound_has_a_batch_of_its_own() {
        assert_eq!(batches(&tombstones(3), Timestamp(7), 1).unwrap().len(), 3);
    }
}
