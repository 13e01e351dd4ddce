//! `cargo xtask bench`: this broker, Apache Kafka and the floor broker on this machine, interleaved.
//!
//! Figures of one run are compared with figures of the same run only: machines, and one machine at two moments,
//! differ threefold. The method stands in ADR 0007; the rows and their goals in [`rows`].

mod broker;
mod cluster;
mod fetching;
mod latency;
mod lifecycle;
mod load;
mod produce;
mod report;
mod rows;
mod series;

use crate::shell::{capture, root, run, say};
use broker::Broker;
use cluster::Nodes;
use rows::{ROWS, Row};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

const USAGE: &str = "usage: cargo xtask bench [cluster | ROW]... [--blocks N] [--seconds S] [--kills N] [--rest S] [--report]";
/// What the rows of clusters are called together; their names begin so.
const CLUSTER: &str = "cluster";
/// Blocks that count, unless the command line says otherwise.
const BLOCKS: usize = 3;
/// The longest that one load is measured.
const SECONDS: u32 = 8;
/// Kills of ours in the row that counts them.
const KILLS: usize = 100;
/// Seconds that a node has been up again before it leads and may be killed again.
const REST: u32 = 10;
/// The reservoir has settled once less memory is free.
const FREE_SETTLED_KIB: u64 = 640 << 10;
/// How long it may take; much less if nobody else wants memory.
const SETTLE_TURNS: u32 = 1_200;

/// Everything that rows need.
pub(crate) struct Bench {
    /// Blocks that count.
    pub(crate) blocks: usize,
    /// The longest that one load is measured.
    pub(crate) seconds: u32,
    /// Nodes of ours that are killed, in all.
    pub(crate) kills: usize,
    /// How long a node that was killed has been up before it leads again.
    pub(crate) rest: Duration,
    /// Where brokers keep their data; emptied at the beginning and the end.
    pub(crate) data: PathBuf,
    ours: Option<Broker>,
    kafka: Option<Broker>,
    floor: Option<Broker>,
    our_nodes: Option<Nodes>,
    kafka_nodes: Option<Nodes>,
    topics: u32,
    reservoir: Child,
    _reservoir_input: Option<ChildStdin>,
}

pub(crate) fn main(args: &[&str]) -> Result<(), String> {
    let asked = Asked::parse(args)?;
    if asked.report {
        return report::show();
    }
    build()?;
    let mut bench = Bench::start(&asked)?;
    for row in asked.rows {
        say(&format!("\n## {}", row.title));
        let finding = row.measure(&mut bench)?;
        report::keep(&finding)?;
        say(&report::row(&finding));
    }
    bench.end();
    report::show()
}

struct Asked {
    rows: Vec<&'static Row>,
    blocks: usize,
    seconds: u32,
    kills: usize,
    rest: u32,
    report: bool,
}

impl Asked {
    fn parse(args: &[&str]) -> Result<Self, String> {
        let (rows, blocks, seconds, kills, rest, report) = (Vec::new(), BLOCKS, SECONDS, KILLS, REST, false);
        let mut asked = Self { rows, blocks, seconds, kills, rest, report };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut number = || args.next().and_then(|n| n.parse::<u32>().ok()).ok_or(USAGE);
            match *arg {
                "--blocks" => asked.blocks = number()?.max(1) as usize,
                "--seconds" => asked.seconds = number()?.max(1),
                "--kills" => asked.kills = number()?.max(1) as usize,
                "--rest" => asked.rest = number()?,
                CLUSTER => asked.rows.extend(ROWS.iter().filter(|row| row.name.starts_with(CLUSTER))),
                "--report" => asked.report = true,
                name => asked.rows.push(rows::find(name).ok_or_else(|| {
                    let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
                    format!("{USAGE}\nrows: {}", names.join(" "))
                })?),
            }
        }
        if asked.rows.is_empty() {
            asked.rows = ROWS.iter().filter(|row| !row.name.starts_with(CLUSTER)).collect();
        }
        Ok(asked)
    }
}

/// Builds what is measured and what measures, and fetches Kafka.
fn build() -> Result<(), String> {
    run("cargo", &["build", "--quiet", "--locked", "--release", "--package", "ottla-cli"])?;
    run("cargo", &["build", "--quiet", "--locked", "--release", "--manifest-path", "bench/Cargo.toml"])?;
    broker::fetch()
}

/// A program of `bench/`.
fn program(name: &str) -> PathBuf {
    root().join("bench/target/release").join(name)
}

fn ottla() -> PathBuf {
    root().join("target/release/ottla")
}

impl Bench {
    fn start(asked: &Asked) -> Result<Self, String> {
        let data = root().join("target/bench/data");
        empty(&data)?;
        say("$ load reservoir");
        let mut reservoir = Command::new(program("load"))
            .arg("reservoir")
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the reservoir cannot be started: {error}"))?;
        let input = reservoir.stdin.take();
        Ok(Self {
            blocks: asked.blocks,
            seconds: asked.seconds,
            kills: asked.kills,
            rest: Duration::from_secs(asked.rest.into()),
            data,
            ours: None,
            kafka: None,
            floor: None,
            our_nodes: None,
            kafka_nodes: None,
            topics: 0,
            reservoir,
            _reservoir_input: input,
        })
    }

    /// Waits until all free memory has been touched.
    pub(crate) fn settle(&self) -> Result<(), String> {
        for _ in 0..SETTLE_TURNS {
            if free_kib()? < FREE_SETTLED_KIB {
                return Ok(());
            }
            pause(Duration::from_millis(50));
        }
        Err("memory does not settle: is another program using it?".into())
    }

    /// A name for a topic of so many partitions that was never used before.
    pub(crate) fn topic_name(&mut self, partitions: u32) -> String {
        self.topics += 1;
        format!("bench-{}-{partitions}", self.topics)
    }

    /// Ends brokers and removes what they wrote.
    fn end(mut self) {
        self.stop_all();
        // Both fail only if it has ended already.
        let _ = self.reservoir.kill();
        let _ = self.reservoir.wait();
        // What is left lies in a folder for such things.
        let _ = empty(&self.data);
    }

    /// Ends the long-lived brokers and clusters, for rows that start their own.
    pub(crate) fn stop_all(&mut self) {
        (self.ours, self.kafka, self.floor) = (None, None, None);
        (self.our_nodes, self.kafka_nodes) = (None, None);
    }
}

fn empty(dir: &std::path::Path) -> Result<(), String> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))
}

fn free_kib() -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(|error| error.to_string())?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| "a meminfo without MemFree".to_owned())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark waits for real time to pass")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// What a benchmark of this moment was made on.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown CPU");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let memory = read("/proc/meminfo");
    let memory = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    let memory: u64 = memory.unwrap_or(0);
    let commit = capture("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_default();
    let steal = read("/proc/stat");
    let steal: Vec<u64> =
        steal.lines().next().unwrap_or("").split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let stolen = 100.0 * steal.get(7).copied().unwrap_or(0) as f64 / steal.iter().sum::<u64>().max(1) as f64;
    format!(
        "{cores} × {cpu}, {} MiB, Linux {}, {stolen:.1} % stolen since boot, commit {}",
        memory >> 10,
        kernel.trim(),
        commit.trim()
    )
}
