//! Fetching: one request under way per broker, for all partitions there that have nothing unread.

use super::records::Unread;
use super::session::Asked;
use super::{Call, ConsumeError, Consumer, Position, TopicPartition};
use crate::core::cluster::{Answer, Target};
use crate::core::error::{CallError, code_of};
use base::{EndOffset, Now, Span};
use std::collections::BTreeMap;
use wire::fetch::{FetchRequest, FetchResponse, PartitionData};
use wire::{ErrorCode, Records, Str};

/// How much longer than its own wait a fetch may take.
const GRACE: Span = Span::from_secs(30);

impl Consumer {
    pub(super) fn fetch(&mut self, now: Now) {
        let mut brokers: BTreeMap<i32, BTreeMap<TopicPartition, Asked>> = BTreeMap::new();
        let mut wakes = Vec::new();
        let mut leaderless = false;
        for (partition, state) in &self.partitions {
            let Position::At(offset) = state.position else { continue };
            if state.unread.is_some() || state.paused || state.fetching {
                continue;
            }
            if now.mono < state.not_before {
                wakes.push(state.not_before);
                continue;
            }
            let metadata = self.cluster.metadata();
            let known = metadata.partition(&partition.topic, partition.partition);
            let Some((leader, known)) = known.and_then(|known| Some((known.leader?, known))) else {
                leaderless = true;
                continue;
            };
            let topic_id = metadata.topics.get(&partition.topic).map(|topic| topic.id).unwrap_or_default();
            let asked = Asked {
                topic_id,
                offset,
                leader_epoch: known.leader_epoch,
                last_epoch: state.last_epoch,
                bytes_max: self.settings.partition_bytes_max,
            };
            brokers.entry(leader).or_default().insert(partition.clone(), asked);
        }
        wakes.into_iter().for_each(|at| self.wake(at));
        if leaderless {
            self.cluster.request_refresh();
        }
        for (broker, wanted) in brokers {
            let busy = self.sessions.get(&broker).is_some_and(|session| session.busy);
            if !busy && self.cluster.is_ready(now, Target::Broker(broker)) {
                self.fetch_from(now, broker, wanted);
            }
        }
    }

    fn fetch_from(&mut self, now: Now, broker: i32, wanted: BTreeMap<TopicPartition, Asked>) {
        let mut partitions = Vec::with_capacity(wanted.len());
        for partition in wanted.keys() {
            if let Some(state) = self.partitions.get_mut(partition) {
                state.fetching = true;
                partitions.push((partition.clone(), state.generation));
            }
        }
        let has_ids = wanted.values().all(|asked| !asked.topic_id.is_zero());
        let said = self.sessions.entry(broker).or_default().say(wanted);
        let settings = &self.settings;
        let request = FetchRequest {
            max_wait_ms: i32::try_from(settings.fetch_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: settings.fetch_bytes_min,
            max_bytes: settings.fetch_bytes_max,
            isolation_level: self.isolation_level(),
            session_id: said.session_id,
            session_epoch: said.session_epoch,
            topics: said.topics,
            forgotten_topics_data: said.forgotten,
            rack_id: settings.rack.as_deref().map(Str::from).unwrap_or_default(),
            ..FetchRequest::default()
        };
        // Sessions came with version 7; topic ids replaced the names in version 13.
        let versions = if has_ids { 7..=18 } else { 7..=12 };
        let timeout = settings.fetch_wait + GRACE.min(settings.cluster.request_timeout);
        let call = self.cluster.call(now, Target::Broker(broker), versions, request, timeout);
        self.calls.insert(call, Call::Fetch { broker, partitions });
    }

    pub(super) fn settle_fetch(
        &mut self,
        now: Now,
        broker: i32,
        partitions: &[(TopicPartition, u64)],
        outcome: Result<Answer, CallError>,
    ) {
        for (partition, generation) in partitions {
            if let Some(state) = self.partitions.get_mut(partition).filter(|s| s.generation == *generation) {
                state.fetching = false;
            }
        }
        let session = self.sessions.entry(broker).or_default();
        match outcome.and_then(|answer| answer.decode::<FetchRequest>()) {
            Err(error) => {
                session.reset();
                for (partition, _) in partitions {
                    self.fail(now, partition, ConsumeError::Call(error.clone()));
                }
            }
            Ok(response) => {
                let code = code_of(response.error_code);
                if code == ErrorCode::None {
                    session.answered(response.session_id);
                    self.settle_partitions(now, partitions, response);
                } else {
                    session.reset();
                    self.settle_session_error(now, partitions, code);
                }
            }
        }
    }

    /// A lost session is no event: the next request opens another. Wrong topic ids want new metadata.
    fn settle_session_error(&mut self, now: Now, partitions: &[(TopicPartition, u64)], code: ErrorCode) {
        let lost = [ErrorCode::FetchSessionIdNotFound, ErrorCode::InvalidFetchSessionEpoch];
        if lost.contains(&code) {
            return;
        }
        for (partition, _) in partitions {
            self.fail(now, partition, ConsumeError::Refused(code));
        }
    }

    fn settle_partitions(&mut self, now: Now, asked: &[(TopicPartition, u64)], response: FetchResponse) {
        for topic in response.responses {
            let name = self.cluster.metadata().name(topic.topic_id).cloned();
            let name = name.filter(|_| !topic.topic_id.is_zero()).unwrap_or_else(|| topic.topic.detached());
            for data in topic.partitions {
                let partition = TopicPartition { topic: name.clone(), partition: data.partition_index };
                let generation =
                    asked.iter().find(|(p, _)| *p == partition).map(|(_, generation)| *generation);
                let current = self.partitions.get(&partition).map(|state| state.generation);
                // What was unassigned or sought elsewhere in the meantime is not wanted any more.
                if generation.is_some() && generation == current {
                    self.settle_partition(now, &partition, data);
                }
            }
        }
    }

    fn settle_partition(&mut self, now: Now, partition: &TopicPartition, data: PartitionData) {
        let code = code_of(data.error_code);
        if code == ErrorCode::OffsetOutOfRange {
            return self.settle_out_of_range(now, partition);
        }
        if code != ErrorCode::None {
            if code.is_retriable() {
                self.cluster.metadata_mut().forget_leader(&partition.topic, partition.partition);
            }
            return self.fail(now, partition, ConsumeError::Refused(code));
        }
        let committed = self.isolation_level() == 1;
        let Some(state) = self.partitions.get_mut(partition) else { return };
        let Position::At(offset) = state.position else { return };
        state.succeeded();
        let end = if committed { data.last_stable_offset } else { data.high_watermark };
        state.end = Some(EndOffset(end));
        let bytes = match data.records {
            Some(Records::Bytes(bytes)) => bytes,
            Some(Records::Elsewhere { .. }) | None => bytes::Bytes::new(),
        };
        if bytes.is_empty() {
            state.tell_end(partition, &mut self.events);
            return;
        }
        state.told_end = false;
        let aborted = data.aborted_transactions.unwrap_or_default();
        let aborted = aborted.iter().map(|txn| (txn.producer_id, txn.first_offset)).collect();
        state.unread = Some(Unread::new(bytes, offset, aborted, &self.settings));
    }

    fn settle_out_of_range(&mut self, now: Now, partition: &TopicPartition) {
        let reset = self.settings.offset_reset.seek();
        let Some(state) = self.partitions.get_mut(partition) else { return };
        let Position::At(offset) = state.position else { return };
        match reset {
            Some(seek) => state.position = Position::Wanted(seek),
            None => self.fail(now, partition, ConsumeError::OutOfRange { offset }),
        }
    }
}
