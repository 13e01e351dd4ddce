//! Replicas and leaders that move, and brokers that come back.

use super::balance::{all_in_sync, factor_of, start_in};
use super::*;

fn reassign(world: &mut World, to: Option<&[i32]>, may_change_factor: bool) -> Outcome<()> {
    let to = to.map(|ids| ids.iter().copied().map(BrokerId).collect());
    let moves = vec![Move { topic: "t".into(), index: PartitionIndex(0), to }];
    let Reply::Changed(mut outcomes) = world.ask(Command::ReassignPartitions { moves, may_change_factor })
    else {
        panic!("not an answer to a move")
    };
    outcomes.remove(0)
}

#[test]
fn partitions_move_where_they_are_sent_and_every_refusal_has_kafkas_code() {
    let mut world = World::new(3);
    world.create(topic("t", 1, 2)).unwrap();
    let before = world.partition("t");
    let other = (0..3).map(BrokerId).find(|id| !before.is_on(*id)).unwrap();
    let kept = before.replicas[0];
    assert_eq!(code(reassign(&mut world, None, true)), ErrorCode::NoReassignmentInProgress);
    assert_eq!(code(reassign(&mut world, Some(&[]), true)), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(code(reassign(&mut world, Some(&[9, 0]), true)), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(code(reassign(&mut world, Some(&[0]), false)), ErrorCode::InvalidReplicationFactor);
    assert_eq!(reassign(&mut world, Some(&[other.0, kept.0]), false), Ok(()));
    assert_eq!(world.partition("t").replicas.len(), 3);
    assert_eq!(reassign(&mut world, None, true), Ok(()));
    assert!(!world.partition("t").is_moving());
    assert_eq!(reassign(&mut world, Some(&[other.0, kept.0]), false), Ok(()));
    all_in_sync(&mut world, "t");
    assert_eq!(world.partition("t").replicas, [other, kept]);
    let elect = |partitions| Command::ElectLeaders { election: Election::Preferred, partitions };
    assert_eq!(world.partition("t").leader, Some(kept));
    let Reply::Elected(outcomes) = world.ask(elect(None)) else { panic!("no election") };
    assert!(matches!(outcomes.as_slice(), [(_, _, Ok(()))]));
    assert_eq!(world.partition("t").leader, Some(other));
    assert_eq!(world.ask(elect(None)), Reply::Elected(vec![]), "nothing to tell");
    let named = Some(vec![("t".into(), PartitionIndex(0)), ("t".into(), PartitionIndex(7))]);
    let Reply::Elected(outcomes) = world.ask(elect(named)) else { panic!("no election") };
    let codes: Vec<_> = outcomes.into_iter().map(|(_, _, outcome)| code(outcome)).collect();
    assert_eq!(codes, [ErrorCode::ElectionNotNeeded, ErrorCode::UnknownTopicOrPartition]);
}

#[test]
fn a_broker_that_holds_the_only_copy_is_not_forgotten() {
    let mut world = World::new(2);
    world.create(topic("t", 1, 1)).unwrap();
    let holder = world.partition("t").leader.unwrap();
    let other = BrokerId(1 - holder.0);
    let Reply::Done(outcome) = world.ask(Command::UnregisterBroker { id: holder }) else { panic!("odd") };
    assert_eq!(code(outcome), ErrorCode::InvalidRequest);
    assert_eq!(world.ask(Command::UnregisterBroker { id: other }), Reply::Done(Ok(())));
    let Reply::Done(outcome) = world.ask(Command::UnregisterBroker { id: other }) else { panic!("odd") };
    assert_eq!(code(outcome), ErrorCode::BrokerIdNotRegistered);
}

#[test]
fn who_comes_back_without_having_closed_its_directory_holds_only_what_topics_keep_on_disk() {
    let volatile = |world: &mut World, factor: i16, flush: &str| {
        let configs = vec![("flush.messages".into(), Some(flush.into()))];
        world.create(NewTopic { configs, ..topic("t", 1, factor) }).unwrap();
    };
    for (flush, closed, is_kept) in
        [("1", false, true), ("9223372036854775807", false, false), ("9223372036854775807", true, true)]
    {
        let mut world = World::new(2);
        volatile(&mut world, 2, flush);
        let resource = Resource { kind: ResourceKind::Topic, name: "t".into() };
        let min = Record::Config { resource, key: "min.insync.replicas".into(), value: Some("2".into()) };
        Controller::replay(&mut world.image, &min);
        let first = world.partition("t").leader.unwrap();
        let epoch = world.image.as_ref().unwrap().broker(first).unwrap().epoch;
        let register = Command::RegisterBroker {
            id: first,
            incarnation: Uuid::ZERO,
            endpoints: vec![],
            peer_listener: String::new(),
            rack: None,
            directories: vec![],
            closed_in: if closed { epoch } else { -1 },
        };
        world.ask(register);
        let state = world.partition("t");
        assert_eq!(state.elr.contains(&first), is_kept, "{flush} {closed} {state:?}");
    }
    let mut world = World::new(1);
    volatile(&mut world, 1, "9223372036854775807");
    world.register(BrokerId(0));
    assert_eq!(world.partition("t").elr, [BrokerId(0)], "nobody else holds more");
}

#[test]
fn a_broker_that_is_cordoned_keeps_what_it_has_and_gets_no_more() {
    let mut world = World::new(3);
    world.create(topic("implicit", 1, -1)).unwrap();
    let resource = Resource { kind: ResourceKind::Broker, name: "2".into() };
    let cordon = |value: Option<&str>| Record::Config {
        resource: resource.clone(),
        key: "cordoned.log.dirs".into(),
        value: value.map(Into::into),
    };
    Controller::replay(&mut world.image, &cordon(Some("*")));
    world.create(topic("later", 4, -1)).unwrap();
    assert!(
        world
            .image
            .as_ref()
            .unwrap()
            .topic("later")
            .unwrap()
            .partitions
            .iter()
            .all(|p| !p.is_on(BrokerId(2)))
    );
    assert_eq!(factor_of(&world, "implicit"), 3);
    world.ask(Command::Balance { leaders: false });
    assert_eq!(factor_of(&world, "later"), 2);
    Controller::replay(&mut world.image, &cordon(None));
    world.ask(Command::Balance { leaders: false });
    assert_eq!(factor_of(&world, "later"), 3);
}

#[test]
fn replicas_stand_in_different_racks_as_far_as_there_are_any() {
    let mut world = World::new(0);
    for (id, rack) in [(0, "a"), (1, "a"), (2, "b"), (3, "b")] {
        start_in(&mut world, id, rack);
    }
    world.create(topic("t", 8, 2)).unwrap();
    let topic = world.image.as_ref().unwrap().topic("t").unwrap().clone();
    for partition in &topic.partitions {
        assert_ne!(partition.replicas[0].0 / 2, partition.replicas[1].0 / 2, "{partition:?}");
    }
}
