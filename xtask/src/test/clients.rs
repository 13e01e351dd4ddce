//! Real clients against a real broker: at least ten thousand records per client and codec, content checked.

use super::node::Node;
use crate::shell::{capture, root, run as run_command, say};

/// Records per client and codec.
const RECORDS: usize = 10_000;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

pub(crate) fn run() -> Result<(), String> {
    run_command("cargo", &["build", "--quiet", "--locked", "--workspace"])?;
    let node = Node::start("clients")?;
    say("\n| client | codec | records | outcome |\n|---|---|---:|---|");
    for codec in CODECS {
        kcat(&node, codec)?;
        say(&format!("| kcat (librdkafka) | {codec} | {RECORDS} | same content, same order |"));
    }
    Ok(())
}

/// Sends lines of a file and reads them back.
fn kcat(node: &Node, codec: &str) -> Result<(), String> {
    let topic = format!("kcat-{codec}");
    let lines: String = (0..RECORDS).map(|n| format!("{n}:value {n} {}\n", "x".repeat(n % 200))).collect();
    let file = root().join("target/lanes").join(format!("{topic}.txt"));
    std::fs::write(&file, &lines).map_err(|error| error.to_string())?;
    let path = file.to_string_lossy();
    let broker = node.address.as_str();
    capture("kcat", &["-P", "-b", broker, "-t", &topic, "-K", ":", "-z", codec, "-l", &path])?;
    let found = capture("kcat", &["-C", "-b", broker, "-t", &topic, "-K", ":", "-e", "-q"])?;
    if found == lines {
        Ok(())
    } else {
        Err(format!("kcat with {codec}: what was read differs from what was sent"))
    }
}
