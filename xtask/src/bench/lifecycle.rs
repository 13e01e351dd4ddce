//! Rows about memory, starting, and doing nothing. Each measurement has a broker of its own.

use super::broker::{Broker, On, free_port, lines};
use super::load::{self, Shape};
use super::produce::{FLUSHED, REPLICATED};
use super::series::{Sample, Series};
use super::{Bench, now, pause, program};
use crate::shell::say;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LOAD: Shape =
    Shape { partitions: 6, record: 1024, batch: 128 << 10, codec: "none", bytes: 2_000_000_000 };
/// Bytes before a kill, ours and Kafka's: Kafka is only printed beside and needs not fill the disk.
const KILLED_BYTES: u64 = 10_000_000_000;
const KILLED_BYTES_KAFKA: u64 = 2_000_000_000;
const IDLE_SECONDS: u64 = 10;
const IDLE_CONSUMERS: usize = 10;
const MANY_PARTITIONS: u32 = 10_000;
/// Partitions created by one request: Kafka's own limit of records per change is not far above.
const THOUSAND: u32 = 1_000;

/// Resident memory: idle, at most under the first row's load, with ten thousand partitions.
pub(super) fn memory(bench: &mut Bench) -> Result<Series, String> {
    bench.stop_all();
    let mut series = Series::default();
    for _ in 0..bench.blocks {
        let mut ours = idle_and_load(bench, On::Ours)?;
        ours.insert("partitions_mib", with_partitions(bench)?);
        series.push(vec![("ours", ours), ("kafka", idle_and_load(bench, On::Kafka)?)]);
    }
    bench.fresh_dir("memory")?;
    Ok(series)
}

/// Our resident memory with ten thousand partitions.
fn with_partitions(bench: &mut Bench) -> Result<f64, String> {
    let dir = bench.fresh_dir("memory")?;
    let broker = Broker::start(On::Ours, &dir, &[])?;
    for part in 0..MANY_PARTITIONS / THOUSAND {
        broker.create(&format!("many-{part}"), THOUSAND, &[])?;
    }
    pause(Duration::from_secs(2));
    broker.memory("VmRSS")
}

fn idle_and_load(bench: &mut Bench, on: On) -> Result<Sample, String> {
    let dir = bench.fresh_dir("memory")?;
    let broker = Broker::start(on, &dir, &[])?;
    pause(Duration::from_secs(3));
    let idle = broker.memory("VmRSS")?;
    broker.create("load", LOAD.partitions, REPLICATED)?;
    load::librdkafka(&broker.target(), "load", LOAD, bench.seconds)?;
    Ok(Sample::from([("idle_mib", idle), ("load_mib", broker.memory("VmHWM")?)]))
}

/// From the start of the process to the first acknowledged record.
pub(super) fn start(bench: &mut Bench) -> Result<Series, String> {
    bench.stop_all();
    let mut series = Series::default();
    for (label, on, bytes) in [("ours", On::Ours, KILLED_BYTES), ("kafka", On::Kafka, KILLED_BYTES_KAFKA)] {
        let mut samples: Vec<Sample> = (0..bench.blocks).map(|_| Sample::new()).collect();
        starts(bench, on, "empty_s", &mut samples, |_, _| Ok(()))?;
        starts(bench, on, "thousand_s", &mut samples, |dir, on| {
            let broker = Broker::start(on, dir, &[])?;
            broker.create("many", THOUSAND, REPLICATED)?;
            load::librdkafka(
                &broker.target(),
                "many",
                Shape { partitions: THOUSAND, bytes: 200_000_000, ..LOAD },
                5,
            )?;
            broker.end("-TERM")
        })?;
        killed(bench, on, bytes, &mut samples)?;
        samples.into_iter().for_each(|sample| series.push(vec![(label, sample)]));
    }
    bench.fresh_dir("start")?;
    Ok(series)
}

fn starts(
    bench: &mut Bench,
    on: On,
    metric: &'static str,
    samples: &mut [Sample],
    prepare: impl Fn(&Path, On) -> Result<(), String>,
) -> Result<(), String> {
    for sample in samples {
        let dir = bench.fresh_dir("start")?;
        prepare(&dir, on)?;
        let (seconds, broker) = first_ack(on, &dir)?;
        drop(broker);
        say(&format!("  {on:?} {metric} {seconds:.3}"));
        sample.insert(metric, seconds);
    }
    Ok(())
}

/// One large log, and a kill after each start: what was recovered once need not be recovered again, so every
/// start gets new bytes to look at.
fn killed(bench: &mut Bench, on: On, bytes: u64, samples: &mut [Sample]) -> Result<(), String> {
    let dir = bench.fresh_dir("start")?;
    let mut broker = Broker::start(on, &dir, &[])?;
    broker.create("large", LOAD.partitions, REPLICATED)?;
    // Four fifths are measured, one fifth warms.
    load::librdkafka(&broker.target(), "large", Shape { bytes: bytes / 5 * 4, ..LOAD }, 300)?;
    for sample in samples {
        broker.end("-KILL")?;
        let (seconds, started) = first_ack(on, &dir)?;
        say(&format!("  {on:?} killed_s {seconds:.3}"));
        sample.insert("killed_s", seconds);
        broker = started;
        load::librdkafka(&broker.target(), "large", Shape { bytes: 500_000_000, ..LOAD }, 30)?;
    }
    Ok(())
}

/// Starts a broker while a client tries to have a record acknowledged.
fn first_ack(on: On, dir: &Path) -> Result<(f64, Broker), String> {
    let port = free_port()?;
    let mut client = Command::new(program("load"))
        .args(["ack", &format!("127.0.0.1:{port}"), "first"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the client cannot be started: {error}"))?;
    let mut said = lines(&mut client)?;
    if said.next().as_deref() != Some("ready") {
        return Err("the client did not start".into());
    }
    // Kafka's format step is not part of its start.
    let start = now();
    let broker = Broker::spawn(on, dir, port, &[])?;
    let acked = said.next();
    let seconds = start.elapsed().as_secs_f64();
    client.wait().map_err(|error| error.to_string())?;
    match acked.as_deref() {
        Some("acked") => Ok((seconds, broker)),
        _ => Err(format!("{on:?} acknowledged nothing; see {}.log", dir.display())),
    }
}

/// CPU time of a broker with a thousand partitions and ten consumers of one group that wait. Both brokers wait at the
/// same time: what neither uses disturbs neither.
pub(super) fn idle(bench: &mut Bench) -> Result<Series, String> {
    bench.stop_all();
    let mut series = Series::default();
    for _ in 0..bench.blocks {
        let sides = [("ours", Idle::begin(bench, On::Ours)?), ("kafka", Idle::begin(bench, On::Kafka)?)];
        // The group's first rebalance waits three seconds for members.
        pause(Duration::from_secs(12));
        let before = sides.each_ref().map(|(_, idle)| idle.broker.cpu());
        pause(Duration::from_secs(IDLE_SECONDS));
        let mut block = Vec::new();
        for ((label, idle), before) in sides.into_iter().zip(before) {
            let core_percent = (idle.broker.cpu()? - before?) / IDLE_SECONDS as f64 * 100.0;
            say(&format!("  {label} {core_percent:.2} % of a core"));
            block.push((label, Sample::from([("core_percent", core_percent)])));
        }
        series.push(block);
    }
    bench.fresh_dir("idle-Ours")?;
    bench.fresh_dir("idle-Kafka")?;
    Ok(series)
}

/// A broker and the consumers that wait for it.
struct Idle {
    consumers: Vec<Child>,
    broker: Broker,
}

impl Idle {
    fn begin(bench: &mut Bench, on: On) -> Result<Self, String> {
        let dir = bench.fresh_dir(&format!("idle-{on:?}"))?;
        let broker = Broker::start(on, &dir, &[])?;
        broker.create("idle", THOUSAND, FLUSHED)?;
        let consumer = || {
            let mut kcat = Command::new("kcat");
            kcat.args(["-b", &broker.address, "-G", "idle", "idle", "-q"]);
            kcat.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        };
        let consumers = (0..IDLE_CONSUMERS).map(|_| consumer()).collect::<Result<Vec<Child>, _>>();
        let consumers = consumers.map_err(|error| format!("kcat cannot be started: {error}"))?;
        Ok(Self { consumers, broker })
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        for consumer in &mut self.consumers {
            // Both fail only if it has ended already.
            let _ = consumer.kill();
            let _ = consumer.wait();
        }
    }
}
