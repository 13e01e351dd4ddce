//! Rows in which consumers read large answers.

use super::Bench;
use super::broker::On;
use super::load::{self, Shape};
use super::produce::{REPLICATED, rounds, warm};
use super::series::{Sample, Series};
use crate::bench::{ottla, pause};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SIDES: [(&str, On); 2] = [("ours", On::Ours), ("kafka", On::Kafka)];
const STORED: Shape =
    Shape { partitions: 6, record: 1024, batch: 128 << 10, codec: "none", bytes: 800_000_000 };
/// Seconds to read.
const READ_SECONDS: u32 = 4;
/// What a paced producer sends meanwhile, records of 1 KiB per second, and how many read it.
const TAIL_RATE: &str = "60000";
const TAIL_CONSUMERS: usize = 4;

/// Everything from the beginning, again and again; it lies in the page cache.
pub(super) fn beginning(bench: &mut Bench) -> Result<Series, String> {
    let mut topics = Vec::new();
    for (_, on) in SIDES {
        warm(bench, on)?;
        let topic = bench.topic_name(STORED.partitions);
        let broker = bench.broker(on)?;
        broker.create(&topic, STORED.partitions, REPLICATED)?;
        load::librdkafka(&broker.target(), &topic, STORED, 60)?;
        topics.push(topic);
    }
    let seconds = READ_SECONDS.to_string();
    let options = ["--repeat", "--warm-up", "0", "--duration", &seconds];
    let series = rounds(
        bench,
        &SIDES.map(|(label, _)| label),
        |_| false,
        |bench, at| load::perf(&bench.broker(SIDES[at].1)?.target(), "consume", &topics[at], &options),
    )?;
    for ((_, on), topic) in SIDES.iter().zip(&topics) {
        bench.broker(*on)?.delete(topic)?;
    }
    Ok(series)
}

/// Four consumers at the end of a log that grows; what the broker does without them is taken off.
pub(super) fn tail(bench: &mut Bench) -> Result<Series, String> {
    rounds(bench, &SIDES.map(|(label, _)| label), |_| false, |bench, at| one_tail(bench, SIDES[at].1))
}

fn one_tail(bench: &mut Bench, on: On) -> Result<Sample, String> {
    warm(bench, on)?;
    let topic = bench.topic_name(STORED.partitions);
    bench.broker(on)?.create(&topic, STORED.partitions, REPLICATED)?;
    bench.settle()?;
    let broker = bench.broker(on)?;
    let seconds = READ_SECONDS.to_string();
    let produce = ["--rate", TAIL_RATE, "--warm-up", "0", "--duration", &seconds];
    let alone = load::perf(&broker.target(), "produce", &topic, &produce)?;
    let mut readers: Vec<Child> = (0..TAIL_CONSUMERS)
        .map(|_| tail_reader(&broker.address, &topic, &seconds))
        .collect::<Result<_, _>>()?;
    pause(Duration::from_millis(300));
    let together = load::perf(&broker.target(), "produce", &topic, &produce)?;
    let mut bytes = 0.0;
    for reader in readers.drain(..) {
        let output = reader.wait_with_output().map_err(|error| error.to_string())?;
        bytes += load::after(&String::from_utf8_lossy(&output.stdout), "\"bytes\":")?;
    }
    broker.delete(&topic)?;
    let scale = together["bytes"] / alone["bytes"];
    let cpu = together["cpu"] - alone["cpu"] * scale;
    Ok(Sample::from([("cpu_per_gb", cpu / bytes * 1e9), ("read_gb", bytes / 1e9), ("cpu", cpu)]))
}

fn tail_reader(address: &str, topic: &str, seconds: &str) -> Result<Child, String> {
    Command::new(ottla())
        .args(["perf", "consume", topic, "-b", address, "--tail", "--output", "json"])
        .args(["--warm-up", "1", "--duration", seconds])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("a reader cannot be started: {error}"))
}
