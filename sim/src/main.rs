//! Runs seeds and says what happened: `ottla-sim --seeds N --from S`.
#![forbid(unsafe_code)]

use ottla_sim::{FAULTS, Options, Report, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut seeds, mut from, mut trace) = (1_u64, 1_u64, 0_usize);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse().ok());
        match (name.as_str(), value) {
            ("--seeds", Some(value)) => seeds = value,
            ("--from", Some(value)) => from = value,
            ("--trace", Some(value)) => trace = usize::try_from(value).unwrap_or(0),
            _ => return usage(),
        }
    }
    campaign(seeds, from, trace)
}

#[expect(clippy::print_stderr, reason = "a command line tool")]
fn usage() -> ExitCode {
    eprintln!("usage: ottla-sim [--seeds N] [--from SEED] [--trace EVENTS]");
    ExitCode::from(2)
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn campaign(seeds: u64, from: u64, trace: usize) -> ExitCode {
    let mut total = Report::default();
    let mut failed = 0;
    for seed in from..from + seeds {
        let outcome = run(Options { keep_trace: trace, ..Options::new(seed) });
        total.add(&outcome.report);
        if let Some(failure) = outcome.failure {
            failed += 1;
            println!("seed {seed} failed: {failure}");
        }
    }
    println!("seeds {seeds}, starts {}, crashes {}, replies {}", total.starts, total.crashes, total.replies);
    println!("acknowledged {}, read at the end {}", total.acked, total.read);
    println!("lost on replicated topics (allowed) {}", total.lost_volatile);
    for fault in FAULTS {
        println!("  {:<24} {}", fault, total.faults.get(fault).copied().unwrap_or(0));
    }
    for (mark, count) in &total.marks {
        println!("  mark {mark:<32} {count}");
    }
    println!("{} passed, {failed} failed", seeds - failed);
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
