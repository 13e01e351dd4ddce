//! Snapshots for members that are too far behind for the log.
//!
//! A message of Raft only *offers* one: it names index, term, membership and seal. The file is fetched by other means,
//! in chunks, while heartbeats go on; only when it is durable does the core hear of the offer.

use super::{ELECTION_TICKS, Quorum};
use crate::entry::{Membership, RaftId, SnapshotPoint};
use crate::io::Offer;
use base::hit;
use raft::eraftpb::Message;
use raft::{ProgressState, SnapshotStatus, StateRole};

/// The offers of a follower's leaders.
#[derive(Debug, Default)]
pub(super) struct Offers {
    /// The file that is being fetched.
    fetching: Option<Message>,
    /// The newest one that is not.
    next: Option<Message>,
}

impl Offers {
    pub(super) fn note(&mut self, message: Message) {
        let index = |message: &Message| message.get_snapshot().get_metadata().index;
        match &self.fetching {
            // Offered again, because it takes long: let it go on, and remember who leads now.
            Some(current) if index(&message) == index(current) => self.fetching = Some(message),
            Some(current) if index(&message) < index(current) => {}
            Some(_) | None => self.next = Some(message),
        }
    }

    /// Begins to fetch what is offered, if nothing is being fetched.
    fn begin(&mut self) -> Option<Offer> {
        if self.fetching.is_some() {
            return None;
        }
        self.fetching = self.next.take();
        let message = self.fetching.as_ref()?;
        let point = SnapshotPoint::from_raft(message.get_snapshot());
        Some(Offer { from: RaftId(message.from), point })
    }
}

/// A membership that nobody could be in would bring the core down.
pub(super) fn is_sound(message: &Message) -> bool {
    let point = SnapshotPoint::from_raft(message.get_snapshot());
    let Membership { voters, learners, outgoing, learners_next } = &point.membership;
    let distinct = [voters, learners, outgoing, learners_next]
        .iter()
        .all(|ids| ids.windows(2).all(|pair| pair[0] != pair[1]) && ids.iter().all(|id| id.0 != 0));
    let apart = learners.iter().all(|id| !voters.contains(id) && !outgoing.contains(id));
    let leaving = learners_next.iter().all(|id| outgoing.contains(id) && !voters.contains(id));
    point.index != 0 && point.term != 0 && !voters.is_empty() && distinct && apart && leaving
}

impl Quorum {
    /// The fetch of the offered snapshot has ended, well (the file is whole, its seal is right, and it is durable) or
    /// not. A file of which no [`Persist`](crate::Persist) speaks next is not needed any more.
    pub fn fetched(&mut self, well: bool) {
        let Some(mut message) = self.offers.fetching.take().filter(|_| well) else { return };
        let leader = self.node.raft.leader_id;
        if message.term < self.term() {
            // Somebody else leads by now. What is in a snapshot has committed, whoever offers it.
            if self.node.raft.state != StateRole::Follower || leader == 0 {
                return;
            }
            hit!(quorum_snapshot_of_an_earlier_leader);
            message.term = self.term();
            message.from = leader;
        }
        let _unknown_peer = self.node.step(message);
        self.after_step();
    }

    /// The next snapshot to fetch. A fetched file is not touched as long as it may yet be put in place.
    pub(super) fn begin_fetch(&mut self) -> Option<Offer> {
        if self.is_writing_snapshot() || self.node.snap().is_some() { None } else { self.offers.begin() }
    }

    /// True when the log has what is offered: the core then only says so to the leader.
    pub(super) fn has_snapshot(&self, message: &Message) -> bool {
        let log = &self.node.raft.raft_log;
        let point = message.get_snapshot().get_metadata();
        point.index <= log.committed || log.match_term(point.index, point.term)
    }

    /// A member that went away while it fetched will not say so: what was offered is offered again.
    pub(super) fn retry_snapshots(&mut self) {
        if self.node.raft.state != StateRole::Leader || !self.ticks.is_multiple_of(ELECTION_TICKS) {
            return;
        }
        let fetching = self.node.raft.prs().iter().filter(|(_, p)| p.state == ProgressState::Snapshot);
        let mut fetching: Vec<u64> = fetching.map(|(id, _)| *id).collect();
        fetching.sort_unstable();
        for id in fetching {
            self.node.report_snapshot(id, SnapshotStatus::Failure);
        }
    }
}
