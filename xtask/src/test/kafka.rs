//! A real Apache Kafka under test: one node, formatted anew, gone with the lane.

use super::clients::jars;
use crate::shell::{capture, root};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Any cluster id will do.
const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";
/// The level of the root logger, which scripts look at.
const LOG_LEVEL: &str = "-Dlog4j2.level=INFO";
/// How long it may take to come up, in tenths of a second.
const START_TENTHS: usize = 600;

/// A running Kafka.
pub(super) struct Kafka {
    child: Child,
    /// Where clients connect.
    pub(super) address: String,
}

impl Kafka {
    /// Fetches Kafka, formats a directory and starts a node with these settings, each `key=value`.
    pub(super) fn start(name: &str, settings: &[String]) -> Result<Self, String> {
        let class_path = jars("kafka.xml", "kafka")?;
        let dir = root().join("target/lanes").join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(|error| error.to_string())?;
        }
        std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        let address = free_address()?;
        let file = properties(&dir, &address, settings)?;
        let file = file.to_string_lossy();
        let java = ["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", LOG_LEVEL, "-cp", &class_path];
        let format =
            [&java[..], &["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", &file]].concat();
        capture("java", &format)?;
        let log = std::fs::File::create(dir.join("kafka.log")).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let child = Command::new("java")
            .args(java)
            .args(["kafka.Kafka", &file])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("java cannot be run: {error}"))?;
        let mut kafka = Self { child, address };
        kafka.wait(&dir)?;
        Ok(kafka)
    }

    fn wait(&mut self, dir: &Path) -> Result<(), String> {
        let log = dir.join("kafka.log");
        for _ in 0..START_TENTHS {
            if TcpStream::connect(&self.address).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("Kafka ended ({status}) before it served; see {}", log.display()));
            }
            pause();
        }
        Err(format!("Kafka does not serve; see {}", log.display()))
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The settings of a node that is broker and controller.
fn properties(dir: &Path, address: &str, settings: &[String]) -> Result<PathBuf, String> {
    let controller = free_address()?;
    let data = dir.join("data");
    let text = format!(
        "process.roles=broker,controller
listeners=PLAINTEXT://{address},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{address}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{controller}
log.dirs={}
{}
",
        data.display(),
        settings.join("\n")
    );
    let file = dir.join("server.properties");
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    Ok(file)
}

/// An address that was free a moment ago.
pub(super) fn free_address() -> Result<String, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.to_string()).map_err(|error| error.to_string())
}

#[expect(clippy::disallowed_methods, reason = "a process comes up in real time")]
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}
