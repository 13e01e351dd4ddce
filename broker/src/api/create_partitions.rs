//! CreatePartitions (37): more partitions for existing topics.

use super::{Acl, Answer, Api, OnController, ResponseOf, ViewContext, outcome};
use base::BrokerId;
use cluster::controller::{Command, GrowTopic, Reply};
use wire::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};

pub(super) struct CreatePartitions;

impl Api for CreatePartitions {
    type Request = CreatePartitionsRequest;
    const ACL: Acl = Acl::AlterTopic;
}

impl OnController for CreatePartitions {
    fn ask(request: CreatePartitionsRequest) -> Answer<ResponseOf<Self>> {
        let validate_only = request.validate_only;
        let topics = request.topics.into_iter().map(grow).collect();
        Answer::Ask(Command::GrowTopics { topics, validate_only })
    }

    fn answer(
        _cx: &ViewContext<'_>,
        request: CreatePartitionsRequest,
        reply: Reply,
    ) -> CreatePartitionsResponse {
        let Reply::Changed(outcomes) = reply else { return CreatePartitionsResponse::default() };
        let results = request.topics.into_iter().zip(outcomes).map(|(topic, changed)| {
            let (error_code, error_message) = outcome(&changed);
            let name = topic.name;
            CreatePartitionsTopicResult {
                name,
                error_code,
                error_message,
                ..CreatePartitionsTopicResult::default()
            }
        });
        let mut results: Vec<_> = results.collect();
        // A name that was asked for twice is refused once.
        super::keep_first(&mut results, |result| result.name.clone());
        CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() }
    }
}

fn grow(topic: CreatePartitionsTopic) -> GrowTopic {
    let assignments = topic.assignments.map(|lists| {
        lists.into_iter().map(|list| list.broker_ids.into_iter().map(BrokerId).collect()).collect()
    });
    GrowTopic { name: topic.name.as_str().to_owned(), total: topic.count, assignments }
}
