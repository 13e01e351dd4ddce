//! One broker's replica: a log of epochs, and the machine that it is at the moment.

use base::{BrokerId, EndOffset, LeaderEpoch};
use cluster::partition::{
    Answer, EpochEnd, Epochs, Follower, Incarnation, Leader, PartitionState, Position, Progress, Rules,
};
use ottla_cluster as cluster;

/// The epoch that wrote each record. A record is its offset and its epoch: no two differ in these alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Log(pub(crate) Vec<i32>);

impl Log {
    pub(crate) fn end(&self) -> EndOffset {
        EndOffset(i64::try_from(self.0.len()).unwrap())
    }

    pub(crate) fn cut(&mut self, end: EndOffset) {
        self.0.truncate(usize::try_from(end.0).unwrap());
    }
}

impl Epochs for Log {
    fn latest(&self) -> Option<LeaderEpoch> {
        self.0.last().copied().map(LeaderEpoch)
    }

    fn end_of(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        let end = self.0.partition_point(|written| *written <= epoch.0);
        let last = self.0.get(end.checked_sub(1)?)?;
        Some(EpochEnd { epoch: LeaderEpoch(*last), end: EndOffset(i64::try_from(end).unwrap()) })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// The process is down.
    Down,
    /// It has not heard from the controller since it started.
    Idle,
    Leads(Box<Leader>),
    Follows(BrokerId, Follower),
}

/// What a leader has sent back: the answer and the records behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fetched {
    pub(crate) answer: Answer,
    pub(crate) from: usize,
    pub(crate) records: Vec<i32>,
    /// The follower's life that asked.
    pub(crate) life: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Replica {
    pub(crate) id: BrokerId,
    pub(crate) log: Log,
    pub(crate) flushed: usize,
    pub(crate) high_watermark: EndOffset,
    pub(crate) role: Role,
    pub(crate) life: i64,
    /// What is on its way; a message may stay there for as long as it likes, or be lost for the next one.
    pub(crate) fetch: Option<(BrokerId, Incarnation, Position)>,
    pub(crate) fetched: Option<Fetched>,
    pub(crate) report: Option<(BrokerId, Incarnation, LeaderEpoch, EndOffset)>,
    pub(crate) change: Option<cluster::partition::Proposal>,
}

impl Replica {
    pub(crate) fn new(id: BrokerId) -> Self {
        Self {
            id,
            log: Log::default(),
            flushed: 0,
            high_watermark: EndOffset(0),
            role: Role::Idle,
            life: 1,
            fetch: None,
            fetched: None,
            report: None,
            change: None,
        }
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        Incarnation { id: self.id, epoch: self.life }
    }

    pub(crate) fn epoch(&self) -> Option<LeaderEpoch> {
        match &self.role {
            Role::Leads(leader) => Some(leader.epoch),
            Role::Follows(_, follower) => Some(follower.epoch()),
            Role::Down | Role::Idle => None,
        }
    }

    /// Becomes what the controller says. Returns false if it knows that already.
    pub(crate) fn learn(&mut self, state: &PartitionState, rules: Rules) -> bool {
        if self.role == Role::Down {
            return false;
        }
        if self.epoch().is_some_and(|known| known >= state.leader_epoch) {
            return match &mut self.role {
                Role::Leads(leader) => {
                    let before = leader.clone();
                    leader.decided(state);
                    *leader != before
                }
                Role::Down | Role::Idle | Role::Follows(..) => false,
            };
        }
        self.note_high_watermark();
        let flushed = EndOffset(i64::try_from(self.flushed).unwrap());
        self.role = match state.leader {
            Some(leader) if leader == self.id => {
                let own = Progress { log_end: self.log.end(), flushed };
                Role::Leads(Box::new(Leader::new(self.id, state, rules, own, self.high_watermark)))
            }
            Some(leader) => {
                let end = self.log.end();
                Role::Follows(leader, Follower::new(state.leader_epoch, end, flushed, self.high_watermark))
            }
            None => {
                let end = self.log.end();
                Role::Follows(
                    BrokerId(-1),
                    Follower::new(state.leader_epoch, end, flushed, self.high_watermark),
                )
            }
        };
        true
    }

    pub(crate) fn note_high_watermark(&mut self) {
        match &self.role {
            Role::Leads(leader) => self.high_watermark = leader.high_watermark(),
            Role::Follows(_, follower) => self.high_watermark = follower.high_watermark(),
            Role::Down | Role::Idle => {}
        }
    }
}
