//! Copies that keep to a rate (KIP-73), and what they never hold up.

use super::*;
use base::{BrokerId, PartitionIndex, Span};
use cluster::Resource;
use cluster::config::{
    FOLLOWER_RATE_KEY, FOLLOWER_THROTTLED_KEY, LEADER_RATE_KEY, LEADER_THROTTLED_KEY, ResourceKind,
};
use cluster::controller::{Command, ConfigChange, ConfigOp, Move, Reply, Subject};

const RECORD_BYTES: usize = 10_000;
const RECORDS: usize = 300;
const RATE: u64 = 100_000;

fn set_rate(world: &mut World, key: &str, rate: u64) {
    let change = ConfigChange { key: key.into(), op: ConfigOp::Set(rate.to_string()) };
    let resource = Resource { kind: ResourceKind::Broker, name: "".into() };
    let subject = Subject { resource, changes: vec![change], replace: false };
    let command = Command::AlterConfigs { subjects: vec![subject], validate_only: false };
    let reply = world.control(command);
    assert_eq!(reply, Reply::Changed(vec![Ok(())]));
    world.rest();
}

fn move_to(world: &mut World, to: Option<&[i32]>) {
    let to = to.map(|to| to.iter().copied().map(BrokerId).collect());
    let moves = vec![Move { topic: TOPIC.into(), index: PartitionIndex(0), to }];
    let reply = world.control(Command::ReassignPartitions { moves, may_change_factor: true });
    assert_eq!(reply, Reply::Changed(vec![Ok(())]));
    world.rest();
}

/// Brokers 0 and 1 have three megabytes, which broker 2 begins to copy.
fn copying(throttled: &[(&str, &str)], rates: &[&str]) -> World {
    let mut world = World::new(3, &[("replica.fetch.max.bytes", "20000")]);
    let configs: Vec<_> = throttled.iter().copied().chain([REPLICATED]).collect();
    world.create(&[0, 1], &configs);
    let value = "x".repeat(RECORD_BYTES);
    for _ in 0..RECORDS {
        write(&mut world, 0, &value);
    }
    world.advance(5_000);
    rates.iter().for_each(|key| set_rate(&mut world, key, RATE));
    move_to(&mut world, Some(&[0, 1, 2]));
    world
}

fn copied(world: &World) -> u64 {
    world.replica(2).size_bytes()
}

/// It takes as long as the rate says, to a fifth, and then the copy is in sync.
fn check_held(mut world: World) {
    for second in [10, 20] {
        world.advance(10_000);
        let (bytes, due) = (copied(&world), RATE * second);
        assert!(bytes.abs_diff(due) <= due / 5, "{bytes} of {due} after {second} s");
        assert_eq!(world.isr(), [0, 1]);
    }
    world.advance(20_000);
    assert_eq!(world.isr(), [0, 1, 2], "{} bytes", copied(&world));
    check_same(&world);
}

#[test]
fn a_leader_hands_out_no_faster_than_it_may() {
    check_held(copying(&[(LEADER_THROTTLED_KEY, "0:0,0:1")], &[LEADER_RATE_KEY]));
}

#[test]
fn a_follower_fetches_no_faster_than_it_may() {
    check_held(copying(&[(FOLLOWER_THROTTLED_KEY, "0:2")], &[FOLLOWER_RATE_KEY]));
}

#[test]
fn both_sides_together_hold_the_same_rate() {
    let lists = [(LEADER_THROTTLED_KEY, "*"), (FOLLOWER_THROTTLED_KEY, "*")];
    check_held(copying(&lists, &[LEADER_RATE_KEY, FOLLOWER_RATE_KEY]));
}

#[test]
fn what_is_not_named_is_not_held() {
    let lists = [(LEADER_THROTTLED_KEY, "0:1,1:0"), (FOLLOWER_THROTTLED_KEY, "0:1,1:2")];
    let mut world = copying(&lists, &[LEADER_RATE_KEY, FOLLOWER_RATE_KEY]);
    world.advance(1_000);
    assert_eq!(world.isr(), [0, 1, 2]);
}

#[test]
fn a_replica_in_sync_is_never_held_up() {
    let lists = [(LEADER_THROTTLED_KEY, "*"), (FOLLOWER_THROTTLED_KEY, "*")];
    let mut world = copying(&lists, &[LEADER_RATE_KEY, FOLLOWER_RATE_KEY]);
    for key in [LEADER_RATE_KEY, FOLLOWER_RATE_KEY] {
        set_rate(&mut world, key, 0);
    }
    let before = copied(&world);
    world.advance(5_000);
    assert_eq!((copied(&world), world.isr()), (before, vec![0, 1]), "nothing is copied any more");
    // Written everywhere at once, however much it is.
    for _ in 0..50 {
        write(&mut world, 0, &"y".repeat(RECORD_BYTES));
    }
    for key in [LEADER_RATE_KEY, FOLLOWER_RATE_KEY] {
        set_rate(&mut world, key, i64::MAX.unsigned_abs());
    }
    world.advance(1_000);
    assert_eq!(world.isr(), [0, 1, 2], "without a rate it comes at once");
    for key in [LEADER_RATE_KEY, FOLLOWER_RATE_KEY] {
        set_rate(&mut world, key, 0);
    }
    write(&mut world, 0, "z");
    check_same(&world);
}

#[test]
fn another_partition_of_the_same_leader_is_not_held_up() {
    let mut world = copying(&[(FOLLOWER_THROTTLED_KEY, "*")], &[FOLLOWER_RATE_KEY]);
    world.create_another("other", &[0, 2], &[REPLICATED]);
    world.advance(500);
    assert_eq!(world.isr(), [0, 1]);
    let other = world.image.topic("other").unwrap().id;
    let replica =
        |world: &World, at: usize| world.brokers[at].view.replica(other, PartitionIndex(0)).unwrap().clone();
    let mut batch = BatchBuilder::new(BatchMeta { producer_id: -1, ..BatchMeta::default() });
    batch.push(&RecordFields { timestamp: 1, key: None, value: Some(b"a"), headers: &[] });
    let records = Some(Records::Bytes(batch.finish().into()));
    let part = PartitionProduceData { index: 0, records, ..Default::default() };
    let topic = TopicProduceData { name: "other".into(), partition_data: vec![part], ..Default::default() };
    let request =
        ProduceRequest { acks: ALL, timeout_ms: 60_000, topic_data: vec![topic], ..Default::default() };
    let since = world.now.mono;
    let sent = world.send(0, 12, &request);
    assert_eq!(code(&mut world, sent), Some(NONE));
    assert_eq!(replica(&world, 2).extent().1, base::EndOffset(1));
    assert!(world.now.mono.since(since) < Span::from_millis(1));
}

#[test]
fn a_throttled_copy_can_be_taken_back() {
    let lists = [(LEADER_THROTTLED_KEY, "*"), (FOLLOWER_THROTTLED_KEY, "*")];
    let mut world = copying(&lists, &[LEADER_RATE_KEY, FOLLOWER_RATE_KEY]);
    world.advance(3_000);
    move_to(&mut world, None);
    assert_eq!((world.state().is_moving(), world.state().replicas.len()), (false, 2));
    let before = copied(&world);
    world.advance(5_000);
    assert_eq!(copied(&world), before, "nothing is copied any more");
    write(&mut world, 0, "a");
    assert_eq!(world.isr(), [0, 1]);
}
