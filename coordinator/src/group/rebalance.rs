//! The rebalance: members are asked to come back, those who do form the next generation.

use super::error::{JoinError, SyncError};
use super::event::{Event, Reason};
use super::ids::MemberId;
use super::live::{FirstRebalance, Phase, SyncWatch, Waiting};
use super::reply::{Joined, JoinedMember, Reply};
use super::turn::Turn;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::{Span, hit};

/// How long a rebalance that nobody joined waits for the next look at least.
const REJOIN_WAIT_MIN: Span = Span::from_secs(1);

impl Turn<'_> {
    /// Starts a rebalance, or ends the one under way if this was the last member it waited for.
    pub(super) fn rebalance_or_complete(&mut self, reason: Reason) {
        match self.live.phase {
            Phase::PreparingRebalance { .. } => self.complete_if_all_joined(),
            Phase::Empty | Phase::CompletingRebalance { .. } | Phase::Stable { .. } => {
                self.prepare_rebalance(reason);
            }
        }
    }

    /// Ends the rebalance under way once everybody is there. The first one takes its time regardless.
    pub(super) fn complete_if_all_joined(&mut self) {
        if matches!(self.live.phase, Phase::PreparingRebalance { first: None, .. })
            && self.live.has_all_joined()
        {
            self.complete_rebalance();
        }
    }

    /// Asks all members to join again.
    pub(super) fn prepare_rebalance(&mut self, reason: Reason) {
        let (group, generation) = (self.id.clone(), self.live.generation);
        self.events.push(Event::Rebalancing { group, generation, reason });
        if matches!(self.live.phase, Phase::CompletingRebalance { .. }) {
            hit!(rebalance_while_completing);
            self.cancel_assignment(SyncError::RebalanceInProgress);
        }
        if matches!(self.live.phase, Phase::Empty) {
            let delay = self.config.initial_rebalance_delay;
            let remaining = minus(self.live.roster.rebalance_timeout(), delay);
            self.wait_for_joins(delay, Some(FirstRebalance { delay, remaining, has_grown: false }));
        } else if self.live.has_all_joined() {
            self.complete_rebalance();
        } else {
            self.wait_for_joins(self.live.roster.rebalance_timeout(), None);
        }
    }

    /// A freshly loaded group above a lowered `group.max.size` rebalances: its members can commit, and those
    /// who come back last find no room.
    pub(super) fn shrink_if_too_large(&mut self) {
        if self.live.roster.len() > self.config.size_max {
            hit!(loaded_group_too_large);
            self.prepare_rebalance(Reason::TooLarge);
        }
    }

    fn wait_for_joins(&mut self, patience: Span, first: Option<FirstRebalance>) {
        let deadline = self.now.mono + patience;
        self.live.phase = Phase::PreparingRebalance { deadline, first };
        self.live.arm(deadline);
    }

    /// The wait for joins is over. A first rebalance that was joined meanwhile waits once more, bounded by
    /// the members' rebalance timeout.
    pub(super) fn joins_are_due(&mut self) {
        match self.live.phase {
            Phase::PreparingRebalance { first: Some(first), .. }
                if first.has_grown && first.remaining > Span::ZERO =>
            {
                hit!(first_rebalance_extended);
                let delay = self.config.initial_rebalance_delay.min(first.remaining);
                let remaining = minus(first.remaining, first.delay);
                self.wait_for_joins(delay, Some(FirstRebalance { delay, remaining, has_grown: false }));
            }
            Phase::PreparingRebalance { .. } => self.complete_rebalance(),
            Phase::Empty | Phase::CompletingRebalance { .. } | Phase::Stable { .. } => {}
        }
    }

    /// Forms the next generation from the members that wait in a join. Static members keep their place even
    /// if they are late; their session decides about them.
    pub(super) fn complete_rebalance(&mut self) {
        for id in self.absent_members(false) {
            hit!(late_member_removed);
            self.lose_member(&id);
        }
        if self.live.roster.is_empty() {
            self.become_empty();
        } else if self.live.roster.elect_joining_leader() {
            self.begin_generation();
        } else {
            hit!(nobody_rejoined);
            // Members choose their timeout; with none they would have us look without end.
            self.wait_for_joins(self.live.roster.rebalance_timeout().max(REJOIN_WAIT_MIN), None);
        }
    }

    fn absent_members(&self, is_static: bool) -> Vec<MemberId> {
        let absent = self.live.roster.iter().filter(|(_, member)| !member.is_joining());
        absent
            .filter(|(_, member)| member.instance.is_some() == is_static)
            .map(|(id, _)| id.clone())
            .collect()
    }

    fn become_empty(&mut self) {
        self.live.generation = self.live.generation.next();
        self.live.protocol = None;
        self.live.phase = Phase::Empty;
        self.live.read_subscriptions();
        let record = self.metadata_record();
        self.out.record(record);
        self.note_generation();
    }

    fn note_generation(&mut self) {
        let (group, generation) = (self.id.clone(), self.live.generation);
        self.events.push(Event::Formed { group, generation, members: self.live.roster.len() });
    }

    fn begin_generation(&mut self) {
        let deadline = self.now.mono + self.live.roster.rebalance_timeout();
        let ids = self.live.roster.ids();
        self.live.generation = self.live.generation.next();
        self.live.protocol = self.live.roster.vote();
        self.live.read_subscriptions();
        let missing = ids.iter().cloned().collect();
        self.live.phase = Phase::CompletingRebalance { sync: SyncWatch { deadline, missing } };
        self.live.arm(deadline);
        self.note_generation();
        for id in &ids {
            if let Waiting::Join { token, .. } = self.live.roster.release(id) {
                let joined = self.joined(id, false);
                self.out.answer(token, Reply::Join(Ok(joined)));
            }
            self.live.renew_session(id, self.now.mono);
        }
    }

    /// The answer to a member that is in the current generation; the leader learns who else is.
    pub(super) fn joined(&self, id: &MemberId, skip_assignment: bool) -> Joined {
        let is_leader = self.live.roster.is_leader(id);
        Joined {
            member: id.clone(),
            generation: self.live.generation,
            protocol_type: self.live.protocol_type.clone(),
            protocol: self.live.protocol.clone(),
            leader: self.live.roster.leader().cloned(),
            members: if is_leader { self.joined_members() } else { Vec::new() },
            skip_assignment,
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.live.protocol.as_ref();
        let members = self.live.roster.iter().map(|(id, member)| JoinedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol),
        });
        members.collect()
    }

    /// The generation has no assignment after all: whoever waits for one is told why, and lives on.
    pub(super) fn cancel_assignment(&mut self, error: SyncError) {
        self.live.roster.assign(BTreeMap::new());
        for id in self.live.roster.ids() {
            if let Waiting::Sync { token } =
                self.live.roster.get(&id).map_or(Waiting::Nothing, |m| m.waiting())
            {
                self.live.roster.release(&id);
                self.refuse_sync(token, error);
                self.live.renew_session(&id, self.now.mono);
            }
        }
    }

    /// Everybody who did not fetch its assignment in time is out.
    pub(super) fn syncs_are_due(&mut self) {
        let missing = match &self.live.phase {
            Phase::CompletingRebalance { sync } | Phase::Stable { sync: Some(sync) } => sync.missing.clone(),
            Phase::Empty | Phase::PreparingRebalance { .. } | Phase::Stable { sync: None } => return,
        };
        hit!(sync_timeout);
        for id in &missing {
            self.lose_member(id);
        }
        self.prepare_rebalance(Reason::AssignmentIgnored { members: missing.len() });
    }

    /// Parks a member until the rebalance is over. An older request of the same member is sent away.
    pub(super) fn park_join(&mut self, id: &MemberId, token: crate::Token) {
        let waited = self.live.roster.park_join(id, token);
        let (join, sync) = (JoinError::RebalanceInProgress, SyncError::RebalanceInProgress);
        self.dismiss(waited, Some(id.clone()), join, sync);
    }
}

fn minus(span: Span, less: Span) -> Span {
    Span::from_nanos(span.as_nanos().saturating_sub(less.as_nanos()))
}
