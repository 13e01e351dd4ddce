//! Shards that are not there yet, are lost, or cannot write.

use super::{
    begin_join, commit, commit_codes, commit_request, committed, fetch_request, heartbeat, join, join_request,
};
use crate::effects::Owner;
use crate::replica::Waiter;
use crate::test_node::{Hold, TestNode};
use crate::view::OFFSETS_TOPIC;
use wire::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use wire::join_group::JoinGroupRequest;
use wire::list_groups::ListGroupsRequest;
use wire::offset_commit::OffsetCommitRequest;
use wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::record::{BatchBuilder, BatchMeta, CheckedBatches, Compression, RecordFields};
use wire::{ErrorCode, Records, Str};

#[test]
fn nothing_is_answered_before_it_is_loaded() {
    let mut node = TestNode::new();
    let member = join(&mut node, "g");
    commit(&mut node, "h", "t", 3);
    node.restart(Hold::Loads);
    let loading = ErrorCode::CoordinatorLoadInProgress;
    assert_eq!(node.latest(&join_request("g", &Str::EMPTY)).error_code, loading.code());
    assert_eq!(
        commit_codes(&node.ask(9, &commit_request("h", "t", &[0, 1], 4))),
        [(0, loading), (1, loading)]
    );
    let fetched = node.ask(9, &fetch_request(&["h", "empty shard"], "t"));
    assert_eq!(fetched.groups.iter().map(|group| group.error_code).collect::<Vec<_>>(), [loading.code(), 0]);
    assert_eq!(node.latest(&ListGroupsRequest::default()).error_code, loading.code());
    // A member that shows up meanwhile is not alarmed.
    assert_eq!(heartbeat(&mut node, "g", &member), ErrorCode::None);
    node.release();
    assert_eq!(committed(&mut node, "h", "t"), 3);
    assert_eq!(node.latest(&ListGroupsRequest::default()).groups.len(), 2);
}

#[test]
fn a_full_disk_is_survived() {
    let mut node = TestNode::new();
    commit(&mut node, "g", "t", 3);
    let first = join(&mut node, "g");
    let waiting = begin_join(&mut node, "g");
    let used = seglog::disk::Disk::space(&node.disk).map(|space| space.total - space.free).unwrap();
    node.disk.set_capacity(Some(used));
    let long = "x".repeat(4_000);
    let mut request = commit_request("g", "t", &[0], 4);
    request.topics[0].partitions[0].committed_metadata = Some(long.as_str().into());
    request.member_id = first.member_id.clone();
    request.generation_id_or_member_epoch = first.generation_id;
    assert_eq!(commit_codes(&node.ask(9, &request)), [(0, ErrorCode::NotCoordinator)]);
    // Who waited for the rebalance is sent away, and so is everybody until the log has been read again.
    let refused = node.reply::<JoinGroupRequest>(waiting).unwrap();
    assert_eq!(refused.error_code, ErrorCode::NotCoordinator.code());
    let loading = ErrorCode::CoordinatorLoadInProgress;
    assert_eq!(node.latest(&join_request("g", &Str::EMPTY)).error_code, loading.code());
    assert_eq!(heartbeat(&mut node, "g", &first), ErrorCode::None);
    node.disk.set_capacity(None);
    node.advance(1);
    assert_eq!(committed(&mut node, "g", "t"), 3);
    assert_eq!(commit_codes(&node.ask(9, &request)), [(0, ErrorCode::None)]);
    assert_eq!(committed(&mut node, "g", "t"), 4);
    node.crash();
    assert_eq!(committed(&mut node, "g", "t"), 4);
}

#[test]
fn a_list_that_waits_for_a_shard_that_is_lost_is_refused_and_not_empty() {
    let mut node = TestNode::new();
    commit(&mut node, "g", "t", 3);
    node.hold = Hold::Flushes;
    let _unsafe = node.send(9, &commit_request("g", "t", &[0], 4));
    let list = node.send(5, &ListGroupsRequest::default());
    assert!(node.reply::<ListGroupsRequest>(list).is_none());
    let used = seglog::disk::Disk::space(&node.disk).map(|space| space.total - space.free).unwrap();
    node.disk.set_capacity(Some(used));
    let mut request = commit_request("g", "t", &[0], 5);
    request.topics[0].partitions[0].committed_metadata = Some("x".repeat(4_000).as_str().into());
    assert_eq!(commit_codes(&node.ask(9, &request)), [(0, ErrorCode::NotCoordinator)]);
    let listed = node.reply::<ListGroupsRequest>(list).unwrap();
    assert_eq!(listed.error_code, ErrorCode::CoordinatorLoadInProgress.code());
}

#[test]
fn what_was_not_safe_when_the_partition_went_is_refused() {
    let mut node = TestNode::new();
    let _member = join(&mut node, "g");
    let waiting = begin_join(&mut node, "g");
    node.hold = Hold::Flushes;
    let written = node.send(9, &commit_request("other group", "t", &[0], 5));
    assert!(node.reply::<OffsetCommitRequest>(written).is_none());
    // The deletion is a metadata job, not a flush.
    node.delete("__consumer_offsets");
    let response = node.reply::<OffsetCommitRequest>(written).unwrap();
    assert_eq!(commit_codes(&response), [(0, ErrorCode::NotCoordinator)]);
    let refused = node.reply::<JoinGroupRequest>(waiting).unwrap();
    assert_eq!(refused.error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(node.latest(&ListGroupsRequest::default()).error_code, 0);
    assert_eq!(node.latest(&join_request("g", &Str::EMPTY)).error_code, ErrorCode::NotCoordinator.code());
}

#[test]
fn nobody_else_writes_to_the_offsets_topic() {
    let mut node = TestNode::new();
    commit(&mut node, "g", "t", 3);
    let batch = batch_of(&[(b"key", None)]).finish();
    let data = PartitionProduceData {
        records: Some(Records::Bytes(batch.into())),
        ..PartitionProduceData::default()
    };
    let topic = TopicProduceData {
        name: OFFSETS_TOPIC.into(),
        partition_data: vec![data],
        ..TopicProduceData::default()
    };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 1_000, topic_data: vec![topic], ..Default::default() };
    let refused = ErrorCode::InvalidTopicException.code();
    assert_eq!(node.ask(9, &request).responses[0].partition_responses[0].error_code, refused);
    let partition = DeleteRecordsPartition { offset: -1, ..Default::default() };
    let topic =
        DeleteRecordsTopic { name: OFFSETS_TOPIC.into(), partitions: vec![partition], ..Default::default() };
    let request = DeleteRecordsRequest { topics: vec![topic], ..Default::default() };
    assert_eq!(node.latest(&request).topics[0].partitions[0].error_code, refused);
}

/// Appends a batch to the partition of a group behind the coordinator's back.
fn append(node: &TestNode, group: &str, batch: &[u8]) {
    let checked = CheckedBatches::from_broker(batch).unwrap();
    let waiter = Waiter { owner: Owner::Groups, ticket: 0, part: 0 };
    node.shard(group).append_own(&checked, node.now, waiter).unwrap();
}

fn batch_of(records: &[(&[u8], Option<&[u8]>)]) -> BatchBuilder {
    let mut batch = BatchBuilder::new(BatchMeta::default());
    for (key, value) in records {
        batch.push(&RecordFields { key: Some(key), value: *value, ..RecordFields::default() });
    }
    batch
}

/// The key and the value of a commit as Kafka stores them.
fn stored_commit(group: &str, offset: i64) -> (Vec<u8>, Vec<u8>) {
    let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let key = [&1_i16.to_be_bytes()[..], &text(group), &text("t"), &0_i32.to_be_bytes()].concat();
    let value = [
        &2_i16.to_be_bytes()[..],
        &offset.to_be_bytes(),
        &text(""),
        &7_i64.to_be_bytes(),
        &0_i64.to_be_bytes(),
    ];
    (key, value[..4].concat())
}

#[test]
fn compressed_batches_are_read_and_foreign_records_are_passed_over() {
    let mut node = TestNode::new();
    let (key, value) = stored_commit("g", 77);
    let foreign = 3_i16.to_be_bytes();
    let batch = batch_of(&[(&foreign, Some(b"whatever")), (&key, Some(&value))]);
    let compressed = codec::compress(codec::Codec::Zstd, None, batch.payload()).unwrap();
    append(&node, "g", &batch.finish_compressed(Compression::Zstd, &compressed));
    node.restart(Hold::Nothing);
    assert_eq!(committed(&mut node, "g", "t"), 77);
}

#[test]
fn a_log_that_cannot_be_read_is_said_and_hurts_no_other() {
    let mut node = TestNode::new();
    commit(&mut node, "h", "t", 5);
    let (key, _) = stored_commit("g", 77);
    append(&node, "g", &batch_of(&[(&key, Some(b"no value"))]).finish());
    node.restart(Hold::Nothing);
    assert_eq!(
        node.ask(9, &fetch_request(&["g"], "t")).groups[0].error_code,
        ErrorCode::CoordinatorLoadInProgress.code()
    );
    assert!(node.log.iter().any(|line| line.contains("cannot be loaded")), "{:?}", node.log);
    assert_eq!(committed(&mut node, "h", "t"), 5);
    // It is tried again, but not in a loop.
    let before = node.log.len();
    node.advance(5);
    assert!((1..=5).contains(&(node.log.len() - before)), "{:?}", node.log);
}
