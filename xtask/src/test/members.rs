//! A cluster of real `ottla server` processes under test, by config files as a user writes them.

use super::net::{Listener, Net};
use super::node::cli;
use crate::shell::{capture, root};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// Where free ports are looked for.
const FIRST_PORT: u16 = 20_000;
const LAST_PORT: u16 = 32_000;
/// How many of them this process has looked at: clusters that run at once share none.
static LOOKED_AT: AtomicU16 = AtomicU16::new(0);

/// A cluster. Its processes end with it.
pub(super) struct Cluster {
    members: Vec<Member>,
}

/// A node; its place in the row is its id less one.
struct Member {
    child: Option<Child>,
    config: PathBuf,
    clients: String,
    /// Where clients are told to connect.
    front: String,
}

/// The addresses of a node: where it listens, and what others are told.
struct Place {
    clients: String,
    peers: String,
    /// The same twice for a node that is not behind doors.
    front: String,
    back: String,
}

impl Place {
    /// So many that are free.
    fn find(count: usize) -> Result<Vec<Self>, String> {
        let mut clients = free_addresses(2 * count)?;
        let peers = clients.split_off(count);
        let place = |(clients, peers): (String, String)| {
            let (front, back) = (clients.clone(), peers.clone());
            Self { clients, peers, front, back }
        };
        Ok(clients.into_iter().zip(peers).map(place).collect())
    }

    /// Gives it doors of a proxy, which others are told.
    fn behind(mut self, doors: Self, id: i32, net: &mut Net) -> Result<Self, String> {
        net.open(&doors.clients, id, Listener::Clients, &self.clients)?;
        net.open(&doors.peers, id, Listener::Nodes, &self.peers)?;
        (self.front, self.back) = (doors.clients, doors.peers);
        Ok(self)
    }
}

/// Which nodes a config file names as the voters of a new cluster.
fn voters(_: usize, backs: &[String]) -> String {
    let voters: Vec<_> = (1..).zip(backs).map(|(id, back)| format!("{id}@{back}")).collect();
    format!("controller.quorum.voters={}", voters.join(","))
}

impl Cluster {
    /// Starts so many nodes on empty directories, which form a cluster, and waits until all serve.
    pub(super) fn start(name: &str, count: usize) -> Result<Self, String> {
        Self::start_in(&root().join("target/lanes").join(name), count, "")
    }

    /// The same in a directory of its own, with a line more in each config file.
    pub(super) fn start_in(lane: &Path, count: usize, line: &str) -> Result<Self, String> {
        let line = |at: usize, backs: &[String]| format!("{}\n{line}", voters(at, backs));
        let mut cluster = Self::prepare(lane, Place::find(count)?, line)?;
        cluster.restart_all()?;
        Ok(cluster)
    }

    /// The same in the usual place, with a proxy between all nodes, and between clients and nodes.
    pub(super) fn start_behind(name: &str, count: usize, line: &str, net: &mut Net) -> Result<Self, String> {
        let places = (1..).zip(Place::find(count)?).zip(Place::find(count)?);
        let places: Result<_, _> = places.map(|((id, place), doors)| place.behind(doors, id, net)).collect();
        let line = |at: usize, backs: &[String]| format!("{}\n{line}", voters(at, backs));
        let mut cluster = Self::prepare(&root().join("target/lanes").join(name), places?, line)?;
        cluster.restart_all()?;
        Ok(cluster)
    }

    /// Starts all nodes on their directories as they are and waits until all serve.
    pub(super) fn restart_all(&mut self) -> Result<(), String> {
        let begun: Result<Vec<_>, _> = self.members.iter_mut().map(Member::spawn).collect();
        begun?.into_iter().try_for_each(Serving::wait)
    }

    /// Starts those that do not run, on their directories as they are.
    pub(super) fn restart_gone(&mut self) -> Result<(), String> {
        let gone = self.members.iter_mut().filter(|member| member.child.is_none());
        let begun: Result<Vec<_>, _> = gone.map(Member::spawn).collect();
        begun?.into_iter().try_for_each(Serving::wait)
    }

    /// SIGKILL to all.
    pub(super) fn kill_all(&mut self) {
        self.members.iter_mut().for_each(Member::kill);
    }

    /// Starts one node on an empty directory. The others join it when they are started.
    pub(super) fn start_one(name: &str, count: usize) -> Result<Self, String> {
        let lane = root().join("target/lanes").join(name);
        let mut cluster = Self::prepare(&lane, Place::find(count)?, |at, backs| match at {
            0 => String::new(),
            _ => format!("controller.quorum.bootstrap.servers={}", backs[0]),
        })?;
        cluster.restart(0)?;
        Ok(cluster)
    }

    /// Writes config files, each with a line of its own.
    fn prepare(
        lane: &Path,
        places: Vec<Place>,
        line: impl Fn(usize, &[String]) -> String,
    ) -> Result<Self, String> {
        if lane.exists() {
            std::fs::remove_dir_all(lane).map_err(|error| format!("{}: {error}", lane.display()))?;
        }
        std::fs::create_dir_all(lane).map_err(|error| error.to_string())?;
        let backs: Vec<String> = places.iter().map(|place| place.back.clone()).collect();
        let mut members = Vec::new();
        for (at, place) in places.into_iter().enumerate() {
            let config = lane.join(format!("node-{}.properties", at + 1));
            let text = properties(at + 1, &place, &line(at, &backs), lane);
            std::fs::write(&config, text).map_err(|error| error.to_string())?;
            members.push(Member { child: None, config, clients: place.clients, front: place.front });
        }
        Ok(Self { members })
    }

    /// Takes the disk of a node that does not run.
    pub(super) fn wipe(&self, at: usize) -> Result<(), String> {
        std::fs::remove_dir_all(self.members[at].config.with_extension("")).map_err(|error| error.to_string())
    }

    /// Where clients begin: any of these.
    pub(super) fn bootstrap(&self) -> String {
        let running = self.members.iter().filter(|member| member.child.is_some());
        running.map(|member| member.clients.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Where clients that go by what is advertised begin.
    pub(super) fn fronts(&self) -> String {
        self.members.iter().map(|member| member.front.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Where all nodes serve clients, running or not.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.clients.as_str())
    }

    /// Where all running nodes but one serve clients.
    pub(super) fn others(&self, but: usize) -> Vec<&str> {
        let others = self.members.iter().enumerate().filter(|(at, _)| *at != but);
        others
            .filter(|(_, member)| member.child.is_some())
            .map(|(_, member)| member.clients.as_str())
            .collect()
    }

    /// Runs our command line against it and returns what that prints.
    pub(super) fn cli(&self, arguments: &[&str]) -> Result<String, String> {
        cli(&self.bootstrap(), arguments)
    }

    /// The place of the node with this id.
    pub(super) fn place(&self, id: u64) -> Result<usize, String> {
        let at = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
        at.filter(|at| *at < self.members.len()).ok_or_else(|| format!("there is no node {id}"))
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, at: usize) {
        self.members[at].kill();
    }

    /// Any signal by its name, to a process that runs.
    pub(super) fn signal(&self, at: usize, name: &str) -> Result<(), String> {
        let child = self.members[at].child.as_ref().ok_or("the node does not run")?;
        capture("kill", &["-s", name, &child.id().to_string()]).map(|_| ())
    }

    /// SIGTERM, and the drain.
    pub(super) fn terminate(&mut self, at: usize) -> Result<(), String> {
        self.signal(at, "TERM")?;
        let Some(mut child) = self.members[at].child.take() else { return Ok(()) };
        let ended = child.wait().map_err(|error| error.to_string())?;
        if ended.success() { Ok(()) } else { Err(format!("node {} ends with {ended} after SIGTERM", at + 1)) }
    }

    /// Starts a node again on its directory as it is and waits until it serves.
    pub(super) fn restart(&mut self, at: usize) -> Result<(), String> {
        self.members[at].spawn()?.wait()
    }
}

impl Member {
    fn spawn(&mut self) -> Result<Serving, String> {
        let log = self.log();
        let log = std::fs::File::options().create(true).append(true).open(log);
        let mut child = Command::new(root().join("target/debug/ottla"))
            .args(["server", "--http", "127.0.0.1:0", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.map_err(|error| error.to_string())?)
            .spawn()
            .map_err(|error| format!("ottla cannot be started: {error}"))?;
        let output = child.stdout.take().ok_or("no output")?;
        self.child = Some(child);
        Ok(Serving { lines: BufReader::new(output).lines(), log: self.log() })
    }

    /// What it prints, outside of the file system that may be cut off.
    fn log(&self) -> PathBuf {
        let name: Vec<_> = self.config.iter().rev().take(2).collect();
        let name: Vec<_> = name.iter().rev().map(|part| part.to_string_lossy()).collect();
        root().join("target/lanes").join(name.join("-")).with_extension("log")
    }

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

/// A process that has been started.
struct Serving {
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    log: PathBuf,
}

impl Serving {
    /// Until it says where it serves clients.
    fn wait(mut self) -> Result<(), String> {
        match self.lines.next() {
            Some(Ok(line)) if line.starts_with("kafka=") => {
                // Keeps the pipe open: it prints a few more lines.
                std::mem::forget(self.lines);
                Ok(())
            }
            Some(other) => Err(format!("expected kafka= on the first line, found {other:?}")),
            None => Err(format!("ottla ended before it served; see {}", self.log.display())),
        }
    }
}

/// Addresses that were free a moment ago, below the ports that the system gives to who connects: nobody else may have
/// the port of a node that is down for a while, not even a connection that looks for it.
pub(crate) fn free_addresses(count: usize) -> Result<Vec<String>, String> {
    let first = FIRST_PORT + u16::try_from(std::process::id() % 500).unwrap_or(0) * 16;
    let ports = std::iter::from_fn(|| Some(first + LOOKED_AT.fetch_add(1, Ordering::Relaxed)));
    let ports = ports.take_while(|port| *port < LAST_PORT);
    let free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).take(count);
    let free: Vec<String> = free.map(|port| format!("127.0.0.1:{port}")).collect();
    if free.len() == count { Ok(free) } else { Err("there are not enough free ports".into()) }
}

fn properties(id: usize, place: &Place, line: &str, lane: &Path) -> String {
    let data = lane.join(format!("node-{id}"));
    let Place { clients, peers, front, back } = place;
    format!(
        "node.id={id}
process.roles=broker,controller
{line}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{clients},CONTROLLER://{peers}
advertised.listeners=PLAINTEXT://{front},CONTROLLER://{back}
log.dirs={}
",
        data.display()
    )
}

/// The number that follows a text.
pub(crate) fn number_after(text: &str, before: &str) -> Option<u64> {
    let rest = text.split(before).nth(1)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number_after;

    #[test]
    fn numbers_are_found_behind_their_names() {
        assert_eq!(number_after("{\"controller\":2,\"x\":3}", "\"controller\":"), Some(2));
        assert_eq!(number_after("{\"controller\":null}", "\"controller\":"), None);
    }
}
