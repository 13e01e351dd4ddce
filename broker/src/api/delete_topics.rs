//! DeleteTopics (20).
//!
//! Version notes: up to version 5 a list of names; from version 6 on names or ids.

use super::{Acl, Answer, Api, OnController, ResponseOf, ViewContext, outcome};
use base::TopicId;
use cluster::controller::{Command, Reply, TopicRef};
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
}

impl OnController for DeleteTopics {
    fn ask(request: DeleteTopicsRequest) -> Answer<ResponseOf<Self>> {
        let topic = |state: DeleteTopicState| match state.name {
            Some(name) => TopicRef::Name(name.as_str().to_owned()),
            None => TopicRef::Id(TopicId(state.topic_id)),
        };
        Answer::Ask(Command::DeleteTopics { topics: request.topics.into_iter().map(topic).collect() })
    }

    fn answer(_cx: &ViewContext<'_>, _request: DeleteTopicsRequest, reply: Reply) -> DeleteTopicsResponse {
        let Reply::Deleted(outcomes) = reply else { return DeleteTopicsResponse::default() };
        let responses = outcomes.into_iter().map(|(topic, deleted)| {
            let (error_code, error_message) = outcome(&deleted);
            let (name, topic_id) = match (deleted, topic) {
                (Ok((name, id)), _) => (Some(name.into()), id.0),
                (Err(_), TopicRef::Name(name)) => (Some(name.into()), base::Uuid::ZERO),
                (Err(_), TopicRef::Id(id)) => (None, id.0),
            };
            DeletableTopicResult {
                name,
                topic_id,
                error_code,
                error_message,
                ..DeletableTopicResult::default()
            }
        });
        DeleteTopicsResponse { responses: responses.collect(), ..DeleteTopicsResponse::default() }
    }
}
