//! Looking positions up by time, beginning or end.

use super::{Call, ConsumeError, Consumer, Isolation, Position, Seek, TopicPartition};
use crate::core::cluster::{Answer, Target};
use crate::core::error::{CallError, code_of};
use base::{EndOffset, Now};
use std::collections::BTreeMap;
use wire::ErrorCode;
use wire::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic,
};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

impl Consumer {
    /// Asks the leaders for the positions that are wanted.
    pub(super) fn look_up_positions(&mut self, now: Now) {
        let mut leaders: BTreeMap<i32, Vec<(TopicPartition, Seek)>> = BTreeMap::new();
        let mut wakes = Vec::new();
        let mut leaderless = false;
        for (partition, state) in &self.partitions {
            let Position::Wanted(seek) = state.position else { continue };
            if now.mono < state.not_before {
                wakes.push(state.not_before);
                continue;
            }
            match self.cluster.metadata().leader(&partition.topic, partition.partition) {
                Some(leader) => leaders.entry(leader).or_default().push((partition.clone(), seek)),
                None => leaderless = true,
            }
        }
        if leaderless {
            self.cluster.request_refresh();
        }
        wakes.into_iter().for_each(|at| self.wake(at));
        for (leader, wanted) in leaders {
            self.ask_positions(now, leader, &wanted, LATEST);
        }
    }

    fn ask_positions(&mut self, now: Now, leader: i32, wanted: &[(TopicPartition, Seek)], end: i64) {
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        let mut asked = Vec::new();
        for (partition, seek) in wanted {
            let Some(state) = self.partitions.get_mut(partition) else { continue };
            state.position = Position::Asked(*seek);
            asked.push((partition.clone(), state.generation));
            let question = ListOffsetsPartition {
                partition_index: partition.partition,
                timestamp: timestamp_of(*seek, end),
                ..ListOffsetsPartition::default()
            };
            match topics.last_mut().filter(|topic| topic.name == partition.topic) {
                Some(topic) => topic.partitions.push(question),
                None => topics.push(ListOffsetsTopic {
                    name: partition.topic.clone(),
                    partitions: vec![question],
                    ..ListOffsetsTopic::default()
                }),
            }
        }
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: self.isolation_level(),
            topics,
            ..ListOffsetsRequest::default()
        };
        let timeout = self.settings.cluster.request_timeout;
        let call = self.cluster.call(now, Target::Broker(leader), 2..=11, request, timeout);
        self.calls.insert(call, Call::Offsets { partitions: asked });
    }

    pub(super) fn isolation_level(&self) -> i8 {
        i8::from(self.settings.isolation == Isolation::ReadCommitted)
    }

    pub(super) fn settle_offsets(
        &mut self,
        now: Now,
        asked: &[(TopicPartition, u64)],
        outcome: Result<Answer, CallError>,
    ) {
        let response = outcome.and_then(|answer| answer.decode::<ListOffsetsRequest>());
        for (partition, generation) in asked {
            let Some(state) = self.partitions.get_mut(partition) else { continue };
            let Position::Asked(seek) = state.position else { continue };
            if state.generation != *generation {
                continue;
            }
            state.position = Position::Wanted(seek);
            match &response {
                Err(error) => self.fail(now, partition, ConsumeError::Call(error.clone())),
                Ok(response) => {
                    let topic = response.topics.iter().find(|topic| topic.name == partition.topic);
                    let answer = topic
                        .and_then(|t| t.partitions.iter().find(|p| p.partition_index == partition.partition));
                    self.settle_offset(now, partition, seek, answer);
                }
            }
        }
    }

    fn settle_offset(
        &mut self,
        now: Now,
        partition: &TopicPartition,
        seek: Seek,
        answer: Option<&ListOffsetsPartitionResponse>,
    ) {
        let code = answer.map_or(ErrorCode::UnknownServerError, |answer| code_of(answer.error_code));
        let Some(answer) = answer.filter(|_| code == ErrorCode::None) else {
            return self.fail(now, partition, ConsumeError::Refused(code));
        };
        let Some(state) = self.partitions.get_mut(partition) else { return };
        state.succeeded();
        state.position = match (seek, answer.offset) {
            // No record is that late.
            (Seek::Time(_), -1) => Position::Wanted(Seek::End),
            (_, offset) => Position::At(EndOffset(offset.max(0))),
        };
    }
}

const fn timestamp_of(seek: Seek, end: i64) -> i64 {
    match seek {
        Seek::Beginning => EARLIEST,
        Seek::End => end,
        Seek::Time(timestamp) => timestamp.0,
        // Never looked up: it is a position already.
        Seek::Offset(_) => end,
    }
}
