//! Offsets of logs: looking them up, deleting records before them.

use super::retry::Failed;
use super::{Admin, AdminError};
use crate::core::{CallError, Target};
use base::{EndOffset, Timestamp};
use std::collections::BTreeMap;
use wire::ErrorCode;
use wire::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use wire::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic,
};

/// Which offset of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// Of the first record there is.
    Earliest,
    /// Of the next record to come.
    Latest,
    /// Of the first record with this or a later timestamp.
    At(Timestamp),
    /// Of the record with the latest timestamp (KIP-734).
    MaxTimestamp,
}

impl OffsetSpec {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::At(timestamp) => timestamp.0,
        }
    }
}

/// An offset that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetAt {
    /// The partition.
    pub partition: i32,
    /// The offset; `None` if no record is that late.
    pub offset: Option<EndOffset>,
    /// The timestamp of the record there, for lookups by time.
    pub timestamp: Timestamp,
}

impl Admin {
    /// Looks up one offset in each of some partitions of a topic, or in all; in order of partition.
    ///
    /// # Errors
    /// The first partition that has none to give.
    pub async fn list_offsets(
        &self,
        topic: &str,
        partitions: Option<&[i32]>,
        spec: OffsetSpec,
    ) -> Result<Vec<OffsetAt>, AdminError> {
        let mut found = Vec::new();
        let mut missing = partitions.map(<[i32]>::to_vec);
        let attempt = async || {
            let mut failed = None;
            let mut left = Vec::new();
            for (leader, partitions) in self.leaders(topic, missing.as_deref()).await? {
                let answers =
                    match self.offsets_of(leader, topic, &partitions, spec).await.map_err(Failed::from) {
                        Ok(answers) => answers,
                        Err(Failed::ForNow(error)) => {
                            left.extend(partitions);
                            failed = Some(Failed::ForNow(error));
                            continue;
                        }
                        Err(for_good) => return Err(for_good),
                    };
                for answer in answers.topics.iter().flat_map(|topic| &topic.partitions) {
                    let subject = format!("{topic}-{}", answer.partition_index);
                    match AdminError::check(answer.error_code, &subject, None).map_err(Failed::answered) {
                        Ok(()) => found.push(offset_at(answer)),
                        Err(Failed::ForNow(error)) => {
                            left.push(answer.partition_index);
                            failed = Some(Failed::ForNow(error));
                        }
                        Err(for_good) => return Err(for_good),
                    }
                }
            }
            missing = Some(left);
            failed.map_or(Ok(()), Err)
        };
        self.repeat(attempt).await?;
        found.sort_by_key(|offset| offset.partition);
        Ok(found)
    }

    /// Asks one leader, once.
    async fn offsets_of(
        &self,
        leader: i32,
        topic: &str,
        partitions: &[i32],
        spec: OffsetSpec,
    ) -> Result<ListOffsetsResponse, CallError> {
        let ask = |index: &i32| ListOffsetsPartition {
            partition_index: *index,
            timestamp: spec.code(),
            ..ListOffsetsPartition::default()
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: topic.into(),
                partitions: partitions.iter().map(ask).collect(),
                ..ListOffsetsTopic::default()
            }],
            timeout_ms: self.timeout_ms(),
            ..ListOffsetsRequest::default()
        };
        let least = if spec == OffsetSpec::MaxTimestamp { 7 } else { 1 };
        self.call(Target::Broker(leader), least..=11, request).await
    }

    /// Deletes the records of a partition before `offset`; returns the new start of the log.
    ///
    /// # Errors
    /// `OFFSET_OUT_OF_RANGE` …
    pub async fn delete_records(
        &self,
        topic: &str,
        partition: i32,
        offset: EndOffset,
    ) -> Result<EndOffset, AdminError> {
        let subject = format!("{topic}-{partition}");
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: topic.into(),
                partitions: vec![DeleteRecordsPartition {
                    partition_index: partition,
                    offset: offset.0,
                    ..DeleteRecordsPartition::default()
                }],
                ..DeleteRecordsTopic::default()
            }],
            timeout_ms: self.timeout_ms(),
            ..DeleteRecordsRequest::default()
        };
        // Deleted twice is deleted once.
        let attempt = async || {
            let leaders = self.leaders(topic, Some(&[partition])).await?;
            let leader = *leaders.keys().next().ok_or_else(|| AdminError::silent(&subject))?;
            let response = self.call(Target::Broker(leader), 0..=2, request.clone()).await?;
            let result = response.topics.iter().flat_map(|topic| &topic.partitions).next();
            let result = result.ok_or_else(|| AdminError::silent(&subject))?;
            AdminError::check(result.error_code, &subject, None).map_err(Failed::answered)?;
            Ok(EndOffset(result.low_watermark))
        };
        self.repeat(attempt).await
    }

    /// The leaders of some partitions of a topic, or of all, with the partitions of each.
    async fn leaders(
        &self,
        topic: &str,
        partitions: Option<&[i32]>,
    ) -> Result<BTreeMap<i32, Vec<i32>>, AdminError> {
        self.wait_for_metadata().await?;
        let described = self.describe_topics(&[topic]).await?;
        let known = described.first().map(|topic| topic.partitions.as_slice()).unwrap_or_default();
        let all: Vec<i32> = known.iter().map(|p| p.index).collect();
        let mut leaders: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for index in partitions.unwrap_or(&all) {
            let subject = format!("{topic}-{index}");
            let found = known.iter().find(|p| p.index == *index);
            let missing = ErrorCode::UnknownTopicOrPartition.code();
            let Some(found) = found else {
                return Err(AdminError::check(missing, &subject, None)
                    .err()
                    .unwrap_or_else(|| AdminError::silent(&subject)));
            };
            let leader = found.leader.ok_or(AdminError::Refused {
                code: ErrorCode::LeaderNotAvailable,
                subject,
                message: None,
            })?;
            leaders.entry(leader).or_default().push(*index);
        }
        Ok(leaders)
    }
}

fn offset_at(answer: &ListOffsetsPartitionResponse) -> OffsetAt {
    OffsetAt {
        partition: answer.partition_index,
        offset: Some(EndOffset(answer.offset)).filter(|offset| offset.0 >= 0),
        timestamp: Timestamp(answer.timestamp),
    }
}
