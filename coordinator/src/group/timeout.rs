//! What happens when nothing happens: deadlines of members, of pending ids and of the rebalance.

use super::event::Reason;
use super::ids::MemberId;
use super::live::{Due, Phase, Waiting};
use super::turn::Turn;
use base::hit;

impl Turn<'_> {
    /// Acts on every deadline that has passed, the oldest first.
    pub(super) fn tick(&mut self) {
        for due in self.live.overdue(self.now.mono) {
            match due {
                Due::Phase => self.phase_is_due(),
                Due::Session(id) => self.session_is_due(&id),
                Due::Pending(id) => self.pending_is_due(&id),
            }
        }
        self.live.rearm();
    }

    /// An earlier deadline of the same tick may have moved the group on; the new phase has time.
    fn phase_is_due(&mut self) {
        if self.live.phase.deadline().is_none_or(|at| at > self.now.mono) {
            return;
        }
        match self.live.phase {
            Phase::Empty => {}
            Phase::PreparingRebalance { .. } => self.joins_are_due(),
            Phase::CompletingRebalance { .. } | Phase::Stable { .. } => self.syncs_are_due(),
        }
    }

    fn session_is_due(&mut self, id: &MemberId) {
        let Some(member) = self.live.roster.get(id) else { return };
        if member.deadline.is_none_or(|at| at > self.now.mono) {
            return;
        }
        let is_excused = match member.waiting() {
            Waiting::Nothing => false,
            Waiting::Join { is_new, .. } => !is_new,
            Waiting::Sync { .. } => true,
        };
        if is_excused {
            // It waits for us. Its session starts anew with the answer.
            hit!(session_of_waiting_member);
            return self.live.roster.set_deadline(id, None);
        }
        hit!(session_expired);
        self.lose_member(id);
        match self.live.phase {
            Phase::CompletingRebalance { .. } | Phase::Stable { .. } => {
                self.prepare_rebalance(Reason::SessionEnded { member: id.clone() });
            }
            Phase::PreparingRebalance { .. } => self.complete_if_nobody_is_missing(),
            Phase::Empty => {}
        }
    }

    fn pending_is_due(&mut self, id: &MemberId) {
        if self.live.pending.get(id).is_some_and(|at| *at <= self.now.mono) {
            hit!(pending_member_expired);
            self.live.pending.remove(id);
            self.complete_if_nobody_is_missing();
        }
    }

    /// Unlike a join or a leave, a death ends even the first rebalance early, as in Kafka.
    fn complete_if_nobody_is_missing(&mut self) {
        if matches!(self.live.phase, Phase::PreparingRebalance { .. }) && self.live.has_all_joined() {
            self.complete_rebalance();
        }
    }
}
