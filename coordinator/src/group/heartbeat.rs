//! Heartbeat.

use super::command::Heartbeat;
use super::error::HeartbeatError;
use super::live::Phase;
use super::turn::Turn;

impl Turn<'_> {
    pub(super) fn heartbeat(&mut self, request: &Heartbeat) -> Result<(), HeartbeatError> {
        self.live.roster.check(Some(&request.member), request.instance.as_ref())?;
        if request.generation != self.live.generation {
            return Err(HeartbeatError::IllegalGeneration);
        }
        self.live.renew_session(&request.member, self.now.mono);
        match self.live.phase {
            Phase::PreparingRebalance { .. } => Err(HeartbeatError::RebalanceInProgress),
            // A member may already know its generation while the leader still computes.
            Phase::Empty | Phase::CompletingRebalance { .. } | Phase::Stable { .. } => Ok(()),
        }
    }
}
