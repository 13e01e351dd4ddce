//! Whole clusters: what was acknowledged survives its leader.

use crate::effects::{Input, Mail, Owner};
use crate::test_cluster::TestCluster;
use bytes::Bytes;
use seglog::disk::{Disk as _, OpenMode};
use std::sync::Arc;
use wire::create_topics::{CreatableTopic, CreateTopicsRequest};
use wire::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use wire::metadata::{MetadataRequest, MetadataResponsePartition};
use wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::record::{BatchBuilder, BatchMeta, RecordFields};
use wire::{ErrorCode, Records};

fn create(cluster: &mut TestCluster, factor: i16) {
    let topic = CreatableTopic {
        name: "t".into(),
        num_partitions: 1,
        replication_factor: factor,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1_000, ..Default::default() };
    assert_eq!(cluster.ask(1, 7, &request).topics[0].error_code, 0);
    cluster.run(50);
}

/// The partition as a node knows it, and the topic's id.
fn partition(cluster: &mut TestCluster, through: usize) -> (MetadataResponsePartition, base::Uuid) {
    let answer = cluster.ask(through, 12, &MetadataRequest { topics: None, ..Default::default() });
    (answer.topics[0].partitions[0].clone(), answer.topics[0].topic_id)
}

fn leader(cluster: &mut TestCluster, through: usize) -> usize {
    usize::try_from(partition(cluster, through).0.leader_id).expect("a leader")
}

fn batch(value: &str) -> Bytes {
    let mut builder = BatchBuilder::new(BatchMeta::default());
    builder.push(&RecordFields { value: Some(value.as_bytes()), ..RecordFields::default() });
    builder.finish().into()
}

/// The error and the offset.
fn produce(cluster: &mut TestCluster, to: usize, value: &str) -> (i16, i64) {
    let partition = PartitionProduceData {
        index: 0,
        records: Some(Records::Bytes(batch(value))),
        ..PartitionProduceData::default()
    };
    let topic = TopicProduceData { name: "t".into(), partition_data: vec![partition], ..Default::default() };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 5_000, topic_data: vec![topic], ..Default::default() };
    let request = ProduceRequest { transactional_id: None, ..request };
    let answer = cluster.ask(to, 9, &request);
    let part = &answer.responses[0].partition_responses[0];
    (part.error_code, part.base_offset)
}

/// The error and the values from the beginning.
fn read(cluster: &mut TestCluster, from: usize) -> (i16, Vec<String>) {
    read_at(cluster, from, 0)
}

fn read_at(cluster: &mut TestCluster, from: usize, fetch_offset: i64) -> (i16, Vec<String>) {
    let answer = cluster.ask(from, 11, &fetch(fetch_offset));
    found(&answer.responses[0].partitions[0])
}

/// A consumer's fetch that waits for a second.
fn fetch(fetch_offset: i64) -> FetchRequest {
    let partition =
        FetchPartition { fetch_offset, partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let topic = FetchTopic { topic: "t".into(), partitions: vec![partition], ..FetchTopic::default() };
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 1_000,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..FetchRequest::default()
    }
}

fn found(part: &PartitionData) -> (i16, Vec<String>) {
    let Some(Records::Bytes(bytes)) = &part.records else { return (part.error_code, Vec::new()) };
    let mut values = Vec::new();
    for batch in wire::record::parse_batches(bytes).map_while(Result::ok) {
        for record in wire::record::Records::new(batch.payload(), batch.header().record_count) {
            values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    (part.error_code, values)
}

#[test]
fn what_a_leader_has_acknowledged_its_followers_have_and_one_of_them_leads_when_it_dies() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    create(&mut cluster, 3);
    let first = leader(&mut cluster, 1);
    for at in 0..5 {
        assert_eq!(produce(&mut cluster, first, &format!("v{at}")), (0, at));
    }
    let other = first % 3 + 1;
    assert_eq!(produce(&mut cluster, other, "elsewhere").0, ErrorCode::NotLeaderOrFollower as i16);
    cluster.kill(first, 0);
    cluster.run(1_000);
    let second = leader(&mut cluster, other);
    assert_ne!(second, first);
    assert_eq!(produce(&mut cluster, second, "v5"), (0, 5));
    let all: Vec<_> = (0..6).map(|at| format!("v{at}")).collect();
    assert_eq!(read(&mut cluster, second), (0, all.clone()));
    cluster.start(first);
    cluster.all_serve();
    cluster.run(2_000);
    assert_eq!(partition(&mut cluster, second).0.isr_nodes.len(), 3, "it has caught up: {:#?}", cluster.log);
    cluster.kill(second, 0);
    cluster.run(1_000);
    let third = leader(&mut cluster, first);
    assert_eq!(read(&mut cluster, third), (0, all));
}

#[test]
fn who_asks_for_a_leader_that_has_just_died_is_told_of_its_successor() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    create(&mut cluster, 3);
    // The controller's death takes longest: nobody can appoint a successor before there is another.
    for _ in 0..3 {
        let first = leader(&mut cluster, 1);
        let other = first % 3 + 1;
        cluster.kill(first, 0);
        cluster.run(1);
        let second = leader(&mut cluster, other);
        assert_ne!(second, first);
        assert_eq!(produce(&mut cluster, second, "on").0, 0);
        cluster.start(first);
        cluster.all_serve();
        cluster.run(2_000);
    }
}

#[test]
fn who_asks_for_a_leader_without_a_successor_is_answered_after_a_second() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    create(&mut cluster, 3);
    let first = leader(&mut cluster, 1);
    let other = first % 3 + 1;
    cluster.kill(first, 0);
    cluster.kill(other % 3 + 1, 0);
    cluster.run(1);
    let since = cluster.time();
    assert_eq!(leader(&mut cluster, other), first, "nobody could appoint another");
    assert_eq!(cluster.time().since(since).as_millis(), 999);
    assert_eq!(leader(&mut cluster, other), first);
    assert!(
        cluster.time().since(since).as_millis() < 1_010,
        "it waits once after the leader's end, not each time"
    );
}

#[test]
fn clients_are_told_of_a_fenced_broker_for_a_few_seconds() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    let told = |cluster: &mut TestCluster| -> Vec<i32> {
        let answer = cluster.ask(1, 12, &MetadataRequest { topics: Some(vec![]), ..Default::default() });
        answer.brokers.iter().map(|broker| broker.node_id).collect()
    };
    cluster.kill(3, 0);
    cluster.run(4_000);
    assert!(cluster.node(1).unwrap().metadata.view().image.broker(base::BrokerId(3)).unwrap().fenced);
    assert_eq!(told(&mut cluster), [1, 2, 3]);
    cluster.run(2_000);
    assert_eq!(told(&mut cluster), [1, 2]);
    cluster.start(3);
    cluster.all_serve();
    assert_eq!(told(&mut cluster), [1, 2, 3]);
}

const SEGMENT: &str = "t-0/00000000000000000000.log";

fn segment(cluster: &TestCluster, id: usize) -> Vec<u8> {
    let file = cluster.disk(id).open(SEGMENT, OpenMode::Read).unwrap();
    let mut bytes = vec![0; 4_096];
    let length = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(length);
    bytes
}

/// A bit of the last batch changes, which is what a start looks at.
fn rot(cluster: &TestCluster, id: usize) {
    let length = segment(cluster, id).len() as u64;
    cluster.disk(id).flip_bit(SEGMENT, (length - 2) * 8).unwrap();
}

#[test]
fn a_replica_with_a_rotten_batch_is_fetched_anew_from_those_who_have_it() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    create(&mut cluster, 3);
    let first = leader(&mut cluster, 1);
    let all: Vec<_> = (0..5).map(|at| format!("v{at}")).collect();
    for (value, at) in all.iter().zip(0..) {
        assert_eq!(produce(&mut cluster, first, value), (0, at));
    }
    let other = first % 3 + 1;
    cluster.kill(first, 0);
    rot(&cluster, first);
    cluster.run(500);
    cluster.start(first);
    cluster.all_serve();
    cluster.run(2_000);
    assert!(cluster.log.iter().any(|line| line.contains("is damaged and is fetched anew")));
    assert_eq!(partition(&mut cluster, other).0.isr_nodes.len(), 3, "{:#?}", cluster.log);
    (1..=3).filter(|id| *id != first).for_each(|id| cluster.kill(id, 0));
    (1..=3).filter(|id| *id != first).for_each(|id| cluster.start(id));
    cluster.all_serve();
    cluster.run(8_000);
    // The preferred leader leads again: it has all of it.
    let leads = leader(&mut cluster, other);
    assert_eq!(read(&mut cluster, leads), (0, all));
}

#[test]
fn a_rotten_replica_leads_from_no_set_and_waits_for_those_who_hold_what_is_safe() {
    let mut cluster = TestCluster::new(3, &[("min.insync.replicas", "2")]);
    cluster.all_serve();
    create(&mut cluster, 3);
    let first = leader(&mut cluster, 1);
    for at in 0..5 {
        assert_eq!(produce(&mut cluster, first, &format!("v{at}")), (0, at));
    }
    // All go: the second comes back while the two others count as in sync, so that it may have missed something.
    (1..=3).for_each(|id| cluster.kill(id, 0));
    rot(&cluster, first);
    let other = first % 3 + 1;
    let last = other % 3 + 1;
    cluster.start(first);
    cluster.start(other);
    cluster.all_serve();
    cluster.run(3_000);
    assert_eq!(partition(&mut cluster, other).0.leader_id, -1, "{:#?}", cluster.log);
    cluster.start(last);
    cluster.all_serve();
    cluster.run(3_000);
    let state = partition(&mut cluster, other).0;
    assert_eq!((leader(&mut cluster, other), state.isr_nodes.len()), (last, 3), "{:#?}", cluster.log);
    assert_eq!(read(&mut cluster, last).1.len(), 5);
}

#[test]
fn the_only_copy_of_what_is_safe_stays_as_it_is_however_damaged() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    create(&mut cluster, 1);
    let first = leader(&mut cluster, 1);
    for at in 0..5 {
        assert_eq!(produce(&mut cluster, first, &format!("v{at}")), (0, at));
    }
    // Until the point that is flushed is known durably, what is broken at the end may be a write that was never acknowledged.
    cluster.run(10_000);
    cluster.kill(first, 0);
    rot(&cluster, first);
    let before = segment(&cluster, first);
    cluster.start(first);
    cluster.all_serve();
    cluster.run(25_000);
    let told = cluster.log.iter().filter(|line| line.contains("is damaged and not replaced")).count();
    assert_eq!(told, 1, "the operator is told once: {:#?}", cluster.log);
    assert_eq!(read(&mut cluster, first).0, ErrorCode::NotLeaderOrFollower as i16);
    assert_eq!(segment(&cluster, first), before);
}

#[test]
fn a_leader_that_finds_a_damaged_batch_lets_another_lead_until_it_has_it_again() {
    let mut cluster = TestCluster::new(3, &[("leader.imbalance.check.interval.seconds", "1")]);
    cluster.all_serve();
    create(&mut cluster, 3);
    let first = leader(&mut cluster, 1);
    let all: Vec<_> = (0..5).map(|at| format!("v{at}")).collect();
    for (value, at) in all.iter().zip(0..) {
        assert_eq!(produce(&mut cluster, first, value), (0, at));
    }
    // Only a start forgets where batches are that were just written.
    cluster.kill(first, 0);
    cluster.run(500);
    cluster.start(first);
    cluster.run(25_000);
    assert_eq!(leader(&mut cluster, first), first, "the preferred leader: {:#?}", cluster.log);
    let batch = segment(&cluster, first).len() as u64 / 5;
    let length = 2 * batch + 8;
    cluster.disk(first).flip_bit(SEGMENT, length * 8).unwrap();
    let epoch = partition(&mut cluster, first).0.leader_epoch;
    assert_eq!(read_at(&mut cluster, first, 3).0, ErrorCode::CorruptMessage as i16);
    cluster.run(8_000);
    let (state, _) = partition(&mut cluster, first);
    assert_eq!((leader(&mut cluster, first), state.isr_nodes.len()), (first, 3), "{:#?}", cluster.log);
    assert_eq!(state.leader_epoch, epoch + 2, "another led, and then it again");
    assert_eq!(read(&mut cluster, first), (0, all));
    assert_eq!(segment(&cluster, first), segment(&cluster, first % 3 + 1));
}

#[test]
fn a_follower_that_cannot_take_what_its_leader_sends_makes_it_look_at_its_own_copy() {
    let mut cluster = TestCluster::new(3, &[("auto.leader.rebalance.enable", "false")]);
    cluster.all_serve();
    create(&mut cluster, 3);
    let first = leader(&mut cluster, 1);
    let all: Vec<_> = (0..5).map(|at| format!("v{at}")).collect();
    for (value, at) in all.iter().zip(0..) {
        assert_eq!(produce(&mut cluster, first, value), (0, at));
    }
    let batch = segment(&cluster, first).len() as u64 / 5;
    cluster.disk(first).flip_bit(SEGMENT, (3 * batch - 2) * 8).unwrap();
    // Nobody looks at it before somebody needs it.
    let other = first % 3 + 1;
    cluster.kill(other, 0);
    cluster.lose_disk(other);
    cluster.run(500);
    cluster.start(other);
    cluster.all_serve();
    cluster.run(8_000);
    let (state, _) = partition(&mut cluster, other);
    assert_eq!(state.isr_nodes.len(), 3, "{:#?}", cluster.log);
    let third = other % 3 + 1;
    assert_eq!(leader(&mut cluster, other), third, "who has it whole");
    assert_eq!(read(&mut cluster, third), (0, all));
    assert_eq!(segment(&cluster, first), segment(&cluster, third));
    assert_eq!(segment(&cluster, other), segment(&cluster, third));
}

#[test]
fn a_consumer_is_sent_to_the_replica_in_its_rack_and_reads_there_what_is_safe() {
    let selector = ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector");
    let mut cluster = TestCluster::new(1, &[selector, ("broker.rack", "a")]);
    cluster.add(&[selector, ("broker.rack", "b")]);
    cluster.add(&[selector, ("broker.rack", "c")]);
    cluster.all_serve();
    cluster.run(1_000);
    create(&mut cluster, 3);
    let first = leader(&mut cluster, 1);
    for at in 0..3 {
        assert_eq!(produce(&mut cluster, first, &format!("v{at}")).0, 0);
    }
    let other = first % 3 + 1;
    let rack = ["a", "b", "c"][other - 1];
    let near = |offset| FetchRequest { rack_id: rack.into(), ..fetch(offset) };
    let told = cluster.ask(first, 11, &near(0)).responses[0].partitions[0].clone();
    assert_eq!((told.error_code, told.preferred_read_replica), (0, i32::try_from(other).unwrap()));
    assert_eq!(found(&told).1.len(), 0, "nothing is sent from afar");
    // Who does not know of it, or is in the leader's rack, or in none, reads from the leader.
    for rack in ["", ["a", "b", "c"][first - 1], "d"] {
        let request = FetchRequest { rack_id: rack.into(), ..fetch(0) };
        let served = cluster.ask(first, 11, &request).responses[0].partitions[0].clone();
        assert_eq!((served.preferred_read_replica, found(&served).1.len()), (-1, 3), "rack {rack}");
    }
    let served = cluster.ask(other, 11, &near(0)).responses[0].partitions[0].clone();
    assert_eq!(found(&served), (0, vec!["v0".into(), "v1".into(), "v2".into()]));
    let old = cluster.ask(other, 10, &fetch(0)).responses[0].partitions[0].clone();
    assert_eq!(old.error_code, ErrorCode::NotLeaderOrFollower as i16, "an old client");
    let beyond = cluster.ask(other, 11, &near(99)).responses[0].partitions[0].clone();
    assert_eq!(beyond.error_code, ErrorCode::OffsetOutOfRange as i16);
    // Who waits here hears of news as soon as it is known here to be safe.
    let since = cluster.time();
    let waits = cluster.send(other, 11, &near(3));
    cluster.run(100);
    assert_eq!(produce(&mut cluster, first, "v3"), (0, 3));
    let news = cluster.answer::<FetchRequest>(other, 11, waits);
    assert_eq!(found(&news.responses[0].partitions[0]), (0, vec!["v3".into()]));
    assert!(cluster.time().since(since).as_millis() < 200, "{}", cluster.time().since(since).as_millis());
    // A replica that is not in sync is nobody's.
    cluster.kill(other, 0);
    cluster.run(1_000);
    let alone = cluster.ask(first, 11, &near(0)).responses[0].partitions[0].clone();
    assert_eq!((alone.preferred_read_replica, found(&alone).1.len()), (-1, 4));
}

#[test]
fn a_partition_that_is_opened_anew_follows_as_before() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    create(&mut cluster, 3);
    let first = leader(&mut cluster, 1);
    assert_eq!(produce(&mut cluster, first, "v0"), (0, 0));
    let other = first % 3 + 1;
    let replica = cluster.node(other).unwrap().metadata.view().replicas.values().next().unwrap().clone();
    cluster.tell(other, Owner::Metadata, Input::Mail(Mail::Reopen(replica.clone())));
    assert_eq!(produce(&mut cluster, first, "v1"), (0, 1));
    cluster.run(3_000);
    let anew = cluster.node(other).unwrap().metadata.view().replicas.values().next().unwrap().clone();
    assert!(!Arc::ptr_eq(&replica, &anew));
    assert_eq!(produce(&mut cluster, first, "v2"), (0, 2));
    assert_eq!(partition(&mut cluster, first).0.isr_nodes.len(), 3, "{:#?}", cluster.log);
    assert_eq!(segment(&cluster, first), segment(&cluster, other));
}

#[test]
fn a_leader_that_has_died_leads_again_when_its_clients_have_had_time_to_find_it() {
    let mut cluster = TestCluster::new(3, &[("leader.imbalance.check.interval.seconds", "1")]);
    cluster.all_serve();
    create(&mut cluster, 3);
    cluster.run(20_000);
    let first = leader(&mut cluster, 1);
    let other = first % 3 + 1;
    cluster.kill(first, 0);
    cluster.run(500);
    cluster.start(first);
    cluster.all_serve();
    cluster.run(14_000);
    assert_eq!(partition(&mut cluster, other).0.isr_nodes.len(), 3, "{:#?}", cluster.log);
    assert_ne!(leader(&mut cluster, other), first);
    cluster.run(4_000);
    assert_eq!(leader(&mut cluster, other), first, "{:#?}", cluster.log);
}
