//! The ten APIs in all their versions, and what they say about topics and groups that do not exist.

use super::{commit, commit_codes, commit_request, committed, fetch_request, join, join_request, offsets};
use crate::test_node::TestNode;
use wire::delete_groups::DeleteGroupsRequest;
use wire::describe_groups::DescribeGroupsRequest;
use wire::heartbeat::HeartbeatRequest;
use wire::join_group::JoinGroupRequest;
use wire::leave_group::{LeaveGroupRequest, MemberIdentity};
use wire::list_groups::ListGroupsRequest;
use wire::offset_commit::OffsetCommitRequest;
use wire::offset_delete::{OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use wire::sync_group::SyncGroupRequest;
use wire::{ErrorCode, Request, Str};

/// Groups that fall to different shards of four.
const GROUPS: [&str; 5] = ["a", "b", "c", "d", "e"];

#[test]
fn members_of_all_versions_come_stay_and_go() {
    let mut node = TestNode::new();
    for version in JoinGroupRequest::VERSIONS {
        let group = format!("g{version}");
        let mut joined = node.ask(version, &join_request(&group, &Str::EMPTY));
        if version >= 4 {
            assert_eq!(joined.error_code, ErrorCode::MemberIdRequired.code(), "v{version}");
            joined = node.ask(version, &join_request(&group, &joined.member_id));
        }
        assert_eq!((joined.error_code, joined.generation_id), (0, 1), "v{version}");
        let capped = |max: i16| version.min(max);
        let member_id = joined.member_id;
        let sync = SyncGroupRequest {
            group_id: group.as_str().into(),
            generation_id: 1,
            member_id: member_id.clone(),
            ..Default::default()
        };
        assert_eq!(node.ask(capped(5), &sync).error_code, 0, "v{version}");
        let alive = HeartbeatRequest {
            group_id: group.as_str().into(),
            generation_id: 1,
            member_id: member_id.clone(),
            ..Default::default()
        };
        assert_eq!(node.ask(capped(4), &alive).error_code, 0, "v{version}");
        let leave = |member_id: Str| {
            let is_list = version >= 3;
            let identity = MemberIdentity { member_id: member_id.clone(), ..Default::default() };
            LeaveGroupRequest {
                group_id: group.as_str().into(),
                member_id: if is_list { Str::EMPTY } else { member_id },
                members: if is_list { vec![identity] } else { Vec::new() },
                ..Default::default()
            }
        };
        let stranger = node.ask(capped(5), &leave("stranger".into()));
        let code = stranger.members.first().map_or(stranger.error_code, |member| member.error_code);
        assert_eq!(code, ErrorCode::UnknownMemberId.code(), "v{version}");
        assert_eq!(node.ask(capped(5), &leave(member_id)).error_code, 0, "v{version}");
        assert_eq!(node.ask(capped(4), &alive).error_code, ErrorCode::UnknownMemberId.code(), "v{version}");
    }
    assert!(node.closed.is_empty());
}

#[test]
fn offsets_are_kept_and_read_in_all_versions() {
    let mut node = TestNode::new();
    let id = node.topic_id("t");
    for (version, offset) in OffsetCommitRequest::VERSIONS.zip(100..) {
        let mut request = commit_request("g", "t", &[0, 3], offset);
        if version >= 10 {
            request.topics[0].topic_id = id;
            request.topics[0].name = Str::EMPTY;
        }
        let codes = commit_codes(&node.ask(version, &request));
        assert_eq!(codes, [(3, ErrorCode::UnknownTopicOrPartition), (0, ErrorCode::None)], "v{version}");
        assert_eq!(committed(&mut node, "g", "t"), offset);
    }
    let last = committed(&mut node, "g", "t");
    for version in OffsetFetchRequest::VERSIONS {
        let mut request = fetch_request(&["g", "nobody"], "t");
        if version < 8 {
            let topic = OffsetFetchRequestTopic {
                name: "t".into(),
                partition_indexes: vec![0],
                ..Default::default()
            };
            request =
                OffsetFetchRequest { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() };
        }
        for topic in request.groups.iter_mut().flat_map(|group| group.topics.iter_mut().flatten()) {
            if version >= 10 {
                topic.topic_id = id;
                topic.name = Str::EMPTY;
            }
        }
        let response = node.ask(version, &request);
        if version < 8 {
            assert_eq!(response.topics[0].partitions[0].committed_offset, last, "v{version}");
        } else {
            assert_eq!(offsets(&response), [last, -1], "v{version}");
        }
    }
}

#[test]
fn all_offsets_of_a_group_can_be_read_by_name_and_by_id() {
    let mut node = TestNode::new();
    node.create("gone", 1);
    commit(&mut node, "g", "t", 3);
    let mut request = fetch_request(&["g"], "");
    request.groups[0].topics = None;
    let by_name = node.ask(9, &request);
    let by_id = node.ask(10, &request);
    assert_eq!((offsets(&by_name), offsets(&by_id)), (vec![3], vec![3]));
    assert_eq!(by_name.groups[0].topics[0].name, "t");
    assert_eq!(by_id.groups[0].topics[0].topic_id, node.topic_id("t"));
}

#[test]
fn unknown_topics_are_refused_by_name_and_by_id() {
    let mut node = TestNode::new();
    let by_name = node.ask(9, &commit_request("g", "nowhere", &[0], 1));
    assert_eq!(commit_codes(&by_name), [(0, ErrorCode::UnknownTopicOrPartition)]);
    let mut request = commit_request("g", "", &[0], 1);
    request.topics[0].topic_id = base::Uuid([9; 16]);
    assert_eq!(commit_codes(&node.ask(10, &request)), [(0, ErrorCode::UnknownTopicId)]);
    // To read what is not there is no error by name.
    assert_eq!(committed(&mut node, "g", "nowhere"), -1);
    let mut request = fetch_request(&["g"], "");
    request.groups[0].topics.as_mut().unwrap()[0].topic_id = base::Uuid([9; 16]);
    let part = &node.ask(10, &request).groups[0].topics[0].partitions[0];
    assert_eq!((part.error_code, part.committed_offset), (ErrorCode::UnknownTopicId.code(), -1));
}

#[test]
fn groups_of_all_shards_are_listed_described_and_deleted() {
    let mut node = TestNode::new();
    for group in GROUPS {
        commit(&mut node, group, "t", 3);
    }
    join(&mut node, "b");
    for version in ListGroupsRequest::VERSIONS {
        let listed = node.ask(version, &ListGroupsRequest::default());
        let mut names: Vec<_> = listed.groups.iter().map(|group| group.group_id.as_str()).collect();
        names.sort_unstable();
        assert_eq!((listed.error_code, &names[..]), (0, &GROUPS[..]), "v{version}");
    }
    let stable = ListGroupsRequest { states_filter: vec!["stable".into()], ..Default::default() };
    assert_eq!(node.latest(&stable).groups.len(), 1);

    let groups: Vec<Str> = ["e", "nobody", "a", "b"].map(Into::into).to_vec();
    for version in DescribeGroupsRequest::VERSIONS {
        let request = DescribeGroupsRequest {
            groups: groups.clone(),
            include_authorized_operations: version >= 3,
            ..Default::default()
        };
        let described = node.ask(version, &request);
        let seen: Vec<_> = described.groups.iter().map(|g| (&g.group_id[..], &g.group_state[..])).collect();
        let expected = [("e", "Empty"), ("nobody", "Dead"), ("a", "Empty"), ("b", "Stable")];
        assert_eq!(seen, expected, "v{version}");
        let unknown = if version >= 6 { ErrorCode::GroupIdNotFound } else { ErrorCode::None };
        assert_eq!(described.groups[1].error_code, unknown.code(), "v{version}");
        let member = &described.groups[3].members[0];
        assert_eq!((&member.client_id[..], &member.client_host[..]), ("client", "/10.0.0.7"));
        let operations = described.groups[0].authorized_operations;
        assert_eq!(operations, if version >= 3 { 0b1101_0100_1000 } else { i32::MIN }, "v{version}");
    }

    for (version, group) in DeleteGroupsRequest::VERSIONS.zip(["a", "c", "d", "e"]) {
        let names = vec!["b".into(), group.into(), "nobody".into()];
        let deleted = node.ask(version, &DeleteGroupsRequest { groups_names: names, ..Default::default() });
        let codes: Vec<_> = deleted.results.iter().map(|r| (&r.group_id[..], r.error_code)).collect();
        let (full, none) = (ErrorCode::NonEmptyGroup.code(), ErrorCode::GroupIdNotFound.code());
        assert_eq!(codes, [("b", full), (group, 0), ("nobody", none)], "v{version}");
    }
    assert_eq!(node.latest(&ListGroupsRequest::default()).groups.len(), 1);
}

#[test]
fn single_offsets_are_deleted() {
    let mut node = TestNode::new();
    commit(&mut node, "g", "t", 3);
    let request = |group: &str| OffsetDeleteRequest {
        group_id: group.into(),
        topics: [("t", 0), ("t", 9), ("nowhere", 0)]
            .map(|(name, partition_index)| OffsetDeleteRequestTopic {
                name: name.into(),
                partitions: vec![OffsetDeleteRequestPartition { partition_index }],
            })
            .to_vec(),
    };
    let response = node.latest(&request("g"));
    let parts = response.topics.iter().flat_map(|topic| &topic.partitions);
    let mut codes: Vec<_> = parts.map(|part| (part.partition_index, part.error_code)).collect();
    codes.sort_unstable();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!((response.error_code, &codes[..]), (0, &[(0, 0), (0, unknown), (9, unknown)][..]));
    assert_eq!(committed(&mut node, "g", "t"), -1);
    let response = node.latest(&request("nobody"));
    assert_eq!((response.error_code, response.topics.len()), (ErrorCode::GroupIdNotFound.code(), 0));
}
