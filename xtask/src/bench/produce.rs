//! Rows in which producers send as fast as acknowledgements come.

use super::Bench;
use super::broker::On;
use super::load::{self, Shape};
use super::series::{Sample, Series};
use crate::shell::say;

/// One side of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    pub(crate) label: &'static str,
    pub(crate) on: On,
    client: Client,
    shape: Shape,
    configs: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Librdkafka,
    Java,
}

/// A topic whose acknowledgements wait for the page cache, as Kafka's do by default.
pub(crate) const REPLICATED: &[&str] = &["flush.messages=9223372036854775807"];
/// One whose acknowledgements wait for the disk.
pub(crate) const FLUSHED: &[&str] = &["flush.messages=1"];
/// A rule for which the broker has to look at every record's timestamp.
const RULE: &[&str] = &["flush.messages=9223372036854775807", "message.timestamp.before.max.ms=86400000"];

/// 1 KiB records in batches of 128 KiB, six partitions.
const LARGE: Shape =
    Shape { partitions: 6, record: 1024, batch: 128 << 10, codec: "none", bytes: 2_000_000_000 };
const SMALL: Shape = Shape { record: 100, batch: 16 << 10, bytes: 500_000_000, ..LARGE };
const SLOW: Shape = Shape { bytes: 600_000_000, ..LARGE };
const LZ4: Shape = Shape { codec: "lz4", bytes: 1_200_000_000, ..LARGE };
const ZSTD: Shape = Shape { codec: "zstd", ..LZ4 };
/// A floor that is dearer than this says that the machine is not itself (CPU seconds per GB, first row).
const FLOOR_MAX: f64 = 0.9;

const fn side(label: &'static str, on: On, shape: Shape, configs: &'static [&'static str]) -> Side {
    Side { label, on, client: Client::Librdkafka, shape, configs }
}

const FLOOR: Side = side("floor", On::Floor, LARGE, &[]);

pub(super) fn replicated(bench: &mut Bench) -> Result<Series, String> {
    let sides =
        [FLOOR, side("ours", On::Ours, LARGE, REPLICATED), side("kafka", On::Kafka, LARGE, REPLICATED)];
    interleave(bench, &sides)
}

pub(super) fn flushed(bench: &mut Bench) -> Result<Series, String> {
    let sides = [
        FLOOR,
        side("ours", On::Ours, LARGE, FLUSHED),
        side("kafka unflushed", On::Kafka, LARGE, REPLICATED),
    ];
    interleave(bench, &sides)
}

pub(super) fn flushed_partitions(bench: &mut Bench) -> Result<Series, String> {
    let spread_over = |partitions| Shape { partitions, ..SLOW };
    let sides = [
        side("ours 6", On::Ours, spread_over(6), FLUSHED),
        side("ours 100", On::Ours, spread_over(100), FLUSHED),
        side("ours 1000", On::Ours, spread_over(1_000), FLUSHED),
        side("kafka 100", On::Kafka, spread_over(100), FLUSHED),
        side("kafka 1000", On::Kafka, spread_over(1_000), FLUSHED),
    ];
    interleave(bench, &sides)
}

pub(super) fn java(bench: &mut Bench) -> Result<Series, String> {
    let side = |label, on| Side { client: Client::Java, ..side(label, on, SLOW, REPLICATED) };
    interleave(bench, &[side("ours", On::Ours), side("kafka", On::Kafka)])
}

pub(super) fn small(bench: &mut Bench) -> Result<Series, String> {
    let sides = [
        side("floor", On::Floor, SMALL, &[]),
        side("ours", On::Ours, SMALL, REPLICATED),
        side("kafka", On::Kafka, SMALL, REPLICATED),
    ];
    interleave(bench, &sides)
}

pub(super) fn codecs(bench: &mut Bench) -> Result<Series, String> {
    let sides = [
        side("ours lz4", On::Ours, LZ4, REPLICATED),
        side("kafka lz4", On::Kafka, LZ4, REPLICATED),
        side("ours zstd", On::Ours, ZSTD, REPLICATED),
        side("kafka zstd", On::Kafka, ZSTD, REPLICATED),
    ];
    interleave(bench, &sides)
}

pub(super) fn codecs_with_rule(bench: &mut Bench) -> Result<Series, String> {
    let sides = [
        side("ours lz4", On::Ours, LZ4, RULE),
        side("kafka lz4", On::Kafka, LZ4, RULE),
        side("ours zstd", On::Ours, ZSTD, RULE),
        side("kafka zstd", On::Kafka, ZSTD, RULE),
    ];
    interleave(bench, &sides)
}

/// A B B A …; the first round warms and is dropped, and so is a block whose floor is too dear.
fn interleave(bench: &mut Bench, sides: &[Side]) -> Result<Series, String> {
    let labels: Vec<_> = sides.iter().map(|side| side.label).collect();
    let void = |block: &[(&str, Sample)]| {
        let floor = block.iter().find(|(label, _)| *label == FLOOR.label).map(|(_, sample)| sample);
        floor.is_some_and(|floor| floor["cpu_per_gb"] > FLOOR_MAX) && sides[0].shape.record == LARGE.record
    };
    rounds(bench, &labels, void, |bench, at| measure(bench, &sides[at]))
}

/// Measures each label in turn, forth and back, until there are enough blocks.
pub(super) fn rounds(
    bench: &mut Bench,
    labels: &[&'static str],
    void: impl Fn(&[(&'static str, Sample)]) -> bool,
    mut measure: impl FnMut(&mut Bench, usize) -> Result<Sample, String>,
) -> Result<Series, String> {
    let mut series = Series::default();
    let (mut kept, mut round) = (0, 0);
    while kept < bench.blocks && series.void <= bench.blocks {
        let mut order: Vec<usize> = (0..labels.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        let mut block = Vec::new();
        for at in order {
            let sample = measure(bench, at)?;
            say(&format!("  {} {}", labels[at], brief(&sample)));
            block.push((at, sample));
        }
        block.sort_by_key(|(at, _)| *at);
        let block: Vec<_> = block.into_iter().map(|(at, sample)| (labels[at], sample)).collect();
        round += 1;
        if round == 1 {
            continue;
        }
        if void(&block) {
            series.void += 1;
            continue;
        }
        kept += 1;
        series.push(block);
    }
    Ok(series)
}

fn brief(sample: &Sample) -> String {
    let figures: Vec<_> = sample.iter().map(|(name, value)| format!("{name}={value:.3}")).collect();
    figures.join(" ")
}

fn measure(bench: &mut Bench, side: &Side) -> Result<Sample, String> {
    warm(bench, side.on)?;
    let topic = bench.topic_name(side.shape.partitions);
    if side.on != On::Floor {
        bench.broker(side.on)?.create(&topic, side.shape.partitions, side.configs)?;
    }
    bench.settle()?;
    let seconds = bench.seconds;
    let broker = bench.broker(side.on)?;
    let sample = match side.client {
        Client::Librdkafka => load::librdkafka(&broker.target(), &topic, side.shape, seconds)?,
        Client::Java => load::java(broker, &topic, side.shape)?,
    };
    remove(bench, side.on, &topic)?;
    Ok(sample)
}

/// The JVM gets half a minute of load before anything of it counts.
pub(super) fn warm(bench: &mut Bench, on: On) -> Result<(), String> {
    const WARM_SECONDS: u32 = 20;
    if bench.runs(on) {
        return Ok(());
    }
    bench.broker(on)?;
    if on != On::Kafka {
        return Ok(());
    }
    let topic = bench.topic_name(LARGE.partitions);
    bench.broker(on)?.create(&topic, LARGE.partitions, REPLICATED)?;
    let shape = Shape { bytes: 4_000_000_000, ..LARGE };
    load::librdkafka(&bench.broker(on)?.target(), &topic, shape, WARM_SECONDS)?;
    remove(bench, on, &topic)
}

/// Removes what a load wrote.
pub(super) fn remove(bench: &mut Bench, on: On, topic: &str) -> Result<(), String> {
    let broker = bench.broker(on)?;
    if on != On::Floor {
        return broker.delete(topic);
    }
    let files = std::fs::read_dir(&broker.data).map_err(|error| error.to_string())?;
    for file in files.filter_map(Result::ok) {
        // The floor keeps a handle, so that only emptying the file gives its space back.
        let emptied = std::fs::File::create(file.path());
        emptied.map_err(|error| error.to_string())?;
    }
    Ok(())
}
