//! Three replicas, their controller, everything that may happen to them, and what must always hold.

use crate::replica::{Fetched, Replica, Role};
use base::{BrokerId, EndOffset, Rng};
use cluster::config::Durability;
use cluster::partition::{Answer, PartitionState, Refused, Rules, Step};
use ottla_cluster as cluster;

/// What is still allowed to happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) writes: u8,
    /// Processes that die; on a `flushed` topic with the machine, so that what is not flushed may be gone.
    pub(crate) crashes: u8,
    /// Brokers that the controller takes for dead.
    pub(crate) fences: u8,
    /// Disks that come back empty.
    pub(crate) wipes: u8,
    /// Replicas that a leader wants out.
    pub(crate) shrinks: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) state: PartitionState,
    pub(crate) alive: Vec<bool>,
    lives: Vec<i64>,
    pub(crate) budget: Budget,
    durability: Durability,
    min_isr: usize,
    /// Everything that has ever counted as safe.
    pub(crate) committed: Vec<i32>,
}

/// What may happen, to which replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Learn(usize),
    Write(usize),
    Flush(usize),
    Fetch(usize),
    Serve(usize),
    Take(usize),
    Report(usize),
    Hear(usize),
    Decide(usize),
    Fence(usize),
    Unfence(usize),
    Start(usize),
    Wipe(usize),
    Join(usize, usize),
    Shrink(usize, usize),
    Crash(usize, usize),
}

/// How many kinds there are.
pub(crate) const KINDS: usize = 16;

/// Those that name one replica and nothing else.
const EACH: [fn(usize) -> Action; 13] = [
    Action::Learn,
    Action::Write,
    Action::Flush,
    Action::Fetch,
    Action::Serve,
    Action::Take,
    Action::Report,
    Action::Hear,
    Action::Decide,
    Action::Fence,
    Action::Unfence,
    Action::Start,
    Action::Wipe,
];

impl World {
    pub(crate) fn new(durability: Durability, min_isr: usize, budget: Budget) -> Self {
        let ids = || (0..3).map(BrokerId);
        Self {
            replicas: ids().map(Replica::new).collect(),
            state: PartitionState::new(ids().collect()),
            alive: vec![true; 3],
            lives: vec![1; 3],
            budget,
            durability,
            min_isr,
            committed: Vec::new(),
        }
    }

    /// Everything that might happen next, each step of it for itself.
    fn actions(&self) -> impl Iterator<Item = Action> {
        let kept: Vec<_> = self.replicas.iter().map(|replica| replica.log.0.len()).collect();
        (0..3).flat_map(move |at| {
            let alone = EACH.iter().map(move |action| action(at));
            let others = (0..3).filter(move |other| *other != at);
            let pairs = others.flat_map(move |other| [Action::Join(at, other), Action::Shrink(at, other)]);
            alone.chain(pairs).chain((0..=kept[at]).map(move |kept| Action::Crash(at, kept)))
        })
    }

    /// Everything that can happen next, and where it leads, if requests and reports arrive at once. Answers and news of
    /// what the controller has decided may still be late.
    pub(crate) fn successors(&self) -> Vec<Self> {
        let both = |first: Self, then: Action| first.after(then).unwrap_or(first);
        let mut next = Vec::new();
        for action in self.actions() {
            match action {
                Action::Fetch(at) => {
                    next.extend(self.after(action).map(|world| both(world, Action::Serve(at))))
                }
                Action::Report(at) => {
                    next.extend(self.after(action).map(|world| both(world, Action::Hear(at))))
                }
                Action::Serve(_) | Action::Hear(_) => {}
                Action::Join(at, _) | Action::Shrink(at, _) => {
                    next.extend(self.after(action).map(|world| both(world, Action::Decide(at))));
                }
                Action::Decide(_) => {}
                Action::Learn(_)
                | Action::Write(_)
                | Action::Flush(_)
                | Action::Take(_)
                | Action::Fence(_)
                | Action::Unfence(_)
                | Action::Start(_)
                | Action::Wipe(_)
                | Action::Crash(..) => next.extend(self.after(action)),
            }
        }
        next
    }

    /// Something that can happen next, if the guess is good; each kind as often as its weight says.
    pub(crate) fn guess(&self, weights: &[u64; KINDS], rng: &mut Rng) -> Action {
        let mut left = rng.below(weights.iter().sum());
        let kind = weights.iter().position(|weight| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        let at = rng.index(3);
        let other = (at + 1 + rng.index(2)) % 3;
        match kind.unwrap_or(0) {
            kind if kind < EACH.len() => EACH[kind](at),
            13 => Action::Join(at, other),
            14 => Action::Shrink(at, other),
            _ => Action::Crash(at, rng.index(self.replicas[at].log.0.len() + 1)),
        }
    }

    /// What follows from an action; `None` if it cannot happen or changes nothing.
    pub(crate) fn after(&self, action: Action) -> Option<Self> {
        let mut world = self.clone();
        if !world.act(action) || world == *self {
            return None;
        }
        world.check(action);
        Some(world)
    }

    fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Learn(at) => self.learn(at),
            Action::Write(at) => self.write(at),
            Action::Flush(at) => self.flush(at),
            Action::Fetch(at) => self.fetch(at),
            Action::Serve(at) => self.serve(at),
            Action::Take(at) => self.take(at),
            Action::Report(at) => self.report(at),
            Action::Hear(at) => self.hear(at),
            Action::Decide(at) => self.decide(at),
            Action::Fence(at) => self.fence(at),
            Action::Unfence(at) => self.unfence(at),
            Action::Start(at) => self.start(at),
            Action::Wipe(at) => self.wipe(at),
            Action::Join(at, other) => self.join(at, other),
            Action::Shrink(at, other) => self.shrink(at, other),
            Action::Crash(at, kept) => self.crash(at, kept),
        }
    }

    fn learn(&mut self, at: usize) -> bool {
        // A broker that is fenced still follows the metadata.
        let rules = Rules { durability: self.durability, min_isr: self.min_isr };
        let state = self.state.clone();
        self.replicas[at].learn(&state, rules)
    }

    fn write(&mut self, at: usize) -> bool {
        let replica = &mut self.replicas[at];
        let Role::Leads(leader) = &mut replica.role else { return false };
        if self.budget.writes == 0 {
            return false;
        }
        self.budget.writes -= 1;
        replica.log.0.push(leader.epoch.0);
        leader.appended(replica.log.end());
        true
    }

    fn flush(&mut self, at: usize) -> bool {
        let replica = &mut self.replicas[at];
        replica.flushed = replica.log.0.len();
        let end = replica.log.end();
        match &mut replica.role {
            Role::Leads(leader) => {
                leader.flushed(end);
            }
            Role::Follows(_, follower) => follower.flushed_to(end),
            Role::Idle | Role::Down => return false,
        }
        true
    }

    fn fetch(&mut self, at: usize) -> bool {
        let replica = &mut self.replicas[at];
        let Role::Follows(leader, follower) = &replica.role else { return false };
        replica.fetch = Some((*leader, replica.incarnation(), follower.position(&replica.log)));
        leader.0 >= 0
    }

    /// The leader answers a fetch.
    fn serve(&mut self, at: usize) -> bool {
        let Some((to, from, position)) = self.replicas[at].fetch.take() else { return false };
        let to = usize::try_from(to.0).unwrap();
        let serving = &mut self.replicas[to];
        let Role::Leads(leader) = &mut serving.role else { return true };
        // FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH, before anything is touched.
        if leader.epoch != position.leader_epoch {
            return true;
        }
        let diverging = position.divergence(&serving.log);
        let mut records = Vec::new();
        if diverging.is_none() {
            let begin = usize::try_from(position.offset.0).unwrap();
            records.extend_from_slice(&serving.log.0[begin..]);
            leader.fetched(from, position.offset);
        }
        let answer =
            Answer { asked_in: position.leader_epoch, diverging, high_watermark: leader.high_watermark() };
        self.replicas[at].fetched =
            Some(Fetched { answer, from: begin_of(&position), records, life: from.epoch });
        true
    }

    /// The follower takes the answer.
    fn take(&mut self, at: usize) -> bool {
        let replica = &mut self.replicas[at];
        let Some(fetched) = replica.fetched.take() else { return false };
        // A connection does not outlive the process.
        let Role::Follows(_, follower) = &mut replica.role else { return true };
        if fetched.life != replica.life {
            return true;
        }
        match follower.answered(&fetched.answer, &replica.log) {
            Step::Drop => {}
            Step::Truncate(end) => {
                assert!(
                    base::plant::is_planted(base::plant::Bug::A4) || end.0 <= replica.log.end().0,
                    "cut beyond the end"
                );
                replica.log.cut(end);
                replica.flushed = replica.flushed.min(replica.log.0.len());
                follower.truncated(end);
            }
            Step::Append => {
                // One fetch at a time: what was asked for is what comes, unless the log was cut since.
                if fetched.from == replica.log.0.len() {
                    replica.log.0.extend_from_slice(&fetched.records);
                    follower.appended(replica.log.end(), &fetched.answer);
                }
            }
        }
        true
    }

    fn report(&mut self, at: usize) -> bool {
        let replica = &mut self.replicas[at];
        let Role::Follows(leader, follower) = &replica.role else { return false };
        let Some(flushed) = follower.report() else { return false };
        replica.report = Some((*leader, replica.incarnation(), follower.epoch(), flushed));
        leader.0 >= 0
    }

    fn hear(&mut self, at: usize) -> bool {
        let Some((to, from, epoch, flushed)) = self.replicas[at].report.take() else { return false };
        if let Role::Leads(leader) = &mut self.replicas[usize::try_from(to.0).unwrap()].role
            && leader.epoch == epoch
        {
            leader.reported(from, flushed);
        }
        true
    }

    fn join(&mut self, at: usize, other: usize) -> bool {
        let other = BrokerId(i32::try_from(other).unwrap());
        let replica = &mut self.replicas[at];
        let Role::Leads(leader) = &mut replica.role else { return false };
        // What was asked for and not answered is asked for again.
        let change = leader.propose(&[other], &[]).or_else(|| leader.asked());
        replica.change = change.or(replica.change.take());
        true
    }

    fn shrink(&mut self, at: usize, other: usize) -> bool {
        if self.budget.shrinks == 0 {
            return false;
        }
        let other = BrokerId(i32::try_from(other).unwrap());
        let replica = &mut self.replicas[at];
        let Role::Leads(leader) = &mut replica.role else { return false };
        let Some(change) = leader.propose(&[], &[other]) else { return false };
        self.budget.shrinks -= 1;
        replica.change = Some(change);
        true
    }

    /// The controller decides what a leader has asked for. The leader hears of a new state through the metadata.
    fn decide(&mut self, at: usize) -> bool {
        let Some(change) = self.replicas[at].change.take() else { return false };
        let (alive, lives) = (&self.alive, &self.lives);
        let eligible = |id: BrokerId, epoch: i64| {
            let id = usize::try_from(id.0).unwrap();
            alive[id] && (epoch == -1 || epoch == lives[id])
        };
        match self.state.change_isr(&change, self.min_isr, eligible) {
            Ok(state) => self.state = state,
            Err(Refused::Ineligible(_) | Refused::Invalid) => {
                if let Role::Leads(leader) = &mut self.replicas[at].role
                    && leader.epoch == change.leader_epoch
                {
                    leader.refused(change.partition_epoch);
                }
            }
            Err(Refused::Fenced | Refused::Ahead | Refused::Outdated) => {}
        }
        true
    }

    fn fence(&mut self, at: usize) -> bool {
        if !self.alive[at] || self.budget.fences == 0 {
            return false;
        }
        self.budget.fences -= 1;
        self.leave(at);
        true
    }

    fn leave(&mut self, at: usize) {
        self.alive[at] = false;
        let alive = self.alive.clone();
        let id = BrokerId(i32::try_from(at).unwrap());
        self.state = self.state.leave(id, self.min_isr, |id| alive[usize::try_from(id.0).unwrap()]);
    }

    fn unfence(&mut self, at: usize) -> bool {
        if self.alive[at] || self.replicas[at].role == Role::Down || self.lives[at] != self.replicas[at].life
        {
            return false;
        }
        self.alive[at] = true;
        let alive = self.alive.clone();
        self.state = self.state.revive(self.min_isr, |id| alive[usize::try_from(id.0).unwrap()]);
        true
    }

    /// The process dies. On a `flushed` topic the machine goes with it: of what is not flushed any beginning may be there.
    fn crash(&mut self, at: usize, kept: usize) -> bool {
        let replica = &mut self.replicas[at];
        let least = match self.durability {
            Durability::Flushed => replica.flushed,
            Durability::Replicated => replica.log.0.len(),
        };
        if replica.role == Role::Down || self.budget.crashes == 0 || kept < least {
            return false;
        }
        self.budget.crashes -= 1;
        replica.log.0.truncate(kept);
        replica.flushed = kept;
        replica.high_watermark = EndOffset(0);
        replica.role = Role::Down;
        true
    }

    /// It starts again and registers: the controller fences the life before.
    fn start(&mut self, at: usize) -> bool {
        let replica = &mut self.replicas[at];
        if replica.role != Role::Down {
            return false;
        }
        replica.life += 1;
        replica.role = Role::Idle;
        self.lives[at] = replica.life;
        self.leave(at);
        true
    }

    /// It starts again with an empty disk, and says so.
    fn wipe(&mut self, at: usize) -> bool {
        if self.replicas[at].role != Role::Down || self.budget.wipes == 0 {
            return false;
        }
        self.budget.wipes -= 1;
        let replica = &mut self.replicas[at];
        replica.log.0.clear();
        replica.flushed = 0;
        self.start(at);
        let alive = self.alive.clone();
        let id = BrokerId(i32::try_from(at).unwrap());
        self.state = self.state.forget(id, self.min_isr, |id| alive[usize::try_from(id.0).unwrap()]);
        true
    }

    /// The invariants of Kafka's replication (kafka-specification, KIP-966).
    fn check(&mut self, action: Action) {
        self.check_state(action);
        for at in 0..3 {
            let replica = &self.replicas[at];
            if let Role::Leads(leader) = &replica.role {
                let safe = usize::try_from(leader.high_watermark().0).unwrap();
                let prefix = &replica.log.0[..safe];
                // ConsistentRead: what was safe once stays so, with the same content.
                let both = self.committed.len().min(safe);
                assert_eq!(prefix[..both], self.committed[..both], "{action:?}: a safe record has changed");
                if safe > self.committed.len() {
                    self.committed = prefix.to_vec();
                }
            }
        }
        // LeaderCandidateCompleteness: whoever may lead has all of it.
        for id in self.state.isr.iter().chain(&self.state.elr) {
            let log = &self.replicas[usize::try_from(id.0).unwrap()].log.0;
            assert!(
                log.starts_with(&self.committed),
                "{action:?}: {id} may lead without what is safe: {self:#?}"
            );
        }
        self.check_logs(action);
    }

    fn check_state(&self, action: Action) {
        let PartitionState { isr, elr, leader, .. } = &self.state;
        assert!(elr.iter().all(|id| !isr.contains(id)), "{action:?}: in sync and eligible");
        assert!(isr.len() < self.min_isr || elr.is_empty(), "{action:?}: eligible though enough are in sync");
        assert!(
            leader.is_none_or(|leader| isr.contains(&leader)),
            "{action:?}: a leader that is not in sync"
        );
    }

    /// LogMatching: two logs that have a record of one epoch at one offset are the same up to there.
    fn check_logs(&self, action: Action) {
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            let (one, other) = (&self.replicas[one].log.0, &self.replicas[other].log.0);
            let last = (0..one.len().min(other.len())).rev().find(|at| one[*at] == other[*at]);
            if let Some(last) = last {
                assert_eq!(one[..=last], other[..=last], "{action:?}: logs that match at {last} part before");
            }
        }
    }
}

fn begin_of(position: &cluster::partition::Position) -> usize {
    usize::try_from(position.offset.0).unwrap()
}
