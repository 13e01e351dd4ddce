//! A cluster of three real processes under faults, with an unmodified idempotent client (librdkafka) that writes all the
//! time. At the end every acknowledged line is there exactly once and in order. How long writes stood still is printed
//! per fault, and not asserted.

use super::clients::environment;
use super::leaders::Oracle;
use super::members::{Cluster, number_after};
use crate::shell::{capture, root, say};
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a node is killed in CI.
pub(super) const KILLS: usize = 20;
/// How often a node is stopped for a while.
const PAUSES: usize = 3;
/// How much longer a node is stopped than it takes the others to take over what it led.
const PAUSE: Duration = Duration::from_secs(2);
/// Partitions of the topic that is written to.
const PARTITIONS: usize = 3;
/// Lines per second and partition.
const RATE: &str = "200";
/// How long writes may stand still, and a node may take to be in sync again.
const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const TOPIC: &str = "survivor";

/// Only this: with as many kills as a text says.
pub(crate) fn alone(kills: Option<&str>) -> Result<(), String> {
    let kills = match kills {
        None => KILLS,
        Some(text) => text.parse().map_err(|_| format!("{text} is no number of kills"))?,
    };
    crate::shell::run("cargo", &["build", "--quiet", "--locked", "-p", "ottla-cli"])?;
    run(kills)?;
    super::grow::run()?;
    super::outage::run()
}

/// All faults, `kills` of the first kind.
pub(super) fn run(kills: usize) -> Result<(), String> {
    let mut cluster = Cluster::start("cluster", 3)?;
    cluster.cli(&[
        "topic",
        "create",
        TOPIC,
        "-p",
        &PARTITIONS.to_string(),
        "-r",
        "3",
        "-c",
        "min.insync.replicas=2",
    ])?;
    let mut load = Load::start(&cluster.bootstrap())?;
    let mut table = Table::default();
    load.mark()?;
    let outcome = faults(&mut cluster, &mut load, &mut table, kills);
    table.print();
    outcome?;
    let written = load.end()?;
    check(&cluster, &written)?;
    // What is there must be there on every node: each leads once while it is read.
    for at in 0..3 {
        cluster.kill(at);
        check(&cluster, &written)?;
        cluster.restart(at)?;
        whole(&cluster)?;
    }
    let lines: usize = written.iter().sum();
    say(&format!(
        "{lines} lines acknowledged, 0 lost, 0 duplicated, 0 reordered, and so with each node away"
    ));
    Ok(())
}

fn faults(cluster: &mut Cluster, load: &mut Load, table: &mut Table, kills: usize) -> Result<(), String> {
    for kill in 0..kills {
        let victim = if kill % 2 == 0 { controller(cluster)? } else { leader(cluster, kill % PARTITIONS)? };
        table.row(cluster, load, Fault::Kill, victim)?;
    }
    for pause in 0..PAUSES {
        let victim = leader(cluster, pause % PARTITIONS)?;
        table.row(cluster, load, Fault::Pause, victim)?;
    }
    for at in 0..3 {
        table.row(cluster, load, Fault::Restart, at)?;
    }
    let failures = load.mark()?.failures;
    if failures == 0 { Ok(()) } else { Err(format!("the client was told of {failures} failures")) }
}

/// What happens to a node.
#[derive(Clone, Copy)]
enum Fault {
    /// SIGKILL; it starts again once the others have gone on without it.
    Kill,
    /// SIGSTOP until others have taken over, then SIGCONT. Clients only notice when it goes on.
    Pause,
    /// SIGTERM, and a start.
    Restart,
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Pause => "SIGSTOP, SIGCONT",
            Self::Restart => "SIGTERM, start",
        }
    }

    fn strike(self, cluster: &mut Cluster, at: usize) -> Result<(), String> {
        match self {
            Self::Kill => cluster.kill(at),
            Self::Pause => cluster.signal(at, "STOP")?,
            Self::Restart => cluster.terminate(at)?,
        }
        Ok(())
    }

    fn heal(self, cluster: &mut Cluster, load: &mut Load, at: usize) -> Result<(), String> {
        match self {
            Self::Kill | Self::Restart => {
                load.wait_until_written()?;
                cluster.restart(at)
            }
            Self::Pause => {
                sleep(PAUSE);
                cluster.signal(at, "CONT")
            }
        }
    }
}

/// The place of the node that is the active controller.
fn controller(cluster: &Cluster) -> Result<usize, String> {
    let told = cluster.cli(&["cluster", "info", "--output", "json"])?;
    let id = number_after(&told, "\"controller\":").ok_or_else(|| format!("no controller in {told}"))?;
    cluster.place(id)
}

/// The place of the node that leads a partition.
fn leader(cluster: &Cluster, partition: usize) -> Result<usize, String> {
    let told = cluster.cli(&["topic", "describe", TOPIC, "--output", "json"])?;
    let from = told.split(&format!("\"partition\":{partition},")).nth(1).unwrap_or_default();
    let id =
        number_after(from, "\"leader\":").ok_or_else(|| format!("no leader of {partition} in {told}"))?;
    cluster.place(id)
}

/// What a node is at the moment, for the table.
fn role(cluster: &Cluster, at: usize) -> Result<String, String> {
    let mut role = if controller(cluster)? == at { "controller".to_owned() } else { String::new() };
    let led: Result<Vec<usize>, String> =
        (0..PARTITIONS).map(|partition| leader(cluster, partition)).collect();
    let led = led?.into_iter().filter(|leader| *leader == at).count();
    if led > 0 {
        role.push_str(if role.is_empty() { "" } else { ", " });
        role.push_str(&format!("leads {led}"));
    }
    Ok(role)
}

/// Waits until all other nodes say that another leads what this one led; how long that took.
fn taken_over(oracles: &mut [Oracle], victim: usize) -> Result<Duration, String> {
    let (start, gone) = (now(), i32::try_from(victim + 1).unwrap_or(0));
    loop {
        let told: Result<Vec<_>, _> = oracles.iter_mut().map(|oracle| oracle.leaders(TOPIC)).collect();
        if told?.iter().flatten().all(|leader| *leader >= 0 && *leader != gone) {
            return Ok(start.elapsed());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("nobody leads what node {gone} led"));
        }
        sleep(Duration::from_millis(2));
    }
}

/// Waits until every replica is in sync; how long that took.
pub(super) fn whole(cluster: &Cluster) -> Result<Duration, String> {
    let start = now();
    loop {
        let told = cluster.cli(&["cluster", "info", "--output", "json"]);
        if told.as_ref().is_ok_and(|told| told.contains("\"under_replicated\":[],\"leaderless\":[]")) {
            return Ok(start.elapsed());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("not all replicas came back in sync: {told:?}"));
        }
        sleep(Duration::from_millis(100));
    }
}

/// Every line that was acknowledged is there, once and in order, and nothing else.
pub(super) fn check(cluster: &Cluster, written: &[usize]) -> Result<(), String> {
    for (partition, count) in written.iter().enumerate() {
        let (brokers, partition) = (cluster.bootstrap(), partition.to_string());
        let found = capture("kcat", &["-C", "-b", &brokers, "-t", TOPIC, "-p", &partition, "-e", "-q"])?;
        let mut expected = 0;
        for line in found.lines() {
            if line != expected.to_string() {
                return Err(format!("partition {partition}: expected line {expected}, found {line}"));
            }
            expected += 1;
        }
        if expected != *count {
            return Err(format!("partition {partition}: {expected} of {count} acknowledged lines are there"));
        }
    }
    Ok(())
}

/// What the client says at a mark.
pub(super) struct Mark {
    /// Times between acknowledgements in milliseconds, by partition.
    gaps: Vec<u64>,
    pub(super) failures: u64,
}

impl Mark {
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once(' ').filter(|(command, _)| matches!(*command, "mark" | "look"))?;
        let mut words = rest.split(' ');
        let gaps = words.next()?.split(',').map(|gap| gap.parse().ok()).collect::<Option<_>>()?;
        Some(Self { gaps, failures: words.nth(1)?.parse().ok()? })
    }

    pub(super) fn gap(&self) -> u64 {
        self.gaps.iter().copied().max().unwrap_or(0)
    }
}

/// The client.
pub(super) struct Load {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Load {
    pub(super) fn start(bootstrap: &str) -> Result<Self, String> {
        let mut child = Command::new(environment("confluent")?)
            .args(["clients/python/cluster_load.py", bootstrap, TOPIC, &PARTITIONS.to_string(), RATE])
            .current_dir(root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("python cannot be started: {error}"))?;
        let output = child.stdout.take().ok_or("no output")?;
        let mut load = Self { child, output: BufReader::new(output).lines() };
        load.wait_until_written()?;
        Ok(load)
    }

    fn ask(&mut self, command: &str) -> Result<String, String> {
        let input = self.child.stdin.as_mut().ok_or("no input")?;
        writeln!(input, "{command}").map_err(|error| format!("the client has ended: {error}"))?;
        let line = self.output.next().ok_or("the client has ended; its last lines say why")?;
        line.map_err(|error| error.to_string())
    }

    /// The gaps since the last mark.
    pub(super) fn mark(&mut self) -> Result<Mark, String> {
        let line = self.ask("mark")?;
        Mark::parse(&line).ok_or_else(|| format!("the client says {line:?}"))
    }

    /// How long ago each partition took something.
    fn look(&mut self) -> Result<Mark, String> {
        let line = self.ask("look")?;
        Mark::parse(&line).ok_or_else(|| format!("the client says {line:?}"))
    }

    /// Until every partition has been written to for a second.
    pub(super) fn wait_until_written(&mut self) -> Result<(), String> {
        let (start, mut good) = (now(), 0);
        while good < 10 {
            sleep(Duration::from_millis(100));
            let look = self.look()?;
            good = if look.gap() < 100 { good + 1 } else { 0 };
            if start.elapsed() > PATIENCE {
                return Err(format!("writes stand still: by partition since {:?} ms", look.gaps));
            }
        }
        Ok(())
    }

    /// Stops it; how many lines of each partition are acknowledged.
    pub(super) fn end(mut self) -> Result<Vec<usize>, String> {
        let line = self.ask("end")?;
        let wrong = || format!("the client says {line:?}");
        let mut words = line.strip_prefix("done ").ok_or_else(wrong)?.split(' ');
        let counts = words.next().ok_or_else(wrong)?.split(',');
        let counts: Vec<usize> =
            counts.map(|count| count.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
        let sent: usize = words.next().and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
        if counts.iter().any(|count| *count != sent) {
            return Err(format!("{sent} lines were sent to each partition: {line}"));
        }
        Ok(counts)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came of each fault.
#[derive(Default)]
struct Table(Vec<String>);

impl Table {
    /// Lets something happen to a node, heals it, and notes what that meant for the others and for the client.
    fn row(&mut self, cluster: &mut Cluster, load: &mut Load, fault: Fault, at: usize) -> Result<(), String> {
        let role = role(cluster, at)?;
        let oracles: Result<Vec<_>, _> = cluster.others(at).into_iter().map(Oracle::of).collect();
        load.mark()?;
        fault.strike(cluster, at)?;
        let led = taken_over(&mut oracles?, at)?.as_millis();
        fault.heal(cluster, load, at)?;
        load.wait_until_written()?;
        let whole = whole(cluster)?.as_millis();
        let (number, name, gap) = (self.0.len() + 1, fault.name(), load.mark()?.gap());
        let row = format!("| {number} | {name} | {} | {role} | {led} | {gap} | {whole} |", at + 1);
        say(&row);
        self.0.push(row);
        Ok(())
    }

    fn print(&self) {
        say(
            "\n| | fault | node | which was | led again after, ms | writes stood still, ms | in sync again after, ms |",
        );
        say("|---|---|---|---|---:|---:|---:|");
        self.0.iter().for_each(|row| say(row));
    }
}

#[expect(clippy::disallowed_methods, reason = "faults take real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "faults take real time")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_the_client_writes_them() {
        let mark = Mark::parse("mark 5,700,12 3000 1").unwrap();
        assert_eq!((mark.gap(), mark.failures), (700, 1));
        assert!(Mark::parse("done 1,2 3 0").is_none());
    }
}
