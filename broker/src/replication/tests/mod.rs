//! Stories of replicas that follow each other, without sockets and without metadata owners.

mod throttled;
mod trouble;
mod world;

use base::LeaderEpoch;
use base::plant::Bug;
use wire::Records;
use wire::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use wire::fetch::{FetchPartition, FetchRequest, FetchTopic};
use wire::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use wire::produce::{PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData};
use wire::record::{BatchBuilder, BatchMeta, RecordFields};
use world::{Sent, TOPIC, World};

const NONE: i16 = 0;
const NOT_LEADER: i16 = wire::ErrorCode::NotLeaderOrFollower as i16;
const ALL: i16 = -1;
const REPLICATED: (&str, &str) = ("flush.messages", "9223372036854775807");

fn produce(world: &mut World, at: usize, value: &str, acks: i16) -> Sent {
    produce_many(world, at, &[value], acks)
}

/// One batch.
fn produce_many(world: &mut World, at: usize, values: &[&str], acks: i16) -> Sent {
    let mut batch = BatchBuilder::new(BatchMeta { producer_id: -1, ..BatchMeta::default() });
    for value in values {
        batch.push(&RecordFields { timestamp: 1, key: None, value: Some(value.as_bytes()), headers: &[] });
    }
    let records = Some(Records::Bytes(batch.finish().into()));
    let part = PartitionProduceData { index: 0, records, ..Default::default() };
    let topic = TopicProduceData { name: TOPIC.into(), partition_data: vec![part], ..Default::default() };
    let request = ProduceRequest { acks, timeout_ms: 60_000, topic_data: vec![topic], ..Default::default() };
    world.send(at, 12, &request)
}

fn produced(world: &mut World, sent: Sent) -> Option<PartitionProduceResponse> {
    let response = world.reply::<ProduceRequest>(sent)?;
    Some(response.responses[0].partition_responses[0].clone())
}

fn code(world: &mut World, sent: Sent) -> Option<i16> {
    produced(world, sent).map(|part| part.error_code)
}

fn write(world: &mut World, at: usize, value: &str) {
    let sent = produce(world, at, value, ALL);
    assert_eq!(code(world, sent), Some(NONE), "{value}: {:?}", world.state());
}

/// Everybody up has the log that the leader has, and knows that all of it is safe.
fn check_same(world: &World) {
    let leader = world.leader();
    let (start, high_watermark, end) = world.bounds(leader);
    assert_eq!(high_watermark, end, "not all of it is safe");
    let replicas = world.state().replicas.iter().map(|id| usize::try_from(id.0).unwrap());
    for at in replicas.filter(|at| world.brokers[*at].is_up) {
        assert_eq!(world.bounds(at), (start, high_watermark, end), "broker {at}");
        assert_eq!(world.content(at, start), world.content(leader, start), "broker {at}");
    }
}

fn three(configs: &[(&str, &str)]) -> World {
    let mut world = World::new(3, &[]);
    world.create(&[0, 1, 2], configs);
    world
}

#[test]
fn followers_have_what_their_leader_has_and_know_what_is_safe() {
    let mut world = three(&[]);
    for round in 0..5 {
        write(&mut world, 0, &format!("value {round}"));
    }
    assert_eq!(world.bounds(0), (0, 5, 5));
    check_same(&world);
    assert_eq!(world.isr(), [0, 1, 2]);
    let refused = produce(&mut world, 1, "to a follower", ALL);
    let refused = produced(&mut world, refused).unwrap();
    assert_eq!((refused.error_code, refused.current_leader.leader_id), (NOT_LEADER, 0));
}

#[test]
fn on_a_flushed_topic_only_what_is_on_all_disks_is_safe() {
    for slow in 0..3 {
        let mut world = three(&[]);
        world.brokers[slow].holds_flushes = true;
        let sent = produce(&mut world, 0, "a", ALL);
        assert_eq!(world.bounds(0), (0, 0, 1));
        assert_eq!([world.bounds(1).2, world.bounds(2).2], [1, 1], "it is written everywhere");
        assert_eq!(code(&mut world, sent), None);
        world.release_flushes(slow);
        assert_eq!(code(&mut world, sent), Some(NONE));
        check_same(&world);
    }
}

#[test]
fn on_a_replicated_topic_what_is_written_everywhere_is_safe() {
    let mut world = three(&[REPLICATED]);
    world.brokers.iter_mut().for_each(|broker| broker.holds_flushes = true);
    write(&mut world, 0, "a");
    check_same(&world);
}

fn fetch(world: &mut World, at: usize, offset: i64, version: i16) -> Sent {
    fetch_in(world, at, offset, version, -1)
}

fn fetch_in(world: &mut World, at: usize, offset: i64, version: i16, current_leader_epoch: i32) -> Sent {
    let part = FetchPartition {
        partition: 0,
        current_leader_epoch,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchTopic {
        topic: TOPIC.into(),
        topic_id: world.topic_id().0,
        partitions: vec![part],
        ..Default::default()
    };
    let request =
        FetchRequest { max_wait_ms: 60_000, min_bytes: 1, topics: vec![topic], ..Default::default() };
    world.send(at, version, &request)
}

#[test]
fn whoever_waits_hears_that_somebody_else_leads() {
    let mut world = three(&[]);
    write(&mut world, 0, "a");
    world.brokers[2].holds_flushes = true;
    let waits = produce(&mut world, 0, "b", ALL);
    let reads = fetch_in(&mut world, 0, 1, 17, 0);
    // Who names no epoch goes on at what is a follower now, as with Kafka; who knows of no followers does not.
    let goes_on = fetch(&mut world, 0, 1, 17);
    let old = fetch(&mut world, 0, 1, 10);
    assert_eq!(code(&mut world, waits), None);
    assert!(world.reply::<FetchRequest>(reads).is_none());
    world.fence(0, true);
    assert_eq!((world.leader(), world.isr()), (1, vec![1, 2]));
    let told = produced(&mut world, waits).unwrap();
    assert_eq!(told.error_code, NOT_LEADER);
    let told = world.reply::<FetchRequest>(reads).unwrap();
    let part = &told.responses[0].partitions[0];
    let fenced = wire::ErrorCode::FencedLeaderEpoch as i16;
    assert_eq!((part.error_code, part.current_leader.leader_id), (fenced, 1));
    assert!(world.reply::<FetchRequest>(goes_on).is_none());
    let told_old = world.reply::<FetchRequest>(old).unwrap();
    assert_eq!(told_old.responses[0].partitions[0].error_code, NOT_LEADER);
    assert_eq!(told.node_endpoints.iter().map(|node| &*node.host).collect::<Vec<_>>(), ["n1"]);
    world.release_flushes(2);
    world.fence(0, false);
    check_same(&world);
    assert_eq!(world.bounds(1), (0, 2, 2), "what the old leader had given away is kept");
}

#[test]
fn a_replica_that_knows_of_its_successor_before_the_view_does_names_it() {
    let mut world = three(&[]);
    write(&mut world, 0, "a");
    world.brokers[0].is_deaf = true;
    world.fence(0, true);
    let state = world.state().clone();
    world.replica(0).assume(base::BrokerId(0), &state, world.now.mono, &mut crate::Effects::default());
    let sent = produce(&mut world, 0, "b", 1);
    let told = produced(&mut world, sent).unwrap();
    let successor = (told.current_leader.leader_id, told.current_leader.leader_epoch);
    assert_eq!((told.error_code, successor), (NOT_LEADER, (1, state.leader_epoch.0)));
    let reads = fetch_in(&mut world, 0, 1, 17, 0);
    let told = world.reply::<FetchRequest>(reads).unwrap().responses[0].partitions[0].current_leader.clone();
    assert_eq!((told.leader_id, told.leader_epoch), successor);
}

#[test]
fn an_end_that_a_new_leader_does_not_know_is_not_made_up() {
    let mut world = three(&[REPLICATED]);
    write(&mut world, 0, "a");
    world.keeps_answers = Some(0);
    world.sever(1, 2);
    let _unheard = produce(&mut world, 0, "b", 1);
    world.fence(0, true);
    assert_eq!(world.leader(), 1);
    let part = ListOffsetsPartition { partition_index: 0, timestamp: -1, ..Default::default() };
    let topic = ListOffsetsTopic { name: TOPIC.into(), partitions: vec![part], ..Default::default() };
    let request = ListOffsetsRequest { topics: vec![topic], ..Default::default() };
    let sent = world.send(1, 11, &request);
    let offset_not_available = wire::ErrorCode::OffsetNotAvailable as i16;
    let told = world.reply::<ListOffsetsRequest>(sent).unwrap().topics[0].partitions[0].clone();
    let (_, high_watermark, end) = world.bounds(1);
    assert_eq!(told.error_code, if high_watermark < end { offset_not_available } else { NONE });
    world.heal();
    let sent = world.send(1, 11, &request);
    let told = world.reply::<ListOffsetsRequest>(sent).unwrap().topics[0].partitions[0].clone();
    assert_eq!((told.error_code, told.offset), (NONE, end));
}

#[test]
fn a_log_that_parts_from_the_new_leaders_is_cut_and_filled_up() {
    let mut world = three(&[REPLICATED]);
    write(&mut world, 0, "a");
    world.sever(0, 1);
    world.sever(0, 2);
    for lost in ["b", "c", "d"] {
        let sent = produce(&mut world, 0, lost, 1);
        assert_eq!(code(&mut world, sent), Some(NONE));
    }
    world.brokers[0].is_deaf = true;
    world.fence(0, true);
    write(&mut world, 1, "B");
    assert_eq!([world.bounds(0), world.bounds(1)], [(0, 1, 4), (0, 2, 2)]);
    world.brokers[0].is_deaf = false;
    world.fence(0, false);
    world.heal();
    check_same(&world);
    world.advance(1_000);
    assert_eq!(world.isr(), [0, 1, 2], "it is in sync again");
}

#[test]
fn a_fetch_from_a_log_that_parts_says_nothing_of_how_far_it_is() {
    let mut world = World::new(3, &[]);
    world.create(&[0, 2, 1], &[REPLICATED]);
    write(&mut world, 0, "a");
    // One of two followers has a second record, and the other one leads then.
    world.sever(0, 2);
    produce(&mut world, 0, "lost", 1);
    assert_eq!((world.bounds(1).2, world.bounds(2).2), (2, 1));
    world.brokers[1].is_deaf = true;
    world.fence(0, true);
    assert_eq!(world.leader(), 2);
    let sent = produce(&mut world, 2, "kept", ALL);
    world.brokers[1].holds_cuts = true;
    world.hear(1);
    world.advance(1_000);
    assert_eq!(code(&mut world, sent), None, "nobody else has it");
    assert!(world.bounds(2).1 <= 1);
    world.release_flushes(1);
    world.advance(1_000);
    assert_eq!((code(&mut world, sent), world.bounds(1).2), (Some(NONE), 2));
}

#[test]
fn without_the_rule_a_log_that_parts_would_count() {
    base::plant::arm(Some(Bug::A6));
    let told = std::panic::catch_unwind(a_fetch_from_a_log_that_parts_says_nothing_of_how_far_it_is);
    base::plant::arm(None);
    assert!(told.is_err());
}

#[test]
fn epochs_that_only_one_side_saw_are_searched_back() {
    // Each of two leads alone for a while, and neither knows the other's epochs (KIP-279).
    let mut world = World::new(2, &[]);
    world.create(&[0, 1], &[REPLICATED]);
    write(&mut world, 0, "a");
    for round in 0..4 {
        let (leads, waits) = if round % 2 == 0 { (0, 1) } else { (1, 0) };
        world.sever(0, 1);
        world.brokers[leads].is_deaf = true;
        for lost in 0..=round {
            produce(&mut world, leads, &format!("{round}.{lost}"), 1);
        }
        world.fence(leads, true);
        world.brokers[leads].is_deaf = false;
        assert_eq!(world.leader(), waits);
        write(&mut world, waits, &format!("kept {round}"));
        world.fence(leads, false);
        world.heal();
        world.advance(1_000);
        check_same(&world);
        assert_eq!(world.isr(), [0, 1]);
    }
}

#[test]
fn a_follower_that_is_gone_leaves_the_replicas_in_sync_and_comes_back() {
    let mut world = three(&[("min.insync.replicas", "2")]);
    write(&mut world, 0, "a");
    world.sever(0, 2);
    let waits = produce(&mut world, 0, "b", ALL);
    world.advance(10_000);
    assert_eq!((code(&mut world, waits), world.isr()), (None, vec![0, 1, 2]));
    world.advance(40_000);
    assert_eq!((code(&mut world, waits), world.isr()), (Some(NONE), vec![0, 1]));
    world.heal();
    world.advance(1_000);
    assert_eq!(world.isr(), [0, 1, 2]);
    check_same(&world);
    world.sever(0, 2);
    world.sever(0, 1);
    let waits = produce(&mut world, 0, "c", ALL);
    world.advance(50_000);
    assert_eq!((code(&mut world, waits), world.isr()), (None, vec![0]), "with too few nothing is safe");
    let refused = produce(&mut world, 0, "d", ALL);
    assert_eq!(code(&mut world, refused), Some(wire::ErrorCode::NotEnoughReplicas as i16));
    world.heal();
    world.advance(1_000);
    assert_eq!((code(&mut world, waits), world.isr()), (Some(NONE), vec![0, 1, 2]));
    check_same(&world);
}

#[test]
fn a_busy_follower_that_flushes_a_little_late_stays_in_sync() {
    let mut world = World::new(2, &[("replica.lag.time.max.ms", "2000")]);
    world.create(&[0, 1], &[]);
    for round in 0..60 {
        world.brokers[1].holds_flushes = true;
        produce(&mut world, 0, &format!("{round}"), 1);
        world.advance(100);
        produce(&mut world, 0, &format!("{round}"), 1);
        world.release_flushes(1);
        world.brokers[1].holds_flushes = true;
        produce(&mut world, 0, &format!("{round}"), 1);
        world.advance(100);
        assert_eq!(world.isr(), [0, 1], "round {round}");
        world.release_flushes(1);
    }
    world.brokers[1].holds_flushes = true;
    produce(&mut world, 0, "the last", 1);
    world.advance(6_000);
    assert_eq!(world.isr(), [0], "a disk that stands still is not in sync");
    world.release_flushes(1);
    world.advance(1_000);
    assert_eq!(world.isr(), [0, 1]);
}

#[test]
fn sessions_that_are_evicted_are_begun_anew() {
    let mut world = World::new(3, &[("max.incremental.fetch.session.cache.slots", "1")]);
    world.create(&[0, 1, 2], &[]);
    for round in 0..5 {
        let sent = produce(&mut world, 0, &format!("{round}"), ALL);
        world.advance(1_000);
        assert_eq!(code(&mut world, sent), Some(NONE));
    }
    world.advance(1_000);
    check_same(&world);
}

#[test]
fn a_leader_without_sessions_is_followed_all_the_same() {
    let mut world = World::new(3, &[("max.incremental.fetch.session.cache.slots", "0")]);
    world.create(&[0, 1, 2], &[]);
    write(&mut world, 0, "a");
    write(&mut world, 0, "b");
    check_same(&world);
}

#[test]
fn a_deleted_topic_is_followed_no_more_and_may_come_back() {
    let mut world = three(&[]);
    write(&mut world, 0, "a");
    world.brokers[1].holds_flushes = true;
    produce(&mut world, 0, "b", ALL);
    world.delete();
    world.release_flushes(1);
    world.advance(2_000);
    world.create(&[2, 1, 0], &[]);
    write(&mut world, 2, "another");
    assert_eq!(world.bounds(2), (0, 1, 1));
    check_same(&world);
}

fn delete_records(world: &mut World, at: usize, offset: i64) -> i16 {
    let part = DeleteRecordsPartition { partition_index: 0, offset, ..Default::default() };
    let topic = DeleteRecordsTopic { name: TOPIC.into(), partitions: vec![part], ..Default::default() };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1_000, ..Default::default() };
    let sent = world.send(at, 2, &request);
    deleted(world, sent).expect("an answer without time going on")
}

fn deleted(world: &mut World, sent: Sent) -> Option<i16> {
    Some(world.reply::<DeleteRecordsRequest>(sent)?.topics[0].partitions[0].error_code)
}

#[test]
fn a_deletion_waits_for_all_who_may_lead_next() {
    let mut world = three(&[]);
    write(&mut world, 0, "a");
    write(&mut world, 0, "b");
    world.sever(0, 2);
    let part = DeleteRecordsPartition { partition_index: 0, offset: 1, ..Default::default() };
    let topic = DeleteRecordsTopic { name: TOPIC.into(), partitions: vec![part], ..Default::default() };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1_000, ..Default::default() };
    let timed_out = world.send(0, 2, &request);
    let patient = world.send(0, 2, &DeleteRecordsRequest { timeout_ms: 60_000, ..request });
    assert_eq!((deleted(&mut world, timed_out), deleted(&mut world, patient)), (None, None));
    world.advance(1_100);
    assert_eq!(deleted(&mut world, timed_out), Some(wire::ErrorCode::RequestTimedOut as i16));
    world.heal();
    assert_eq!(deleted(&mut world, patient), Some(NONE));
    check_same(&world);
}

#[test]
fn what_the_leader_deletes_goes_everywhere() {
    let mut world = three(&[]);
    for round in 0..5 {
        write(&mut world, 0, &format!("{round}"));
    }
    assert_eq!(delete_records(&mut world, 1, 3), NOT_LEADER);
    assert_eq!(delete_records(&mut world, 0, 3), NONE);
    write(&mut world, 0, "b");
    assert_eq!(world.bounds(0), (3, 6, 6));
    check_same(&world);
}

#[test]
fn a_follower_behind_what_its_leader_has_deleted_starts_over() {
    let mut world = three(&[("min.insync.replicas", "2")]);
    write(&mut world, 0, "a");
    world.crash(2);
    world.fence(2, true);
    for round in 0..5 {
        write(&mut world, 0, &format!("{round}"));
    }
    assert_eq!(delete_records(&mut world, 0, 4), NONE);
    world.start(2, 100);
    world.advance(2_000);
    assert_eq!(world.isr(), [0, 1, 2]);
    assert_eq!(world.bounds(0), (4, 6, 6));
    check_same(&world);
}

#[test]
fn a_log_that_begins_within_a_batch_is_copied_with_the_batch() {
    let mut world = three(&[("min.insync.replicas", "2")]);
    write(&mut world, 0, "a");
    world.crash(2);
    world.fence(2, true);
    let sent = produce_many(&mut world, 0, &["b", "c", "d"], ALL);
    assert_eq!(code(&mut world, sent), Some(NONE));
    assert_eq!(delete_records(&mut world, 0, 3), NONE);
    world.start(2, 100);
    world.advance(2_000);
    assert_eq!((world.bounds(0), world.isr()), ((3, 4, 4), vec![0, 1, 2]));
    check_same(&world);
}

#[test]
fn a_leader_that_lost_power_follows_whoever_leads_then() {
    let mut world = three(&[("min.insync.replicas", "2")]);
    write(&mut world, 0, "a");
    world.brokers[0].holds_flushes = true;
    let _unsafe = produce(&mut world, 0, "b", ALL);
    world.crash(0);
    world.fence(0, true);
    assert_eq!(world.leader(), 1);
    write(&mut world, 1, "c");
    world.start(0, 0);
    world.advance(2_000);
    assert_eq!(world.isr(), [0, 1, 2]);
    check_same(&world);
    assert_eq!(world.bounds(1), (0, 3, 3));
}

#[test]
fn a_late_answer_to_an_earlier_epochs_fetch_is_dropped() {
    let mut world = World::new(2, &[]);
    world.create(&[0, 1], &[REPLICATED]);
    write(&mut world, 0, "a");
    world.keeps_answers = Some(0);
    produce(&mut world, 0, "b", 1);
    assert_eq!(world.bounds(1).2, 1, "the answer is on its way");
    // The leader starts anew and leads again, in another epoch; the connection is the same here.
    let before = world.epoch();
    world.fence(0, true);
    world.fence(1, true);
    world.fence(0, false);
    world.fence(1, false);
    assert!(world.epoch() > LeaderEpoch(before.0));
    world.release_answers();
    world.advance(2_000);
    check_same(&world);
    assert_eq!(world.isr(), [0, 1]);
}

#[test]
fn the_high_watermark_is_told_without_waiting_for_records() {
    let mut world = three(&[]);
    world.brokers[2].holds_flushes = true;
    let sent = produce(&mut world, 0, "a", ALL);
    assert_eq!([world.bounds(0).1, world.bounds(1).1], [0, 0]);
    world.release_flushes(2);
    assert_eq!(code(&mut world, sent), Some(NONE));
    assert_eq!([world.bounds(0).1, world.bounds(1).1, world.bounds(2).1], [1, 1, 1]);
}

#[test]
fn a_partition_that_comes_does_not_wait_for_one_where_nothing_happens() {
    let mut world = World::new(3, &[]);
    world.create_another("idle", &[0, 1, 2], &[]);
    world.create(&[0, 1, 2], &[]);
    write(&mut world, 0, "without time going on");
    check_same(&world);
}
