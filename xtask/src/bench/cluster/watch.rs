//! Loads on a cluster that go on all the time and say how long they stood still.

use super::nodes::Nodes;
use crate::bench::{now, pause, program};
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Records per second and partition.
const RATE: &str = "200";
/// How long a load may stand still.
const PATIENCE: Duration = Duration::from_secs(120);
/// A load goes on once each lane of it had something so lately in this many looks in a row.
const LATELY_MS: f64 = 100.0;
const LOOKS: usize = 10;

/// A load that runs.
pub(super) struct Watch {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    /// A producer: librdkafka at its defaults, to which acks=all belongs.
    pub(super) fn produce(nodes: &Nodes, topic: &str, partitions: u32) -> Result<Self, String> {
        let servers = format!("bootstrap.servers={}", nodes.bootstrap());
        Self::start(&["steady", topic, &partitions.to_string(), RATE, &servers])
    }

    /// Changes of a topic's configs through each of these nodes.
    pub(super) fn change(nodes: &[&str], topic: &str) -> Result<Self, String> {
        Self::start(&[&["change", topic], nodes].concat())
    }

    fn start(args: &[&str]) -> Result<Self, String> {
        let mut child = Command::new(program("load"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // librdkafka tells of every node that goes.
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("a load cannot be started: {error}"))?;
        let output = child.stdout.take().ok_or("no output")?;
        let mut watch = Self { child, output: BufReader::new(output).lines() };
        watch.wait_until_going()?;
        Ok(watch)
    }

    /// The longest of the times that the load tells, in milliseconds.
    fn ask(&mut self, command: &str) -> Result<f64, String> {
        let ended = |error: std::io::Error| format!("a load has ended: {error}");
        let input = self.child.stdin.as_mut().ok_or("no input")?;
        writeln!(input, "{command}").map_err(ended)?;
        let line = self.output.next().ok_or("a load has ended")?.map_err(ended)?;
        longest(&line).ok_or_else(|| format!("a load says {line:?}"))
    }

    /// The longest time that a lane stood still since the last mark.
    pub(super) fn mark(&mut self) -> Result<f64, String> {
        self.ask("mark")
    }

    /// Until every lane has gone on for a second.
    pub(super) fn wait_until_going(&mut self) -> Result<(), String> {
        let (start, mut good) = (now(), 0);
        while good < LOOKS {
            pause(Duration::from_millis(100));
            good = if self.ask("look")? < LATELY_MS { good + 1 } else { 0 };
            if start.elapsed() > PATIENCE {
                return Err("a load stands still".into());
            }
        }
        Ok(())
    }
}

/// `mark 5000,1200` is 5 milliseconds.
fn longest(line: &str) -> Option<f64> {
    let (_, times) = line.split_once(' ')?;
    let times: Option<Vec<f64>> = times.split(',').map(|time| time.parse().ok()).collect();
    times?.into_iter().reduce(f64::max).map(|micros| micros / 1e3)
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::longest;

    #[test]
    fn the_longest_time_counts() {
        assert_eq!(longest("mark 5000,1200"), Some(5.0));
        assert_eq!(longest("mark 5000,x"), None);
    }
}
