//! Names and counters of the group protocol as types.

use alloc::sync::Arc;
use core::borrow::Borrow;
use core::fmt;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, or `None` where the protocol writes "none" as the empty string.
            #[must_use]
            pub fn from_wire(text: &str) -> Option<Self> {
                (!text.is_empty()).then(|| Self::from(text))
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        // Keys compare and hash as their text, so that maps can be asked with a borrowed one.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name!(
    /// A group's name. The empty one is legal for offset commits only.
    GroupId
);
name!(
    /// The coordinator's name for one member, unique within its group.
    MemberId
);
name!(
    /// `group.instance.id`: the user's name for a member that survives its restarts (KIP-345).
    InstanceId
);
name!(
    /// A topic, by name.
    TopicName
);
name!(
    /// What kind of group it is, such as `consumer` or `connect`; opaque but for `consumer`.
    ProtocolType
);
name!(
    /// One way to assign work, such as `range`; opaque.
    ProtocolName
);
name!(
    /// Free text about a client: its `client.id`, its address, why it leaves.
    Label
);

impl ProtocolType {
    /// The type whose subscriptions the coordinator can read.
    pub const CONSUMER: &str = "consumer";

    /// True for the type whose subscriptions the coordinator can read.
    #[must_use]
    pub fn is_consumer(&self) -> bool {
        self.as_str() == Self::CONSUMER
    }
}

impl MemberId {
    /// How much of a name goes into an id, in bytes. Kafka takes all of it, even if the id is then too long
    /// to be sent or stored.
    const PREFIX_MAX: usize = 1_024;

    /// A fresh id: the client's (or static instance's) name and a random UUID, as Kafka builds it. `random`
    /// must come from the shell and never repeat.
    #[must_use]
    pub fn generate(prefix: &str, random: [u8; 16]) -> Self {
        use fmt::Write as _;
        let prefix = &prefix[..prefix.floor_char_boundary(Self::PREFIX_MAX)];
        let mut text = alloc::string::String::with_capacity(prefix.len() + 37);
        text.push_str(prefix);
        text.push('-');
        for (at, byte) in base::Uuid::random(random).0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self::from(text.as_str())
    }
}

/// Counts the rebalances of one group, from 0 (no member ever joined).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub i32);

impl Generation {
    /// What a member without a generation sends.
    pub const NONE: Self = Self(-1);

    /// The one after this. After 2³¹ rebalances it starts over, so that it never becomes negative.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(next) => Self(next),
            None => Self(0),
        }
    }

    /// True if the sender claims to be in some generation.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 >= 0
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn member_ids_look_like_kafkas() {
        let id = MemberId::generate("consumer-1", [0xff; 16]);
        assert_eq!(id.to_string(), "consumer-1-ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let id = MemberId::generate(&"é".repeat(20_000), [0; 16]);
        assert_eq!(id.as_str().len(), 1_024 + 37);
    }

    #[test]
    fn the_last_generation_is_followed_by_the_first() {
        assert_eq!(Generation(i32::MAX).next(), Generation(0));
        assert!(!Generation::NONE.is_some());
    }
}
