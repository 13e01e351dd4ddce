//! How a cluster comes into being without a format step, and why a second one cannot.
//!
//! The nodes that `controller.quorum.voters` names ask each other what their disks say. Only when *every* one of them
//! has answered that its disk is empty does the first of them (by id) write a [`Charter`]: a cluster id, and each
//! founder with the id of its directory. It counts once every founder has made it durable; then the founders are
//! members and may vote. So
//! - a disk takes part in at most one charter, for ever;
//! - a charter that counts is on every disk that it names: a later one needs all of these disks to be gone;
//! - a node whose disk is empty, and which hears of a cluster, never forms one: it asks to be admitted.
//!
//! What cannot be completed and cannot be proved to be void (a founder lost its disk in the middle) stays as it is and
//! is reported: nothing is overwritten.

use crate::entry::{Membership, RaftId};
use base::{BrokerId, Uuid};
use core::fmt;
use std::collections::BTreeMap;

/// A node that founded a cluster, and the directory with which it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Founder {
    /// The node.
    pub node: BrokerId,
    /// Its directory: another one is another member (E7).
    pub directory: Uuid,
}

/// The beginning of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Charter {
    /// The cluster's id.
    pub cluster_id: Uuid,
    /// Its founders, by node; they are the first voters.
    pub founders: Vec<Founder>,
}

/// What a node's disk says about a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Nothing.
    Empty,
    /// It has agreed to be a founder and does not know yet whether all others have.
    Prepared(Charter),
    /// It is part of the cluster of this id.
    Member(Uuid),
}

/// What the nodes say to each other before there is a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// Asks what a disk says, and whether it agrees to a charter.
    Ask {
        /// The voters that the asker's file names.
        voters: Vec<BrokerId>,
        /// To be agreed to.
        charter: Option<Charter>,
    },
    /// The answer.
    Tell {
        /// The voters that this node's file names.
        voters: Vec<BrokerId>,
        /// The id of its directory.
        directory: Uuid,
        /// What its disk says.
        standing: Standing,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This node is a member of a cluster that it has founded.
    Founded(Charter),
    /// There is a cluster: this node has to be admitted to it.
    Join {
        /// The cluster.
        cluster_id: Uuid,
        /// Who is part of it.
        through: BrokerId,
    },
}

/// Why a cluster cannot be formed until somebody looks after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Two files name different voters.
    Voters {
        /// The other node.
        node: BrokerId,
        /// What its file names.
        theirs: Vec<BrokerId>,
    },
    /// A charter that this node holds or was told of cannot be completed any more.
    Charter {
        /// The node whose disk does not fit it.
        node: BrokerId,
        /// The cluster that was about to be formed.
        cluster_id: Uuid,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Voters { node, theirs } => write!(
                f,
                "controller.quorum.voters of node {node} names the nodes {theirs:?}, and this node's names others: \
                 give all of them the same list"
            ),
            Self::Charter { node, cluster_id } => write!(
                f,
                "a cluster {cluster_id} was about to be formed, and the data directory of node {node} is not the one \
                 that took part: put that directory back; or, if the cluster never served, empty the data directories \
                 of all voters"
            ),
        }
    }
}

/// Everything that follows from an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a dropped output is a lost write or a lost message"]
pub struct Output {
    /// To be made durable, and confirmed with [`Forming::saved`].
    pub save: Option<Standing>,
    /// To be sent.
    pub send: Vec<(BrokerId, Message)>,
    /// Present once it is settled.
    pub outcome: Option<Outcome>,
    /// Present as long as it cannot go on.
    pub conflict: Option<Conflict>,
}

/// One node on its way into a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Forming {
    own: Founder,
    /// Sorted.
    voters: Vec<BrokerId>,
    /// The id of the cluster that this node would form.
    fresh: Uuid,
    standing: Standing,
    saving: Option<Standing>,
    told: BTreeMap<BrokerId, (Uuid, Standing)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It has agreed.
    Agreed,
    /// It has not yet, and still may.
    Open,
    /// It knows that all have.
    Counts,
    /// It never will.
    Conflict,
}

impl Charter {
    /// The founders as the first voters.
    #[must_use]
    pub fn membership(&self) -> Membership {
        Membership::of_voters(self.founders.iter().map(|founder| RaftId::of(founder.directory)))
    }

    fn directory_of(&self, node: BrokerId) -> Option<Uuid> {
        self.founders.iter().find(|founder| founder.node == node).map(|founder| founder.directory)
    }
}

impl RaftId {
    /// The member that lives in a directory: an id that is never used again, since a directory's is not.
    #[must_use]
    pub fn of(directory: Uuid) -> Self {
        let half =
            |at: usize| directory.0[at..at + 8].iter().fold(0, |id: u64, byte| id << 8 | u64::from(*byte));
        Self((half(0) ^ half(8)).max(1))
    }
}

impl Forming {
    /// A node with what its disk says. `fresh` is the cluster id to use if it comes to that.
    #[must_use]
    pub fn new(own: Founder, mut voters: Vec<BrokerId>, standing: Standing, fresh: Uuid) -> Self {
        voters.sort_unstable();
        voters.dedup();
        Self { own, voters, fresh, standing, saving: None, told: BTreeMap::new() }
    }

    /// Begins; and again whenever some time has passed: what was lost is asked for again.
    pub fn tick(&mut self) -> Output {
        if self.standing == Standing::Empty && self.saving.is_none() {
            // Only what is true at about the same time may lead to a charter.
            self.told.clear();
        }
        let mut output = self.look();
        let charter = match &self.standing {
            Standing::Prepared(charter) if self.is_first() => Some(charter.clone()),
            Standing::Prepared(_) | Standing::Empty | Standing::Member(_) => None,
        };
        let ask = Message::Ask { voters: self.voters.clone(), charter };
        output.send.extend(self.others().map(|other| (other, ask.clone())));
        output
    }

    /// Takes a message from another node.
    pub fn handle(&mut self, from: BrokerId, message: Message) -> Output {
        match message {
            Message::Ask { voters, charter } => self.asked(from, &voters, charter),
            Message::Tell { voters, directory, standing } => {
                let is_member = matches!(standing, Standing::Member(_));
                if voters != self.voters && !is_member {
                    return self.other_voters(from, voters);
                }
                if !matches!(self.standing, Standing::Member(_)) {
                    self.told.insert(from, (directory, standing));
                }
                self.look()
            }
        }
    }

    /// Confirms that what was to be saved is durable.
    pub fn saved(&mut self) -> Output {
        let Some(standing) = self.saving.take() else { return Output::default() };
        let before = core::mem::replace(&mut self.standing, standing);
        let mut output = self.look();
        if let (Standing::Prepared(charter), Standing::Member(_)) = (before, &self.standing) {
            self.told.clear();
            output.outcome = Some(Outcome::Founded(charter));
        }
        output.send.extend(self.others().map(|other| (other, self.tell())));
        output
    }

    /// What the disk says.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Voters that have not answered, for those who wait.
    pub fn silent(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.others().filter(|other| !self.told.contains_key(other))
    }

    fn asked(&mut self, from: BrokerId, voters: &[BrokerId], charter: Option<Charter>) -> Output {
        let fits = voters == self.voters && self.voters.first() == Some(&from);
        if let Some(charter) = charter.filter(|charter| fits && self.may_agree(charter)) {
            return self.save(Standing::Prepared(charter));
        }
        let mut output = Output::default();
        if self.saving.is_none() {
            output.send.push((from, self.tell()));
        }
        if voters != self.voters && self.standing == Standing::Empty {
            output.conflict = self.other_voters(from, voters.to_vec()).conflict;
        }
        output
    }

    /// Only an empty disk agrees, and only to a charter that names it and the voters that its own file names.
    fn may_agree(&self, charter: &Charter) -> bool {
        let nodes = charter.founders.iter().map(|founder| founder.node);
        self.standing == Standing::Empty
            && self.saving.is_none()
            && nodes.eq(self.voters.iter().copied())
            && charter.directory_of(self.own.node) == Some(self.own.directory)
    }

    /// What follows from what the others have told.
    fn look(&mut self) -> Output {
        if self.saving.is_some() {
            return Output::default();
        }
        match self.standing.clone() {
            Standing::Member(_) => Output::default(),
            Standing::Empty => self.look_empty(),
            Standing::Prepared(charter) => self.look_prepared(charter),
        }
    }

    fn look_empty(&mut self) -> Output {
        for (node, (_, standing)) in &self.told {
            match standing {
                Standing::Member(cluster_id) => {
                    let outcome = Outcome::Join { cluster_id: *cluster_id, through: *node };
                    return Output { outcome: Some(outcome), ..Output::default() };
                }
                // The first to agree is the first of the voters: whoever knows of a charter that it does not hold
                // has lost its disk. So has whoever is named with another directory.
                Standing::Prepared(charter)
                    if self.is_first() || charter.directory_of(self.own.node) != Some(self.own.directory) =>
                {
                    return conflict(self.own.node, charter);
                }
                Standing::Prepared(_) | Standing::Empty => {}
            }
        }
        if !self.is_first() || self.silent().next().is_some() {
            return Output::default();
        }
        let founder = |node: &BrokerId| {
            let directory = self.told.get(node).map_or(self.own.directory, |(directory, _)| *directory);
            Founder { node: *node, directory }
        };
        let founders = self.voters.iter().map(founder).collect();
        self.save(Standing::Prepared(Charter { cluster_id: self.fresh, founders }))
    }

    fn look_prepared(&mut self, charter: Charter) -> Output {
        let fits: Vec<_> = self.others().map(|node| (node, self.fit(node, &charter))).collect();
        if fits.iter().any(|(_, fit)| *fit == Fit::Counts) {
            return self.save(Standing::Member(charter.cluster_id));
        }
        if let Some((node, _)) = fits.iter().find(|(_, fit)| *fit == Fit::Conflict) {
            return conflict(*node, &charter);
        }
        let all = fits.iter().all(|(_, fit)| *fit == Fit::Agreed);
        if all && self.is_first() {
            self.save(Standing::Member(charter.cluster_id))
        } else {
            Output::default()
        }
    }

    /// How what another founder has told fits a charter.
    fn fit(&self, node: BrokerId, charter: &Charter) -> Fit {
        let Some((directory, standing)) = self.told.get(&node) else { return Fit::Open };
        let same = charter.directory_of(node) == Some(*directory);
        match standing {
            Standing::Member(cluster_id) if *cluster_id == charter.cluster_id => Fit::Counts,
            Standing::Prepared(theirs) if theirs == charter && same => Fit::Agreed,
            Standing::Empty if same => Fit::Open,
            Standing::Member(_) | Standing::Prepared(_) | Standing::Empty => Fit::Conflict,
        }
    }

    fn save(&mut self, standing: Standing) -> Output {
        self.saving = Some(standing.clone());
        Output { save: Some(standing), ..Output::default() }
    }

    fn tell(&self) -> Message {
        Message::Tell {
            voters: self.voters.clone(),
            directory: self.own.directory,
            standing: self.standing.clone(),
        }
    }

    fn is_first(&self) -> bool {
        self.voters.first() == Some(&self.own.node)
    }

    fn others(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.voters.iter().copied().filter(|node| *node != self.own.node)
    }

    fn other_voters(&self, node: BrokerId, theirs: Vec<BrokerId>) -> Output {
        Output { conflict: Some(Conflict::Voters { node, theirs }), ..Output::default() }
    }
}

fn conflict(node: BrokerId, charter: &Charter) -> Output {
    let conflict = Conflict::Charter { node, cluster_id: charter.cluster_id };
    Output { conflict: Some(conflict), ..Output::default() }
}

#[cfg(test)]
mod tests;
