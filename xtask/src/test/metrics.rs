//! A real Prometheus scrapes a real node; every query that docs/metrics.md lists must find something.

use super::kafka::free_address;
use super::node::Node;
use crate::shell::{capture, root, say};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often an answer is looked for, and how long between two looks.
const LOOKS_MAX: usize = 60;
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) fn run() -> Result<(), String> {
    let node = Node::start("metrics")?;
    let prometheus = Prometheus::start(&node)?;
    let queries = queries()?;
    // Rates need traffic between two scrapes.
    for round in 0..3 {
        write_and_read(&node, round)?;
        pause(Duration::from_millis(1_200));
    }
    for query in &queries {
        prometheus.until_found(query)?;
    }
    say(&format!("Prometheus finds something for each of {} queries", queries.len()));
    Ok(())
}

/// What stands between backquotes in the first column of the table of queries.
fn queries() -> Result<Vec<String>, String> {
    let page = std::fs::read_to_string(root().join("docs/metrics.md")).map_err(|error| error.to_string())?;
    let table = page.split("| query |").nth(1).ok_or("docs/metrics.md has no table of queries")?;
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let queries: Vec<String> = rows.map(str::to_owned).collect();
    if queries.is_empty() { Err("docs/metrics.md lists no queries".into()) } else { Ok(queries) }
}

fn write_and_read(node: &Node, round: usize) -> Result<(), String> {
    let text: String = (0..500).map(|n| format!("{round} {n}\n")).collect();
    let file = root().join("target/lanes/metrics.txt");
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    let path = file.to_string_lossy();
    capture("kcat", &["-P", "-b", &node.address, "-t", "measured", "-l", &path])?;
    capture("kcat", &["-C", "-b", &node.address, "-t", "measured", "-e", "-q"])?;
    // A group reads all but the last round's half.
    let count = if round < 2 { "500" } else { "250" };
    node.cli(&["consume", "measured", "-G", "watchers", "-n", count]).map(|_| ())
}

struct Prometheus {
    process: Child,
    address: String,
}

impl Prometheus {
    fn start(node: &Node) -> Result<Self, String> {
        let lanes = root().join("target/lanes");
        let config = lanes.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: ottla, static_configs: [{{targets: ['{}']}}]}}]\n",
            node.http
        );
        std::fs::write(&config, text).map_err(|error| error.to_string())?;
        let data = lanes.join("prometheus");
        if data.exists() {
            std::fs::remove_dir_all(&data).map_err(|error| error.to_string())?;
        }
        let address = free_address()?;
        let log = std::fs::File::create(lanes.join("prometheus.log")).map_err(|error| error.to_string())?;
        let option = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let process = Command::new("prometheus")
            .args([option("config.file", &config), option("storage.tsdb.path", &data)])
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("prometheus cannot be started: {error}"))?;
        Ok(Self { process, address })
    }

    fn until_found(&self, query: &str) -> Result<(), String> {
        let url = format!("http://{}", self.address);
        let mut last = String::new();
        for _ in 0..LOOKS_MAX {
            // It refuses while it starts.
            last = capture("promtool", &["query", "instant", &url, query]).unwrap_or_else(|error| error);
            if last.contains("=> ") && !last.contains("=> NaN") {
                return Ok(());
            }
            pause(LOOK_EVERY);
        }
        Err(format!("Prometheus finds nothing for {query}: {last}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _gone = self.process.kill();
        let _ended = self.process.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "Prometheus scrapes in real time")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
