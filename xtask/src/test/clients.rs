//! Real clients against a real broker: at least ten thousand records per client and codec, content checked. The
//! clients come from their registries into `target/clients`.

use super::node::Node;
use super::tools;
use crate::shell::{capture, root, run as run_command, say};
use std::path::PathBuf;

/// Records per client and codec.
const RECORDS: usize = 10_000;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

pub(crate) fn run() -> Result<(), String> {
    run_command("cargo", &["build", "--quiet", "--locked", "--workspace"])?;
    let node = Node::start("clients")?;
    let mut rows = Vec::new();
    for codec in CODECS {
        rows.push(kcat(&node, codec)?);
    }
    rows.push(java(&node)?);
    rows.push(python(&node, "confluent_kafka_client.py")?);
    rows.push(python(&node, "kafka_python_client.py")?);
    rows.push(javascript(&node)?);
    rows.push(tools::run(&node)?);
    say("\n| client | codec or feature | records | outcome |\n|---|---|---:|---|");
    say(rows.concat().trim_end());
    Ok(())
}

fn dir(name: &str) -> Result<PathBuf, String> {
    let dir = root().join("target/clients").join(name);
    std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    Ok(dir)
}

/// The jars of a Maven project in `clients/java`, as a class path.
pub(super) fn jars(pom: &str, name: &str) -> Result<String, String> {
    let dir = dir(name)?;
    let target = dir.to_string_lossy().into_owned();
    let project = format!("clients/java/{pom}");
    capture(
        "mvn",
        &["-q", "-B", "-f", &project, "dependency:copy-dependencies", &format!("-DoutputDirectory={target}")],
    )?;
    Ok(format!("{target}/*"))
}

/// Sends lines of a file and reads them back.
fn kcat(node: &Node, codec: &str) -> Result<String, String> {
    let topic = format!("kcat-{codec}");
    let lines: String = (0..RECORDS).map(|n| format!("{n}:value {n} {}\n", "x".repeat(n % 200))).collect();
    let file = root().join("target/lanes").join(format!("{topic}.txt"));
    std::fs::write(&file, &lines).map_err(|error| error.to_string())?;
    let path = file.to_string_lossy();
    let broker = node.address.as_str();
    capture("kcat", &["-P", "-b", broker, "-t", &topic, "-K", ":", "-z", codec, "-l", &path])?;
    let found = capture("kcat", &["-C", "-b", broker, "-t", &topic, "-K", ":", "-e", "-q"])?;
    if found != lines {
        return Err(format!("kcat with {codec}: what was read differs from what was sent"));
    }
    Ok(format!("| kcat | {codec} | {RECORDS} | same content, same order |\n"))
}

fn java(node: &Node) -> Result<String, String> {
    let class_path = jars("pom.xml", "java")?;
    capture("java", &["-Xmx512m", "-cp", &class_path, "clients/java/RoundTrip.java", &node.address])
}

fn python(node: &Node, script: &str) -> Result<String, String> {
    let venv = dir("python")?;
    let python = venv.join("bin/python");
    if !python.exists() {
        capture("python3", &["-m", "venv", &venv.to_string_lossy()])?;
    }
    let python = python.to_string_lossy();
    capture(&python, &["-m", "pip", "install", "-q", "-r", "clients/python/requirements.txt"])?;
    capture(&python, &[&format!("clients/python/{script}"), &node.address])
}

fn javascript(node: &Node) -> Result<String, String> {
    let modules = dir("js")?;
    let prefix = modules.to_string_lossy();
    for file in ["package.json", "kafkajs_client.js"] {
        std::fs::copy(root().join("clients/js").join(file), modules.join(file))
            .map_err(|error| error.to_string())?;
    }
    capture("npm", &["install", "--silent", "--no-audit", "--no-fund", "--prefix", &prefix])?;
    capture("node", &[&format!("{prefix}/kafkajs_client.js"), &node.address])
}
