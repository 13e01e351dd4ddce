//! A cluster of three real processes under faults, with unmodified idempotent clients (librdkafka, Java, kafkajs) that
//! write all the time. At the end every acknowledged line is there exactly once and in order. How long writes stood
//! still is printed per fault and client, and not asserted.

use super::leaders::Oracle;
use super::load::{Client, Loads, Mark, PARTITIONS, check, create_topics};
use super::members::{Cluster, number_after};
use crate::shell::say;
use std::time::{Duration, Instant};

/// How often a node is killed in CI.
pub(super) const KILLS: usize = 20;
/// How often a node is stopped for a while.
const PAUSES: usize = 3;
/// How much longer a node is stopped than it takes the others to take over what it led.
const PAUSE: Duration = Duration::from_secs(2);
/// How long after its death a node is left alone. One that dies again sooner is not dialled for up to ten seconds by
/// librdkafka (`reconnect.backoff.max.ms`), which says nothing of the cluster.
const APART: Duration = Duration::from_secs(25);
/// How long a node may take to be in sync again, and others to lead what it led.
const PATIENCE: Duration = Duration::from_secs(60);
/// The topic whose leaders are looked at.
const TOPIC: &str = Client::Librdkafka.topic();
/// What every topic of a cluster of three has.
pub(super) const SAFE: [&str; 4] = ["-r", "3", "-c", "min.insync.replicas=2"];

/// Only this: with as many kills as a text says, or only the part that it names.
pub(crate) fn alone(what: Option<&str>) -> Result<(), String> {
    crate::shell::run("cargo", &["build", "--quiet", "--locked", "-p", "ottla-cli"])?;
    match what {
        Some("grow") => return super::grow::run(),
        Some("starved") => return super::starved::run(),
        Some("outage") => return super::outage::run(),
        Some(_) | None => {}
    }
    let kills = match what {
        None => KILLS,
        Some(text) => text.parse().map_err(|_| format!("{text} is no number of kills and no part"))?,
    };
    run(kills)?;
    super::grow::run()?;
    super::starved::run()?;
    super::outage::run()
}

/// All faults, `kills` of the first kind.
pub(super) fn run(kills: usize) -> Result<(), String> {
    let mut cluster = Cluster::start("cluster", 3)?;
    create_topics(&cluster, &Client::ALL, &SAFE)?;
    let mut loads = Loads::start("cluster", &Client::ALL, &cluster.bootstrap())?;
    let mut table = Table { rows: Vec::new(), died: vec![None; 3] };
    let outcome = faults(&mut cluster, &mut loads, &mut table, kills);
    table.print();
    outcome?;
    let written = loads.end()?;
    let lines = check(&written, &cluster.bootstrap())?;
    // What is there must be there on every node: each leads once while it is read.
    for at in 0..3 {
        cluster.kill(at);
        check(&written, &cluster.bootstrap())?;
        cluster.restart(at)?;
        whole(&cluster)?;
    }
    say(&format!(
        "{lines} lines acknowledged, 0 lost, 0 duplicated, 0 reordered, and so with each node away"
    ));
    Ok(())
}

fn faults(cluster: &mut Cluster, loads: &mut Loads, table: &mut Table, kills: usize) -> Result<(), String> {
    for kill in 0..kills {
        let victim = table.victim(cluster, kill)?;
        table.row(cluster, loads, Fault::Kill, victim)?;
    }
    for pause in 0..PAUSES {
        let victim = leader(cluster, pause % PARTITIONS)?;
        table.row(cluster, loads, Fault::Pause, victim)?;
    }
    for at in 0..3 {
        sleep(table.rest_of(at));
        table.row(cluster, loads, Fault::Restart, at)?;
    }
    loads.no_failures()
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

    fn heal(self, cluster: &mut Cluster, loads: &mut Loads, at: usize) -> Result<(), String> {
        match self {
            Self::Kill | Self::Restart => {
                loads.wait_until_written()?;
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
pub(super) fn controller(cluster: &Cluster) -> Result<usize, String> {
    let told = cluster.cli(&["cluster", "info", "--output", "json"])?;
    let id = number_after(&told, "\"controller\":").ok_or_else(|| format!("no controller in {told}"))?;
    cluster.place(id)
}

/// The place of the node that leads a partition.
pub(super) fn leader(cluster: &Cluster, partition: usize) -> Result<usize, String> {
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
pub(super) fn taken_over(oracles: &mut [Oracle], victim: usize) -> Result<Duration, String> {
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

/// What came of each fault.
struct Table {
    rows: Vec<String>,
    /// When each node died last.
    died: Vec<Option<Instant>>,
}

impl Table {
    /// By turns the controller and a leader that is not the controller; never one that died a moment ago.
    fn victim(&self, cluster: &Cluster, kill: usize) -> Result<usize, String> {
        loop {
            let victim = if kill.is_multiple_of(2) { controller(cluster)? } else { self.leader(cluster)? };
            if self.rest_of(victim).is_zero() {
                return Ok(victim);
            }
            // While it is waited for, others may take over.
            sleep(self.rest_of(victim));
        }
    }

    /// Of the leaders that are not the controller, the one that died longest ago.
    fn leader(&self, cluster: &Cluster) -> Result<usize, String> {
        let controller = controller(cluster)?;
        let leaders: Result<Vec<usize>, String> =
            (0..PARTITIONS).map(|partition| leader(cluster, partition)).collect();
        let others = leaders?.into_iter().filter(|leader| *leader != controller);
        Ok(others.min_by_key(|leader| self.died[*leader]).unwrap_or(controller))
    }

    /// How long a node must still be left alone.
    fn rest_of(&self, at: usize) -> Duration {
        self.died[at].map_or(Duration::ZERO, |died| APART.saturating_sub(died.elapsed()))
    }

    /// Lets something happen to a node, heals it, and notes what that meant for the others and for the clients.
    fn row(
        &mut self,
        cluster: &mut Cluster,
        loads: &mut Loads,
        fault: Fault,
        at: usize,
    ) -> Result<(), String> {
        let role = role(cluster, at)?;
        let oracles: Result<Vec<_>, _> = cluster.others(at).into_iter().map(Oracle::of).collect();
        loads.mark()?;
        fault.strike(cluster, at)?;
        self.died[at] = Some(now());
        let led = taken_over(&mut oracles?, at)?.as_millis();
        fault.heal(cluster, loads, at)?;
        loads.wait_until_written()?;
        let whole = whole(cluster)?.as_millis();
        let (number, name, gaps) = (self.rows.len() + 1, fault.name(), gaps(&loads.mark()?));
        let row = format!("| {number} | {name} | {} | {role} | {led} | {gaps} | {whole} |", at + 1);
        say(&row);
        self.rows.push(row);
        Ok(())
    }

    fn print(&self) {
        say(&format!(
            "\n| | fault | node | which was | led again after, ms | {} | in sync again after, ms |",
            gap_titles(&Client::ALL)
        ));
        say("|---|---|---|---|---:|---:|---:|---:|---:|");
        self.rows.iter().for_each(|row| say(row));
    }
}

/// What the columns of `gaps` say.
pub(super) fn gap_titles(clients: &[Client]) -> String {
    let titles: Vec<_> = clients.iter().map(|client| format!("{} stood still, ms", client.name())).collect();
    titles.join(" | ")
}

/// How long the writes of each client stood still, as columns.
pub(super) fn gaps(marks: &[Mark]) -> String {
    let gaps: Vec<_> = marks.iter().map(|mark| mark.gap().to_string()).collect();
    gaps.join(" | ")
}

#[expect(clippy::disallowed_methods, reason = "faults take real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "faults take real time")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}
