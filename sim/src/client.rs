//! Simulated clients: they speak encoded frames, keep a record of what they were told, and never trust it.

use crate::group::Participant;
use crate::history::{Fate, History, Partition};
use base::{Rng, Timestamp};
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use wire::fetch::{FetchPartition, FetchRequest, FetchTopic};
use wire::init_producer_id::InitProducerIdRequest;
use wire::metadata::MetadataRequest;
use wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::record::{BatchBuilder, BatchMeta, RecordFields, parse_batches};
use wire::{ApiKey, ErrorCode, Message, Reader, Records, Request, Str};

/// What a client waits for.
#[derive(Clone, Debug)]
enum Awaited {
    Create { topic: String, partitions: i32, flushed: bool },
    Metadata { known: Vec<(String, i32)> },
    InitProducer,
    Produce { partition: Partition, values: Vec<u64>, sequence: i32 },
    Fetch { partition: Partition },
    Group,
}

/// What a client is.
#[derive(Clone, Debug)]
enum Role {
    /// Creates topics and asks for metadata.
    Admin { topics: u32 },
    /// Sends values to one partition, again and again until they are acknowledged.
    Producer { partition: Partition, id: Option<(i64, i16)>, sequence: i32, again: Option<(Vec<u64>, i32)> },
    /// Reads one partition from its beginning.
    Consumer { partition: Partition, next: i64, found: BTreeMap<i64, u64>, caught_up: bool },
    /// Takes part in a consumer group, or commits offsets.
    Group(Box<Participant>),
}

/// One client and its connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) name: u64,
    role: Role,
    awaited: Option<(i32, i16, Awaited)>,
    correlation: i32,
    /// True while the client may send nothing: its connection is gone.
    pub(crate) connected: bool,
}

/// The versions that this client speaks: one of those served, drawn per request.
pub(crate) fn version<R: Request>(rng: &mut Rng, least: i16) -> i16 {
    let (low, high) = (least.max(*R::VERSIONS.start()), *R::VERSIONS.end());
    i16::try_from(rng.between(low.unsigned_abs().into(), high.unsigned_abs().into())).unwrap_or(high)
}

impl Client {
    pub(crate) fn admin(name: u64) -> Self {
        Self::new(name, Role::Admin { topics: 0 })
    }

    pub(crate) fn producer(name: u64, partition: Partition) -> Self {
        Self::new(name, Role::Producer { partition, id: None, sequence: 0, again: None })
    }

    pub(crate) fn consumer(name: u64, partition: Partition) -> Self {
        Self::new(name, Role::Consumer { partition, next: 0, found: BTreeMap::new(), caught_up: false })
    }

    pub(crate) fn participant(name: u64, participant: Participant) -> Self {
        Self::new(name, Role::Group(Box::new(participant)))
    }

    const fn new(name: u64, role: Role) -> Self {
        Self { name, role, awaited: None, correlation: 0, connected: false }
    }

    /// True when the client has asked something and not heard yet.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.awaited.is_some()
    }

    /// True once a consumer was told that there is nothing more, or an auditor what is committed.
    pub(crate) fn has_caught_up(&self) -> bool {
        match &self.role {
            Role::Consumer { caught_up, .. } => *caught_up,
            Role::Group(participant) => participant.is_done(),
            Role::Admin { .. } | Role::Producer { .. } => false,
        }
    }

    /// What a consumer has found.
    pub(crate) fn found(&self) -> Option<(&Partition, i64, &BTreeMap<i64, u64>)> {
        match &self.role {
            Role::Consumer { partition, next, found, .. } => Some((partition, *next, found)),
            Role::Admin { .. } | Role::Producer { .. } | Role::Group(_) => None,
        }
    }

    /// The connection is gone: what was under way may or may not have happened.
    pub(crate) fn disconnected(&mut self, history: &mut History) {
        self.connected = false;
        if let Role::Group(participant) = &mut self.role {
            participant.disconnected(&mut history.promises);
        }
        if let (Some((_, _, Awaited::Produce { values, sequence, .. })), Role::Producer { again, .. }) =
            (self.awaited.take(), &mut self.role)
        {
            // An idempotent producer sends the same batch again under the same sequence.
            *again = Some((values, sequence));
        }
    }

    /// The next request, as a frame without its size.
    pub(crate) fn next_request(
        &mut self,
        rng: &mut Rng,
        now: Timestamp,
        history: &mut History,
    ) -> Option<Bytes> {
        if !self.connected || self.awaited.is_some() {
            return None;
        }
        if let Role::Group(participant) = &mut self.role {
            self.correlation += 1;
            let (version, frame) = participant.ask(rng, &mut history.promises, self.correlation);
            self.awaited = Some((self.correlation, version, Awaited::Group));
            return Some(frame);
        }
        match self.role.clone() {
            Role::Group(_) => None,
            Role::Admin { topics } => self.ask_admin(rng, history, topics),
            Role::Producer { partition, id: None, .. } => {
                let _ = partition;
                let request = InitProducerIdRequest { transactional_id: None, ..Default::default() };
                let version = i16::try_from(rng.between(0, 4)).unwrap_or(0);
                self.frame(version, &request, Awaited::InitProducer)
            }
            Role::Producer { partition, id: Some(id), sequence, again } => {
                let (values, sequence) = again.unwrap_or_else(|| (fresh_values(rng), sequence));
                self.produce((rng, now), history, &partition, id, (values, sequence))
            }
            Role::Consumer { partition, next, .. } => self.fetch(rng, partition, next),
        }
    }

    fn ask_admin(&mut self, rng: &mut Rng, history: &History, topics: u32) -> Option<Bytes> {
        if topics >= 4 || rng.chance(1, 2) {
            let request = MetadataRequest { topics: None, ..Default::default() };
            // What is known now must be in an answer that is yet to come.
            let known = history.topics().map(|(name, partitions)| (name.clone(), partitions)).collect();
            return self.frame(version::<MetadataRequest>(rng, 1), &request, Awaited::Metadata { known });
        }
        let name = format!("t{}-{topics}", self.name);
        // The same topic is asked for in the same way, however often the answer is lost.
        let mut same = Rng::new(self.name * 1_000 + u64::from(topics));
        let partitions = i32::try_from(same.between(1, 3)).unwrap_or(1);
        let flushed = same.chance(3, 4);
        let mut configs = vec![config("segment.bytes", "1048576")];
        if !flushed {
            configs.push(config("flush.messages", "9223372036854775807"));
        }
        let topic = CreatableTopic {
            name: name.as_str().into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
        let awaited = Awaited::Create { topic: name, partitions, flushed };
        self.frame(version::<CreateTopicsRequest>(rng, 2), &request, awaited)
    }

    fn produce(
        &mut self,
        (rng, now): (&mut Rng, Timestamp),
        history: &mut History,
        partition: &Partition,
        id: (i64, i16),
        (values, sequence): (Vec<u64>, i32),
    ) -> Option<Bytes> {
        for value in &values {
            history.sent(partition, *value);
        }
        let meta = BatchMeta {
            producer_id: id.0,
            producer_epoch: id.1,
            base_sequence: sequence,
            ..BatchMeta::default()
        };
        let mut batch = BatchBuilder::new(meta);
        let padding = vec![b'x'; rng.index(2_000)];
        for value in &values {
            let key = value.to_be_bytes();
            let (key, value) = (Some(&key[..]), Some(&padding[..]));
            batch.push(&RecordFields { timestamp: now.0, key, value, ..RecordFields::default() });
        }
        let data = PartitionProduceData {
            index: partition.1,
            records: Some(Records::Bytes(batch.finish().into())),
            ..Default::default()
        };
        let topic = TopicProduceData {
            name: partition.0.as_str().into(),
            partition_data: vec![data],
            ..Default::default()
        };
        let request =
            ProduceRequest { acks: -1, timeout_ms: 5_000, topic_data: vec![topic], ..Default::default() };
        // From version 13 on topics are named by id, which this client does not keep.
        let version = i16::try_from(rng.between(3, 12)).unwrap_or(3);
        self.frame(version, &request, Awaited::Produce { partition: partition.clone(), values, sequence })
    }

    fn fetch(&mut self, rng: &mut Rng, partition: Partition, next: i64) -> Option<Bytes> {
        let part = FetchPartition {
            partition: partition.1,
            current_leader_epoch: -1,
            fetch_offset: next,
            last_fetched_epoch: -1,
            partition_max_bytes: i32::try_from(rng.between(1, 1 << 20)).unwrap_or(1),
            ..Default::default()
        };
        let topic =
            FetchTopic { topic: partition.0.as_str().into(), partitions: vec![part], ..Default::default() };
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: i32::try_from(rng.between(0, 200)).unwrap_or(0),
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        };
        let version = i16::try_from(rng.between(4, 12)).unwrap_or(4);
        self.frame(version, &request, Awaited::Fetch { partition })
    }

    fn frame<R: Request>(&mut self, version: i16, request: &R, awaited: Awaited) -> Option<Bytes> {
        self.correlation += 1;
        self.awaited = Some((self.correlation, version, awaited));
        Some(encode(self.correlation, version, request))
    }

    /// Takes a reply (without its size) and checks it against the history.
    pub(crate) fn reply(&mut self, frame: Bytes, history: &mut History) -> Result<(), String> {
        let Some((correlation, version, awaited)) = self.awaited.take() else {
            return Err(format!("client {} got a reply that it did not ask for", self.name));
        };
        let mut reader = Reader::new(frame);
        match awaited {
            Awaited::Create { topic, partitions, flushed } => {
                let reply = body::<CreateTopicsRequest>(&mut reader, correlation, version)?;
                self.created(&topic, partitions, flushed, reply.topics[0].error_code, history);
                Ok(())
            }
            Awaited::Metadata { known } => {
                check_metadata(&body::<MetadataRequest>(&mut reader, correlation, version)?, &known)
            }
            Awaited::InitProducer => {
                let reply = body::<InitProducerIdRequest>(&mut reader, correlation, version)?;
                if let Role::Producer { id, sequence, again, .. } = &mut self.role
                    && reply.error_code == 0
                {
                    *id = Some((reply.producer_id, reply.producer_epoch));
                    *sequence = 0;
                    *again = None;
                }
                Ok(())
            }
            Awaited::Produce { partition, values, sequence } => {
                let reply = body::<ProduceRequest>(&mut reader, correlation, version)?;
                let part = &reply.responses[0].partition_responses[0];
                self.produced(&partition, values, sequence, (part.error_code, part.base_offset), history)
            }
            Awaited::Group => match &mut self.role {
                Role::Group(participant) => {
                    participant.heard(&mut reader, (correlation, version), &mut history.promises)
                }
                Role::Admin { .. } | Role::Producer { .. } | Role::Consumer { .. } => Ok(()),
            },
            Awaited::Fetch { partition } => {
                let reply = body::<FetchRequest>(&mut reader, correlation, version)?;
                let part = &reply.responses[0].partitions[0];
                let Some(Records::Bytes(records)) = &part.records else { return Ok(()) };
                self.fetched(&partition, part.error_code, records, history)
            }
        }
    }

    fn created(&mut self, topic: &str, partitions: i32, flushed: bool, code: i16, history: &mut History) {
        if code == 0 || code == ErrorCode::TopicAlreadyExists.code() {
            history.topic_created(topic, partitions, flushed);
            if let Role::Admin { topics } = &mut self.role {
                *topics += 1;
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "Kafka's codes are many; all but these are findings")]
    fn produced(
        &mut self,
        partition: &Partition,
        values: Vec<u64>,
        sent_sequence: i32,
        (code, base): (i16, i64),
        history: &mut History,
    ) -> Result<(), String> {
        let Role::Producer { id, sequence, again, .. } = &mut self.role else { return Ok(()) };
        let code = ErrorCode::from_code(code);
        match code {
            ErrorCode::None => {
                for (offset, value) in (base..).zip(&values) {
                    history.decided(partition, *value, Fate::Acked(offset));
                }
                *sequence = sent_sequence + i32::try_from(values.len()).unwrap_or(0);
                *again = None;
                Ok(())
            }
            // On a topic that promises little the window may be lost with the records: begin anew.
            ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId => {
                *id = None;
                *again = None;
                Ok(())
            }
            ErrorCode::RequestTimedOut
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::KafkaStorageError
            | ErrorCode::UnknownTopicOrPartition => {
                *again = Some((values, sent_sequence));
                Ok(())
            }
            _ => Err(format!("client {}: produce to {partition:?} refused with {code}", self.name)),
        }
    }

    fn fetched(
        &mut self,
        partition: &Partition,
        code: i16,
        records: &Bytes,
        history: &mut History,
    ) -> Result<(), String> {
        let Role::Consumer { next, found, caught_up, .. } = &mut self.role else { return Ok(()) };
        *caught_up = code == 0 && records.is_empty();
        if code != 0 {
            // After a crash a volatile topic may be shorter than before: start over.
            *next = 0;
            found.clear();
            return Ok(());
        }
        for batch in parse_batches(records) {
            // The last batch may be cut short.
            let Ok(batch) = batch else { break };
            batch
                .check_crc()
                .map_err(|error| format!("{partition:?}: a batch with a wrong CRC: {error:?}"))?;
            for record in wire::record::Records::new(batch.payload(), batch.header().record_count) {
                let record = record.map_err(|error| format!("{partition:?}: {error:?}"))?;
                let key = record.key.and_then(|key| key.try_into().ok());
                let value = u64::from_be_bytes(key.ok_or("a record without its key")?);
                let offset = batch.header().base_offset + i64::from(record.offset_delta);
                if offset < *next {
                    continue;
                }
                history.saw(partition, offset, value)?;
                found.insert(offset, value);
                *next = offset + 1;
            }
        }
        Ok(())
    }
}

/// A request as a frame without its size.
pub(crate) fn encode<R: Request>(correlation: i32, version: i16, request: &R) -> Bytes {
    let client: Str = "sim".into();
    let encoded = wire::encode_request(correlation, Some(&client), version, request);
    encoded.expect("the simulator sends what its version can say").bytes.slice(wire::frame::SIZE_BYTES..)
}

fn config(name: &str, value: &str) -> CreatableTopicConfig {
    CreatableTopicConfig { name: name.into(), value: Some(value.into()), ..Default::default() }
}

fn fresh_values(rng: &mut Rng) -> Vec<u64> {
    (0..rng.between(1, 5)).map(|_| rng.next_u64()).collect()
}

pub(crate) fn body<R: Request>(
    reader: &mut Reader,
    correlation: i32,
    version: i16,
) -> Result<R::Response, String> {
    let got = wire::decode_response_head(reader, R::KEY, version).map_err(|error| format!("{error:?}"))?;
    if got != correlation {
        return Err(format!("asked {correlation}, answered {got}: replies out of order"));
    }
    let response = R::Response::decode(reader, version);
    response.map_err(|error| {
        format!("a {} response of version {version} cannot be read: {error:?}", R::KEY.name())
    })
}

fn check_metadata(reply: &wire::metadata::MetadataResponse, known: &[(String, i32)]) -> Result<(), String> {
    for (name, partitions) in known {
        let found = reply.topics.iter().find(|topic| topic.name.as_ref().is_some_and(|n| n.as_str() == name));
        let Some(found) = found else {
            return Err(format!("the topic {name} was created and is not in the metadata"));
        };
        if i32::try_from(found.partitions.len()) != Ok(*partitions) {
            return Err(format!(
                "the topic {name} has {} partitions instead of {partitions}",
                found.partitions.len()
            ));
        }
    }
    Ok(())
}

/// Names what the frame of a request is, for the trace.
pub(crate) fn describe(frame: &[u8]) -> String {
    let key = frame.first_chunk::<2>().map(|key| i16::from_be_bytes(*key));
    let name = key.and_then(|key| ApiKey::try_from(key).ok()).map_or("?", ApiKey::name);
    format!("{name} ({} bytes)", frame.len())
}
