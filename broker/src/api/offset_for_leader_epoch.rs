//! OffsetForLeaderEpoch (23): where an epoch ends, so that clients and followers find what was truncated.

use super::{Acl, Answer, Api, OnView, ViewContext};
use base::LeaderEpoch;
use wire::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};

pub(super) struct OffsetForLeaderEpoch;

impl Api for OffsetForLeaderEpoch {
    type Request = OffsetForLeaderEpochRequest;
    const ACL: Acl = Acl::DescribeTopic;
}

impl OnView for OffsetForLeaderEpoch {
    fn handle(
        cx: &ViewContext<'_>,
        request: OffsetForLeaderEpochRequest,
    ) -> Answer<OffsetForLeaderEpochResponse> {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|part| answer_one(cx, &topic.topic, part)).collect();
            OffsetForLeaderTopicResult {
                topic: topic.topic,
                partitions,
                ..OffsetForLeaderTopicResult::default()
            }
        });
        Answer::Reply(OffsetForLeaderEpochResponse {
            topics: topics.collect(),
            ..OffsetForLeaderEpochResponse::default()
        })
    }
}

fn answer_one(cx: &ViewContext<'_>, topic: &str, part: &OffsetForLeaderPartition) -> EpochEndOffset {
    let blank = EpochEndOffset { partition: part.partition, ..EpochEndOffset::default() };
    let found = super::find_replica(cx.view, topic, part.partition).and_then(|replica| {
        replica.check_epoch(LeaderEpoch(part.current_leader_epoch)).map_err(|error| error.code)?;
        Ok(replica.end_of_epoch(LeaderEpoch(part.leader_epoch)))
    });
    match found {
        Ok(Some((epoch, end))) => EpochEndOffset { leader_epoch: epoch.0, end_offset: end.0, ..blank },
        Ok(None) => blank,
        Err(code) => EpochEndOffset { error_code: code as i16, ..blank },
    }
}
