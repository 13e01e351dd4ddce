//! Every script against the node as a machine, against `ottla dev` over sockets, and against Apache Kafka, which
//! must say what the scripts say of it.

use super::kafka::Kafka;
use super::node::Node;
use crate::shell::{root, run as run_command, say};
use std::process::Command;

pub(super) fn run() -> Result<(), String> {
    run_command("cargo", &["build", "--quiet", "--locked", "-p", "ottla-sim", "-p", "ottla-cli"])?;
    let settings = settings()?;
    let mut rows = String::from("\n| runner | outcome |\n|---|---|\n");
    let mut failed = Vec::new();
    play("machine", &[], &mut rows, &mut failed)?;
    let node = Node::start_with("script", settings.clone())?;
    play("server", &["--server", &node.address], &mut rows, &mut failed)?;
    drop(node);
    let kafka = Kafka::start("script-kafka", &settings)?;
    play("Kafka 4.4.0", &["--kafka", &kafka.address], &mut rows, &mut failed)?;
    // Our command line speaks Kafka's protocol and nothing else: all of it works against Kafka, too.
    super::clients::own_command_line(&kafka.address)
        .map_err(|error| format!("ottla against Kafka: {error}"))?;
    rows.push_str("| our command line against Kafka 4.4.0 | every cell of its column in docs/clients.md |\n");
    say(&rows);
    if failed.is_empty() { Ok(()) } else { Err(format!("scripts failed on {}", failed.join(", "))) }
}

/// The settings that all three nodes have.
fn settings() -> Result<Vec<String>, String> {
    let path = root().join("broker/tests/scripts/node.properties");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect())
}

/// Runs the scripts and keeps the last line that the runner prints.
fn play(
    name: &'static str,
    arguments: &[&str],
    rows: &mut String,
    failed: &mut Vec<&'static str>,
) -> Result<(), String> {
    let output = Command::new("target/debug/ottla-script").args(arguments).current_dir(root()).output();
    let output = output.map_err(|error| format!("ottla-script cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        say(&format!("{name}:\n{text}"));
        failed.push(name);
    }
    let last = text.lines().last().unwrap_or("it said nothing");
    rows.push_str(&format!("| {name} | {last} |\n"));
    Ok(())
}
