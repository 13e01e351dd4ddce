use super::*;
use crate::config::ResourceKind;
use crate::partition::IsrChange;
use crate::record::Resource;
use alloc::string::ToString;
use alloc::vec;
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
        let register = Command::RegisterBroker {
            id,
            incarnation: Uuid::ZERO,
            endpoints: vec![],
            peer_listener: String::new(),
            rack: None,
            directories: vec![],
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
        self.image.as_ref().unwrap().topic(topic).unwrap().partitions[0].clone()
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

fn factor_of(world: &World, topic: &str) -> usize {
    world.partition(topic).replicas.len()
}

/// The leader of a partition says that all its replicas are in sync.
fn all_in_sync(world: &mut World, name: &str) {
    let topic = world.image.as_ref().unwrap().topic(name).unwrap().clone();
    for (index, state) in (0..).map(PartitionIndex).zip(&topic.partitions) {
        let change = IsrChange {
            from: state.leader.unwrap(),
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            isr: state.replicas.iter().map(|id| (*id, -1)).collect(),
        };
        let epoch = world.image.as_ref().unwrap().broker(change.from).unwrap().epoch;
        let broker = change.from;
        let changes = vec![PartitionChange { topic: topic.id, index, change }];
        let reply = world.ask(Command::AlterPartitions { broker, epoch, changes });
        assert!(matches!(&reply, Reply::Partitions(outcomes) if outcomes[0].is_ok()), "{reply:?}");
    }
}

#[test]
fn topics_whose_factor_nobody_chose_grow_as_brokers_come_and_others_do_not() {
    let mut world = World::new(1);
    world.create(topic("implicit", 2, -1)).unwrap();
    world.create(topic("chosen", 2, 1)).unwrap();
    assert_eq!(world.ask(Command::Balance { leaders: false }), Reply::Balanced { is_more: false });
    assert_eq!(factor_of(&world, "implicit"), 1);
    world.start(BrokerId(1));
    world.start(BrokerId(2));
    world.ask(Command::Balance { leaders: false });
    let growing = world.partition("implicit");
    assert_eq!((growing.replicas.len(), growing.adding.len(), growing.leader), (3, 2, Some(BrokerId(0))));
    assert_eq!(factor_of(&world, "chosen"), 1);
    all_in_sync(&mut world, "implicit");
    let grown = world.partition("implicit");
    assert_eq!((grown.isr.len(), grown.is_moving()), (3, false));
    let first =
        |index: usize| world.image.as_ref().unwrap().topic("implicit").unwrap().partitions[index].replicas[0];
    assert_ne!(first(0), first(1), "the preferred leaders are spread");
    world.ask(Command::Balance { leaders: true });
    let before = world.partition("implicit");
    assert_eq!(before.leader, before.replicas.first().copied());
    world.ask(Command::Balance { leaders: true });
    assert_eq!(world.partition("implicit"), before, "once is enough");
}

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
        let id = BrokerId(id);
        let register = Command::RegisterBroker {
            id,
            incarnation: Uuid::ZERO,
            endpoints: vec![],
            peer_listener: String::new(),
            rack: Some(rack.into()),
            directories: vec![],
            closed_in: -1,
        };
        let Reply::Registered { epoch } = world.ask(register) else { panic!("not registered") };
        world.ask(ready(id, epoch));
    }
    world.create(topic("t", 8, 2)).unwrap();
    let topic = world.image.as_ref().unwrap().topic("t").unwrap().clone();
    for partition in &topic.partitions {
        assert_ne!(partition.replicas[0].0 / 2, partition.replicas[1].0 / 2, "{partition:?}");
    }
}
