//! Producers on three replicas of everything. Both clusters are alive and one of them is quiet: Kafka's is warm then, and
//! what it does while it is quiet is in our disfavour.

use super::nodes::Nodes;
use crate::bench::broker::On;
use crate::bench::load::{self, Shape};
use crate::bench::produce::{FLUSHED, REPLICATED, rounds};
use crate::bench::series::{Sample, Series};
use crate::bench::{Bench, now};
use crate::shell::say;

const LOAD: Shape =
    Shape { partitions: 6, record: 1024, batch: 128 << 10, codec: "none", bytes: 800_000_000 };
const IN_SYNC: &str = "min.insync.replicas=2";
const WARM_SECONDS: u32 = 30;

/// One side of a row.
type Side = (&'static str, On, &'static [&'static str]);

pub(in crate::bench) fn replicated(bench: &mut Bench) -> Result<Series, String> {
    produce(bench, &[("ours", On::Ours, REPLICATED), ("kafka", On::Kafka, REPLICATED)])
}

pub(in crate::bench) fn flushed(bench: &mut Bench) -> Result<Series, String> {
    produce(bench, &[("ours", On::Ours, FLUSHED), ("kafka unflushed", On::Kafka, REPLICATED)])
}

fn produce(bench: &mut Bench, sides: &[Side]) -> Result<Series, String> {
    let seconds = bench.seconds;
    measure(bench, sides, LOAD.partitions, |nodes, topic| {
        load::librdkafka(&nodes.target(), topic, LOAD, seconds)
    })
}

/// One record at a time, the next when the last is acknowledged by all.
pub(in crate::bench) fn single(bench: &mut Bench) -> Result<Series, String> {
    let seconds = bench.seconds.to_string();
    let one = ["--batch-records", "1", "--record-bytes", "100", "--in-flight", "1"];
    let options = [&one[..], &["--acks", "all", "--duration", &seconds]].concat();
    let sides = [
        ("ours", On::Ours, REPLICATED),
        ("kafka", On::Kafka, REPLICATED),
        ("ours flushed", On::Ours, FLUSHED),
    ];
    measure(bench, &sides, 1, |nodes, topic| load::perf(&nodes.target(), "produce", topic, &options))
}

fn measure(
    bench: &mut Bench,
    sides: &[Side],
    partitions: u32,
    run: impl Fn(&Nodes, &str) -> Result<Sample, String>,
) -> Result<Series, String> {
    let labels: Vec<_> = sides.iter().map(|(label, _, _)| *label).collect();
    rounds(
        bench,
        &labels,
        |_| false,
        |bench, at| {
            let (_, on, configs) = sides[at];
            warm(bench, on)?;
            let topic = bench.topic_name(partitions);
            bench.cluster(on)?.create((&topic, 3), partitions, &[configs, &[IN_SYNC]].concat())?;
            bench.settle()?;
            let (start, before) = (now(), bench.quiet_cpu(on)?);
            let mut sample = run(bench.cluster(on)?, &topic)?;
            let quiet = (bench.quiet_cpu(on)? - before) / start.elapsed().as_secs_f64() * 100.0;
            sample.insert("quiet_percent", quiet);
            bench.cluster(on)?.delete(&topic)?;
            Ok(sample)
        },
    )
}

/// Starts a cluster when it is first needed; JVMs get half a minute of load before anything of them counts.
fn warm(bench: &mut Bench, on: On) -> Result<(), String> {
    if bench.has_cluster(on) {
        return Ok(());
    }
    say(&format!("starting three nodes of {on:?}"));
    let topic = bench.topic_name(LOAD.partitions);
    let nodes = bench.cluster(on)?;
    if on == On::Kafka {
        nodes.create((&topic, 3), LOAD.partitions, REPLICATED)?;
        load::librdkafka(&nodes.target(), &topic, Shape { bytes: 2_000_000_000, ..LOAD }, WARM_SECONDS)?;
        nodes.delete(&topic)?;
    }
    Ok(())
}
