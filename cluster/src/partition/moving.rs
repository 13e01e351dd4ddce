//! Replicas on the move, and leaders that are chosen on purpose (KIP-455, KIP-460).
//!
//! A partition moves by having more replicas for a while: the old ones and the new ones. When all new ones are in sync the
//! old ones go. Until then nothing has happened that could not be taken back.

use super::state::PartitionState;
use alloc::vec::Vec;
use base::BrokerId;

impl PartitionState {
    /// True while replicas move.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas as they were before they began to move.
    #[must_use]
    pub fn settled_replicas(&self) -> Vec<BrokerId> {
        self.replicas.iter().copied().filter(|id| !self.adding.contains(id)).collect()
    }

    /// The replicas as they will be.
    #[must_use]
    pub fn target_replicas(&self) -> Vec<BrokerId> {
        self.replicas.iter().copied().filter(|id| !self.removing.contains(id)).collect()
    }

    /// The state once the replicas begin to move to `target`, which takes the place of a move that is under way.
    #[must_use]
    pub fn move_to(&self, target: &[BrokerId], min_isr: usize, is_alive: impl Fn(BrokerId) -> bool) -> Self {
        let old = self.settled_replicas();
        let removing: Vec<_> = old.iter().copied().filter(|id| !target.contains(id)).collect();
        let adding = target.iter().copied().filter(|id| !old.contains(id)).collect();
        let replicas: Vec<_> = target.iter().chain(&removing).copied().collect();
        let next = Self { replicas, adding, removing, ..self.clone() };
        next.within_replicas(min_isr, &is_alive).moved_if_done(min_isr, is_alive).counted(self)
    }

    /// The state once a move is taken back. `None` if nobody who was there before is in sync: those that are would be lost.
    #[must_use]
    pub fn cancel_move(&self, min_isr: usize, is_alive: impl Fn(BrokerId) -> bool) -> Option<Self> {
        let replicas = self.settled_replicas();
        let holds = |id: &BrokerId| self.isr.contains(id) || self.elr.contains(id);
        if !replicas.iter().any(holds) {
            return None;
        }
        let next = Self { replicas, adding: Vec::new(), removing: Vec::new(), ..self.clone() };
        Some(next.within_replicas(min_isr, &is_alive).counted(self))
    }

    /// Ends a move whose new replicas are all in sync.
    pub(super) fn moved_if_done(self, min_isr: usize, is_alive: impl Fn(BrokerId) -> bool) -> Self {
        let in_sync = |id: &BrokerId| self.isr.contains(id);
        let stays = |id: &&BrokerId| !self.removing.contains(id);
        if !self.is_moving() || !self.adding.iter().all(in_sync) || !self.isr.iter().any(|id| stays(&id)) {
            return self;
        }
        let replicas = self.target_replicas();
        let next = Self { replicas, adding: Vec::new(), removing: Vec::new(), ..self };
        next.within_replicas(min_isr, is_alive)
    }

    /// Forgets whoever is no replica any more, and finds a leader if that was one.
    fn within_replicas(self, min_isr: usize, is_alive: impl Fn(BrokerId) -> bool) -> Self {
        let isr: Vec<_> = self.isr.iter().copied().filter(|id| self.is_on(*id)).collect();
        let mut next = self.with_isr(&isr, min_isr);
        if next.leader.is_some_and(|leader| !next.is_on(leader)) {
            next.leader = None;
        }
        next.elect(min_isr, is_alive)
    }

    /// The state once the preferred replica leads. `None` if it does, or must not.
    #[must_use]
    pub fn prefer(&self, is_alive: impl Fn(BrokerId) -> bool) -> Option<Self> {
        let preferred = *self.replicas.first()?;
        let may = self.leader != Some(preferred) && self.isr.contains(&preferred) && is_alive(preferred);
        may.then(|| Self { leader: Some(preferred), ..self.clone() }.counted(self))
    }

    /// The state once somebody leads who may not have all that was safe: what only others have is lost. `None` if there is a
    /// leader, or nobody who lives.
    #[must_use]
    pub fn elect_unclean(&self, is_alive: impl Fn(BrokerId) -> bool) -> Option<Self> {
        if self.leader.is_some() {
            return None;
        }
        let leader = self.replicas.iter().copied().find(|id| is_alive(*id))?;
        let isr = alloc::vec![leader];
        Some(Self { leader: Some(leader), isr, elr: Vec::new(), ..self.clone() }.counted(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::IsrChange;
    use alloc::vec;

    fn ids(numbers: &[i32]) -> Vec<BrokerId> {
        numbers.iter().copied().map(BrokerId).collect()
    }

    fn join(state: &PartitionState, isr: &[i32]) -> PartitionState {
        let change = IsrChange {
            from: state.leader.unwrap(),
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            isr: isr.iter().map(|id| (BrokerId(*id), -1)).collect(),
        };
        state.change_isr(&change, 1, |_, _| true).unwrap()
    }

    #[test]
    fn replicas_move_once_all_new_ones_are_in_sync_and_not_before() {
        let before = PartitionState::new(ids(&[1, 2]));
        let moving = before.move_to(&ids(&[3, 4]), 1, |_| true);
        assert_eq!((moving.replicas.clone(), moving.leader), (ids(&[3, 4, 1, 2]), Some(BrokerId(1))));
        assert_eq!((&moving.adding, &moving.removing), (&ids(&[3, 4]), &ids(&[1, 2])));
        let half = join(&moving, &[1, 2, 3]);
        assert!(half.is_moving());
        let done = join(&half, &[1, 2, 3, 4]);
        assert_eq!(
            (done.replicas.clone(), done.isr.clone(), done.is_moving()),
            (ids(&[3, 4]), ids(&[3, 4]), false)
        );
        assert_eq!(done.leader, Some(BrokerId(3)));
        assert!(done.leader_epoch > before.leader_epoch);
    }

    #[test]
    fn a_move_that_is_taken_back_leaves_what_was() {
        let before = PartitionState::new(ids(&[1, 2]));
        let moving = before.move_to(&ids(&[2, 3]), 1, |_| true);
        let half = join(&moving, &[1, 2]);
        let back = half.cancel_move(1, |_| true).unwrap();
        assert_eq!((back.replicas, back.isr, back.leader), (ids(&[2, 1]), ids(&[2, 1]), Some(BrokerId(1))));
        let mut lost = moving;
        lost.isr = ids(&[3]);
        assert_eq!(lost.cancel_move(1, |_| true), None);
    }

    #[test]
    fn another_target_takes_the_place_of_the_first() {
        let before = PartitionState::new(ids(&[1]));
        let first = before.move_to(&ids(&[2]), 1, |_| true);
        let second = first.move_to(&ids(&[3]), 1, |_| true);
        assert_eq!((&second.replicas, &second.adding), (&ids(&[3, 1]), &ids(&[3])));
        let shrunk = PartitionState::new(ids(&[1, 2, 3])).move_to(&ids(&[3, 2]), 1, |_| true);
        assert_eq!(
            (shrunk.replicas, shrunk.leader),
            (ids(&[3, 2]), Some(BrokerId(3))),
            "nothing to wait for"
        );
    }

    #[test]
    fn the_preferred_replica_leads_only_when_it_is_in_sync_and_lives() {
        let mut state = PartitionState::new(ids(&[1, 2]));
        assert_eq!(state.prefer(|_| true), None);
        state.leader = Some(BrokerId(2));
        assert_eq!(state.prefer(|id| id != BrokerId(1)), None);
        assert_eq!(state.prefer(|_| true).unwrap().leader, Some(BrokerId(1)));
        state.isr = ids(&[2]);
        assert_eq!(state.prefer(|_| true), None);
        assert_eq!(state.elect_unclean(|_| true), None, "there is a leader");
        state.leader = None;
        let forced = state.elect_unclean(|id| id == BrokerId(1)).unwrap();
        assert_eq!((forced.leader, forced.isr), (Some(BrokerId(1)), vec![BrokerId(1)]));
    }
}
