//! What the client of a large cluster asks.

use super::machines::Machines;
use base::{Span, TopicId};
use broker::ConnId;
use bytes::Bytes;
use wire::create_topics::{CreatableTopic, CreateTopicsRequest};
use wire::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::record::{BatchBuilder, BatchMeta, RecordFields};
use wire::{Message as _, Reader, Records, Request};

/// Long enough for whatever is asked.
const PATIENCE: Span = Span::from_secs(120);
const LOOK: Span = Span::from_millis(1);

/// Asks and waits for the answer.
fn ask<R: Request>(machines: &mut Machines, to: usize, request: &R) -> Result<R::Response, String> {
    let version = *R::VERSIONS.end();
    let conn = send(machines, to, version, request)?;
    let mut frame = None;
    machines.wait(LOOK, PATIENCE, |machines| {
        frame = machines.answer(to, conn);
        frame.is_some()
    });
    let frame = frame.ok_or_else(|| format!("{}: no answer", R::KEY.name()))?;
    decode::<R>(version, frame)
}

fn send<R: Request>(machines: &mut Machines, to: usize, version: i16, request: &R) -> Result<ConnId, String> {
    let encoded = wire::encode_request(1, Some(&"scale".into()), version, request);
    Ok(machines.send(to, encoded.map_err(|error| error.to_string())?.bytes))
}

fn decode<R: Request>(version: i16, frame: Bytes) -> Result<R::Response, String> {
    let mut reader = Reader::new(frame);
    wire::decode_response_head(&mut reader, R::KEY, version).map_err(|error| error.to_string())?;
    R::Response::decode(&mut reader, version).map_err(|error| error.to_string())
}

/// Creates a topic; `factor` replicas of each partition.
pub(super) fn create(
    machines: &mut Machines,
    to: usize,
    name: &str,
    partitions: i32,
    factor: i16,
) -> Result<(), String> {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: factor,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 60_000, ..Default::default() };
    let response = ask(machines, to, &request)?;
    match response.topics.first() {
        Some(topic) if topic.error_code == 0 => Ok(()),
        other => Err(format!("{name} is not created: {other:?}")),
    }
}

/// Changes a topic's config, which takes a controller. False if there was none.
pub(super) fn change(machines: &mut Machines, to: usize, topic: &str, value: &str) -> Result<bool, String> {
    let config = AlterableConfig {
        name: "retention.ms".into(),
        config_operation: 0,
        value: Some(value.into()),
        ..Default::default()
    };
    let resource = AlterConfigsResource {
        resource_type: 2,
        resource_name: topic.into(),
        configs: vec![config],
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let response = ask(machines, to, &request)?;
    Ok(response.responses.iter().all(|outcome| outcome.error_code == 0))
}

/// A record that was written with acks=all, and what has become of it.
pub(super) struct Write {
    topic: TopicId,
    index: i32,
    sent: Option<(usize, ConnId)>,
    is_done: bool,
}

const PRODUCE: i16 = 13;

impl Write {
    pub(super) const fn new(topic: TopicId, index: i32) -> Self {
        Self { topic, index, sent: None, is_done: false }
    }

    /// Writes, or looks whether it is acknowledged; a refusal is tried again with whoever leads by then.
    pub(super) fn drive(&mut self, machines: &mut Machines, leader: Option<usize>) -> Result<bool, String> {
        if self.is_done {
            return Ok(true);
        }
        let Some((to, conn)) = self.sent else {
            if let Some(to) = leader {
                self.sent = Some((to, send(machines, to, PRODUCE, &self.request())?));
            }
            return Ok(false);
        };
        if let Some(frame) = machines.answer(to, conn) {
            let response = decode::<ProduceRequest>(PRODUCE, frame)?;
            let parts = response.responses.iter().flat_map(|topic| &topic.partition_responses);
            self.is_done = parts.map(|part| part.error_code).eq([0]);
            self.sent = None;
        } else if leader.is_some_and(|leader| leader != to) && machines.is_down(to) {
            self.sent = None;
        }
        Ok(self.is_done)
    }

    fn request(&self) -> ProduceRequest {
        let mut batch = BatchBuilder::new(BatchMeta { producer_id: -1, ..BatchMeta::default() });
        batch.push(&RecordFields { timestamp: 1, key: None, value: Some(b"x"), headers: &[] });
        let part = PartitionProduceData {
            index: self.index,
            records: Some(Records::Bytes(batch.finish().into())),
            ..Default::default()
        };
        let topic =
            TopicProduceData { topic_id: self.topic.0, partition_data: vec![part], ..Default::default() };
        ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
    }
}
