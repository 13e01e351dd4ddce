//! `cargo xtask test`: everything, in lanes that also run alone, and a table of what each cost.

mod clients;
pub(crate) mod cluster;
mod grow;
mod kafka;
mod leaders;
mod load;
pub(crate) mod members;
mod metrics;
pub(crate) mod net;
pub(crate) mod node;
mod outage;
mod power;
mod process;
mod script;
pub(crate) mod sim;
mod starved;

use crate::shell::{has, run, say};
use std::time::Instant;

/// One lane.
struct Lane {
    name: &'static str,
    what: &'static str,
    /// Debian packages it needs, each with a program that shows that it is there.
    needs: &'static [(&'static str, &'static str)],
    run: fn() -> Result<(), String>,
}

const CLIENT_NEEDS: &[(&str, &str)] = &[
    ("kcat", "kcat"),
    ("java", "default-jdk-headless"),
    ("mvn", "maven"),
    ("python3", "python3-venv"),
    ("npm", "npm"),
];

const LANES: &[Lane] = &[
    Lane {
        name: "unit",
        what: "format, lints, generated files, tidy, all unit tests, the public crates as packages",
        needs: &[],
        run: unit,
    },
    Lane {
        name: "script",
        what: "scripts against the machine, our server and Apache Kafka",
        needs: &[("java", "default-jdk-headless"), ("mvn", "maven")],
        run: script::run,
    },
    Lane { name: "sim", what: "the node in the simulator", needs: &[], run: sim::lane },
    Lane {
        name: "process",
        what: "real processes under kill -9, power loss, a full disk, clusters under faults and on bad networks, the tour, Prometheus",
        needs: &[
            ("kcat", "kcat"),
            ("java", "default-jdk-headless"),
            ("mvn", "maven"),
            ("python3", "python3-venv"),
            ("npm", "npm"),
            ("mkfs.ext4", "e2fsprogs"),
            ("mount", "mount"),
            ("prometheus", "prometheus"),
            ("promtool", "prometheus"),
        ],
        run: process::run,
    },
    Lane {
        name: "fuzz",
        what: "messages, batches, codecs and the log's files, damaged by a fixed generator",
        needs: &[],
        run: fuzz,
    },
    Lane { name: "clients", what: "real clients, content checked", needs: CLIENT_NEEDS, run: clients::run },
];

/// Runs the lanes that the arguments name, or all.
pub(crate) fn main(arguments: &[&str]) -> Result<(), String> {
    let mut install = false;
    let mut chosen = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--install" => install = true,
            "--lane" => chosen.push(find(rest.next().copied().unwrap_or_default())?),
            other => return Err(format!("test does not know {other}: expected --install or --lane NAME")),
        }
    }
    let lanes = if chosen.is_empty() { LANES.iter().collect() } else { chosen };
    for lane in &lanes {
        provide(lane, install)?;
    }
    let mut table = Vec::new();
    let mut failed = 0;
    for lane in lanes {
        say(&format!("\n== {}: {}", lane.name, lane.what));
        let (outcome, seconds) = timed(lane.run);
        if let Err(error) = &outcome {
            say(&format!("lane {} failed: {error}", lane.name));
            failed += 1;
        }
        table.push((lane.name, seconds, outcome.is_ok()));
    }
    print_table(&table);
    let passed = table.len() - failed;
    say(&format!("{passed} passed, {failed} failed"));
    if failed == 0 { Ok(()) } else { Err(format!("{failed} of {} lanes failed", table.len())) }
}

fn find(name: &str) -> Result<&'static Lane, String> {
    let names: Vec<&str> = LANES.iter().map(|lane| lane.name).collect();
    let lane = LANES.iter().find(|lane| lane.name == name);
    lane.ok_or_else(|| format!("there is no lane {name:?}; there are {}", names.join(", ")))
}

/// Makes sure that a lane has the programs it needs; a lane is never skipped for want of one.
fn provide(lane: &Lane, install: bool) -> Result<(), String> {
    let missing: Vec<&str> =
        lane.needs.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !install {
        return Err(format!(
            "lane {} needs {packages}: run `apt-get install {packages}`, or `cargo xtask test --install` as root",
            lane.name
        ));
    }
    run("apt-get", &["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(missing);
    run("apt-get", &arguments)
}

#[expect(clippy::disallowed_methods, reason = "the chores measure how long lanes take")]
fn timed(work: fn() -> Result<(), String>) -> (Result<(), String>, f64) {
    let start = Instant::now();
    let outcome = work();
    (outcome, start.elapsed().as_secs_f64())
}

fn print_table(table: &[(&str, f64, bool)]) {
    say("\n| lane | minutes | outcome |\n|---|---:|---|");
    for (name, seconds, passed) in table {
        let outcome = if *passed { "passed" } else { "FAILED" };
        say(&format!("| {name} | {:.1} | {outcome} |", seconds / 60.0));
    }
}

fn unit() -> Result<(), String> {
    run("cargo", &["fmt", "--all", "--check"])?;
    crate::codegen::check()?;
    crate::tidy::check()?;
    run("cargo", &["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    run("cargo", &["test", "--quiet", "--locked", "--workspace"])?;
    package()
}

/// The crates that others can use, and the one that they have in common.
const PUBLIC: [&str; 4] = ["ottla-base", "ottla-wire", "ottla-codec", "ottla-client"];

/// Packs the public crates as for their registry and builds each from what was packed, and from nothing else of this
/// repository.
fn package() -> Result<(), String> {
    let cargo = ["package", "--quiet", "--locked", "--offline", "--allow-dirty"];
    let crates = PUBLIC.iter().flat_map(|name| ["-p", name]);
    run("cargo", &cargo.into_iter().chain(crates).collect::<Vec<_>>())
}

/// The unit tests run the same less often; `cargo xtask fuzz` lets a fuzzer look for more.
fn fuzz() -> Result<(), String> {
    let longer = ["FUZZ_FACTOR=20", "cargo", "test", "--quiet", "--locked"];
    run("env", &[&longer[..], &["-p", "ottla-wire", "--test", "proof", "smoke"]].concat())?;
    run("env", &[&longer[..], &["-p", "ottla-codec", "--test", "smoke"]].concat())?;
    run("env", &[&longer[..], &["-p", "ottla-seglog", "--lib", "damage"]].concat())
}
