//! What an operator may want to know: why groups rebalance and whom they lose.
//!
//! Events are soft. They accompany one decision, and the next one forgets them; the shell takes them for its
//! log and its counters in between, or leaves them.

use super::ids::{Generation, GroupId, InstanceId, Label, MemberId};
use core::fmt;

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

impl fmt::Display for Reason {
    /// A half-sentence for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = match self {
            Self::Joined { member, client } => {
                write!(f, "{member} joins")?;
                client.as_ref()
            }
            Self::Rejoined { member, client } => {
                write!(f, "{member} joins again")?;
                client.as_ref()
            }
            Self::Left { client } => {
                f.write_str("a member leaves")?;
                client.as_ref()
            }
            Self::Replaced { instance } => return write!(f, "the static member {instance} comes back"),
            Self::SessionEnded { member } => return write!(f, "the session of {member} is over"),
            Self::AssignmentIgnored { members } => {
                return write!(f, "{members} members do not ask for their assignment");
            }
            Self::AssignmentTooLarge => return f.write_str("its assignment does not fit into the log"),
            Self::TooLarge => return f.write_str("it has more members than group.max.size allows"),
        };
        client.map_or(Ok(()), |client| write!(f, " ({client})"))
    }
}
