//! Runs a large cluster and says what it cost: `ottla-scale --brokers N --partitions N`.
#![forbid(unsafe_code)]

use ottla_sim::scale::{Scale, Step, run};
use std::process::ExitCode;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
fn main() -> ExitCode {
    let mut scale = Scale { brokers: 100, partitions: 100_000 };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        match (name.as_str(), arguments.next().and_then(|value| value.parse::<i32>().ok())) {
            ("--brokers", Some(value @ 4..=1_000)) => scale.brokers = usize::try_from(value).unwrap_or(4),
            ("--partitions", Some(value @ 1..)) => scale.partitions = value,
            _ => {
                eprintln!("usage: ottla-scale [--brokers 4 to 1000] [--partitions N]");
                return ExitCode::from(2);
            }
        }
    }
    println!("{} brokers, {} partitions of three replicas", scale.brokers, scale.partitions);
    println!("| step | it took | controller's CPU | another node's CPU | memory of all | |");
    println!("|---|---:|---:|---:|---:|---|");
    match run(scale, &mut |step| println!("{}", line(step))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn line(step: &Step) -> String {
    let (took, controller, others) =
        (step.took.as_nanos() as f64 / 1e9, step.controller.as_secs_f64(), step.others.as_secs_f64());
    let mib = step.memory >> 20;
    format!("| {} | {took:.2} s | {controller:.3} s | {others:.4} s | {mib} MiB | {} |", step.name, step.note)
}
