//! ListOffsets (2): the offset of a timestamp, or of the log's beginning or end.
//!
//! Version notes: special timestamps came one by one: −3 (the record with the greatest timestamp) with
//! version 7, −4 and −5 (tiered storage) with 8 and 9, −6 with 11. There is no tier: its earliest local
//! offset is the log's start, its latest tiered one is none.
//!
//! A search by timestamp reads segments that nobody may have touched for long: it is a job.

use super::{Acl, Api, Malformed};
use crate::effects::{Asked, Effects, Reply};
use crate::job::Job;
use crate::reactor::Reactor;
use crate::replica::{Isolation, Position, Replica};
use crate::view::View;
use base::{LeaderEpoch, Now, Timestamp};
use std::sync::Arc;
use wire::ErrorCode;
use wire::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

pub(super) struct ListOffsets;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// The version from which on a special timestamp is known.
const SINCE: &[(i64, i16)] =
    &[(MAX_TIMESTAMP, 7), (EARLIEST_LOCAL, 8), (LATEST_TIERED, 9), (EARLIEST_PENDING_UPLOAD, 11)];
/// A special timestamp that nobody knows.
const UNKNOWN: i64 = i64::MIN;

impl Api for ListOffsets {
    type Request = ListOffsetsRequest;
    const ACL: Acl = Acl::DescribeTopic;

    fn upgrade(version: i16, request: &mut ListOffsetsRequest) {
        for partition in request.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if SINCE.iter().any(|(special, since)| partition.timestamp == *special && version < *since) {
                partition.timestamp = UNKNOWN;
            }
        }
    }

    fn downgrade(version: i16, response: &mut ListOffsetsResponse) {
        for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            // Older clients do not know leader epochs.
            if version < 4 {
                partition.leader_epoch = -1;
            }
            // Nor do they know that an end may not be known yet (KIP-207).
            if version < 5 && partition.error_code == ErrorCode::OffsetNotAvailable as i16 {
                partition.error_code = ErrorCode::LeaderNotAvailable as i16;
            }
        }
    }
}

/// A request that has to search.
#[derive(Debug)]
pub struct Search {
    pub(crate) asked: Asked,
    view: Arc<View>,
    request: ListOffsetsRequest,
}

impl Search {
    /// Searches and answers; waits for the device.
    pub(crate) fn run(self) -> (Asked, Result<Reply, Malformed>) {
        let reply = answer(&self.view, &self.asked, self.request);
        (self.asked, reply)
    }
}

pub(super) fn handle(
    reactor: &mut Reactor,
    asked: Asked,
    _now: Now,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let request = super::decode::<ListOffsets>(&asked)?;
    let parts = || request.topics.iter().flat_map(|topic| &topic.partitions);
    if parts().any(|part| part.timestamp >= 0 || part.timestamp == MAX_TIMESTAMP) {
        let view = reactor.view.clone();
        fx.jobs.push(Job::Search(Box::new(Search { asked: asked.without_body(), view, request })));
        return Ok(());
    }
    let reply = answer(&reactor.view, &asked, request)?;
    reactor.complete(asked.token, reply, fx);
    Ok(())
}

fn answer(view: &View, asked: &Asked, request: ListOffsetsRequest) -> Result<Reply, Malformed> {
    let isolation =
        if request.isolation_level == 1 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
    let topics = request.topics.into_iter().map(|topic| {
        let mut partitions: Vec<_> = topic
            .partitions
            .iter()
            .map(|part| match is_repeated(&topic.partitions, part.partition_index) {
                true => failed(part, ErrorCode::InvalidRequest),
                false => answer_one(view, &topic.name, part, isolation),
            })
            .collect();
        super::keep_first(&mut partitions, |part| part.partition_index);
        ListOffsetsTopicResponse { name: topic.name, partitions, ..ListOffsetsTopicResponse::default() }
    });
    let response = ListOffsetsResponse { topics: topics.collect(), ..ListOffsetsResponse::default() };
    super::encode::<ListOffsets>(asked, response).map(Reply::bytes)
}

/// True for a partition that is asked for more than once, which is refused once.
fn is_repeated(partitions: &[ListOffsetsPartition], index: i32) -> bool {
    partitions.iter().filter(|part| part.partition_index == index).count() > 1
}

fn blank(part: &ListOffsetsPartition) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse { partition_index: part.partition_index, ..Default::default() }
}

fn failed(part: &ListOffsetsPartition, code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse { error_code: code as i16, ..blank(part) }
}

fn answer_one(
    view: &View,
    topic: &str,
    part: &ListOffsetsPartition,
    isolation: Isolation,
) -> ListOffsetsPartitionResponse {
    let replica = match super::find_replica(view, topic, part.partition_index) {
        Ok(replica) => replica,
        Err(code) => return failed(part, code),
    };
    if let Err(error) = replica.check_epoch(LeaderEpoch(part.current_leader_epoch)) {
        return failed(part, error.code);
    }
    match look_up(replica, part.timestamp, isolation) {
        Ok(Some(found)) => ListOffsetsPartitionResponse {
            timestamp: found.timestamp.0,
            offset: found.offset.0,
            leader_epoch: found.epoch.0,
            ..blank(part)
        },
        // No record is that young, or no such place exists: offset −1.
        Ok(None) => blank(part),
        Err(code) => failed(part, code),
    }
}

fn look_up(replica: &Replica, timestamp: i64, isolation: Isolation) -> Result<Option<Position>, ErrorCode> {
    match timestamp {
        LATEST => replica.latest(isolation).map(Some),
        EARLIEST | EARLIEST_LOCAL => Ok(Some(replica.earliest())),
        MAX_TIMESTAMP => replica.max_timestamp(),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(None),
        other if other < 0 => Err(ErrorCode::UnsupportedVersion),
        other => replica.offset_at(Timestamp(other)),
    }
}
