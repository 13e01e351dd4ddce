//! All members, the network between them, what goes wrong, and what must hold.

use crate::member::{Disk, Member, State};
use base::Rng;
use bytes::Bytes;
use ottla_quorum::{ELECTION_TICKS, Membership, Offer, Output, ProposalId, RaftId, Role};
use std::collections::{BTreeMap, BTreeSet};

/// Ticks of a run before everything heals.
const TROUBLE: u64 = 600;
/// Ticks in which a healed quorum must be of one mind.
const HEALING: u64 = 60 * ELECTION_TICKS as u64;

#[derive(Debug)]
struct Frame {
    at: u64,
    order: u64,
    from: RaftId,
    to: RaftId,
    bytes: Bytes,
}

/// What a seed has drawn.
#[derive(Debug)]
struct Draws {
    loss: u64,
    delay: u64,
    write: u64,
    crash: u64,
    cut: u64,
    pause: u64,
    snapshot: u64,
    change: u64,
    wipe: u64,
    propose: u64,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) elections: u64,
    pub(crate) acknowledged: u64,
    pub(crate) crashes: u64,
    pub(crate) memberships: u64,
    pub(crate) snapshots_fetched: u64,
    pub(crate) disks_lost: u64,
    pub(crate) hash: u64,
}

pub(crate) struct World {
    rng: Rng,
    draws: Draws,
    now: u64,
    members: BTreeMap<RaftId, Member>,
    network: Vec<Frame>,
    sent: u64,
    cuts: BTreeSet<(RaftId, RaftId)>,
    truth: BTreeMap<u64, (u64, String)>,
    leaders: BTreeMap<u64, RaftId>,
    waiting: Vec<(RaftId, ProposalId, Bytes)>,
    acknowledged: Vec<(u64, Bytes)>,
    proposed: u64,
    pub(crate) counts: Counts,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut often = |most: u64| if rng.chance(1, 3) { 0 } else { rng.between(1, most) };
        let draws = Draws {
            loss: often(25),
            delay: 1 + often(8),
            write: 1 + often(6),
            crash: often(20),
            cut: often(20),
            pause: often(10),
            snapshot: often(40),
            change: often(25),
            wipe: often(6),
            propose: 1 + often(400),
        };
        let founders = rng.between(1, 5);
        let ids = (1..=founders).map(RaftId);
        let members = ids.clone().map(|id| (id, Member::new(id, Disk::founder(ids.clone()), seed))).collect();
        Self {
            rng,
            draws,
            now: 0,
            members,
            network: Vec::new(),
            sent: 0,
            cuts: BTreeSet::new(),
            truth: BTreeMap::new(),
            leaders: BTreeMap::new(),
            waiting: Vec::new(),
            acknowledged: Vec::new(),
            proposed: 0,
            counts: Counts::default(),
        }
    }

    pub(crate) fn run(&mut self) {
        while self.now < TROUBLE {
            self.trouble();
            self.pass_tick();
        }
        self.heal();
    }

    fn live(&self) -> Vec<RaftId> {
        self.members.values().filter(|member| !member.lost).map(|member| member.id).collect()
    }

    /// The leader of the highest term, if it knows all that was committed before.
    fn leader(&self) -> Option<RaftId> {
        let running = self.members.values().filter_map(|member| Some((member.id, member.quorum.as_ref()?)));
        let leaders = running.filter(|(_, quorum)| quorum.role() == Role::Leader);
        let (id, quorum) = leaders.max_by_key(|(_, quorum)| quorum.term())?;
        quorum.is_established().then_some(id)
    }

    fn pass_tick(&mut self) {
        self.now += 1;
        for id in self.members.keys().copied().collect::<Vec<_>>() {
            let member = self.members.get_mut(&id).unwrap();
            if member.paused_until <= self.now
                && let Some(quorum) = &mut member.quorum
            {
                quorum.tick();
                self.carry_on(id);
            }
        }
        self.deliver();
    }

    fn deliver(&mut self) {
        let now = self.now;
        let mut due: Vec<_> = self.network.extract_if(.., |frame| frame.at <= now).collect();
        due.sort_by_key(|frame| (frame.at, frame.order));
        for frame in due {
            let Some(member) = self.members.get_mut(&frame.to) else { continue };
            if self.cuts.contains(&(frame.from, frame.to)) {
                continue;
            }
            if member.paused_until > now {
                self.network.push(Frame { at: member.paused_until, ..frame });
                continue;
            }
            let Some(quorum) = &mut member.quorum else { continue };
            quorum.step(&frame.bytes).expect("no disk of ours loses what it has confirmed");
            self.carry_on(frame.to);
        }
    }

    /// Ends what a member has under way, and carries out what follows from its inputs.
    fn carry_on(&mut self, id: RaftId) {
        let now = self.now;
        let member = self.members.get_mut(&id).unwrap();
        let Some(quorum) = &mut member.quorum else { return };
        let mut send = Vec::new();
        if let Some((_, persist)) = member.writing.take_if(|(due, _)| *due <= now) {
            member.disk.write(&persist, usize::MAX);
            send = quorum.persisted(persist.number);
        }
        let fetched = member.fetching.take_if(|(due, _)| *due <= now);
        if let Some((_, offer)) = fetched {
            self.end_fetch(id, &offer);
        }
        let member = self.members.get_mut(&id).unwrap();
        let Some(quorum) = &mut member.quorum else { return };
        let mut output = quorum.output();
        let snapshot_wanted = output.snapshot_wanted;
        send.append(&mut output.send);
        self.send(id, send);
        self.take(id, output);
        if snapshot_wanted {
            self.members.get_mut(&id).unwrap().take_snapshot();
        }
    }

    fn end_fetch(&mut self, id: RaftId, offer: &Offer) {
        let from = self.members.get(&offer.from).filter(|member| member.quorum.is_some());
        let open = !self.cuts.contains(&(offer.from, id));
        let file = from.filter(|member| member.disk.snapshot.seal == offer.point.seal && open);
        let file = file.map(|member| (member.disk.snapshot.clone(), member.disk.content.clone()));
        let member = self.members.get_mut(&id).unwrap();
        let well = file.is_some();
        if well {
            member.disk.beside = file;
            self.counts.snapshots_fetched += 1;
        }
        member.quorum.as_mut().unwrap().fetched(well);
    }

    fn send(&mut self, from: RaftId, messages: Vec<(RaftId, Bytes)>) {
        for (to, bytes) in messages {
            self.sent += 1;
            let mut at = self.now + self.rng.below(self.draws.delay + 1);
            if self.rng.chance(self.draws.loss, 100) {
                continue;
            }
            let frame = Frame { at, order: self.sent, from, to, bytes };
            if self.rng.chance(self.draws.loss, 400) {
                at += self.rng.between(1, 30);
                self.network.push(Frame { at, bytes: frame.bytes.clone(), ..frame });
            }
            self.network.push(frame);
        }
    }

    fn take(&mut self, id: RaftId, output: Output) {
        let member = self.members.get_mut(&id).unwrap();
        let said = member.apply(&output);
        if let Some(persist) = output.persist {
            assert!(member.writing.is_none(), "one write at a time");
            // A snapshot is large: its write may outlast any election timeout.
            let slow = if persist.snapshot.is_some() { self.rng.below(60) } else { 0 };
            member.writing = Some((self.now + self.rng.below(self.draws.write) + slow, persist));
        }
        if let Some(offer) = output.fetch {
            assert!(member.fetching.is_none(), "one fetch at a time");
            member.fetching = Some((self.now + self.rng.between(1, 40), offer));
        }
        if output.role == Some(Role::Leader) {
            let term = member.quorum.as_ref().map_or(0, ottla_quorum::Quorum::term);
            let first = *self.leaders.entry(term).or_insert(id);
            assert_eq!(first, id, "two leaders in term {term}");
            self.counts.elections += 1;
        }
        for (index, term, what) in said {
            self.counts.hash = self.counts.hash.rotate_left(7) ^ index.wrapping_mul(term) ^ id.0;
            self.counts.memberships += u64::from(what.starts_with("Membership"));
            let known = self.truth.entry(index).or_insert_with(|| (term, what.clone()));
            assert_eq!(*known, (term, what), "members disagree on entry {index}");
            self.acknowledge(id, index, term);
        }
    }

    /// Whoever proposed hears of it once it has committed where he proposed it.
    fn acknowledge(&mut self, id: RaftId, index: u64, term: u64) {
        let mine = |(at, proposal, _): &mut (RaftId, ProposalId, Bytes)| {
            *at == id && *proposal == ProposalId { index, term }
        };
        for (_, proposal, value) in self.waiting.extract_if(.., mine) {
            self.acknowledged.push((proposal.index, value));
            self.counts.acknowledged += 1;
        }
    }

    fn trouble(&mut self) {
        let live = self.live();
        let one = live[self.rng.index(live.len())];
        let other = live[self.rng.index(live.len())];
        let now = self.now;
        if self.rng.chance(self.draws.propose, 1_000) {
            self.propose(one);
        }
        if self.rng.chance(self.draws.crash, 1_000) {
            self.crash(one);
        }
        if self.rng.chance(1, 25) {
            self.members.get_mut(&other).unwrap().restart();
        }
        if self.rng.chance(self.draws.cut, 1_000) {
            self.cuts.insert((one, other));
        }
        if self.rng.chance(1, 30) {
            self.cuts.clear();
        }
        if self.rng.chance(self.draws.pause, 1_000) {
            self.members.get_mut(&one).unwrap().paused_until = now + self.rng.between(5, 60);
        }
        if self.rng.chance(self.draws.snapshot, 1_000) {
            self.members.get_mut(&one).unwrap().take_snapshot();
        }
        if self.rng.chance(self.draws.change, 1_000) {
            self.change_membership();
        }
        if self.rng.chance(self.draws.wipe, 1_000) {
            self.lose_a_disk();
        }
        if self.rng.chance(1, 200)
            && let Some(quorum) = &mut self.members.get_mut(&one).unwrap().quorum
        {
            quorum.hand_over();
            self.carry_on(one);
        }
    }

    /// Who had proposed something there does not hear of it any more.
    fn crash(&mut self, id: RaftId) {
        self.counts.crashes += 1;
        self.members.get_mut(&id).unwrap().crash(&mut self.rng);
        self.waiting.retain(|(at, ..)| *at != id);
    }

    fn propose(&mut self, id: RaftId) {
        self.proposed += 1;
        let value = Bytes::from(format!("v{}", self.proposed));
        let Some(quorum) = &mut self.members.get_mut(&id).unwrap().quorum else { return };
        if let Ok(proposal) = quorum.propose(&value) {
            self.waiting.push((id, proposal, value));
            self.carry_on(id);
        }
    }

    /// Makes other members the voters; now and then one that is new.
    fn change_membership(&mut self) {
        let Some(leader) = self.leader() else { return };
        let live = self.live();
        if live.len() < 6 && self.rng.chance(1, 3) {
            let id = RaftId(self.members.len() as u64 + 1);
            self.members.insert(id, Member::new(id, Disk::empty(), id.0));
        }
        let live = self.live();
        let mut voters: Vec<_> = live.iter().copied().filter(|_| self.rng.chance(1, 2)).collect();
        let mut learners: Vec<_> = live.iter().copied().filter(|_| self.rng.chance(1, 3)).collect();
        if self.rng.chance(9, 10) && !voters.contains(&leader) {
            voters.push(leader);
        }
        learners.retain(|id| !voters.contains(id));
        let quorum = self.members.get_mut(&leader).unwrap().quorum.as_mut().unwrap();
        // A member that holds nothing yet must not be needed for a majority: the live rule of an operator, too.
        let known = quorum.progress();
        let caught_up =
            |id: &RaftId| known.iter().any(|p| p.id == *id && p.matched + 5 >= quorum.last_index());
        let (ready, behind): (Vec<_>, Vec<_>) =
            voters.into_iter().partition(|id| *id == leader || caught_up(id));
        learners.extend(behind);
        let _refused = quorum.propose_membership(&ready, &learners);
        self.carry_on(leader);
    }

    /// A disk is gone for good, if those that remain are still a majority wherever one is needed.
    fn lose_a_disk(&mut self) {
        let Some(leader) = self.leader() else { return };
        let live = self.live();
        let quorum = self.members[&leader].quorum.as_ref().unwrap();
        let membership = quorum.membership().clone();
        let victim = live[self.rng.index(live.len())];
        let enough = |voters: &[RaftId]| {
            let left = voters.iter().filter(|id| **id != victim && live.contains(id)).count();
            left * 2 > voters.len()
        };
        // What is proposed but not applied may need other majorities.
        let settled = !membership.is_joint()
            && quorum.applied_point().is_some_and(|point| point.index == quorum.last_index());
        if settled && enough(&membership.voters) && victim != leader && !self.is_behind(&membership, leader) {
            self.counts.disks_lost += 1;
            self.crash(victim);
            self.members.get_mut(&victim).unwrap().lost = true;
        }
    }

    /// True while some other running member believes in another membership, or leads.
    fn is_behind(&self, membership: &Membership, leader: RaftId) -> bool {
        let others = self.members.values().filter(|member| member.id != leader);
        others.filter_map(|member| member.quorum.as_ref()).any(|quorum| {
            quorum.role() == Role::Leader
                || (quorum.membership() != membership && quorum.membership().is_joint())
        })
    }

    fn show(&self) -> String {
        let one = |member: &Member| {
            let quorum = member.quorum.as_ref().map(|q| {
                (q.role(), q.term(), q.committed(), q.last_index(), q.membership().clone(), q.progress())
            });
            format!("{:?} lost={} applied={} {quorum:?}\n", member.id, member.lost, member.applied)
        };
        self.members.values().map(one).collect()
    }

    /// Nothing goes wrong any more: a leader, a new entry, and one mind.
    fn heal(&mut self) {
        self.cuts.clear();
        (self.draws.loss, self.draws.delay, self.draws.write) = (0, 1, 1);
        for member in self.members.values_mut() {
            member.paused_until = 0;
            member.restart();
        }
        let end = self.now + HEALING;
        let mut last = None;
        while self.now < end {
            self.pass_tick();
            if last.is_none() && self.now + HEALING / 3 > end {
                let leader =
                    self.leader().unwrap_or_else(|| panic!("a healed quorum has a leader\n{}", self.show()));
                let before = self.waiting.len();
                self.propose(leader);
                last = (self.waiting.len() > before).then_some(self.proposed);
            }
        }
        let leader =
            self.leader().unwrap_or_else(|| panic!("a healed quorum keeps its leader\n{}", self.show()));
        let last = format!(
            "v{}",
            last.unwrap_or_else(|| panic!("a healed quorum takes a proposal\n{}", self.show()))
        );
        self.check_of_one_mind(leader, &last);
    }

    fn check_of_one_mind(&self, leader: RaftId, last: &str) {
        let leading = &self.members[&leader];
        let membership = leading.quorum.as_ref().unwrap().membership();
        assert!(!membership.is_joint(), "a healed quorum ends what it began: {membership:?}");
        for id in membership.members().filter(|id| !self.members[id].lost) {
            let member = &self.members[&id];
            assert_eq!(member.state, leading.state, "{id:?} and its leader {leader:?} differ");
            assert_eq!(member.quorum.as_ref().unwrap().membership(), membership);
        }
        let state: &State = &leading.state;
        for acknowledged in &self.acknowledged {
            let found = state.iter().filter(|(_, value)| *value == acknowledged.1).collect::<Vec<_>>();
            assert_eq!(
                found,
                [acknowledged],
                "an acknowledged proposal is lost, or was applied twice\n{}{:?}\n{state:?}",
                self.show(),
                self.truth
            );
        }
        assert!(self.acknowledged.iter().any(|(_, value)| value == last), "the last proposal has committed");
    }
}
