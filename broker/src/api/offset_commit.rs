//! OffsetCommit (8): keep offsets for a group. The answer waits until they are safe.
//!
//! Version notes: from version 10 on topics are named by id. Up to version 8 a claim of a generation of a group
//! that does not exist is `ILLEGAL_GENERATION`; up to version 4 a commit may choose how long it is kept.

use super::{Acl, Api, GroupsContext, OnGroups, admit_known, no_answer};
use crate::groups::Questions;
use crate::view::View;
use coordinator::group::api::{commit_command, commit_response, downgrade_commit};
use coordinator::group::{Command, CommitOffsets, Reply};
use wire::ErrorCode;
use wire::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

pub(super) struct OffsetCommit;

impl Api for OffsetCommit {
    type Request = OffsetCommitRequest;
    const ACL: Acl = Acl::ReadGroup;

    fn downgrade(version: i16, response: &mut OffsetCommitResponse) {
        if version < 9 {
            downgrade_commit(response);
        }
    }
}

impl OnGroups for OffsetCommit {
    /// The answer if the shard refuses, but for its code.
    type Part = Vec<OffsetCommitResponseTopic>;

    fn ask(
        cx: &mut GroupsContext<'_>,
        request: OffsetCommitRequest,
        questions: &mut Questions<Self::Part>,
    ) -> OffsetCommitResponse {
        let (command, response) =
            commit_command(&request, |topic| admit_known(cx.view, &topic.name, topic.topic_id));
        if !command.topics.is_empty() {
            let shard = questions.shard_of(&request.group_id);
            questions.ask(shard, places(&command), |token| Command::CommitOffsets(token, command));
        }
        response
    }

    fn answered(
        _view: &View,
        response: &mut OffsetCommitResponse,
        places: Self::Part,
        outcome: Result<Reply, ErrorCode>,
    ) {
        match outcome {
            Ok(Reply::CommitOffsets(topics)) => commit_response(response, topics),
            other => {
                let code = no_answer(other).code();
                let refused = places.into_iter().map(|mut topic| {
                    topic.partitions.iter_mut().for_each(|partition| partition.error_code = code);
                    topic
                });
                response.topics.extend(refused);
            }
        }
    }
}

fn places(command: &CommitOffsets) -> Vec<OffsetCommitResponseTopic> {
    let topics = command.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|entry| OffsetCommitResponsePartition {
            partition_index: entry.partition.0,
            ..OffsetCommitResponsePartition::default()
        });
        OffsetCommitResponseTopic {
            name: topic.name.as_str().into(),
            topic_id: topic.id.0,
            partitions: partitions.collect(),
            ..OffsetCommitResponseTopic::default()
        }
    });
    topics.collect()
}
