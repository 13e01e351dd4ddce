//! A cluster under light load on a machine that is busy with something else: two busy loops per core beside it. Nobody is
//! fenced, nobody falls out of sync, nobody is elected, which is to say that the metadata does not change at all.

use super::cluster::SAFE;
use super::load::{Client, Loads, check, create_topics};
use super::members::{Cluster, number_after};
use crate::shell::say;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const LOOPS_PER_CORE: usize = 2;
/// Several sessions, and any time that a follower may lag.
const BUSY: Duration = Duration::from_secs(35);
/// How long the metadata of a new cluster must have stood still before, and how long that may take.
const QUIET: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run() -> Result<(), String> {
    let client = [Client::Librdkafka];
    let cluster = Cluster::start("starved", 3)?;
    create_topics(&cluster, &client, &SAFE)?;
    let mut loads = Loads::start("starved", &client, &cluster.bootstrap())?;
    let before = settled(&cluster)?;
    let loops = BusyLoops::start()?;
    loads.mark()?;
    sleep(BUSY);
    let gap = loads.mark()?.iter().map(super::load::Mark::gap).max().unwrap_or(0);
    let after = Metadata::of(&cluster)?;
    let count = loops.0.len();
    drop(loops);
    if before != after {
        return Err(format!("beside {count} busy loops {before:?} became {after:?}"));
    }
    loads.no_failures()?;
    let lines = check(&loads.end()?, &cluster.bootstrap())?;
    let seconds = BUSY.as_secs();
    say(&format!(
        "{count} busy loops for {seconds} s: nobody fenced, out of sync or elected; {lines} lines acknowledged, {gap} ms between two at most"
    ));
    Ok(())
}

/// How far the metadata is: whatever happens to a broker or a replica is an entry of its log.
#[derive(Debug, PartialEq, Eq)]
struct Metadata {
    epoch: u64,
    entries: u64,
}

impl Metadata {
    fn of(cluster: &Cluster) -> Result<Self, String> {
        let told = cluster.cli(&["cluster", "info", "--output", "json"])?;
        let quorum = told.split("\"quorum\":").nth(1).unwrap_or_default();
        let number = |name: &str| number_after(quorum, name).ok_or_else(|| format!("no {name} in {told}"));
        Ok(Self { epoch: number("\"epoch\":")?, entries: number("\"high_watermark\":")? })
    }
}

/// Waits until a new cluster has nothing to arrange any more.
fn settled(cluster: &Cluster) -> Result<Metadata, String> {
    let start = now();
    let mut last = Metadata::of(cluster)?;
    loop {
        sleep(QUIET);
        let next = Metadata::of(cluster)?;
        if next == last {
            return Ok(next);
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("the metadata of an idle cluster changes all the time: {last:?}, {next:?}"));
        }
        last = next;
    }
}

/// Processes that do nothing as fast as they can.
struct BusyLoops(Vec<Child>);

impl BusyLoops {
    fn start() -> Result<Self, String> {
        let cores = std::thread::available_parallelism().map_err(|error| error.to_string())?.get();
        let mut loops = Self(Vec::new());
        for _ in 0..LOOPS_PER_CORE * cores {
            let child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn();
            loops.0.push(child.map_err(|error| format!("sh cannot be run: {error}"))?);
        }
        Ok(loops)
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Both fail only if the process is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "sessions take real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "sessions take real time")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}
