//! How long metadata cannot be changed when the controller is killed, by how much of it there is.
//!
//! One cluster is alive at a time. A topic's config is changed again and again through each of the nodes that survive, by
//! requests without a client library around them: no back-off of a client is in the figure.

use super::gaps::summary;
use super::nodes::Nodes;
use super::watch::Watch;
use crate::bench::broker::On;
use crate::bench::series::Series;
use crate::bench::{Bench, pause};
use crate::shell::say;
use std::time::Duration;

const CHANGED: &str = "changed";
/// Of each partition: a node holds two file descriptors per replica, and may have 20,000 on the machine of the table.
const REPLICAS: u32 = 2;
/// Partitions created by one request: Kafka's own limit of records per change is not far above.
const PER_TOPIC: u32 = 1_000;
/// Kills of ours and of Kafka's controller per block and count of partitions. Kafka is only beside: with 10,000 partitions its
/// nodes take minutes to start.
const KILLS: usize = 5;
const KILLS_KAFKA: usize = 2;

pub(in crate::bench) fn controller(bench: &mut Bench) -> Result<Series, String> {
    bench.stop_all();
    let mut series = Series::default();
    let sides = [
        ("ours, 100 partitions", On::Ours, 100, KILLS),
        ("ours, 10,000 partitions", On::Ours, 10_000, KILLS),
        ("kafka, 100 partitions", On::Kafka, 100, KILLS_KAFKA),
        ("kafka, 1,000 partitions", On::Kafka, 1_000, KILLS_KAFKA),
    ];
    for _ in 0..bench.blocks {
        let mut block = Vec::new();
        for (label, on, partitions, kills) in sides {
            let times = kill(bench, on, partitions, kills)?;
            say(&format!("  {label}: {times:.0?} ms"));
            block.push((label, summary(times)));
        }
        series.push(block);
    }
    Ok(series)
}

fn kill(bench: &mut Bench, on: On, partitions: u32, kills: usize) -> Result<Vec<f64>, String> {
    let dir = bench.fresh_dir("cluster")?;
    let mut nodes = Nodes::start(on, &dir, "")?;
    nodes.create((CHANGED, REPLICAS), 1, &[])?;
    for topic in 0..partitions.div_ceil(PER_TOPIC) {
        nodes.create((&format!("many-{topic}"), REPLICAS), partitions.min(PER_TOPIC), &[])?;
    }
    let mut times = Vec::new();
    for _ in 0..kills {
        let victim = nodes.controller()?;
        let mut watch = Watch::change(&nodes.others(victim), CHANGED)?;
        watch.mark()?;
        nodes.kill(victim);
        watch.wait_until_going()?;
        times.push(watch.mark()?);
        drop(watch);
        nodes.restart(victim)?;
        nodes.whole()?;
        pause(Duration::from_secs(1));
    }
    Ok(times)
}
