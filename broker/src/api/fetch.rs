//! Fetch (1): read batches; waits until there are enough.
//!
//! Version notes: from version 7 on sessions (KIP-227), from version 13 on topics by id. A replica says in which life
//! it is from version 15 on (KIP-903), and what it believes to be safe from version 18 on. Whoever claims to be a replica
//! without a peer's identity is refused.

use super::{Acl, Api, Malformed};
use crate::effects::{Asked, Effects, Fragment, Mail, Owner, Reply};
use crate::frame;
use crate::job::ColdRange;
use crate::reactor::Reactor;
use crate::reactor::fetch::{Consumer, Terms, Waiting};
use crate::reactor::reader::{Marks, Place, Reader};
use crate::reactor::session::Context;
use crate::replica::{Following, Isolation, Read, ReadError, Replica, Wish};
use crate::view::{BrokerEndpoint, View};
use base::{BrokerId, EndOffset, LeaderEpoch, Now, PartitionIndex, Span, hit, planted};
use bytes::Bytes;
use cluster::partition::Incarnation;
use seglog::ReadSlice;
use std::sync::Arc;
use wire::fetch::{
    EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch,
    NodeEndpoint, PartitionData,
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

    fn downgrade(version: i16, response: &mut FetchResponse) {
        // Before version 16 clients were not told who leads (KIP-951).
        if version < 16 {
            response.node_endpoints.clear();
            for part in response.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
                part.current_leader = LeaderIdAndEpoch::default();
            }
        }
    }
}

pub(super) fn handle(
    reactor: &mut Reactor,
    asked: Asked,
    now: Now,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let request = super::decode::<Fetch>(&asked)?;
    let follower = match follower(reactor, &asked, &request) {
        Ok(follower) => follower,
        Err(code) => {
            let reply = refusal(&asked, code)?;
            reactor.complete(asked.token, reply, fx);
            return Ok(());
        }
    };
    let max = u32::try_from(request.max_bytes).unwrap_or(0).min(reactor.view.node.config.fetch_bytes_max);
    let terms = Terms {
        isolation: if request.isolation_level == 1 {
            Isolation::ReadCommitted
        } else {
            Isolation::ReadUncommitted
        },
        bytes_min: u64::try_from(request.min_bytes).unwrap_or(0),
        bytes_max: max,
        wait_max: Span::from_wire_millis(i64::from(request.max_wait_ms)),
        follower,
        // Racks came with version 11.
        consumer: Consumer {
            may_follow: asked.head.version >= 11,
            rack: request.rack_id.as_str().to_owned(),
        },
    };
    reactor.fetch(now, asked.without_body(), request, terms, fx);
    Ok(())
}

/// The replica that fetches, if one does. One that says it is an earlier life of a broker is none any more.
fn follower(
    reactor: &Reactor,
    asked: &Asked,
    request: &FetchRequest,
) -> Result<Option<Incarnation>, ErrorCode> {
    if request.replica_id < 0 {
        return Ok(None);
    }
    let life = Incarnation { id: BrokerId(request.replica_id), epoch: request.replica_state.replica_epoch };
    if life.epoch < 0 || asked.node != Some(life.id) {
        return Err(ErrorCode::ClusterAuthorizationFailed);
    }
    let known = reactor.view.image.broker(life.id);
    if known.is_some_and(|known| known.epoch > life.epoch) && !planted!(E9) {
        hit!(follower_of_an_earlier_life);
        return Err(ErrorCode::StaleBrokerEpoch);
    }
    Ok(Some(life))
}

/// The reply to a fetch that is not carried out at all.
pub(crate) fn refusal(asked: &Asked, code: ErrorCode) -> Result<Reply, Malformed> {
    let response = FetchResponse { error_code: code as i16, ..FetchResponse::default() };
    super::encode::<Fetch>(asked, response).map(Reply::bytes)
}

/// What a fetch found: the response, and the file ranges that its records are.
#[derive(Debug, Default)]
pub(crate) struct Found {
    parts: Vec<FoundPart>,
    /// Bytes of records.
    pub(crate) bytes: u64,
    /// True when waiting longer would not help.
    pub(crate) urgent: bool,
}

/// One partition of it.
#[derive(Debug)]
struct FoundPart {
    part: u32,
    data: PartitionData,
    slice: Option<ReadSlice>,
    is_throttled: bool,
}

impl Found {
    /// The places that have something to read.
    pub(crate) fn with_records(&self) -> impl Iterator<Item = u32> {
        self.parts.iter().filter(|found| found.slice.is_some()).map(|found| found.part)
    }

    /// Bytes for replicas that are throttled and not in sync.
    pub(crate) fn throttled_bytes(&self) -> u64 {
        let throttled = self.parts.iter().filter(|found| found.is_throttled);
        throttled.filter_map(|found| found.slice.as_ref()).map(|slice| slice.length).sum()
    }

    /// What has to be read from the device before it can be sent.
    pub(crate) fn cold(&self) -> Vec<ColdRange> {
        let slices = self.parts.iter().filter_map(|found| found.slice.as_ref());
        let cold = slices.filter(|slice| !slice.file.is_cached(slice.position, slice.length));
        cold.map(|slice| (slice.file.clone(), slice.position, slice.length)).collect()
    }
}

/// Looks once at every partition of a fetch that has news; of the others it is known what they are.
/// Replicas that are throttled and out of sync get nothing if `is_held`.
pub(crate) fn look(
    view: &View,
    reader: &mut Reader,
    waiting: &Waiting,
    (now, is_held): (Now, bool),
    fx: &mut Effects,
) -> Found {
    let mut found = Found::default();
    let news = reader.news();
    let parts = if waiting.context.is_incremental() { &news } else { &waiting.named };
    for part in parts {
        if reader.has_news(*part) {
            look_at(view, reader, waiting, *part, &mut found, (now, is_held, fx));
        } else if let Some(place) = reader.place(*part) {
            let data = data(&place.wanted, waiting.isolation, place.seen, None);
            found.parts.push(FoundPart { part: *part, data, slice: None, is_throttled: false });
        }
    }
    found
}

fn look_at(
    view: &View,
    reader: &mut Reader,
    waiting: &Waiting,
    part: u32,
    found: &mut Found,
    (now, is_held, fx): (Now, bool, &mut Effects),
) {
    let Some(place) = reader.place(part) else { return };
    let left = u64::from(waiting.bytes_max).saturating_sub(found.bytes);
    let wanted = &place.wanted;
    let wish = Wish {
        from: EndOffset(wanted.fetch_offset),
        epoch: LeaderEpoch(wanted.current_leader_epoch),
        last_epoch: (wanted.last_fetched_epoch >= 0).then_some(LeaderEpoch(wanted.last_fetched_epoch)),
        bytes_max: u64::try_from(wanted.partition_max_bytes).unwrap_or(0).min(left),
        // The first partition with records gives at least one batch, however large, so that nobody gets stuck.
        whole_batch: found.bytes == 0,
        may_follow: waiting.consumer.may_follow,
        reader: reader.waiter(part),
    };
    let follower = waiting.follower.map(|life| Following {
        life,
        high_watermark: place.follower_knows(),
        log_start: place.follower_knows_start(),
        own_start: EndOffset(wanted.log_start_offset),
        is_held,
    });
    let (replica, read) =
        match read_place(view, place, &wish, (follower.as_ref(), &waiting.consumer.rack), (now, fx)) {
            Ok((replica, read)) => (replica, read),
            Err(data) => {
                found.urgent = true;
                return found.parts.push(FoundPart { part, data: *data, slice: None, is_throttled: false });
            }
        };
    let marks = (read.high_watermark.0, read.log_start.0);
    found.urgent |= read.is_news;
    let slice = read.slice.filter(|slice| slice.length > 0);
    found.bytes += slice.as_ref().map_or(0, |slice| slice.length);
    let data = data(wanted, waiting.isolation, marks, slice.as_ref());
    reader.found(part, &replica);
    reader.looked(part, marks, read.safe_bytes, read.waits);
    found.parts.push(FoundPart { part, data, slice, is_throttled: read.is_throttled });
}

fn read_place(
    view: &View,
    place: &Place,
    wish: &Wish,
    (follower, rack): (Option<&Following>, &str),
    (now, fx): (Now, &mut Effects),
) -> Result<(Arc<Replica>, Read), Box<PartitionData>> {
    let replica = match place.replica.upgrade() {
        Some(replica) => replica,
        None => find_replica(view, place)?.clone(),
    };
    let read = match follower {
        None => replica.read(wish),
        Some(follower) => replica.serve(wish, follower, now.mono, fx),
    };
    let read = read.map_err(|ReadError { code }| {
        let mut data = error(&place.wanted, code);
        if code == ErrorCode::CorruptMessage {
            fx.tell(Owner::Metadata, Mail::Damaged(replica.clone()));
        }
        if follower.is_some() && code == ErrorCode::OffsetOutOfRange {
            // Where a follower may start over.
            data.log_start_offset = replica.first_batch().0;
        }
        tell_leader(view, &replica, &mut data);
        Box::new(data)
    })?;
    if let Some((epoch, end)) = read.diverges {
        let mut data = error(&place.wanted, ErrorCode::None);
        data.diverging_epoch =
            EpochEndOffset { epoch: epoch.0, end_offset: end.0, ..EpochEndOffset::default() };
        return Err(Box::new(data));
    }
    if follower.is_none()
        && let Some(nearer) = nearer(view, &replica, rack, wish.from)
    {
        let mut data = error(&place.wanted, ErrorCode::None);
        (data.high_watermark, data.last_stable_offset) = (read.high_watermark.0, read.high_watermark.0);
        (data.log_start_offset, data.preferred_read_replica) = (read.log_start.0, nearer.0);
        return Err(Box::new(data));
    }
    Ok((replica, read))
}

/// Another replica that stands in a reader's rack.
fn nearer(view: &View, replica: &Replica, rack: &str, from: EndOffset) -> Option<BrokerId> {
    if rack.is_empty() || !view.node.config.reads_in_rack {
        return None;
    }
    let is_near = |id| {
        let broker = view.image.broker(id);
        broker.is_some_and(|broker| !broker.fenced && broker.rack.as_deref() == Some(rack))
    };
    let nearest = replica.nearest(from, is_near)?;
    if nearest == view.node.config.node_id {
        return None;
    }
    hit!(reader_sent_nearer);
    Some(nearest)
}

fn find_replica<'a>(view: &'a View, place: &Place) -> Result<&'a Arc<Replica>, Box<PartitionData>> {
    let fail = |code: ErrorCode| Box::new(error(&place.wanted, code));
    let unknown =
        if place.topic.id.is_zero() { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::UnknownTopicId };
    let topic = view.topic_of(&place.topic.name, place.topic.id).ok_or_else(|| fail(unknown))?;
    let index = PartitionIndex(place.wanted.partition);
    let state = topic.partition(index).ok_or_else(|| fail(ErrorCode::UnknownTopicOrPartition))?;
    view.replica(topic.id, index).ok_or_else(|| {
        let mut data = fail(ErrorCode::NotLeaderOrFollower);
        data.current_leader = leader_of((state.leader, state.leader_epoch));
        data
    })
}

fn leader_of((leader, epoch): (Option<BrokerId>, LeaderEpoch)) -> LeaderIdAndEpoch {
    LeaderIdAndEpoch {
        leader_id: leader.map_or(-1, |id| id.0),
        leader_epoch: epoch.0,
        ..LeaderIdAndEpoch::default()
    }
}

/// Whoever has the wrong broker, or the wrong idea of who leads, is told who does (KIP-951).
fn tell_leader(view: &View, replica: &Replica, data: &mut PartitionData) {
    let is_wrong = |code: ErrorCode| data.error_code == code as i16;
    if is_wrong(ErrorCode::NotLeaderOrFollower) || is_wrong(ErrorCode::FencedLeaderEpoch) {
        let topic = view.image.topic_by_id(replica.topic);
        let leads = topic.and_then(|topic| view.leader_of(topic, replica.index));
        data.current_leader = leads.map(leader_of).unwrap_or_default();
    }
}

fn data(
    part: &FetchPartition,
    isolation: Isolation,
    (high_watermark, log_start): Marks,
    slice: Option<&ReadSlice>,
) -> PartitionData {
    let records = slice.map(|slice| Records::Elsewhere { length: slice_length(slice) });
    PartitionData {
        partition_index: part.partition,
        high_watermark,
        last_stable_offset: high_watermark,
        log_start_offset: log_start,
        // Nothing is aborted before transactions are served; who asked for committed records is told so.
        aborted_transactions: (isolation == Isolation::ReadCommitted).then(Vec::new),
        preferred_read_replica: -1,
        records: Some(records.unwrap_or(Records::Bytes(Bytes::new()))),
        ..PartitionData::default()
    }
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

/// The brokers that an answer names as leaders.
fn endpoints(view: &View, listener: &str, responses: &[FetchableTopicResponse]) -> Vec<NodeEndpoint> {
    let parts = responses.iter().flat_map(|topic| &topic.partitions);
    let mut leaders: Vec<i32> =
        parts.map(|part| part.current_leader.leader_id).filter(|leader| *leader >= 0).collect();
    leaders.sort_unstable();
    leaders.dedup();
    let endpoint = |leader| view.endpoint_of(BrokerId(leader), listener);
    let node = |endpoint: BrokerEndpoint<'_>| NodeEndpoint {
        node_id: endpoint.id.0,
        host: endpoint.host.into(),
        port: i32::from(endpoint.port),
        rack: endpoint.rack.map(Into::into),
        ..NodeEndpoint::default()
    };
    leaders.into_iter().filter_map(endpoint).map(node).collect()
}

/// Turns what was found into the reply, leaving out what the session need not be told.
pub(crate) fn reply(
    view: &View,
    listener: &str,
    reader: &mut Reader,
    waiting: &Waiting,
    found: Found,
) -> Result<Reply, Malformed> {
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut files = Vec::new();
    for FoundPart { part, data, slice, .. } in found.parts {
        let marks: Marks = (data.high_watermark, data.log_start_offset);
        // A log that has to be cut is told so until it is.
        let is_well = data.error_code == 0 && data.diverging_epoch.end_offset < 0;
        let with_records = slice.is_some();
        let changed = with_records || !is_well || reader.must_tell(part, marks);
        if waiting.context.is_incremental() && !changed {
            continue;
        }
        let Some(place) = reader.place(part) else { continue };
        let topic = place.topic.clone();
        reader.told(part, is_well.then_some(marks), with_records);
        files.extend(slice.map(|slice| Fragment::File {
            length: slice_length(&slice),
            file: slice.file,
            position: slice.position,
        }));
        match responses.last_mut() {
            Some(last) if last.topic_id == topic.id && last.topic.as_str() == topic.name => {
                last.partitions.push(data);
            }
            Some(_) | None => responses.push(FetchableTopicResponse {
                topic: topic.name.as_str().into(),
                topic_id: topic.id,
                partitions: vec![data],
                ..FetchableTopicResponse::default()
            }),
        }
    }
    let session_id = match waiting.context {
        Context::Full => 0,
        Context::New(id) | Context::Incremental(id) => id,
    };
    let node_endpoints = endpoints(view, listener, &responses);
    let mut response = FetchResponse { session_id, responses, node_endpoints, ..FetchResponse::default() };
    Fetch::downgrade(waiting.asked.head.version, &mut response);
    frame::encode_fragments::<FetchRequest>(&waiting.asked, &response, files)
}
