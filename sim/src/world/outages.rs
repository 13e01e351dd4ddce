//! What befalls several nodes at once, or what is between them: crashes together, cuts, slow links, pauses, the end of the
//! controller, restarts one after the other.

use super::network::Place;
use super::queue::Event;
use super::{Span, World};
use base::Instant;

/// The kinds of outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Several nodes crash, perhaps all.
    CrashTogether,
    /// Nothing gets from one node to another, nor back.
    Cut,
    /// Nothing gets from one node to another.
    OneWayCut,
    /// A node is cut off from all others, perhaps from the clients, too.
    Isolation,
    /// What gets from one node to another takes long.
    SlowLink,
    /// A process does nothing for a while.
    Pause,
    /// The controller's process ends.
    ControllerKill,
    /// One node after the other is stopped and started.
    RollingRestart,
    /// A node's disk is gone with all that was on it.
    LostDisk,
    /// A bit flips in the metadata that a node has on its disk: it does not start any more, and gets an empty one.
    RottenMetadata,
    /// Bits flip in what a node has of partitions.
    Rot,
}

impl Kind {
    pub(crate) const ALL: [Self; 11] = [
        Self::CrashTogether,
        Self::Cut,
        Self::OneWayCut,
        Self::Isolation,
        Self::SlowLink,
        Self::Pause,
        Self::ControllerKill,
        Self::RollingRestart,
        Self::LostDisk,
        Self::RottenMetadata,
        Self::Rot,
    ];
}

/// What ends later.
#[derive(Clone, Debug)]
pub(super) enum Outage {
    /// Since when.
    Cut(Vec<(Place, Place)>, Instant),
    Slow((Place, Place)),
    /// The next node of a rolling restart is stopped.
    Roll(usize),
    /// A disk is lost until all that it held is elsewhere again.
    Loss,
}

/// A controller without word from a majority has had twice the time of an election by then.
const NOTICES_WITHIN: Span = Span::from_secs(2);

impl World {
    /// One of the outages that this seed is strong in.
    pub(super) fn outage(&mut self) {
        if self.swarm.outages.is_empty() {
            return;
        }
        let kind = self.swarm.outages[self.rng.index(self.swarm.outages.len())];
        let (one, other) = self.two_nodes();
        let (here, there) = (Place::Node(one), Place::Node(other));
        match kind {
            Kind::CrashTogether => self.crash_together(),
            Kind::Cut => self.cut("cut between two nodes", vec![(here, there), (there, here)]),
            Kind::OneWayCut => self.cut("one-way cut", vec![(here, there)]),
            Kind::Isolation => self.isolate(one),
            Kind::SlowLink => {
                self.report.count("slow link");
                self.net.slow.insert((here, there));
                let lasts = self.outage_time();
                self.at(lasts, Event::Mend(Outage::Slow((here, there))));
            }
            Kind::Pause => self.pause(one),
            Kind::ControllerKill => self.kill_controller(),
            Kind::RollingRestart => {
                self.report.count("rolling restart");
                self.roll(0);
            }
            Kind::LostDisk => self.lose_disk(one),
            Kind::RottenMetadata => self.rot_metadata(one),
            // What a node closes properly is not looked at when it starts; the rest is.
            Kind::Rot if self.rng.chance(1, 2) => self.stop(one),
            Kind::Rot => self.rot_while_running(one),
        }
    }

    fn two_nodes(&mut self) -> (usize, usize) {
        let count = self.nodes.len();
        let one = self.rng.index(count);
        (one, (one + 1 + self.rng.index(count - 1)) % count)
    }

    /// Most outages are short; some last until everybody has noticed.
    fn outage_time(&mut self) -> Span {
        let most = if self.rng.chance(2, 3) { 2_000 } else { 15_000 };
        Span::from_millis(self.rng.between(20, most))
    }

    fn crash_together(&mut self) {
        self.report.count("crash of several nodes");
        let spares_one = self.rng.chance(1, 2);
        let spared = self.rng.index(self.nodes.len());
        for index in (0..self.nodes.len()).filter(|index| !spares_one || *index != spared) {
            self.crash(index);
        }
    }

    fn isolate(&mut self, one: usize) {
        let with_clients = self.rng.chance(1, 2);
        let others = (0..self.nodes.len()).filter(|other| *other != one).map(Place::Node);
        let others = others.chain(with_clients.then_some(Place::Clients));
        let pairs = others.flat_map(|other| [(Place::Node(one), other), (other, Place::Node(one))]);
        self.cut("isolated node", pairs.collect());
    }

    fn cut(&mut self, name: &'static str, pairs: Vec<(Place, Place)>) {
        self.report.count(name);
        self.trace.event(self.now.as_nanos(), "cut", || format!("{pairs:?}"));
        for pair in &pairs {
            *self.net.cuts.entry(*pair).or_default() += 1;
        }
        let lasts = self.outage_time();
        self.at(lasts, Event::Mend(Outage::Cut(pairs, self.now)));
    }

    fn pause(&mut self, index: usize) {
        let node = &self.nodes[index];
        if !node.is_listening() || node.paused_until > self.now {
            return;
        }
        self.report.count("pause");
        let lasts = self.outage_time();
        self.trace.event(self.now.as_nanos(), "pause", || format!("n{} for {lasts:?}", index + 1));
        self.nodes[index].paused_until = self.now + lasts;
    }

    fn kill_controller(&mut self) {
        let Some(index) = self.nodes.iter().position(crate::node::SimNode::is_controller) else { return };
        self.report.count("controller killed");
        self.crash(index);
    }

    /// Stops a node and, once it has had time to come back, the next.
    fn roll(&mut self, index: usize) {
        if index >= self.nodes.len() || self.calm {
            return;
        }
        self.stop(index);
        let next = Span::from_millis(self.rng.between(500, 5_000));
        self.at(next, Event::Mend(Outage::Roll(index + 1)));
    }

    pub(super) fn mend(&mut self, outage: &Outage) {
        match outage {
            Outage::Cut(pairs, since) => {
                self.look_at_minority(pairs, *since);
                self.trace.event(self.now.as_nanos(), "mend", || format!("{pairs:?}"));
                for pair in pairs {
                    if let Some(count) = self.net.cuts.get_mut(pair) {
                        *count -= 1;
                    }
                }
                self.net.cuts.retain(|_, count| *count > 0);
                self.resume_network();
            }
            Outage::Slow(pair) => {
                self.net.slow.remove(pair);
            }
            Outage::Roll(index) => self.roll(*index),
            Outage::Loss => self.look_at_loss(),
        }
    }

    /// Who is cut off from all others for so long has noticed that it decides nothing any more, unless its process stood still.
    fn look_at_minority(&mut self, pairs: &[(Place, Place)], since: Instant) {
        if !pairs.iter().all(|pair| self.net.cuts.contains_key(pair)) {
            // The network was made whole before.
            return;
        }
        let others = self.nodes.len() - 1;
        let is_from = |index: usize| {
            let to = |place: &Place| matches!(place, Place::Node(_));
            pairs.iter().filter(|(from, there)| *from == Place::Node(index) && to(there)).count() == others
        };
        let Some(index) = (0..self.nodes.len()).find(|index| is_from(*index)).filter(|_| others > 0) else {
            return;
        };
        let node = &self.nodes[index];
        let ran = self.now.since(since.max(node.paused_until));
        if others > 1 && ran > NOTICES_WITHIN && node.is_controller() {
            let wrong = format!("node {} is the controller, and nobody has heard it for {ran:?}", index + 1);
            self.oracle.wrong.get_or_insert(wrong);
        }
    }

    /// The network is whole. (What would have mended it later finds nothing to do.)
    pub(super) fn end_outages(&mut self) {
        self.net.cuts.clear();
        self.net.slow.clear();
        self.resume_network();
    }
}
