//! SyncGroup.

use super::command::SyncGroup;
use super::error::SyncError;
use super::event::{Event, Reason};
use super::ids::MemberId;
use super::live::{Phase, SyncWatch, Waiting};
use super::record::Record;
use super::reply::{Reply, Synced};
use super::turn::Turn;
use crate::Token;
use alloc::collections::BTreeMap;
use base::hit;
use bytes::Bytes;

impl Turn<'_> {
    pub(super) fn sync(&mut self, token: Token, request: SyncGroup) {
        if let Err(error) = self.check_sync(&request) {
            return self.refuse_sync(token, error);
        }
        match &self.live.phase {
            // Nobody is a member of an empty group; the check has refused.
            Phase::Empty | Phase::PreparingRebalance { .. } => {
                self.refuse_sync(token, SyncError::RebalanceInProgress);
            }
            Phase::CompletingRebalance { .. } => self.sync_completing(token, request),
            Phase::Stable { .. } => {
                self.settle_sync(&request.member);
                let synced = self.synced(&request.member);
                self.out.answer(token, Reply::Sync(Ok(synced)));
            }
        }
    }

    fn check_sync(&self, request: &SyncGroup) -> Result<(), SyncError> {
        self.live.roster.check(Some(&request.member), request.instance.as_ref())?;
        if request.generation != self.live.generation {
            return Err(SyncError::IllegalGeneration);
        }
        let has_type = agrees(request.protocol_type.as_ref(), self.live.protocol_type.as_ref());
        if !has_type || !agrees(request.protocol.as_ref(), self.live.protocol.as_ref()) {
            return Err(SyncError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn sync_completing(&mut self, token: Token, request: SyncGroup) {
        let id = request.member;
        self.settle_sync(&id);
        let waited = self.live.roster.park_sync(&id, token);
        let (join, sync) = (super::error::JoinError::RebalanceInProgress, SyncError::RebalanceInProgress);
        self.dismiss(waited, Some(id.clone()), join, sync);
        if self.live.roster.is_leader(&id) {
            self.take_assignments(request.assignments);
        }
    }

    /// The leader has spoken: the generation is complete as soon as the log holds it.
    fn take_assignments(&mut self, assignments: alloc::vec::Vec<(MemberId, Bytes)>) {
        let assignments: BTreeMap<_, _> = assignments.into_iter().collect();
        self.live.roster.assign(assignments);
        let record = self.metadata_record();
        if record.size_bound() > self.config.append_bytes_max {
            hit!(assignment_too_large);
            self.cancel_assignment(SyncError::UnknownServerError);
            return self.prepare_rebalance(Reason::AssignmentTooLarge);
        }
        self.become_stable(record);
    }

    fn become_stable(&mut self, record: Record) {
        self.out.record(record);
        let phase = core::mem::take(&mut self.live.phase);
        let sync = match phase {
            Phase::CompletingRebalance { sync } if !sync.missing.is_empty() => Some(sync),
            Phase::Empty
            | Phase::PreparingRebalance { .. }
            | Phase::CompletingRebalance { .. }
            | Phase::Stable { .. } => None,
        };
        self.live.phase = Phase::Stable { sync };
        let (group, generation) = (self.id.clone(), self.live.generation);
        self.events.push(Event::Assigned { group, generation });
        for id in self.live.roster.ids() {
            if let Waiting::Sync { token } = self.live.roster.release(&id) {
                let synced = self.synced(&id);
                self.out.answer(token, Reply::Sync(Ok(synced)));
                self.live.renew_session(&id, self.now.mono);
            }
        }
    }

    /// The member has asked for its assignment; once all have, nobody watches any more.
    fn settle_sync(&mut self, id: &MemberId) {
        match &mut self.live.phase {
            Phase::CompletingRebalance { sync } => {
                sync.missing.remove(id);
            }
            Phase::Stable { sync: watch @ Some(_) } => {
                if let Some(SyncWatch { missing, .. }) = watch {
                    missing.remove(id);
                    if missing.is_empty() {
                        *watch = None;
                    }
                }
            }
            Phase::Empty | Phase::PreparingRebalance { .. } | Phase::Stable { sync: None } => {}
        }
    }

    fn synced(&self, id: &MemberId) -> Synced {
        Synced {
            protocol_type: self.live.protocol_type.clone(),
            protocol: self.live.protocol.clone(),
            assignment: self.live.roster.get(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }
}

/// What is not said on either side is no contradiction.
fn agrees<T: PartialEq>(sent: Option<&T>, known: Option<&T>) -> bool {
    sent.is_none() || known.is_none() || sent == known
}
