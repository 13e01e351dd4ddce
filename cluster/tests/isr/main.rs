//! Everything that three replicas of a partition and their controller can do: exhaustively within a small budget of
//! trouble, and at random within a larger one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

mod replica;
mod world;

use base::Rng;
use base::plant::{self, Bug};
use ottla_cluster::config::Durability;
use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::Action::{
    Crash, Decide, Fence, Fetch, Flush, Hear, Join, Learn, Report, Serve, Take, Unfence, Write,
};
use world::{Action, Budget, KINDS, World};

fn key(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

/// Walks through everything. Returns how many states there are and how many hold safe records of two epochs.
fn explore(start: World) -> (usize, usize) {
    let mut seen = HashSet::from([key(&start)]);
    let mut open = VecDeque::from([start]);
    let mut across = 0;
    while let Some(world) = open.pop_front() {
        across += usize::from(world.committed.first() != world.committed.last());
        for next in world.successors() {
            if seen.insert(key(&next)) {
                open.push_back(next);
            }
        }
    }
    (seen.len(), across)
}

/// How often each kind of action is tried: replication goes on between two mishaps.
const USUAL: [u64; KINDS] = [30, 10, 15, 60, 60, 60, 20, 20, 20, 1, 5, 5, 1, 20, 1, 1];

/// One random walk.
fn walk(seed: u64, steps: usize) -> World {
    let mut rng = Rng::new(seed);
    let durability = if rng.chance(1, 3) { Durability::Replicated } else { Durability::Flushed };
    let mut some = |most: u64| u8::try_from(rng.below(most + 1)).unwrap();
    let budget =
        Budget { writes: 2 + some(4), crashes: some(5), fences: some(4), wipes: some(1), shrinks: some(4) };
    // One disk may be lost, and nothing with it, only where two hold everything.
    let min_isr = if budget.wipes > 0 { 2 } else { 1 + usize::from(some(1)) };
    let mut world = World::new(durability, min_isr, budget);
    // Each walk has its own habits, so that what takes a lazy disk or a slow controller is met, too.
    let weights = USUAL.map(|usual| usual * [1, 2, 8][rng.index(3)]);
    let mut story = Vec::new();
    for _ in 0..steps {
        let action = world.guess(&weights, &mut rng);
        story.push(action);
        match catch_unwind(AssertUnwindSafe(|| world.after(action))) {
            Ok(Some(next)) => world = next,
            Ok(None) => drop(story.pop()),
            Err(_) => panic!("seed {seed}: {story:?}"),
        }
    }
    world
}

const NONE: Budget = Budget { writes: 0, crashes: 0, fences: 0, wipes: 0, shrinks: 0 };

#[test]
fn no_order_of_two_writes_and_a_power_cut_loses_what_is_safe() {
    let budget = Budget { writes: 2, crashes: 1, ..NONE };
    let (states, across) = explore(World::new(Durability::Flushed, 2, budget));
    println!("{states} states, {across} with safe records of two epochs");
    assert!(states > 500_000 && across > 10_000);
}

#[test]
fn no_order_of_a_write_a_shrink_and_a_broker_taken_for_dead_loses_what_is_safe() {
    let budget = Budget { writes: 1, fences: 1, shrinks: 1, ..NONE };
    let (states, _) = explore(World::new(Durability::Replicated, 1, budget));
    println!("{states} states");
    assert!(states > 50_000);
}

#[test]
fn nothing_safe_is_lost_in_long_walks() {
    let mut safe = 0;
    for seed in 0..5_000 {
        safe += walk(seed, 800).committed.len();
    }
    println!("{safe} records were safe");
    assert!(safe > 500, "the walks hardly write");
}

#[test]
fn planted_bugs_are_caught_by_walks() {
    for bug in [Bug::A1, Bug::A8, Bug::A11, Bug::A13] {
        plant::arm(Some(bug));
        let caught = (0..2_000).find(|seed| catch_unwind(|| walk(*seed, 800)).is_err());
        plant::arm(None);
        println!("{bug:?} is caught by walk {caught:?}");
        assert!(caught.is_some(), "no walk catches {bug:?}");
    }
}

/// Goes through a story; what cannot happen in it does not.
fn follow(story: &[Action]) {
    let budget = Budget { writes: 9, crashes: 9, fences: 9, wipes: 9, shrinks: 9 };
    let mut world = World::new(Durability::Flushed, 2, budget);
    for action in story {
        world = world.after(*action).unwrap_or(world);
    }
}

/// A story that ends well, and would not without the rule.
fn takes_the_rule(bug: Bug, story: &[Action]) {
    follow(story);
    plant::arm(Some(bug));
    let caught = catch_unwind(|| follow(story)).is_err();
    plant::arm(None);
    assert!(caught, "{bug:?} is not caught");
}

#[test]
fn what_was_on_the_disk_before_the_log_was_cut_is_not_on_it_afterwards() {
    takes_the_rule(
        Bug::A3,
        &[
            // The first leader has a record on its disk that nobody else has.
            Learn(0),
            Write(0),
            Flush(0),
            Fence(0),
            // The second one writes another. The first follows, and says at once how far its disk is.
            Learn(1),
            Write(1),
            Flush(1),
            Unfence(0),
            Learn(0),
            Report(0),
            Hear(0),
            // It is cut back, and gets the other record, which is not on its disk.
            Fetch(0),
            Serve(0),
            Take(0),
            Fetch(0),
            Serve(0),
            Take(0),
            Fetch(0),
            Serve(0),
            // The two are in sync. The power fails.
            Join(1, 0),
            Decide(1),
            Fence(2),
            Learn(1),
            Crash(0, 0),
        ],
    );
}

#[test]
fn an_epoch_that_the_leader_never_saw_is_not_the_beginning_of_its_log() {
    takes_the_rule(
        Bug::A2,
        &[
            // A leader writes two records, which one of the others has.
            Learn(0),
            Learn(2),
            Write(0),
            Write(0),
            Fetch(2),
            Serve(2),
            Take(2),
            // The one that has none leads for a moment and writes another.
            Fence(0),
            Learn(1),
            Write(1),
            // The one that has both leads, and never heard of that.
            Fence(1),
            Learn(2),
            Unfence(1),
            Learn(1),
            Fetch(1),
            Serve(1),
            Take(1),
        ],
    );
}

#[test]
fn an_answer_to_an_earlier_epoch_confirms_nothing() {
    takes_the_rule(
        Bug::A4,
        &[
            // A follower has fetched a record, and the answer is late.
            Learn(0),
            Learn(2),
            Write(0),
            Fetch(2),
            Serve(2),
            Fence(0),
            // Another leads and writes another record. The answer comes, and goes to the disk.
            Learn(1),
            Write(1),
            Learn(2),
            Take(2),
            Flush(2),
            Report(2),
            Hear(2),
            // The log is cut back, and the other record comes, which is not on the disk.
            Fetch(2),
            Serve(2),
            Take(2),
            Fetch(2),
            Serve(2),
            Take(2),
            Fetch(2),
            Serve(2),
            // It counts. The power fails.
            Flush(1),
            Crash(2, 0),
        ],
    );
}

#[test]
fn who_joins_has_come_as_far_as_the_epoch() {
    takes_the_rule(
        Bug::A7,
        &[
            // Two of three are in sync; a record is safe, and only its leader knows.
            Learn(0),
            Learn(1),
            Fence(2),
            Learn(0),
            Write(0),
            Flush(0),
            Fetch(1),
            Serve(1),
            Take(1),
            Flush(1),
            Report(1),
            Hear(1),
            Fetch(1),
            Serve(1),
            // The other one leads, alone, so that it cannot learn what is safe. The third comes back with nothing.
            Fence(0),
            Learn(1),
            Unfence(2),
            Learn(2),
            Fetch(2),
            Serve(2),
            Join(1, 2),
            Decide(1),
        ],
    );
}
