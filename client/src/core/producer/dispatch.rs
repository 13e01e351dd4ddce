//! From queues to requests, and from answers to outcomes.

use super::batch::{Batch, Member};
use super::identity::Identity;
use super::queue::{Failed, Queue};
use super::{Acks, Delivered, ProduceError, Producer};
use crate::core::cluster::{Completion, Target};
use crate::core::error::{CallError, code_of};
use base::{Instant, LastOffset, Now, Timestamp};
use std::collections::BTreeMap;
use wire::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};
use wire::{ErrorCode, Records, Str};

/// The batches of one request.
pub(super) struct InFlight {
    parts: Vec<Part>,
}

struct Part {
    topic: Str,
    partition: i32,
    batch: Batch,
}

impl Producer {
    /// Does everything that can be done now.
    pub(super) fn advance(&mut self, now: Now) {
        while let Some(done) = self.cluster.poll_completion() {
            if !self.identity.settle(now, &done, &self.cluster) {
                self.settle(now, done);
            }
        }
        self.wake_at = None;
        self.learn_topics(now);
        self.expire_parked(now);
        if self.outstanding > 0 {
            if let Some(at) = self.identity.advance(now, &mut self.cluster) {
                self.wake(at);
            }
            self.look_after_queues(now);
            self.dispatch(now);
        }
    }

    /// Makes queues for partitions that have become known, and lets parked records go there.
    fn learn_topics(&mut self, now: Now) {
        if self.metadata_seen == self.cluster.metadata_version() {
            return;
        }
        self.metadata_seen = self.cluster.metadata_version();
        let mut released = Vec::new();
        let mut unknown = false;
        for (name, topic) in &mut self.topics {
            let Some(known) = self.cluster.metadata().topics.get(name) else { continue };
            let count = known.partitions.len().max(topic.queues.len());
            topic.queues.resize_with(count, Queue::default);
            topic.available =
                known.partitions.iter().filter(|p| p.leader.is_some()).map(|p| p.index).collect();
            unknown |= topic.available.len() < count || count == 0;
            let refusal =
                (known.error != ErrorCode::None && !known.error.is_retriable()).then_some(known.error);
            if count > 0 || refusal.is_some() {
                released.extend(topic.parked.drain(..).map(|parked| (parked, refusal)));
            }
        }
        for (parked, refusal) in released {
            match refusal {
                None => self.append(now, parked.id, &parked.record, parked.bytes),
                Some(code) => {
                    self.fail(parked.id, parked.bytes, ProduceError::Refused { code, message: None });
                }
            }
        }
        if unknown {
            self.cluster.request_refresh();
        }
    }

    fn expire_parked(&mut self, now: Now) {
        let fail_fast = self.settings.cluster.fail_fast;
        let error = self.cluster.metadata_error().cloned();
        let hopeless = fail_fast && matches!(error, Some(CallError::Unreachable { .. }));
        let mut late = Vec::new();
        let mut next: Option<Instant> = None;
        for topic in self.topics.values_mut() {
            while let Some(parked) = topic.parked.pop_front_if(|p| hopeless || now.mono >= p.deadline) {
                late.push(parked);
            }
            let first = topic.parked.front().map(|parked| parked.deadline);
            next = [next, first].into_iter().flatten().min();
        }
        for parked in late {
            let error = match &error {
                Some(error) => ProduceError::Call(error.clone()),
                None => ProduceError::Refused { code: ErrorCode::UnknownTopicOrPartition, message: None },
            };
            self.fail(parked.id, parked.bytes, error);
        }
        if let Some(at) = next {
            self.wake(at);
        }
    }

    /// Fails what is too late and mends broken sequences.
    fn look_after_queues(&mut self, now: Now) {
        let mut failed: Vec<Failed> = Vec::new();
        let refused = match self.identity {
            Identity::Refused(code) => Some(code),
            Identity::Off | Identity::Wanted { .. } | Identity::Asked { .. } | Identity::Known { .. } => None,
        };
        for queue in self.topics.values_mut().flat_map(|topic| &mut topic.queues) {
            failed.extend(queue.expire(now.mono, &self.settings));
            failed.extend(queue.mend());
            if let Some(code) = refused {
                failed.push((queue.drain(&self.settings), ProduceError::Refused { code, message: None }));
            }
        }
        for failed in failed {
            self.fail_members(failed);
        }
    }

    fn fail_members(&mut self, (members, error): Failed) {
        for member in members {
            self.fail(member.id, member.bytes, error.clone());
        }
    }

    fn dispatch(&mut self, now: Now) {
        let Some(stamp) = self.identity.stamp() else { return };
        let mut leaders: BTreeMap<i32, Vec<(Str, i32)>> = BTreeMap::new();
        let mut wakes = Vec::new();
        let mut leaderless = false;
        for (name, topic) in &self.topics {
            for (index, queue) in (0..).zip(&topic.queues) {
                wakes.extend(queue.deadline(&self.settings));
                let Some(at) = queue.sendable_at(&self.settings, self.flushing) else { continue };
                if at > now.mono {
                    wakes.push(at);
                    continue;
                }
                match self.cluster.metadata().leader(name, index) {
                    Some(leader) => leaders.entry(leader).or_default().push((name.clone(), index)),
                    None => leaderless = true,
                }
            }
        }
        if let Some(at) = wakes.into_iter().min() {
            self.wake(at);
        }
        if leaderless {
            self.cluster.request_refresh();
        }
        for (leader, mut partitions) in leaders {
            // Another partition goes first each time, or those at the end would starve behind full requests.
            let first = usize::try_from(self.next_delivery).unwrap_or(0) % partitions.len();
            partitions.rotate_left(first);
            self.dispatch_to(now, leader, &partitions, stamp);
        }
    }

    fn dispatch_to(&mut self, now: Now, leader: i32, partitions: &[(Str, i32)], stamp: Option<(i64, i16)>) {
        while self.cluster.is_ready(now, Target::Broker(leader)) {
            let parts = self.collect(now, partitions, stamp);
            if parts.is_empty() {
                return;
            }
            self.submit(now, leader, parts);
        }
    }

    /// One batch of each partition, as many as a request holds.
    fn collect(&mut self, now: Now, partitions: &[(Str, i32)], stamp: Option<(i64, i16)>) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut room = self.settings.request_bytes_max;
        for (topic, partition) in partitions {
            let Some(queue) = find_queue(&mut self.topics, topic, *partition) else { continue };
            let due = queue.sendable_at(&self.settings, self.flushing);
            if due.is_none_or(|at| at > now.mono) {
                continue;
            }
            // The first batch always goes, however large.
            let limit = if parts.is_empty() { usize::MAX } else { room };
            match queue.take(stamp, limit, &self.settings) {
                Ok(Some(batch)) => {
                    room = room.saturating_sub(batch.bytes.len());
                    parts.push(Part { topic: topic.clone(), partition: *partition, batch });
                }
                Ok(None) => {}
                Err(failed) => self.fail_members(failed),
            }
        }
        parts
    }

    fn submit(&mut self, now: Now, leader: i32, parts: Vec<Part>) {
        let (request, has_ids) = self.request(&parts);
        let versions = if has_ids { 3..=13 } else { 3..=12 };
        let timeout = self.settings.cluster.request_timeout;
        let target = Target::Broker(leader);
        let call = if self.settings.acks == Acks::None {
            self.cluster.post(now, target, versions, request, timeout)
        } else {
            self.cluster.call(now, target, versions, request, timeout)
        };
        self.in_flight.insert(call, InFlight { parts });
        if self.settings.acks == Acks::None {
            // Its completion is there already.
            self.wake(now.mono);
        }
    }

    fn request(&self, parts: &[Part]) -> (ProduceRequest, bool) {
        let mut topics: BTreeMap<&Str, TopicProduceData> = BTreeMap::new();
        let mut has_ids = true;
        for part in parts {
            let id =
                self.cluster.metadata().topics.get(&part.topic).map(|topic| topic.id).unwrap_or_default();
            has_ids &= !id.is_zero();
            let topic = topics.entry(&part.topic).or_insert_with(|| TopicProduceData {
                name: part.topic.clone(),
                topic_id: id,
                ..TopicProduceData::default()
            });
            topic.partition_data.push(PartitionProduceData {
                index: part.partition,
                records: Some(Records::Bytes(part.batch.bytes.clone())),
                ..PartitionProduceData::default()
            });
        }
        let timeout = i32::try_from(self.settings.cluster.request_timeout.as_millis()).unwrap_or(i32::MAX);
        let request = ProduceRequest {
            acks: self.settings.acks.code(),
            timeout_ms: timeout,
            topic_data: topics.into_values().collect(),
            ..ProduceRequest::default()
        };
        (request, has_ids)
    }

    fn settle(&mut self, now: Now, done: Completion) {
        let Some(request) = self.in_flight.remove(&done.call) else { return };
        let response = match done.outcome {
            Ok(_) if self.settings.acks == Acks::None => Ok(None),
            Ok(answer) => answer.decode::<ProduceRequest>().map(Some),
            Err(error) => Err(error),
        };
        for part in request.parts {
            if let Some(queue) = find_queue(&mut self.topics, &part.topic, part.partition) {
                queue.landed(part.batch.order);
            }
            match &response {
                Ok(None) => self.deliver(part, None),
                Ok(Some(response)) => self.settle_part(now, part, response),
                Err(error) => self.settle_lost(now, part, error),
            }
        }
    }

    fn settle_part(&mut self, now: Now, part: Part, response: &ProduceResponse) {
        let id = self.cluster.metadata().topics.get(&part.topic).map(|topic| topic.id).unwrap_or_default();
        let topic =
            response.responses.iter().find(|t| t.name == part.topic || (!id.is_zero() && t.topic_id == id));
        let found = topic.and_then(|t| t.partition_responses.iter().find(|p| p.index == part.partition));
        let Some(answer) = found else {
            let code = ErrorCode::UnknownServerError;
            let message = Some("the broker's answer does not mention the partition".to_owned());
            return self.give_up(part, ProduceError::Refused { code, message });
        };
        let code = code_of(answer.error_code);
        if code == ErrorCode::None {
            self.deliver(part, Some(answer));
        } else if code == ErrorCode::DuplicateSequenceNumber {
            self.deliver(part, None);
        } else {
            self.settle_refused(now, part, code, answer);
        }
    }

    fn settle_refused(
        &mut self,
        now: Now,
        mut part: Part,
        code: ErrorCode,
        answer: &PartitionProduceResponse,
    ) {
        let stamped = part.batch.stamp.is_some();
        let message = answer.error_message.as_ref().map(ToString::to_string);
        let lost_sequence = matches!(
            code,
            ErrorCode::OutOfOrderSequenceNumber
                | ErrorCode::UnknownProducerId
                | ErrorCode::InvalidProducerEpoch
        );
        part.batch.last = Some(format!("{}: {}", code.name(), message.as_deref().unwrap_or(code.message())));
        if stamped && lost_sequence {
            self.settle_sequence(now, part, code);
        } else if code.is_retriable() {
            part.batch.uncertain |=
                matches!(code, ErrorCode::RequestTimedOut | ErrorCode::NotEnoughReplicasAfterAppend);
            self.repeat(now, part);
        } else {
            self.give_up(part, ProduceError::Refused { code, message });
        }
    }

    /// The broker does not expect this sequence. If an earlier batch is still open that is the reason, and
    /// the batch goes again after it; else the broker has forgotten, and the partition begins a new epoch.
    fn settle_sequence(&mut self, now: Now, part: Part, code: ErrorCode) {
        let order = part.batch.order;
        if let Some(queue) = find_queue(&mut self.topics, &part.topic, part.partition)
            && (code != ErrorCode::OutOfOrderSequenceNumber || !queue.has_earlier(order))
        {
            if code == ErrorCode::InvalidProducerEpoch {
                queue.forget_identity();
                self.identity.renew();
            } else {
                queue.break_sequence();
            }
        }
        self.repeat(now, part);
    }

    /// The request or its answer was lost.
    fn settle_lost(&mut self, now: Now, mut part: Part, error: &CallError) {
        part.batch.last = Some(error.to_string());
        part.batch.uncertain |= matches!(
            error,
            CallError::Disconnected { .. } | CallError::TimedOut { .. } | CallError::Decode(_)
        );
        if error.is_retriable() && self.settings.acks != Acks::None {
            self.repeat(now, part);
        } else {
            self.give_up(part, ProduceError::Call(error.clone()));
        }
    }

    fn repeat(&mut self, now: Now, part: Part) {
        let Part { topic, partition, batch } = part;
        self.cluster.metadata_mut().forget_leader(&topic, partition);
        self.cluster.request_refresh();
        let at = now.mono + self.settings.cluster.retry_pause(batch.attempts);
        if let Some(queue) = find_queue(&mut self.topics, &topic, partition) {
            queue.put_back(batch, at);
        }
    }

    fn give_up(&mut self, part: Part, error: ProduceError) {
        if part.batch.stamp.is_some()
            && let Some(queue) = find_queue(&mut self.topics, &part.topic, part.partition)
        {
            queue.break_sequence();
        }
        self.fail_members((part.batch.members, error));
    }

    fn deliver(&mut self, part: Part, answer: Option<&PartitionProduceResponse>) {
        let base = answer.map(|answer| answer.base_offset).filter(|offset| *offset >= 0);
        let appended = answer.map(|answer| answer.log_append_time_ms).filter(|time| *time >= 0);
        for (k, member) in (0..).zip(part.batch.members) {
            let Member { id, bytes, timestamp } = member;
            let delivered = Delivered {
                topic: part.topic.clone(),
                partition: part.partition,
                offset: base.map(|base| LastOffset(base.saturating_add(k))),
                timestamp: appended.map_or(timestamp, Timestamp),
            };
            self.resolve(id, bytes, Ok(delivered));
        }
    }
}

fn find_queue<'a>(
    topics: &'a mut BTreeMap<Str, super::Topic>,
    topic: &Str,
    partition: i32,
) -> Option<&'a mut Queue> {
    let topic = topics.get_mut(topic)?;
    usize::try_from(partition).ok().and_then(|k| topic.queues.get_mut(k))
}
