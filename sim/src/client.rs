//! Simulated clients: they speak encoded frames, keep a record of what they were told, and never trust it.

mod reader;
mod route;

use reader::{Place, Reading};
pub(crate) use route::Route;

use crate::admin::Admin;
use crate::group::Participant;
use crate::history::{History, Partition, base_name};
use crate::operator::Operator;
use crate::world::layout::Layout;
use base::{Instant, Rng, Timestamp, Uuid};
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::fetch::FetchRequest;
use wire::init_producer_id::InitProducerIdRequest;
use wire::list_offsets::ListOffsetsRequest;
use wire::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::record::{BatchBuilder, BatchMeta, RecordFields};
use wire::{ApiKey, ErrorCode, Message, Records, Request, Str};

/// What a client waits for.
#[derive(Clone, Debug)]
enum Awaited {
    InitProducer,
    /// Who leads.
    Leader(Partition),
    /// In which life of the topic it was sent.
    Produce {
        partition: Partition,
        era: u32,
        values: Vec<u64>,
        sequence: i32,
    },
    Fetch(Reading),
    Earliest(Reading),
    Admin,
    Group,
    Operator,
}

/// What a client is.
#[derive(Clone, Debug)]
enum Role {
    /// Creates topics, changes them, deletes them.
    Admin(Box<Admin>),
    /// Sends values to one partition, again and again until they are acknowledged.
    Producer { partition: Partition, id: Option<(i64, i16)>, sequence: i32, again: Option<(Vec<u64>, i32)> },
    /// Reads one partition from its beginning.
    Consumer { partition: Partition, reader: Place },
    /// Takes part in a consumer group, or commits offsets.
    Group(Box<Participant>),
    /// Gives nodes that have lost their disks their votes back.
    Operator(Operator),
}

/// One client and its connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) name: u64,
    role: Role,
    awaited: Option<(i32, i16, Awaited)>,
    correlation: i32,
    padding: usize,
    /// True while the client may send nothing: its connection is gone.
    pub(crate) connected: bool,
    /// When it may ask something next.
    pub(crate) acts_at: Option<Instant>,
    pub(crate) route: Route,
    /// Where it stands, if it says so.
    rack: Option<String>,
}

/// The versions that this client speaks: one of those served, drawn per request.
pub(crate) fn version<R: Request>(rng: &mut Rng, least: i16) -> i16 {
    let (low, high) = (least.max(*R::VERSIONS.start()), *R::VERSIONS.end());
    i16::try_from(rng.between(low.unsigned_abs().into(), high.unsigned_abs().into())).unwrap_or(high)
}

/// The same, of those that are not later than `most`.
fn version_up_to<R: Request>(rng: &mut Rng, least: i16, most: i16) -> i16 {
    let most = most.min(*R::VERSIONS.end());
    i16::try_from(rng.between(least.unsigned_abs().into(), most.unsigned_abs().into())).unwrap_or(most)
}

impl Client {
    pub(crate) fn admin(name: u64, trims: bool, topics: Option<u32>) -> Self {
        Self::new(name, Role::Admin(Box::new(Admin::new(name, trims, topics))))
    }

    /// A producer of records whose values have fewer than `padding` bytes.
    pub(crate) fn producer(name: u64, partition: Partition, padding: usize) -> Self {
        let role = Role::Producer { partition, id: None, sequence: 0, again: None };
        Self { padding, ..Self::new(name, role) }
    }

    pub(crate) fn consumer(name: u64, partition: Partition) -> Self {
        Self::new(name, Role::Consumer { partition, reader: Place::default() })
    }

    pub(crate) fn participant(name: u64, participant: Participant) -> Self {
        Self::new(name, Role::Group(Box::new(participant)))
    }

    pub(crate) const fn operator(name: u64) -> Self {
        Self::new(name, Role::Operator(Operator::new()))
    }

    const fn new(name: u64, role: Role) -> Self {
        let (route, rack) = (Route::new(1, 0, 0), None);
        Self {
            name,
            role,
            awaited: None,
            correlation: 0,
            padding: 1,
            connected: false,
            acts_at: None,
            route,
            rack,
        }
    }

    /// The same client, standing there.
    pub(crate) fn in_rack(self, rack: Option<String>) -> Self {
        Self { rack, ..self }
    }

    /// The same client in a cluster of that layout, where partitions have so many replicas.
    pub(crate) fn among(self, layout: &Layout, replicas: i16) -> Self {
        let at = usize::try_from(self.name).unwrap_or(0);
        let mut among = Self { route: Route::new(layout.nodes, layout.first_broker(), at), ..self };
        if let Role::Group(participant) = &mut among.role {
            participant.is_in_cluster = among.route.is_in_cluster();
            participant.replicas = replicas;
        }
        among
    }

    /// The partition that it writes or reads.
    pub(crate) const fn partition(&self) -> Option<&Partition> {
        match &self.role {
            Role::Producer { partition, .. } | Role::Consumer { partition, .. } => Some(partition),
            Role::Admin(_) | Role::Group(_) | Role::Operator(_) => None,
        }
    }

    /// True while it looks for the node that it has to ask.
    pub(crate) const fn is_looking(&self) -> bool {
        self.route.is_lost() && !matches!(self.role, Role::Admin(_) | Role::Operator(_))
    }

    /// The number of its latest request.
    pub(crate) const fn correlation(&self) -> i32 {
        self.correlation
    }

    /// True when the client has asked something and not heard yet.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.awaited.is_some()
    }

    /// True once a consumer was told that there is nothing more, or an auditor what is committed.
    pub(crate) fn has_caught_up(&self) -> bool {
        match &self.role {
            Role::Consumer { reader, .. } => reader.caught_up,
            Role::Group(participant) => participant.is_done(),
            Role::Admin(_) | Role::Producer { .. } | Role::Operator(_) => false,
        }
    }

    /// Where a consumer's partition begins, and what it has found there.
    pub(crate) fn found(&self) -> Option<(&Partition, i64, &BTreeMap<i64, u64>)> {
        match &self.role {
            Role::Consumer { partition, reader } => Some((partition, reader.start, &reader.found)),
            Role::Admin(_) | Role::Producer { .. } | Role::Group(_) | Role::Operator(_) => None,
        }
    }

    /// True if a consumer knows that what it has is not all.
    pub(crate) const fn was_told(&self) -> bool {
        matches!(&self.role, Role::Consumer { reader, .. } if reader.was_told)
    }

    /// The connection is gone: what was under way may or may not have happened.
    pub(crate) fn disconnected(&mut self, history: &mut History) {
        self.connected = false;
        self.route.disconnected();
        match &mut self.role {
            Role::Group(participant) => participant.disconnected(&mut history.promises),
            Role::Admin(admin) => admin.disconnected(),
            Role::Operator(operator) => operator.disconnected(),
            Role::Producer { .. } | Role::Consumer { .. } => {}
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
            let is_lost = self.route.is_lost();
            let (version, frame) = participant.ask(rng, &mut history.promises, self.correlation, is_lost);
            self.awaited = Some((self.correlation, version, Awaited::Group));
            return Some(frame);
        }
        if let Role::Admin(admin) = &mut self.role {
            self.correlation += 1;
            let (version, frame) = admin.ask(rng, history, self.correlation);
            self.awaited = Some((self.correlation, version, Awaited::Admin));
            return Some(frame);
        }
        if let Role::Operator(operator) = &mut self.role {
            self.correlation += 1;
            let (version, frame) = operator.ask(rng, self.correlation);
            self.awaited = Some((self.correlation, version, Awaited::Operator));
            return Some(frame);
        }
        if self.route.is_lost()
            && let Some(partition) = self.partition().cloned()
        {
            return self.look_for_leader(rng, history, partition);
        }
        match self.role.clone() {
            Role::Group(_) | Role::Admin(_) | Role::Operator(_) => None,
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
            Role::Consumer { partition, reader } => self.read(rng, history, partition, &reader),
        }
    }

    fn look_for_leader(&mut self, rng: &mut Rng, history: &History, partition: Partition) -> Option<Bytes> {
        let topic = MetadataRequestTopic {
            name: Some(base_name(&partition.0).into()),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        // From version 10 on the answer has the topic's id.
        let least = if history.has_lives(&partition.0) { 10 } else { 4 };
        self.frame(version::<MetadataRequest>(rng, least), &request, Awaited::Leader(partition))
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
        let padding = vec![b'x'; rng.index(self.padding)];
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
            name: base_name(&partition.0).into(),
            topic_id: self.route.topic_id(),
            partition_data: vec![data],
            ..Default::default()
        };
        let request =
            ProduceRequest { acks: -1, timeout_ms: 5_000, topic_data: vec![topic], ..Default::default() };
        // From version 13 on topics are named by their ids.
        let version = if self.route.topic_id().is_zero() {
            version_up_to::<ProduceRequest>(rng, 3, 12)
        } else {
            version::<ProduceRequest>(rng, 13)
        };
        let era = history.era(&partition.0);
        let awaited = Awaited::Produce { partition: partition.clone(), era, values, sequence };
        self.frame(version, &request, awaited)
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
        let mut reader = wire::Reader::new(frame);
        match awaited {
            Awaited::InitProducer => {
                let reply = body::<InitProducerIdRequest>(&mut reader, correlation, version)?;
                if let Role::Producer { id, sequence, again, .. } = &mut self.role
                    && reply.error_code == 0
                {
                    history.producer_made((reply.producer_id, reply.producer_epoch))?;
                    *id = Some((reply.producer_id, reply.producer_epoch));
                    *sequence = 0;
                    *again = None;
                }
                Ok(())
            }
            Awaited::Leader(partition) => {
                let reply = body::<MetadataRequest>(&mut reader, correlation, version)?;
                self.told_of_leader(&partition, &reply, history)
            }
            Awaited::Produce { partition, era, values, sequence } => {
                let reply = body::<ProduceRequest>(&mut reader, correlation, version)?;
                let part = &reply.responses[0].partition_responses[0];
                if era != history.era(&partition.0) {
                    self.begin_anew();
                    return Ok(());
                }
                self.produced(&partition, values, sequence, (part.error_code, part.base_offset), history)
            }
            Awaited::Group => match &mut self.role {
                Role::Group(participant) => {
                    let heard = participant.heard(&mut reader, (correlation, version), &mut history.promises);
                    participant.find_way(&mut self.route)?;
                    heard
                }
                Role::Admin(_) | Role::Producer { .. } | Role::Consumer { .. } | Role::Operator(_) => Ok(()),
            },
            Awaited::Admin => match &mut self.role {
                Role::Admin(admin) => admin.heard(&mut reader, (correlation, version), history),
                Role::Group(_) | Role::Producer { .. } | Role::Consumer { .. } | Role::Operator(_) => Ok(()),
            },
            Awaited::Operator => match &mut self.role {
                Role::Operator(operator) => operator.heard(&mut reader, (correlation, version)),
                Role::Admin(_) | Role::Group(_) | Role::Producer { .. } | Role::Consumer { .. } => Ok(()),
            },
            Awaited::Earliest(reading) => {
                let reply = body::<ListOffsetsRequest>(&mut reader, correlation, version)?;
                let part = &reply.topics[0].partitions[0];
                if part.error_code == 0 && reading.era == history.era(&reading.partition.0) {
                    history.saw_start(&reading.partition, reading.trimmed, part.offset)?;
                    self.start_at(part.offset);
                } else if part.error_code != 0 {
                    self.route.lose();
                }
                Ok(())
            }
            Awaited::Fetch(reading) => {
                let reply = body::<FetchRequest>(&mut reader, correlation, version)?;
                let part = &reply.responses[0].partitions[0];
                if part.preferred_read_replica >= 0 {
                    return self.sent_nearer(part.preferred_read_replica);
                }
                let Some(Records::Bytes(records)) = &part.records else { return Ok(()) };
                self.fetched(&reading, part.error_code, records, history)
            }
        }
    }

    fn told_of_leader(
        &mut self,
        partition: &Partition,
        reply: &MetadataResponse,
        history: &mut History,
    ) -> Result<(), String> {
        if history.has_lives(&partition.0) {
            let id = reply.topics.first().map_or(Uuid::ZERO, |topic| topic.topic_id);
            if !history.is_life(&partition.0, id) {
                // Of a topic that was there before, or will be: whoever was asked has not heard yet.
                return Ok(());
            }
            self.route.know_id(id);
        }
        self.route.look_up(reply, partition.1)
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
        if code != ErrorCode::None {
            self.route.lose();
        }
        match code {
            ErrorCode::None => {
                for (offset, value) in (base..).zip(&values) {
                    history.acked_at(partition, *value, offset)?;
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
            ErrorCode::NotEnoughReplicas
            | ErrorCode::NotEnoughReplicasAfterAppend
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::UnknownTopicId
                if self.route.is_in_cluster() =>
            {
                *again = Some((values, sent_sequence));
                Ok(())
            }
            _ => Err(format!("client {}: produce to {partition:?} refused with {code}", self.name)),
        }
    }

    /// The topic that the producer wrote to is gone.
    fn begin_anew(&mut self) {
        if let Role::Producer { id, again, .. } = &mut self.role {
            (*id, *again) = (None, None);
        }
    }
}

/// A request as a frame without its size.
pub(crate) fn encode<R: Request>(correlation: i32, version: i16, request: &R) -> Bytes {
    let client: Str = "sim".into();
    let encoded = wire::encode_request(correlation, Some(&client), version, request);
    encoded.expect("the simulator sends what its version can say").bytes.slice(wire::frame::SIZE_BYTES..)
}

fn fresh_values(rng: &mut Rng) -> Vec<u64> {
    (0..rng.between(1, 5)).map(|_| rng.next_u64()).collect()
}

pub(crate) fn body<R: Request>(
    reader: &mut wire::Reader,
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

/// Names what the frame of a request is, for the trace.
pub(crate) fn describe(frame: &[u8]) -> String {
    let key = frame.first_chunk::<2>().map(|key| i16::from_be_bytes(*key));
    let name = key.and_then(|key| ApiKey::try_from(key).ok()).map_or("?", ApiKey::name);
    format!("{name} ({} bytes)", frame.len())
}
