//! Ids and epochs as types, so that no two of them can be swapped.

use crate::Uuid;
use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// A node's `node.id`. Zero is legal; −1 on the wire means "none" and is handled at the edge.
    BrokerId(i32)
);
id!(
    /// A partition's number within its topic, from zero.
    PartitionIndex(i32)
);
id!(
    /// Counts the leaders of one partition (KIP-101). −1 means unknown.
    LeaderEpoch(i32)
);
id!(
    /// An idempotent or transactional producer (KIP-98).
    ProducerId(i64)
);
id!(
    /// The incarnation of a producer id.
    ProducerEpoch(i16)
);
id!(
    /// A topic's identity for life; its name may be used again by another topic (KIP-516).
    TopicId(Uuid)
);

impl LeaderEpoch {
    /// No leader epoch known or asked for.
    pub const UNKNOWN: Self = Self(-1);
}

impl TopicId {
    /// The all-zero id, which on the wire means "none".
    pub const ZERO: Self = Self(Uuid::ZERO);
}
