//! Fetch (1): read batches; waits until there are enough.
//!
//! Version notes: from version 7 on sessions (KIP-227), from version 13 on topics by id. A client that claims
//! to be a replica is refused: replicas come with a peer's identity.

use super::{Acl, Api, Malformed};
use crate::effects::{Asked, Effects, Fragment, Reply};
use crate::frame;
use crate::reactor::Reactor;
use crate::reactor::fetch::{Waiting, Wanted};
use crate::reactor::session::{Context, PartitionKey};
use crate::replica::{Isolation, ReadError, Replica};
use base::{EndOffset, LeaderEpoch, Now, PartitionIndex, Span};
use bytes::Bytes;
use seglog::ReadSlice;
use wire::fetch::{
    EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch,
    PartitionData,
};
use wire::{ErrorCode, Records};

pub(super) struct Fetch;

impl Api for Fetch {
    type Request = FetchRequest;
    const ACL: Acl = Acl::ReadTopic;

    fn upgrade(version: i16, request: &mut FetchRequest) {
        // From version 15 on the replica's id lies in a structure of its own (KIP-903).
        if version >= 15 {
            request.replica_id = request.replica_state.replica_id;
        }
        // Before version 7 there were no sessions.
        if version < 7 {
            request.session_id = 0;
            request.session_epoch = -1;
        }
    }
}

pub(super) fn handle(
    reactor: &mut Reactor,
    asked: Asked,
    now: Now,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let mut request = super::decode::<Fetch>(&asked)?;
    if request.replica_id >= 0 {
        return refuse(reactor, &asked, ErrorCode::ClusterAuthorizationFailed, fx);
    }
    let (context, wanted) = match reactor.sessions.begin(&mut request) {
        Ok(begun) => begun,
        Err(code) => return refuse(reactor, &asked, code, fx),
    };
    let max = u32::try_from(request.max_bytes).unwrap_or(0).min(reactor.view.node.config.fetch_bytes_max);
    let waiting = Waiting {
        asked: asked.without_body(),
        context,
        wanted: wanted.into_iter().map(|(key, part)| Wanted { key, part }).collect(),
        isolation: if request.isolation_level == 1 {
            Isolation::ReadCommitted
        } else {
            Isolation::ReadUncommitted
        },
        bytes_min: u64::try_from(request.min_bytes).unwrap_or(0),
        bytes_max: max,
        bytes: 0,
        deadline: now.mono + Span::from_wire_millis(i64::from(request.max_wait_ms)),
    };
    reactor.fetch(now, waiting, fx);
    Ok(())
}

fn refuse(reactor: &mut Reactor, asked: &Asked, code: ErrorCode, fx: &mut Effects) -> Result<(), Malformed> {
    let response = FetchResponse { error_code: code as i16, ..FetchResponse::default() };
    let bytes = super::encode::<Fetch>(asked, response)?;
    reactor.complete(asked.token, Reply::bytes(bytes), fx);
    Ok(())
}

/// What a fetch found: the response, and the file ranges that its records are.
#[derive(Debug, Default)]
pub(crate) struct Found {
    partitions: Vec<(PartitionKey, PartitionData, Option<Fragment>)>,
    /// Bytes of records.
    pub(crate) bytes: u64,
    /// True when waiting longer would not help.
    pub(crate) urgent: bool,
}

/// Reads all wanted partitions once.
pub(crate) fn read(reactor: &Reactor, waiting: &Waiting) -> Found {
    let mut found = Found::default();
    for wanted in &waiting.wanted {
        read_one(reactor, waiting, wanted, &mut found);
    }
    found
}

fn read_one(reactor: &Reactor, waiting: &Waiting, wanted: &Wanted, found: &mut Found) {
    let Wanted { key, part } = wanted;
    let (data, fragment) = match read_partition(reactor, waiting, wanted, found) {
        Ok((data, fragment)) => (data, fragment),
        Err(data) => {
            found.urgent = true;
            (*data, None)
        }
    };
    if let Some(Fragment::File { length, .. }) = &fragment {
        found.bytes += u64::from(*length);
    }
    debug_assert_eq!(part.partition, data.partition_index);
    found.partitions.push((key.clone(), data, fragment));
}

fn read_partition(
    reactor: &Reactor,
    waiting: &Waiting,
    wanted: &Wanted,
    found: &Found,
) -> Result<(PartitionData, Option<Fragment>), Box<PartitionData>> {
    let Wanted { key, part } = wanted;
    let fail = |code: ErrorCode| Box::new(error(part, code));
    let topic = reactor.view.topic_of(&key.name, key.topic_id).ok_or_else(|| {
        fail(if key.topic_id.is_zero() {
            ErrorCode::UnknownTopicOrPartition
        } else {
            ErrorCode::UnknownTopicId
        })
    })?;
    let index = PartitionIndex(part.partition);
    let state = topic.partition(index).ok_or_else(|| fail(ErrorCode::UnknownTopicOrPartition))?;
    let Some(replica) = reactor.view.replica(topic.id, index) else {
        let mut data = fail(ErrorCode::NotLeaderOrFollower);
        data.current_leader = LeaderIdAndEpoch {
            leader_id: state.leader.map_or(-1, |id| id.0),
            leader_epoch: state.leader_epoch.0,
            ..LeaderIdAndEpoch::default()
        };
        return Err(data);
    };
    let left = u64::from(waiting.bytes_max).saturating_sub(found.bytes);
    let max = u64::try_from(part.partition_max_bytes).unwrap_or(0).min(left);
    let from = EndOffset(part.fetch_offset);
    let epoch = LeaderEpoch(part.current_leader_epoch);
    if let Some(diverging) = diverges(replica, part).map_err(fail)? {
        let mut data = error(part, ErrorCode::None);
        data.diverging_epoch = diverging;
        return Err(Box::new(data));
    }
    // The first partition with records gives at least one batch, however large, so that nobody gets stuck.
    let whole_batch = found.bytes == 0;
    match replica.read(from, epoch, max, waiting.isolation, whole_batch) {
        Ok(read) => Ok(data(part, waiting.isolation, read)),
        Err(ReadError { code }) => Err(fail(code)),
    }
}

/// Where the log of a reader, which ends in another epoch than this one there, must be cut (KIP-595).
fn diverges(replica: &Replica, part: &FetchPartition) -> Result<Option<EpochEndOffset>, ErrorCode> {
    if part.last_fetched_epoch < 0 {
        return Ok(None);
    }
    let asked = LeaderEpoch(part.last_fetched_epoch);
    let (epoch, end) = replica.end_of_epoch(asked).ok_or(ErrorCode::OffsetOutOfRange)?;
    let agrees = epoch == asked && end.0 >= part.fetch_offset;
    let cut = EpochEndOffset { epoch: epoch.0, end_offset: end.0, ..EpochEndOffset::default() };
    Ok((!agrees).then_some(cut))
}

fn data(
    part: &FetchPartition,
    isolation: Isolation,
    read: crate::replica::Read,
) -> (PartitionData, Option<Fragment>) {
    let length = read.slice.as_ref().map_or(0, slice_length);
    let data = PartitionData {
        partition_index: part.partition,
        high_watermark: read.high_watermark.0,
        last_stable_offset: read.high_watermark.0,
        log_start_offset: read.log_start.0,
        // Nothing is aborted before transactions are served; who asked for committed records is told so.
        aborted_transactions: (isolation == Isolation::ReadCommitted).then(Vec::new),
        preferred_read_replica: -1,
        records: Some(if length > 0 { Records::Elsewhere { length } } else { Records::Bytes(Bytes::new()) }),
        ..PartitionData::default()
    };
    let fragment = read.slice.filter(|slice| slice.length > 0);
    (data, fragment.map(|s| Fragment::File { length: slice_length(&s), file: s.file, position: s.position }))
}

/// A fetch asks for less than 2³¹ bytes, and a batch has no more.
fn slice_length(slice: &ReadSlice) -> u32 {
    u32::try_from(slice.length).unwrap_or(0)
}

fn error(part: &FetchPartition, code: ErrorCode) -> PartitionData {
    // Kafka says "none" of what it has not found, and nothing of what it has found and cannot read.
    let unknown = matches!(code, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId);
    PartitionData {
        partition_index: part.partition,
        error_code: code as i16,
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        preferred_read_replica: -1,
        aborted_transactions: unknown.then(Vec::new),
        records: Some(Records::Bytes(Bytes::new())),
        ..PartitionData::default()
    }
}

/// Turns what was found into the reply, leaving out what the session need not be told.
pub(crate) fn reply(reactor: &mut Reactor, waiting: &Waiting, found: Found) -> Result<Reply, Malformed> {
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut files = Vec::new();
    for (key, data, fragment) in found.partitions {
        if !reactor.sessions.must_tell(&waiting.context, &key, &data) {
            continue;
        }
        reactor.sessions.told(&waiting.context, &key, &data);
        files.extend(fragment);
        match responses.last_mut() {
            Some(topic) if topic.topic_id == key.topic_id && topic.topic.as_str() == key.name => {
                topic.partitions.push(data);
            }
            Some(_) | None => responses.push(FetchableTopicResponse {
                topic: key.name.into(),
                topic_id: key.topic_id,
                partitions: vec![data],
                ..FetchableTopicResponse::default()
            }),
        }
    }
    let session_id = match waiting.context {
        Context::Full => 0,
        Context::New(id) | Context::Incremental(id) => id,
    };
    let response = FetchResponse { session_id, responses, ..FetchResponse::default() };
    frame::encode_fragments::<FetchRequest>(&waiting.asked, &response, files)
}
