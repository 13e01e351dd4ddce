//! LeaveGroup.

use super::command::Leaver;
use super::error::LeaveError;
use super::event::Reason;
use super::live::Phase;
use super::reply::{Left, Reply};
use super::turn::Turn;
use crate::Token;
use alloc::vec::Vec;
use base::hit;

impl Turn<'_> {
    pub(super) fn leave(&mut self, token: Token, leavers: Vec<Leaver>) {
        let client = leavers.iter().find_map(|leaver| leaver.reason.clone());
        let left: Vec<_> = leavers.into_iter().map(|leaver| self.leave_one(leaver)).collect();
        let has_changed = left.iter().any(|left| left.error.is_none());
        self.out.answer(token, Reply::Leave(Ok(left)));
        if has_changed {
            match self.live.phase {
                Phase::CompletingRebalance { .. } | Phase::Stable { .. } => {
                    self.prepare_rebalance(Reason::Left { client });
                }
                Phase::PreparingRebalance { .. } => self.complete_if_all_joined(),
                Phase::Empty => {}
            }
        }
    }

    fn leave_one(&mut self, leaver: Leaver) -> Left {
        let error = self.remove_leaver(&leaver).err();
        Left { member: leaver.member, instance: leaver.instance, error }
    }

    fn remove_leaver(&mut self, leaver: &Leaver) -> Result<(), LeaveError> {
        let id = match (&leaver.member, &leaver.instance) {
            (Some(id), _) if self.live.pending.remove(id).is_some() => return Ok(()),
            (Some(id), instance) => {
                self.live.roster.check(Some(id), instance.as_ref())?;
                id.clone()
            }
            (None, Some(instance)) => {
                hit!(static_member_removed_by_name);
                self.live.roster.of_instance(instance).cloned().ok_or(LeaveError::UnknownMemberId)?
            }
            (None, None) => return Err(LeaveError::UnknownMemberId),
        };
        self.remove_member(&id);
        Ok(())
    }
}
