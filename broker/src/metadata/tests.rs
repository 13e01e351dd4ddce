use crate::test_cluster::TestCluster;
use std::collections::BTreeSet;
use wire::create_topics::{CreatableTopic, CreateTopicsRequest};
use wire::describe_quorum::{self, DescribeQuorumRequest};
use wire::init_producer_id::InitProducerIdRequest;
use wire::metadata::MetadataRequest;

fn create(cluster: &mut TestCluster, through: usize, name: &str) -> i16 {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: 2,
        replication_factor: 1,
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
    let answer = cluster.ask(through, 12, &MetadataRequest { topics: None, ..Default::default() });
    answer.brokers.iter().map(|broker| broker.node_id).collect()
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
    let living = usize::try_from(brokers(&mut cluster, other).len()).unwrap();
    assert_eq!(living, 2, "the dead broker is fenced at once");
    assert_eq!(create(&mut cluster, other, "between"), 0);
    cluster.start(first);
    cluster.all_serve();
    assert_eq!(topics(&mut cluster, first).len(), 2);
    cluster.run(100);
    assert_eq!(brokers(&mut cluster, other), [1, 2, 3]);
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
