//! A single node with data becomes a cluster of three, loses a process and a disk, becomes one of five, and smaller again,
//! while an idempotent client writes: what an operator does, by the commands that an operator has.

use super::cluster::{gaps, whole};
use super::load::{Client, Loads, check, create_topics};
use super::members::Cluster;
use crate::shell::say;

/// Who writes.
const CLIENT: Client = Client::Librdkafka;
const TOPIC: &str = CLIENT.topic();

pub(super) fn run() -> Result<(), String> {
    let mut cluster = Cluster::start_one("grow", 5)?;
    create_topics(&cluster, &[CLIENT], &[])?;
    let mut load = Loads::start("grow", &[CLIENT], &cluster.bootstrap())?;
    say("\n| step | writes stood still, ms |\n|---|---:|");
    step("two more nodes join and get votes", &mut load, || {
        cluster.restart(1)?;
        cluster.restart(2)?;
        vote(&cluster, "2")?;
        vote(&cluster, "3")
    })?;
    step("the topic gets three replicas, two of them in sync at least", &mut load, || {
        cluster.cli(&["topic", "alter", TOPIC, "--replication-factor", "3", "--wait"])?;
        cluster.cli(&["topic", "alter", TOPIC, "-c", "min.insync.replicas=2"])?;
        whole(&cluster).map(drop)
    })?;
    step("the first node dies and starts again", &mut load, || {
        cluster.kill(0);
        cluster.restart(0)?;
        whole(&cluster).map(drop)
    })?;
    step("the second node loses its disk", &mut load, || {
        cluster.kill(1);
        cluster.wipe(1)?;
        cluster.restart(1)?;
        whole(&cluster)?;
        vote(&cluster, "2")
    })?;
    step("two more nodes join and get votes, the topic five replicas", &mut load, || {
        cluster.restart(3)?;
        cluster.restart(4)?;
        vote(&cluster, "4")?;
        vote(&cluster, "5")?;
        cluster.cli(&["topic", "alter", TOPIC, "--replication-factor", "5", "--wait"])?;
        whole(&cluster).map(drop)
    })?;
    step("two of five nodes die at once and start again", &mut load, || {
        cluster.kill(1);
        cluster.kill(3);
        cluster.restart_gone()?;
        whole(&cluster).map(drop)
    })?;
    step("the topic gets three replicas, two nodes leave", &mut load, || {
        cluster.cli(&["topic", "alter", TOPIC, "--replication-factor", "3", "--wait"])?;
        leave(&mut cluster, 5)?;
        leave(&mut cluster, 4)
    })?;
    step("the third node leaves", &mut load, || {
        cluster.cli(&["topic", "alter", TOPIC, "-c", "min.insync.replicas=1"])?;
        leave(&mut cluster, 3)
    })?;
    step("the second node leaves, one is left", &mut load, || leave_the_last(&mut cluster))?;
    load.no_failures()?;
    let lines = check(&load.end()?, &cluster.bootstrap())?;
    say(&format!("1, 3, 5, 3, 2 and 1 nodes: {lines} lines acknowledged, 0 lost, 0 duplicated, 0 reordered"));
    Ok(())
}

/// Does something while the client writes, and prints what the client noticed.
fn step(name: &str, load: &mut Loads, work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    load.mark()?;
    work().map_err(|error| format!("{name}: {error}"))?;
    load.wait_until_written()?;
    say(&format!("| {name} | {} |", gaps(&load.mark()?)));
    Ok(())
}

/// What a node holds goes to others, then it ends, and then it belongs to the cluster no more.
fn leave(cluster: &mut Cluster, id: usize) -> Result<(), String> {
    let name = id.to_string();
    cluster.cli(&["cluster", "drain", &name, "--wait"])?;
    cluster.terminate(id - 1)?;
    cluster.cli(&["cluster", "remove", &name]).map(drop)
}

/// One of two has to lose its vote as long as it lives: afterwards nobody could decide that.
fn leave_the_last(cluster: &mut Cluster) -> Result<(), String> {
    cluster.cli(&["cluster", "drain", "2", "--wait"])?;
    match cluster.cli(&["cluster", "remove", "2"]) {
        Err(told) if told.contains("end its process") => {}
        other => return Err(format!("a node that lives is not forgotten: {other:?}")),
    }
    cluster.terminate(1)?;
    cluster.cli(&["cluster", "remove", "2"])?;
    let info = cluster.cli(&["cluster", "info"])?;
    let left = info.lines().filter(|line| line.contains("serving")).count();
    if left == 1 { Ok(()) } else { Err(format!("one node is left, not this:\n{info}")) }
}

fn vote(cluster: &Cluster, id: &str) -> Result<(), String> {
    cluster.cli(&["cluster", "add", "--voter", id]).map(drop)
}
