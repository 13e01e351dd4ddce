//! `ottla dev --brokers N`: a real cluster on one machine, a process per node. Each is watched, its log lines are passed
//! on under its name, and it is started again when it dies, so that people can see what a cluster survives.

use crate::output::{note, say, table};
use rustix::process::{Pid, Signal as Kill, kill_process};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The listeners for nodes are so far from those for clients.
const PEER_PORT_OFFSET: u16 = 100;
/// How long a node that has died stays down.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// What the nodes have in common.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) count: u16,
    /// Holds a directory and a config file per node.
    pub(crate) data_dir: PathBuf,
    /// Where the first node serves clients; the others follow.
    pub(crate) listen: (String, u16),
    /// What clients are told of the first node, if it differs.
    pub(crate) advertise: Option<(String, u16)>,
    pub(crate) http: (String, u16),
    /// Settings that all have.
    pub(crate) settings: Vec<(String, String)>,
    /// Further arguments of each.
    pub(crate) arguments: Vec<String>,
    pub(crate) restarts: bool,
}

/// A node.
#[derive(Clone, Debug)]
struct Planned {
    id: u16,
    clients: String,
    peers: String,
    http: String,
    directory: PathBuf,
    file: PathBuf,
}

/// What becomes of a node.
#[derive(Debug)]
enum News {
    /// It serves, as this process.
    Serves(u16, u32),
    /// It has ended by itself; whether it had served.
    Ended(u16, ExitStatus, bool),
    /// It cannot be started at all.
    Failed(u16, io::Error),
}

/// Runs a cluster until a signal ends it.
pub(crate) fn run(common: &Common) -> Result<(), Box<dyn std::error::Error>> {
    let nodes = plan(common)?;
    for node in &nodes {
        std::fs::create_dir_all(&node.directory)?;
        std::fs::write(&node.file, config(node, &nodes, common))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watch_over(common, &nodes))
}

/// Chooses addresses and places.
fn plan(common: &Common) -> Result<Vec<Planned>, Box<dyn std::error::Error>> {
    let data_dir = std::path::absolute(&common.data_dir)?;
    if data_dir.join("meta.properties").exists() {
        let shown = data_dir.display();
        return Err(format!("{shown} holds the data of a single node: choose another with --data-dir").into());
    }
    let peers = match common.listen.1 {
        0 => ("127.0.0.1".to_owned(), 0),
        port => ("127.0.0.1".to_owned(), port.saturating_add(PEER_PORT_OFFSET)),
    };
    // All at once, so that no port is chosen twice.
    let mut held = Vec::new();
    let mut choose = |(host, port): &(String, u16), at: u16| address(host, *port, at, &mut held);
    let mut nodes = Vec::new();
    for at in 0..common.count {
        let id = at + 1;
        nodes.push(Planned {
            id,
            clients: choose(&common.listen, at)?,
            peers: choose(&peers, at)?,
            http: choose(&common.http, at)?,
            directory: data_dir.join(format!("node-{id}")),
            file: data_dir.join(format!("node-{id}.properties")),
        });
    }
    Ok(nodes)
}

/// The address of a node with this place in the row; port 0 lets the system choose.
fn address(host: &str, port: u16, at: u16, held: &mut Vec<TcpListener>) -> io::Result<String> {
    let port = if port == 0 {
        let listener = TcpListener::bind((host, 0))?;
        let port = listener.local_addr()?.port();
        held.push(listener);
        port
    } else {
        port.checked_add(at)
            .ok_or_else(|| io::Error::other(format!("there are no {at} ports after {port}")))?
    };
    Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// A node's config file.
fn config(node: &Planned, nodes: &[Planned], common: &Common) -> String {
    let voters: Vec<_> = nodes.iter().map(|node| format!("{}@{}", node.id, node.peers)).collect();
    let mut lines = vec![
        format!(
            "# Node {} of {}. `ottla dev --brokers` writes this file anew at each start.",
            node.id,
            nodes.len()
        ),
        format!("node.id={}", node.id),
        "process.roles=broker,controller".to_owned(),
        format!("controller.quorum.voters={}", voters.join(",")),
        format!("listeners=PLAINTEXT://{},CONTROLLER://{}", node.clients, node.peers),
        "controller.listener.names=CONTROLLER".to_owned(),
        format!("log.dirs={}", node.directory.display()),
    ];
    if let Some((host, port)) = &common.advertise {
        let port = port.saturating_add(node.id - 1);
        lines.push(format!("advertised.listeners=PLAINTEXT://{host}:{port}"));
    }
    lines.extend(common.settings.iter().map(|(key, value)| format!("{key}={}", value.replace('\\', "\\\\"))));
    lines.push(String::new());
    lines.join("\n")
}

/// Starts all nodes and tells people what becomes of them, until a signal comes.
async fn watch_over(common: &Common, nodes: &[Planned]) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = watch::channel(0_u32);
    let (tell, mut news) = unbounded_channel();
    let mut tasks = JoinSet::new();
    let program = std::env::current_exe()?;
    for node in nodes {
        let keeper = Keeper {
            node: node.clone(),
            program: program.clone(),
            arguments: common.arguments.clone(),
            restarts: common.restarts,
            tell: tell.clone(),
        };
        tasks.spawn(keeper.keep(stopped.clone()));
    }
    drop(tell);
    let outcome = tokio::select! {
        outcome = report(common, nodes, &mut news) => outcome,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    // Whoever asks a second time does not want to wait.
    for round in 1.. {
        stop.send_replace(round);
        tokio::select! {
            () = async { while tasks.join_next().await.is_some() {} } => break,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    outcome
}

/// Tells what becomes of the nodes. Ends only when one of them could not begin.
async fn report(
    common: &Common,
    nodes: &[Planned],
    news: &mut UnboundedReceiver<News>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut pids: Vec<Option<u32>> = vec![None; nodes.len()];
    let mut announced = false;
    while let Some(event) = news.recv().await {
        match event {
            News::Serves(id, pid) => {
                pids[usize::from(id) - 1] = Some(pid);
                if announced {
                    note(&format!("node {id} serves again, as process {pid}"));
                } else if pids.iter().all(Option::is_some) {
                    announced = true;
                    announce(common, nodes, &pids)?;
                }
            }
            News::Ended(id, status, served) if !(served || announced) => {
                return Err(
                    format!("node {id} ended before it served ({status}); its last lines say why").into()
                );
            }
            News::Ended(id, status, _) if common.restarts => {
                note(&format!("node {id} has died ({status}); it starts again after {RESTART_AFTER:?}"));
            }
            News::Ended(id, status, _) => {
                let file = nodes[usize::from(id) - 1].file.display();
                note(&format!("node {id} has died ({status}); to start it: ottla server --config {file}"));
            }
            News::Failed(id, error) => return Err(format!("node {id} cannot be started: {error}").into()),
        }
    }
    Ok(())
}

/// The addresses for scripts, then a table and what to try.
fn announce(
    common: &Common,
    nodes: &[Planned],
    pids: &[Option<u32>],
) -> Result<(), Box<dyn std::error::Error>> {
    let advertised = |node: &Planned| match &common.advertise {
        Some((host, port)) => format!("{host}:{}", port.saturating_add(node.id - 1)),
        None => node.clients.clone(),
    };
    let all: Vec<_> = nodes.iter().map(advertised).collect();
    let all = all.join(",");
    let row = |(node, pid): (&Planned, &Option<u32>)| {
        let pid = pid.map_or_else(String::new, |pid| pid.to_string());
        let directory = node.directory.display().to_string();
        vec![node.id.to_string(), pid, advertised(node), node.peers.clone(), node.http.clone(), directory]
    };
    let columns = ["node", "pid", "clients", "other nodes", "health and metrics", "data"];
    let nodes_table = table(&columns, nodes.iter().zip(pids).map(row));
    let victim = pids.first().copied().flatten().unwrap_or_default();
    let first = nodes.first().map(advertised).unwrap_or_default();
    say(&format!(
        "kafka={all}\n\n{nodes_table}\n\nTry it:\n  \
         ottla topic create greetings -p 3 -r 3 -b {first}\n  \
         ottla perf produce greetings -b {all}\n  \
         watch -n 0.2 ottla cluster info -b {all}\n  \
         kill -9 {victim}\nStop all with Ctrl-C."
    ))
    .map_err(|failure| failure.to_string().into())
}

/// Keeps one node running.
struct Keeper {
    node: Planned,
    program: PathBuf,
    arguments: Vec<String>,
    restarts: bool,
    tell: UnboundedSender<News>,
}

impl Keeper {
    async fn keep(self, mut stop: watch::Receiver<u32>) {
        loop {
            let mut child = match self.start() {
                Ok(child) => child,
                Err(error) => return self.tell(News::Failed(self.node.id, error)),
            };
            let served = self.listen_to(&mut child);
            let status = tokio::select! {
                status = child.wait() => status,
                _ = stop.changed() => return end(child, &mut stop).await,
            };
            match status {
                Ok(status) => self.tell(News::Ended(self.node.id, status, *served.borrow())),
                Err(error) => return self.tell(News::Failed(self.node.id, error)),
            }
            if !self.restarts {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(RESTART_AFTER) => {}
                _ = stop.changed() => return,
            }
        }
    }

    /// In a group of its own: Ctrl-C is for us, and we end the nodes.
    fn start(&self) -> io::Result<Child> {
        Command::new(&self.program)
            .arg("server")
            .arg("--config")
            .arg(&self.node.file)
            .args(["--http", &self.node.http, "--ends-with", &std::process::id().to_string()])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
    }

    /// Passes on what the process prints. The result becomes true once it serves.
    fn listen_to(&self, child: &mut Child) -> watch::Receiver<bool> {
        let (serves, served) = watch::channel(false);
        let (id, pid) = (self.node.id, child.id().unwrap_or_default());
        let tell = self.tell.clone();
        if let Some(output) = child.stdout.take() {
            tokio::spawn(each_line(output, move |line| {
                if line.starts_with("kafka=") {
                    serves.send_replace(true);
                    // Nobody listens any more only when all are ended.
                    let _ending = tell.send(News::Serves(id, pid));
                }
            }));
        }
        if let Some(errors) = child.stderr.take() {
            tokio::spawn(each_line(errors, move |line| note(&format!("node-{id} | {line}"))));
        }
        served
    }

    fn tell(&self, news: News) {
        // Nobody listens any more only when all are ended.
        let _ending = self.tell.send(news);
    }
}

/// Asks a process to end, once for each time that it is asked of us.
async fn end(mut child: Child, stop: &mut watch::Receiver<u32>) {
    loop {
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            // Fails only if the process has just ended.
            let _gone = kill_process(pid, Kill::TERM);
        }
        tokio::select! {
            _ = child.wait() => return,
            asked = stop.changed() => if asked.is_err() { return },
        }
    }
}

async fn each_line(from: impl AsyncRead + Unpin, mut handle: impl FnMut(&str)) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        handle(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

/// Ends this process with the one that started it, however that ends.
pub(crate) fn end_with(parent: u32) -> Result<(), Box<dyn std::error::Error>> {
    rustix::process::set_parent_process_death_signal(Some(Kill::TERM))?;
    // It may have ended before the line above.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if now == Some(parent) { Ok(()) } else { Err("the process that started this node has ended".into()) }
}

/// The directory of `--brokers` if none is given.
pub(crate) fn default_directory() -> &'static Path {
    Path::new("./ottla-cluster")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(port: u16) -> Common {
        Common {
            count: 3,
            data_dir: "somewhere".into(),
            listen: ("127.0.0.1".to_owned(), port),
            advertise: None,
            http: ("127.0.0.1".to_owned(), if port == 0 { 0 } else { 8080 }),
            settings: vec![("num.partitions".to_owned(), "3".to_owned())],
            arguments: Vec::new(),
            restarts: true,
        }
    }

    #[test]
    fn nodes_stand_in_a_row() {
        let common = common(9092);
        let nodes = plan(&common).unwrap();
        let last = &nodes[2];
        assert_eq!(
            [&*last.clients, &*last.peers, &*last.http],
            ["127.0.0.1:9094", "127.0.0.1:9194", "127.0.0.1:8082"]
        );
        let text = config(last, &nodes, &common);
        let has = |line: &str| assert!(text.lines().any(|other| other == line), "{line} in {text}");
        has("node.id=3");
        has("controller.quorum.voters=1@127.0.0.1:9192,2@127.0.0.1:9193,3@127.0.0.1:9194");
        has("listeners=PLAINTEXT://127.0.0.1:9094,CONTROLLER://127.0.0.1:9194");
        has("num.partitions=3");
        assert!(last.directory.ends_with("somewhere/node-3"));
    }

    #[test]
    fn ports_that_the_system_chooses_differ() {
        let nodes = plan(&common(0)).unwrap();
        let all = nodes.iter().flat_map(|node| [&node.clients, &node.peers, &node.http]);
        let distinct: std::collections::BTreeSet<_> = all.collect();
        assert_eq!(distinct.len(), 9);
    }
}
