//! What follows from the brokers that there are.

use super::*;
use crate::config::BALANCER_KEY;
use crate::image::Topic;
use alloc::collections::BTreeSet;
use alloc::format;

pub(super) fn factor_of(world: &World, topic: &str) -> usize {
    world.partition(topic).replicas.len()
}

/// The leader of each partition says that all its replicas are in sync.
pub(super) fn all_in_sync(world: &mut World, name: &str) {
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

pub(super) fn start_in(world: &mut World, id: i32, rack: &str) {
    let register = Command::RegisterBroker {
        id: BrokerId(id),
        incarnation: Uuid::ZERO,
        endpoints: vec![],
        peer_listener: String::new(),
        rack: Some(rack.into()),
        directories: vec![],
        closed_in: -1,
    };
    let Reply::Registered { epoch } = world.ask(register) else { panic!("not registered") };
    world.ask(ready(BrokerId(id), epoch));
}

fn topics(world: &World) -> Vec<Topic> {
    world.image.as_ref().unwrap().topics().map(|topic| (**topic).clone()).collect()
}

/// How many replicas, and how many preferred leaders, each of the first `brokers` brokers has, in all or of one topic.
fn counts(world: &World, brokers: i32, topic: Option<&str>) -> (Vec<usize>, Vec<usize>) {
    let topics = topics(world);
    let states = || {
        topics.iter().filter(|it| topic.is_none_or(|name| &*it.name == name)).flat_map(|it| &it.partitions)
    };
    let replicas = |id| states().filter(|state| state.is_on(id)).count();
    let preferred = |id| states().filter(|state| state.replicas[0] == id).count();
    let ids = || (0..brokers).map(BrokerId);
    (ids().map(replicas).collect(), ids().map(preferred).collect())
}

/// Balances and lets what moves arrive, until there is nothing left. Says how many partitions moved at a time at most.
fn balance_out(world: &mut World) -> usize {
    let mut most = 0;
    for _ in 0..1_000 {
        let before = topics(world);
        let reply = world.ask(Command::Balance { leaders: false });
        let all = topics(world);
        let is_moving = |topic: &Topic| topic.partitions.iter().filter(|state| state.is_moving()).count();
        most = most.max(all.iter().map(is_moving).sum());
        if all == before {
            assert_eq!(reply, Reply::Balanced { is_more: false, has_moved: false });
            return most;
        }
        all.iter().for_each(|topic| all_in_sync(world, &topic.name));
    }
    panic!("it never ends");
}

fn spread(counts: &[usize]) -> usize {
    counts.iter().max().unwrap() - counts.iter().min().unwrap()
}

#[test]
fn topics_whose_factor_nobody_chose_grow_as_brokers_come_and_others_do_not() {
    let mut world = World::new(1);
    world.create(topic("implicit", 2, -1)).unwrap();
    world.create(topic("chosen", 1, 1)).unwrap();
    let nothing = Reply::Balanced { is_more: false, has_moved: false };
    assert_eq!(world.ask(Command::Balance { leaders: false }), nothing);
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
    world.ask_at(15, Command::Balance { leaders: true });
    let before = world.partition("implicit");
    assert_eq!(before.leader, before.replicas.first().copied());
    world.ask_at(15, Command::Balance { leaders: true });
    assert_eq!(world.partition("implicit"), before, "once is enough");
}

#[test]
fn brokers_that_come_get_their_share_of_every_topic_and_lead_as_much_as_others() {
    let mut world = World::new(3);
    for name in ["a", "b", "c"] {
        world.create(topic(name, 20, 2)).unwrap();
    }
    world.start(BrokerId(3));
    world.start(BrokerId(4));
    let most = balance_out(&mut world);
    assert_eq!(most, MOVING_AT_ONCE);
    let (replicas, preferred) = counts(&world, 5, None);
    assert!(spread(&replicas) <= 2 && spread(&preferred) <= 1, "{replicas:?} {preferred:?}");
    for name in ["a", "b", "c"] {
        let (replicas, preferred) = counts(&world, 5, Some(name));
        assert!(spread(&replicas) <= 4 && spread(&preferred) <= 3, "{name}: {replicas:?} {preferred:?}");
    }
    assert!(
        topics(&world).iter().all(|topic| topic.partitions.iter().all(|state| state.replicas.len() == 2))
    );
}

/// What the plan moves at a time.
const MOVING_AT_ONCE: usize = 20;

#[test]
fn a_difference_of_a_tenth_is_let_be() {
    let mut world = World::new(2);
    world.create(topic("a", 40, 1)).unwrap();
    let assigned = |id: i32, count| NewTopic {
        assignments: (0..count).map(|index| (index, vec![BrokerId(id)])).collect(),
        ..topic("b", -1, -1)
    };
    world.create(assigned(0, 2)).unwrap();
    assert_eq!(balance_out(&mut world), 0, "22 beside 20: a tenth of 21");
    let more = NewTopic { name: "c".into(), ..assigned(0, 4) };
    world.create(more).unwrap();
    assert_ne!(balance_out(&mut world), 0);
    assert!(spread(&counts(&world, 2, None).0) <= 2);
}

#[test]
fn nothing_moves_where_replicas_are_missing_nor_to_who_takes_none_nor_when_it_is_switched_off() {
    let mut world = World::new(2);
    world.create(topic("a", 8, 2)).unwrap();
    let stays = |world: &mut World| {
        let before = topics(world);
        world.ask(Command::Balance { leaders: false });
        topics(world) == before
    };
    world.start(BrokerId(2));
    let set = |world: &mut World, name: &str, key: &str, value: Option<&str>| {
        let resource = Resource { kind: ResourceKind::Broker, name: name.into() };
        let record = Record::Config { resource, key: key.into(), value: value.map(Into::into) };
        Controller::replay(&mut world.image, &record);
    };
    set(&mut world, "", BALANCER_KEY, Some("false"));
    assert!(stays(&mut world));
    set(&mut world, "", BALANCER_KEY, None);
    set(&mut world, "2", "cordoned.log.dirs", Some("*"));
    assert!(stays(&mut world));
    set(&mut world, "2", "cordoned.log.dirs", None);
    world.ask(Command::FenceBroker { id: BrokerId(1) });
    assert!(stays(&mut world), "no partition is whole");
    world.start(BrokerId(1));
    all_in_sync(&mut world, "a");
    assert!(!stays(&mut world));
}

#[test]
fn replicas_that_move_stand_in_as_many_racks_as_before() {
    let mut world = World::new(0);
    for (id, rack) in [(0, "a"), (1, "a"), (2, "b"), (3, "b")] {
        start_in(&mut world, id, rack);
    }
    world.create(topic("t", 24, 2)).unwrap();
    start_in(&mut world, 4, "a");
    start_in(&mut world, 5, "b");
    balance_out(&mut world);
    let racks_of = |state: &crate::PartitionState| -> BTreeSet<bool> {
        state.replicas.iter().map(|id| matches!(id.0, 0 | 1 | 4)).collect()
    };
    let topic = world.image.as_ref().unwrap().topic("t").unwrap().clone();
    assert!(topic.partitions.iter().all(|state| racks_of(state).len() == 2), "{topic:?}");
    let (replicas, _) = counts(&world, 6, None);
    assert!(spread(&replicas) <= 1, "{replicas:?}");
}

#[test]
fn whatever_the_layout_it_ends_and_is_even() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut world = World::new(i32::try_from(rng.between(2, 4)).unwrap());
        let old = world.image.as_ref().unwrap().brokers().count();
        for name in 0..rng.between(1, 5) {
            let (partitions, factor) = (rng.between(1, 30), rng.between(1, old.min(3) as u64));
            let (partitions, factor) = (i32::try_from(partitions).unwrap(), i16::try_from(factor).unwrap());
            world.create(topic(&format!("t{name}"), partitions, factor)).unwrap();
        }
        let new = old + usize::try_from(rng.between(1, 5)).unwrap();
        (old..new).for_each(|id| world.start(BrokerId(i32::try_from(id).unwrap())));
        balance_out(&mut world);
        let (replicas, preferred) = counts(&world, i32::try_from(new).unwrap(), None);
        let allowed = |counts: &[usize]| (counts.iter().sum::<usize>() / counts.len() / 10).max(1);
        assert!(spread(&replicas) <= allowed(&replicas), "seed {seed}: {replicas:?}");
        // Who leads is one of those that hold it: now and then that leaves no better choice.
        assert!(spread(&preferred) <= allowed(&preferred) + 2, "seed {seed}: {preferred:?}");
    }
}

#[test]
fn what_a_lost_broker_led_is_led_by_many() {
    let mut world = World::new(10);
    world.create(topic("t", 200, 3)).unwrap();
    let before = counts(&world, 10, None).0;
    assert_eq!(spread(&before), 0, "{before:?}");
    let lost = BrokerId(4);
    world.ask(Command::FenceBroker { id: lost });
    let topic = world.image.as_ref().unwrap().topic("t").unwrap().clone();
    let heirs = topic.partitions.iter().filter(|state| state.replicas[0] == lost).map(|state| state.leader);
    assert!(heirs.collect::<BTreeSet<_>>().len() >= 8);
}

#[test]
fn leadership_comes_back_by_itself_only_to_who_has_served_for_a_while() {
    let mut world = World::new(3);
    world.create(topic("t", 1, 3)).unwrap();
    all_in_sync(&mut world, "t");
    let first = world.partition("t").replicas[0];
    assert_eq!(world.partition("t").leader, Some(first));
    let leads_after_balance_at = |world: &mut World, seconds| {
        world.ask_at(seconds, Command::Balance { leaders: true });
        world.partition("t").leader == Some(first)
    };
    for (fenced, forgets) in [(100, false), (200, true)] {
        world.ask_at(fenced, Command::FenceBroker { id: first });
        let epoch = world.register(first);
        world.ask_at(fenced + 1, ready(first, epoch));
        all_in_sync(&mut world, "t");
        if forgets {
            // Another controller has not seen it before.
            world.defaults.forget();
            assert!(!leads_after_balance_at(&mut world, fenced + 40));
            world.ask_at(fenced + 41, ready(first, epoch));
        }
        let since = if forgets { fenced + 41 } else { fenced + 1 };
        world.ask_at(since + 10, ready(first, epoch));
        assert!(!leads_after_balance_at(&mut world, since + 14));
        assert!(leads_after_balance_at(&mut world, since + 15));
        // Whoever asks for it does not wait.
        world.ask_at(since + 20, Command::FenceBroker { id: first });
        let epoch = world.register(first);
        world.ask_at(since + 21, ready(first, epoch));
        all_in_sync(&mut world, "t");
        assert_ne!(world.partition("t").leader, Some(first));
        world.ask_at(since + 21, Command::ElectLeaders { election: Election::Preferred, partitions: None });
        assert_eq!(world.partition("t").leader, Some(first));
    }
}
