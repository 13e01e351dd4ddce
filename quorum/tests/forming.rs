//! Every way in which two or three nodes can form a cluster, or fail to: all orders of messages (lost, late, repeated), crashes
//! before and after each write, lost disks.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use base::{BrokerId, Uuid};
use ottla_quorum::forming::{Charter, Forming, Founder, Message, Outcome, Output, Standing};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

const NODES: [BrokerId; 3] = [BrokerId(1), BrokerId(2), BrokerId(3)];

#[derive(Clone, Hash)]
struct Node {
    disk: Standing,
    /// How many disks it has lost.
    generation: u8,
    machine: Forming,
    saving: Option<Standing>,
}

/// The network keeps what was ever said: it may reach anybody at any time, any number of times, or never. What a node
/// tells is what its disk says, so that the network is what the disks have ever said, and the charters ever asked for.
#[derive(Clone, Hash)]
struct State {
    nodes: Vec<Node>,
    said: BTreeSet<(usize, Uuid, Standing)>,
    asked: BTreeSet<Charter>,
    losses_left: u8,
    founded: BTreeSet<Charter>,
}

fn directory(node: usize, generation: u8) -> Uuid {
    let mut bytes = [0; 16];
    (bytes[0], bytes[15]) = (u8::try_from(node).unwrap() + 1, generation + 1);
    Uuid(bytes)
}

fn machine(node: usize, nodes: usize, generation: u8, disk: &Standing) -> Forming {
    let own = Founder { node: NODES[node], directory: directory(node, generation) };
    let mut fresh = own.directory;
    fresh.0[7] = 9;
    Forming::new(own, NODES[..nodes].to_vec(), disk.clone(), fresh)
}

impl State {
    fn new(nodes: usize, losses: u8) -> Self {
        let node = |node| Node {
            disk: Standing::Empty,
            generation: 0,
            machine: machine(node, nodes, 0, &Standing::Empty),
            saving: None,
        };
        let mut state = Self {
            nodes: (0..nodes).map(node).collect(),
            said: BTreeSet::new(),
            asked: BTreeSet::new(),
            losses_left: losses,
            founded: BTreeSet::new(),
        };
        (0..nodes).for_each(|node| state.say(node));
        state
    }

    fn say(&mut self, node: usize) {
        let at = &self.nodes[node];
        self.said.insert((node, directory(node, at.generation), at.disk.clone()));
    }

    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    fn act(&self, node: usize, input: impl FnOnce(&mut Forming) -> Output) -> Self {
        let mut next = self.clone();
        let output = input(&mut next.nodes[node].machine);
        for (_, message) in output.send {
            match message {
                Message::Ask { charter, .. } => next.asked.extend(charter),
                Message::Tell { directory, standing, .. } => {
                    assert!(
                        next.said.contains(&(node, directory, standing)),
                        "told what the disk never said"
                    );
                }
            }
        }
        if let Some(save) = output.save {
            assert!(next.nodes[node].saving.is_none(), "one write at a time");
            next.nodes[node].saving = Some(save);
        }
        if let Some(Outcome::Founded(charter)) = output.outcome {
            assert_eq!(
                next.nodes[node].disk,
                Standing::Member(charter.cluster_id),
                "founded and not durable"
            );
            next.found(charter);
        }
        next
    }

    fn found(&mut self, charter: Charter) {
        for founder in &charter.founders {
            let at = NODES.iter().position(|id| *id == founder.node).unwrap();
            let node = &self.nodes[at];
            let lost = founder.directory != directory(at, node.generation);
            let agreed = node.disk == Standing::Prepared(charter.clone())
                || node.disk == Standing::Member(charter.cluster_id);
            assert!(agreed || lost, "{charter:?} counts, and {at} has not agreed: {:?}", node.disk);
        }
        for other in self.founded.iter().filter(|other| **other != charter) {
            for founder in &other.founders {
                let at = NODES.iter().position(|id| *id == founder.node).unwrap();
                let there = founder.directory == directory(at, self.nodes[at].generation);
                assert!(!there, "a second cluster {charter:?} beside {other:?}");
            }
        }
        self.founded.insert(charter);
    }

    fn write(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Some(standing) = node.saving.take() {
            node.disk = standing;
        }
        self.say(at);
    }

    fn restart(mut self, node: usize) -> Self {
        let nodes = self.nodes.len();
        let at = &mut self.nodes[node];
        at.saving = None;
        at.machine = machine(node, nodes, at.generation, &at.disk);
        self
    }

    /// Everything that may happen next.
    fn successors(&self) -> Vec<Self> {
        let mut next = Vec::new();
        for (node, at) in self.nodes.iter().enumerate() {
            next.push(self.act(node, Forming::tick));
            if at.saving.is_some() {
                let mut written = self.clone();
                written.write(node);
                next.push(written.clone().act(node, Forming::saved));
                next.push(written.restart(node));
            }
            next.push(self.clone().restart(node));
            if self.losses_left > 0 {
                let mut lost = self.clone();
                lost.losses_left -= 1;
                lost.nodes[node].generation += 1;
                lost.nodes[node].disk = Standing::Empty;
                lost.say(node);
                next.push(lost.restart(node));
            }
        }
        let voters = NODES[..self.nodes.len()].to_vec();
        for to in 0..self.nodes.len() {
            for (from, directory, standing) in self.said.iter().filter(|(from, ..)| *from != to) {
                let tell = Message::Tell {
                    voters: voters.clone(),
                    directory: *directory,
                    standing: standing.clone(),
                };
                next.push(self.act(to, |machine| machine.handle(NODES[*from], tell)));
            }
            for charter in self.asked.iter().filter(|_| to != 0) {
                let ask = Message::Ask { voters: voters.clone(), charter: Some(charter.clone()) };
                next.push(self.act(to, |machine| machine.handle(NODES[0], ask)));
            }
        }
        next
    }
}

/// Walks through everything that can happen with so many lost disks. Returns the number of states, and of those in which
/// a cluster was founded.
fn explore(nodes: usize, losses: u8) -> (usize, usize) {
    let start = State::new(nodes, losses);
    let mut seen = HashSet::from([start.key()]);
    let mut open = VecDeque::from([start]);
    let mut founded = 0;
    while let Some(state) = open.pop_front() {
        founded += usize::from(!state.founded.is_empty());
        for next in state.successors() {
            if seen.insert(next.key()) {
                open.push_back(next);
            }
        }
    }
    (seen.len(), founded)
}

#[test]
fn three_nodes_found_one_cluster_whatever_happens() {
    let (states, founded) = explore(3, 0);
    println!("three nodes, no disk lost: {states} states, {founded} after a founding");
    assert!(states > 1_000 && founded > 100);
}

#[test]
fn a_lost_disk_never_founds_a_second_cluster() {
    let (states, founded) = explore(3, 1);
    println!("three nodes, one disk lost: {states} states, {founded} after a founding");
    assert!(states > 100_000 && founded > 10_000);
}

#[test]
fn a_second_cluster_takes_the_loss_of_every_disk() {
    let (states, founded) = explore(2, 2);
    println!("two nodes, two disks lost: {states} states, {founded} after a founding");
    assert!(states > 1_000 && founded > 100);
}
