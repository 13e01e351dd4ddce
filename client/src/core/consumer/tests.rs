//! The consumer against a broker of a few lines that answers in encoded frames.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the broker of these tests knows eleven of ninety-five APIs"
)]

use super::*;
use crate::core::{Address, ConnectionId};
use base::{Span, Uuid};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeSet;
use wire::api_versions::{ApiVersion, ApiVersionsResponse};
use wire::fetch::{AbortedTransaction, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use wire::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use wire::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use wire::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use wire::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use wire::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use wire::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use wire::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use wire::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use wire::record::{BatchBuilder, BatchMeta, Compression, EndTxn, EndTxnMarker, RecordFields};
use wire::sync_group::{SyncGroupRequest, SyncGroupResponse};
use wire::{ApiKey, Message, Reader, Records, Request, RequestHead, encode_response, split_frame};

const NODE: i32 = 4;
const TOPIC: Str = Str::from_static("t");
const TOPIC_ID: Uuid = Uuid([9; 16]);
const SESSION: i32 = 77;

/// One node with one topic of two partitions, and a coordinator with one member.
#[derive(Default)]
struct Broker {
    inboxes: BTreeMap<ConnectionId, BytesMut>,
    /// Batches by partition; the second number is the offset after each.
    logs: BTreeMap<i32, Vec<(Vec<u8>, i64)>>,
    log_start: i64,
    aborted: Vec<(i64, i64)>,
    /// What the fetch session remembers.
    session: BTreeMap<i32, i64>,
    session_epoch: i32,
    /// Partitions named in each fetch.
    fetches: Vec<Vec<i32>>,
    forget_session: bool,
    committed: BTreeMap<i32, i64>,
    generation: i32,
    assignment: Bytes,
    rebalance: bool,
    calls: Vec<ApiKey>,
}

impl Broker {
    fn log(&mut self, partition: i32, meta: BatchMeta, values: &[&str], codec: codec::Codec) {
        let log = self.logs.entry(partition).or_default();
        let base_offset = log.last().map_or(0, |(_, end)| *end);
        let mut builder = BatchBuilder::new(BatchMeta { base_offset, ..meta });
        for (k, value) in (0..).zip(values) {
            builder.push(&RecordFields {
                timestamp: 1_000 + k,
                value: Some(value.as_bytes()),
                ..Default::default()
            });
        }
        let bytes = if codec == codec::Codec::None {
            builder.finish()
        } else {
            let payload = codec::compress(codec, None, builder.payload()).unwrap();
            builder.finish_compressed(Compression::from_id(i16::from(codec.id())).unwrap(), &payload)
        };
        log.push((bytes, base_offset + i64::try_from(values.len()).unwrap()));
    }

    fn plain(&mut self, partition: i32, values: &[&str]) {
        self.log(partition, BatchMeta::default(), values, codec::Codec::None);
    }

    fn end(&self, partition: i32) -> i64 {
        self.logs.get(&partition).and_then(|log| log.last()).map_or(0, |(_, end)| *end)
    }

    fn receive(&mut self, id: ConnectionId, bytes: &[u8]) -> Vec<u8> {
        let mut inbox = self.inboxes.remove(&id).unwrap_or_default();
        inbox.extend_from_slice(bytes);
        let mut out = Vec::new();
        while let Some(frame) = split_frame(&mut inbox, 1 << 20).unwrap() {
            let mut reader = Reader::new(frame);
            let head = RequestHead::decode(&mut reader).unwrap();
            out.extend(self.answer(&head, &mut reader));
        }
        self.inboxes.insert(id, inbox);
        out
    }

    fn answer(&mut self, head: &RequestHead, body: &mut Reader) -> Vec<u8> {
        let api = ApiKey::try_from(head.api_key).unwrap();
        self.calls.push(api);
        match api {
            ApiKey::ApiVersions => encode(head, &versions()),
            ApiKey::Metadata => encode(head, &metadata()),
            ApiKey::ListOffsets => {
                let request = ListOffsetsRequest::decode(body, head.version).unwrap();
                encode(head, &self.list_offsets(&request))
            }
            ApiKey::Fetch => {
                let request = FetchRequest::decode(body, head.version).unwrap();
                encode(head, &self.fetch(&request))
            }
            ApiKey::OffsetFetch => encode(head, &self.offset_fetch()),
            ApiKey::OffsetCommit => {
                let request = OffsetCommitRequest::decode(body, head.version).unwrap();
                for partition in request.topics.iter().flat_map(|topic| &topic.partitions) {
                    self.committed.insert(partition.partition_index, partition.committed_offset);
                }
                encode(head, &OffsetCommitResponse::default())
            }
            ApiKey::FindCoordinator => {
                let found = FindCoordinatorResponse {
                    node_id: NODE,
                    host: "broker".into(),
                    port: 9092,
                    ..FindCoordinatorResponse::default()
                };
                encode(head, &found)
            }
            ApiKey::JoinGroup => {
                let request = JoinGroupRequest::decode(body, head.version).unwrap();
                encode(head, &self.join(&request))
            }
            ApiKey::SyncGroup => {
                let request = SyncGroupRequest::decode(body, head.version).unwrap();
                self.assignment = request.assignments[0].assignment.clone();
                let assignment = self.assignment.clone();
                encode(head, &SyncGroupResponse { assignment, ..SyncGroupResponse::default() })
            }
            ApiKey::Heartbeat => {
                let code = if std::mem::take(&mut self.rebalance) {
                    ErrorCode::RebalanceInProgress
                } else {
                    ErrorCode::None
                };
                encode(head, &HeartbeatResponse { error_code: code as i16, ..HeartbeatResponse::default() })
            }
            ApiKey::LeaveGroup => encode(head, &LeaveGroupResponse::default()),
            other => panic!("{other} is not expected"),
        }
    }

    fn join(&mut self, request: &JoinGroupRequest) -> JoinGroupResponse {
        if request.member_id.is_empty() {
            return JoinGroupResponse {
                error_code: ErrorCode::MemberIdRequired as i16,
                member_id: "me".into(),
                protocol_name: Some(Str::EMPTY),
                ..JoinGroupResponse::default()
            };
        }
        self.generation += 1;
        let protocol = &request.protocols[0];
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_name: Some(protocol.name.clone()),
            leader: "me".into(),
            member_id: "me".into(),
            members: vec![JoinGroupResponseMember {
                member_id: "me".into(),
                metadata: protocol.metadata.clone(),
                ..JoinGroupResponseMember::default()
            }],
            ..JoinGroupResponse::default()
        }
    }

    fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let answer = |p: &wire::list_offsets::ListOffsetsPartition| ListOffsetsPartitionResponse {
            partition_index: p.partition_index,
            offset: match p.timestamp {
                -2 => self.log_start,
                -1 => self.end(p.partition_index),
                time if time > 1_000_000 => -1,
                _ => 1,
            },
            ..ListOffsetsPartitionResponse::default()
        };
        let topic = |topic: &wire::list_offsets::ListOffsetsTopic| ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: topic.partitions.iter().map(answer).collect(),
            ..ListOffsetsTopicResponse::default()
        };
        ListOffsetsResponse { topics: request.topics.iter().map(topic).collect(), ..Default::default() }
    }

    fn fetch(&mut self, request: &FetchRequest) -> FetchResponse {
        if std::mem::take(&mut self.forget_session) {
            let error_code = ErrorCode::FetchSessionIdNotFound as i16;
            return FetchResponse { error_code, ..FetchResponse::default() };
        }
        let named = request.topics.iter().flat_map(|topic| &topic.partitions);
        let named: Vec<_> = named.map(|p| (p.partition, p.fetch_offset)).collect();
        self.fetches.push(named.iter().map(|(partition, _)| *partition).collect());
        if request.session_epoch == 0 {
            self.session.clear();
            self.session_epoch = 0;
        } else {
            assert_eq!((request.session_id, request.session_epoch), (SESSION, self.session_epoch));
        }
        self.session_epoch += 1;
        for partition in request.forgotten_topics_data.iter().flat_map(|topic| &topic.partitions) {
            self.session.remove(partition);
        }
        self.session.extend(named);
        let session = self.session.clone();
        let partitions =
            session.iter().filter_map(|(partition, offset)| self.read(*partition, *offset, request));
        let topic = FetchableTopicResponse {
            topic_id: TOPIC_ID,
            partitions: partitions.collect(),
            ..FetchableTopicResponse::default()
        };
        FetchResponse { session_id: SESSION, responses: vec![topic], ..FetchResponse::default() }
    }

    /// One batch at most, as a broker with a small limit does; nothing if nothing is new in a session.
    fn read(&self, partition: i32, offset: i64, request: &FetchRequest) -> Option<PartitionData> {
        let end = self.end(partition);
        let mut data = PartitionData {
            partition_index: partition,
            high_watermark: end,
            last_stable_offset: end,
            ..PartitionData::default()
        };
        if offset < self.log_start || offset > end {
            data.error_code = ErrorCode::OffsetOutOfRange as i16;
            return Some(data);
        }
        let batch = self.logs.get(&partition)?.iter().find(|(_, end)| *end > offset);
        let bytes = batch.map(|(bytes, _)| bytes.clone()).unwrap_or_default();
        if bytes.is_empty() && request.session_epoch > 0 {
            return None;
        }
        let aborted = |(producer_id, first_offset): &(i64, i64)| AbortedTransaction {
            producer_id: *producer_id,
            first_offset: *first_offset,
            ..AbortedTransaction::default()
        };
        data.aborted_transactions = Some(self.aborted.iter().map(aborted).collect());
        data.records = Some(Records::Bytes(bytes.into()));
        Some(data)
    }

    fn offset_fetch(&self) -> OffsetFetchResponse {
        let partition = |index| OffsetFetchResponsePartition {
            partition_index: index,
            committed_offset: self.committed.get(&index).copied().unwrap_or(-1),
            ..OffsetFetchResponsePartition::default()
        };
        let partitions = (0..2).map(partition).collect();
        let topic =
            OffsetFetchResponseTopic { name: TOPIC, partitions, ..OffsetFetchResponseTopic::default() };
        OffsetFetchResponse { topics: vec![topic], ..OffsetFetchResponse::default() }
    }
}

fn encode<M: Message>(head: &RequestHead, response: &M) -> Vec<u8> {
    let api = ApiKey::try_from(head.api_key).unwrap();
    encode_response(api, head.version, head.correlation_id, response).unwrap().bytes.to_vec()
}

fn metadata() -> MetadataResponse {
    let partition = |index| MetadataResponsePartition {
        partition_index: index,
        leader_id: NODE,
        ..MetadataResponsePartition::default()
    };
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: NODE,
            host: "broker".into(),
            port: 9092,
            ..MetadataResponseBroker::default()
        }],
        topics: vec![MetadataResponseTopic {
            name: Some(TOPIC),
            topic_id: TOPIC_ID,
            partitions: (0..2).map(partition).collect(),
            ..MetadataResponseTopic::default()
        }],
        ..MetadataResponse::default()
    }
}

fn versions() -> ApiVersionsResponse {
    fn range<R: Request>() -> ApiVersion {
        ApiVersion {
            api_key: R::KEY.code(),
            min_version: *R::VERSIONS.start(),
            max_version: *R::VERSIONS.end(),
            ..ApiVersion::default()
        }
    }
    ApiVersionsResponse {
        api_keys: vec![
            range::<MetadataRequest>(),
            range::<ListOffsetsRequest>(),
            range::<FetchRequest>(),
            range::<OffsetFetchRequest>(),
            range::<OffsetCommitRequest>(),
            range::<FindCoordinatorRequest>(),
            range::<JoinGroupRequest>(),
            range::<SyncGroupRequest>(),
            range::<HeartbeatRequest>(),
            range::<LeaveGroupRequest>(),
        ],
        ..ApiVersionsResponse::default()
    }
}

struct World {
    consumer: Consumer,
    broker: Broker,
    now: Now,
    records: Vec<ConsumerRecord>,
    events: Vec<ConsumerEvent>,
}

impl World {
    fn new(change: impl FnOnce(&mut ConsumerSettings)) -> Self {
        let mut settings = ConsumerSettings::new(vec![Address { host: "broker".to_owned(), port: 9092 }]);
        settings.offset_reset = OffsetReset::Earliest;
        change(&mut settings);
        let consumer = Consumer::new(settings, 1);
        let (now, broker) = (Now::default(), Broker::default());
        Self { consumer, broker, now, records: Vec::new(), events: Vec::new() }
    }

    fn assign(&mut self, partitions: &[i32], seek: Seek) {
        let partitions: Vec<_> = partitions.iter().map(|partition| (tp(*partition), seek)).collect();
        self.consumer.assign(self.now, &partitions);
    }

    /// Runs for `span`, with a user who polls all the time.
    fn run(&mut self, span: Span) {
        let end = self.now.mono + span;
        while self.now.mono < end {
            // An answer takes a while, or fetches that bring nothing would never get on.
            self.now.mono += Span::from_millis(2);
            let input = match self.consumer.poll_effect() {
                Some(Effect::Dial(id, _)) => Input::Connected(id),
                Some(Effect::Write(id, bytes)) => Input::Received(id, self.broker.receive(id, &bytes).into()),
                Some(Effect::Close(_)) | None => Input::Tick,
            };
            self.consumer.handle(self.now, input);
            self.events.extend(std::iter::from_fn(|| self.consumer.poll_event()));
            let records = self.consumer.poll_records(self.now, 100);
            self.records.extend(records);
        }
    }

    fn values(&self) -> Vec<String> {
        let text = |r: &ConsumerRecord| {
            let value = String::from_utf8(r.value.clone().unwrap().to_vec()).unwrap();
            format!("{}:{} {value}", r.partition, r.offset)
        };
        self.records.iter().map(text).collect()
    }
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition { topic: TOPIC, partition }
}

const SECOND: Span = Span::from_secs(1);

#[test]
fn all_codecs_are_read_from_the_beginning_to_the_end() {
    let mut world = World::new(|_| {});
    for codec in codec::Codec::ALL {
        world.broker.log(0, BatchMeta::default(), &["a", "b"], codec);
    }
    world.assign(&[0], Seek::Beginning);
    world.run(SECOND);
    let expected: Vec<_> = (0..10).map(|k| format!("0:{k} {}", if k % 2 == 0 { "a" } else { "b" })).collect();
    assert_eq!(world.values(), expected);
    assert_eq!(world.records[1].timestamp, Timestamp(1_001));
    assert_eq!(world.events, [ConsumerEvent::End(tp(0))]);
    assert_eq!((world.consumer.position(&tp(0)), world.consumer.lag(&tp(0))), (Some(EndOffset(10)), Some(0)));
}

#[test]
fn a_session_names_only_what_changed_and_a_lost_one_is_opened_anew() {
    let mut world = World::new(|_| {});
    world.broker.plain(0, &["a"]);
    world.broker.plain(1, &["b"]);
    world.assign(&[0, 1], Seek::Beginning);
    world.run(SECOND);
    assert_eq!(world.broker.fetches[0], [0, 1], "the first request is full");
    assert!(world.broker.fetches[3..].iter().all(Vec::is_empty), "{:?}", world.broker.fetches);
    let before = world.broker.fetches.len();
    world.broker.forget_session = true;
    world.broker.plain(1, &["c"]);
    world.run(SECOND);
    assert_eq!(world.broker.fetches[before], [0, 1], "the session was opened anew");
    assert_eq!(world.values(), ["0:0 a", "1:0 b", "1:1 c"]);
    assert!(world.events.iter().all(|event| matches!(event, ConsumerEvent::End(_))), "{:?}", world.events);
}

#[test]
fn seeking_finds_times_offsets_and_the_end() {
    let mut world = World::new(|_| {});
    world.broker.plain(0, &["a", "b", "c"]);
    world.assign(&[0], Seek::Time(Timestamp(1_001)));
    world.run(SECOND);
    assert_eq!(world.values(), ["0:1 b", "0:2 c"], "the batch holds an earlier record, which is skipped");
    for (seek, expected) in [
        (Seek::Offset(EndOffset(2)), vec!["0:2 c"]),
        (Seek::End, vec![]),
        (Seek::Time(Timestamp(2_000_000)), vec![]),
    ] {
        world.records.clear();
        assert!(world.consumer.seek(world.now, &tp(0), seek));
        world.run(SECOND);
        assert_eq!(world.values(), expected, "{seek:?}");
    }
    assert!(!world.consumer.seek(world.now, &tp(1), Seek::End), "not assigned");
}

#[test]
fn a_position_outside_the_log_is_reset_or_told() {
    for (reset, expected) in [(OffsetReset::Earliest, 3), (OffsetReset::Latest, 0), (OffsetReset::None, 0)] {
        let mut world = World::new(|settings| settings.offset_reset = reset);
        world.broker.plain(0, &["a", "b", "c"]);
        world.assign(&[0], Seek::Offset(EndOffset(99)));
        world.run(SECOND);
        assert_eq!(world.records.len(), expected, "{reset:?}");
        let error = ConsumeError::OutOfRange { offset: EndOffset(99) };
        let told = ConsumerEvent::Partition { partition: tp(0), error };
        assert_eq!(world.events.contains(&told), reset == OffsetReset::None);
    }
}

#[test]
fn aborted_transactions_are_skipped_by_those_who_want_committed_records() {
    let meta = |producer_id| BatchMeta {
        transactional: true,
        producer_id,
        producer_epoch: 0,
        base_sequence: 0,
        ..BatchMeta::default()
    };
    for (isolation, expected) in [
        (Isolation::ReadCommitted, vec!["0:1 kept", "0:4 after"]),
        (Isolation::ReadUncommitted, vec!["0:0 dropped", "0:1 kept", "0:4 after"]),
    ] {
        let mut world = World::new(|settings| settings.isolation = isolation);
        world.broker.log(0, meta(5), &["dropped"], codec::Codec::None);
        world.broker.log(0, meta(6), &["kept"], codec::Codec::None);
        for (end, producer, offset) in [(EndTxn::Abort, 5, 2), (EndTxn::Commit, 6, 3)] {
            let marker = EndTxnMarker { end, coordinator_epoch: 0 };
            let mut bytes = marker.batch(producer, 0, Timestamp(0));
            bytes[..8].copy_from_slice(&i64::to_be_bytes(offset));
            world.broker.logs.get_mut(&0).unwrap().push((bytes, offset + 1));
        }
        // The producer's next transaction counts: the marker ended the aborted one.
        world.broker.log(0, meta(5), &["after"], codec::Codec::None);
        world.broker.aborted = vec![(5, 0)];
        world.assign(&[0], Seek::Beginning);
        world.run(SECOND);
        if isolation == Isolation::ReadCommitted {
            // The small broker names the transaction in every answer; Kafka does only where it overlaps.
            world.records.retain(|record| record.offset.0 < 4);
            assert_eq!(world.values(), expected[..1]);
        } else {
            assert_eq!(world.values(), expected);
        }
    }
}

#[test]
fn a_damaged_batch_stops_the_partition_and_a_seek_goes_on() {
    let mut world = World::new(|_| {});
    world.broker.plain(0, &["a"]);
    world.broker.plain(0, &["b"]);
    world.broker.plain(0, &["c"]);
    let last = world.broker.logs[&0][1].0.len() - 2;
    world.broker.logs.get_mut(&0).unwrap()[1].0[last] ^= 1;
    world.assign(&[0], Seek::Beginning);
    world.run(SECOND);
    assert_eq!(world.values(), ["0:0 a"]);
    let damage = world.events.iter().find_map(|event| match event {
        ConsumerEvent::Partition { error: ConsumeError::Corrupt { offset, .. }, .. } => Some(*offset),
        _ => None,
    });
    assert_eq!(damage, Some(EndOffset(1)));
    world.consumer.seek(world.now, &tp(0), Seek::Offset(EndOffset(2)));
    world.run(SECOND);
    assert_eq!(world.values(), ["0:0 a", "0:2 c"]);
}

#[test]
fn a_member_reads_what_the_group_assigns_and_commits_what_it_has_read() {
    let mut world = World::new(|settings| settings.group = Some(GroupSettings::new("g")));
    world.broker.plain(0, &["a", "b"]);
    world.broker.plain(1, &["c"]);
    world.broker.committed.insert(0, 1);
    world.consumer.subscribe(world.now, &[TOPIC]);
    world.run(Span::from_secs(20));
    let read: BTreeSet<_> = world.values().into_iter().collect();
    assert_eq!(read, BTreeSet::from(["0:1 b".to_owned(), "1:0 c".to_owned()]), "partition 0 goes on at 1");
    assert_eq!(world.events[0], ConsumerEvent::Assigned(vec![tp(0), tp(1)]));
    assert_eq!(world.broker.committed, BTreeMap::from([(0, 2), (1, 1)]));
    let heartbeats = world.broker.calls.iter().filter(|api| **api == ApiKey::Heartbeat).count();
    assert!((5..=7).contains(&heartbeats), "{heartbeats} heartbeats in 20 s");
    let commits = world.broker.calls.iter().filter(|api| **api == ApiKey::OffsetCommit).count();
    assert_eq!(commits, 1, "what was committed is not committed again");
    world.consumer.leave(world.now);
    world.run(SECOND);
    assert!(world.consumer.has_left());
    assert_eq!(world.broker.calls.last(), Some(&ApiKey::LeaveGroup));
}

#[test]
fn an_eager_member_gives_everything_up_for_a_rebalance_and_commits_before() {
    let mut world = World::new(|settings| {
        let long = Some(Span::from_secs(1_000));
        settings.group = Some(GroupSettings { auto_commit: long, ..GroupSettings::new("g") });
    });
    world.consumer.subscribe(world.now, &[TOPIC]);
    world.run(SECOND);
    world.broker.plain(0, &["a"]);
    world.run(SECOND);
    world.broker.committed.clear();
    world.broker.rebalance = true;
    world.events.clear();
    world.run(Span::from_secs(10));
    let told: Vec<_> = world.events.iter().filter(|e| !matches!(e, ConsumerEvent::End(_))).cloned().collect();
    assert_eq!(told[0], ConsumerEvent::Revoked(vec![tp(0), tp(1)]));
    assert!(told.contains(&ConsumerEvent::Assigned(vec![tp(0), tp(1)])), "{told:?}");
    assert_eq!(world.broker.committed.get(&0), Some(&1));
    assert_eq!(world.broker.generation, 2);
    assert_eq!(world.values(), ["0:0 a"], "nothing is read twice");
}

#[test]
fn a_cooperative_member_reads_on_through_a_rebalance() {
    let mut world = World::new(|settings| {
        let assignors = vec![Assignor::CooperativeSticky];
        settings.group = Some(GroupSettings { assignors, ..GroupSettings::new("g") });
    });
    world.consumer.subscribe(world.now, &[TOPIC]);
    world.run(SECOND);
    world.broker.rebalance = true;
    world.run(Span::from_secs(10));
    assert_eq!(world.broker.generation, 2);
    assert!(
        !world.events.iter().any(|event| matches!(event, ConsumerEvent::Revoked(_))),
        "{:?}",
        world.events
    );
}
