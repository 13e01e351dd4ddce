//! Produce (0): append batches; the reply leaves when the durability that was asked for is reached.
//!
//! Version notes: advertised from 0 although 0–2 are refused, because librdkafka disables what it needs when
//! it does not see them (KAFKA-18659). From version 13 on topics are named by id. Version 12 is about
//! transactions, which are not served: a transactional id is refused at once.

use super::{Acl, Api, Malformed, encode};
use crate::effects::{Asked, Effects, Reply};
use crate::reactor::Reactor;
use crate::reactor::produce::{Part, Waiting};
use crate::replica::{Acks, ProduceError, Produced, Waiter};
use crate::view::{BrokerEndpoint, View};
use base::{Now, PartitionIndex, Span};
use bytes::Bytes;
use cluster::Topic;
use core::ops::RangeInclusive;
use std::sync::Arc;
use wire::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceData,
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use wire::{ErrorCode, Records};

pub(super) struct Produce;

impl Api for Produce {
    type Request = ProduceRequest;
    const ACL: Acl = Acl::WriteTopic;
    const ADVERTISED: RangeInclusive<i16> = 0..=13;

    fn downgrade(version: i16, response: &mut ProduceResponse) {
        // Before version 10 nobody was told who leads (KIP-951).
        if version < 10 {
            response.node_endpoints.clear();
        }
    }
}

pub(super) fn handle(
    reactor: &mut Reactor,
    asked: Asked,
    now: Now,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let request = super::decode::<Produce>(&asked)?;
    let acks = match (request.acks, &request.transactional_id) {
        (_, Some(_)) => Err(ErrorCode::TransactionalIdAuthorizationFailed),
        (0, None) => Ok(Acks::None),
        (1, None) => Ok(Acks::Leader),
        (-1, None) => Ok(Acks::All),
        (_, None) => Err(ErrorCode::InvalidRequiredAcks),
    };
    let timeout = Span::from_wire_millis(i64::from(request.timeout_ms));
    let ticket = reactor.produces.next_ticket();
    let mut turn = Turn { reactor, now, ticket, parts: Vec::new(), refused: acks.err(), fx };
    let acks_or_none = acks.unwrap_or(Acks::None);
    let topics = request.topic_data.into_iter().enumerate();
    let responses = topics.map(|(at, topic)| turn.topic(at, topic, acks_or_none)).collect();
    let parts = turn.parts;
    let response = ProduceResponse { responses, ..ProduceResponse::default() };
    if acks == Ok(Acks::None) {
        return without_ack(reactor, &asked, &response, fx);
    }
    // The records have been written: only the head is needed to answer.
    let asked = asked.without_body();
    let waiting = Waiting { asked, response, parts, deadline: now.mono + timeout };
    reactor.park_produce(ticket, waiting, fx);
    Ok(())
}

/// With acks=0 there is no reply; an error is told by closing the connection, as Kafka does.
fn without_ack(
    reactor: &mut Reactor,
    asked: &Asked,
    response: &ProduceResponse,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let failed = |part: &PartitionProduceResponse| part.error_code != 0;
    if response.responses.iter().flat_map(|topic| &topic.partition_responses).any(failed) {
        fx.close.push(asked.token.conn);
        return Ok(());
    }
    reactor.complete(asked.token, Reply::default(), fx);
    Ok(())
}

/// One request being carried out.
struct Turn<'a> {
    reactor: &'a mut Reactor,
    now: Now,
    ticket: u64,
    /// What the reply has to wait for.
    parts: Vec<Part>,
    refused: Option<ErrorCode>,
    fx: &'a mut Effects,
}

impl Turn<'_> {
    fn topic(&mut self, at: usize, data: TopicProduceData, acks: Acks) -> TopicProduceResponse {
        let view = self.reactor.view.clone();
        let topic = view.topic_of(&data.name, data.topic_id);
        let by_id = !data.topic_id.is_zero();
        let parts = data.partition_data.into_iter().enumerate();
        let partition_responses = parts.map(|(nth, part)| match topic {
            Some(topic) => self.partition(topic, (at, nth), part, acks),
            None if by_id => refused(part.index, ErrorCode::UnknownTopicId),
            None => refused(part.index, ErrorCode::UnknownTopicOrPartition),
        });
        let partition_responses = partition_responses.collect();
        TopicProduceResponse {
            // A reply that waits must not keep the request's records in memory.
            name: data.name.detached(),
            topic_id: data.topic_id,
            partition_responses,
            ..TopicProduceResponse::default()
        }
    }

    fn partition(
        &mut self,
        topic: &Arc<Topic>,
        place: (usize, usize),
        data: PartitionProduceData,
        acks: Acks,
    ) -> PartitionProduceResponse {
        let index = data.index;
        let refusal = self.refused.or_else(|| check_partition(topic, index));
        if let Some(code) = refusal {
            return refused(index, code);
        }
        let Some(replica) = self.reactor.view.replica(topic.id, PartitionIndex(index)).cloned() else {
            return refused(index, ErrorCode::NotLeaderOrFollower);
        };
        let records = match data.records {
            Some(Records::Bytes(bytes)) => bytes,
            Some(Records::Elsewhere { .. }) | None => Bytes::new(),
        };
        let part = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        let waiter = Waiter { owner: self.reactor.owner(), ticket: self.ticket, part };
        match replica.produce(&records, acks, self.now, waiter, &mut self.reactor.opened) {
            Ok(mut produced) => {
                self.reactor.shared.appended(&replica, &mut produced, self.now, self.fx);
                self.parts.push(Part { topic: place.0, partition: place.1, waits: produced.waits });
                accepted(index, &produced)
            }
            Err(error) => failed(index, error),
        }
    }
}

fn check_partition(topic: &Topic, index: i32) -> Option<ErrorCode> {
    // What coordinators know is what they wrote themselves.
    if topic.is_internal() {
        return Some(ErrorCode::InvalidTopicException);
    }
    topic.partition(PartitionIndex(index)).is_none().then_some(ErrorCode::UnknownTopicOrPartition)
}

fn accepted(index: i32, produced: &Produced) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        base_offset: produced.base.0,
        log_append_time_ms: produced.log_append_time.map_or(-1, |time| time.0),
        log_start_offset: produced.log_start.0,
        ..PartitionProduceResponse::default()
    }
}

fn refused(index: i32, code: ErrorCode) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: code as i16,
        base_offset: -1,
        ..PartitionProduceResponse::default()
    }
}

fn failed(index: i32, error: ProduceError) -> PartitionProduceResponse {
    if error.code == ErrorCode::NotLeaderOrFollower {
        return refused(index, error.code);
    }
    let record = |(batch_index, message): (i32, String)| BatchIndexAndErrorMessage {
        batch_index,
        batch_index_error_message: Some(message.into()),
        ..BatchIndexAndErrorMessage::default()
    };
    PartitionProduceResponse {
        log_start_offset: error.log_start.map_or(-1, |start| start.0),
        record_errors: error.records.into_iter().map(record).collect(),
        error_message: error.message.map(Into::into),
        ..refused(index, error.code)
    }
}

/// Encodes the reply of a request whose parts are all decided.
pub(crate) fn reply(
    view: &View,
    listener: &str,
    asked: &Asked,
    mut response: ProduceResponse,
) -> Result<Reply, Malformed> {
    response.node_endpoints = name_leaders(view, listener, &mut response.responses);
    encode::<Produce>(asked, response).map(Reply::bytes)
}

/// Says of partitions that this broker does not lead who does, as far as is known (KIP-951).
fn name_leaders(view: &View, listener: &str, responses: &mut [TopicProduceResponse]) -> Vec<NodeEndpoint> {
    let mut endpoints: Vec<NodeEndpoint> = Vec::new();
    for topic in responses {
        let is_elsewhere =
            |part: &&mut PartitionProduceResponse| part.error_code == ErrorCode::NotLeaderOrFollower as i16;
        for part in topic.partition_responses.iter_mut().filter(is_elsewhere) {
            let known = view.topic_of(&topic.name, topic.topic_id);
            let leads = known.and_then(|known| view.leader_of(known, PartitionIndex(part.index)));
            let Some((leader, epoch)) = leads else { continue };
            part.current_leader = LeaderIdAndEpoch {
                leader_id: leader.map_or(-1, |id| id.0),
                leader_epoch: epoch.0,
                ..LeaderIdAndEpoch::default()
            };
            let leader = leader.and_then(|leader| view.endpoint_of(leader, listener));
            let is_new = |leader: &BrokerEndpoint<'_>| endpoints.iter().all(|e| e.node_id != leader.id.0);
            endpoints.extend(leader.filter(is_new).map(node_endpoint));
        }
    }
    endpoints
}

fn node_endpoint(endpoint: BrokerEndpoint<'_>) -> NodeEndpoint {
    NodeEndpoint {
        node_id: endpoint.id.0,
        host: endpoint.host.into(),
        port: i32::from(endpoint.port),
        rack: endpoint.rack.map(Into::into),
        ..NodeEndpoint::default()
    }
}
