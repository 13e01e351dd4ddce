//! Every script against the node as a machine, against `ottla dev` over sockets, and against Apache Kafka, which
//! must say what the scripts say of it. Scripts whose nodes have settings of their own are played settings by settings.

use super::kafka::Kafka;
use super::node::Node;
use crate::shell::{capture, root, run as run_command, say};
use std::process::Command;

pub(super) fn run() -> Result<(), String> {
    run_command("cargo", &["build", "--quiet", "--locked", "-p", "ottla-sim", "-p", "ottla-cli"])?;
    let mut rows = String::from("\n| runner | settings | outcome |\n|---|---|---|\n");
    let mut failed = Vec::new();
    play("machine", "", None, &mut rows, &mut failed)?;
    let common = settings()?;
    for own in capture(SCRIPT, &["--list-settings"])?.lines() {
        let mut settings = common.clone();
        settings.extend(own.split_whitespace().map(str::to_owned));
        let node = Node::start_with("script", settings.clone())?;
        play("server", own, Some(("--server", &node.address)), &mut rows, &mut failed)?;
        drop(node);
        let kafka = Kafka::start("script-kafka", &settings)?;
        play("Kafka 4.4.0", own, Some(("--kafka", &kafka.address)), &mut rows, &mut failed)?;
        if own.is_empty() {
            // Our command line speaks Kafka's protocol and nothing else: all of it works against Kafka, too.
            super::clients::own_command_line(&kafka.address)
                .map_err(|error| format!("ottla against Kafka: {error}"))?;
            rows.push_str(
                "| our command line against Kafka 4.4.0 | | every cell of its column in docs/clients.md |\n",
            );
        }
    }
    say(&rows);
    if failed.is_empty() { Ok(()) } else { Err(format!("scripts failed on {}", failed.join(", "))) }
}

const SCRIPT: &str = "target/debug/ottla-script";

/// The settings that all three nodes have.
fn settings() -> Result<Vec<String>, String> {
    let path = root().join("broker/tests/scripts/node.properties");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect())
}

/// Runs the scripts and keeps the last line that the runner prints.
fn play(
    name: &'static str,
    settings: &str,
    node: Option<(&str, &str)>,
    rows: &mut String,
    failed: &mut Vec<&'static str>,
) -> Result<(), String> {
    let mut command = Command::new(SCRIPT);
    if let Some((flag, address)) = node {
        command.args([flag, address, "--settings", settings]);
    }
    let output = command.current_dir(root()).output();
    let output = output.map_err(|error| format!("ottla-script cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        say(&format!("{name}:\n{text}"));
        failed.push(name);
    }
    let last = text.lines().last().unwrap_or("it said nothing");
    rows.push_str(&format!("| {name} | {settings} | {last} |\n"));
    Ok(())
}
