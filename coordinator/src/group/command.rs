//! What the group machine is asked. No protocol version, no wire struct, no borrowed frame gets in here:
//! the edge turns "empty means none" into `Option` and copies payloads that would pin a large frame.

use super::ids::{Generation, GroupId, InstanceId, Label, MemberId, ProtocolName, ProtocolType, TopicName};
use super::record::Producer;
use crate::Token;
use alloc::vec::Vec;
use base::{EndOffset, LeaderEpoch, PartitionIndex, Span, TopicId};
use bytes::Bytes;
use wire::record::EndTxnMarker;

/// One input of the group machine. Those with a token are answered exactly once, now or later.
#[derive(Clone, Debug)]
pub enum Command {
    /// A member wants to be in the next generation (API 11). Parked until the rebalance completes.
    Join(Token, JoinGroup),
    /// A member wants its assignment; the leader brings all of them (API 14). Parked until they are there.
    Sync(Token, SyncGroup),
    /// A member is alive (API 12).
    Heartbeat(Token, Heartbeat),
    /// Members leave (API 13).
    Leave(Token, LeaveGroup),
    /// Offsets to keep (API 8).
    CommitOffsets(Token, CommitOffsets),
    /// Offsets to keep if a transaction commits (API 28).
    StageOffsets(Token, Producer, CommitOffsets),
    /// A transaction ends; its staged offsets count or are dropped (API 27).
    EndTransaction(Token, Producer, EndTxnMarker),
    /// Offsets to read (API 9), one group.
    FetchOffsets(Token, FetchOffsets),
    /// All groups of this shard that pass the filter (API 16).
    List(Token, ListGroups),
    /// Members and state of some groups (API 15).
    Describe(Token, Vec<GroupId>),
    /// Groups to remove with their offsets (API 42).
    Delete(Token, Vec<GroupId>),
    /// Committed offsets to forget (API 47).
    DeleteOffsets(Token, DeleteOffsets),
    /// The time promised by `wake_at` may have come.
    Tick,
    /// Topics are gone; so are their committed offsets.
    TopicsDeleted(Vec<DeletedTopic>),
    /// The period `offsets.retention.check.interval.ms` is over. Not sent while the wall clock is in doubt.
    ExpireOffsets(Token),
    /// This shard is not ours any more: every parked asker is told so, nothing is written.
    Resign,
}

/// A wish to be a member of a group's next generation.
#[derive(Clone, Debug)]
pub struct JoinGroup {
    /// Which group; it is created if need be.
    pub group: GroupId,
    /// The id from an earlier answer; none for a new member.
    pub member: Option<MemberId>,
    /// The name of a static member (KIP-345).
    pub instance: Option<InstanceId>,
    /// The client's own name, which begins the ids of new dynamic members.
    pub client_id: Label,
    /// The client's address, as shown by DescribeGroups.
    pub client_host: Label,
    /// Silence longer than this removes the member.
    pub session_timeout: Span,
    /// How long a rebalance waits for this member to come back.
    pub rebalance_timeout: Span,
    /// What kind of group the member expects.
    pub protocol_type: ProtocolType,
    /// What the member supports, the preferred first.
    pub protocols: Vec<Protocol>,
    /// Why, in the client's words (KIP-800).
    pub reason: Option<Label>,
    /// Sixteen bytes of the shell's randomness, for the id of a new member.
    pub random: [u8; 16],
    /// A new dynamic member must ask a second time with the id it was given (KIP-394, from version 4).
    pub is_id_required: bool,
    /// The client understands `skip_assignment` (KIP-814, from version 9).
    pub can_skip_assignment: bool,
}

/// One way to assign work, with what the member has to say for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name.
    pub name: ProtocolName,
    /// For the leader's eyes; read by the coordinator only for protocol type `consumer`.
    pub metadata: Bytes,
}

/// A wish for an assignment.
#[derive(Clone, Debug)]
pub struct SyncGroup {
    /// Which group.
    pub group: GroupId,
    /// Who asks.
    pub member: MemberId,
    /// Who asks, if static.
    pub instance: Option<InstanceId>,
    /// The generation that the join answered.
    pub generation: Generation,
    /// Must agree with the group's, if sent (KIP-559).
    pub protocol_type: Option<ProtocolType>,
    /// Must agree with the group's, if sent (KIP-559).
    pub protocol: Option<ProtocolName>,
    /// The leader's work; empty from everybody else.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// A sign of life.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// Which group.
    pub group: GroupId,
    /// Who is alive.
    pub member: MemberId,
    /// Who is alive, if static.
    pub instance: Option<InstanceId>,
    /// The generation it lives in.
    pub generation: Generation,
}

/// Members that leave, together.
#[derive(Clone, Debug)]
pub struct LeaveGroup {
    /// Which group.
    pub group: GroupId,
    /// Who leaves.
    pub members: Vec<Leaver>,
}

/// One member that leaves. An operator names a static one by its instance alone.
#[derive(Clone, Debug)]
pub struct Leaver {
    /// Its id.
    pub member: Option<MemberId>,
    /// Its static name.
    pub instance: Option<InstanceId>,
    /// Why, in the client's words (KIP-800).
    pub reason: Option<Label>,
}

/// Offsets to keep for a group.
#[derive(Clone, Debug)]
pub struct CommitOffsets {
    /// Which group; without a generation it is created if need be.
    pub group: GroupId,
    /// Who commits; none for a consumer that manages its partitions itself.
    pub member: Option<MemberId>,
    /// Who commits, if static.
    pub instance: Option<InstanceId>,
    /// [`Generation::NONE`] for a consumer that manages its partitions itself.
    pub generation: Generation,
    /// How long to keep them (versions up to 4), in place of `offsets.retention.minutes`.
    pub retention: Option<Span>,
    /// What to keep.
    pub topics: Vec<CommitTopic>,
}

/// Offsets to keep for one topic.
#[derive(Clone, Debug)]
pub struct CommitTopic {
    /// Its name, already resolved if the client sent an id.
    pub name: TopicName,
    /// Its id, or [`TopicId::ZERO`] if it is not known.
    pub id: TopicId,
    /// What to keep.
    pub partitions: Vec<CommitPartition>,
}

/// The offset to keep for one partition.
#[derive(Clone, Debug)]
pub struct CommitPartition {
    /// Which partition.
    pub partition: PartitionIndex,
    /// Where to go on reading.
    pub offset: EndOffset,
    /// The leader epoch of the last record read, if known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Free text of the client.
    pub metadata: Label,
}

/// Offsets to read from a group.
#[derive(Clone, Debug)]
pub struct FetchOffsets {
    /// Which group. An unknown one has no offsets, which is no error.
    pub group: GroupId,
    /// Which topics; none for all that the group has.
    pub topics: Option<Vec<FetchTopic>>,
    /// Offsets that an open transaction may yet change are refused (KIP-447).
    pub is_stable_required: bool,
}

/// Partitions of one topic.
#[derive(Clone, Debug)]
pub struct FetchTopic {
    /// Its name, already resolved if the client sent an id.
    pub name: TopicName,
    /// Its id, or [`TopicId::ZERO`] if the client knows none. A commit for another id is not shown.
    pub id: TopicId,
    /// Which partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// Which groups to list; an empty filter passes all.
#[derive(Clone, Debug, Default)]
pub struct ListGroups {
    /// Names of states, in any case.
    pub states: Vec<Label>,
    /// Names of group types, in any case.
    pub types: Vec<Label>,
}

/// Committed offsets to forget.
#[derive(Clone, Debug)]
pub struct DeleteOffsets {
    /// Which group.
    pub group: GroupId,
    /// Which partitions.
    pub topics: Vec<(TopicName, Vec<PartitionIndex>)>,
}

/// A topic that is gone.
#[derive(Clone, Debug)]
pub struct DeletedTopic {
    /// Its name.
    pub name: TopicName,
    /// Its id: commits for a younger topic of the same name stay.
    pub id: TopicId,
}
