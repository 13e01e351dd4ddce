//! Topics that are deleted and made again under the same name: which one is meant, only the id says.
//!
//! In a cluster some node always hears of it later than others. Clients there know such a topic by its id, and each of its
//! lives is another topic to the history: nothing that was written to one may be read from another.

use base::Uuid;
use std::collections::BTreeMap;

/// What stands between a topic's name and the number of its life.
const NUMBERED: char = '#';

/// Which topics of one name there were, and their ids.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    /// How often a topic of this name was deleted.
    deleted: BTreeMap<String, u32>,
    /// The ids of lives.
    ids: BTreeMap<String, Uuid>,
}

/// The name that a topic has in the cluster.
pub(crate) fn base_name(topic: &str) -> &str {
    topic.split_once(NUMBERED).map_or(topic, |(base, _)| base)
}

impl Lives {
    /// The latest topic of this name.
    pub(crate) fn latest(&self, base: &str) -> String {
        match self.deleted.get(base) {
            None => base.to_owned(),
            Some(times) => format!("{base}{NUMBERED}{times}"),
        }
    }

    /// The names under which topics were deleted, and how often.
    pub(crate) fn ended(&self) -> impl Iterator<Item = (&String, u32)> {
        self.deleted.iter().map(|(name, times)| (name, *times))
    }

    /// The topic is gone; the next one of its name is another.
    pub(crate) fn end(&mut self, topic: &str) {
        *self.deleted.entry(base_name(topic).to_owned()).or_default() += 1;
    }

    /// The topic's id, if anybody has seen it.
    pub(crate) fn id(&self, topic: &str) -> Option<Uuid> {
        self.ids.get(topic).copied()
    }

    /// True if this is the topic's id; it is from now on if nobody knows the id, and the topic is there.
    pub(super) fn is(&mut self, topic: &str, id: Uuid, is_there: bool) -> bool {
        if let Some(known) = self.ids.get(topic) {
            return *known == id;
        }
        let is_new = is_there && !id.is_zero() && !self.ids.values().any(|known| *known == id);
        if is_new {
            self.ids.insert(topic.to_owned(), id);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_means_one_life_of_a_topic_for_ever() {
        let (mut lives, id) = (Lives::default(), |byte| Uuid([byte; 16]));
        assert!(!lives.is("t", id(1), false), "it is not there yet");
        assert!(lives.is("t", id(1), true) && !lives.is("t", id(2), true));
        lives.end("t");
        let next = lives.latest("t");
        assert_eq!((next.as_str(), base_name(&next)), ("t#1", "t"));
        assert!(!lives.is(&next, id(1), true), "it has been another");
        assert!(lives.is(&next, id(2), true) && lives.is("t", id(1), false));
    }
}
