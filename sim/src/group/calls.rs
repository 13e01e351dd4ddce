//! The requests that participants send, in every version that can say what they mean.

use super::*;

/// A request in the making.
pub(super) struct Call {
    pub(super) group: String,
    pub(super) correlation: i32,
    pub(super) replicas: i16,
}

impl Call {
    pub(super) fn frame<R: wire::Request>(&self, version: i16, request: &R, asked: Asked) -> (Frame, Asked) {
        ((version, encode(self.correlation, version, request)), asked)
    }

    pub(super) fn find(&self, rng: &mut Rng) -> (Frame, Asked) {
        let version = version::<FindCoordinatorRequest>(rng, 0);
        let mut request = FindCoordinatorRequest::default();
        if version < 4 {
            request.key = self.group.as_str().into();
        } else {
            request.coordinator_keys = vec![self.group.as_str().into()];
        }
        self.frame(version, &request, Asked::Coordinator)
    }

    /// Finding the coordinator makes the offsets topic; then there is the topic itself.
    pub(super) fn prepare(&self, rng: &mut Rng) -> (Frame, Asked) {
        if rng.chance(1, 2) {
            return self.find(rng);
        }
        let topic = CreatableTopic {
            name: TOPIC.into(),
            num_partitions: PARTITIONS,
            replication_factor: self.replicas,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1_000, ..Default::default() };
        self.frame(version::<CreateTopicsRequest>(rng, 2), &request, Asked::Topic)
    }

    pub(super) fn join(&self, rng: &mut Rng, member: &Member) -> (Frame, Asked) {
        let protocol =
            JoinGroupRequestProtocol { name: "turns".into(), metadata: Bytes::new(), ..Default::default() };
        let request = JoinGroupRequest {
            group_id: self.group.as_str().into(),
            session_timeout_ms: i32::try_from(rng.between(200, 600)).unwrap_or(200) * member.slowness,
            rebalance_timeout_ms: i32::try_from(rng.between(300, 900)).unwrap_or(300) * member.slowness,
            member_id: member.member_id.clone(),
            group_instance_id: member.instance.clone(),
            protocol_type: "turns".into(),
            protocols: vec![protocol],
            ..Default::default()
        };
        self.frame(version::<JoinGroupRequest>(rng, member.least(0, 5)), &request, Asked::Join)
    }

    pub(super) fn sync(&self, rng: &mut Rng, member: &Member) -> (Frame, Asked) {
        let members = match &member.phase {
            Phase::Syncing { members } => &members[..],
            Phase::Lost | Phase::Bare | Phase::Joining | Phase::Stable { .. } => &[],
        };
        let share = |at: usize| {
            let all = (0..PARTITIONS).map(|part| part.to_be_bytes()[3]);
            all.enumerate().filter(|(nth, _)| nth % members.len() == at).map(|(_, part)| part).collect()
        };
        let assignments = members.iter().enumerate().map(|(at, id)| SyncGroupRequestAssignment {
            member_id: id.clone(),
            assignment: share(at),
            ..Default::default()
        });
        let request = SyncGroupRequest {
            group_id: self.group.as_str().into(),
            generation_id: member.generation,
            member_id: member.member_id.clone(),
            group_instance_id: member.instance.clone(),
            protocol_type: Some("turns".into()),
            protocol_name: Some("turns".into()),
            assignments: assignments.collect(),
            ..Default::default()
        };
        self.frame(version::<SyncGroupRequest>(rng, member.least(0, 3)), &request, Asked::Sync)
    }

    pub(super) fn heartbeat(&self, rng: &mut Rng, member: &Member) -> (Frame, Asked) {
        let request = HeartbeatRequest {
            group_id: self.group.as_str().into(),
            generation_id: member.generation,
            member_id: member.member_id.clone(),
            group_instance_id: member.instance.clone(),
            ..Default::default()
        };
        self.frame(version::<HeartbeatRequest>(rng, member.least(0, 3)), &request, Asked::Heartbeat)
    }

    pub(super) fn leave(&self, rng: &mut Rng, member: &Member) -> (Frame, Asked) {
        let version = version::<LeaveGroupRequest>(rng, member.least(0, 3));
        let mut request = LeaveGroupRequest { group_id: self.group.as_str().into(), ..Default::default() };
        if version < 3 {
            request.member_id = member.member_id.clone();
        } else {
            request.members = vec![MemberIdentity {
                member_id: member.member_id.clone(),
                group_instance_id: member.instance.clone(),
                ..Default::default()
            }];
        }
        self.frame(version, &request, Asked::Leave)
    }

    pub(super) fn commit(
        &self,
        rng: &mut Rng,
        promises: &mut Promises,
        offsets: Vec<(i32, i64)>,
        member: Option<&Member>,
    ) -> (Frame, Asked) {
        for (partition, offset) in &offsets {
            promises.sent(&self.group, *partition, *offset);
        }
        let entry = |(partition, offset): &(i32, i64)| OffsetCommitRequestPartition {
            partition_index: *partition,
            committed_offset: *offset,
            ..Default::default()
        };
        let topic = OffsetCommitRequestTopic {
            name: TOPIC.into(),
            partitions: offsets.iter().map(entry).collect(),
            ..Default::default()
        };
        let mut request = OffsetCommitRequest {
            group_id: self.group.as_str().into(),
            topics: vec![topic],
            ..Default::default()
        };
        if let Some(member) = member {
            request.member_id = member.member_id.clone();
            request.generation_id_or_member_epoch = member.generation;
            request.group_instance_id = member.instance.clone();
        }
        // From version 10 on topics are named by id, which this client does not keep.
        let least = member.map_or(2, |member| member.least(2, 7));
        let version = version::<OffsetCommitRequest>(rng, least).min(9);
        self.frame(version, &request, Asked::Commit { offsets })
    }

    pub(super) fn fetch(&self, rng: &mut Rng, promises: &Promises, partitions: &[i32]) -> (Frame, Asked) {
        let known = partitions.iter().map(|part| (*part, promises.known(&self.group, *part))).collect();
        let version = version::<OffsetFetchRequest>(rng, 1).min(9);
        let partition_indexes = partitions.to_vec();
        let request = if version < 8 {
            let topic =
                OffsetFetchRequestTopic { name: TOPIC.into(), partition_indexes, ..Default::default() };
            let topics = Some(vec![topic]);
            OffsetFetchRequest { group_id: self.group.as_str().into(), topics, ..Default::default() }
        } else {
            let topic =
                OffsetFetchRequestTopics { name: TOPIC.into(), partition_indexes, ..Default::default() };
            let group = OffsetFetchRequestGroup {
                group_id: self.group.as_str().into(),
                topics: Some(vec![topic]),
                ..Default::default()
            };
            OffsetFetchRequest { groups: vec![group], ..Default::default() }
        };
        self.frame(version, &request, Asked::Fetch { known })
    }

    pub(super) fn list(&self, rng: &mut Rng, promises: &Promises) -> (Frame, Asked) {
        let must_exist = promises.must_exist(&self.group);
        let version = version::<ListGroupsRequest>(rng, 0);
        self.frame(version, &ListGroupsRequest::default(), Asked::List { must_exist })
    }

    pub(super) fn delete(&self, rng: &mut Rng) -> (Frame, Asked) {
        let groups_names = vec![self.group.as_str().into()];
        let request = DeleteGroupsRequest { groups_names, ..Default::default() };
        self.frame(version::<DeleteGroupsRequest>(rng, 0), &request, Asked::Delete)
    }
}
