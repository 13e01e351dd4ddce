//! Trouble at random, and what must hold all the same.

use super::world::World;
use super::{ALL, NONE, REPLICATED, Sent, check_same, code, produce, three, write};
use base::Rng;
use base::plant::Bug;

/// One thing that happens, trouble or a write.
fn step(world: &mut World, rng: &mut Rng, is_durable: bool) -> Option<usize> {
    let at = rng.index(3);
    let is_up = world.brokers[at].is_up;
    match rng.below(22) {
        0 => world.fence(at, true),
        1 | 2 if is_up => world.fence(at, false),
        3 => world.sever(at, (at + 1) % 3),
        4 => world.heal(),
        5 => world.brokers[at].holds_flushes = is_up,
        6 | 7 => world.release_flushes(at),
        8 if is_up && is_durable => {
            world.crash(at);
            world.fence(at, true);
        }
        9 if !is_up => world.start(at, if is_durable { 0 } else { 100 }),
        10 => world.advance(rng.below(20_000)),
        11 => world.keeps_answers = Some(at),
        12 | 13 => world.release_answers(),
        14 => world.keeps_reports = Some(at),
        15 | 16 => world.release_reports(),
        17 => world.brokers[at].is_deaf = true,
        18 => world.hear(at),
        _ => {
            let leads = (0..3).find(|at| world.brokers[*at].is_up && world.leads(*at));
            return leads.filter(|_| rng.chance(3, 4));
        }
    }
    None
}

/// Trouble at random; in the end all is well again and nothing that was acknowledged is missing.
fn trouble(seed: u64) {
    let mut rng = Rng::new(seed);
    let is_durable = rng.chance(1, 2);
    let configs: &[(&str, &str)] = if is_durable {
        &[("min.insync.replicas", "2")]
    } else {
        &[("min.insync.replicas", "2"), REPLICATED]
    };
    let mut world = three(configs);
    let mut sent: Vec<(String, Sent)> = Vec::new();
    let mut acked: Vec<String> = Vec::new();
    for number in 0..120 {
        if let Some(leader) = step(&mut world, &mut rng, is_durable) {
            let value = format!("<{number}>");
            let request = produce(&mut world, leader, &value, ALL);
            sent.push((value, request));
        }
        let mut waits = Vec::new();
        for (value, request) in sent {
            match code(&mut world, request) {
                Some(NONE) => acked.push(value),
                Some(_) => {}
                None => waits.push((value, request)),
            }
        }
        sent = waits;
    }
    all_is_well(&mut world, is_durable);
    let leader = world.leader();
    write(&mut world, leader, "the end");
    check_same(&world);
    assert_eq!(world.isr().len(), 3);
    let content = world.content(leader, 0);
    let text = String::from_utf8_lossy(&content);
    for value in &acked {
        assert!(text.contains(value), "{value} is missing");
    }
}

fn all_is_well(world: &mut World, is_durable: bool) {
    world.release_answers();
    world.release_reports();
    for at in 0..3 {
        world.hear(at);
        if !world.brokers[at].is_up {
            world.start(at, if is_durable { 0 } else { 100 });
        }
        world.release_flushes(at);
    }
    world.heal();
    (0..3).for_each(|at| world.fence(at, false));
    world.advance(20_000);
}

/// Those that take no more than what happens here; the simulator meets all.
#[test]
fn planted_bugs_are_found() {
    for bug in [Bug::A1, Bug::A2, Bug::A11, Bug::A13] {
        let is_found = |seed: u64| {
            let told = std::panic::catch_unwind(|| {
                base::plant::arm(Some(bug));
                trouble(seed);
            });
            base::plant::arm(None);
            told.is_err()
        };
        assert!((0..3_000).any(is_found), "{bug:?}");
    }
}

#[test]
fn whatever_happens_nothing_that_was_acknowledged_is_lost() {
    for seed in 0..base::rounds(200) {
        let told = std::panic::catch_unwind(|| trouble(seed));
        assert!(told.is_ok(), "seed {seed}");
    }
}
