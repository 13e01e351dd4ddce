//! Runs seeds and says what happened: `ottla-sim --seeds N --from S`.
#![forbid(unsafe_code)]

mod planted;

use ottla_sim::{FAULTS, MARKS, Options, Outcome, Report, run};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut seeds, mut from, mut trace, mut require_all) = (1_u64, 1_u64, 0_usize, false);
    while let Some(name) = arguments.next() {
        if name == "--require-all" {
            require_all = true;
            continue;
        }
        let value = arguments.next().and_then(|value| value.parse().ok());
        match (name.as_str(), value) {
            ("--seeds", Some(value)) => seeds = value,
            ("--from", Some(value)) => from = value,
            ("--meta", Some(value)) => return meta(value),
            ("--bugs", Some(value)) => return planted::search(value),
            ("--replay-bugs", Some(1)) => return planted::replay(),
            ("--trace", Some(value)) => trace = usize::try_from(value).unwrap_or(0),
            _ => return usage(),
        }
    }
    campaign(seeds, from, trace, require_all)
}

#[expect(clippy::print_stderr, reason = "a command line tool")]
fn usage() -> ExitCode {
    eprintln!(
        "usage: ottla-sim [--seeds N] [--from SEED] [--trace EVENTS] [--require-all] | --meta N | --bugs SEEDS | --replay-bugs 1"
    );
    ExitCode::from(2)
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn campaign(seeds: u64, from: u64, trace: usize, require_all: bool) -> ExitCode {
    let mut total = Report::default();
    let mut failed = 0;
    for (seed, outcome) in run_all(seeds, from, trace) {
        total.add(&outcome.report);
        if let Some(failure) = outcome.failure {
            failed += 1;
            println!("seed {seed} failed: {failure}");
        }
    }
    println!("simulated seconds {}", total.millis / 1_000);
    println!("seeds {seeds}, starts {}, crashes {}, replies {}", total.starts, total.crashes, total.replies);
    println!("acknowledged {}, read at the end {}", total.acked, total.read);
    println!("offsets committed {}, assignments {}", total.committed, total.assigned);
    println!("lost on replicated topics (allowed) {}", total.lost_volatile);
    for fault in FAULTS {
        println!("  {:<24} {}", fault, total.faults.get(fault).copied().unwrap_or(0));
    }
    for (mark, count) in &total.marks {
        println!("  mark {mark:<32} {count}");
    }
    let unreached = unreached(&total);
    if require_all && !unreached.is_empty() {
        println!("never reached: {}", unreached.join(", "));
        failed += 1;
    }
    println!("{} passed, {failed} failed", seeds.saturating_sub(failed));
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs seeds, one on each core at a time; what comes back is in the order of the seeds.
fn run_all(seeds: u64, from: u64, trace: usize) -> Vec<(u64, Outcome)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(from);
    let work = || {
        let mut outcomes = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds {
                return outcomes;
            }
            outcomes.push((seed, run(Options { keep_trace: trace, ..Options::new(seed) })));
        }
    };
    let mut all: Vec<(u64, Outcome)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|panic| resume(panic))).collect()
    });
    all.sort_by_key(|(seed, _)| *seed);
    all
}

/// A panic in the node ends the campaign as it would end the process.
fn resume(panic: Box<dyn std::any::Any + Send>) -> ! {
    std::panic::resume_unwind(panic)
}

/// The faults and marks that a campaign must reach and did not.
fn unreached(total: &Report) -> Vec<&'static str> {
    let faults = FAULTS.iter().filter(|fault| !total.faults.contains_key(**fault));
    let marks = MARKS.iter().filter(|mark| !total.marks.contains_key(**mark));
    faults.chain(marks).copied().collect()
}

/// Runs seeds twice: everything that happened must be the same.
#[expect(clippy::print_stdout, reason = "a command line tool")]
fn meta(seeds: u64) -> ExitCode {
    for seed in 1..=seeds {
        let (once, again) = (run(Options::new(seed)), run(Options::new(seed)));
        if once.hash != again.hash {
            println!("seed {seed} is not deterministic: {:016x} and {:016x}", once.hash, again.hash);
            return ExitCode::FAILURE;
        }
    }
    println!("{seeds} seeds came out the same twice");
    ExitCode::SUCCESS
}
