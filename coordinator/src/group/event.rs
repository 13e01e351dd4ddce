//! What an operator may want to know: why groups rebalance and whom they lose.
//!
//! Events are soft. They accompany one decision, and the next one forgets them; the shell takes them for its
//! log and its counters in between, or leaves them.

use super::ids::{Generation, GroupId, InstanceId, Label, MemberId};

/// Something happened to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its members are asked to join again.
    Rebalancing {
        /// Which group.
        group: GroupId,
        /// The generation that ends.
        generation: Generation,
        /// Why.
        reason: Reason,
    },
    /// A generation has begun.
    Formed {
        /// Which group.
        group: GroupId,
        /// Which generation.
        generation: Generation,
        /// How many members it has; none for a group that became empty.
        members: usize,
    },
    /// The leader's assignment is there.
    Assigned {
        /// Which group.
        group: GroupId,
        /// Which generation.
        generation: Generation,
    },
    /// A member was put out: its session ended, or it missed the rebalance or its assignment.
    Lost {
        /// Which group.
        group: GroupId,
        /// Who.
        member: MemberId,
    },
    /// The offsets of a group, or the group, were forgotten for their age.
    Expired {
        /// Which group.
        group: GroupId,
        /// How many offsets.
        offsets: usize,
    },
}

/// Why a group rebalances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A member came.
    Joined {
        /// Who.
        member: MemberId,
        /// Why it joins, in the client's words (KIP-800).
        client: Option<Label>,
    },
    /// The leader asked for a new assignment, or a member supports or subscribes to something else.
    Rejoined {
        /// Who.
        member: MemberId,
        /// Why it joins, in the client's words.
        client: Option<Label>,
    },
    /// A static member came back in the middle of a rebalance, or with other protocols.
    Replaced {
        /// Its name.
        instance: InstanceId,
    },
    /// A member left.
    Left {
        /// Why, in the client's words; of several members the first.
        client: Option<Label>,
    },
    /// A session ended.
    SessionEnded {
        /// Whose.
        member: MemberId,
    },
    /// Members did not ask for their assignment in time.
    AssignmentIgnored {
        /// How many.
        members: usize,
    },
    /// The assignment does not fit into the log.
    AssignmentTooLarge,
    /// The group was loaded and is larger than the operator now allows.
    TooLarge,
}
