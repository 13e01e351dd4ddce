//! Changes of metadata, and what nodes say of one another.

use crate::Done;
use crate::raw::{call, connect};
use crate::standstill::{Standstill, commands};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use wire::Str;
use wire::describe_cluster::DescribeClusterRequest;
use wire::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use wire::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use wire::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

const CONFIGS_VERSION: i16 = 1;
const ELECT_VERSION: i16 = 2;
const METADATA_VERSION: i16 = 9;
/// The first that tells of fenced brokers.
const CLUSTER_VERSION: i16 = 2;
/// Kafka's code of a topic as the thing whose configs change.
const TOPIC: i8 = 2;
/// Between two changes, and between attempts.
const PAUSE: Duration = Duration::from_millis(5);
const ATTEMPT: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(120);
const RETENTION: u64 = 86_400_000;

/// Changes a config of a topic again and again, through each of the nodes, and answers the commands of [`Standstill`]
/// about changes that were acknowledged.
pub fn change(topic: &str, nodes: &[&str]) -> Done {
    let standstill = Arc::new(Mutex::new(Standstill::of(nodes.len())));
    for (lane, node) in nodes.iter().enumerate() {
        let (topic, node, standstill) = (topic.to_owned(), (*node).to_owned(), Arc::clone(&standstill));
        std::thread::spawn(move || {
            let note = || standstill.lock().unwrap_or_else(PoisonError::into_inner).note(lane);
            loop {
                // A connection that breaks is made again: that takes the time that it takes.
                let _broken = connect(&node).and_then(|stream| change_on(stream, &topic, note));
                std::thread::sleep(ATTEMPT);
            }
        });
    }
    for command in commands() {
        standstill.lock().unwrap_or_else(PoisonError::into_inner).answer(&command);
    }
    Ok(())
}

/// On one connection, until it breaks.
fn change_on(mut stream: TcpStream, topic: &str, mut note: impl FnMut()) -> Done {
    for n in 0.. {
        let config = AlterableConfig {
            name: Str::from("retention.ms".to_owned()),
            value: Some(Str::from((RETENTION + n).to_string())),
            ..Default::default()
        };
        let resource = AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: Str::from(topic.to_owned()),
            configs: vec![config],
            ..Default::default()
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let answer = call(&mut stream, CONFIGS_VERSION, &request)?;
        if answer.responses.iter().all(|response| response.error_code == 0) {
            note();
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Lets the preferred replica of each partition lead, through any node.
pub fn elect(node: &str, topic: &str, partitions: i32) -> Done {
    let partitions = (0..partitions).collect();
    let wanted = TopicPartitions { topic: Str::from(topic.to_owned()), partitions, ..Default::default() };
    let request = ElectLeadersRequest { topic_partitions: Some(vec![wanted]), ..Default::default() };
    let answer = call(&mut connect(node)?, ELECT_VERSION, &request)?;
    match answer.error_code {
        0 => Ok(()),
        code => Err(format!("leaders are not elected: error {code}").into()),
    }
}

/// Says `ready`; `up` once node `id`, which is down, serves again: another node knows it and it tells of itself; and
/// `whole` once each replica of the topic is in sync.
pub fn up(other: &str, node: &str, id: i32, topic: &str) -> Done {
    let mut asked = connect(other)?;
    until(|| Ok(!serving(&mut asked, id)?))?;
    println!("ready");
    until(|| serving(&mut asked, id))?;
    until(|| Ok(connect(node).and_then(|stream| knows_itself(stream, id)).unwrap_or(false)))?;
    println!("up");
    until(|| Ok(is_whole(&metadata(&mut asked, Some(topic))?)))?;
    println!("whole");
    Ok(())
}

fn until(mut holds: impl FnMut() -> Done<bool>) -> Done {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if holds()? {
            return Ok(());
        }
        std::thread::sleep(ATTEMPT);
    }
    Err("what is waited for does not come".into())
}

/// Whether a node says that another serves.
fn serving(asked: &mut TcpStream, id: i32) -> Done<bool> {
    let request = DescribeClusterRequest { include_fenced_brokers: true, ..Default::default() };
    let answer = call(asked, CLUSTER_VERSION, &request)?;
    Ok(answer.brokers.iter().any(|broker| broker.broker_id == id && !broker.is_fenced))
}

fn knows_itself(mut stream: TcpStream, id: i32) -> Done<bool> {
    Ok(metadata(&mut stream, None)?.brokers.iter().any(|broker| broker.node_id == id))
}

fn is_whole(told: &MetadataResponse) -> bool {
    let mut partitions = told.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.all(|partition| partition.isr_nodes.len() == partition.replica_nodes.len())
}

fn metadata(asked: &mut TcpStream, topic: Option<&str>) -> Done<MetadataResponse> {
    let named = |topic: &str| {
        let name = Some(Str::from(topic.to_owned()));
        MetadataRequestTopic { name, ..Default::default() }
    };
    let request =
        MetadataRequest { topics: Some(topic.into_iter().map(named).collect()), ..Default::default() };
    call(asked, METADATA_VERSION, &request)
}
