//! DeleteRecords (21): move a partition's beginning forward. The answer comes when the new beginning is on disk.

use super::{Acl, Api, Malformed};
use crate::effects::{Asked, Effects, Reply};
use crate::job::{Job, Trim};
use crate::reactor::Reactor;
use crate::replica::TrimError;
use base::{EndOffset, Now, Span};
use wire::ErrorCode;
use wire::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};

pub(super) struct DeleteRecords;

/// "Up to the high watermark" as an offset.
const HIGH_WATERMARK: i64 = -1;

impl Api for DeleteRecords {
    type Request = DeleteRecordsRequest;
    const ACL: Acl = Acl::DeleteTopic;
}

pub(super) fn handle(
    reactor: &mut Reactor,
    asked: Asked,
    _now: Now,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let request = super::decode::<DeleteRecords>(&asked)?;
    let mut trims = Vec::new();
    for topic in &request.topics {
        for part in &topic.partitions {
            let replica = if cluster::is_internal(&topic.name) {
                Err(ErrorCode::InvalidTopicException)
            } else {
                super::find_replica(&reactor.view, &topic.name, part.partition_index)
            };
            let to = (part.offset != HIGH_WATERMARK).then_some(EndOffset(part.offset));
            trims.push(replica.map(|replica| (replica.clone(), to)));
        }
    }
    fx.jobs.push(Job::Trim(Trim { asked, trims }));
    Ok(())
}

/// How long a request may wait for the followers.
pub(crate) fn timeout(asked: &Asked) -> Span {
    let request = super::decode::<DeleteRecords>(asked);
    request.map_or(Span::ZERO, |request| Span::from_wire_millis(i64::from(request.timeout_ms)))
}

/// The reply to a request whose trims have been carried out, in the order of the request.
pub(crate) fn reply(asked: &Asked, outcomes: Vec<Result<EndOffset, ErrorCode>>) -> Result<Reply, Malformed> {
    let request = super::decode::<DeleteRecords>(asked)?;
    let mut outcomes = outcomes.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let result = |part: wire::delete_records::DeleteRecordsPartition| {
            let outcome = outcomes.next().unwrap_or(Err(ErrorCode::UnknownServerError));
            DeleteRecordsPartitionResult {
                partition_index: part.partition_index,
                low_watermark: outcome.map_or(-1, |low| low.0),
                error_code: outcome.err().unwrap_or(ErrorCode::None) as i16,
                ..DeleteRecordsPartitionResult::default()
            }
        };
        let partitions = topic.partitions.into_iter().map(result).collect();
        DeleteRecordsTopicResult { name: topic.name, partitions, ..DeleteRecordsTopicResult::default() }
    });
    let topics = topics.collect();
    super::encode::<DeleteRecords>(
        asked,
        DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() },
    )
    .map(Reply::bytes)
}

impl From<TrimError> for ErrorCode {
    fn from(error: TrimError) -> Self {
        match error {
            TrimError::BeyondHighWatermark => Self::OffsetOutOfRange,
            TrimError::CompactedOnly => Self::PolicyViolation,
            TrimError::NotLeader => Self::NotLeaderOrFollower,
            TrimError::Storage => Self::KafkaStorageError,
        }
    }
}
