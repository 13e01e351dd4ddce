//! DeleteTopics (20).
//!
//! Version notes: up to version 5 a list of names; from version 6 on names or ids. Before version 3 clients do not know
//! that deletion can be switched off.

use super::{Acl, Answer, Api, OnController, ResponseOf, ViewContext, outcome};
use base::TopicId;
use cluster::controller::{Command, Outcome, Refusal, Reply, TopicRef};
use wire::ErrorCode;
use wire::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};

pub(super) struct DeleteTopics;

impl Api for DeleteTopics {
    type Request = DeleteTopicsRequest;
    const ACL: Acl = Acl::DeleteTopic;

    fn upgrade(version: i16, request: &mut DeleteTopicsRequest) {
        if version < 6 {
            let state = |name| DeleteTopicState { name: Some(name), ..DeleteTopicState::default() };
            request.topics = core::mem::take(&mut request.topic_names).into_iter().map(state).collect();
        }
    }

    fn downgrade(version: i16, response: &mut DeleteTopicsResponse) {
        const DISABLED: i16 = ErrorCode::TopicDeletionDisabled as i16;
        let refused = response.responses.iter_mut().filter(|topic| topic.error_code == DISABLED);
        if version < 3 {
            refused.for_each(|topic| topic.error_code = ErrorCode::InvalidRequest as i16);
        }
    }
}

impl OnController for DeleteTopics {
    fn ask(request: DeleteTopicsRequest) -> Answer<ResponseOf<Self>> {
        let states = &request.topics;
        let topics = states.iter().filter_map(|state| topic(states, state).ok()).collect();
        Answer::Ask(Command::DeleteTopics { topics })
    }

    fn answer(_cx: &ViewContext<'_>, request: DeleteTopicsRequest, reply: Reply) -> DeleteTopicsResponse {
        let Reply::Deleted(outcomes) = reply else { return DeleteTopicsResponse::default() };
        let mut outcomes = outcomes.into_iter().map(|(_, deleted)| deleted);
        let states = &request.topics;
        let mut responses = Vec::new();
        for state in states {
            let deleted = topic(states, state).and_then(|_| outcomes.next().unwrap_or_else(unanswered));
            responses.push(result(state, deleted));
        }
        // What was asked for twice is refused once.
        super::keep_first(&mut responses, |result| (result.name.clone(), result.topic_id));
        DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
    }
}

/// The topic to delete, if the request says it in one way and once.
fn topic(states: &[DeleteTopicState], state: &DeleteTopicState) -> Outcome<TopicRef> {
    let refuse = |message: &str| Err(Refusal { code: ErrorCode::InvalidRequest, message: message.into() });
    let same = |other: &&DeleteTopicState| other.name == state.name && other.topic_id == state.topic_id;
    match &state.name {
        Some(_) if !state.topic_id.is_zero() => refuse("You may not specify both topic name and topic id."),
        None if state.topic_id.is_zero() => refuse("Neither topic name nor id were specified."),
        _ if states.iter().filter(same).count() > 1 => refuse("Duplicate topic name or id."),
        Some(name) => Ok(TopicRef::Name(name.as_str().to_owned())),
        None => Ok(TopicRef::Id(TopicId(state.topic_id))),
    }
}

fn unanswered<T>() -> Outcome<T> {
    let code = ErrorCode::UnknownServerError;
    Err(code.into())
}

fn result(state: &DeleteTopicState, deleted: Outcome<(String, TopicId)>) -> DeletableTopicResult {
    let (error_code, error_message) = outcome(&deleted);
    let (name, topic_id) = match deleted {
        Ok((name, id)) => (Some(name.into()), id.0),
        Err(_) => (state.name.clone(), state.topic_id),
    };
    DeletableTopicResult { name, topic_id, error_code, error_message, ..DeletableTopicResult::default() }
}
