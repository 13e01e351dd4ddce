//! The power goes for a whole cluster at once, on real files: of what a `flushed` topic has acknowledged nothing is
//! missing, of a `replicated` one something must be, else the test cuts nothing off. Needs root.

use super::members::Cluster;
use super::power::{Volume, check, consume, produce};
use crate::shell::{capture, say};

/// How often the power goes, per durability.
const CUTS: usize = 10;
/// Lines that are acknowledged before each cut.
const LINES: usize = 40;
const VOLUME_MIB: u64 = 256;
const TOPIC: &str = "kept";

pub(super) fn run() -> Result<(), String> {
    let flushed = outages("flushed")?;
    if flushed > 0 {
        return Err(format!("a cluster has lost {flushed} acknowledged records of a flushed topic"));
    }
    let replicated = outages("replicated")?;
    if replicated == 0 {
        return Err("a cluster has lost no record of a replicated topic: the power loss takes nothing".into());
    }
    let kept = CUTS * LINES;
    say(&format!(
        "{CUTS} power losses of three nodes: flushed 0 of {kept} acknowledged lines lost, replicated {replicated}"
    ));
    Ok(())
}

/// Returns how many acknowledged lines were lost. All nodes have one file system: what they lose they lose together.
fn outages(durability: &str) -> Result<usize, String> {
    let volume = Volume::create(&format!("outage-{durability}"), VOLUME_MIB)?;
    let mut cluster =
        Cluster::start_in(&volume.mount.join("nodes"), 3, &format!("ottla.durability={durability}"))?;
    cluster.cli(&["topic", "create", TOPIC, "-p", "1", "-r", "3", "-c", "min.insync.replicas=2"])?;
    // What forms the cluster is durable; that the config files are, too, is not the cluster's to see to.
    capture("sync", &[])?;
    let (mut kept, mut lost) = (Vec::new(), 0);
    for cut in 0..CUTS {
        let lines: Vec<String> = (0..LINES).map(|line| format!("line-{cut}-{line}")).collect();
        produce(&cluster.bootstrap(), TOPIC, &lines)?;
        kept.extend(lines);
        volume.cut_power()?;
        cluster.kill_all();
        volume.power_on()?;
        cluster.restart_all()?;
        let found = consume(&cluster.bootstrap(), TOPIC)?;
        lost += check(durability, &mut kept, found)?;
    }
    cluster.kill_all();
    Ok(lost)
}
