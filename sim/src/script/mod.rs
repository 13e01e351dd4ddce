//! Scripts: what clients ask and what they are told, as text; the same text against the node as a machine, our
//! server over sockets, and Apache Kafka. The format is described in `broker/tests/scripts/README.md`.
//!
//! Requests are encoded and responses decoded from the texts in `wire/schema`, not by the generated code, which
//! is thereby checked as well. Sockets are plain and blocking: nothing here runs inside a simulation.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "most places want one or two of the many kinds of values"
)]

mod decode;
#[cfg(test)]
mod deviations;
mod diff;
mod encode;
mod file;
mod literal;
mod machine;
mod names;
mod play;
mod print;
mod records;
mod schemas;
mod socket;
mod value;

use cluster::config::Overrides;
use file::{Script, Side};
use machine::Machine;
use play::{play, prepare};
use schemas::Schemas;
use socket::Broker;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whom the scripts are played against.
#[derive(Clone, Debug)]
pub enum Runner {
    /// A fresh node in this thread for each script.
    Machine,
    /// Our server.
    Server(Node),
    /// Apache Kafka.
    Kafka(Node),
}

/// A node that somebody has started.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Where it serves.
    pub address: String,
    /// What it has besides the settings that all nodes have; scripts that want something else are left out.
    pub settings: String,
}

/// What a campaign of scripts came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Scripts that were played.
    pub scripts: usize,
    /// Blocks in them.
    pub steps: usize,
    /// Scripts in which something differed.
    pub failed: usize,
    /// Scripts that are for the machine alone, or for a node with other settings.
    pub left_out: usize,
}

/// How long Kafka's broker may take to follow its controller.
const KAFKA_SETTLES_AFTER: Duration = Duration::from_millis(120);

impl Runner {
    const fn side(&self) -> Side {
        match self {
            Self::Machine | Self::Server(_) => Side::Ottla,
            Self::Kafka(_) => Side::Kafka,
        }
    }

    fn play(&self, script: &Script, suffix: &str, stage: &Stage) -> Result<Vec<Vec<String>>, String> {
        let schemas = &stage.schemas;
        match self {
            Self::Machine => {
                let mut settings = stage.settings.clone();
                settings.extend(pairs(script.settings.split(' ')));
                let mut machine = Machine::start(&settings)?;
                prepare(schemas, &mut machine)?;
                play(script, self.side(), suffix, schemas, &mut machine)
            }
            Self::Server(_) | Self::Kafka(_) => {
                play(script, self.side(), suffix, schemas, &mut self.broker())
            }
        }
    }

    fn broker(&self) -> Broker {
        match self {
            Self::Machine => Broker::new("", Duration::ZERO),
            Self::Server(node) => Broker::new(&node.address, Duration::ZERO),
            Self::Kafka(node) => Broker::new(&node.address, KAFKA_SETTLES_AFTER),
        }
    }

    fn plays(&self, script: &Script) -> bool {
        match self {
            Self::Machine => true,
            Self::Server(node) | Self::Kafka(node) => {
                script.machine_only.is_none() && script.settings == node.settings
            }
        }
    }
}

/// What every script needs.
struct Stage {
    schemas: Schemas,
    settings: Overrides,
}

/// Where the scripts lie.
#[must_use]
pub fn folder() -> PathBuf {
    repository().join("broker/tests/scripts")
}

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Plays the scripts under the paths, says what differs, and writes down what was said if `update`.
///
/// # Errors
/// When a file cannot be read or written.
pub fn campaign(
    runner: &Runner,
    paths: &[PathBuf],
    update: bool,
    say: &mut dyn FnMut(&str),
) -> Result<Tally, String> {
    let stage = Stage {
        schemas: Schemas::load(&repository().join("wire/schema"))?,
        settings: pairs(read(&folder().join("node.properties"))?.lines()),
    };
    if !matches!(runner, Runner::Machine) {
        prepare(&stage.schemas, &mut runner.broker())?;
    }
    let mut tally = Tally::default();
    // Names from the process id, so that one broker serves many runs.
    let run = if matches!(runner, Runner::Machine) { 0 } else { std::process::id() };
    for (number, path) in scripts(paths)?.iter().enumerate() {
        let shown = path.strip_prefix(repository()).unwrap_or(path).display().to_string();
        let mut script = Script::parse(&read(path)?).map_err(|error| format!("{shown}: {error}"))?;
        if let Some(lines) = script.unexplained().filter(|_| !update) {
            tally.failed += 1;
            say(&format!("{shown}: a difference from Kafka without its reason (`why|`): {lines}"));
        }
        if !runner.plays(&script) {
            tally.left_out += 1;
            continue;
        }
        tally.scripts += 1;
        tally.steps += script.blocks.iter().filter(|block| block.asks).count();
        let found = runner.play(&script, &format!("{run:x}x{number}"), &stage);
        match found {
            Err(error) => {
                tally.failed += 1;
                say(&format!("{shown}: {error}"));
            }
            Ok(found) if update => learn(path, &mut script, runner.side(), found)?,
            Ok(found) => {
                let differences = differences(&script, runner.side(), &found);
                if !differences.is_empty() {
                    tally.failed += 1;
                    say(&format!("{shown}: expected (-) and found (+)\n{differences}"));
                }
            }
        }
    }
    Ok(tally)
}

fn learn(path: &Path, script: &mut Script, side: Side, found: Vec<Vec<String>>) -> Result<(), String> {
    for (block, found) in script.blocks.iter_mut().zip(found) {
        if block.expected(side) != found {
            block.learn(side, found);
        }
    }
    std::fs::write(path, script.print()).map_err(|error| format!("{}: {error}", path.display()))
}

fn differences(script: &Script, side: Side, found: &[Vec<String>]) -> String {
    let mut out = String::new();
    for (block, found) in script.blocks.iter().zip(found) {
        let expected = block.expected(side);
        if expected != *found {
            let head = block.head.iter().map(|line| format!("     {line}\n"));
            out.extend(head);
            out.push_str("     ----\n");
            out.push_str(&diff::unified(&expected, found));
            out.push('\n');
        }
    }
    out
}

/// The settings that scripts want their nodes to have besides those of all nodes, each once.
///
/// # Errors
/// When a script cannot be read.
pub fn all_settings() -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    for path in scripts(&[folder()])? {
        let script = Script::parse(&read(&path)?).map_err(|error| format!("{}: {error}", path.display()))?;
        if script.machine_only.is_none() {
            found.insert(script.settings);
        }
    }
    Ok(found)
}

/// The settings of a node, each `key=value`.
fn pairs<'t>(parts: impl Iterator<Item = &'t str>) -> Overrides {
    let said = parts.filter(|part| !part.starts_with('#')).filter_map(|part| part.split_once('='));
    said.map(|(key, value)| (key.into(), value.into())).collect()
}

/// The script files under the paths, sorted.
fn scripts(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_file() {
            found.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        inside.retain(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "txt"));
        found.extend(scripts(&inside)?);
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
