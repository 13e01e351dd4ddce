//! Simulated administrators: they create topics, delete them and create them again, change settings, move
//! beginnings, and look whether what they were told stays true.

use crate::client::{body, encode, version};
use crate::history::{History, Partition, Traits, base_name};
use base::Rng;
use bytes::Bytes;
use wire::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use wire::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use wire::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use wire::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use wire::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use wire::metadata::{MetadataRequest, MetadataResponse};
use wire::{ErrorCode, Reader, Request};

/// Topics that one administrator creates.
const TOPICS: u32 = 4;
/// The setting that is changed and looked at.
const KEY: &str = "segment.ms";
/// In how many places what is acknowledged must be, on some topics.
const TWO: &str = "2";
/// The first version of DeleteTopics that knows topics by their ids.
const BY_ID: i16 = 6;
/// The number that the wire has for topics among things with settings.
const TOPIC_RESOURCE: i8 = 2;

/// An administrator and what it has done.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    name: u64,
    /// Topics created so far.
    topics: u32,
    topics_max: u32,
    /// A topic whose deletion was begun, and whether it is known to be gone: it is created again then.
    deleting: Option<(String, bool)>,
    /// It moves beginnings most of the time.
    trims: bool,
    asked: Asked,
}

#[derive(Clone, Debug)]
enum Asked {
    Nothing,
    Create { topic: String },
    Metadata { known: Vec<(String, i32, u32)> },
    Alter { topic: String, value: String },
    Describe { topic: String, allowed: Vec<String> },
    Trim { partition: Partition },
    Delete { topic: String },
}

/// What becomes of a topic of this name, the same each time that it is created.
fn traits(name: &str, history: &History) -> (i32, Traits) {
    let mut same = same(name);
    let partitions = i32::try_from(same.between(1, 3)).unwrap_or(1);
    let is_compacted = same.chance(1, 6);
    let traits = Traits {
        // What is not flushed is safe nowhere, and with one disk less not even in a cluster.
        is_flushed: same.chance(3, 4) || history.loses_disks(),
        is_short: same.chance(1, 6),
        is_compacted,
        is_trimmed: !is_compacted && same.chance(1, 3),
        is_doomed: same.chance(1, 4),
        wants_two: history.is_of_cluster() && replication(name, history).1 == TWO,
    };
    // Beginnings are moved by name, and a node may still have the topic that had the name before.
    let is_trimmed = traits.is_trimmed && !(traits.is_doomed && history.is_of_cluster());
    (partitions, Traits { is_trimmed, ..traits })
}

/// What is drawn for a name, the same each time.
fn same(name: &str) -> Rng {
    Rng::new(name.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into())))
}

/// In how many places a topic is in a cluster, and how many must have what is acknowledged.
fn replication(name: &str, history: &History) -> (i16, &'static str) {
    if history.loses_disks() {
        return (3, TWO);
    }
    let mut same = same(name).fork(1);
    let factor = if same.chance(2, 3) { 3 } else { i16::try_from(same.between(1, 3)).unwrap_or(1) };
    (factor, if same.chance(1, 2) { TWO } else { "1" })
}

impl Admin {
    pub(crate) fn new(name: u64, trims: bool, topics_max: Option<u32>) -> Self {
        let topics_max = topics_max.unwrap_or(TOPICS);
        Self { name, topics: 0, topics_max, deleting: None, trims, asked: Asked::Nothing }
    }

    /// The connection is gone: nobody knows what became of the request.
    pub(crate) fn disconnected(&mut self) {
        self.asked = Asked::Nothing;
    }

    // --- asking ---

    pub(crate) fn ask(&mut self, rng: &mut Rng, history: &mut History, correlation: i32) -> (i16, Bytes) {
        let (version, frame, asked) = self.choose(rng, history, correlation);
        self.asked = asked;
        (version, frame)
    }

    fn choose(&mut self, rng: &mut Rng, history: &mut History, correlation: i32) -> (i16, Bytes, Asked) {
        if let Some((topic, is_gone)) = &self.deleting {
            return if *is_gone {
                create(topic, history, rng, correlation)
            } else {
                delete(topic, history, rng, correlation)
            };
        }
        if self.topics < self.topics_max && rng.chance(1, 2) {
            return create(&format!("t{}-{}", self.name, self.topics), history, rng, correlation);
        }
        let own = (self.topics > 0)
            .then(|| format!("t{}-{}", self.name, rng.below(u64::from(self.topics))))
            .map(|name| history.lives.latest(&name))
            .filter(|topic| history.exists(topic));
        let Some(topic) = own else { return metadata(rng, history, correlation) };
        let (partitions, traits) = traits(base_name(&topic), history);
        let turn = if self.trims && traits.is_trimmed && rng.chance(2, 3) { 4 } else { rng.below(12) };
        match turn {
            0..=1 => {
                let value = rng.between(50, 100_000).to_string();
                history.config_sent(&topic, &value);
                alter(topic, value, rng, correlation)
            }
            2..=3 => describe(topic, rng, history, correlation),
            4..=5 if traits.is_trimmed => {
                let partition =
                    (topic, i32::try_from(rng.below(partitions.unsigned_abs().into())).unwrap_or(0));
                trim(partition, rng, history, correlation)
            }
            // Who does not know the id might delete the next topic of that name.
            6 if traits.is_doomed && (!history.is_of_cluster() || history.lives.id(&topic).is_some()) => {
                history.deletion_sent(&topic);
                self.deleting = Some((topic.clone(), false));
                delete(&topic, history, rng, correlation)
            }
            _ => metadata(rng, history, correlation),
        }
    }

    // --- hearing ---

    pub(crate) fn heard(
        &mut self,
        reader: &mut Reader,
        (correlation, version): (i32, i16),
        history: &mut History,
    ) -> Result<(), String> {
        match core::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Nothing => return Err(format!("admin {}: an answer to nothing", self.name)),
            Asked::Create { topic } => {
                let reply = body::<CreateTopicsRequest>(reader, correlation, version)?;
                let topic_id = reply.topics[0].topic_id;
                self.created(&topic, reply.topics[0].error_code, history);
                history.is_life(&history.lives.latest(&topic), topic_id);
            }
            Asked::Metadata { known } => {
                let reply = body::<MetadataRequest>(reader, correlation, version)?;
                check_metadata(&reply, &known, history)?;
            }
            Asked::Alter { topic, value } => {
                let reply = body::<IncrementalAlterConfigsRequest>(reader, correlation, version)?;
                if reply.responses[0].error_code == 0 {
                    history.config_acked(&topic, &value);
                }
            }
            Asked::Describe { topic, allowed } => {
                let reply = body::<DescribeConfigsRequest>(reader, correlation, version)?;
                let config = reply.results[0].configs.first();
                if let Some(value) = config.and_then(|config| config.value.as_ref())
                    && !allowed.iter().any(|allowed| value.as_str() == allowed)
                    && !history.is_of_cluster()
                {
                    return Err(format!("{topic}: {KEY} was set to {allowed:?} and is {value:?}"));
                }
            }
            Asked::Trim { partition } => {
                let reply = body::<DeleteRecordsRequest>(reader, correlation, version)?;
                let part = &reply.topics[0].partitions[0];
                if part.error_code == 0 {
                    history.trim_acked(&partition, part.low_watermark);
                }
            }
            Asked::Delete { topic } => {
                let reply = body::<DeleteTopicsRequest>(reader, correlation, version)?;
                let code = reply.responses[0].error_code;
                // Perhaps an earlier request did it, of which nobody heard.
                let gone =
                    [ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicId].map(ErrorCode::code);
                if code == 0 || gone.contains(&code) {
                    history.deletion_acked(&topic);
                    self.deleting = Some((base_name(&topic).to_owned(), true));
                }
            }
        }
        Ok(())
    }

    fn created(&mut self, topic: &str, code: i16, history: &mut History) {
        if code != 0 && code != ErrorCode::TopicAlreadyExists.code() {
            return;
        }
        let (partitions, traits) = traits(topic, history);
        let life = history.lives.latest(topic);
        history.topic_created(&life, partitions, traits);
        if self.deleting.take().is_none() {
            self.topics += 1;
        }
    }
}

/// A topic of that name is there, and was before this run.
pub(crate) fn was_created(life: &str, partitions: i32, history: &mut History) {
    let (_, traits) = traits(base_name(life), history);
    history.topic_created(life, partitions, traits);
}

fn framed<R: Request>(version: i16, request: &R, correlation: i32, asked: Asked) -> (i16, Bytes, Asked) {
    (version, encode(correlation, version, request), asked)
}

fn create(name: &str, history: &History, rng: &mut Rng, correlation: i32) -> (i16, Bytes, Asked) {
    let (partitions, traits) = traits(name, history);
    let (factor, min_isr) = replication(name, history);
    let mut configs = vec![config("segment.bytes", "1048576")];
    if !traits.is_flushed {
        configs.push(config("flush.messages", "9223372036854775807"));
    }
    if traits.is_short {
        configs.push(config("retention.ms", "700"));
    }
    if traits.is_compacted {
        configs.push(config("cleanup.policy", if traits.is_short { "compact,delete" } else { "compact" }));
    }
    if history.is_of_cluster() {
        configs.push(config("min.insync.replicas", min_isr));
    }
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: factor.min(history.replicas()),
        configs,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
    let version = version::<CreateTopicsRequest>(rng, 2);
    framed(version, &request, correlation, Asked::Create { topic: name.to_owned() })
}

fn config(name: &str, value: &str) -> CreatableTopicConfig {
    CreatableTopicConfig { name: name.into(), value: Some(value.into()), ..Default::default() }
}

fn metadata(rng: &mut Rng, history: &History, correlation: i32) -> (i16, Bytes, Asked) {
    let request = MetadataRequest { topics: None, ..Default::default() };
    // What is known now must be in an answer that is yet to come.
    let known = history.topics().map(|(name, count)| (name.clone(), count, history.era(name))).collect();
    // From version 10 on the answer has the topics' ids.
    let least = if history.is_of_cluster() { 10 } else { 1 };
    framed(version::<MetadataRequest>(rng, least), &request, correlation, Asked::Metadata { known })
}

fn alter(topic: String, value: String, rng: &mut Rng, correlation: i32) -> (i16, Bytes, Asked) {
    let config =
        AlterableConfig { name: KEY.into(), value: Some(value.as_str().into()), ..Default::default() };
    let resource = AlterConfigsResource {
        resource_type: TOPIC_RESOURCE,
        resource_name: base_name(&topic).into(),
        configs: vec![config],
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let version = version::<IncrementalAlterConfigsRequest>(rng, 0);
    framed(version, &request, correlation, Asked::Alter { topic, value })
}

fn describe(topic: String, rng: &mut Rng, history: &History, correlation: i32) -> (i16, Bytes, Asked) {
    let resource = DescribeConfigsResource {
        resource_type: TOPIC_RESOURCE,
        resource_name: base_name(&topic).into(),
        configuration_keys: Some(vec![KEY.into()]),
        ..Default::default()
    };
    let allowed = history.configs(&topic);
    if allowed.is_empty() {
        return metadata(rng, history, correlation);
    }
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let version = version::<DescribeConfigsRequest>(rng, 1);
    framed(version, &request, correlation, Asked::Describe { topic, allowed })
}

fn trim(partition: Partition, rng: &mut Rng, history: &mut History, correlation: i32) -> (i16, Bytes, Asked) {
    let end = history.acked_end(&partition);
    let offset = i64::try_from(rng.below(end.unsigned_abs() + 1)).unwrap_or(0);
    history.trim_sent(&partition, offset);
    let part = DeleteRecordsPartition { partition_index: partition.1, offset, ..Default::default() };
    let topic = DeleteRecordsTopic {
        name: base_name(&partition.0).into(),
        partitions: vec![part],
        ..Default::default()
    };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1_000, ..Default::default() };
    framed(version::<DeleteRecordsRequest>(rng, 0), &request, correlation, Asked::Trim { partition })
}

fn delete(topic: &str, history: &History, rng: &mut Rng, correlation: i32) -> (i16, Bytes, Asked) {
    // In a cluster it is named by its id: the request may be carried out late, when there is another one of its name.
    let id = history.lives.id(topic).filter(|_| history.is_of_cluster());
    let version = version::<DeleteTopicsRequest>(rng, if id.is_some() { BY_ID } else { 1 });
    let mut request = DeleteTopicsRequest { timeout_ms: 1_000, ..Default::default() };
    if let Some(topic_id) = id {
        request.topics = vec![DeleteTopicState { name: None, topic_id, ..Default::default() }];
    } else if version < BY_ID {
        request.topic_names = vec![topic.into()];
    } else {
        request.topics = vec![DeleteTopicState { name: Some(topic.into()), ..Default::default() }];
    }
    framed(version, &request, correlation, Asked::Delete { topic: topic.to_owned() })
}

fn learn_ids(reply: &MetadataResponse, history: &mut History) {
    for topic in &reply.topics {
        let Some(name) = &topic.name else { continue };
        history.is_life(&history.lives.latest(name.as_str()), topic.topic_id);
    }
}

fn check_metadata(
    reply: &MetadataResponse,
    known: &[(String, i32, u32)],
    history: &mut History,
) -> Result<(), String> {
    learn_ids(reply, history);
    for (name, partitions, era) in known {
        if !history.exists(name) || history.era(name) != *era || history.is_of_cluster() {
            // Its deletion was asked for meanwhile.
            continue;
        }
        let found = reply.topics.iter().find(|topic| topic.name.as_ref().is_some_and(|n| n.as_str() == name));
        let Some(found) = found else {
            return Err(format!("the topic {name} was created and is not in the metadata"));
        };
        if i32::try_from(found.partitions.len()) != Ok(*partitions) {
            return Err(format!(
                "the topic {name} has {} partitions instead of {partitions}",
                found.partitions.len()
            ));
        }
    }
    Ok(())
}
