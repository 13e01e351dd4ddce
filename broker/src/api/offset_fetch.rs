//! OffsetFetch (9): the committed offsets of groups.
//!
//! Version notes: up to version 7 one group, from 8 on many; from version 10 on topics are named by id. A topic
//! that does not exist has no offset, which is an error only for an unknown id. Version 1 has no place for an
//! error of the whole group and gives it to every partition.

use super::{Acl, Api, GroupsContext, OnGroups, no_answer};
use crate::groups::Questions;
use crate::view::View;
use base::{TopicId, Uuid};
use coordinator::group::api::{Admitted, downgrade_fetch, fetch_command, fetch_response, upgrade_fetch};
use coordinator::group::{Command, Reply};
use wire::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestTopics, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use wire::{ErrorCode, Str};

pub(super) struct OffsetFetch;

/// "No offset" as a number, and "no epoch".
const NONE: i32 = -1;

impl Api for OffsetFetch {
    type Request = OffsetFetchRequest;
    const ACL: Acl = Acl::DescribeGroup;

    fn upgrade(version: i16, request: &mut OffsetFetchRequest) {
        if version < 8 {
            upgrade_fetch(request);
        }
    }

    fn downgrade(version: i16, response: &mut OffsetFetchResponse) {
        for group in &mut response.groups {
            if version >= 2 && group.error_code != ErrorCode::None.code() {
                group.topics.clear();
            }
            if version >= 10 {
                // A topic that is gone has no id, and without one it cannot be named.
                group.topics.retain(|topic| !topic.topic_id.is_zero());
            }
        }
        if version < 8 {
            downgrade_fetch(response);
        }
    }
}

/// A place in the response.
pub(super) struct Place {
    /// Which group.
    group: usize,
    /// What was asked for, for the error of version 1.
    topics: Vec<OffsetFetchRequestTopics>,
}

impl OnGroups for OffsetFetch {
    type Part = Place;

    fn ask(
        cx: &mut GroupsContext<'_>,
        request: OffsetFetchRequest,
        questions: &mut Questions<Place>,
    ) -> OffsetFetchResponse {
        let mut response = OffsetFetchResponse::default();
        for (at, group) in request.groups.into_iter().enumerate() {
            let (command, answer) =
                fetch_command(&group, request.require_stable, |topic| admit(cx.view, topic));
            response.groups.push(answer);
            let shard = questions.shard_of(&group.group_id);
            let place = Place { group: at, topics: group.topics.unwrap_or_default() };
            questions.ask(shard, place, |token| Command::FetchOffsets(token, command));
        }
        response
    }

    fn answered(
        view: &View,
        response: &mut OffsetFetchResponse,
        place: Place,
        outcome: Result<Reply, ErrorCode>,
    ) {
        let Some(answer) = response.groups.get_mut(place.group) else { return };
        match outcome {
            Ok(Reply::FetchOffsets(topics)) => {
                fetch_response(answer, topics);
                name_by_id(view, answer);
            }
            other => {
                let code = no_answer(other).code();
                answer.error_code = code;
                answer.topics = place.topics.into_iter().map(|topic| refused(topic, code)).collect();
            }
        }
    }
}

/// Any name may be asked for; an id must be known.
fn admit(view: &View, topic: &OffsetFetchRequestTopics) -> Result<Admitted, ErrorCode> {
    if topic.topic_id.is_zero() {
        let id = view.image.topic(&topic.name).map_or(TopicId::ZERO, |topic| topic.id);
        return Ok(Admitted { name: topic.name.as_str().into(), id, partitions: i32::MAX });
    }
    let id = TopicId(topic.topic_id);
    let known = view.image.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId)?;
    Ok(Admitted { name: (&*known.name).into(), id, partitions: i32::MAX })
}

/// A group that was asked for all that it has answers with names.
fn name_by_id(view: &View, answer: &mut OffsetFetchResponseGroup) {
    for topic in answer.topics.iter_mut().filter(|topic| topic.topic_id.is_zero()) {
        topic.topic_id = view.image.topic(&topic.name).map_or(Uuid::ZERO, |topic| topic.id.0);
    }
}

fn refused(topic: OffsetFetchRequestTopics, error_code: i16) -> OffsetFetchResponseTopics {
    let partitions =
        topic.partition_indexes.into_iter().map(|partition_index| OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: NONE.into(),
            committed_leader_epoch: NONE,
            metadata: Some(Str::EMPTY),
            error_code,
            ..OffsetFetchResponsePartitions::default()
        });
    OffsetFetchResponseTopics {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
        ..OffsetFetchResponseTopics::default()
    }
}
