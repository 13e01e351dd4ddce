//! New members: the leader admits those who ask as members without a vote.

use super::{Metadata, VoterChange};
use crate::api::{Admission, join_reply};
use crate::effects::{Asked, Effects};
use base::{BrokerId, Instant, Uuid, hit};
use quorum::{MembershipRefused, RaftId};

/// Nodes that wait for their admission to commit. Bounded by the connections of nodes.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    waiting: Vec<(Asked, RaftId)>,
    /// Changes of votes that wait for the same.
    pub(super) votes: Vec<(Asked, VoterChange)>,
    /// When this node asks for a vote of its own, if it is to.
    pub(super) vote_due: Instant,
}

impl Metadata {
    /// A node with an empty directory asks to become a member.
    pub(crate) fn admit(&mut self, asked: Asked, node: BrokerId, directory: Uuid, fx: &mut Effects) {
        let member = RaftId::of(directory);
        if self.quorum.membership().contains(member) && !self.quorum.membership().is_joint() {
            return self.admission(&asked, Admission::Member(self.committed.cluster_id), fx);
        }
        if !self.leading.is_here() {
            let there = self.controller_address().map_or_else(
                || Admission::Refused("no controller is elected at the moment".into()),
                |(node, address)| Admission::Elsewhere(node, address),
            );
            return self.admission(&asked, there, fx);
        }
        let broker = self.committed.broker(node);
        if broker.is_some_and(|broker| !broker.fenced && !broker.directories.contains(&directory)) {
            let text =
                format!("a broker with node.id={node} lives in this cluster: give this node another id");
            return self.admission(&asked, Admission::Refused(text), fx);
        }
        match self.propose_learner(node, member) {
            Ok(()) => {
                self.peers.book.note_directory(node, directory);
                self.admissions.waiting.push((asked, member));
            }
            Err(refused) => {
                let text = match refused {
                    MembershipRefused::Pending => "another change of the members is under way",
                    MembershipRefused::NotLeader(_) | MembershipRefused::WithoutLeader => {
                        "the controller is changing"
                    }
                    MembershipRefused::Unchanged => "it is being admitted",
                };
                self.admission(&asked, Admission::Refused(text.into()), fx);
            }
        }
    }

    /// The node's earlier directory is gone: it is forgotten, and its vote with it. (Somebody has to: once the node is registered
    /// with the new one, nothing tells whose that vote was. Fewer votes are not less safe: the others were needed anyway.)
    fn propose_learner(&mut self, node: BrokerId, member: RaftId) -> Result<(), MembershipRefused> {
        let membership = self.quorum.membership().clone();
        let stays = |other: &&RaftId| self.peers.book.node(**other) != Some(node);
        let mut voters: Vec<RaftId> = membership.voters.iter().filter(stays).copied().collect();
        if voters.is_empty() {
            voters.clone_from(&membership.voters);
        }
        let mut learners: Vec<RaftId> = membership.learners.iter().filter(stays).copied().collect();
        if learners.len() + voters.len() < membership.learners.len() + membership.voters.len() {
            hit!(member_came_with_another_disk);
        }
        learners.push(member);
        learners.sort_unstable();
        learners.dedup();
        self.quorum.propose_membership(&voters, &learners).map(|_| ())
    }

    /// The members have changed: those who were waited for are told.
    pub(super) fn settle_admissions(&mut self, fx: &mut Effects) {
        let membership = self.quorum.membership().clone();
        if membership.is_joint() {
            return;
        }
        self.settle_votes(&membership, fx);
        let waiting = core::mem::take(&mut self.admissions.waiting);
        for (asked, member) in waiting {
            if membership.contains(member) {
                self.admission(&asked, Admission::Member(self.committed.cluster_id), fx);
            } else {
                self.admissions.waiting.push((asked, member));
            }
        }
    }

    /// This node leads no more: whoever waits asks the next one.
    pub(super) fn refuse_admissions(&mut self, fx: &mut Effects) {
        self.refuse_votes(fx);
        for (asked, _) in core::mem::take(&mut self.admissions.waiting) {
            self.admission(&asked, Admission::Refused("the controller has changed".into()), fx);
        }
    }

    fn admission(&self, asked: &Asked, admission: Admission, fx: &mut Effects) {
        self.reply(asked, join_reply(asked, admission), fx);
    }
}
