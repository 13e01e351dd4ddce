//! Clusters of three brokers that are measured, as processes with config files.

use crate::bench::broker::{On, cpu_of, format_kafka, java, memory_of};
use crate::bench::load::Target;
use crate::bench::{empty, now, ottla, pause, program};
use crate::shell::capture;
use crate::test::members::{free_addresses, number_after};
use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nodes of a cluster.
pub(super) const NODES: usize = 3;
/// How long a node may take to serve, and a cluster to be whole.
const PATIENCE: Duration = Duration::from_secs(180);

/// Seconds that the creation of a topic with very many partitions may take.
const CREATE: &str = "120";

/// A cluster of one kind. Its processes end with it.
#[derive(Debug)]
pub(crate) struct Nodes {
    on: On,
    members: Vec<Member>,
}

/// A node; its place in the row is its id less one.
#[derive(Debug)]
struct Member {
    child: Option<Child>,
    config: PathBuf,
    /// Where clients connect.
    address: String,
    /// When it was started last.
    started: Instant,
}

impl Nodes {
    /// Starts a cluster on empty directories and waits until all its nodes serve; `lines` are Kafka's keys.
    pub(crate) fn start(on: On, dir: &Path, lines: &str) -> Result<Self, String> {
        empty(dir)?;
        let mut addresses = free_addresses(2 * NODES)?;
        let peers = addresses.split_off(NODES);
        let voters: Vec<_> = (1..).zip(&peers).map(|(id, peer)| format!("{id}@{peer}")).collect();
        let mut members = Vec::new();
        for (at, address) in addresses.into_iter().enumerate() {
            let config = dir.join(format!("node-{}.properties", at + 1));
            let text = properties(at + 1, (&address, &peers[at]), &voters.join(","), &config, lines);
            std::fs::write(&config, text).map_err(|error| error.to_string())?;
            if on == On::Kafka {
                format_kafka(&config)?;
            }
            members.push(Member { child: None, config, address, started: now() });
        }
        let mut nodes = Self { on, members };
        for at in 0..NODES {
            nodes.spawn(at)?;
        }
        nodes.whole()?;
        Ok(nodes)
    }

    /// Starts a node on its directory as it is, without waiting for anything.
    pub(super) fn spawn(&mut self, at: usize) -> Result<(), String> {
        let member = &mut self.members[at];
        let log = File::options().create(true).append(true).open(member.config.with_extension("log"));
        let log = log.map_err(|error| error.to_string())?;
        let mut command = match self.on {
            On::Kafka => java(&member.config),
            On::Ours | On::Floor => {
                let mut command = Command::new(ottla());
                command.args(["server", "--http", "127.0.0.1:0", "--config"]).arg(&member.config);
                command
            }
        };
        let output = log.try_clone().map_err(|error| error.to_string())?;
        let child = command.stdin(Stdio::null()).stdout(output).stderr(log).spawn();
        member.child = Some(child.map_err(|error| format!("a node cannot be started: {error}"))?);
        member.started = now();
        Ok(())
    }

    /// The same until it takes connections.
    pub(super) fn restart(&mut self, at: usize) -> Result<(), String> {
        self.spawn(at)?;
        let start = now();
        while TcpStream::connect(&self.members[at].address).is_err() {
            if start.elapsed() > PATIENCE {
                return Err(format!("a node does not come up: see {}", self.log(at)));
            }
            pause(Duration::from_millis(20));
        }
        Ok(())
    }

    fn log(&self, at: usize) -> String {
        self.members[at].config.with_extension("log").display().to_string()
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, at: usize) {
        self.members[at].kill();
    }

    /// SIGTERM, until the process has ended.
    pub(super) fn terminate(&mut self, at: usize) -> Result<(), String> {
        let Some(mut child) = self.members[at].child.take() else { return Ok(()) };
        capture("kill", &["-TERM", &child.id().to_string()])?;
        child.wait().map(|_| ()).map_err(|error| error.to_string())
    }

    /// Since when a node has been running.
    pub(super) fn started(&self, at: usize) -> Instant {
        self.members[at].started
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Member)> {
        self.members.iter().enumerate().filter(|(_, member)| member.child.is_some())
    }

    pub(super) fn address(&self, at: usize) -> &str {
        &self.members[at].address
    }

    /// Where all running nodes but one serve clients.
    pub(super) fn others(&self, but: usize) -> Vec<&str> {
        self.running().filter(|(at, _)| *at != but).map(|(_, member)| member.address.as_str()).collect()
    }

    /// Where clients begin: any of these.
    pub(super) fn bootstrap(&self) -> String {
        self.running().map(|(_, member)| member.address.as_str()).collect::<Vec<_>>().join(",")
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.running().filter_map(|(_, member)| member.child.as_ref().map(Child::id)).collect()
    }

    /// What a load is put on.
    pub(super) fn target(&self) -> Target {
        Target { servers: self.bootstrap(), pids: self.pids() }
    }

    /// User and system time of all nodes so far, in seconds.
    pub(super) fn cpu(&self) -> Result<f64, String> {
        self.pids().into_iter().map(cpu_of).sum()
    }

    /// Resident memory of each node in MiB.
    pub(super) fn memory(&self) -> Result<Vec<f64>, String> {
        self.pids().into_iter().map(|pid| memory_of(pid, "VmRSS")).collect()
    }

    /// Runs our command line against it.
    pub(super) fn cli(&self, arguments: &[&str]) -> Result<String, String> {
        capture(&ottla().to_string_lossy(), &[arguments, &["-b", &self.bootstrap()]].concat())
    }

    /// Creates a topic with so many replicas of each partition and waits until they are in sync.
    pub(super) fn create(
        &self,
        (topic, replicas): (&str, u32),
        partitions: u32,
        configs: &[&str],
    ) -> Result<(), String> {
        let (replicas, partitions) = (replicas.to_string(), partitions.to_string());
        let mut args =
            vec!["topic", "create", topic, "-r", &replicas, "-p", &partitions, "--timeout", CREATE];
        configs.iter().for_each(|config| args.extend(["-c", config]));
        self.cli(&args)?;
        self.whole().map(|_| ())
    }

    pub(super) fn delete(&self, topic: &str) -> Result<(), String> {
        self.cli(&["topic", "delete", topic]).map(|_| ())
    }

    /// The place of the active controller.
    pub(super) fn controller(&self) -> Result<usize, String> {
        let told = self.cli(&["cluster", "info", "--output", "json"])?;
        place(number_after(&told, "\"controller\":")).ok_or_else(|| format!("no controller in {told}"))
    }

    /// The place of the leader of each partition of a topic.
    pub(super) fn leaders(&self, topic: &str, partitions: u32) -> Result<Vec<usize>, String> {
        let told = self.cli(&["topic", "describe", topic, "--output", "json"])?;
        let leader = |partition: u32| {
            let from = told.split(&format!("\"partition\":{partition},")).nth(1).unwrap_or_default();
            place(number_after(from, "\"leader\":")).ok_or_else(|| format!("no leader in {told}"))
        };
        (0..partitions).map(leader).collect()
    }

    /// Lets preferred replicas lead.
    pub(super) fn elect(&self, topic: &str, partitions: u32) -> Result<(), String> {
        let load = program("load");
        let args = ["elect", self.address(0), topic, &partitions.to_string()];
        capture(&load.to_string_lossy(), &args).map(|_| ())
    }

    /// Waits until all nodes serve and every replica is in sync; how long that took.
    pub(super) fn whole(&self) -> Result<Duration, String> {
        let start = now();
        loop {
            let told = self.cli(&["cluster", "info", "--output", "json"]);
            if told.as_ref().is_ok_and(|told| is_whole(told)) {
                return Ok(start.elapsed());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("a cluster does not become whole: {told:?}; see {}", self.log(0)));
            }
            pause(Duration::from_millis(50));
        }
    }
}

impl Member {
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if the process is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The place of the node with this id.
fn place(id: Option<u64>) -> Option<usize> {
    usize::try_from(id?).ok()?.checked_sub(1).filter(|at| *at < NODES)
}

/// Whether the picture of a cluster shows nothing that lacks.
fn is_whole(told: &str) -> bool {
    told.matches("\"fenced\":false").count() == NODES
        && told.contains("\"under_replicated\":[],\"leaderless\":[]")
}

/// The settings of a node; our own key is one that Kafka does not know.
fn properties(id: usize, (clients, peers): (&str, &str), voters: &str, config: &Path, lines: &str) -> String {
    let data = config.with_extension("data");
    format!(
        "node.id={id}
process.roles=broker,controller
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://{clients},CONTROLLER://{peers}
log.dirs={}
offsets.topic.replication.factor=3
log.segment.delete.delay.ms=1000
{lines}
",
        data.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_whole_when_all_nodes_serve_and_nothing_is_under_replicated() {
        let broker = |fenced: bool| format!("{{\"id\":1,\"fenced\":{fenced}}}");
        let tail = "\"under_replicated\":[],\"leaderless\":[]";
        let told = |fenced: bool| [broker(false), broker(false), broker(fenced), tail.to_owned()].concat();
        assert!(is_whole(&told(false)));
        assert!(!is_whole(&told(true)));
        assert!(!is_whole(&told(false).replace("[]", "[1]")));
    }

    #[test]
    fn ids_are_places_and_one() {
        assert_eq!(place(Some(1)), Some(0));
        assert_eq!((place(Some(0)), place(Some(4)), place(None)), (None, None, None));
    }
}
