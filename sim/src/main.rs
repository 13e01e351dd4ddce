//! Runs seeds and says what happened: `ottla-sim --seeds N --from S`.
#![forbid(unsafe_code)]

mod planted;
mod shrink;

use base::plant::Bug;
use ottla_sim::{CLUSTER_MARKS, FAULTS, Less, MARKS, OUTAGES, Options, Outcome, Report, nodes_of, run};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut campaign =
        Campaign { seeds: 1, from: 1, nodes: None, replicas: 3, trace: 0, ..Campaign::default() };
    let mut shrinks = false;
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--require-all" => campaign.require_all = true,
            "--story" => campaign.is_story = true,
            "--shrink" => shrinks = true,
            _ => {}
        }
        if matches!(name.as_str(), "--require-all" | "--story" | "--shrink") {
            continue;
        }
        let value = arguments.next().unwrap_or_default();
        if name == "--bug" {
            campaign.bug = planted::named(&value);
            if campaign.bug.is_none() {
                return usage();
            }
            continue;
        }
        if name == "--keep" {
            campaign.keep = Some(value);
            continue;
        }
        if name == "--less" {
            match value.parse() {
                Ok(less) => campaign.less = less,
                Err(_) => return usage(),
            }
            continue;
        }
        match (name.as_str(), value.parse().ok()) {
            ("--seed", Some(value)) => (campaign.from, campaign.seeds) = (value, 1),
            ("--seeds", Some(value)) => campaign.seeds = value,
            ("--from", Some(value)) => campaign.from = value,
            ("--nodes", Some(value @ 1..=9)) => campaign.nodes = usize::try_from(value).ok(),
            ("--replicas", Some(value @ 1..=9)) => campaign.replicas = i16::try_from(value).unwrap_or(1),
            ("--meta", Some(value)) => return Campaign { seeds: value, ..campaign }.compare_twice(),
            ("--hashes", Some(value)) => return Campaign { seeds: value, ..campaign }.print_hashes(),
            ("--bugs", Some(value)) => return planted::search(value, campaign.bug),
            ("--record-bugs", Some(value)) => return planted::record(value),
            ("--replay-bugs", Some(1)) => return planted::replay(),
            ("--trace", Some(value)) => campaign.trace = usize::try_from(value).unwrap_or(0),
            _ => return usage(),
        }
    }
    if campaign.keep.is_some() {
        return campaign.keep_files();
    }
    if shrinks { shrink::shrink(&campaign.options(campaign.from)) } else { campaign.run() }
}

#[expect(clippy::print_stderr, reason = "a command line tool")]
fn usage() -> ExitCode {
    eprintln!(
        "usage: ottla-sim [--nodes N] [--replicas N] [--seeds N] [--from SEED] [--seed SEED] [--bug RULE] [--less LIST] [--trace EVENTS] [--story] [--keep FILE] [--require-all] [--shrink] | --meta N | --hashes N | --bugs SEEDS | --record-bugs SEEDS | --replay-bugs 1"
    );
    ExitCode::from(2)
}

/// Seeds to run, and how.
#[derive(Clone, Debug, Default)]
struct Campaign {
    seeds: u64,
    from: u64,
    /// Nodes of each world; `None`: the seed says.
    nodes: Option<usize>,
    /// Replicas of each partition at most.
    replicas: i16,
    /// Events that a failure shows.
    trace: usize,
    /// Only what befalls nodes.
    is_story: bool,
    less: Less,
    /// Where the files of the first seed go.
    keep: Option<String>,
    bug: Option<Bug>,
    /// It is red if a fault or a mark was never reached.
    require_all: bool,
}

impl Campaign {
    #[expect(clippy::print_stdout, reason = "a command line tool")]
    fn run(&self) -> ExitCode {
        let mut total = Report::default();
        let mut failed = 0;
        for (seed, outcome) in self.run_all() {
            total.add(&outcome.report);
            if let Some(failure) = outcome.failure {
                failed += 1;
                println!("seed {seed} failed: {failure}");
            }
        }
        print_counts(self.seeds, &total);
        let unreached = self.unreached(&total);
        if self.require_all && !unreached.is_empty() {
            println!("never reached: {}", unreached.join(", "));
            failed += 1;
        }
        println!("{} passed, {failed} failed", self.seeds.saturating_sub(failed));
        if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn options(&self, seed: u64) -> Options {
        let (keep_trace, bug, replicas) = (self.trace, self.bug, self.replicas);
        let nodes = self.nodes.unwrap_or_else(|| nodes_of(seed));
        let options =
            Options { keep_trace, bug, replicas, is_story: self.is_story, ..Options::new(seed, nodes) };
        options.with(self.less.clone())
    }

    /// Runs one seed and keeps what its nodes have written.
    #[expect(clippy::print_stdout, reason = "a command line tool")]
    fn keep_files(&self) -> ExitCode {
        let outcome = run(Options { keeps_files: true, ..self.options(self.from) });
        let (Some(path), Some(files)) = (&self.keep, outcome.files) else {
            println!("seed {}: {:?}", self.from, outcome.failure);
            return ExitCode::FAILURE;
        };
        println!("{} bytes, {} values acknowledged", files.len(), outcome.report.acked);
        match std::fs::write(path, files) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                println!("{path}: {error}");
                ExitCode::FAILURE
            }
        }
    }

    /// Prints a hash over everything that happened in each seed, for comparison with another build.
    #[expect(clippy::print_stdout, reason = "a command line tool")]
    fn print_hashes(&self) -> ExitCode {
        for (seed, outcome) in self.run_all() {
            println!("{seed} {:016x}", outcome.hash);
        }
        ExitCode::SUCCESS
    }

    /// Runs the seeds, one on each core at a time; what comes back is in their order.
    fn run_all(&self) -> Vec<(u64, Outcome)> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let next = AtomicU64::new(self.from);
        let work = || {
            let mut outcomes = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= self.from + self.seeds {
                    return outcomes;
                }
                outcomes.push((seed, run(self.options(seed))));
            }
        };
        let mut all: Vec<(u64, Outcome)> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let outcomes =
                workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume(panic)));
            outcomes.flatten().collect()
        });
        all.sort_by_key(|(seed, _)| *seed);
        all
    }

    /// The faults and marks that the campaign must reach and did not.
    fn unreached(&self, total: &Report) -> Vec<&'static str> {
        let (is_alone, is_cluster) = (self.nodes == Some(1), self.nodes.is_some_and(|nodes| nodes > 1));
        let of_one = |list| if is_cluster { &[][..] } else { list };
        let of_many = |list| if is_alone { &[][..] } else { list };
        let faults = FAULTS.iter().chain(of_many(OUTAGES));
        let faults = faults.filter(|fault| !total.faults.contains_key(**fault));
        let marks = of_one(MARKS).iter().chain(of_many(CLUSTER_MARKS));
        faults.chain(marks.filter(|mark| !total.marks.contains_key(**mark))).copied().collect()
    }

    /// Runs seeds twice: everything that happened must be the same.
    #[expect(clippy::print_stdout, reason = "a command line tool")]
    fn compare_twice(&self) -> ExitCode {
        for seed in self.from..self.from + self.seeds {
            let options = self.options(seed);
            let (once, again) = (run(options.clone()), run(options));
            if once.hash != again.hash {
                println!("seed {seed} is not deterministic: {:016x} and {:016x}", once.hash, again.hash);
                return ExitCode::FAILURE;
            }
        }
        println!("{} seeds came out the same twice", self.seeds);
        ExitCode::SUCCESS
    }
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn print_counts(seeds: u64, total: &Report) {
    println!("simulated seconds {}", total.millis / 1_000);
    println!("seeds {seeds}, starts {}, crashes {}, replies {}", total.starts, total.crashes, total.replies);
    println!("acknowledged {}, read at the end {}", total.acked, total.read);
    println!("offsets committed {}, assignments {}", total.committed, total.assigned);
    println!("lost on replicated topics (allowed) {}", total.lost_volatile);
    for fault in FAULTS.iter().chain(OUTAGES) {
        println!("  {:<24} {}", fault, total.faults.get(fault).copied().unwrap_or(0));
    }
    for (mark, count) in &total.marks {
        println!("  mark {mark:<32} {count}");
    }
}

/// A panic in the node ends the campaign as it would end the process.
fn resume(panic: Box<dyn std::any::Any + Send>) -> ! {
    std::panic::resume_unwind(panic)
}
