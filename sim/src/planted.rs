//! The proof that the simulator sees: every planted bug must be caught, and within few seeds.

use base::plant::Bug;
use ottla_sim::{Options, run};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bugs that take a cluster to be seen.
const OF_CLUSTERS: &[Bug] = &[Bug::A1, Bug::A3, Bug::A4, Bug::A7, Bug::A8, Bug::A11, Bug::E7, Bug::E10];
/// The nodes of a cluster for them.
const CLUSTER: usize = 3;

/// One line per bug: `RULE SEED`, or `RULE - TEST` if no seed is known that catches it and a test does.
const RECORDED: &str = include_str!("../planted.txt");

/// Searches, for every bug, the first seed that catches it.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub(crate) fn search(seeds: u64) -> ExitCode {
    println!("# rule seed  (the first of 1..={seeds} that catches the planted bug)");
    let mut missed = 0;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        let all: Vec<Bug> = every_bug().collect();
        while let Some(bug) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            found.push((*bug, (1..=seeds).find(|seed| is_caught(*bug, *seed))));
        }
        found
    };
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    all.sort_unstable();
    for (bug, seed) in all {
        match seed {
            Some(seed) => println!("{bug:?} {seed}"),
            None => {
                missed += 1;
                println!("# {bug:?} was not caught");
            }
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Replays the recorded seeds: each must still catch its bug, and be clean without it.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub(crate) fn replay() -> ExitCode {
    let (mut caught, mut missed) = (0, 0);
    let mut unnamed: BTreeSet<Bug> = every_bug().collect();
    for line in RECORDED.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (rule, held) = line.split_once(' ').unwrap_or((line, ""));
        let Some(bug) = named(rule).filter(|bug| unnamed.remove(bug)) else {
            println!("planted.txt: {rule} is no rule, or stands there twice");
            return ExitCode::FAILURE;
        };
        if let Some(test) = held.strip_prefix("- ") {
            println!("{bug:?} is held by {test} alone");
            continue;
        }
        let Ok(seed) = held.parse() else {
            println!("planted.txt: {line} is no rule and seed");
            return ExitCode::FAILURE;
        };
        let clean = run(Options::new(seed, nodes_for(bug))).failure.is_none();
        if is_caught(bug, seed) && clean {
            caught += 1;
        } else {
            missed += 1;
            println!(
                "{bug:?}: seed {seed} no longer catches it (clean without it: {clean}); search with --bugs"
            );
        }
    }
    println!("{caught} planted bugs caught by their recorded seeds, {missed} missed");
    if !unnamed.is_empty() {
        println!("planted.txt says nothing of {unnamed:?}");
    }
    if missed == 0 && unnamed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn every_bug() -> impl Iterator<Item = Bug> {
    Bug::ALL.iter().chain(OF_CLUSTERS).copied()
}

/// In a world of how many nodes a bug is looked for.
fn nodes_for(bug: Bug) -> usize {
    if OF_CLUSTERS.contains(&bug) { CLUSTER } else { 1 }
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
