//! What a seed is strong in: each draws its own mix, so that rare things meet.

use super::outages::Kind;
use base::Rng;

/// What ends with an empty disk.
const LOSSES: [Kind; 2] = [Kind::LostDisk, Kind::RottenMetadata];

/// How often some things happen in a run, and how large others are.
#[derive(Clone, Debug)]
pub(crate) struct Swarm {
    /// `log.index.interval.bytes`: small ones index each batch.
    pub(crate) index_interval: u64,
    /// `log.roll.ms` is at most this: short ones make many segments.
    pub(crate) roll_ms_max: u64,
    /// Bytes of a record's value are less than this.
    pub(crate) padding: usize,
    /// Bits that flip while the node is down are fewer than this.
    pub(crate) flips: u64,
    /// They flip where segments are cut: in indexes, and at the ends of logs.
    pub(crate) flips_at_ends: bool,
    /// Clean stops come more often.
    pub(crate) stops: bool,
    /// Beginnings are moved more often.
    pub(crate) trims: bool,
    /// A crash strikes the deletion of files, so often in a hundred.
    pub(crate) struck_deletions: u64,
    /// Now and then a single write finds no space.
    pub(crate) starves: bool,
    /// One call of an owner in so many is struck by a crash.
    pub(crate) calls_per_crash: u64,
    /// A start is struck by a crash so many times more seldom than where there is one node.
    pub(crate) starts_per_crash: u64,
    /// How long a node stays down at most.
    pub(crate) down_micros_max: u64,
    /// The longest time between two faults.
    pub(crate) fault_millis_max: u64,
    /// What befalls several nodes at once.
    pub(crate) outages: Vec<Kind>,
}

impl Swarm {
    /// True if disks are lost with all that was on them.
    pub(crate) fn loses_disks(&self) -> bool {
        self.outages.iter().any(|kind| LOSSES.contains(kind))
    }

    pub(crate) fn draw(rng: &mut Rng, nodes: usize, replicas: i16) -> Self {
        let alone = Self {
            index_interval: if rng.chance(1, 2) { rng.below(500) } else { 4_096 },
            roll_ms_max: if rng.chance(1, 4) { 500 } else { 5_000 },
            padding: if rng.chance(1, 4) { 60 } else { 2_000 },
            flips: if rng.chance(1, 4) { 40 } else { 6 },
            flips_at_ends: rng.chance(1, 2),
            stops: rng.chance(1, 4),
            trims: rng.chance(1, 3),
            struck_deletions: if rng.chance(1, 3) { 20 } else { 0 },
            starves: rng.chance(1, 3),
            calls_per_crash: 1_000,
            starts_per_crash: 1,
            down_micros_max: 200_000,
            fault_millis_max: 2_000,
            outages: Vec::new(),
        };
        if nodes == 1 { alone } else { alone.in_cluster(rng, replicas) }
    }

    /// With more nodes there are more calls; and what has broken needs time to be whole again.
    fn in_cluster(self, rng: &mut Rng, replicas: i16) -> Self {
        let mut outages: Vec<Kind> = Kind::ALL.iter().copied().filter(|_| rng.chance(1, 2)).collect();
        // Whoever has all that it has on one disk loses it.
        outages.retain(|kind| replicas >= 3 || !LOSSES.contains(kind) && *kind != Kind::Rot);
        Self {
            flips: if outages.contains(&Kind::Rot) { self.flips } else { 1 },
            calls_per_crash: if rng.chance(1, 2) { 4_000 } else { 20_000 },
            starts_per_crash: 2,
            down_micros_max: if rng.chance(1, 2) { 500_000 } else { 10_000_000 },
            fault_millis_max: if rng.chance(1, 2) { 2_000 } else { 8_000 },
            outages,
            ..self
        }
    }
}
