//! What a seed is strong in: each draws its own mix, so that rare things meet.

use base::Rng;

/// How often some things happen in a run, and how large others are.
#[derive(Clone, Copy, Debug)]
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
}

impl Swarm {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        Self {
            index_interval: if rng.chance(1, 2) { rng.below(500) } else { 4_096 },
            roll_ms_max: if rng.chance(1, 4) { 500 } else { 5_000 },
            padding: if rng.chance(1, 4) { 60 } else { 2_000 },
            flips: if rng.chance(1, 4) { 40 } else { 6 },
            flips_at_ends: rng.chance(1, 2),
            stops: rng.chance(1, 4),
            trims: rng.chance(1, 3),
            struck_deletions: if rng.chance(1, 3) { 20 } else { 0 },
            starves: rng.chance(1, 3),
        }
    }
}
