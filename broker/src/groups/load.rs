//! Reading a shard back from its partition: a job, since the partition may be cold.
//!
//! Everything up to the log's end is read, safe or not: what a coordinator has written counts for the one that
//! follows it. Whether it is safe is for the owner to wait for.

use crate::replica::{Replica, codec_of};
use crate::scan::{ScanError, each_batch_of};
use base::{EndOffset, PartitionIndex, ProducerEpoch, ProducerId, hit};
use bytes::Bytes;
use coordinator::group::codec::{Decoded, decode};
use coordinator::group::{Hard, Producer, Record};
use std::sync::Arc;
use wire::record::{Batch, Compression, EndTxnMarker, Records};

/// What is to be loaded.
#[derive(Debug)]
pub struct Load {
    pub(crate) replica: Arc<Replica>,
    /// Which partition of the offsets topic it is.
    pub(crate) shard: PartitionIndex,
    /// Tells this load from earlier ones of the shard.
    pub(crate) number: u64,
}

/// A shard as its log has it.
#[derive(Debug)]
pub struct Loaded {
    pub(crate) hard: Hard,
    /// How far the log was read.
    pub(crate) end: EndOffset,
}

impl Load {
    /// Reads the whole partition. Waits for the device.
    pub(crate) fn run(&self) -> Result<Loaded, ScanError> {
        let (start, end) = self.replica.extent();
        let plain_max = u64::from(self.replica.config().max_decompressed_bytes);
        let mut hard = Hard::default();
        let read = |from| self.replica.slice(from, end);
        each_batch_of(read, start, end, |batch| load_batch(batch, plain_max, &mut hard))?;
        Ok(Loaded { hard, end })
    }
}

fn load_batch(batch: &Batch<'_>, plain_max: u64, hard: &mut Hard) -> Result<(), ScanError> {
    let header = batch.header();
    let wrong = |text: String| {
        ScanError::Content(format!("the batch at offset {} cannot be read: {text}", header.base_offset))
    };
    let producer = header.attributes.is_transactional().then_some(Producer {
        id: ProducerId(header.producer_id),
        epoch: ProducerEpoch(header.producer_epoch),
    });
    let compression = header.attributes.compression().map_err(ScanError::Batch)?;
    let plain;
    let payload = if compression == Compression::None {
        batch.payload()
    } else {
        plain = codec::decompress(codec_of(compression), batch.payload(), plain_max)
            .map_err(|error| wrong(error.to_string()))?;
        &plain
    };
    for record in Records::new(payload, header.record_count) {
        let record = record.map_err(|error| wrong(error.to_string()))?;
        if header.attributes.is_control() {
            let marker = EndTxnMarker::parse(&record);
            if let (Some(producer), Some(marker)) = (producer, marker) {
                hard.replay(&Record::TransactionEnd { producer, marker });
            }
            continue;
        }
        let key = record.key.ok_or_else(|| wrong("a record has no key".into()))?;
        let value = record.value.map(Bytes::copy_from_slice);
        match decode(Bytes::copy_from_slice(key), value, producer) {
            Ok(Decoded::Record(record)) => hard.replay(&record),
            Ok(Decoded::Foreign { .. }) => hit!(foreign_group_record_skipped),
            Err(error) => return Err(wrong(format!("{error:?}"))),
        }
    }
    Ok(())
}
