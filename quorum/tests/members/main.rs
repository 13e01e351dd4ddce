//! Whole quorums on one thread, each from one seed: lost, late and repeated messages, one-way cuts, pauses, crashes in
//! the middle of a write, lost disks, snapshots, changes of the membership. After the trouble everything heals, and
//! the quorum must be of one mind and have every acknowledged proposal exactly once.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod member;
mod world;

use base::plant::{self, Bug};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Counts, World};

/// Lines that the trouble must reach.
const DEMANDED: [&str; 5] = [
    "quorum_joint_left",
    "quorum_leader_left",
    "quorum_leaver_hands_over",
    "quorum_late_rejection",
    "quorum_snapshot_of_an_earlier_leader",
];

/// Seeds of a run; `QUORUM_SEEDS` and `QUORUM_FROM` make it a longer or another one.
#[expect(clippy::disallowed_methods, reason = "a longer run is asked for by the environment")]
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let from = number("QUORUM_FROM").unwrap_or(0);
    from..from + number("QUORUM_SEEDS").unwrap_or(500)
}

fn run(seed: u64) -> Counts {
    let mut world = World::new(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    assert!(outcome.is_ok(), "seed {seed}");
    world.counts
}

#[test]
fn every_seed_ends_of_one_mind() {
    let mut total = Counts::default();
    let _old = base::marks::take();
    for seed in seeds() {
        let counts = run(seed);
        total.elections += counts.elections;
        total.acknowledged += counts.acknowledged;
        total.crashes += counts.crashes;
        total.memberships += counts.memberships;
        total.snapshots_fetched += counts.snapshots_fetched;
        total.disks_lost += counts.disks_lost;
    }
    let marks: BTreeMap<_, _> = base::marks::take();
    println!("{total:?}\n{marks:?}");
    let Counts { elections, acknowledged, crashes, memberships, snapshots_fetched, disks_lost, .. } = total;
    let least = [elections, acknowledged, crashes, memberships, snapshots_fetched, disks_lost];
    assert!(least.iter().all(|count| *count > 50), "some trouble never came: {total:?}");
    for mark in DEMANDED {
        assert!(marks.contains_key(mark), "{mark} was never reached");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn planted_bugs_are_caught() {
    for bug in [Bug::B12, Bug::E10] {
        plant::arm(Some(bug));
        let caught = (0..500).find(|seed| catch_unwind(|| run(*seed)).is_err());
        plant::arm(None);
        println!("{bug:?} is caught by seed {caught:?}");
        assert!(caught.is_some(), "no seed of 500 catches {bug:?}");
    }
}
