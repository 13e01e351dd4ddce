//! OffsetCommit, OffsetFetch, OffsetDelete.

use super::{code_of, opt_str, str_of};
use crate::group::command::{
    CommitOffsets, CommitPartition, CommitTopic, DeleteOffsets, FetchOffsets, FetchTopic,
};
use crate::group::error::{CommitError, DeleteOffsetsError};
use crate::group::ids::{Generation, GroupId, InstanceId, Label, MemberId, TopicName};
use crate::group::reply::{FetchedOffset, FetchedTopic, TopicOutcome};
use alloc::vec;
use alloc::vec::Vec;
use base::{EndOffset, LeaderEpoch, PartitionIndex, Span, TopicId};
use wire::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use wire::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use wire::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use wire::{ErrorCode, Str};

/// Space for as many topics is taken at once; for more it grows with what is admitted.
const TOPICS_HINT: usize = 64;

/// A topic as the broker has resolved and admitted it.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Its name.
    pub name: TopicName,
    /// Its id, or zero if the request knows none.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
}

impl Admitted {
    fn has(&self, partition: i32) -> bool {
        (0..self.partitions).contains(&partition)
    }
}

// --- commit ---

/// An OffsetCommit request, and the answer for what is not admitted: topics that `admit` refuses, partitions
/// that do not exist. If nothing is left to commit, the answer is complete and the command need not be asked.
#[must_use]
pub fn commit_command(
    request: &OffsetCommitRequest,
    admit: impl Fn(&OffsetCommitRequestTopic) -> Result<Admitted, ErrorCode>,
) -> (CommitOffsets, OffsetCommitResponse) {
    let mut topics = Vec::with_capacity(request.topics.len().min(TOPICS_HINT));
    let mut refused = OffsetCommitResponse::default();
    for topic in &request.topics {
        let verdict = admit(topic);
        let is_known = |index| verdict.as_ref().is_ok_and(|admitted| admitted.has(index));
        let error = verdict.as_ref().err().copied().unwrap_or(ErrorCode::UnknownTopicOrPartition);
        let (known, unknown): (Vec<_>, Vec<_>) =
            topic.partitions.iter().partition(|partition| is_known(partition.partition_index));
        if !unknown.is_empty() {
            let partitions =
                unknown.into_iter().map(|partition| commit_outcome(partition.partition_index, error));
            refused.topics.push(refused_commit(topic, partitions.collect()));
        }
        if let (Ok(Admitted { name, id, .. }), false) = (verdict, known.is_empty()) {
            topics.push(CommitTopic {
                name,
                id,
                partitions: known.into_iter().map(commit_partition).collect(),
            });
        }
    }
    let retention = request.retention_time_ms;
    let command = CommitOffsets {
        group: GroupId::from(request.group_id.as_str()),
        member: MemberId::from_wire(&request.member_id),
        instance: request.group_instance_id.as_deref().map(InstanceId::from),
        generation: Generation(request.generation_id_or_member_epoch),
        retention: (retention != -1).then(|| Span::from_wire_millis(retention)),
        topics,
    };
    (command, refused)
}

fn commit_partition(partition: &OffsetCommitRequestPartition) -> CommitPartition {
    let epoch = partition.committed_leader_epoch;
    CommitPartition {
        partition: PartitionIndex(partition.partition_index),
        offset: EndOffset(partition.committed_offset),
        leader_epoch: (epoch >= 0).then_some(LeaderEpoch(epoch)),
        metadata: Label::from(partition.committed_metadata.as_deref().unwrap_or_default()),
    }
}

fn refused_commit(
    topic: &OffsetCommitRequestTopic,
    partitions: Vec<OffsetCommitResponsePartition>,
) -> OffsetCommitResponseTopic {
    OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions,
        ..OffsetCommitResponseTopic::default()
    }
}

fn commit_outcome(partition_index: i32, error: ErrorCode) -> OffsetCommitResponsePartition {
    let error_code = error.code();
    OffsetCommitResponsePartition { partition_index, error_code, ..OffsetCommitResponsePartition::default() }
}

/// Adds what became of the command to the answer that [`commit_command`] began.
pub fn commit_response(response: &mut OffsetCommitResponse, topics: Vec<TopicOutcome<CommitError>>) {
    let topics = topics.into_iter().map(|topic| {
        let outcome = |(partition, error): (PartitionIndex, Option<CommitError>)| {
            commit_outcome(partition.0, error.map_or(ErrorCode::None, Into::into))
        };
        OffsetCommitResponseTopic {
            name: str_of(&topic.name),
            topic_id: topic.id.0,
            partitions: topic.partitions.into_iter().map(outcome).collect(),
            ..OffsetCommitResponseTopic::default()
        }
    });
    response.topics.extend(topics);
}

/// For versions up to 8: a claim of a generation of no group is a false claim.
pub fn downgrade_commit(response: &mut OffsetCommitResponse) {
    for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if partition.error_code == ErrorCode::GroupIdNotFound.code() {
            partition.error_code = ErrorCode::IllegalGeneration.code();
        }
    }
}

// --- fetch ---

/// For versions up to 7, which ask for one group outside the list.
pub fn upgrade_fetch(request: &mut OffsetFetchRequest) {
    let topics = core::mem::take(&mut request.topics).map(|topics| {
        let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name,
            partition_indexes: topic.partition_indexes,
            ..OffsetFetchRequestTopics::default()
        });
        topics.collect()
    });
    let group_id = core::mem::take(&mut request.group_id);
    request.groups = vec![OffsetFetchRequestGroup { group_id, topics, ..OffsetFetchRequestGroup::default() }];
}

/// One group of an OffsetFetch request, and the answer for the topics that `admit` refuses.
#[must_use]
pub fn fetch_command(
    group: &OffsetFetchRequestGroup,
    is_stable_required: bool,
    admit: impl Fn(&OffsetFetchRequestTopics) -> Result<Admitted, ErrorCode>,
) -> (FetchOffsets, OffsetFetchResponseGroup) {
    let mut answer =
        OffsetFetchResponseGroup { group_id: group.group_id.clone(), ..OffsetFetchResponseGroup::default() };
    let topics = group.topics.as_ref().map(|topics| {
        let mut admitted = Vec::with_capacity(topics.len().min(TOPICS_HINT));
        for topic in topics {
            match admit(topic) {
                Ok(Admitted { name, id, .. }) => {
                    let partitions =
                        topic.partition_indexes.iter().map(|index| PartitionIndex(*index)).collect();
                    admitted.push(FetchTopic { name, id, partitions });
                }
                Err(error) => answer.topics.push(refused_fetch(topic, error)),
            }
        }
        admitted
    });
    (FetchOffsets { group: GroupId::from(group.group_id.as_str()), topics, is_stable_required }, answer)
}

fn refused_fetch(topic: &OffsetFetchRequestTopics, error: ErrorCode) -> OffsetFetchResponseTopics {
    let error_code = error.code();
    let partitions = topic.partition_indexes.iter();
    OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions
            .map(|index| OffsetFetchResponsePartitions { error_code, ..no_offset(*index) })
            .collect(),
        ..OffsetFetchResponseTopics::default()
    }
}

/// Adds what the group has to the answer that [`fetch_command`] began. Of topics that were not asked for by
/// id the broker adds the ids, if the version has them, and hides those that the client may not see.
pub fn fetch_response(answer: &mut OffsetFetchResponseGroup, topics: Vec<FetchedTopic>) {
    let topics = topics.into_iter().map(|topic| OffsetFetchResponseTopics {
        name: str_of(&topic.name),
        topic_id: topic.id.0,
        partitions: topic.partitions.into_iter().map(fetched_partition).collect(),
        ..OffsetFetchResponseTopics::default()
    });
    answer.topics.extend(topics);
}

fn no_offset(partition_index: i32) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Str::EMPTY),
        ..OffsetFetchResponsePartitions::default()
    }
}

fn fetched_partition((partition, offset): (PartitionIndex, FetchedOffset)) -> OffsetFetchResponsePartitions {
    let none = no_offset(partition.0);
    match offset {
        FetchedOffset::None => none,
        FetchedOffset::Unstable => {
            OffsetFetchResponsePartitions { error_code: ErrorCode::UnstableOffsetCommit.code(), ..none }
        }
        FetchedOffset::Committed(committed) => OffsetFetchResponsePartitions {
            committed_offset: committed.offset.0,
            committed_leader_epoch: committed.leader_epoch.map_or(-1, |epoch| epoch.0),
            metadata: opt_str(Some(&committed.metadata)),
            ..none
        },
    }
}

/// For versions up to 7: the one group's answer is the answer.
pub fn downgrade_fetch(response: &mut OffsetFetchResponse) {
    let Some(group) = core::mem::take(&mut response.groups).into_iter().next() else { return };
    response.error_code = group.error_code;
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(downgraded_partition).collect(),
        ..OffsetFetchResponseTopic::default()
    });
    response.topics = topics.collect();
}

fn downgraded_partition(partition: OffsetFetchResponsePartitions) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
        ..OffsetFetchResponsePartition::default()
    }
}

// --- delete ---

/// An OffsetDelete request, and the answer for what is not admitted, as for a commit. A group that does not
/// exist is an error even if nothing is left, so the command is asked in any case.
#[must_use]
pub fn delete_offsets_command(
    request: &OffsetDeleteRequest,
    admit: impl Fn(&str) -> Result<Admitted, ErrorCode>,
) -> (DeleteOffsets, OffsetDeleteResponse) {
    let mut topics = Vec::with_capacity(request.topics.len().min(TOPICS_HINT));
    let mut refused = OffsetDeleteResponse::default();
    for topic in &request.topics {
        let verdict = admit(&topic.name);
        let error = verdict.as_ref().err().copied().unwrap_or(ErrorCode::UnknownTopicOrPartition);
        let indexes = topic.partitions.iter().map(|entry| entry.partition_index);
        let (known, unknown): (Vec<_>, Vec<_>) =
            indexes.partition(|index| verdict.as_ref().is_ok_and(|admitted| admitted.has(*index)));
        if !unknown.is_empty() {
            let partitions = unknown.into_iter().map(|index| forgotten(index, error)).collect();
            refused.topics.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions });
        }
        if let (Ok(admitted), false) = (verdict, known.is_empty()) {
            topics.push((admitted.name, known.into_iter().map(PartitionIndex).collect()));
        }
    }
    (DeleteOffsets { group: GroupId::from(request.group_id.as_str()), topics }, refused)
}

/// Adds what became of the command to the answer that [`delete_offsets_command`] began.
pub fn delete_offsets_response(
    response: &mut OffsetDeleteResponse,
    result: Result<Vec<TopicOutcome<DeleteOffsetsError>>, DeleteOffsetsError>,
) {
    match result {
        Ok(topics) => response.topics.extend(topics.into_iter().map(|topic| {
            OffsetDeleteResponseTopic {
                name: str_of(&topic.name),
                partitions: topic
                    .partitions
                    .into_iter()
                    .map(|(partition, error)| {
                        forgotten(partition.0, error.map_or(ErrorCode::None, Into::into))
                    })
                    .collect(),
            }
        })),
        Err(error) => {
            response.error_code = code_of(Some(error));
            response.topics.clear();
        }
    }
}

fn forgotten(partition_index: i32, error: ErrorCode) -> OffsetDeleteResponsePartition {
    OffsetDeleteResponsePartition { partition_index, error_code: error.code() }
}
