//! What partitions cost that nobody uses, and how soon a killed node serves again. One cluster is alive at a time.

use super::nodes::{NODES, Nodes};
use crate::bench::broker::{On, lines};
use crate::bench::load::{self, Shape};
use crate::bench::produce::REPLICATED;
use crate::bench::series::{Sample, Series};
use crate::bench::{Bench, now, pause, program};
use crate::shell::say;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const SIDES: [(&str, On); 2] = [("ours", On::Ours), ("kafka", On::Kafka)];
/// Idle partitions, in topics of so many.
const IDLE: u32 = 5_000;
const PER_TOPIC: u32 = 1_000;
const SETTLED: Duration = Duration::from_secs(5);

const STARTED: &str = "started";
/// Every partition gets some of it in each turn, sixteen records at a time.
const TURN: Shape =
    Shape { partitions: 1_000, record: 1024, batch: 16 << 10, codec: "none", bytes: 64_000_000 };
const TURN_SECONDS: u32 = 60;
/// A segment ends with the turn that filled it.
const ROLL: &str = "segment.ms=5000";
const ROLLED: Duration = Duration::from_secs(6);
const SEGMENTS: usize = 3;

/// Resident memory per replica that is never written to, over all nodes.
pub(in crate::bench) fn memory(bench: &mut Bench) -> Result<Series, String> {
    bench.stop_all();
    let mut series = Series::default();
    for _ in 0..bench.blocks {
        let mut block = Vec::new();
        for (label, on) in SIDES {
            let dir = bench.fresh_dir("cluster")?;
            let nodes = Nodes::start(on, &dir, "")?;
            pause(SETTLED);
            let empty = nodes.memory()?;
            for topic in 0..IDLE / PER_TOPIC {
                nodes.create((&format!("idle-{topic}"), 3), PER_TOPIC, &[])?;
            }
            pause(SETTLED);
            let full = nodes.memory()?;
            say(&format!("  {label} {empty:.1?} MiB, with {IDLE} partitions {full:.1?} MiB"));
            let sum = |all: &[f64]| all.iter().sum::<f64>();
            let kib = (sum(&full) - sum(&empty)) * 1024.0 / f64::from(IDLE) / NODES as f64;
            let empty_mib = sum(&empty) / NODES as f64;
            block.push((label, Sample::from([("kib_per_replica", kib), ("empty_mib", empty_mib)])));
        }
        series.push(block);
    }
    Ok(series)
}

/// From the start of a killed node's process until the cluster has it back, and until all its replicas are in sync.
pub(in crate::bench) fn start(bench: &mut Bench) -> Result<Series, String> {
    bench.stop_all();
    let mut series = Series::default();
    for (label, on) in SIDES {
        let dir = bench.fresh_dir("cluster")?;
        let mut nodes = Nodes::start(on, &dir, "")?;
        nodes.create((STARTED, 3), TURN.partitions, &[REPLICATED, &[ROLL]].concat())?;
        for _ in 1..SEGMENTS {
            fill(&nodes)?;
            pause(ROLLED);
        }
        for block in 0..bench.blocks {
            // What was recovered once need not be recovered again: every start gets something new to look at.
            fill(&nodes)?;
            let at = block % NODES;
            nodes.kill(at);
            let sample = come_back(&mut nodes, at, segments(&dir, at)?)?;
            say(&format!("  {label} {sample:.3?}"));
            series.push(vec![(label, sample)]);
            nodes.whole()?;
            pause(ROLLED);
        }
    }
    Ok(series)
}

fn fill(nodes: &Nodes) -> Result<(), String> {
    load::librdkafka(&nodes.target(), STARTED, TURN, TURN_SECONDS).map(|_| ())
}

fn come_back(nodes: &mut Nodes, at: usize, segments: f64) -> Result<Sample, String> {
    let other = nodes.others(at).first().copied().ok_or("no other node runs")?.to_owned();
    let id = (at + 1).to_string();
    let mut client = Command::new(program("load"))
        .args(["up", &other, nodes.address(at), &id, STARTED])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the client cannot be started: {error}"))?;
    let mut said = lines(&mut client)?;
    let mut until = |what: &str| match said.next() {
        Some(line) if line == what => Ok(()),
        other => Err(format!("a node does not come back: {other:?} instead of {what}")),
    };
    until("ready")?;
    let start = now();
    nodes.spawn(at)?;
    until("up")?;
    let up = start.elapsed().as_secs_f64();
    until("whole")?;
    let whole = start.elapsed().as_secs_f64();
    client.wait().map_err(|error| error.to_string())?;
    Ok(Sample::from([("up_s", up), ("whole_s", whole), ("segments", segments)]))
}

/// Segments per partition on a node's disk.
fn segments(dir: &Path, at: usize) -> Result<f64, String> {
    let mut count = 0_u32;
    let list = |dir: &Path| std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()));
    let named =
        |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(STARTED));
    let data = dir.join(format!("node-{}.data", at + 1));
    for partition in list(&data)?.filter_map(Result::ok).filter(|entry| named(&entry.path())) {
        let files = list(&partition.path())?.filter_map(Result::ok);
        let logs = files.filter(|file| file.path().extension().is_some_and(|ending| ending == "log"));
        count += u32::try_from(logs.count()).unwrap_or(0);
    }
    Ok(f64::from(count) / f64::from(TURN.partitions))
}
