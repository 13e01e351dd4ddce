//! ElectLeaders (43): preferred replicas are to lead, or anybody who lives (KIP-460).
//!
//! Version notes: version 0 knows preferred replicas only.

use super::{Acl, Answer, Api, OnController, ResponseOf, ViewContext, outcome};
use base::PartitionIndex;
use cluster::controller::{Command, Election, Reply};
use wire::ErrorCode;
use wire::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};

pub(super) struct ElectLeaders;

/// The number of unclean elections.
const UNCLEAN: i8 = 1;

impl Api for ElectLeaders {
    type Request = ElectLeadersRequest;
    const ACL: Acl = Acl::AlterCluster;

    fn downgrade(version: i16, response: &mut ElectLeadersResponse) {
        if version == 0 {
            response.error_code = 0;
        }
    }
}

impl OnController for ElectLeaders {
    fn ask(request: ElectLeadersRequest) -> Answer<ResponseOf<Self>> {
        let election = match request.election_type {
            0 => Election::Preferred,
            UNCLEAN => Election::Unclean,
            _ => return Answer::Reply(refused(request, ErrorCode::InvalidRequest)),
        };
        let partitions = request.topic_partitions.map(|topics| {
            let of = |topic: wire::elect_leaders::TopicPartitions| {
                let name = topic.topic.as_str().to_owned();
                topic.partitions.into_iter().map(move |index| (name.clone(), PartitionIndex(index)))
            };
            topics.into_iter().flat_map(of).collect()
        });
        Answer::Ask(Command::ElectLeaders { election, partitions })
    }

    fn answer(cx: &ViewContext<'_>, request: ElectLeadersRequest, reply: Reply) -> ElectLeadersResponse {
        let Reply::Elected(outcomes) = reply else {
            let error_code = super::refusal_code(&reply) as i16;
            return ElectLeadersResponse { error_code, ..ElectLeadersResponse::default() };
        };
        let mut results: Vec<ReplicaElectionResult> = Vec::new();
        if request.topic_partitions.is_none() {
            // Every topic is named, though none of its partitions need be.
            results.extend(cx.view.image.topics().map(|topic| of_topic(&topic.name, Vec::new())));
        }
        for (topic, index, elected) in outcomes {
            let (error_code, error_message) = outcome(&elected);
            let result = PartitionResult {
                partition_id: index.0,
                error_code,
                error_message,
                ..PartitionResult::default()
            };
            match results.iter_mut().find(|known| known.topic.as_str() == topic) {
                Some(known) => known.partition_result.push(result),
                None => results.push(of_topic(&topic, vec![result])),
            }
        }
        ElectLeadersResponse { replica_election_results: results, ..ElectLeadersResponse::default() }
    }
}

fn of_topic(topic: &str, partition_result: Vec<PartitionResult>) -> ReplicaElectionResult {
    ReplicaElectionResult { topic: topic.into(), partition_result, ..ReplicaElectionResult::default() }
}

/// The same code for everything that was asked for.
fn refused(request: ElectLeadersRequest, code: ErrorCode) -> ElectLeadersResponse {
    let partition = |partition_id| PartitionResult {
        partition_id,
        error_code: code as i16,
        error_message: Some(code.message().into()),
        ..PartitionResult::default()
    };
    let topics = request.topic_partitions.unwrap_or_default().into_iter();
    let results =
        topics.map(|topic| of_topic(&topic.topic, topic.partitions.into_iter().map(partition).collect()));
    ElectLeadersResponse {
        error_code: code as i16,
        replica_election_results: results.collect(),
        ..ElectLeadersResponse::default()
    }
}
