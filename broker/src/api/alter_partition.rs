//! AlterPartition (56): the leader of partitions wants other replicas in sync. Also how this node asks where it leads.
//!
//! Version notes: from version 3 on each replica comes with the epoch of its broker (KIP-903). The answer tells replicas and
//! eligible leaders in tags of our own: a leader goes on with all of a partition's state.

use super::{Acl, Answer, Api, OnController, ResponseOf, ToController, ViewContext};
use base::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use cluster::PartitionState;
use cluster::controller::{Command, Outcome, PartitionChange, Reply};
use cluster::partition::Proposal;
use wire::Request;
use wire::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse, BrokerState, PartitionData, RequestPartitionData,
    RequestTopicData, TopicData,
};

pub(crate) struct AlterPartition;

impl Api for AlterPartition {
    type Request = AlterPartitionRequest;
    const ACL: Acl = Acl::Node;
    // Nodes of one program speak its latest version.
    const SERVED: core::ops::RangeInclusive<i16> = 3..=3;
}

const _: () = assert!(*<AlterPartitionRequest as Request>::VERSIONS.end() == 3);

impl OnController for AlterPartition {
    fn ask(request: AlterPartitionRequest) -> Answer<ResponseOf<Self>> {
        let from = BrokerId(request.broker_id);
        let changes = request.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(move |partition| change(from, TopicId(topic.topic_id), partition))
        });
        Answer::Ask(Command::AlterPartitions {
            broker: from,
            epoch: request.broker_epoch,
            changes: changes.collect(),
        })
    }

    fn answer(_: &ViewContext<'_>, request: AlterPartitionRequest, reply: Reply) -> AlterPartitionResponse {
        let Reply::Partitions(outcomes) = reply else {
            return AlterPartitionResponse {
                error_code: super::refusal_code(&reply) as i16,
                ..AlterPartitionResponse::default()
            };
        };
        let mut outcomes = outcomes.into_iter();
        let mut topic = |asked: RequestTopicData| TopicData {
            topic_id: asked.topic_id,
            partitions: asked
                .partitions
                .iter()
                .zip(outcomes.by_ref())
                .map(|(asked, outcome)| told(asked.partition_index, outcome))
                .collect(),
            ..TopicData::default()
        };
        let topics = request.topics.into_iter().map(&mut topic).collect();
        AlterPartitionResponse { topics, ..AlterPartitionResponse::default() }
    }
}

fn change(from: BrokerId, topic: TopicId, asked: &RequestPartitionData) -> PartitionChange {
    let replica = |state: &BrokerState| (BrokerId(state.broker_id), state.broker_epoch);
    PartitionChange {
        topic,
        index: PartitionIndex(asked.partition_index),
        change: Proposal {
            from,
            leader_epoch: LeaderEpoch(asked.leader_epoch),
            partition_epoch: asked.partition_epoch,
            isr: asked.new_isr_with_epochs.iter().map(replica).collect(),
        },
    }
}

fn told(index: i32, outcome: Outcome<PartitionState>) -> PartitionData {
    let numbers = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
    match outcome {
        Ok(state) => PartitionData {
            partition_index: index,
            leader_id: state.leader.map_or(-1, |id| id.0),
            leader_epoch: state.leader_epoch.0,
            isr: numbers(&state.isr),
            partition_epoch: state.partition_epoch,
            replicas: numbers(&state.replicas),
            eligible_leader_replicas: numbers(&state.elr),
            adding_replicas: numbers(&state.adding),
            removing_replicas: numbers(&state.removing),
            ..PartitionData::default()
        },
        Err(refusal) => PartitionData {
            partition_index: index,
            error_code: refusal.code as i16,
            ..PartitionData::default()
        },
    }
}

impl ToController for AlterPartition {
    fn request(command: &Command) -> Option<AlterPartitionRequest> {
        let Command::AlterPartitions { broker, epoch, changes } = command else { return None };
        let mut topics: Vec<RequestTopicData> = Vec::new();
        for PartitionChange { topic, index, change } in changes {
            let state = |(id, epoch): &(BrokerId, i64)| BrokerState {
                broker_id: id.0,
                broker_epoch: *epoch,
                ..BrokerState::default()
            };
            let partition = RequestPartitionData {
                partition_index: index.0,
                leader_epoch: change.leader_epoch.0,
                new_isr_with_epochs: change.isr.iter().map(state).collect(),
                partition_epoch: change.partition_epoch,
                ..RequestPartitionData::default()
            };
            // The answers come in this order.
            match topics.last_mut().filter(|last| last.topic_id == topic.0) {
                Some(last) => last.partitions.push(partition),
                None => topics.push(RequestTopicData {
                    topic_id: topic.0,
                    partitions: vec![partition],
                    ..RequestTopicData::default()
                }),
            }
        }
        Some(AlterPartitionRequest {
            broker_id: broker.0,
            broker_epoch: *epoch,
            topics,
            ..AlterPartitionRequest::default()
        })
    }

    fn reply(response: AlterPartitionResponse) -> Reply {
        if let Some(code) = super::refusal(response.error_code) {
            return super::refused(code);
        }
        let partitions = response.topics.into_iter().flat_map(|topic| topic.partitions);
        Reply::Partitions(partitions.map(decided).collect())
    }
}

fn decided(told: PartitionData) -> Outcome<PartitionState> {
    if let Some(code) = super::refusal(told.error_code) {
        return Err(code.into());
    }
    let ids = |numbers: Vec<i32>| numbers.into_iter().map(BrokerId).collect();
    Ok(PartitionState {
        replicas: ids(told.replicas),
        isr: ids(told.isr),
        elr: ids(told.eligible_leader_replicas),
        adding: ids(told.adding_replicas),
        removing: ids(told.removing_replicas),
        leader: Some(BrokerId(told.leader_id)).filter(|id| id.0 >= 0),
        leader_epoch: LeaderEpoch(told.leader_epoch),
        partition_epoch: told.partition_epoch,
    })
}
