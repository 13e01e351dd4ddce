//! The proof that the simulator sees: every planted bug must be caught, and within few seeds.

mod page;

use base::plant::{Bug, Takes};
use ottla_sim::{Options, run};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The nodes of a cluster for bugs that take one.
const CLUSTER: usize = 3;

/// One line per bug: `RULE SEED`, or `RULE - TEST` if no seed is known that catches it and a test does.
const RECORDED: &str = include_str!("../planted.txt");

/// Where that is kept, from the repository's root.
const RECORDED_AT: &str = "sim/planted.txt";

/// What catches a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Seed(u64),
    /// A test alone: no seed is known that does.
    Test(String),
}

/// The record, checked: every bug stands there once.
fn recorded() -> Result<Vec<(Bug, Held)>, String> {
    let mut unnamed: BTreeSet<Bug> = every_bug().collect();
    let mut all = Vec::new();
    for line in RECORDED.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (rule, held) = line.split_once(' ').unwrap_or((line, ""));
        let bug = named(rule).filter(|bug| unnamed.remove(bug));
        let bug = bug.ok_or_else(|| format!("{rule} is no rule, or stands there twice"))?;
        let held = match held.strip_prefix("- ") {
            Some(test) => Held::Test(test.to_owned()),
            None => Held::Seed(held.parse().map_err(|_| format!("{line} is no rule and seed"))?),
        };
        all.push((bug, held));
    }
    if unnamed.is_empty() { Ok(all) } else { Err(format!("nothing is said of {unnamed:?}")) }
}

/// Does something for every bug, one on each core at a time; what comes back is in the order of the rules.
fn for_each<T: Send>(bugs: &[Bug], work: impl Fn(Bug) -> T + Sync) -> Vec<(Bug, T)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let one = || {
        let mut done = Vec::new();
        while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((*bug, work(*bug)));
        }
        done
    };
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    all.sort_by_key(|(bug, _)| *bug);
    all
}

/// Searches, for every bug or for one, the first seed that catches it.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub(crate) fn search(seeds: u64, only: Option<Bug>) -> ExitCode {
    println!("# rule seed  (the first of 1..={seeds} that catches the planted bug)");
    let all: Vec<Bug> = every_bug().filter(|bug| only.is_none_or(|only| only == *bug)).collect();
    let found = for_each(&all, |bug| first_seed(bug, seeds));
    for (bug, seed) in &found {
        match seed {
            Some(seed) => println!("{bug:?} {seed}"),
            None => println!("# {bug:?} was not caught"),
        }
    }
    if found.iter().all(|(_, seed)| seed.is_some()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes the record anew: a seed that still catches its bug stays; where it does not, one of so many is looked for. A bug
/// that a test holds stays with the test: a search for a seed takes an hour, and is asked for by `--bug RULE --bugs N`.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub(crate) fn record(seeds: u64) -> ExitCode {
    let before = match recorded() {
        Ok(before) => before,
        Err(wrong) => {
            println!("planted.txt: {wrong}");
            return ExitCode::FAILURE;
        }
    };
    let bugs: Vec<Bug> = before.iter().map(|(bug, _)| *bug).collect();
    let held_before = |bug: Bug| before.iter().find(|(other, _)| *other == bug).map(|(_, held)| held.clone());
    let found = for_each(&bugs, |bug| match held_before(bug) {
        Some(Held::Seed(seed)) if is_worth(bug, seed) => Some(Held::Seed(seed)),
        Some(Held::Seed(_)) | None => first_seed(bug, seeds).map(Held::Seed),
        Some(Held::Test(test)) => Some(Held::Test(test)),
    });
    let mut text: String =
        RECORDED.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    for (bug, held) in &found {
        match held {
            Some(Held::Seed(seed)) => text += &format!("{bug:?} {seed}\n"),
            Some(Held::Test(test)) => text += &format!("{bug:?} - {test}\n"),
            None => println!("{bug:?} is not caught by any of {seeds} seeds"),
        }
    }
    print!("{text}");
    if found.iter().any(|(_, held)| held.is_none()) {
        return ExitCode::FAILURE;
    }
    let all = found.into_iter().filter_map(|(bug, held)| Some((bug, held?))).collect();
    let written = std::fs::write(RECORDED_AT, text)
        .and_then(|()| page::page(all).map_or(Ok(()), |page| std::fs::write(page::PAGE_AT, page)));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{RECORDED_AT}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn first_seed(bug: Bug, seeds: u64) -> Option<u64> {
    (1..=seeds).find(|seed| is_worth(bug, *seed))
}

/// Replays the recorded seeds: each must still catch its bug, and be clean without it.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub(crate) fn replay() -> ExitCode {
    let all = match recorded() {
        Ok(all) => all,
        Err(wrong) => {
            println!("planted.txt: {wrong}");
            return ExitCode::FAILURE;
        }
    };
    let (mut seeds, mut bugs) = (Vec::new(), Vec::new());
    for (bug, held) in all {
        match held {
            Held::Test(test) => println!("{bug:?} is held by {test} alone"),
            Held::Seed(seed) => {
                seeds.push((bug, seed));
                bugs.push(bug);
            }
        }
    }
    let seed_of = |bug: Bug| seeds.iter().find(|(other, _)| *other == bug).map_or(0, |(_, seed)| *seed);
    let replayed = for_each(&bugs, |bug| is_worth(bug, seed_of(bug)));
    let missed: Vec<Bug> = replayed.iter().filter(|(_, caught)| !caught).map(|(bug, _)| *bug).collect();
    for bug in &missed {
        println!(
            "{bug:?}: seed {} no longer catches it, or fails without it: --record-bugs 400",
            seed_of(*bug)
        );
    }
    println!(
        "{} planted bugs caught by their recorded seeds, {} missed",
        replayed.len() - missed.len(),
        missed.len()
    );
    if missed.is_empty() && is_page_fresh() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Compares the page with what is recorded, if it is run from the repository's root.
#[expect(clippy::print_stdout, reason = "a command line tool")]
fn is_page_fresh() -> bool {
    let wanted = recorded().and_then(page::page);
    let is_fresh = std::fs::read_to_string(page::PAGE_AT).is_ok_and(|page| wanted == Ok(page));
    if !is_fresh {
        println!("{} is not what {RECORDED_AT} says: --record-bugs 400", page::PAGE_AT);
    }
    is_fresh
}

/// True if a seed catches a bug, and finds nothing without it.
fn is_worth(bug: Bug, seed: u64) -> bool {
    is_caught(bug, seed) && run(Options::new(seed, nodes_for(bug))).failure.is_none()
}

fn every_bug() -> impl Iterator<Item = Bug> {
    Bug::ALL.iter().copied()
}

/// In a world of how many nodes a bug is looked for.
fn nodes_for(bug: Bug) -> usize {
    match bug.takes() {
        Takes::Node => 1,
        Takes::Cluster => CLUSTER,
    }
}

/// The bug that breaks a rule.
pub(crate) fn named(rule: &str) -> Option<Bug> {
    every_bug().find(|bug| format!("{bug:?}") == rule)
}

/// A bug is caught when an oracle speaks, or when an invariant in the node trips.
fn is_caught(bug: Bug, seed: u64) -> bool {
    let options = Options { bug: Some(bug), ..Options::new(seed, nodes_for(bug)) };
    let outcome = std::panic::catch_unwind(|| run(options).failure.is_some());
    outcome.unwrap_or(true)
}
