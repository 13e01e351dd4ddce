//! Real processes: an unmodified idempotent producer writes while the broker is killed again and again. At the
//! end every line is there exactly once and in order.

use super::node::Node;
use crate::shell::{capture, say};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How often the broker is killed under load.
const KILLS: usize = 50;
/// Lines per interval between two kills.
const LINES: usize = 200;

pub(crate) fn run() -> Result<(), String> {
    crate::shell::run("cargo", &["build", "--quiet", "--locked", "--workspace"])?;
    side_by_side(&[
        || super::cluster::run(super::cluster::KILLS).and_then(|()| super::grow::run()),
        || super::net::run(None, ""),
        || kill_loop().and_then(|()| super::power::run_all()).and_then(|()| super::outage::run()),
    ])?;
    super::starved::run()?;
    hostile()?;
    super::metrics::run()?;
    crate::tour::take(&crate::tour::Input::choose(&[])?)
}

/// What waits for sessions to end, for clients to come back and for file systems most of the time.
fn side_by_side(parts: &[fn() -> Result<(), String>]) -> Result<(), String> {
    std::thread::scope(|scope| {
        let parts: Vec<_> = parts.iter().map(|part| scope.spawn(part)).collect();
        let ends =
            parts.into_iter().map(|part| part.join().map_err(|_| "a part panicked".to_owned()).flatten());
        // All of them come to their end before one fails the lane.
        ends.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Bytes that no client sends, and thousands of idle connections.
fn hostile() -> Result<(), String> {
    let node = Node::start("hostile")?;
    let pid = node.pid()?.to_string();
    let script = format!("ulimit -n 20000 && exec python3 clients/python/hostile.py {} {pid}", node.address);
    say(capture("sh", &["-c", &script])?.trim_end());
    Ok(())
}

fn kill_loop() -> Result<(), String> {
    let mut node = Node::start("kill-loop")?;
    let mut producer = Command::new("kcat")
        .args(["-P", "-E", "-b", &node.address, "-t", "survivor", "-p", "0", "-q"])
        .args([
            "-X",
            "enable.idempotence=true",
            "-X",
            "message.timeout.ms=0",
            "-X",
            "reconnect.backoff.max.ms=100",
        ])
        .stdin(Stdio::piped())
        // It reports every kill.
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("kcat cannot be started: {error}"))?;
    let mut input = producer.stdin.take().ok_or("no input")?;
    let mut line = 0;
    for kill in 0..=KILLS {
        for _ in 0..LINES {
            writeln!(input, "line-{line}").map_err(|error| error.to_string())?;
            line += 1;
        }
        input.flush().map_err(|error| error.to_string())?;
        // From in the middle of a batch to after its acknowledgement.
        pause(Duration::from_millis(5 + (kill as u64 * 37) % 120));
        if kill < KILLS {
            node.kill();
            node.restart()?;
        }
    }
    drop(input);
    let ended = producer.wait().map_err(|error| error.to_string())?;
    if !ended.success() {
        return Err(format!("the producer gave up: {ended}"));
    }
    let found = capture("kcat", &["-C", "-b", &node.address, "-t", "survivor", "-p", "0", "-e", "-q"])?;
    check(&found, line)?;
    say(&format!("{KILLS} kills: {line} lines acknowledged, 0 lost, 0 duplicated, 0 reordered"));
    Ok(())
}

fn check(found: &str, sent: usize) -> Result<(), String> {
    let mut expected = 0;
    for line in found.lines() {
        if line != format!("line-{expected}") {
            return Err(format!("expected line-{expected}, found {line}"));
        }
        expected += 1;
    }
    if expected == sent { Ok(()) } else { Err(format!("{expected} of {sent} acknowledged lines are there")) }
}

#[expect(clippy::disallowed_methods, reason = "a kill comes at some moment of real time")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
