//! Unmodified idempotent clients that write numbered lines all the time, and whether what they were promised is there.

use super::clients::{environment, jars, package};
use super::members::Cluster;
use crate::shell::{capture, root};
use std::fs::File;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Partitions of each topic that is written to.
pub(super) const PARTITIONS: usize = 3;
/// Writes stand still where nothing was acknowledged for so many milliseconds.
const STANDS_STILL: u64 = 500;
/// How long writes may stand still once nothing is wrong any more.
const PATIENCE: Duration = Duration::from_secs(180);

/// Held by whoever fetches packages.
static PREPARING: Mutex<()> = Mutex::new(());

/// Who writes, each to a topic of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    Librdkafka,
    Java,
    Kafkajs,
}

impl Client {
    pub(super) const ALL: [Self; 3] = [Self::Librdkafka, Self::Java, Self::Kafkajs];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Librdkafka => "librdkafka",
            Self::Java => "Java",
            Self::Kafkajs => "kafkajs",
        }
    }

    pub(super) const fn topic(self) -> &'static str {
        match self {
            Self::Librdkafka => "survivor",
            Self::Java => "survivor-java",
            Self::Kafkajs => "survivor-kafkajs",
        }
    }

    /// Lines per second and partition.
    const fn rate(self) -> &'static str {
        match self {
            Self::Librdkafka => "200",
            Self::Java | Self::Kafkajs => "50",
        }
    }

    /// Its program, with what that needs from its registry.
    fn program(self) -> Result<Command, String> {
        match self {
            Self::Librdkafka => {
                let mut command = Command::new(environment("confluent")?);
                command.arg("clients/python/cluster_load.py");
                Ok(command)
            }
            Self::Java => {
                let mut command = Command::new("java");
                command.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", &jars("pom.xml", "java")?]);
                command.arg("clients/java/ClusterLoad.java");
                Ok(command)
            }
            Self::Kafkajs => {
                let mut command = Command::new("node");
                command.arg(package("cluster_load.js")?);
                Ok(command)
            }
        }
    }
}

/// What a client says at a mark.
pub(super) struct Mark {
    /// Times between acknowledgements in milliseconds, by partition.
    gaps: Vec<u64>,
    pub(super) failures: u64,
}

impl Mark {
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once(' ').filter(|(command, _)| matches!(*command, "mark" | "look"))?;
        let mut words = rest.split(' ');
        let gaps = words.next()?.split(',').map(|gap| gap.parse().ok()).collect::<Option<_>>()?;
        Some(Self { gaps, failures: words.nth(1)?.parse().ok()? })
    }

    pub(super) fn gap(&self) -> u64 {
        self.gaps.iter().copied().max().unwrap_or(0)
    }
}

/// A client that writes.
struct Load {
    client: Client,
    log: PathBuf,
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Load {
    /// Starts it on a topic that is there. What it complains of goes to a file beside those of the nodes.
    fn start(client: Client, lane: &str, bootstrap: &str) -> Result<Self, String> {
        let name = client.name();
        // Two at once would fetch the same packages into the same place.
        let alone = PREPARING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut program = client.program()?;
        drop(alone);
        let log = root().join("target/lanes").join(format!("{lane}-{name}.log"));
        let complaints = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let mut child = program
            .args([bootstrap, client.topic(), &PARTITIONS.to_string(), client.rate()])
            .current_dir(root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints)
            .spawn()
            .map_err(|error| format!("the program of {name} cannot be started: {error}"))?;
        let output = child.stdout.take().ok_or("no output")?;
        Ok(Self { client, log, child, output: BufReader::new(output).lines() })
    }

    fn ask(&mut self, command: &str) -> Result<String, String> {
        let name = self.client.name();
        let input = self.child.stdin.as_mut().ok_or("no input")?;
        writeln!(input, "{command}").map_err(|error| format!("{name} has ended: {error}"))?;
        let line = self.output.next().ok_or(format!("{name} has ended; see {}", self.log.display()))?;
        line.map_err(|error| error.to_string())
    }

    /// The gaps since the last mark.
    fn mark(&mut self) -> Result<Mark, String> {
        let line = self.ask("mark")?;
        Mark::parse(&line).ok_or_else(|| format!("{} says {line:?}", self.client.name()))
    }

    /// How long ago each partition took something.
    fn look(&mut self) -> Result<Mark, String> {
        let line = self.ask("look")?;
        Mark::parse(&line).ok_or_else(|| format!("{} says {line:?}", self.client.name()))
    }

    /// Stops it; how many lines of each partition are acknowledged.
    fn end(mut self) -> Result<Written, String> {
        let line = self.ask("end")?;
        let wrong = || format!("{} says {line:?}", self.client.name());
        let mut words = line.strip_prefix("done ").ok_or_else(wrong)?.split(' ');
        let counts = words.next().ok_or_else(wrong)?.split(',');
        let counts: Vec<usize> =
            counts.map(|count| count.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
        let sent: usize = words.next().and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
        if counts.iter().any(|count| *count != sent) {
            return Err(format!("{sent} lines were sent to each partition: {line}"));
        }
        Ok(Written { topic: self.client.topic(), counts })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Clients that write at the same time.
pub(super) struct Loads(Vec<Load>);

impl Loads {
    /// Starts them on topics that are there, and waits until all have written.
    pub(super) fn start(lane: &str, clients: &[Client], bootstrap: &str) -> Result<Self, String> {
        let loads: Result<_, _> =
            clients.iter().map(|client| Load::start(*client, lane, bootstrap)).collect();
        let mut loads = Self(loads?);
        loads.wait_until_written()?;
        loads.mark()?;
        Ok(loads)
    }

    /// How long the writes of each stood still at most since the last mark.
    pub(super) fn mark(&mut self) -> Result<Vec<Mark>, String> {
        self.0.iter_mut().map(Load::mark).collect()
    }

    /// Until all have written to every partition for a second.
    pub(super) fn wait_until_written(&mut self) -> Result<(), String> {
        let (start, mut good) = (now(), 0);
        while good < 10 {
            sleep(Duration::from_millis(100));
            let looks: Vec<Mark> = self.0.iter_mut().map(Load::look).collect::<Result<_, _>>()?;
            let slowest = looks.iter().map(Mark::gap).max().unwrap_or(0);
            good = if slowest < STANDS_STILL { good + 1 } else { 0 };
            if start.elapsed() > PATIENCE {
                let gaps: Vec<_> = looks.iter().map(|look| look.gaps.clone()).collect();
                return Err(format!("writes stand still: by client and partition since {gaps:?} ms"));
            }
        }
        Ok(())
    }

    /// Fails if a client was told of a failure.
    pub(super) fn no_failures(&mut self) -> Result<(), String> {
        for (mark, load) in self.mark()?.iter().zip(&self.0) {
            if mark.failures > 0 {
                return Err(format!("{} was told of {} failures", load.client.name(), mark.failures));
            }
        }
        Ok(())
    }

    /// Stops them; what they were promised.
    pub(super) fn end(self) -> Result<Vec<Written>, String> {
        self.0.into_iter().map(Load::end).collect()
    }
}

/// What a client was promised.
pub(super) struct Written {
    topic: &'static str,
    /// Lines of each partition.
    counts: Vec<usize>,
}

impl Written {
    fn lines(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Every line that was acknowledged is there, once and in order, and nothing else.
    fn check(&self, bootstrap: &str) -> Result<(), String> {
        for (partition, count) in self.counts.iter().enumerate() {
            let (topic, at) = (self.topic, partition.to_string());
            let found = capture("kcat", &["-C", "-b", bootstrap, "-t", topic, "-p", &at, "-e", "-q"])?;
            in_order(&found, *count).map_err(|error| format!("{topic}-{partition}: {error}"))?;
        }
        Ok(())
    }
}

/// Checks what clients were promised; how many lines those are.
pub(super) fn check(written: &[Written], bootstrap: &str) -> Result<usize, String> {
    written.iter().try_for_each(|written| written.check(bootstrap))?;
    Ok(written.iter().map(Written::lines).sum())
}

/// Creates the topic of each client.
pub(super) fn create_topics(cluster: &Cluster, clients: &[Client], more: &[&str]) -> Result<(), String> {
    let partitions = PARTITIONS.to_string();
    for client in clients {
        let create = ["topic", "create", client.topic(), "-p", &partitions];
        cluster.cli(&[&create[..], more].concat())?;
    }
    Ok(())
}

fn in_order(found: &str, count: usize) -> Result<(), String> {
    let mut expected = 0;
    for line in found.lines() {
        if line != expected.to_string() {
            return Err(format!("expected line {expected}, found {line}"));
        }
        expected += 1;
    }
    if expected == count {
        Ok(())
    } else {
        Err(format!("{expected} of {count} acknowledged lines are there"))
    }
}

#[expect(clippy::disallowed_methods, reason = "clients take real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "clients take real time")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_the_clients_write_them() {
        let mark = Mark::parse("mark 5,700,12 3000 1").unwrap();
        assert_eq!((mark.gap(), mark.failures), (700, 1));
        assert!(Mark::parse("done 1,2 3 0").is_none());
    }

    #[test]
    fn a_line_that_is_missing_twice_or_early_is_found() {
        assert!(in_order("0\n1\n2\n", 3).is_ok());
        for found in ["0\n1\n", "0\n2\n1\n", "0\n1\n1\n2\n"] {
            assert!(in_order(found, 3).is_err(), "{found}");
        }
    }
}
