use super::*;
use crate::config::ResourceKind;
use crate::partition::IsrChange;
use crate::record::Resource;
use alloc::string::ToString;
use alloc::vec;
use base::plant::{self, Bug};
use base::{LeaderEpoch, PartitionIndex};

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
            internal_replication_factor: 3,
            delete_topics: true,
            rng: Some(Rng::new(1)),
            session_timeout: Span::from_millis(9_000),
            ..Defaults::default()
        };
        let mut world = Self { image: Some(Image::new(Uuid([1; 16]))), defaults };
        (0..brokers).map(BrokerId).for_each(|id| world.start(id));
        world
    }

    fn register(&mut self, id: BrokerId) -> i64 {
        self.register_on(id, vec![])
    }

    fn register_on(&mut self, id: BrokerId, directories: Vec<Uuid>) -> i64 {
        let register = Command::RegisterBroker {
            id,
            incarnation: Uuid::ZERO,
            endpoints: vec![],
            peer_listener: String::new(),
            rack: None,
            directories,
            closed_in: -1,
        };
        let Reply::Registered { epoch } = self.ask(register) else { panic!("not registered") };
        epoch
    }

    fn start(&mut self, id: BrokerId) {
        let epoch = self.register(id);
        let alive = Reply::Alive(Alive { is_caught_up: true, is_fenced: false });
        assert_eq!(self.ask(ready(id, epoch)), alive);
    }

    fn partition(&self, topic: &str) -> crate::PartitionState {
        self.image.as_ref().unwrap().topic(topic).unwrap().partitions[0].as_ref().clone()
    }

    fn ask(&mut self, command: Command) -> Reply {
        self.ask_at(0, command)
    }

    /// Asks so many seconds after the beginning.
    fn ask_at(&mut self, seconds: u64, command: Command) -> Reply {
        let mono = Instant::from_nanos(seconds * 1_000_000_000);
        let now = Now { mono, ..Now::default() };
        let decided = Controller::decide(&self.image, &mut self.defaults, now, (7, command));
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
    world.ask(ready(BrokerId(0), epoch));
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

/// A broker has replayed everything.
fn ready(broker: BrokerId, epoch: i64) -> Command {
    Command::Heartbeat(Heartbeat { broker, epoch, replayed: u64::MAX >> 1, wants_fence: false })
}

#[test]
fn a_process_that_is_gone_is_fenced_at_once_and_its_id_is_free_for_another_disk() {
    let mut world = World::new(2);
    world.create(topic("t", 1, 2)).unwrap();
    let leader = world.partition("t").leader.unwrap();
    let taken = |id| Command::RegisterBroker {
        id,
        incarnation: Uuid::ZERO,
        endpoints: vec![],
        peer_listener: String::new(),
        rack: None,
        directories: vec![Uuid([5; 16])],
        closed_in: -1,
    };
    let Reply::Done(outcome) = world.ask(taken(leader)) else { panic!("taken from a broker that lives") };
    assert_eq!(code(outcome), ErrorCode::DuplicateBrokerRegistration);
    assert_eq!(world.ask(Command::FenceBroker { id: leader }), Reply::Done(Ok(())));
    assert!(world.partition("t").leader.is_some_and(|next| next != leader));
    let before = world.partition("t");
    assert_eq!(world.ask(Command::FenceBroker { id: leader }), Reply::Done(Ok(())));
    assert_eq!(world.partition("t"), before, "once is enough");
    assert!(matches!(world.ask(taken(leader)), Reply::Registered { .. }));
}

#[test]
fn who_was_not_closed_does_not_hold_what_was_in_memory_alone() {
    let mut world = World::new(2);
    let set = |key: &str, value: &str| (key.to_string(), Some(value.to_string()));
    let mut topic = topic("t", 1, 2);
    topic.configs = vec![set("min.insync.replicas", "2"), set("flush.messages", "9223372036854775807")];
    world.create(topic).unwrap();
    let leader = world.partition("t").leader.unwrap();
    let other = BrokerId(1 - leader.0);
    world.register(other);
    let after = world.partition("t");
    assert_eq!((after.isr, after.elr), (vec![leader], vec![]), "it was not closed: KIP-966");
}

/// True if a test notices the bug.
fn is_noticed(bug: Bug, test: fn()) -> bool {
    extern crate std;
    plant::arm(Some(bug));
    let noticed = std::panic::catch_unwind(test).is_err();
    plant::arm(None);
    noticed
}

#[test]
fn without_the_rules_who_comes_back_would_count_as_one_that_holds_all() {
    assert!(is_noticed(Bug::A12, who_was_not_closed_does_not_hold_what_was_in_memory_alone));
    assert!(is_noticed(Bug::E7, who_comes_back_with_an_empty_disk_holds_nothing_and_leads_nothing));
}

#[test]
fn who_comes_back_with_an_empty_disk_holds_nothing_and_leads_nothing() {
    let mut world = World::new(0);
    let disk = |byte| vec![Uuid([byte; 16])];
    for id in (0..3).map(BrokerId) {
        let epoch = world.register_on(id, disk(10));
        world.ask(ready(id, epoch));
    }
    let mut topic = topic("t", 1, 3);
    topic.configs = vec![("min.insync.replicas".into(), Some("2".into()))];
    world.create(topic).unwrap();
    // All are gone; the last of them was the last in sync, and another one holds all that is safe, too.
    for id in (0..3).map(BrokerId) {
        world.ask(Command::FenceBroker { id });
    }
    let holders = world.partition("t").elr;
    let [other, last] = holders[..] else { panic!("two may lead: {holders:?}") };
    let epoch = world.register_on(last, disk(11));
    world.ask(ready(last, epoch));
    let waits = world.partition("t");
    assert_eq!((waits.leader, waits.elr), (None, vec![other]), "its log is empty");
    // Whoever still has its disk does lead.
    let epoch = world.register_on(other, disk(10));
    world.ask(ready(other, epoch));
    assert_eq!(world.partition("t").leader, Some(other));
    // Where nobody else holds what is safe, nobody leads.
    world.ask(Command::FenceBroker { id: other });
    let epoch = world.register_on(other, disk(11));
    world.ask(ready(other, epoch));
    assert_eq!((world.partition("t").leader, world.partition("t").isr), (None, vec![]));
}

#[test]
fn the_difference_of_two_images_is_what_a_replay_would_have_said() {
    let mut world = World::new(2);
    world.create(topic("gone", 1, 1)).unwrap();
    world.create(topic("same", 1, 1)).unwrap();
    let earlier = world.image.clone().unwrap();
    world.create(topic("new", 2, 1)).unwrap();
    world.ask(Command::DeleteTopics { topics: vec![TopicRef::Name("gone".into())] });
    let resource = Resource { kind: ResourceKind::Topic, name: "same".into() };
    let config =
        Record::Config { resource: resource.clone(), key: "retention.ms".into(), value: Some("1".into()) };
    Controller::replay(&mut world.image, &config);
    world.register(BrokerId(7));
    let later = world.image.clone().unwrap();
    let delta = earlier.difference(&later);
    assert_eq!(delta.topics, [later.topic("new").unwrap().id]);
    assert_eq!(delta.removed, [(earlier.topic("gone").unwrap().id, "gone".into())]);
    assert_eq!((delta.configs, delta.brokers), (vec![resource], vec![BrokerId(7)]));
    assert!(later.difference(&later).is_empty());
    let back = later.difference(&earlier);
    assert_eq!((back.topics.len(), back.removed.len(), back.configs.len(), back.brokers.len()), (1, 1, 1, 1));
}

fn beat(id: i32) -> Heartbeat {
    Heartbeat { broker: BrokerId(id), epoch: 1, replayed: 1, wants_fence: false }
}

#[test]
fn who_is_silent_for_a_session_is_fenced_and_leads_nothing() {
    let mut world = World::new(3);
    world.create(topic("t", 1, 3)).unwrap();
    let leader = world.partition("t").leader.unwrap();
    // A new controller gives everybody a whole session.
    world.defaults.sessions.clear();
    assert_eq!(world.ask_at(100, Command::ExpireSessions), Reply::Expired(None));
    for id in (0..3).filter(|id| *id != leader.0) {
        let alive = Reply::Alive(Alive { is_caught_up: true, is_fenced: false });
        assert_eq!(world.ask_at(105, Command::Heartbeat(beat(id))), alive);
    }
    assert_eq!(world.ask_at(108, Command::ExpireSessions), Reply::Expired(None));
    assert_eq!(world.ask_at(109, Command::ExpireSessions), Reply::Expired(Some(leader)));
    assert_eq!(world.ask_at(109, Command::ExpireSessions), Reply::Expired(None));
    let after = world.partition("t");
    assert!(after.leader.is_some_and(|next| next != leader) && !after.isr.contains(&leader));
    // It comes back by itself.
    let back = world.ask_at(110, Command::Heartbeat(beat(leader.0)));
    assert_eq!(back, Reply::Alive(Alive { is_caught_up: true, is_fenced: false }));
}

#[test]
fn a_broker_is_unfenced_once_it_knows_its_own_registration() {
    let mut world = World::new(1);
    world.register(BrokerId(0));
    let early = Heartbeat { replayed: 0, ..beat(0) };
    let waits = Reply::Alive(Alive { is_caught_up: false, is_fenced: true });
    assert_eq!(world.ask(Command::Heartbeat(early)), waits);
    let unready = Heartbeat { wants_fence: true, ..beat(0) };
    assert_eq!(
        world.ask(Command::Heartbeat(unready)),
        Reply::Alive(Alive { is_caught_up: true, is_fenced: true })
    );
    let ready = Reply::Alive(Alive { is_caught_up: true, is_fenced: false });
    assert_eq!(world.ask(Command::Heartbeat(beat(0))), ready);
    let other_life = Heartbeat { epoch: 7, ..beat(0) };
    let Reply::Done(outcome) = world.ask(Command::Heartbeat(other_life)) else { panic!("not refused") };
    assert_eq!(code(outcome), ErrorCode::StaleBrokerEpoch);
}

#[test]
fn a_leader_changes_who_is_in_sync_and_every_refusal_has_kafkas_code() {
    let mut world = World::new(3);
    let created = world.create(topic("t", 1, 3)).unwrap();
    let state = world.partition("t");
    let leader = state.leader.unwrap();
    let good = IsrChange {
        from: leader,
        leader_epoch: state.leader_epoch,
        partition_epoch: state.partition_epoch,
        isr: vec![(leader, 1)],
    };
    let mut alter = |topic: TopicId, change: &IsrChange| {
        let changes = vec![PartitionChange { topic, index: PartitionIndex(0), change: change.clone() }];
        let reply = world.ask(Command::AlterPartitions { broker: leader, epoch: 1, changes });
        let Reply::Partitions(mut outcomes) = reply else { panic!("{reply:?}") };
        outcomes.remove(0)
    };
    let epoch = |by: i32| LeaderEpoch(state.leader_epoch.0 + by);
    let bad = [
        (IsrChange { leader_epoch: epoch(-1), ..good.clone() }, ErrorCode::FencedLeaderEpoch),
        (IsrChange { leader_epoch: epoch(1), ..good.clone() }, ErrorCode::NotController),
        (
            IsrChange { partition_epoch: state.partition_epoch - 1, ..good.clone() },
            ErrorCode::InvalidUpdateVersion,
        ),
        (IsrChange { isr: vec![], ..good.clone() }, ErrorCode::InvalidRequest),
        (IsrChange { isr: vec![(leader, 1), (BrokerId(9), 1)], ..good.clone() }, ErrorCode::InvalidRequest),
        (IsrChange { isr: vec![(leader, 8)], ..good.clone() }, ErrorCode::IneligibleReplica),
    ];
    for (change, expected) in bad {
        assert_eq!(code(alter(created.id, &change)), expected, "{change:?}");
    }
    assert_eq!(code(alter(TopicId(Uuid([7; 16])), &good)), ErrorCode::UnknownTopicId);
    let changed = alter(created.id, &good).unwrap();
    assert_eq!((&changed.isr[..], changed.partition_epoch), (&[leader][..], state.partition_epoch + 1));
    assert_eq!(code(alter(created.id, &good)), ErrorCode::InvalidUpdateVersion, "once is enough");
    assert_eq!(world.partition("t"), changed);
}

mod balance;
mod moves;
