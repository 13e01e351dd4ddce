//! Changes of the membership: proposed by the leader, joint in between, durable before anything follows from them.
//!
//! Why durable: the crate lets a membership count when it is *applied*. A member that forgot one in a crash could
//! find itself the only voter of an old one, elect itself alone, and commit what the others never see.

use super::{ELECTION_TICKS, Quorum};
use crate::entry::{Membership, RaftId};
use crate::io::{MemberProgress, MembershipRefused, NotLeader, ProposalId};
use base::hit;
use protobuf::Message as _;
use raft::StateRole;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};

impl Quorum {
    /// The membership in force.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.node.store().membership
    }

    /// True when this member is the only voter.
    #[must_use]
    pub fn is_lone_voter(&self) -> bool {
        let membership = self.membership();
        membership.voters == [self.id] && !membership.is_joint()
    }

    /// True when there is nobody else.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.is_lone_voter() && self.membership().learners.is_empty()
    }

    /// Proposes to make exactly these the voters and the learners. The change takes two entries: a joint membership,
    /// and its end, which whoever leads then proposes by itself.
    ///
    /// # Errors
    /// When this member does not lead, while another change is under way, and when the leader would lose its vote.
    pub fn propose_membership(
        &mut self,
        voters: &[RaftId],
        learners: &[RaftId],
    ) -> Result<ProposalId, MembershipRefused> {
        let not_leader = MembershipRefused::NotLeader(NotLeader { leader: self.leader() });
        if self.node.raft.state != StateRole::Leader {
            return Err(not_leader);
        }
        if self.membership().is_joint() || self.node.raft.has_pending_conf() {
            return Err(MembershipRefused::Pending);
        }
        if !voters.contains(&self.id) {
            return Err(MembershipRefused::WithoutLeader);
        }
        let change = change_between(self.membership(), voters, learners);
        if change.changes.is_empty() {
            return Err(MembershipRefused::Unchanged);
        }
        self.node.propose_conf_change(Vec::new(), change).map_err(|_| not_leader)?;
        Ok(ProposalId { index: self.last_index(), term: self.term() })
    }

    /// Ends a joint membership. Returns true if that made work.
    pub(super) fn leave_joint(&mut self) -> bool {
        let leads = self.node.raft.state == StateRole::Leader && self.in_flight.is_none();
        if !leads || !self.membership().is_joint() || self.node.raft.has_pending_conf() {
            return false;
        }
        if !self.membership().voters.contains(&self.id) {
            // The crate cannot remove the one who leads. Once per election timeout is often enough to try.
            if self.ticks.is_multiple_of(ELECTION_TICKS) {
                hit!(quorum_leaver_hands_over);
                self.hand_over();
            }
            return false;
        }
        hit!(quorum_joint_left);
        self.node.propose_conf_change(Vec::new(), ConfChangeV2::new()).is_ok() && self.node.has_ready()
    }

    pub(super) fn apply_membership(&mut self, index: u64, change: &[u8]) {
        // Made by this node or by `message`, never taken as it came.
        let change = ConfChangeV2::parse_from_bytes(change).unwrap_or_default();
        let state = self.node.apply_conf_change(&change);
        // Every member starts from a snapshot that names the founders, so that all apply the same to the same (E1).
        assert!(
            state.is_ok(),
            "the membership of entry {index} cannot follow {:?}: {state:?}",
            self.membership()
        );
        let membership = Membership::from_raft(&state.unwrap_or_default());
        self.membership_index = index;
        self.node.mut_store().membership = membership.clone();
        let votes = membership.voters.contains(&self.id) || membership.outgoing.contains(&self.id);
        if !votes && self.node.raft.state == StateRole::Leader {
            // An earlier leader proposed the end of this one's vote. The crate would let it lead on, and trip over it.
            hit!(quorum_leader_left);
            self.node.raft.become_follower(self.term(), raft::INVALID_ID);
            self.fix_timeout();
        }
        self.new_membership = Some((index, membership));
    }

    /// Asks the voter that is farthest to take over. Until it does, or an election timeout has passed, nothing can be
    /// proposed. False if this member does not lead, or no other voter lives.
    pub fn hand_over(&mut self) -> bool {
        let voters = &self.membership().voters;
        let candidates = self.progress().into_iter().filter(|p| p.id != self.id && voters.contains(&p.id));
        let Some(best) = candidates.filter(|p| p.active).max_by_key(|p| (p.matched, p.id)) else {
            return false;
        };
        self.node.transfer_leader(best.id.0);
        self.fix_timeout();
        true
    }

    /// How far everybody is, by id; empty unless this member leads.
    #[must_use]
    pub fn progress(&self) -> Vec<MemberProgress> {
        if self.node.raft.state != StateRole::Leader {
            return Vec::new();
        }
        let one = |(id, progress): (&u64, &raft::Progress)| MemberProgress {
            id: RaftId(*id),
            matched: progress.matched,
            active: progress.recent_active || *id == self.id.0,
        };
        let mut all: Vec<_> = self.node.raft.prs().iter().map(one).collect();
        all.sort_unstable_by_key(|progress| progress.id);
        all
    }
}

/// What has to be done to `from`; always through a joint membership, so that there is one way only.
fn change_between(from: &Membership, voters: &[RaftId], learners: &[RaftId]) -> ConfChangeV2 {
    let single = |id: &RaftId, kind| {
        let mut change = ConfChangeSingle::new();
        change.node_id = id.0;
        change.set_change_type(kind);
        change
    };
    let mut changes = Vec::new();
    let new_voters = voters.iter().filter(|id| !from.voters.contains(id));
    changes.extend(new_voters.map(|id| single(id, ConfChangeType::AddNode)));
    let new_learners = learners.iter().filter(|id| !from.learners.contains(id) && !voters.contains(id));
    changes.extend(new_learners.map(|id| single(id, ConfChangeType::AddLearnerNode)));
    let gone = from.voters.iter().chain(&from.learners);
    let gone = gone.filter(|id| !voters.contains(id) && !learners.contains(id));
    changes.extend(gone.map(|id| single(id, ConfChangeType::RemoveNode)));
    let mut change = ConfChangeV2::new();
    change.set_transition(ConfChangeTransition::Explicit);
    change.set_changes(changes.into());
    change
}
