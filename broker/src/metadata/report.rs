//! The quorum as its leader sees it, for those who ask.

use super::Metadata;
use base::{BrokerId, Uuid};
use quorum::RaftId;

/// A member of the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberReport {
    pub(crate) node: BrokerId,
    pub(crate) directory: Uuid,
    /// It has a vote.
    pub(crate) votes: bool,
    /// Everything up to this index is on its disk.
    pub(crate) matched: u64,
    /// It was heard of lately.
    pub(crate) is_active: bool,
}

impl Metadata {
    /// The nodes that have a vote, and the directories that they have it with.
    pub fn voters(&self) -> impl Iterator<Item = (BrokerId, Uuid)> + '_ {
        let membership = self.quorum.membership();
        let all = membership.voters.iter().chain(&membership.outgoing);
        all.filter_map(|member| self.peers.book.member(*member))
    }

    /// How many votes there are, known whose or not.
    #[must_use]
    pub fn vote_count(&self) -> usize {
        self.quorum.membership().voters.len()
    }

    /// What this node knows of the quorum, for those who read traces.
    #[must_use]
    pub fn quorum_line(&self) -> String {
        let quorum = &self.quorum;
        let leader = quorum.leader().and_then(|id| self.peers.book.node(id));
        let (term, committed, last) = (quorum.term(), quorum.committed(), quorum.last_index());
        let members = quorum.membership().members().map(|id| (id, self.peers.book.node(id)));
        format!(
            "{:?} in term {term}, led by {leader:?}, {committed} of {last} committed, {:?}, {:?}",
            quorum.role(),
            members.collect::<Vec<_>>(),
            quorum.membership()
        )
    }

    /// The term, the committed index and all members, as the leader knows them.
    pub(crate) fn report(&self) -> (u64, u64, Vec<MemberReport>) {
        let membership = self.quorum.membership();
        let is_voter = |id: RaftId| membership.voters.contains(&id) || membership.outgoing.contains(&id);
        let one = |progress: quorum::MemberProgress| {
            let (node, directory) = self.peers.book.member(progress.id)?;
            Some(MemberReport {
                node,
                directory,
                votes: is_voter(progress.id),
                matched: progress.matched,
                is_active: progress.active,
            })
        };
        let members = self.quorum.progress().into_iter().filter_map(one).collect();
        (self.quorum.term(), self.quorum.committed(), members)
    }
}
