//! What the group coordinator promised: offsets, and who owns a partition.

use std::collections::{BTreeMap, BTreeSet};

/// "No offset was committed."
pub(crate) const NONE: i64 = -1;

/// What is known of one committed offset when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// It is not less than this.
    floor: i64,
    /// A deletion was sent whose outcome nobody has heard.
    is_in_doubt: bool,
}

impl Default for Known {
    fn default() -> Self {
        Self { floor: NONE, is_in_doubt: false }
    }
}

/// All promises of one run.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    known: BTreeMap<(String, i32), Known>,
    sent: BTreeMap<(String, i32), BTreeSet<i64>>,
    /// Of these the outcome is known. Of others it is not for ever: what was sent over a connection that is gone may still be
    /// carried out, by a node that slept, after everything that was sent later.
    answered: BTreeMap<(String, i32), BTreeSet<i64>>,
    /// Who was given a partition in a generation. A group that was removed begins again at generation one, so
    /// the leader, whose id is never used again, tells which.
    owners: BTreeMap<(String, i32, String, i32), String>,
    /// Groups that nobody is in any more: their offsets come of age.
    abandoned: BTreeSet<String>,
    /// Commits that were acknowledged.
    pub(crate) acked: usize,
    /// Assignments that members got.
    pub(crate) assigned: usize,
}

impl Promises {
    /// A commit is on its way.
    pub(crate) fn sent(&mut self, group: &str, partition: i32, offset: i64) {
        self.sent.entry((group.to_owned(), partition)).or_default().insert(offset);
    }

    /// A commit was acknowledged.
    pub(crate) fn acked(&mut self, group: &str, partition: i32, offset: i64) {
        let key = (group.to_owned(), partition);
        self.answered.entry(key.clone()).or_default().insert(offset);
        let known = self.known.entry(key).or_default();
        *known = Known { floor: known.floor.max(offset), is_in_doubt: false };
        self.acked += 1;
    }

    /// What is known now of a partition that is about to be asked for.
    pub(crate) fn known(&self, group: &str, partition: i32) -> Known {
        self.known.get(&(group.to_owned(), partition)).copied().unwrap_or_default()
    }

    /// What is committed, for certain.
    pub(crate) fn all_committed(&self) -> impl Iterator<Item = (&(String, i32), i64)> {
        let known = self.known.iter().filter(|(_, known)| known.floor > NONE && !known.is_in_doubt);
        known.map(|(key, known)| (key, known.floor))
    }

    /// All groups of which offsets are known.
    pub(crate) fn groups(&self) -> BTreeSet<String> {
        self.known.keys().map(|(group, _)| group.clone()).collect()
    }

    /// True if the group must be there: an offset of it was acknowledged and not deleted.
    pub(crate) fn must_exist(&self, group: &str) -> bool {
        let mut all = self.known.iter().filter(|((of, _), _)| of == group);
        all.any(|(_, known)| known.floor > NONE && !known.is_in_doubt)
    }

    /// A node has started anew, in a run so slow that its groups may have no members, as far as their logs say, until their
    /// offsets have come of age: they may be forgotten, and rightly.
    pub(crate) fn may_come_of_age(&mut self) {
        self.known.values_mut().for_each(|known| known.is_in_doubt = true);
    }

    /// Nobody is left of those who have committed so far.
    pub(crate) fn all_have_left(&mut self) {
        self.abandoned = self.groups();
        self.may_come_of_age();
    }

    /// The deletion of a group was sent: acknowledged, or nobody knows.
    pub(crate) fn deleted(&mut self, group: &str, is_acked: bool) {
        for ((of, _), known) in &mut self.known {
            if of == group {
                *known = if is_acked { Known::default() } else { Known { is_in_doubt: true, ..*known } };
            }
        }
    }

    /// The coordinator said which offset is committed; `known` is what was known when it was asked.
    pub(crate) fn saw(
        &mut self,
        (group, partition): (&str, i32),
        known: Known,
        offset: i64,
    ) -> Result<(), String> {
        let key = (group.to_owned(), partition);
        let is_gone = offset == NONE && known.is_in_doubt;
        let is_late = self.sent.get(&key).is_some_and(|sent| sent.contains(&offset))
            && !self.answered.get(&key).is_some_and(|answered| answered.contains(&offset));
        if offset < known.floor && !is_gone && !is_late {
            return Err(format!(
                "group {group}, partition {partition}: offset {} was acknowledged or seen, now it is {offset}",
                known.floor
            ));
        }
        if offset != NONE && !self.sent.get(&key).is_some_and(|sent| sent.contains(&offset)) {
            return Err(format!("group {group}, partition {partition}: nobody committed {offset}"));
        }
        let now = self.known.entry(key).or_default();
        let floor = if is_gone { NONE } else { now.floor.max(offset) };
        *now = Known { floor, is_in_doubt: self.abandoned.contains(group) };
        Ok(())
    }

    /// A member was given partitions in a generation.
    pub(crate) fn owns(
        &mut self,
        group: &str,
        (generation, leader): (i32, &str),
        partitions: &[i32],
        who: &str,
    ) -> Result<(), String> {
        self.assigned += 1;
        for partition in partitions {
            let key = (group.to_owned(), generation, leader.to_owned(), *partition);
            let owner = self.owners.entry(key).or_insert_with(|| who.to_owned());
            if owner != who {
                return Err(format!(
                    "group {group}, generation {generation}: partition {partition} belongs to {owner} and to {who}"
                ));
            }
        }
        Ok(())
    }
}
