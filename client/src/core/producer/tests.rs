//! The producer against a broker of a few lines that answers in encoded frames.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the broker of these tests knows four of ninety-five APIs"
)]

use super::*;
use crate::core::{Address, ClusterSettings, ConnectionId};
use base::{Span, Uuid};
use bytes::BytesMut;
use wire::api_versions::{ApiVersion, ApiVersionsResponse};
use wire::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use wire::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use wire::produce::{PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse};
use wire::record::{BatchHeader, CheckedBatches};
use wire::{ApiKey, Message, Reader, Records, Request, RequestHead, encode_response, split_frame};

/// What the broker does with the next Produce.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Write,
    Refuse(ErrorCode),
    /// Writes and closes the connection instead of answering.
    WriteAndHangUp,
    /// Answers ApiVersions above 0 with UNSUPPORTED_VERSION.
    Old,
}

struct Broker {
    moods: VecDeque<Mood>,
    old: bool,
    partitions: i32,
    inboxes: BTreeMap<ConnectionId, BytesMut>,
    /// The headers of what was written, per partition, repetitions not.
    written: BTreeMap<i32, Vec<BatchHeader>>,
    frames: Vec<(ApiKey, i16)>,
}

const NODE: i32 = 4;
const PRODUCER_ID: i64 = 77;

impl Broker {
    fn new(moods: &[Mood]) -> Self {
        Self {
            moods: moods.iter().copied().collect(),
            old: matches!(moods.first(), Some(Mood::Old)),
            partitions: 2,
            inboxes: BTreeMap::new(),
            written: BTreeMap::new(),
            frames: Vec::new(),
        }
    }

    /// Takes bytes; gives bytes, or `None` to hang up.
    fn receive(&mut self, id: ConnectionId, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut inbox = self.inboxes.remove(&id).unwrap_or_default();
        inbox.extend_from_slice(bytes);
        let mut out = Vec::new();
        while let Some(frame) = split_frame(&mut inbox, 1 << 20).unwrap() {
            let mut reader = Reader::new(frame);
            let head = RequestHead::decode(&mut reader).unwrap();
            out.extend(self.answer(&head, &mut reader)?);
        }
        self.inboxes.insert(id, inbox);
        Some(out)
    }

    fn answer(&mut self, head: &RequestHead, body: &mut Reader) -> Option<Vec<u8>> {
        let api = ApiKey::try_from(head.api_key).unwrap();
        self.frames.push((api, head.version));
        match api {
            ApiKey::ApiVersions if self.old && head.version > 0 => {
                let refused = ApiVersionsResponse {
                    error_code: ErrorCode::UnsupportedVersion as i16,
                    ..ApiVersionsResponse::default()
                };
                Some(encode_response(api, 0, head.correlation_id, &refused).unwrap().bytes.to_vec())
            }
            ApiKey::ApiVersions => Some(encode(api, head, &versions())),
            ApiKey::Metadata => {
                Some(encode(api, head, &self.metadata(MetadataRequest::decode(body, head.version).unwrap())))
            }
            ApiKey::InitProducerId => {
                let request = InitProducerIdRequest::decode(body, head.version).unwrap();
                assert_eq!(request.transactional_id, None, "an empty transactional id is refused by brokers");
                let known = InitProducerIdResponse { producer_id: PRODUCER_ID, ..Default::default() };
                Some(encode(api, head, &known))
            }
            ApiKey::Produce => self.produce(head, &ProduceRequest::decode(body, head.version).unwrap()),
            other => panic!("{other} is not expected"),
        }
    }

    fn metadata(&self, request: MetadataRequest) -> MetadataResponse {
        let partition = |index| MetadataResponsePartition {
            partition_index: index,
            leader_id: NODE,
            ..MetadataResponsePartition::default()
        };
        let topics = request.topics.unwrap_or_default().into_iter().map(|topic| MetadataResponseTopic {
            name: topic.name,
            topic_id: Uuid([9; 16]),
            partitions: (0..self.partitions).map(partition).collect(),
            ..MetadataResponseTopic::default()
        });
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: NODE,
                host: "broker".into(),
                port: 9092,
                ..MetadataResponseBroker::default()
            }],
            topics: topics.collect(),
            controller_id: NODE,
            ..MetadataResponse::default()
        }
    }

    fn produce(&mut self, head: &RequestHead, request: &ProduceRequest) -> Option<Vec<u8>> {
        let mood = self.moods.pop_front().unwrap_or(Mood::Write);
        let mut response = ProduceResponse::default();
        for topic in &request.topic_data {
            let mut answer = TopicProduceResponse {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                ..TopicProduceResponse::default()
            };
            for data in &topic.partition_data {
                let Some(Records::Bytes(bytes)) = &data.records else { panic!("no records") };
                let header = *CheckedBatches::from_produce(bytes).unwrap().first();
                let (code, base_offset) = match mood {
                    Mood::Refuse(code) => (code, -1),
                    Mood::Write | Mood::WriteAndHangUp | Mood::Old => self.write(data.index, header),
                };
                answer.partition_responses.push(PartitionProduceResponse {
                    index: data.index,
                    error_code: code as i16,
                    base_offset,
                    ..PartitionProduceResponse::default()
                });
            }
            response.responses.push(answer);
        }
        let hang_up = matches!(mood, Mood::WriteAndHangUp);
        if request.acks == 0 {
            return Some(Vec::new());
        }
        (!hang_up).then(|| encode(ApiKey::Produce, head, &response))
    }

    /// Kafka's sequence check, in short.
    fn write(&mut self, partition: i32, header: BatchHeader) -> (ErrorCode, i64) {
        let log = self.written.entry(partition).or_default();
        let mut end = 0;
        for old in log.iter() {
            if header.has_producer()
                && (old.producer_epoch, old.base_sequence) == (header.producer_epoch, header.base_sequence)
            {
                return (ErrorCode::None, end);
            }
            end += i64::from(old.record_count);
        }
        let same_epoch = log.last().filter(|last| last.producer_epoch == header.producer_epoch);
        let expected = same_epoch.map_or(0, |last| last.last_sequence() + 1);
        if header.has_producer() && header.base_sequence != expected {
            return (ErrorCode::OutOfOrderSequenceNumber, -1);
        }
        log.push(header);
        (ErrorCode::None, end)
    }
}

fn encode<M: Message>(api: ApiKey, head: &RequestHead, response: &M) -> Vec<u8> {
    encode_response(api, head.version, head.correlation_id, response).unwrap().bytes.to_vec()
}

fn versions() -> ApiVersionsResponse {
    let range = |api: ApiKey, range: std::ops::RangeInclusive<i16>| ApiVersion {
        api_key: api.code(),
        min_version: *range.start(),
        max_version: *range.end(),
        ..ApiVersion::default()
    };
    ApiVersionsResponse {
        api_keys: vec![
            range(ApiKey::Produce, ProduceRequest::VERSIONS),
            range(ApiKey::Metadata, MetadataRequest::VERSIONS),
            range(ApiKey::InitProducerId, InitProducerIdRequest::VERSIONS),
        ],
        ..ApiVersionsResponse::default()
    }
}

struct World {
    producer: Producer,
    broker: Broker,
    now: Now,
    outcomes: Vec<Delivery>,
}

impl World {
    fn new(moods: &[Mood], change: impl FnOnce(&mut ProducerSettings)) -> Self {
        let bootstrap = vec![Address { host: "broker".to_owned(), port: 9092 }];
        let mut settings = ProducerSettings::new(bootstrap.clone());
        settings.cluster = ClusterSettings::new(bootstrap);
        change(&mut settings);
        Self {
            producer: Producer::new(settings, 1),
            broker: Broker::new(moods),
            now: Now { wall: Timestamp(1_700_000_000_000), ..Now::default() },
            outcomes: Vec::new(),
        }
    }

    fn send(&mut self, partition: i32, value: &[u8]) -> DeliveryId {
        let record = ProducerRecord {
            topic: "t".into(),
            partition: Some(partition),
            value: Some(Bytes::copy_from_slice(value)),
            ..ProducerRecord::default()
        };
        self.producer.send(self.now, record).unwrap()
    }

    /// Until nothing is outstanding or `limit` has passed.
    fn run(&mut self, limit: Span) {
        let end = self.now.mono + limit;
        while self.producer.outstanding() > 0 && self.now.mono < end {
            while let Some(effect) = self.producer.poll_effect() {
                self.perform(effect);
            }
            self.outcomes.extend(std::iter::from_fn(|| self.producer.poll_delivery()));
            let Some(at) = self.producer.wake_at() else { break };
            let passed = at.since(self.now.mono);
            self.now = Now { mono: self.now.mono + passed, wall: self.now.wall.plus(passed) };
            self.producer.handle(self.now, Input::Tick);
        }
        self.outcomes.extend(std::iter::from_fn(|| self.producer.poll_delivery()));
    }

    fn perform(&mut self, effect: Effect) {
        let input = match effect {
            Effect::Dial(id, _) => Input::Connected(id),
            Effect::Write(id, bytes) => match self.broker.receive(id, &bytes) {
                Some(answer) => Input::Received(id, answer.into()),
                None => Input::Closed(id, "hung up".to_owned()),
            },
            Effect::Close(_) => return,
        };
        self.producer.handle(self.now, input);
    }

    fn offsets(&self) -> Vec<Option<i64>> {
        let mut all: Vec<_> = self.outcomes.iter().collect();
        all.sort_by_key(|delivery| delivery.id);
        all.iter().map(|d| d.outcome.as_ref().unwrap().offset.map(|o| o.0)).collect()
    }
}

#[test]
fn records_of_one_partition_share_a_batch_and_get_their_offsets() {
    let mut world = World::new(&[], |_| {});
    for value in [b"a", b"b", b"c"] {
        world.send(0, value);
    }
    world.send(1, b"d");
    world.run(Span::from_secs(10));
    assert_eq!(world.offsets(), [Some(0), Some(1), Some(2), Some(0)]);
    let header = world.broker.written[&0][0];
    assert_eq!((header.record_count, header.producer_id, header.base_sequence), (3, PRODUCER_ID, 0));
    let produces = world.broker.frames.iter().filter(|(api, _)| *api == ApiKey::Produce).count();
    assert_eq!(produces, 1, "one request for both partitions");
    assert!(world.broker.frames.contains(&(ApiKey::Produce, 13)));
}

#[test]
fn a_broker_that_lacks_our_api_versions_is_asked_again_in_version_0() {
    let mut world = World::new(&[Mood::Old], |_| {});
    world.send(0, b"a");
    world.run(Span::from_secs(10));
    assert_eq!(world.offsets(), [Some(0)]);
    assert_eq!(world.broker.frames[..2], [(ApiKey::ApiVersions, 4), (ApiKey::ApiVersions, 0)]);
}

#[test]
fn a_lost_answer_does_not_write_twice() {
    let mut world = World::new(&[Mood::WriteAndHangUp], |_| {});
    world.send(0, b"a");
    world.run(Span::from_secs(10));
    assert_eq!(world.offsets(), [Some(0)]);
    assert_eq!(world.broker.written[&0].len(), 1);
    let produces = world.broker.frames.iter().filter(|(api, _)| *api == ApiKey::Produce).count();
    assert_eq!(produces, 2, "the batch was repeated");
}

#[test]
fn batches_that_are_refused_for_now_go_again_in_order() {
    let busy = Mood::Refuse(ErrorCode::NotLeaderOrFollower);
    let mut world = World::new(&[busy, Mood::Write, busy], |settings| settings.batch_bytes = 1);
    for value in [b"a", b"b", b"c", b"d", b"e", b"f"] {
        world.send(0, value);
    }
    world.run(Span::from_secs(10));
    assert_eq!(world.offsets(), (0..6).map(Some).collect::<Vec<_>>());
    let sequences: Vec<_> = world.broker.written[&0].iter().map(|header| header.base_sequence).collect();
    assert_eq!(sequences, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_batch_refused_for_good_fails_alone_and_the_rest_begin_a_new_epoch() {
    let mut world = World::new(&[Mood::Write, Mood::Refuse(ErrorCode::MessageTooLarge)], |settings| {
        settings.batch_bytes = 1
    });
    let ids: Vec<_> = [b"a", b"b", b"c", b"d"].iter().map(|value| world.send(0, *value)).collect();
    world.run(Span::from_secs(10));
    let failed: Vec<_> = world.outcomes.iter().filter(|delivery| delivery.outcome.is_err()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].id, ids[1]);
    let stamps: Vec<_> =
        world.broker.written[&0].iter().map(|h| (h.producer_epoch, h.base_sequence)).collect();
    assert_eq!(stamps, [(0, 0), (1, 0), (1, 1)]);
}

#[test]
fn with_acks_0_a_record_counts_as_delivered_when_it_is_sent() {
    let mut world = World::new(&[], |settings| settings.acks = Acks::None);
    world.send(0, b"a");
    world.run(Span::from_secs(10));
    assert_eq!(world.offsets(), [None]);
    assert_eq!(world.broker.written[&0][0].producer_id, -1);
}

#[test]
fn what_cannot_be_delivered_fails_after_the_delivery_timeout() {
    let never = [Mood::Refuse(ErrorCode::NotEnoughReplicas); 500];
    let mut world = World::new(&never, |settings| settings.delivery_timeout = Span::from_secs(3));
    world.send(0, b"a");
    world.run(Span::from_secs(60));
    let outcome = world.outcomes[0].outcome.as_ref().unwrap_err();
    assert!(matches!(outcome, ProduceError::TimedOut { uncertain: false, .. }), "{outcome:?}");
    assert!(world.now.mono.as_nanos() < 5_000_000_000, "{:?}", world.now);
}

#[test]
fn the_buffer_is_bounded_and_frees_itself() {
    let mut world = World::new(&[], |settings| settings.buffer_bytes = 2_000);
    let record =
        ProducerRecord { topic: "t".into(), value: Some(vec![1; 900].into()), ..ProducerRecord::default() };
    world.producer.send(world.now, record.clone()).unwrap();
    world.producer.send(world.now, record.clone()).unwrap();
    assert!(matches!(world.producer.send(world.now, record.clone()), Err(SendError::BufferFull(_))));
    world.run(Span::from_secs(10));
    assert_eq!((world.producer.buffered_bytes(), world.outcomes.len()), (0, 2));
    world.producer.send(world.now, record).unwrap();
}

#[test]
fn every_codec_arrives_readable() {
    for codec in codec::Codec::ALL {
        let mut world = World::new(&[], |settings| settings.codec = codec);
        for _ in 0..50 {
            world.send(0, b"the same again and again and again");
        }
        world.run(Span::from_secs(10));
        assert_eq!(world.offsets().len(), 50);
        let header = world.broker.written[&0][0];
        assert_eq!(header.attributes.compression().unwrap().id(), i16::from(codec.id()));
    }
}
