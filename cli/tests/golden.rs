//! The program against itself: a node on a port of its own, commands against it, exit codes and JSON keys.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Output, Stdio};

const OTTLA: &str = env!("CARGO_BIN_EXE_ottla");

/// A node that ends with the test.
struct Node {
    process: Child,
    address: String,
    _data: tempfile::TempDir,
}

impl Node {
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut process = Command::new(OTTLA)
            .args(["dev", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"])
            .arg(data.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address =
            lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("kafka=")?.to_owned()));
        Self { address: address.expect("the node says where it listens"), process, _data: data }
    }

    fn run(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(OTTLA)
            .args(args)
            .args(["-b", &self.address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// The output of a command that must succeed.
    fn say(&self, args: &[&str]) -> String {
        let output = self.run(args, "");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn fail(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args, "");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// The keys of JSON in order of appearance; ours has no escaped quotes before a colon.
fn keys(json: &str) -> Vec<&str> {
    let parts: Vec<_> = json.split("\":").collect();
    let keys = parts[..parts.len() - 1].iter().map(|part| part.rsplit_once('"').unwrap().1);
    keys.collect()
}

#[test]
fn commands_keep_their_keys_and_exit_codes() {
    let node = Node::start();
    let created =
        node.say(&["topic", "create", "t", "-p", "1", "-c", "retention.ms=1000000", "--output", "json"]);
    assert_eq!(keys(&created), ["name", "id", "partitions", "replication_factor"]);
    let listed = node.say(&["topic", "list", "--output", "json"]);
    assert_eq!(keys(&listed), ["name", "id", "internal", "partitions", "replication_factor"]);
    let described = node.say(&["topic", "describe", "t", "--output", "json"]);
    let expected = [
        "name",
        "id",
        "internal",
        "partitions",
        "partition",
        "leader",
        "leader_epoch",
        "replicas",
        "isr",
        "start_offset",
        "end_offset",
        "configs",
        "retention.ms",
    ];
    assert_eq!(keys(&described), expected);
    let info = node.say(&["cluster", "info", "--output", "json"]);
    let expected = [
        "cluster_id",
        "controller",
        "brokers",
        "id",
        "host",
        "port",
        "rack",
        "controller",
        "log_bytes",
        "fenced",
        "leads",
        "replicas",
        "out_of_sync",
        "topics",
        "partitions",
        "quorum",
        "leader",
        "epoch",
        "high_watermark",
        "members",
        "id",
        "votes",
        "directory",
        "log_end_offset",
        "lag",
        "caught_up_ms",
        "under_replicated",
        "leaderless",
    ];
    assert_eq!(keys(&info), expected);
    let configs = node.say(&["config", "get", "--topic", "t", "--output", "json"]);
    assert_eq!(keys(&configs), ["key", "value", "source", "read_only", "sensitive"]);

    let (code, words) = node.fail(&["topic", "describe", "nope"]);
    assert_eq!(code, 3);
    assert!(words.contains("UNKNOWN_TOPIC_OR_PARTITION") && words.contains("ottla topic list"), "{words}");
    assert_eq!(node.fail(&["topic", "create", "t"]).0, 1);
    assert_eq!(node.fail(&["topic", "alter", "t"]).0, 2);
}

#[test]
fn records_come_back_as_they_were_sent() {
    let node = Node::start();
    node.say(&["topic", "create", "t", "-p", "1"]);
    let sent = node
        .run(&["produce", "t", "-K", ":", "-Z", "-H", "h=1", "--report", "%p:%o\\n"], "k:v\ngone:\nplain\n");
    assert!(sent.status.success());
    assert_eq!(String::from_utf8(sent.stdout).unwrap(), "0:0\n0:1\n0:2\n");
    assert_eq!(
        node.say(&["consume", "t", "-e", "-f", "%t %p %o %k=%v %h\\n"]),
        "t 0 0 k=v h=1\nt 0 1 gone= h=1\nt 0 2 =plain h=1\n"
    );
    assert_eq!(node.say(&["consume", "t", "-o", "-1", "-e"]), "plain\n");
    assert_eq!(node.say(&["consume", "t", "-o", "1", "--to", "2", "-f", "%o"]), "1");
    let json = node.say(&["consume", "t", "-n", "1", "--output", "json"]);
    assert_eq!(
        keys(&json),
        ["topic", "partition", "offset", "timestamp", "key", "value", "headers", "key", "value"]
    );
}

#[test]
fn an_address_where_nobody_listens_is_named() {
    let output = Command::new(OTTLA).args(["topic", "list", "-b", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("cannot connect to 127.0.0.1:1") && words.contains("-b"), "{words}");
}
