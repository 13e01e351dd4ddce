//! The API table: one row per API, one file per API. Everything that says which APIs there are derives from
//! [`TABLE`]: ApiVersions, the support matrix, metric labels, the per-API tests.
//!
//! An API file holds the API's whole truth: request and response, versions served and advertised, who owns the
//! state, which ACL operation guards it, and the handler. Handler bodies never see a version; quirks of one
//! version live in `upgrade` and `downgrade` beside the handler.

mod add_raft_voter;
mod allocate_producer_ids;
mod alter;
mod alter_configs;
mod alter_partition;
mod alter_partition_reassignments;
mod api_versions;
mod assign_replicas_to_dirs;
mod broker_heartbeat;
mod broker_loggers;
mod broker_registration;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod envelope;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod operations;
mod peer_form;
mod peer_greet;
mod peer_join;
mod peer_progress;
mod peer_quorum;
mod peer_snapshot;
mod produce;
mod remove_raft_voter;
mod sync_group;
mod unregister_broker;
mod unregister_controller;
mod update_features;

use crate::effects::{Asked, Owner};
use crate::frame;
use crate::groups::{Groups, Questions};
use crate::loggers::Loggers;
use crate::replica::Replica;
use crate::shared::{ProducerIds, Shared};
use crate::view::View;
use base::{Instant, PartitionIndex, Rng};
use bytes::Bytes;
use cluster::controller::{Command, Reply as ControllerReply};
use coordinator::group::Reply as GroupReply;
use coordinator::group::api::Admitted;
use core::ops::RangeInclusive;
use seglog::disk::Disk;
use std::sync::Arc;
use wire::{ApiKey, DecodeError, EncodeError, ErrorCode, Request};

pub(crate) use add_raft_voter::reply as add_voter_reply;
pub(crate) use allocate_producer_ids::AllocateProducerIds;
pub(crate) use alter_partition::AlterPartition;
pub(crate) use api_versions::unsupported as unsupported_api_versions;
pub(crate) use assign_replicas_to_dirs::AssignReplicasToDirs;
pub(crate) use broker_heartbeat::BrokerHeartbeat;
pub(crate) use broker_registration::BrokerRegistration;
pub(crate) use create_topics::CreateTopics;
pub(crate) use delete_records::{reply as delete_records_reply, timeout as delete_records_timeout};
pub(crate) use envelope::{refuse as refuse_envelope, wrap as wrap_in_envelope};
pub(crate) use fetch::{
    Found as FetchFound, look as fetch_look, refusal as fetch_refusal, reply as fetch_reply,
};
pub(crate) use list_offsets::Search;
pub(crate) use peer_greet::taken as taken_from_peers;
pub(crate) use peer_join::{Admission, reply as join_reply};
pub(crate) use peer_quorum::PeerQuorum;
pub(crate) use produce::reply as produce_reply;
pub(crate) use remove_raft_voter::reply as remove_voter_reply;
pub(crate) use unregister_controller::reply as forget_controller_reply;

/// What a principal must be allowed to do before the API is served. Nothing is enforced before the security
/// work, but every API names its guard from the first day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acl {
    /// Nothing: needed before anybody can authenticate.
    Open,
    /// Checked per topic named in the request.
    ReadTopic,
    /// Checked per topic named in the request.
    WriteTopic,
    /// Checked per topic named in the request.
    CreateTopic,
    /// Checked per topic named in the request.
    AlterTopic,
    /// Checked per topic named in the request.
    DeleteTopic,
    /// Checked per topic named in the request.
    DescribeTopic,
    /// Checked per group named in the request.
    ReadGroup,
    /// Checked per group named in the request.
    DescribeGroup,
    /// Checked per group named in the request.
    DeleteGroup,
    /// Checked per resource named in the request.
    DescribeConfigs,
    /// Checked per resource named in the request.
    AlterConfigs,
    /// On the cluster.
    DescribeCluster,
    /// On the cluster.
    AlterCluster,
    /// On the cluster, or on a topic that may be written.
    IdempotentWrite,
    /// Another node of the cluster, known by its identity.
    Node,
}

/// Whose state an API is about: who decodes and answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateOwner {
    /// The immutable view: answered at once by any reactor.
    View,
    /// The reactor itself, with its connections and waiting requests.
    Reactor,
    /// The group coordinators.
    Groups,
    /// The controller.
    Controller,
    /// The quorum's member that this node is, or its leader.
    Quorum,
    /// Whoever follows other leaders here.
    Replication,
}

/// Why a request cannot be answered at all. Its connection is closed, as Kafka does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// It cannot be read.
    Request(DecodeError),
    /// What it asks for cannot be said in its version.
    Response(EncodeError),
}

/// One API of the table.
#[derive(Debug)]
pub struct Row {
    /// Its key.
    pub key: ApiKey,
    /// The versions that are served.
    pub served: RangeInclusive<i16>,
    /// The versions that ApiVersions tells; differs only where a client's bug demands it.
    pub advertised: RangeInclusive<i16>,
    /// What guards it.
    pub acl: Acl,
    /// Whose state it is about.
    pub owner: StateOwner,
    pub(crate) run: Run,
}

/// How a row is carried out; the types of its messages are erased here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    View(fn(&ViewContext<'_>, &Asked) -> Result<Answer<Bytes>, Malformed>),
    Controller {
        ask: fn(&Asked) -> Result<Answer<Bytes>, Malformed>,
        answer: fn(&ViewContext<'_>, &Asked, ControllerReply) -> Result<Bytes, Malformed>,
    },
    Reactor(crate::reactor::Handler),
    Groups(crate::groups::Handler),
    Metadata(crate::metadata::Handler),
    /// It is not answered: its connection takes the next one at once.
    OneWay(Owner),
}

/// What a handler of the view may look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ViewContext<'a> {
    pub(crate) view: &'a View,
    pub(crate) producer_ids: &'a ProducerIds,
    pub(crate) disk: &'a dyn Disk,
    pub(crate) loggers: &'a Loggers,
    /// The listener that the request came in by.
    pub(crate) listener: &'a str,
    /// True when the controller has been asked on behalf of this request: it is not asked again.
    pub(crate) asked_controller: bool,
    pub(crate) now: Instant,
    /// When the request came.
    pub(crate) came: Instant,
}

impl<'a> ViewContext<'a> {
    /// For a request that came just now, on whose behalf the controller has been asked, if need be.
    pub(crate) fn new(view: &'a View, shared: &'a Shared, listener: &'a str, now: Instant) -> Self {
        let Shared { producer_ids, disk, loggers, .. } = shared;
        Self { view, producer_ids, disk: &**disk, loggers, listener, asked_controller: true, now, came: now }
    }
}

/// What a handler wants.
#[derive(Debug)]
pub(crate) enum Answer<R> {
    /// Send this.
    Reply(R),
    /// Ask the controller; then a view handler runs again, a controller handler answers.
    Ask(Command),
    /// Wait for a view with other leaders, but not longer than this; then a view handler runs again.
    AwaitLeaders(Instant),
}

/// What every API file says first.
pub(crate) trait Api {
    type Request: Request;
    const ACL: Acl;
    const SERVED: RangeInclusive<i16> = <Self::Request as Request>::VERSIONS;
    const ADVERTISED: RangeInclusive<i16> = Self::SERVED;

    /// Brings a request of an old version into the form that the handler expects.
    fn upgrade(_version: i16, _request: &mut Self::Request) {}

    /// Brings a response into the form that clients of `version` expect.
    fn downgrade(_version: i16, _response: &mut ResponseOf<Self>) {}
}

pub(crate) type ResponseOf<A> = <<A as Api>::Request as Request>::Response;

/// An API that reads the view.
pub(crate) trait OnView: Api {
    fn handle(cx: &ViewContext<'_>, request: Self::Request) -> Answer<ResponseOf<Self>>;
}

/// An API that changes the metadata.
pub(crate) trait OnController: Api {
    fn ask(request: Self::Request) -> Answer<ResponseOf<Self>>;
    fn answer(cx: &ViewContext<'_>, request: Self::Request, reply: ControllerReply) -> ResponseOf<Self>;
}

/// An API by which the controller is asked, wherever it is: the same question as a command and as a message.
pub(crate) trait ToController: Api {
    fn request(command: &Command) -> Option<Self::Request>;
    fn reply(response: ResponseOf<Self>) -> ControllerReply;
}

/// An API of the group coordinators.
pub(crate) trait OnGroups: Api<Request: Request<Response: Send + 'static>> + 'static {
    /// Where in the response an answer goes, and what it needs to get there.
    type Part: Send + 'static;

    /// Begins the response and asks the shards what is missing from it.
    fn ask(
        cx: &mut GroupsContext<'_>,
        request: Self::Request,
        questions: &mut Questions<Self::Part>,
    ) -> ResponseOf<Self>;

    /// Puts a shard's answer in its place, or the reason why there is none.
    fn answered(
        view: &View,
        response: &mut ResponseOf<Self>,
        part: Self::Part,
        outcome: Result<GroupReply, ErrorCode>,
    );
}

/// What a handler of the groups may look at.
#[derive(Debug)]
pub(crate) struct GroupsContext<'a> {
    pub(crate) view: &'a View,
    /// The request, for who sent it.
    pub(crate) asked: &'a Asked,
    /// The shards that are here.
    pub(crate) shards: &'a [PartitionIndex],
    pub(crate) rng: &'a mut Rng,
}

/// Every API that is served, by key.
pub const TABLE: &[Row] = &[
    reactor::<produce::Produce>(produce::handle),
    reactor::<fetch::Fetch>(fetch::handle),
    reactor::<list_offsets::ListOffsets>(list_offsets::handle),
    view::<metadata::Metadata>(),
    groups::<offset_commit::OffsetCommit>(),
    groups::<offset_fetch::OffsetFetch>(),
    view::<find_coordinator::FindCoordinator>(),
    groups::<join_group::JoinGroup>(),
    groups::<heartbeat::Heartbeat>(),
    groups::<leave_group::LeaveGroup>(),
    groups::<sync_group::SyncGroup>(),
    groups::<describe_groups::DescribeGroups>(),
    groups::<list_groups::ListGroups>(),
    view::<api_versions::ApiVersions>(),
    controller::<create_topics::CreateTopics>(),
    controller::<delete_topics::DeleteTopics>(),
    reactor::<delete_records::DeleteRecords>(delete_records::handle),
    view::<init_producer_id::InitProducerId>(),
    view::<offset_for_leader_epoch::OffsetForLeaderEpoch>(),
    view::<describe_configs::DescribeConfigs>(),
    controller::<alter_configs::AlterConfigs>(),
    view::<describe_log_dirs::DescribeLogDirs>(),
    controller::<create_partitions::CreatePartitions>(),
    groups::<delete_groups::DeleteGroups>(),
    controller::<elect_leaders::ElectLeaders>(),
    controller::<incremental_alter_configs::IncrementalAlterConfigs>(),
    controller::<alter_partition_reassignments::AlterPartitionReassignments>(),
    view::<list_partition_reassignments::ListPartitionReassignments>(),
    groups::<offset_delete::OffsetDelete>(),
    view::<describe_client_quotas::DescribeClientQuotas>(),
    quorum::<describe_quorum::DescribeQuorum>(describe_quorum::handle),
    controller::<update_features::UpdateFeatures>(),
    view::<describe_cluster::DescribeCluster>(),
    view::<describe_producers::DescribeProducers>(),
    controller::<unregister_broker::UnregisterBroker>(),
    view::<list_config_resources::ListConfigResources>(),
    view::<describe_topic_partitions::DescribeTopicPartitions>(),
    quorum::<add_raft_voter::AddRaftVoter>(add_raft_voter::handle),
    quorum::<remove_raft_voter::RemoveRaftVoter>(remove_raft_voter::handle),
    quorum::<unregister_controller::UnregisterController>(unregister_controller::handle),
];

/// What nodes are served, by key. Clients are not told of these.
pub(crate) const PEER_TABLE: &[Row] = &[
    controller::<alter_partition::AlterPartition>(),
    reactor::<envelope::Envelope>(envelope::handle),
    controller::<broker_registration::BrokerRegistration>(),
    controller::<broker_heartbeat::BrokerHeartbeat>(),
    controller::<allocate_producer_ids::AllocateProducerIds>(),
    controller::<assign_replicas_to_dirs::AssignReplicasToDirs>(),
    reactor::<peer_progress::PeerProgress>(peer_progress::handle),
    reactor::<peer_greet::PeerGreet>(peer_greet::handle),
    one_way::<peer_quorum::PeerQuorum>(Owner::Metadata, StateOwner::Quorum),
    one_way::<peer_form::PeerForm>(Owner::Metadata, StateOwner::Quorum),
    quorum::<peer_join::PeerJoin>(peer_join::handle),
    quorum::<peer_snapshot::PeerSnapshot>(peer_snapshot::handle),
];

/// The row of an API key that only nodes are served.
#[must_use]
pub(crate) fn peer_row(key: i16) -> Option<&'static Row> {
    PEER_TABLE.iter().find(|row| row.key as i16 == key)
}

/// The row of an API key that everybody is served.
#[must_use]
pub(crate) fn row(key: i16) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.key as i16 == key)
}

/// The row of an API key, whoever is served it: for what has been let in.
#[must_use]
pub(crate) fn any_row(key: i16) -> Option<&'static Row> {
    row(key).or_else(|| peer_row(key))
}

const fn view<A: OnView>() -> Row {
    Row {
        key: A::Request::KEY,
        served: A::SERVED,
        advertised: A::ADVERTISED,
        acl: A::ACL,
        owner: StateOwner::View,
        run: Run::View(run_view::<A>),
    }
}

const fn controller<A: OnController>() -> Row {
    Row {
        key: A::Request::KEY,
        served: A::SERVED,
        advertised: A::ADVERTISED,
        acl: A::ACL,
        owner: StateOwner::Controller,
        run: Run::Controller { ask: run_ask::<A>, answer: run_answer::<A> },
    }
}

const fn groups<A: OnGroups>() -> Row {
    Row {
        key: A::Request::KEY,
        served: A::SERVED,
        advertised: A::ADVERTISED,
        acl: A::ACL,
        owner: StateOwner::Groups,
        run: Run::Groups(Groups::run::<A>),
    }
}

const fn quorum<A: Api>(handle: crate::metadata::Handler) -> Row {
    Row {
        key: A::Request::KEY,
        served: A::SERVED,
        advertised: A::ADVERTISED,
        acl: A::ACL,
        owner: StateOwner::Quorum,
        run: Run::Metadata(handle),
    }
}

const fn one_way<A: Api>(to: Owner, owner: StateOwner) -> Row {
    Row {
        key: A::Request::KEY,
        served: A::SERVED,
        advertised: A::ADVERTISED,
        acl: A::ACL,
        owner,
        run: Run::OneWay(to),
    }
}

const fn reactor<A: Api>(handle: crate::reactor::Handler) -> Row {
    Row {
        key: A::Request::KEY,
        served: A::SERVED,
        advertised: A::ADVERTISED,
        acl: A::ACL,
        owner: StateOwner::Reactor,
        run: Run::Reactor(handle),
    }
}

fn run_view<A: OnView>(cx: &ViewContext<'_>, asked: &Asked) -> Result<Answer<Bytes>, Malformed> {
    let request = decode::<A>(asked)?;
    encode_answer::<A>(asked, A::handle(cx, request))
}

fn run_ask<A: OnController>(asked: &Asked) -> Result<Answer<Bytes>, Malformed> {
    let request = decode::<A>(asked)?;
    encode_answer::<A>(asked, A::ask(request))
}

fn run_answer<A: OnController>(
    cx: &ViewContext<'_>,
    asked: &Asked,
    reply: ControllerReply,
) -> Result<Bytes, Malformed> {
    let request = decode::<A>(asked)?;
    encode::<A>(asked, A::answer(cx, request, reply))
}

/// Decodes a request's body and brings it into its newest form.
pub(crate) fn decode<A: Api>(asked: &Asked) -> Result<A::Request, Malformed> {
    let mut request = frame::decode_body::<A::Request>(asked)?;
    A::upgrade(asked.head.version, &mut request);
    Ok(request)
}

/// Encodes a response in the version of its request.
pub(crate) fn encode<A: Api>(asked: &Asked, mut response: ResponseOf<A>) -> Result<Bytes, Malformed> {
    A::downgrade(asked.head.version, &mut response);
    frame::encode_reply::<A::Request>(asked, &response)
}

fn encode_answer<A: Api>(asked: &Asked, answer: Answer<ResponseOf<A>>) -> Result<Answer<Bytes>, Malformed> {
    match answer {
        Answer::Reply(response) => encode::<A>(asked, response).map(Answer::Reply),
        Answer::Ask(command) => Ok(Answer::Ask(command)),
        Answer::AwaitLeaders(until) => Ok(Answer::AwaitLeaders(until)),
    }
}

/// The code and message of an outcome, as most admin responses carry them.
pub(crate) fn outcome<T>(outcome: &Result<T, cluster::controller::Refusal>) -> (i16, Option<wire::Str>) {
    match outcome {
        Ok(_) => (ErrorCode::None as i16, None),
        Err(refusal) => (refusal.code as i16, Some(refusal.message.as_str().into())),
    }
}

/// Why the controller refused a command as a whole, in one code.
pub(crate) fn refusal_code(reply: &ControllerReply) -> ErrorCode {
    match reply {
        ControllerReply::Done(Err(refusal)) => refusal.code,
        ControllerReply::Done(Ok(()))
        | ControllerReply::Created(_)
        | ControllerReply::Deleted(_)
        | ControllerReply::Changed(_)
        | ControllerReply::ProducerIds { .. }
        | ControllerReply::Registered { .. }
        | ControllerReply::Alive(_)
        | ControllerReply::Expired(_)
        | ControllerReply::Partitions(_)
        | ControllerReply::Elected(_)
        | ControllerReply::Balanced { .. } => ErrorCode::UnknownServerError,
    }
}

/// The error of a response, if it is one.
pub(crate) fn refusal(code: i16) -> Option<ErrorCode> {
    (code != 0).then(|| ErrorCode::from_code(code))
}

/// A request for another cluster than this one.
pub(crate) fn cluster_refusal(code: ErrorCode) -> cluster::controller::Refusal {
    code.into()
}

/// A command that was refused elsewhere.
pub(crate) fn refused(code: ErrorCode) -> ControllerReply {
    ControllerReply::Done(Err(code.into()))
}

/// Drops what has a key that something before it had.
pub(crate) fn keep_first<T, K: Ord>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    let mut seen = std::collections::BTreeSet::new();
    items.retain(|item| seen.insert(key(item)));
}

/// The replica of a partition that a request names by topic name.
pub(crate) fn find_replica<'a>(
    view: &'a View,
    topic: &str,
    index: i32,
) -> Result<&'a Arc<Replica>, ErrorCode> {
    let topic = view.image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let index = PartitionIndex(index);
    topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    view.replica(topic.id, index).ok_or(ErrorCode::NotLeaderOrFollower)
}

/// The topic of a request about offsets that must exist, by id where the request has one.
pub(crate) fn admit_known(view: &View, name: &str, id: base::Uuid) -> Result<Admitted, ErrorCode> {
    let unknown = if id.is_zero() { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::UnknownTopicId };
    let topic = view.topic_of(name, id).ok_or(unknown)?;
    let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    Ok(Admitted { name: (&*topic.name).into(), id: topic.id, partitions })
}

/// Why a shard has no answer. An answer to another question is none.
pub(crate) fn no_answer(outcome: Result<GroupReply, ErrorCode>) -> ErrorCode {
    outcome.err().unwrap_or(ErrorCode::UnknownServerError)
}

#[cfg(test)]
mod tests;
