//! AssignReplicasToDirs (73): a broker says in which of its directories replicas are (KIP-858). This node says so of replicas
//! whose files are damaged: they are in none any more.

use super::{Acl, Answer, Api, OnController, ResponseOf, ToController, ViewContext};
use base::{BrokerId, PartitionIndex, TopicId};
use cluster::controller::{Assignment, Command, Outcome, Reply};
use wire::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, DirectoryData, PartitionData,
    RequestDirectoryData, RequestPartitionData, RequestTopicData, TopicData,
};

pub(crate) struct AssignReplicasToDirs;

impl Api for AssignReplicasToDirs {
    type Request = AssignReplicasToDirsRequest;
    const ACL: Acl = Acl::Node;
}

impl OnController for AssignReplicasToDirs {
    fn ask(request: AssignReplicasToDirsRequest) -> Answer<ResponseOf<Self>> {
        Answer::Ask(Command::AssignReplicas {
            broker: BrokerId(request.broker_id),
            epoch: request.broker_epoch,
            assignments: request.directories.iter().flat_map(assignments).collect(),
        })
    }

    fn answer(
        _: &ViewContext<'_>,
        request: AssignReplicasToDirsRequest,
        reply: Reply,
    ) -> AssignReplicasToDirsResponse {
        let Reply::Changed(outcomes) = reply else {
            return AssignReplicasToDirsResponse {
                error_code: super::refusal_code(&reply) as i16,
                ..AssignReplicasToDirsResponse::default()
            };
        };
        let mut codes = outcomes.iter().map(|outcome| outcome.as_ref().map_or_else(|r| r.code as i16, |_| 0));
        let mut partition = |asked: &RequestPartitionData| PartitionData {
            partition_index: asked.partition_index,
            error_code: codes.next().unwrap_or_default(),
            ..PartitionData::default()
        };
        let mut topic = |asked: &RequestTopicData| TopicData {
            topic_id: asked.topic_id,
            partitions: asked.partitions.iter().map(&mut partition).collect(),
            ..TopicData::default()
        };
        let mut directory = |asked: &RequestDirectoryData| DirectoryData {
            id: asked.id,
            topics: asked.topics.iter().map(&mut topic).collect(),
            ..DirectoryData::default()
        };
        let directories = request.directories.iter().map(&mut directory).collect();
        AssignReplicasToDirsResponse { directories, ..AssignReplicasToDirsResponse::default() }
    }
}

fn assignments(directory: &RequestDirectoryData) -> impl Iterator<Item = Assignment> {
    directory.topics.iter().flat_map(move |topic| {
        topic.partitions.iter().map(move |partition| Assignment {
            topic: TopicId(topic.topic_id),
            index: PartitionIndex(partition.partition_index),
            directory: directory.id,
        })
    })
}

impl ToController for AssignReplicasToDirs {
    fn request(command: &Command) -> Option<AssignReplicasToDirsRequest> {
        let Command::AssignReplicas { broker, epoch, assignments } = command else { return None };
        // One of each kind for each: the answers come in this order.
        let directory = |assigned: &Assignment| {
            let partition =
                RequestPartitionData { partition_index: assigned.index.0, ..RequestPartitionData::default() };
            let topic = RequestTopicData {
                topic_id: assigned.topic.0,
                partitions: vec![partition],
                ..RequestTopicData::default()
            };
            RequestDirectoryData {
                id: assigned.directory,
                topics: vec![topic],
                ..RequestDirectoryData::default()
            }
        };
        Some(AssignReplicasToDirsRequest {
            broker_id: broker.0,
            broker_epoch: *epoch,
            directories: assignments.iter().map(directory).collect(),
            ..AssignReplicasToDirsRequest::default()
        })
    }

    fn reply(response: AssignReplicasToDirsResponse) -> Reply {
        if let Some(code) = super::refusal(response.error_code) {
            return super::refused(code);
        }
        let topics = response.directories.into_iter().flat_map(|directory| directory.topics);
        let partitions = topics.flat_map(|topic| topic.partitions);
        Reply::Changed(partitions.map(|partition| outcome(partition.error_code)).collect())
    }
}

fn outcome(code: i16) -> Outcome<()> {
    super::refusal(code).map_or(Ok(()), |code| Err(code.into()))
}
