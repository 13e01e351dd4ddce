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
