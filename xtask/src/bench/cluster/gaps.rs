//! How long writes stand still when a leader is killed, and when it is moved on purpose.
//!
//! One cluster is alive at a time. A node that was killed leads again only once it has been up for [`Bench::rest`]: a client
//! that lost a node a moment ago is slow to connect to it by its own back-off (librdkafka: `reconnect.backoff.max.ms`, 10 s),
//! which is not what this shows.

use super::nodes::{NODES, Nodes};
use super::watch::Watch;
use crate::bench::broker::On;
use crate::bench::produce::REPLICATED;
use crate::bench::series::{Sample, Series};
use crate::bench::{Bench, pause};
use crate::shell::say;
use std::time::Duration;

const TOPIC: &str = "survivor";
const PARTITIONS: u32 = 3;
/// Kafka is killed less often by this: each kill takes its session timeout.
const KAFKA_PART: usize = 10;

/// What a cluster did, in milliseconds per event.
#[derive(Default)]
struct Gaps {
    controller_killed: Vec<f64>,
    other_killed: Vec<f64>,
    /// The killed node came back and was in sync again.
    returned: Vec<f64>,
    /// Nothing happened: what the machine does by itself.
    calm: Vec<f64>,
    /// The preferred replica was made leader again.
    elected: Vec<f64>,
    /// SIGTERM.
    terminated: Vec<f64>,
}

pub(in crate::bench) fn gap(bench: &mut Bench) -> Result<Series, String> {
    bench.stop_all();
    let (mut ours, mut kafka) = (Gaps::default(), Gaps::default());
    for part in 0..bench.blocks {
        let share = |all: usize| (all * (part + 1)) / bench.blocks - (all * part) / bench.blocks;
        let (mine, others) = (share(bench.kills), share(bench.kills / KAFKA_PART));
        play(bench, On::Ours, mine, &mut ours)?;
        play(bench, On::Kafka, others, &mut kafka)?;
    }
    let mut series = Series::default();
    for (each, labels, gaps) in [("ours, each", OURS, ours), ("kafka, each", KAFKA, kafka)] {
        // For the file of results; the table has no place for them.
        let controller = gaps.controller_killed.iter().map(|time| Sample::from([("controller_ms", *time)]));
        let other = gaps.other_killed.iter().map(|time| Sample::from([("other_ms", *time)]));
        controller.chain(other).for_each(|sample| series.push(vec![(each, sample)]));
        for (label, times) in gaps.by_label(labels) {
            series.push(vec![(label, summary(times))]);
        }
    }
    Ok(series)
}

/// What happened, as the row calls it.
type Labels = [&'static str; 7];

const OURS: Labels = [
    "ours, killed",
    "ours, controller killed",
    "ours, other killed",
    "ours, moved by ElectLeaders",
    "ours, moved by SIGTERM",
    "ours, a node came back",
    "ours, nothing happened",
];
const KAFKA: Labels = [
    "kafka, killed",
    "kafka, controller killed",
    "kafka, other killed",
    "kafka, moved by ElectLeaders",
    "kafka, moved by SIGTERM",
    "kafka, a node came back",
    "kafka, nothing happened",
];

impl Gaps {
    fn by_label(self, labels: Labels) -> Vec<(&'static str, Vec<f64>)> {
        let killed = [&self.controller_killed[..], &self.other_killed].concat();
        let others = [self.controller_killed, self.other_killed, self.elected, self.terminated];
        let times = [killed].into_iter().chain(others).chain([self.returned, self.calm]);
        labels.into_iter().zip(times).collect()
    }
}

/// Median, 99th percentile and maximum of what happened so often.
pub(super) fn summary(mut times: Vec<f64>) -> Sample {
    times.sort_by(f64::total_cmp);
    let Some(last) = times.last().copied() else { return Sample::new() };
    let rank = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
    Sample::from([
        ("p50_ms", rank(50)),
        ("p99_ms", rank(99)),
        ("max_ms", last),
        ("count", times.len() as f64),
    ])
}

fn play(bench: &mut Bench, on: On, kills: usize, gaps: &mut Gaps) -> Result<(), String> {
    if kills == 0 {
        return Ok(());
    }
    let dir = bench.fresh_dir("cluster")?;
    let mut nodes = Nodes::start(on, &dir, "")?;
    nodes.create((TOPIC, 3), PARTITIONS, &[REPLICATED, &["min.insync.replicas=2"]].concat())?;
    let mut watch = Watch::produce(&nodes, TOPIC, PARTITIONS)?;
    for kill in 0..kills {
        let (victim, controls) = victim(&nodes, kill)?;
        watch.mark()?;
        nodes.kill(victim);
        watch.wait_until_going()?;
        let gap = watch.mark()?;
        if controls { &mut gaps.controller_killed } else { &mut gaps.other_killed }.push(gap);
        let back = come_back(&mut nodes, &mut watch, victim, bench.rest, gaps)?;
        let role = if controls { "the controller" } else { "another" };
        say(&format!("  {on:?} kill {}: node {} ({role}): {gap:.0} ms; {back}", kill + 1, victim + 1));
    }
    for at in 0..NODES {
        watch.mark()?;
        nodes.terminate(at)?;
        watch.wait_until_going()?;
        let gap = watch.mark()?;
        gaps.terminated.push(gap);
        let back = come_back(&mut nodes, &mut watch, at, bench.rest, gaps)?;
        say(&format!("  {on:?} SIGTERM: node {}: {gap:.0} ms; {back}", at + 1));
    }
    Ok(())
}

/// Starts a node, waits until all replicas are in sync, lets it rest, and makes it lead again.
fn come_back(
    nodes: &mut Nodes,
    watch: &mut Watch,
    at: usize,
    rest: Duration,
    gaps: &mut Gaps,
) -> Result<String, String> {
    nodes.restart(at)?;
    let whole = nodes.whole()?.as_millis();
    watch.wait_until_going()?;
    let returned = watch.mark()?;
    pause(rest.saturating_sub(nodes.started(at).elapsed()));
    let calm = watch.mark()?;
    nodes.elect(TOPIC, PARTITIONS)?;
    watch.wait_until_going()?;
    let elected = watch.mark()?;
    gaps.returned.push(returned);
    gaps.calm.push(calm);
    gaps.elected.push(elected);
    Ok(format!("back in sync after {whole} ms: {returned:.0}; nothing: {calm:.0}; leads again: {elected:.0}"))
}

/// By turns the controller, and of the others that lead something the one that has been up longest.
fn victim(nodes: &Nodes, kill: usize) -> Result<(usize, bool), String> {
    let (controller, leaders) = (nodes.controller()?, nodes.leaders(TOPIC, PARTITIONS)?);
    let others = leaders.iter().copied().filter(|at| *at != controller);
    match others.min_by_key(|at| nodes.started(*at)) {
        Some(other) if kill % 2 == 1 => Ok((other, false)),
        _ if leaders.contains(&controller) => Ok((controller, true)),
        Some(other) => Ok((other, false)),
        None => Err("nobody leads".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let hundred = summary((1..=100).map(f64::from).rev().collect());
        assert_eq!((hundred["p50_ms"], hundred["p99_ms"], hundred["max_ms"]), (50.0, 99.0, 100.0));
        let one = summary(vec![7.0]);
        assert_eq!((one["p50_ms"], one["p99_ms"], one["count"]), (7.0, 7.0, 1.0));
        assert!(summary(Vec::new()).is_empty());
    }
}
