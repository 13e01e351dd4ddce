use super::*;
use crate::test_node::{Hold, Sent, TestNode};
use base::Rng;
use std::collections::BTreeMap;
use wire::Records;
use wire::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use wire::fetch::{FetchPartition, FetchResponse, FetchTopic, ForgottenTopic, PartitionData};
use wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::record::{BatchBuilder, BatchMeta, RecordFields, parse_batches};

/// Before topics had ids.
const VERSION: i16 = 12;
const PARTITIONS: i32 = 3;

fn produce(node: &mut TestNode, topic: &str, index: i32, value: u8) {
    let mut batch = BatchBuilder::new(BatchMeta { producer_id: -1, ..BatchMeta::default() });
    batch.push(&RecordFields { timestamp: 1, key: None, value: Some(&[value; 100]), headers: &[] });
    let records = Some(Records::Bytes(batch.finish().into()));
    let part = PartitionProduceData { index, records, ..Default::default() };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![part], ..Default::default() };
    let request =
        ProduceRequest { acks: 1, timeout_ms: 1_000, topic_data: vec![topic], ..Default::default() };
    let reply = node.ask(9, &request);
    assert_eq!(reply.responses[0].partition_responses[0].error_code, 0);
}

fn wants(offsets: &[(i32, i64)]) -> Vec<FetchTopic> {
    let part = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let partitions: Vec<_> = offsets.iter().map(part).collect();
    if partitions.is_empty() {
        return Vec::new();
    }
    vec![FetchTopic { topic: "t".into(), partitions, ..Default::default() }]
}

fn fetch(session: (i32, i32), offsets: &[(i32, i64)], wait: i32) -> FetchRequest {
    FetchRequest {
        session_id: session.0,
        session_epoch: session.1,
        replica_id: -1,
        max_wait_ms: wait,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: wants(offsets),
        ..Default::default()
    }
}

fn parts(response: &FetchResponse) -> Vec<&PartitionData> {
    response.responses.iter().flat_map(|topic| &topic.partitions).collect()
}

fn indexes(response: &FetchResponse) -> Vec<i32> {
    parts(response).iter().map(|part| part.partition_index).collect()
}

/// Offsets of the records that lie in a part of an answer.
fn offsets(part: &PartitionData) -> Vec<i64> {
    let Some(Records::Bytes(records)) = &part.records else { return Vec::new() };
    parse_batches(records).map_while(Result::ok).map(|batch| batch.header().base_offset).collect()
}

fn reply(node: &mut TestNode, sent: Sent) -> FetchResponse {
    node.reply::<FetchRequest>(sent).expect("an answer")
}

fn waits(node: &mut TestNode, sent: Sent) -> bool {
    node.reply::<FetchRequest>(sent).is_none()
}

fn open(node: &mut TestNode, count: i32) -> i32 {
    let all: Vec<_> = (0..count).map(|index| (index, 0)).collect();
    let response = node.ask(VERSION, &fetch((0, 0), &all, 0));
    assert_eq!(indexes(&response).len(), all.len(), "a new session is told of everything");
    response.session_id
}

#[test]
fn one_partition_with_news_among_a_thousand_is_the_only_one_looked_at() {
    const MANY: i32 = 1_000;
    let mut node = TestNode::new();
    node.delete("t");
    node.create("t", MANY);
    let session = open(&mut node, MANY);
    let plain = node.connect();
    let all: Vec<_> = (0..MANY).map(|index| (index, 0)).collect();
    let sent = node.send_on(plain, VERSION, &fetch((0, -1), &all, 0));
    assert_eq!(indexes(&reply(&mut node, sent)).len(), all.len());
    produce(&mut node, "t", 417, 1);
    assert_eq!(with_news(&mut node), [1, 1], "a reader of each kind looks at one partition");
    let response = node.ask(VERSION, &fetch((session, 1), &[], 0));
    assert_eq!(indexes(&response), [417]);
    let sent = node.send_on(plain, VERSION, &fetch((0, -1), &all, 0));
    let response = reply(&mut node, sent);
    let found: Vec<_> =
        parts(&response).iter().map(|part| (offsets(part).len(), part.high_watermark)).collect();
    let expected: Vec<_> = (0..MANY).map(|index| if index == 417 { (1, 1) } else { (0, 0) }).collect();
    assert_eq!(found, expected);
}

/// What each reader would look at.
fn with_news(node: &mut TestNode) -> Vec<usize> {
    node.reactor().fetches.readers.values().map(|reader| reader.news().len()).collect()
}

#[test]
fn what_changes_elsewhere_is_no_news_to_a_reader() {
    let mut node = TestNode::new();
    let session = open(&mut node, PARTITIONS);
    let kept = node.send(VERSION, &fetch((session, 1), &[], 10_000));
    let plain = node.connect();
    let plain = node.send_on(plain, VERSION, &fetch((0, -1), &[(0, 0), (1, 0)], 10_000));
    node.create("elsewhere", 7);
    assert_eq!(with_news(&mut node), [0, 0]);
    node.delete("elsewhere");
    assert_eq!(with_news(&mut node), [0, 0]);
    assert!(waits(&mut node, kept) && waits(&mut node, plain));
    node.delete("t");
    for sent in [kept, plain] {
        let response = reply(&mut node, sent);
        let codes: Vec<_> = parts(&response).iter().map(|part| part.error_code).collect();
        assert!(
            codes.len() > 1 && codes.iter().all(|code| *code == ErrorCode::UnknownTopicOrPartition as i16)
        );
    }
}

#[test]
fn a_waiting_fetch_is_answered_when_a_record_comes() {
    let mut node = TestNode::new();
    let session = open(&mut node, PARTITIONS);
    let kept = node.send(VERSION, &fetch((session, 1), &[], 10_000));
    let plain = node.send(VERSION, &fetch((0, -1), &[(0, 0), (1, 0)], 10_000));
    assert!(waits(&mut node, kept) && waits(&mut node, plain));
    produce(&mut node, "t", 1, 1);
    assert_eq!(indexes(&reply(&mut node, kept)), [1]);
    let response = reply(&mut node, plain);
    assert_eq!(parts(&response).iter().map(|part| offsets(part).len()).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_session_gives_again_what_its_client_did_not_take() {
    let mut node = TestNode::new();
    let session = open(&mut node, PARTITIONS);
    produce(&mut node, "t", 2, 1);
    for epoch in 1..4 {
        let response = node.ask(VERSION, &fetch((session, epoch), &[], 0));
        assert_eq!(parts(&response).iter().map(|part| offsets(part)).collect::<Vec<_>>(), [[0]]);
    }
    let response = node.ask(VERSION, &fetch((session, 4), &[(2, 1)], 0));
    assert_eq!(indexes(&response), [] as [i32; 0], "nothing is new");
}

#[test]
fn a_fetch_that_wants_more_bytes_counts_what_comes_of_all_partitions() {
    let mut node = TestNode::new();
    let request = FetchRequest { min_bytes: 600, ..fetch((0, -1), &[(0, 0), (1, 0), (2, 0)], 60_000) };
    let sent = node.send(VERSION, &request);
    for round in 0..3 {
        assert!(waits(&mut node, sent), "{round}");
        produce(&mut node, "t", round % 2, 1);
    }
    assert!(waits(&mut node, sent), "three batches of a hundred bytes and a header are not yet enough");
    produce(&mut node, "t", 2, 1);
    let response = reply(&mut node, sent);
    assert_eq!(parts(&response).iter().map(|part| offsets(part).len()).collect::<Vec<_>>(), [2, 1, 1]);
}

#[test]
fn what_did_not_come_in_time_is_not_waited_for() {
    let mut node = TestNode::new();
    let session = open(&mut node, PARTITIONS);
    let kept = node.send(VERSION, &fetch((session, 1), &[], 1_500));
    let plain = node.send(VERSION, &fetch((0, -1), &[(0, 0)], 1_500));
    node.advance(1);
    assert!(waits(&mut node, kept) && waits(&mut node, plain));
    node.advance(1);
    assert_eq!(indexes(&reply(&mut node, kept)), [] as [i32; 0]);
    assert_eq!(indexes(&reply(&mut node, plain)), [0]);
}

#[test]
fn a_new_beginning_is_told_to_sessions() {
    let mut node = TestNode::new();
    let session = open(&mut node, PARTITIONS);
    produce(&mut node, "t", 0, 1);
    let response = node.ask(VERSION, &fetch((session, 1), &[], 0));
    assert_eq!(parts(&response)[0].log_start_offset, 0);
    assert_eq!(indexes(&node.ask(VERSION, &fetch((session, 2), &[(0, 1)], 0))), [] as [i32; 0]);
    let part = DeleteRecordsPartition { partition_index: 0, offset: 1, ..Default::default() };
    let topic = DeleteRecordsTopic { name: "t".into(), partitions: vec![part], ..Default::default() };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1_000, ..Default::default() };
    assert_eq!(node.latest(&request).topics[0].partitions[0].error_code, 0);
    let response = node.ask(VERSION, &fetch((session, 3), &[], 0));
    assert_eq!(parts(&response)[0].log_start_offset, 1);
    assert_eq!(indexes(&node.ask(VERSION, &fetch((session, 4), &[], 0))), [] as [i32; 0]);
}

#[test]
fn a_deleted_topic_ends_the_waiting_and_is_told_until_it_is_back() {
    let mut node = TestNode::new();
    let session = open(&mut node, 1);
    let sent = node.send(VERSION, &fetch((session, 1), &[], 60_000));
    assert!(waits(&mut node, sent));
    node.delete("t");
    let first = reply(&mut node, sent);
    assert_ne!(parts(&first)[0].error_code, 0);
    let unknown = ErrorCode::UnknownTopicOrPartition as i16;
    assert_eq!(parts(&node.ask(VERSION, &fetch((session, 2), &[], 60_000)))[0].error_code, unknown);
    node.create("t", 1);
    produce(&mut node, "t", 0, 1);
    assert_eq!(offsets(parts(&node.ask(VERSION, &fetch((session, 3), &[], 0)))[0]), [0]);
}

#[test]
fn a_forgotten_partition_is_told_no_more() {
    let mut node = TestNode::new();
    let session = open(&mut node, PARTITIONS);
    let gone = ForgottenTopic { topic: "t".into(), partitions: vec![1], ..Default::default() };
    let request = FetchRequest { forgotten_topics_data: vec![gone], ..fetch((session, 1), &[], 0) };
    node.ask(VERSION, &request);
    produce(&mut node, "t", 1, 1);
    produce(&mut node, "t", 2, 1);
    assert_eq!(indexes(&node.ask(VERSION, &fetch((session, 2), &[], 0))), [2]);
}

#[test]
fn a_connection_has_one_fetch_under_way_and_the_others_in_line() {
    let mut node = TestNode::new();
    let conn = node.connect();
    let first = node.send_on(conn, VERSION, &fetch((0, -1), &[(0, 0)], 60_000));
    let second = node.send_on(conn, VERSION, &fetch((0, -1), &[(1, 0)], 60_000));
    produce(&mut node, "t", 1, 1);
    assert!(waits(&mut node, first), "the first fetch asks for another partition");
    produce(&mut node, "t", 0, 1);
    assert_eq!(indexes(&reply(&mut node, first)), [0]);
    assert_eq!(indexes(&reply(&mut node, second)), [1]);
    let waiting = node.send_on(conn, VERSION, &fetch((0, -1), &[(2, 0)], 60_000));
    node.close(conn);
    produce(&mut node, "t", 2, 1);
    assert!(waits(&mut node, waiting));
    let fetches = &node.reactor().fetches;
    assert!(fetches.lines.is_empty() && fetches.waiting.is_empty() && fetches.plain.is_empty());
    assert!(fetches.readers.is_empty(), "a closed connection leaves nothing behind");
}

#[test]
fn a_session_that_is_taken_up_elsewhere_ends_the_fetch_that_waits() {
    let mut node = TestNode::new();
    let session = open(&mut node, 1);
    let left = node.send(VERSION, &fetch((session, 1), &[], 60_000));
    let taken = node.send(VERSION, &fetch((session, 2), &[], 60_000));
    assert_eq!(indexes(&reply(&mut node, left)), [] as [i32; 0]);
    produce(&mut node, "t", 0, 1);
    assert_eq!(indexes(&reply(&mut node, taken)), [0]);
}

#[test]
fn cold_records_are_waited_for_by_their_reader_alone() {
    let mut node = TestNode::new();
    produce(&mut node, "t", 0, 1);
    let cold = node.connect();
    node.disk.drop_cache();
    node.hold = Hold::Warms;
    let first = node.send_on(cold, VERSION, &fetch((0, -1), &[(0, 0)], 0));
    assert!(waits(&mut node, first), "the records are on the device");
    produce(&mut node, "t", 1, 2);
    assert_eq!(indexes(&node.ask(VERSION, &fetch((0, -1), &[(1, 0)], 0))), [1], "others go on");
    let behind = node.send_on(cold, VERSION, &fetch((0, -1), &[(1, 0)], 0));
    assert!(waits(&mut node, behind));
    node.release();
    assert_eq!(offsets(parts(&reply(&mut node, first))[0]), [0]);
    assert_eq!(indexes(&reply(&mut node, behind)), [1]);
}

/// What a client that believes what it is told knows.
#[derive(Default)]
struct Follower {
    next: BTreeMap<i32, i64>,
    session: Option<(i32, i32)>,
    /// Partitions of which the session does not know the offset.
    changed: Vec<i32>,
    waiting: Option<Sent>,
}

impl Follower {
    fn ask(&mut self, node: &mut TestNode, conn: ConnId, keeps_session: bool, wait: i32) {
        let all = [0, 1, 2];
        let named: Vec<i32> =
            if self.session.is_some() { std::mem::take(&mut self.changed) } else { all.into() };
        let named: Vec<_> =
            named.into_iter().map(|index| (index, self.next.get(&index).copied().unwrap_or(0))).collect();
        let session = self.session.unwrap_or((0, if keeps_session { 0 } else { -1 }));
        self.waiting = Some(node.send_on(conn, VERSION, &fetch(session, &named, wait)));
    }

    fn hear(&mut self, node: &mut TestNode) -> bool {
        let Some(response) = self.waiting.and_then(|sent| node.reply::<FetchRequest>(sent)) else {
            return false;
        };
        self.waiting = None;
        assert_eq!(response.error_code, 0);
        self.session = match (response.session_id, self.session) {
            (0, _) => None,
            (id, None) => Some((id, 1)),
            (id, Some((_, epoch))) => Some((id, epoch + 1)),
        };
        for part in parts(&response) {
            assert_eq!(part.error_code, 0);
            for offset in offsets(part) {
                let next = self.next.entry(part.partition_index).or_default();
                assert_eq!(offset, *next, "partition {}", part.partition_index);
                *next += 1;
                self.changed.push(part.partition_index);
            }
        }
        true
    }
}

#[test]
fn followers_miss_nothing_whatever_the_order_of_things() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut node = TestNode::new();
        let mut written: BTreeMap<i32, i64> = BTreeMap::new();
        let conns = [node.connect(), node.connect()];
        let mut followers = [Follower::default(), Follower::default()];
        for _ in 0..120 {
            match rng.below(5) {
                0 | 1 => {
                    let index = i32::try_from(rng.below(3)).unwrap();
                    produce(&mut node, "t", index, 1);
                    *written.entry(index).or_default() += 1;
                    let waiting = followers.iter().filter(|follower| follower.waiting.is_some()).count();
                    let heard =
                        followers.iter_mut().filter_map(|one| one.hear(&mut node).then_some(())).count();
                    assert_eq!(heard, waiting, "seed {seed}: a waiting fetch was not told of a record");
                }
                2 => node.disk.drop_cache(),
                3 => node.create(&format!("other-{}", rng.next_u64()), 1),
                _ => {
                    let at = rng.index(2);
                    if followers[at].waiting.is_none() {
                        followers[at].ask(&mut node, conns[at], at == 0, 60_000);
                        followers[at].hear(&mut node);
                    }
                }
            }
        }
        for (at, follower) in followers.iter_mut().enumerate() {
            while follower.next != written {
                if follower.waiting.is_none() {
                    follower.ask(&mut node, conns[at], at == 0, 0);
                }
                assert!(follower.hear(&mut node), "seed {seed}: {:?} of {written:?}", follower.next);
            }
        }
    }
}
