//! What a coordinator needs of its partition besides appending: to read all of it back, to know what is safe.

use super::{Replica, Waiter};
use crate::scan::CHUNK_BYTES;
use base::{EndOffset, hit};
use cluster::Leader;
use cluster::config::TopicConfig;
use seglog::{ReadError, ReadSlice};
use std::sync::Arc;
use wire::ErrorCode;

impl Replica {
    /// Where the log begins and ends, whether safe or not.
    pub(crate) fn extent(&self) -> (EndOffset, EndOffset) {
        let inner = self.inner();
        (inner.log.start(), inner.log.end())
    }

    /// Batches between two offsets, whether safe or not, about [`CHUNK_BYTES`] at a time. The lock is not held
    /// while they are read.
    pub(crate) fn slice(&self, from: EndOffset, to: EndOffset) -> Result<Option<ReadSlice>, ReadError> {
        self.inner().log.read(from, CHUNK_BYTES, to, true)
    }

    /// The settings in force.
    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        self.inner().config.clone()
    }

    /// True if everything before `end` is safe; else `waiter` is told when it is, or that it will not be.
    pub(crate) fn is_safe_or_wait(&self, end: EndOffset, waiter: Waiter) -> Result<bool, ErrorCode> {
        let mut inner = self.inner();
        let Some(leader) = inner.role.leader() else { return Err(ErrorCode::NotLeaderOrFollower) };
        let safe = leader.high_watermark() >= end;
        if !safe {
            hit!(shard_settles);
            inner.waiters.until(end, waiter);
        }
        Ok(safe)
    }

    /// Whether this node may append for itself: it leads, and enough replicas are in sync.
    pub(crate) fn check_own(&self) -> Result<(), ErrorCode> {
        let inner = self.inner();
        let in_sync = inner.role.leader().map(Leader::isr_len).ok_or(ErrorCode::NotLeaderOrFollower)?;
        if in_sync < inner.min_in_sync() {
            return Err(ErrorCode::NotEnoughReplicas);
        }
        Ok(())
    }
}
