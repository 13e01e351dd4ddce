//! DescribeLogDirs (35): what each data directory holds and how much room it has.

use super::{Acl, Answer, Api, OnView, ViewContext};
use std::collections::BTreeMap;
use wire::ErrorCode;
use wire::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};

pub(super) struct DescribeLogDirs;

impl Api for DescribeLogDirs {
    type Request = DescribeLogDirsRequest;
    const ACL: Acl = Acl::DescribeCluster;
}

impl OnView for DescribeLogDirs {
    fn handle(cx: &ViewContext<'_>, request: DescribeLogDirsRequest) -> Answer<DescribeLogDirsResponse> {
        let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
        for replica in
            cx.view.replicas.values().filter(|replica| is_wanted(&request, &replica.name, replica.index.0))
        {
            let partition = DescribeLogDirsPartition {
                partition_index: replica.index.0,
                partition_size: i64::try_from(replica.size_bytes()).unwrap_or(i64::MAX),
                ..DescribeLogDirsPartition::default()
            };
            topics.entry(&replica.name).or_default().push(partition);
        }
        let topic = |(name, partitions): (&str, Vec<DescribeLogDirsPartition>)| DescribeLogDirsTopic {
            name: name.into(),
            partitions,
            ..DescribeLogDirsTopic::default()
        };
        let space = cx.disk.space();
        let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let result = DescribeLogDirsResult {
            error_code: if space.is_ok() { ErrorCode::None } else { ErrorCode::KafkaStorageError } as i16,
            log_dir: cx.view.node.directory.as_str().into(),
            topics: topics.into_iter().map(topic).collect(),
            total_bytes: space.as_ref().map_or(-1, |space| bytes(space.total)),
            usable_bytes: space.as_ref().map_or(-1, |space| bytes(space.free)),
            ..DescribeLogDirsResult::default()
        };
        Answer::Reply(DescribeLogDirsResponse { results: vec![result], ..DescribeLogDirsResponse::default() })
    }
}

fn is_wanted(request: &DescribeLogDirsRequest, topic: &str, index: i32) -> bool {
    let Some(topics) = &request.topics else { return true };
    topics.iter().any(|wanted| wanted.topic.as_str() == topic && wanted.partitions.contains(&index))
}
