//! Rows about the time that single records take.

use super::Bench;
use super::broker::On;
use super::load;
use super::produce::{FLUSHED, REPLICATED, rounds, warm};
use super::program;
use super::series::{Sample, Series};
use crate::shell::capture;

const SIDES: [(&str, On, &[&str]); 3] =
    [("ours", On::Ours, REPLICATED), ("kafka", On::Kafka, REPLICATED), ("ours flushed", On::Ours, FLUSHED)];
const PARTITIONS: u32 = 6;
const SECONDS: &str = "5";

/// One record at a time, acks=1, the next when the last is acknowledged.
pub(super) fn closed_loop(bench: &mut Bench) -> Result<Series, String> {
    let options = [
        "--batch-records",
        "1",
        "--record-bytes",
        "100",
        "--in-flight",
        "1",
        "--acks",
        "1",
        "--duration",
        SECONDS,
    ];
    measure(bench, &SIDES[..2], "produce", &options)
}

/// 5,000 records per second from the intended send to the arrival at a consumer.
pub(super) fn end_to_end(bench: &mut Bench) -> Result<Series, String> {
    let options = [
        "--rate",
        "5000",
        "--record-bytes",
        "100",
        "--acks",
        "all",
        "--in-flight",
        "50",
        "--duration",
        SECONDS,
    ];
    let mut series = measure(bench, &SIDES, "e2e", &options)?;
    let file = bench.data.join("raw");
    let raw = capture(&program("load").to_string_lossy(), &["sync", &file.to_string_lossy()])?;
    let raw = Sample::from([("p50", load::after(&raw, "p50=")?), ("p99", load::after(&raw, "p99=")?)]);
    series.push(vec![("raw fdatasync", raw)]);
    Ok(series)
}

fn measure(
    bench: &mut Bench,
    sides: &[(&'static str, On, &[&str])],
    mode: &str,
    options: &[&str],
) -> Result<Series, String> {
    let labels: Vec<_> = sides.iter().map(|(label, _, _)| *label).collect();
    rounds(
        bench,
        &labels,
        |_| false,
        |bench, at| {
            let (_, on, configs) = sides[at];
            warm(bench, on)?;
            let topic = bench.topic_name(PARTITIONS);
            let broker = bench.broker(on)?;
            broker.create(&topic, PARTITIONS, configs)?;
            let sample = load::perf(&broker.target(), mode, &topic, options)?;
            broker.delete(&topic)?;
            Ok(sample)
        },
    )
}
