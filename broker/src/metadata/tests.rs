use crate::effects::{Input, Mail, Owner};
use crate::test_cluster::TestCluster;
use crate::test_node::TestNode;
use base::TopicId;
use seglog::disk::{Disk, MemDisk, OpenMode};
use seglog::text::encode_partition_metadata;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::IoSlice;
use wire::ErrorCode;
use wire::add_raft_voter::AddRaftVoterRequest;
use wire::create_topics::{CreatableTopic, CreateTopicsRequest};
use wire::describe_cluster::DescribeClusterRequest;
use wire::describe_quorum::{self, DescribeQuorumRequest};
use wire::init_producer_id::InitProducerIdRequest;
use wire::metadata::MetadataRequest;
use wire::remove_raft_voter::RemoveRaftVoterRequest;
use wire::unregister_controller::UnregisterControllerRequest;

fn create(cluster: &mut TestCluster, through: usize, name: &str) -> i16 {
    create_with(cluster, through, name, 1)
}

fn create_with(cluster: &mut TestCluster, through: usize, name: &str, replication_factor: i16) -> i16 {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: 2,
        replication_factor,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1_000, ..Default::default() };
    cluster.ask(through, 7, &request).topics[0].error_code
}

fn topics(cluster: &mut TestCluster, through: usize) -> BTreeSet<String> {
    let answer = cluster.ask(through, 12, &MetadataRequest { topics: None, ..Default::default() });
    answer.topics.iter().map(|topic| topic.name.as_ref().unwrap().to_string()).collect()
}

fn brokers(cluster: &mut TestCluster, through: usize) -> Vec<i32> {
    let answer = cluster.ask(through, 1, &DescribeClusterRequest { endpoint_type: 1, ..Default::default() });
    answer.brokers.iter().map(|broker| broker.broker_id).collect()
}

fn quorum(cluster: &mut TestCluster, through: usize) -> describe_quorum::PartitionData {
    let partition = describe_quorum::RequestPartitionData::default();
    let topic = describe_quorum::RequestTopicData {
        topic_name: "__cluster_metadata".into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let answer =
        cluster.ask(through, 2, &DescribeQuorumRequest { topics: vec![topic], ..Default::default() });
    answer.topics[0].partitions[0].clone()
}

#[test]
fn three_nodes_form_one_cluster_and_each_knows_what_any_was_told() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    let ids: BTreeSet<_> =
        (1..=3).map(|id| cluster.node(id).unwrap().metadata.view().image.cluster_id).collect();
    assert_eq!(ids.len(), 1, "one cluster");
    for through in 1..=3 {
        assert_eq!(create(&mut cluster, through, &format!("t{through}")), 0);
    }
    cluster.run(100);
    for through in 1..=3 {
        assert_eq!(topics(&mut cluster, through).len(), 3, "node {through}");
        assert_eq!(brokers(&mut cluster, through), [1, 2, 3]);
        let quorum = quorum(&mut cluster, through);
        assert_eq!((quorum.current_voters.len(), quorum.observers.len()), (3, 0));
        assert_eq!(Some(quorum.leader_id), cluster.controller().map(|id| i32::try_from(id).unwrap()));
    }
}

#[test]
fn producer_ids_are_handed_out_once_whoever_is_asked() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    let mut seen = BTreeSet::new();
    for turn in 0..6 {
        let request = InitProducerIdRequest {
            transactional_id: None,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        let answer = cluster.ask(turn % 3 + 1, 4, &request);
        assert_eq!(answer.error_code, 0);
        assert!(seen.insert(answer.producer_id), "{answer:?}");
    }
}

#[test]
fn when_the_controller_is_killed_another_leads_within_a_second_and_it_comes_back() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    let first = cluster.controller().unwrap();
    let other = first % 3 + 1;
    assert_eq!(create(&mut cluster, other, "before"), 0);
    cluster.kill(first, 0);
    cluster.run(1_000);
    let second = cluster.controller().expect("another controller within a second");
    assert_ne!(second, first);
    let living = brokers(&mut cluster, other).len();
    assert_eq!(living, 2, "the dead broker is fenced at once");
    assert_eq!(create(&mut cluster, other, "between"), 0);
    cluster.start(first);
    cluster.all_serve();
    assert_eq!(topics(&mut cluster, first).len(), 2);
    cluster.run(100);
    assert_eq!(brokers(&mut cluster, other), [1, 2, 3]);
}

#[test]
fn a_controller_that_falls_silent_takes_nobody_with_it() {
    // So often that whoever leads is being told that its brokers live in every moment.
    let mut cluster = TestCluster::new(3, &[("broker.heartbeat.interval.ms", "1")]);
    cluster.all_serve();
    let first = cluster.controller().unwrap();
    let others: Vec<usize> = (1..=3).filter(|id| *id != first).collect();
    cluster.stop(first);
    for _ in 0..20 {
        cluster.run(1_000);
        let living = brokers(&mut cluster, others[0]);
        let of_the_others = living.iter().filter(|id| usize::try_from(**id).is_ok_and(|id| id != first));
        assert_eq!(of_the_others.count(), 2, "{living:?} live, {first} is silent");
    }
    assert_eq!(brokers(&mut cluster, others[0]).len(), 2, "the silent one is fenced");
}

#[test]
fn what_is_asked_while_nobody_leads_is_answered_once_somebody_does() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    let first = cluster.controller().unwrap();
    let other = first % 3 + 1;
    cluster.kill(first, 0);
    assert_eq!(create(&mut cluster, other, "patient"), 0);
}

#[test]
fn all_power_lost_at_once_leaves_the_cluster_as_it_was() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    assert_eq!(create(&mut cluster, 1, "kept"), 0);
    (1..=3).for_each(|id| cluster.kill(id, 0));
    (1..=3).for_each(|id| cluster.start(id));
    cluster.all_serve();
    assert_eq!(topics(&mut cluster, 2).len(), 1);
}

#[test]
fn a_node_with_an_empty_directory_joins_through_one_address() {
    let mut cluster = TestCluster::new(1, &[]);
    cluster.all_serve();
    assert_eq!(create(&mut cluster, 1, "old"), 0);
    let second = cluster.add(&[]);
    let third = cluster.add(&[]);
    cluster.all_serve();
    for id in [1, second, third] {
        assert_eq!(topics(&mut cluster, id).len(), 1, "node {id}");
        assert_eq!(brokers(&mut cluster, id), [1, 2, 3]);
    }
    let quorum = quorum(&mut cluster, third);
    assert_eq!((quorum.current_voters.len(), quorum.observers.len()), (1, 2));
}

#[test]
fn a_member_that_is_far_behind_takes_over_a_snapshot() {
    let mut cluster = TestCluster::new(3, &[("ottla.metadata.snapshot.entries", "8")]);
    cluster.all_serve();
    cluster.kill(3, 0);
    cluster.run(1_500);
    for turn in 0..30 {
        assert_eq!(create(&mut cluster, turn % 2 + 1, &format!("t{turn}")), 0);
    }
    cluster.start(3);
    cluster.all_serve();
    assert_eq!(topics(&mut cluster, 3).len(), 30);
    assert!(cluster.log.iter().any(|line| line.contains("Took over a snapshot")), "{:#?}", cluster.log);
    cluster.kill(3, 0);
    cluster.start(3);
    cluster.all_serve();
    assert_eq!(topics(&mut cluster, 3).len(), 30, "and keeps it");
}

fn partitions(cluster: &mut TestCluster, through: usize) -> Vec<(i32, Vec<i32>, Vec<i32>)> {
    let answer = cluster.ask(through, 12, &MetadataRequest { topics: None, ..Default::default() });
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|p| (p.leader_id, p.replica_nodes.clone(), p.isr_nodes.clone())).collect()
}

fn directory(cluster: &TestCluster, id: usize) -> base::Uuid {
    cluster.node(id).unwrap().metadata.view().node.directory_id
}

fn add_voter(cluster: &mut TestCluster, through: usize, id: usize) -> i16 {
    let request = AddRaftVoterRequest {
        cluster_id: None,
        voter_id: i32::try_from(id).unwrap(),
        voter_directory_id: directory(cluster, id),
        ..Default::default()
    };
    cluster.ask(through, 1, &request).error_code
}

/// Seed 39 of five nodes.
#[test]
fn who_was_away_finds_a_controller_that_is_no_member_as_far_as_it_knows() {
    let mut cluster = TestCluster::new(3, &[]);
    let away = cluster.add(&[]);
    cluster.all_serve();
    let anew = cluster.controller().unwrap() % 3 + 1;
    let through = anew % 3 + 1;
    let remove = RemoveRaftVoterRequest {
        cluster_id: None,
        voter_id: i32::try_from(anew).unwrap(),
        voter_directory_id: directory(&cluster, anew),
        ..Default::default()
    };
    cluster.kill(anew, 0);
    cluster.lose_disk(anew);
    assert_eq!(cluster.ask(through, 0, &remove).error_code, 0);
    cluster.run(500);
    cluster.kill(away, 100);
    cluster.start(anew);
    cluster.all_serve();
    assert_eq!(add_voter(&mut cluster, through, anew), 0);
    while let Some(other) = cluster.controller().filter(|leader| *leader != anew) {
        cluster.kill(other, 100);
        cluster.wait("another leads", |cluster| cluster.controller().is_some());
        cluster.start(other);
        cluster.all_serve();
    }
    cluster.start(away);
    cluster.all_serve();
    assert_eq!((cluster.controller(), create(&mut cluster, away, "through-it")), (Some(anew), 0));
}

#[test]
fn nodes_that_come_get_their_share_of_replicas_and_of_leaders() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(create_with(&mut cluster, 1, name, 2), 0);
    }
    cluster.add(&[]);
    cluster.add(&[]);
    cluster.all_serve();
    cluster.run(60_000);
    let all = partitions(&mut cluster, 5);
    assert!(all.iter().all(|(_, replicas, isr)| replicas.len() == 2 && isr.len() == 2), "{all:?}");
    for id in 1..=5 {
        let holds = all.iter().filter(|(_, replicas, _)| replicas.contains(&id)).count();
        let leads = all.iter().filter(|(leader, ..)| *leader == id).count();
        assert!((3..=5).contains(&holds) && (1..=3).contains(&leads), "node {id}: {all:?}");
    }
}

#[test]
fn one_node_becomes_three_and_survives_the_first() {
    let mut cluster = TestCluster::new(1, &[("default.replication.factor", "3")]);
    cluster.all_serve();
    assert_eq!(create_with(&mut cluster, 1, "t", -1), 0);
    assert_eq!(partitions(&mut cluster, 1)[0].1, [1]);
    let (second, third) = (cluster.add(&[]), cluster.add(&[]));
    cluster.all_serve();
    cluster.run(5_000);
    for (_, replicas, isr) in partitions(&mut cluster, second) {
        assert_eq!((replicas.len(), isr.len()), (3, 3), "{:#?}", cluster.log);
    }
    assert_eq!(add_voter(&mut cluster, second, third), 0);
    assert_eq!(add_voter(&mut cluster, third, third), 126, "DUPLICATE_VOTER");
    assert_eq!(add_voter(&mut cluster, 1, second), 0);
    assert_eq!(quorum(&mut cluster, third).current_voters.len(), 3);
    cluster.kill(1, 0);
    cluster.run(2_000);
    assert!(cluster.controller().is_some());
    assert!(partitions(&mut cluster, second).iter().all(|(leader, ..)| [2, 3].contains(leader)));
    cluster.start(1);
    cluster.all_serve();
    let remove = RemoveRaftVoterRequest {
        cluster_id: None,
        voter_id: 1,
        voter_directory_id: directory(&cluster, 1),
        ..Default::default()
    };
    assert_eq!(cluster.ask(2, 0, &remove).error_code, 0);
    let after = quorum(&mut cluster, 1);
    assert_eq!((after.current_voters.len(), after.observers.len()), (2, 1));
}

#[test]
fn a_member_of_which_nothing_was_heard_gets_no_vote() {
    let mut cluster = TestCluster::new(1, &[]);
    cluster.all_serve();
    let second = cluster.add(&[]);
    let knows_it =
        |cluster: &TestCluster| cluster.node(1).unwrap().metadata.quorum_line().contains("learners: [Raft");
    cluster.wait("admitted", knows_it);
    cluster.kill(second, 0);
    let member = quorum(&mut cluster, 1).observers.remove(0);
    let request = AddRaftVoterRequest {
        cluster_id: None,
        voter_id: member.replica_id,
        voter_directory_id: member.replica_directory_id,
        ..Default::default()
    };
    assert_eq!(cluster.ask(1, 1, &request).error_code, wire::ErrorCode::RequestTimedOut.code());
}

#[test]
fn a_disk_that_is_replaced_loses_its_vote_before_nobody_knows_whose_it_was() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    let lost = 1 + cluster.controller().unwrap() % 3;
    cluster.kill(lost, 0);
    cluster.lose_disk(lost);
    cluster.run(15_000);
    cluster.start(lost);
    cluster.all_serve();
    // Whoever leads next knows of the old disk only what the metadata say, and they tell of the new one.
    for id in (1..=3).filter(|id| *id != lost) {
        cluster.kill(id, 100);
        cluster.start(id);
        cluster.all_serve();
    }
    let through = 1 + lost % 3;
    assert_eq!(quorum(&mut cluster, through).current_voters.len(), 2);
    assert_eq!(cluster.node(through).unwrap().metadata.vote_count(), 2);
    cluster.run(2_000);
    assert_eq!(add_voter(&mut cluster, through, lost), 0);
    assert_eq!(cluster.node(through).unwrap().metadata.vote_count(), 3);
}

#[test]
fn a_node_that_leaves_hands_over_what_it_leads_before_it_ends() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    assert_eq!(create_with(&mut cluster, 1, "t", 3), 0);
    cluster.run(500);
    let first = cluster.controller().unwrap();
    cluster.tell(first, Owner::Metadata, Input::Mail(Mail::Leave));
    cluster.wait("left", |cluster| cluster.node(first).unwrap().metadata.has_left());
    cluster.run(300);
    assert!(cluster.controller().is_some_and(|now| now != first), "{:#?}", cluster.log);
    let other = first % 3 + 1;
    let own = i32::try_from(first).unwrap();
    for (leader, _, isr) in partitions(&mut cluster, other) {
        assert!(leader != own && !isr.contains(&own) && isr.len() == 2, "{leader} {isr:?}");
    }
    assert_eq!(create(&mut cluster, first, "still-answers"), 0);
}

#[test]
fn a_node_opens_many_new_partitions_a_few_at_a_time() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    let topic =
        CreatableTopic { name: "t".into(), num_partitions: 500, replication_factor: 2, ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1_000, ..Default::default() };
    let conn = cluster.send(1, 7, &request);
    let (open, at_once) = (RefCell::new([0; 3]), Cell::new(0));
    cluster.wait("all are open", |cluster| {
        for (open, id) in open.borrow_mut().iter_mut().zip(1..) {
            let now = cluster.node(id).unwrap().metadata.view().replicas.size();
            at_once.set(at_once.get().max(now - *open));
            *open = now;
        }
        open.borrow().iter().sum::<usize>() == 1_000
    });
    assert!((30..=70).contains(&at_once.get()), "{at_once:?}");
    assert_eq!(cluster.answer::<CreateTopicsRequest>(1, 7, conn).topics[0].error_code, 0);
    cluster.run(500);
    let whole = partitions(&mut cluster, 2).into_iter().filter(|(_, _, isr)| isr.len() == 2).count();
    assert_eq!(whole, 500);
}

#[test]
fn a_controller_of_its_own_hands_over_the_quorum_before_it_ends() {
    let mut cluster = TestCluster::new(3, &[("process.roles", "controller")]);
    let broker = cluster.add(&[("process.roles", "broker")]);
    cluster.all_serve();
    let mut left = Vec::new();
    while let Some(first) = cluster.controller().filter(|_| left.len() < 2) {
        cluster.tell(first, Owner::Metadata, Input::Mail(Mail::Leave));
        cluster.wait("left", |cluster| cluster.node(first).unwrap().metadata.has_left());
        cluster.kill(first, 100);
        left.push(first);
        // The second one leaves though nobody can follow it.
        cluster.run(30);
    }
    assert_eq!((left.len(), cluster.controller()), (2, None), "{:#?}", cluster.log);
    left.into_iter().for_each(|id| cluster.start(id));
    cluster.all_serve();
    assert_eq!(create(&mut cluster, broker, "changes-again"), 0);
}

#[test]
fn nobody_is_fenced_because_everybody_stood_still() {
    for seed in 0..5 {
        let mut cluster = TestCluster::new(3, &[]);
        cluster.all_serve();
        cluster.run(3_000 + seed * 370);
        cluster.suspend(12_000);
        cluster.run(5_000);
        let fenced = cluster.log.iter().filter(|line| line.contains("fenced")).count();
        assert_eq!(fenced, 0, "{:#?}", cluster.log);
    }
}

#[test]
fn who_is_silent_is_fenced_all_the_same() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    cluster.run(3_000);
    let silent = cluster.controller().unwrap() % 3 + 1;
    cluster.stop(silent);
    cluster.suspend(12_000);
    cluster.run(1_500);
    let id = base::BrokerId(i32::try_from(silent).unwrap());
    let view = cluster.node(silent % 3 + 1).unwrap().metadata.view();
    assert!(!view.image.serves(id), "{:#?}", cluster.log);
}

#[test]
fn a_controller_that_has_lost_its_vote_is_forgotten_and_a_broker_stays() {
    let mut cluster = TestCluster::new(3, &[("process.roles", "controller")]);
    let broker = cluster.add(&[("process.roles", "broker")]);
    cluster.all_serve();
    let unregister = |cluster: &mut TestCluster, id: usize| {
        let controller_id = i32::try_from(id).unwrap();
        let request = UnregisterControllerRequest { controller_id, ..Default::default() };
        let code = cluster.ask(broker, 0, &request).error_code;
        (ErrorCode::from_code(code), quorum(cluster, broker).observers.len())
    };
    let gone = cluster.controller().unwrap() % 3 + 1;
    assert_eq!(unregister(&mut cluster, gone), (ErrorCode::InvalidRequest, 1));
    assert_eq!(unregister(&mut cluster, 99), (ErrorCode::ControllerIdNotRegistered, 1));
    let remove = RemoveRaftVoterRequest {
        cluster_id: None,
        voter_id: i32::try_from(gone).unwrap(),
        voter_directory_id: directory(&cluster, gone),
        ..Default::default()
    };
    assert_eq!(cluster.ask(broker, 0, &remove).error_code, 0);
    assert_eq!(quorum(&mut cluster, broker).observers.len(), 2);
    cluster.kill(gone, 0);
    assert_eq!(unregister(&mut cluster, gone), (ErrorCode::None, 1));
    assert_eq!(unregister(&mut cluster, gone), (ErrorCode::ControllerIdNotRegistered, 1));
    assert_eq!(unregister(&mut cluster, broker), (ErrorCode::None, 1));
    assert!(cluster.is_serving(broker));
}

#[test]
fn a_controller_whose_file_says_so_asks_for_its_vote_by_itself() {
    let itself = ("controller.quorum.auto.join.enable", "true");
    let mut cluster = TestCluster::new(3, &[itself]);
    cluster.add(&[]);
    cluster.add(&[itself, ("process.roles", "broker")]);
    cluster.all_serve();
    cluster.run(6_000);
    assert_eq!(quorum(&mut cluster, 1).current_voters.len(), 3, "one is not to, one must not");
    let replaced = cluster.controller().unwrap() % 3 + 1;
    cluster.kill(replaced, 0);
    cluster.lose_disk(replaced);
    cluster.run(1_000);
    cluster.start(replaced);
    cluster.all_serve();
    cluster.run(6_000);
    let now = quorum(&mut cluster, replaced);
    let disk = directory(&cluster, replaced);
    let votes = now.current_voters.iter().any(|voter| voter.replica_directory_id == disk);
    assert_eq!((now.current_voters.len(), votes), (3, true), "{:#?}", cluster.log);
}

#[test]
fn a_stranger_with_the_id_of_a_member_takes_nothing_from_it() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    let leader = cluster.controller().unwrap();
    let (named, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.add_by(leader, &[("node.id", &named.to_string())]);
    cluster.run(2_000);
    // Whoever comes back makes the controller look at its links.
    cluster.kill(other, 100);
    cluster.start(other);
    cluster.run(2_000);
    assert_eq!(create(&mut cluster, leader, "after"), 0);
    cluster.run(100);
    assert!(topics(&mut cluster, named).contains("after"), "{:#?}", cluster.log);
    assert!(cluster.log.iter().any(|line| line.contains("lives in this cluster")), "{:#?}", cluster.log);
}

/// A partition's directory of a topic that nobody has heard of.
/// A topic that nobody knows.
const UNKNOWN: TopicId = TopicId(base::Uuid([9; 16]));

fn leave_behind(disk: &MemDisk, dir: &str, topic: TopicId) {
    disk.create_dir(dir).unwrap();
    let file = disk.open(&format!("{dir}/partition.metadata"), OpenMode::Create).unwrap();
    file.write_at(&mut [IoSlice::new(encode_partition_metadata(topic).as_bytes())], 0).unwrap();
}

#[test]
fn what_a_partition_has_left_that_moved_while_the_node_was_down_is_deleted() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    assert_eq!(create_with(&mut cluster, 1, "t", 1), 0);
    let leader = usize::try_from(partitions(&mut cluster, 1)[0].0).unwrap();
    let other = 1 + leader % 3;
    let topic = cluster.node(leader).unwrap().metadata.view().image.topic("t").unwrap().id;
    cluster.kill(other, 100);
    leave_behind(cluster.disk(other), "t-0", topic);
    cluster.start(other);
    cluster.all_serve();
    cluster.run(5_000);
    let is_left = |id: usize| {
        let left = cluster.disk(id).list("").unwrap();
        left.into_iter().any(|entry| entry.name.starts_with("t-0"))
    };
    assert!(is_left(leader) && !is_left(other), "{:#?}", cluster.log);
}

#[test]
fn what_an_unknown_topic_has_left_is_named_though_another_has_its_name_elsewhere() {
    let mut cluster = TestCluster::new(3, &[]);
    cluster.all_serve();
    assert_eq!(create_with(&mut cluster, 1, "t", 1), 0);
    let leader = usize::try_from(partitions(&mut cluster, 1)[0].0).unwrap();
    let other = 1 + leader % 3;
    cluster.kill(other, 100);
    leave_behind(cluster.disk(other), "t-0", UNKNOWN);
    cluster.start(other);
    cluster.all_serve();
    let is_named = |line: &String| line.contains("The directory t-0 belongs to no topic");
    assert!(cluster.log.iter().any(is_named), "{:#?}", cluster.log);
}

#[test]
fn what_an_unknown_topic_has_left_makes_way_and_is_not_deleted() {
    let mut node = TestNode::new();
    leave_behind(&node.disk, "u-0", UNKNOWN);
    node.create("u", 1);
    let names = |node: &TestNode| -> Vec<String> {
        node.disk
            .list("")
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .filter(|n| n.starts_with("u-0"))
            .collect()
    };
    let [own, stray] = &names(&node)[..] else { panic!("{:?}", names(&node)) };
    assert!(own == "u-0" && stray.ends_with("-stray"), "{own} {stray}");
    assert!(node.log.iter().any(|line| line.contains("set aside")), "{:?}", node.log);
}

#[test]
fn controllers_and_brokers_may_be_nodes_of_their_own() {
    let mut cluster = TestCluster::new(3, &[("process.roles", "controller")]);
    let brokers: Vec<_> = (0..3).map(|_| cluster.add(&[("process.roles", "broker")])).collect();
    cluster.all_serve();
    let [first, second, third] = brokers[..] else { panic!("three") };
    assert_eq!(create_with(&mut cluster, first, "t", 3), 0);
    cluster.run(100);
    assert_eq!(super::tests::brokers(&mut cluster, second), [4, 5, 6]);
    let quorum = quorum(&mut cluster, third);
    assert_eq!((quorum.current_voters.len(), quorum.observers.len()), (3, 3));
    let controller = cluster.controller().unwrap();
    assert!(controller <= 3, "a controller: {controller}");
    let learner = quorum.observers.iter().find(|observer| observer.replica_id == 4).unwrap();
    let vote = AddRaftVoterRequest {
        cluster_id: None,
        voter_id: 4,
        voter_directory_id: learner.replica_directory_id,
        ..Default::default()
    };
    let refused = cluster.ask(second, 1, &vote);
    assert_eq!(refused.error_code, wire::ErrorCode::InvalidRequest as i16, "{:?}", refused.error_message);
    cluster.kill(controller, 0);
    cluster.kill(first, 0);
    cluster.run(1_000);
    assert_eq!(super::tests::brokers(&mut cluster, second), [5, 6]);
    assert_eq!(create_with(&mut cluster, third, "u", 2), 0);
    cluster.start(controller);
    cluster.start(first);
    cluster.all_serve();
    cluster.run(1_000);
    assert_eq!(topics(&mut cluster, first).len(), 2);
    assert_eq!(super::tests::brokers(&mut cluster, second), [4, 5, 6]);
}
