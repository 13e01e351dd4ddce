//! A member of a consumer group: a kcat that writes what it reads into a file.

use super::TOPIC;
use crate::shell::{root, run_quietly};
use crate::test::node::Node;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// One record as a member saw it.
pub(super) struct Seen {
    pub(super) partition: usize,
    pub(super) offset: i64,
    pub(super) text: String,
}

pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) group: &'static str,
    process: Child,
    /// What it has read.
    output: PathBuf,
    /// What it says about its assignments.
    talk: PathBuf,
}

impl Member {
    pub(super) fn start(name: &'static str, group: &'static str, broker: &Node) -> Result<Self, String> {
        let file = |suffix: &str| root().join("target/lanes").join(format!("tour-{name}.{suffix}"));
        let (output, talk) = (file("out"), file("err"));
        let create =
            |path: &PathBuf| File::create(path).map_err(|error| format!("{}: {error}", path.display()));
        let process = Command::new("kcat")
            .args(["-b", &broker.address, "-E", "-u", "-f", "%p\t%o\t%s\n"])
            .args(["-X", "session.timeout.ms=6000", "-X", "auto.commit.interval.ms=300"])
            .args(["-X", "auto.offset.reset=earliest", "-X", "reconnect.backoff.max.ms=100"])
            .args(["-X", &format!("client.id={name}"), "-G", group, TOPIC])
            .stdin(Stdio::null())
            .stdout(create(&output)?)
            .stderr(create(&talk)?)
            .spawn()
            .map_err(|error| format!("kcat cannot be started: {error}"))?;
        Ok(Self { name, group, process, output, talk })
    }

    /// The partitions that it was given last.
    pub(super) fn partitions(&self) -> BTreeSet<usize> {
        let talk = std::fs::read_to_string(&self.talk).unwrap_or_default();
        let last = talk.lines().rfind(|line| line.contains("rebalanced"));
        let assigned = last.and_then(|line| line.split("assigned: ").nth(1)).unwrap_or_default();
        let index = |part: &str| part.split(']').next().and_then(|index| index.parse().ok());
        assigned.split('[').skip(1).filter_map(index).collect()
    }

    /// What it has read so far; a line that is still being written is left out.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let bytes = std::fs::read(&self.output).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().filter_map(parse).collect()
    }

    pub(super) fn signal(&self, signal: &str) -> Result<(), String> {
        run_quietly("kill", &[&format!("-{signal}"), &self.process.id().to_string()])
    }

    /// Lets it leave its group, and waits for its end; one that was killed has ended already.
    pub(super) fn stop(&mut self) {
        let _gone = self.signal("TERM");
        let _ended = self.process.wait();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _gone = self.process.kill();
        let _ended = self.process.wait();
    }
}

/// `partition TAB offset TAB text`.
pub(super) fn parse(line: &str) -> Option<Seen> {
    let mut fields = line.splitn(3, '\t');
    let partition = fields.next()?.parse().ok()?;
    let offset = fields.next()?.parse().ok()?;
    Some(Seen { partition, offset, text: fields.next()?.to_owned() })
}
