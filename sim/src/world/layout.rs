//! How a cluster is laid out: in which racks its nodes stand, and which of them decide and hold nothing.

use base::Rng;

/// The layout of one run. The nodes that only decide come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// How many nodes there are.
    pub(crate) nodes: usize,
    /// How many of them are controllers and no brokers.
    controllers: usize,
    /// In how many racks they stand; nobody says it if there are none.
    racks: usize,
}

impl Layout {
    pub(crate) fn draw(rng: &mut Rng, nodes: usize) -> Self {
        let alone = Self { nodes, controllers: 0, racks: 0 };
        match nodes {
            1 => alone,
            _ => Self {
                controllers: if nodes >= 3 && rng.chance(1, 5) {
                    1 + rng.index((nodes - 1) / 2).min(2)
                } else {
                    0
                },
                racks: if rng.chance(1, 3) { 2 + rng.index(2) } else { 0 },
                ..alone
            },
        }
    }

    /// The first node that is a broker.
    pub(crate) const fn first_broker(&self) -> usize {
        self.controllers
    }

    pub(crate) const fn is_broker(&self, index: usize) -> bool {
        index >= self.controllers
    }

    pub(crate) const fn brokers(&self) -> usize {
        self.nodes - self.controllers
    }

    /// How many replicas a partition has at most, if so many are wanted.
    pub(crate) fn replicas(&self, wanted: i16) -> i16 {
        wanted.min(i16::try_from(self.brokers()).unwrap_or(i16::MAX))
    }

    /// The rack in which something stands, by its number.
    pub(crate) fn rack_of(&self, number: usize) -> Option<String> {
        (self.racks > 0).then(|| format!("rack-{}", number % self.racks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_broker_where_partitions_have_two_replicas() {
        for nodes in 1..=9 {
            let layouts = (0..200).map(|seed| Layout::draw(&mut Rng::new(seed), nodes));
            assert!(layouts.clone().all(|layout| layout.brokers() >= nodes.min(2)));
            let some = nodes >= 3;
            assert_eq!(layouts.clone().any(|layout| !layout.is_broker(0)), some);
            assert_eq!(layouts.clone().any(|layout| layout.rack_of(4).is_some()), nodes > 1);
        }
    }
}
