//! One look at the groups of a node for its metrics: in what state they are, who is in them, how far they have come.

use base::{EndOffset, PartitionIndex};
use core::fmt;

/// What a look at the groups finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupCensus {
    /// How many groups there are in each state, by Kafka's name for it.
    pub states: Vec<(&'static str, usize)>,
    /// Committed offsets.
    pub offsets: usize,
    /// The groups that there is room for.
    pub groups: Vec<CountedGroup>,
    /// Groups and committed offsets that there is no room for.
    pub left_out: usize,
    /// What else can be told: each group and each committed offset takes one.
    room: usize,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedGroup {
    /// Its id.
    pub id: String,
    /// Its members.
    pub members: usize,
    /// How far it has come, by topic and partition.
    pub offsets: Vec<CountedOffset>,
}

/// How far a group has come in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// Where it goes on.
    pub offset: EndOffset,
}

impl GroupCensus {
    /// An empty one with room for so much.
    pub(super) fn with_room(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    /// Counts a group, and keeps it as far as there is room.
    pub(super) fn count<'o>(
        &mut self,
        (id, state, members): (&str, &'static str, usize),
        offsets: impl Iterator<Item = (&'o str, PartitionIndex, EndOffset)>,
    ) {
        match self.states.iter_mut().find(|(name, _)| *name == state) {
            Some((_, count)) => *count += 1,
            None => self.states.push((state, 1)),
        }
        let mut group = CountedGroup { id: id.to_owned(), members, offsets: Vec::new() };
        let is_told = self.takes_room();
        for (topic, partition, offset) in offsets {
            self.offsets += 1;
            if self.takes_room() {
                group.offsets.push(CountedOffset { topic: topic.to_owned(), partition, offset });
            }
        }
        if is_told {
            self.groups.push(group);
        }
    }

    fn takes_room(&mut self) -> bool {
        let left = self.room.checked_sub(1);
        self.left_out += usize::from(left.is_none());
        self.room = left.unwrap_or(0);
        left.is_some()
    }
}

/// Takes the answer to somebody outside of the owners.
pub struct Teller(Box<dyn FnOnce(GroupCensus) + Send>);

impl Teller {
    /// `tell` is called on the groups' thread: it must not wait.
    pub fn new(tell: impl FnOnce(GroupCensus) + Send + 'static) -> Self {
        Self(Box::new(tell))
    }

    pub(super) fn tell(self, census: GroupCensus) {
        (self.0)(census);
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teller")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_as_many_are_told_as_there_is_room_for() {
        let mut census = GroupCensus::with_room(3);
        let offsets = || (0..2).map(|index| ("t", PartitionIndex(index), EndOffset(7)));
        census.count(("a", "Stable", 2), offsets());
        census.count(("b", "Empty", 0), offsets());
        census.count(("c", "Empty", 0), offsets());
        assert_eq!(census.states, [("Stable", 1), ("Empty", 2)]);
        assert_eq!((census.offsets, census.left_out), (6, 6));
        assert_eq!(census.groups.iter().map(|group| group.offsets.len()).collect::<Vec<_>>(), [2]);
    }
}
