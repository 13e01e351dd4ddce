//! Who has a vote: members that follow get one, and voters lose theirs and follow on.

use super::Metadata;
use crate::api::{add_voter_reply, forget_controller_reply, remove_voter_reply};
use crate::effects::{Asked, Effects};
use base::{BrokerId, Now, Span, Uuid, hit};
use cluster::controller::{Outcome, Refusal};
use quorum::{Membership, MembershipRefused, RaftId};
use wire::ErrorCode;
use wire::add_raft_voter::AddRaftVoterRequest;

/// Entries that a member may lack and still get a vote: until it has them a majority may have to wait for it.
const LAG_MAX: u64 = 1_000;

/// How often a member asks for its vote.
const ASKS_EVERY: Span = Span::from_secs(2);

/// A change that somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoterChange {
    /// The node with this directory gets a vote.
    Add(BrokerId, Uuid),
    /// It loses its vote.
    Remove(BrokerId, Uuid),
    /// The node is no member any more, with this directory or another.
    Forget(BrokerId, Uuid),
}

impl VoterChange {
    const fn parts(self) -> (BrokerId, Uuid) {
        let (Self::Add(node, directory) | Self::Remove(node, directory) | Self::Forget(node, directory)) =
            self;
        (node, directory)
    }

    fn is_done(self, membership: &Membership) -> bool {
        let member = RaftId::of(self.parts().1);
        match self {
            Self::Add(..) => membership.voters.contains(&member),
            Self::Remove(..) => !membership.voters.contains(&member),
            Self::Forget(..) => !membership.contains(member),
        }
    }
}

fn refuse(code: ErrorCode, message: impl Into<String>) -> Outcome<()> {
    Err(Refusal { code, message: message.into() })
}

impl Metadata {
    /// Whether a request that names a cluster names this one.
    pub(crate) fn is_this_cluster(&self, named: Option<&str>) -> bool {
        named.is_none_or(|named| named == self.node.cluster_id)
    }

    /// Changes who has a vote, where the controller is. The answer comes once the change has committed.
    pub(crate) fn change_voters(&mut self, now: Now, asked: Asked, change: VoterChange, fx: &mut Effects) {
        if !self.is_controller() {
            return self.pass_on(now, asked, fx);
        }
        if let Err(refusal) = self.check_change(change) {
            return self.voters_changed(&asked, change, &Err(refusal), fx);
        }
        match self.propose_voters(change) {
            Ok(()) => self.admissions.votes.push((asked, change)),
            Err(MembershipRefused::WithoutLeader) => {
                // Who leads cannot end its own vote: another one does it.
                hit!(leader_hands_over_to_lose_its_vote);
                self.quorum.hand_over();
                let outcome = refuse(
                    ErrorCode::RequestTimedOut,
                    "the controller hands over to another voter before it loses its vote: ask again",
                );
                self.voters_changed(&asked, change, &outcome, fx);
            }
            Err(
                MembershipRefused::Pending | MembershipRefused::Unchanged | MembershipRefused::NotLeader(_),
            ) => {
                let text = "another change of the members is under way: ask again";
                self.voters_changed(&asked, change, &refuse(ErrorCode::RequestTimedOut, text), fx);
            }
        }
    }

    fn check_change(&self, change: VoterChange) -> Outcome<()> {
        let (node, directory) = change.parts();
        let member = RaftId::of(directory);
        let membership = self.quorum.membership();
        let is_known = self.peers.book.member(member) == Some((node, directory));
        let votes = membership.voters.contains(&member);
        match change {
            VoterChange::Add(..) if votes => {
                refuse(ErrorCode::DuplicateVoter, format!("Node {node} has a vote already."))
            }
            VoterChange::Add(..) if !is_known || !membership.learners.contains(&member) => refuse(
                ErrorCode::InvalidRequest,
                format!(
                    "Node {node} with directory {directory} is no member of this cluster: let it join first (controller.quorum.bootstrap.servers)."
                ),
            ),
            VoterChange::Add(..) if self.peers.book.is_only_broker(node) => refuse(
                ErrorCode::InvalidRequest,
                format!(
                    "Node {node} is a broker only: a voter needs the role of a controller (process.roles)."
                ),
            ),
            VoterChange::Add(..) => self.check_caught_up(node, member),
            VoterChange::Remove(..) if !votes => refuse(
                ErrorCode::VoterNotFound,
                format!("Node {node} with directory {directory} has no vote."),
            ),
            VoterChange::Remove(..) if membership.voters.len() == 1 => {
                refuse(ErrorCode::InvalidRequest, "The last voter cannot lose its vote.")
            }
            VoterChange::Remove(..) | VoterChange::Forget(..) => Ok(()),
        }
    }

    /// A controller without a vote is forgotten, where the controller is. What is registered as a broker stays a member.
    pub(crate) fn forget_controller(&mut self, now: Now, asked: Asked, node: BrokerId, fx: &mut Effects) {
        if !self.is_controller() {
            return self.pass_on(now, asked, fx);
        }
        let membership = self.quorum.membership();
        let is_it = |member: &&RaftId| self.peers.book.node(**member) == Some(node);
        let learner = membership.learners.iter().find(is_it);
        let learner = learner.and_then(|learner| self.peers.book.member(*learner));
        let change = VoterChange::Forget(node, learner.map_or(Uuid::ZERO, |(_, directory)| directory));
        let outcome = if membership.voters.iter().any(|voter| is_it(&voter)) {
            refuse(ErrorCode::InvalidRequest, format!("Controller {node} has a vote: take it first."))
        } else if learner.is_none() {
            let text = format!("Controller ID {node} is not currently registered.");
            refuse(ErrorCode::ControllerIdNotRegistered, text)
        } else if self.committed.broker(node).is_some() {
            Ok(())
        } else {
            return self.change_voters(now, asked, change, fx);
        };
        self.voters_changed(&asked, change, &outcome, fx);
    }

    fn check_caught_up(&self, node: BrokerId, member: RaftId) -> Outcome<()> {
        let progress = self.quorum.progress().into_iter().find(|progress| progress.id == member);
        let committed = self.quorum.committed();
        match progress {
            // Who was admitted and has said nothing may not know that it is a member.
            Some(progress)
                if progress.active && progress.matched > 0 && progress.matched + LAG_MAX >= committed =>
            {
                Ok(())
            }
            Some(_) | None => refuse(
                ErrorCode::RequestTimedOut,
                format!("Node {node} has not caught up with the metadata log yet: ask again."),
            ),
        }
    }

    fn propose_voters(&mut self, change: VoterChange) -> Result<(), MembershipRefused> {
        let (_, directory) = change.parts();
        let member = RaftId::of(directory);
        let Membership { mut voters, mut learners, .. } = self.quorum.membership().clone();
        let (from, to) = match change {
            VoterChange::Forget(node, _) => {
                hit!(controller_forgotten);
                learners.retain(|member| self.peers.book.node(*member) != Some(node));
                return self.quorum.propose_membership(&voters, &learners).map(|_| ());
            }
            VoterChange::Add(..) => (&mut learners, &mut voters),
            VoterChange::Remove(..) => (&mut voters, &mut learners),
        };
        from.retain(|other| *other != member);
        to.push(member);
        to.sort_unstable();
        self.quorum.propose_membership(&voters, &learners).map(|_| ())
    }

    /// A controller that follows without a vote asks for one now and then, if its file says so (KIP-853). Whether it has caught
    /// up is for the one that leads to say, and its answer means nothing here: the membership tells.
    pub(super) fn ask_for_a_vote(&mut self, now: Now, fx: &mut Effects) {
        let config = &self.node.config;
        let member = RaftId::of(self.node.directory_id);
        if !config.votes_by_itself
            || !config.roles.controller
            || !self.quorum.membership().learners.contains(&member)
        {
            return;
        }
        if self.admissions.vote_due <= now.mono {
            self.admissions.vote_due = now.mono + ASKS_EVERY;
            let request = AddRaftVoterRequest {
                cluster_id: Some(self.node.cluster_id.as_str().into()),
                timeout_ms: i32::try_from(ASKS_EVERY.as_millis()).unwrap_or(i32::MAX),
                voter_id: config.node_id.0,
                voter_directory_id: self.node.directory_id,
                ..AddRaftVoterRequest::default()
            };
            if let Some(node) = self.controller_node().filter(|node| self.peers.links.is_up(*node)) {
                hit!(member_asks_for_its_vote);
                let _number = self.peers.links.ask(node, &request, fx);
            }
        }
        fx.wake(self.admissions.vote_due);
    }

    /// The members have changed.
    pub(super) fn settle_votes(&mut self, membership: &Membership, fx: &mut Effects) {
        for (asked, change) in core::mem::take(&mut self.admissions.votes) {
            if change.is_done(membership) {
                self.voters_changed(&asked, change, &Ok(()), fx);
            } else {
                self.admissions.votes.push((asked, change));
            }
        }
    }

    /// This node leads no more: nobody knows whether the change will commit.
    pub(super) fn refuse_votes(&mut self, fx: &mut Effects) {
        for (asked, change) in core::mem::take(&mut self.admissions.votes) {
            let outcome = refuse(ErrorCode::RequestTimedOut, "the controller has changed: ask again");
            self.voters_changed(&asked, change, &outcome, fx);
        }
    }

    /// A broker is forgotten: what it was as a member without a vote is, too.
    pub(super) fn forget_members(&mut self, gone: &[BrokerId]) {
        if gone.is_empty() || !self.is_controller() {
            return;
        }
        let membership = self.quorum.membership().clone();
        let is_gone =
            |member: &&RaftId| self.peers.book.node(**member).is_some_and(|node| gone.contains(&node));
        let learners: Vec<_> =
            membership.learners.iter().filter(|member| !is_gone(member)).copied().collect();
        if learners.len() < membership.learners.len() {
            hit!(member_forgotten);
            // While another change is under way it stays: a member that is not there costs a heartbeat.
            let _pending = self.quorum.propose_membership(&membership.voters, &learners);
        }
    }

    fn voters_changed(&self, asked: &Asked, change: VoterChange, outcome: &Outcome<()>, fx: &mut Effects) {
        let reply = match change {
            VoterChange::Add(..) => add_voter_reply(asked, outcome),
            VoterChange::Remove(..) => remove_voter_reply(asked, outcome),
            VoterChange::Forget(..) => forget_controller_reply(asked, outcome),
        };
        self.reply(asked, reply, fx);
    }
}
