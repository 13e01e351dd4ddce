//! Readers: from the beginning of a partition to its end, always looking whether what they read may be there.

use super::{Awaited, Client, Role, version, version_up_to};
use crate::client::route::{FETCH_WITH_EPOCHS, FETCH_WITH_RACKS};
use crate::history::{History, Partition, Trimmed, base_name};
use base::Rng;
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::ErrorCode;
use wire::fetch::{FetchPartition, FetchRequest, FetchTopic};
use wire::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use wire::record::parse_batches;

/// What a reader knew when it asked.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) partition: Partition,
    pub(super) era: u32,
    pub(super) trimmed: Trimmed,
}

/// Where a reader stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) next: i64,
    /// Where the partition was said to begin.
    pub(super) start: i64,
    pub(super) found: BTreeMap<i64, u64>,
    pub(super) caught_up: bool,
    /// It has to ask where the partition begins.
    pub(super) is_lost: bool,
    /// It was refused, or noticed itself, what is damaged.
    pub(super) was_told: bool,
    /// It reads from a replica that its leader has sent it to, which need not have all that there is.
    pub(super) is_near: bool,
    pub(super) era: u32,
}

impl Client {
    pub(super) fn read(
        &mut self,
        rng: &mut Rng,
        history: &History,
        partition: Partition,
        reader: &Place,
    ) -> Option<Bytes> {
        let era = history.era(&partition.0);
        if era != reader.era
            && let Role::Consumer { reader, .. } = &mut self.role
        {
            *reader = Place { era, ..Place::default() };
        }
        let next = if era == reader.era { reader.next } else { 0 };
        let trimmed = history.trimmed(&partition);
        let is_lost = era == reader.era && reader.is_lost;
        let reading = Reading { partition, era, trimmed };
        if is_lost { self.ask_start(rng, reading) } else { self.fetch(rng, reading, next) }
    }

    fn ask_start(&mut self, rng: &mut Rng, reading: Reading) -> Option<Bytes> {
        const EARLIEST: i64 = -2;
        let part = ListOffsetsPartition {
            partition_index: reading.partition.1,
            current_leader_epoch: -1,
            timestamp: EARLIEST,
            ..Default::default()
        };
        let topic = ListOffsetsTopic {
            name: base_name(&reading.partition.0).into(),
            partitions: vec![part],
            ..Default::default()
        };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        self.frame(version::<ListOffsetsRequest>(rng, 1), &request, Awaited::Earliest(reading))
    }

    fn fetch(&mut self, rng: &mut Rng, reading: Reading, next: i64) -> Option<Bytes> {
        let partition = reading.partition.clone();
        let part = FetchPartition {
            partition: partition.1,
            current_leader_epoch: -1,
            fetch_offset: next,
            last_fetched_epoch: -1,
            partition_max_bytes: i32::try_from(rng.between(1, 1 << 20)).unwrap_or(1),
            ..Default::default()
        };
        let topic = FetchTopic {
            topic: base_name(&partition.0).into(),
            topic_id: self.route.topic_id(),
            partitions: vec![part],
            ..Default::default()
        };
        let mut request = FetchRequest {
            replica_id: -1,
            max_wait_ms: i32::try_from(rng.between(0, 200)).unwrap_or(0),
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        };
        // From version 13 on topics are named by their ids.
        let version = match &self.rack {
            _ if !self.route.topic_id().is_zero() => version::<FetchRequest>(rng, 13),
            Some(_) => version_up_to::<FetchRequest>(rng, FETCH_WITH_RACKS, 12),
            None => version_up_to::<FetchRequest>(rng, 4, 12),
        };
        request.rack_id = self.rack.as_deref().unwrap_or_default().into();
        if version >= FETCH_WITH_EPOCHS {
            request.topics[0].partitions[0].current_leader_epoch = self.route.epoch();
        }
        self.frame(version, &request, Awaited::Fetch(reading))
    }

    /// Another replica stands in its rack.
    pub(super) fn sent_nearer(&mut self, replica: i32) -> Result<(), String> {
        let Role::Consumer { reader, .. } = &mut self.role else { return Ok(()) };
        (reader.caught_up, reader.is_near) = (false, true);
        self.route.is_sent_to(replica)
    }

    /// The partition begins there.
    pub(super) fn start_at(&mut self, offset: i64) {
        let Role::Consumer { reader, .. } = &mut self.role else { return };
        reader.found.retain(|found, _| *found >= offset);
        (reader.start, reader.next, reader.is_lost) = (offset, offset, false);
    }

    pub(super) fn fetched(
        &mut self,
        reading: &Reading,
        code: i16,
        records: &Bytes,
        history: &mut History,
    ) -> Result<(), String> {
        let Role::Consumer { reader, .. } = &mut self.role else { return Ok(()) };
        let partition = &reading.partition;
        if reading.era != history.era(&partition.0) {
            return Ok(());
        }
        let is_of_leader = code == ErrorCode::OffsetOutOfRange.code() && !reader.is_near;
        if self.route.is_in_cluster() && code != 0 && !is_of_leader {
            reader.is_near = false;
            // Whoever leads now knows more; what was read stays read.
            reader.caught_up = false;
            self.route.lose();
            return Ok(());
        }
        let is_damaged = history.is_damaged(partition);
        let is_refused = is_damaged && code != 0 && code != ErrorCode::OffsetOutOfRange.code();
        reader.caught_up = if code == 0 { records.is_empty() } else { is_refused };
        reader.was_told |= is_refused;
        if code != 0 {
            // After a crash a volatile topic may be shorter than before: start over.
            reader.is_lost = true;
            reader.found.clear();
            return Ok(());
        }
        let mut moved = false;
        for batch in parse_batches(records) {
            // The last batch may be cut short.
            let Ok(batch) = batch else {
                if is_damaged && !moved {
                    (reader.caught_up, reader.was_told) = (true, true);
                }
                break;
            };
            match batch.check_crc() {
                Ok(()) => {}
                // The client notices: that is what the checksum is for.
                Err(_) if is_damaged => {
                    (reader.caught_up, reader.was_told) = (true, true);
                    return Ok(());
                }
                Err(error) => return Err(format!("{partition:?}: a batch with a wrong CRC: {error:?}")),
            }
            for record in wire::record::Records::new(batch.payload(), batch.header().record_count) {
                let record = record.map_err(|error| format!("{partition:?}: {error:?}"))?;
                let key = record.key.and_then(|key| key.try_into().ok());
                let value = u64::from_be_bytes(key.ok_or("a record without its key")?);
                let offset = batch.header().base_offset + i64::from(record.offset_delta);
                if offset < reader.next {
                    continue;
                }
                if offset < reading.trimmed.acked {
                    return Err(format!("{partition:?}: {offset} was deleted and is read again"));
                }
                if offset != reader.next && !history.traits(&partition.0).is_compacted {
                    return Err(format!("{partition:?}: who asks for {} reads {offset}", reader.next));
                }
                history.saw(partition, offset, value)?;
                reader.found.insert(offset, value);
                reader.next = offset + 1;
                moved = true;
            }
            // Compaction may have left no record at the batch's end, or none at all.
            let end = batch.header().base_offset + i64::from(batch.header().last_offset_delta) + 1;
            reader.next = reader.next.max(end);
        }
        Ok(())
    }
}
