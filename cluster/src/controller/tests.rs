use super::*;
use crate::config::ResourceKind;
use crate::record::Resource;
use alloc::string::ToString;
use alloc::vec;

struct World {
    image: Option<Image>,
    defaults: Defaults,
}

impl World {
    /// A cluster with `brokers` brokers, numbered from zero.
    fn new(brokers: i32) -> Self {
        let defaults = Defaults {
            num_partitions: 1,
            replication_factor: 3,
            delete_topics: true,
            rng: Some(Rng::new(1)),
            ..Defaults::default()
        };
        let mut world = Self { image: Some(Image::new(Uuid([1; 16]))), defaults };
        (0..brokers).map(BrokerId).for_each(|id| world.start(id));
        world
    }

    fn register(&mut self, id: BrokerId) -> i64 {
        let register = Command::RegisterBroker {
            id,
            incarnation: Uuid::ZERO,
            endpoints: vec![],
            rack: None,
            directories: vec![],
        };
        let Reply::Registered { epoch } = self.ask(register) else { panic!("not registered") };
        epoch
    }

    fn start(&mut self, id: BrokerId) {
        let epoch = self.register(id);
        assert_eq!(self.ask(Command::UnfenceBroker { id, epoch }), Reply::Done(Ok(())));
    }

    fn partition(&self, topic: &str) -> crate::PartitionState {
        self.image.as_ref().unwrap().topic(topic).unwrap().partitions[0].clone()
    }

    fn ask(&mut self, command: Command) -> Reply {
        let decided = Controller::decide(&self.image, &mut self.defaults, Now::default(), (7, command));
        for record in &decided.records {
            Controller::replay(&mut self.image, record);
        }
        let [(7, reply)] = decided.replies.as_slice() else { panic!("one reply to one asker") };
        reply.clone()
    }

    fn create(&mut self, topic: NewTopic) -> Outcome<CreatedTopic> {
        let Reply::Created(mut outcomes) =
            self.ask(Command::CreateTopics { topics: vec![topic], validate_only: false })
        else {
            panic!("not a creation")
        };
        outcomes.remove(0)
    }
}

fn topic(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic { name: name.to_string(), partitions, replication_factor, assignments: vec![], configs: vec![] }
}

fn code<T: core::fmt::Debug>(outcome: Outcome<T>) -> ErrorCode {
    outcome.unwrap_err().code
}

#[test]
fn an_implicit_factor_is_what_the_cluster_can_bear() {
    let mut world = World::new(1);
    let created = world.create(topic("a", 3, -1)).unwrap();
    assert_eq!((created.partitions, created.replication_factor), (3, 1));
    assert!(world.image.as_ref().unwrap().topic("a").unwrap().implicit_factor);
    assert_eq!(code(world.create(topic("b", 3, 2))), ErrorCode::InvalidReplicationFactor);
    assert_eq!(World::new(4).create(topic("a", 1, -1)).unwrap().replication_factor, 3);
}

#[test]
fn replicas_of_a_partition_are_distinct_and_leaders_spread() {
    let mut world = World::new(3);
    world.create(topic("a", 6, 2)).unwrap();
    let image = world.image.unwrap();
    let partitions = &image.topic("a").unwrap().partitions;
    for broker in (0..3).map(BrokerId) {
        assert_eq!(partitions.iter().filter(|p| p.leader == Some(broker)).count(), 2);
    }
    assert!(partitions.iter().all(|p| p.replicas[0] != p.replicas[1]));
}

#[test]
fn every_refusal_has_kafkas_code() {
    let mut world = World::new(1);
    world.create(topic("a.b", 1, 1)).unwrap();
    assert_eq!(code(world.create(topic("a.b", 1, 1))), ErrorCode::TopicAlreadyExists);
    assert_eq!(code(world.create(topic("a_b", 1, 1))), ErrorCode::InvalidTopicException);
    for name in ["", ".", "..", "ä", "a b", &"x".repeat(250)] {
        assert_eq!(code(world.create(topic(name, 1, 1))), ErrorCode::InvalidTopicException, "{name}");
    }
    assert_eq!(code(world.create(topic("c", 0, 1))), ErrorCode::InvalidPartitions);
    assert_eq!(code(world.create(topic("c", -2, 1))), ErrorCode::InvalidPartitions);
    assert_eq!(code(world.create(topic("c", 1, 0))), ErrorCode::InvalidReplicationFactor);
    let with = |key: &str, value: Option<&str>| NewTopic {
        configs: vec![(key.to_string(), value.map(ToString::to_string))],
        ..topic("c", 1, 1)
    };
    assert_eq!(code(world.create(with("no.such.key", Some("1")))), ErrorCode::InvalidConfig);
    assert_eq!(code(world.create(with("retention.ms", None))), ErrorCode::InvalidConfig);
    assert_eq!(code(world.create(with("retention.ms", Some("soon")))), ErrorCode::InvalidConfig);
    let assigned = |lists: Vec<(i32, Vec<i32>)>| NewTopic {
        assignments: lists.into_iter().map(|(i, l)| (i, l.into_iter().map(BrokerId).collect())).collect(),
        ..topic("c", -1, -1)
    };
    for lists in [
        vec![(1, vec![0])],
        vec![(0, vec![0]), (0, vec![0])],
        vec![(0, vec![])],
        vec![(0, vec![0, 0])],
        vec![(0, vec![9])],
    ] {
        assert_eq!(
            code(world.create(assigned(lists.clone()))),
            ErrorCode::InvalidReplicaAssignment,
            "{lists:?}"
        );
    }
    let both = NewTopic { partitions: 1, ..assigned(vec![(0, vec![0])]) };
    assert_eq!(code(world.create(both)), ErrorCode::InvalidRequest);
    let twice =
        Command::CreateTopics { topics: vec![topic("d", 1, 1), topic("d", 1, 1)], validate_only: false };
    let Reply::Created(outcomes) = world.ask(twice) else { panic!() };
    assert!(outcomes.into_iter().all(|outcome| code(outcome) == ErrorCode::InvalidRequest));
    assert!(world.image.unwrap().topic("d").is_none());
}

#[test]
fn validation_changes_nothing() {
    let mut world = World::new(1);
    let Reply::Created(outcomes) =
        world.ask(Command::CreateTopics { topics: vec![topic("a", 1, 1)], validate_only: true })
    else {
        panic!()
    };
    assert!(outcomes[0].is_ok());
    assert!(world.image.unwrap().topic("a").is_none());
}

#[test]
fn a_deleted_topic_takes_its_configs_along_and_its_name_is_free() {
    let mut world = World::new(1);
    let configured =
        NewTopic { configs: vec![("retention.ms".into(), Some("1".into()))], ..topic("a", 1, 1) };
    let first = world.create(configured).unwrap().id;
    let delete = Command::DeleteTopics { topics: vec![TopicRef::Id(first), TopicRef::Name("b".into())] };
    let Reply::Deleted(outcomes) = world.ask(delete) else { panic!() };
    assert_eq!(outcomes[0].1, Ok(("a".into(), first)));
    assert_eq!(code(outcomes[1].1.clone()), ErrorCode::UnknownTopicOrPartition);
    assert_ne!(world.create(topic("a", 1, 1)).unwrap().id, first);
    assert!(world.image.unwrap().overrides(ResourceKind::Topic, "a").is_none());
}

#[test]
fn topics_grow_and_never_shrink() {
    let mut world = World::new(1);
    world.create(topic("a", 2, 1)).unwrap();
    let mut grow = |total, assignments| {
        let wanted = GrowTopic { name: "a".into(), total, assignments };
        let Reply::Changed(mut outcomes) =
            world.ask(Command::GrowTopics { topics: vec![wanted], validate_only: false })
        else {
            panic!()
        };
        outcomes.remove(0)
    };
    assert_eq!(code(grow(2, None)), ErrorCode::InvalidPartitions);
    assert_eq!(code(grow(1, None)), ErrorCode::InvalidPartitions);
    assert_eq!(code(grow(4, Some(vec![vec![BrokerId(0)]]))), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(grow(4, None), Ok(()));
    assert_eq!(world.image.unwrap().topic("a").unwrap().partitions.len(), 4);
}

fn alter(world: &mut World, kind: ResourceKind, name: &str, changes: &[(&str, ConfigOp)]) -> Outcome<()> {
    let changes =
        changes.iter().map(|(key, op)| ConfigChange { key: key.to_string(), op: op.clone() }).collect();
    let subject = Subject { resource: Resource { kind, name: name.into() }, changes, replace: false };
    let Reply::Changed(mut outcomes) =
        world.ask(Command::AlterConfigs { subjects: vec![subject], validate_only: false })
    else {
        panic!("not a change")
    };
    outcomes.remove(0)
}

#[test]
fn configs_change_together_or_not_at_all() {
    let mut world = World::new(1);
    world.create(topic("a", 1, 1)).unwrap();
    let set = |value: &str| ConfigOp::Set(value.into());
    let kind = ResourceKind::Topic;
    let bad = [("retention.ms", set("5")), ("segment.bytes", set("1"))];
    assert_eq!(code(alter(&mut world, kind, "a", &bad)), ErrorCode::InvalidConfig);
    assert!(world.image.as_ref().unwrap().overrides(kind, "a").is_none());

    assert_eq!(
        alter(&mut world, kind, "a", &[("cleanup.policy", ConfigOp::Append("compact".into()))]),
        Ok(())
    );
    let get =
        |world: &World| world.image.as_ref().unwrap().overrides(kind, "a").unwrap()["cleanup.policy"].clone();
    assert_eq!(get(&world), "delete,compact");
    assert_eq!(
        alter(&mut world, kind, "a", &[("cleanup.policy", ConfigOp::Subtract("delete".into()))]),
        Ok(())
    );
    assert_eq!(get(&world), "compact");
    assert_eq!(code(alter(&mut world, kind, "b", &[])), ErrorCode::UnknownTopicOrPartition);
    let read_only = [("num.partitions", set("2"))];
    assert_eq!(code(alter(&mut world, ResourceKind::Broker, "0", &read_only)), ErrorCode::InvalidRequest);
    assert_eq!(alter(&mut world, ResourceKind::Broker, "", &[("log.retention.ms", set("9"))]), Ok(()));
}

#[test]
fn producer_ids_are_never_handed_out_twice() {
    let mut world = World::new(1);
    let mut last = -1;
    for _ in 0..3 {
        let Reply::ProducerIds { first, count } =
            world.ask(Command::AllocateProducerIds { broker: BrokerId(0) })
        else {
            panic!()
        };
        assert!(first.0 > last);
        last = first.0 + count - 1;
    }
}

#[test]
fn a_snapshot_holds_everything() {
    let mut world = World::new(2);
    world.create(topic("a", 3, 2)).unwrap();
    alter(&mut world, ResourceKind::Topic, "a", &[("retention.ms", ConfigOp::Set("5".into()))]).unwrap();
    let _ = world.ask(Command::AllocateProducerIds { broker: BrokerId(0) });
    let image = world.image.unwrap();
    let mut copy = Image::new(image.cluster_id);
    for record in image.snapshot() {
        copy.replay(&record, &mut Delta::default());
    }
    assert!(copy.snapshot().eq(image.snapshot()));
    assert_eq!(copy.topic("a"), image.topic("a"));
}

#[test]
fn a_broker_that_starts_anew_leads_in_a_new_epoch() {
    let mut world = World::new(1);
    world.create(topic("t", 1, 1)).unwrap();
    let before = world.partition("t");
    let epoch = world.register(BrokerId(0));
    let between = world.partition("t");
    assert_eq!((between.leader, &between.isr[..], &between.elr[..]), (None, &[][..], &[BrokerId(0)][..]));
    world.ask(Command::UnfenceBroker { id: BrokerId(0), epoch });
    let after = world.partition("t");
    assert_eq!((after.leader, after.isr, after.elr), (before.leader, before.isr, before.elr));
    assert!(before.leader_epoch < between.leader_epoch && between.leader_epoch < after.leader_epoch);
}

#[test]
fn another_replica_leads_on_and_who_comes_back_has_to_catch_up() {
    let mut world = World::new(3);
    world.create(topic("t", 1, 3)).unwrap();
    let first = world.partition("t").leader.unwrap();
    world.start(first);
    let after = world.partition("t");
    assert!(after.leader.is_some_and(|leader| leader != first && after.isr.contains(&leader)));
    assert!(!after.isr.contains(&first) && after.elr.is_empty(), "two of three are enough: {after:?}");
}
