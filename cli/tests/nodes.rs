//! `ottla dev --brokers 3`: real processes that form a cluster, survive one of them, and end together.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const OTTLA: &str = env!("CARGO_BIN_EXE_ottla");
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster that ends with the test.
struct Nodes {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    /// What it tells people.
    told: Receiver<String>,
    brokers: String,
    pids: Vec<u32>,
    _data: tempfile::TempDir,
}

impl Nodes {
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut process = Command::new(OTTLA)
            .args(["dev", "--brokers", "3", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"])
            .arg(data.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, told) = channel();
        let errors = BufReader::new(process.stderr.take().unwrap()).lines();
        // Ends with the process.
        #[expect(clippy::disallowed_methods, reason = "a test is its own shell")]
        std::thread::spawn(move || errors.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = output.next().expect("the cluster says where it listens").unwrap();
        let brokers = first.strip_prefix("kafka=").unwrap().to_owned();
        let rows = output.by_ref().map_while(Result::ok).skip_while(|line| !line.starts_with("NODE"));
        let pid = |line: String| line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let pids = rows.skip(1).take(3).map(pid).collect();
        Self { process, output, told, brokers, pids, _data: data }
    }

    /// What a command prints that must succeed.
    fn say(&self, args: &[&str]) -> String {
        let output = Command::new(OTTLA).args(args).args(["-b", &self.brokers]).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until people are told so.
    fn hear(&self, what: &str) {
        while !self.told.recv_timeout(PATIENCE).expect(what).contains(what) {}
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
}

fn is_there(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !matches!(state.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()), None | Some("Z"))
}

/// A throttle goes with the move that was waited for, or when it is taken away.
fn throttled_copies(nodes: &Nodes) {
    nodes.say(&["topic", "create", "copied", "-r", "1"]);
    nodes.say(&["topic", "alter", "copied", "-r", "3", "--throttle", "1000000", "--wait"]);
    assert!(nodes.say(&["cluster", "unthrottle"]).starts_with("0 topics and 0 brokers "));
    nodes.say(&["topic", "alter", "copied", "-r", "2", "--throttle", "1000000"]);
    let described = nodes.say(&["topic", "describe", "copied"]);
    assert!(described.contains("leader.replication.throttled.replicas=0:"), "{described}");
    let unthrottled = loop {
        let output =
            Command::new(OTTLA).args(["cluster", "unthrottle", "-b", &nodes.brokers]).output().unwrap();
        if output.status.success() {
            break String::from_utf8(output.stdout).unwrap();
        }
    };
    assert!(unthrottled.starts_with("1 topics and 3 brokers "), "{unthrottled}");
    let described = nodes.say(&["topic", "describe", "copied"]);
    assert!(!described.contains("throttled"), "{described}");
}

#[test]
fn three_nodes_survive_one_of_them_and_end_together() {
    let mut nodes = Nodes::start();
    nodes.say(&["topic", "create", "t", "-p", "3", "-r", "3", "-c", "min.insync.replicas=2"]);
    let info = nodes.say(&["cluster", "info", "--output", "json"]);
    assert_eq!(info.matches("\"fenced\":false").count(), 3, "{info}");
    assert_eq!(info.matches("\"votes\":true").count(), 3, "{info}");
    throttled_copies(&nodes);
    signal("KILL", nodes.pids[0]);
    nodes.hear("node 1 has died");
    nodes.hear("node 1 serves again");
    let described = nodes.say(&["topic", "describe", "t", "--output", "json"]);
    assert!(!described.contains("\"leader\":null"), "{described}");
    signal("TERM", nodes.process.id());
    assert!(nodes.process.wait().unwrap().success());
    assert!(nodes.output.by_ref().map_while(Result::ok).any(|line| line.contains("kill -9")));
    assert!(nodes.pids.iter().all(|pid| !is_there(*pid)), "no node is left");
}
