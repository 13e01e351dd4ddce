//! A real `ottla dev` process under test.

use super::members::free_addresses;
use crate::shell::root;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running broker and its data directory.
pub(crate) struct Node {
    child: Option<Child>,
    data: PathBuf,
    /// Its settings besides the addresses: `key=value`.
    settings: Vec<String>,
    /// Where clients connect; the same after a restart.
    pub(crate) address: String,
    /// Where health and metrics are; another after a restart.
    pub(crate) http: String,
}

impl Node {
    /// Starts a broker on an empty directory and waits until it serves.
    pub(crate) fn start(name: &str) -> Result<Self, String> {
        Self::start_with(name, Vec::new())
    }

    /// The same with settings, each `key=value`.
    pub(crate) fn start_with(name: &str, settings: Vec<String>) -> Result<Self, String> {
        let data = root().join("target").join("lanes").join(name);
        if data.exists() {
            std::fs::remove_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
        }
        Self::begin(data, settings)
    }

    /// Starts a broker on a directory as it is, with settings, and waits until it serves.
    pub(crate) fn start_in(data: PathBuf, settings: &[&str]) -> Result<Self, String> {
        Self::begin(data, settings.iter().map(|setting| (*setting).to_owned()).collect())
    }

    fn begin(data: PathBuf, settings: Vec<String>) -> Result<Self, String> {
        let address = free_addresses(1)?.remove(0);
        let mut node = Self { child: None, data, settings, address, http: String::new() };
        node.restart()?;
        Ok(node)
    }

    /// Starts the broker again on the directory as it is.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        let binary = root().join("target/debug/ottla");
        let data = self.data.to_string_lossy().into_owned();
        let arguments = ["dev", "--data-dir", &data, "--listen", &self.address, "--http", "127.0.0.1:0"];
        let log = self.log();
        std::fs::create_dir_all(log.parent().unwrap_or(Path::new("."))).map_err(|error| error.to_string())?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(|error| error.to_string())?;
        let mut child = Command::new(binary)
            .args(arguments)
            .args(self.settings.iter().flat_map(|setting| ["--set", setting]))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("ottla cannot be started: {error}"))?;
        let output = child.stdout.take().ok_or("no output")?;
        self.child = Some(child);
        let mut lines = BufReader::new(output).lines();
        let mut told = |name: &str| {
            let line = lines.next().ok_or("ottla ended before it served; see its log in target/lanes")?;
            let line = line.map_err(|error| error.to_string())?;
            let told = line.strip_prefix(name).map(str::to_owned);
            told.ok_or_else(|| format!("expected {name} on the first lines, found {line:?}"))
        };
        self.address = told("kafka=")?;
        self.http = told("http=")?;
        // Keeps the pipe open: the broker prints a few more lines.
        std::mem::forget(lines);
        Ok(())
    }

    /// Runs our command line against it and returns what that prints.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Result<String, String> {
        cli(&self.address, arguments)
    }

    /// What it prints, outside of its directory and of the file system that may be cut off.
    fn log(&self) -> PathBuf {
        let name: Vec<_> = self.data.iter().rev().take(2).collect();
        let name: Vec<_> = name.iter().rev().map(|part| part.to_string_lossy()).collect();
        root().join("target/lanes").join(format!("{}.log", name.join("-")))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32, String> {
        self.child.as_ref().map(Child::id).ok_or_else(|| "the broker does not run".to_owned())
    }

    /// Where its files lie.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if the process is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs our command line against any broker and returns what that prints.
pub(crate) fn cli(broker: &str, arguments: &[&str]) -> Result<String, String> {
    let binary = root().join("target/debug/ottla");
    crate::shell::capture(&binary.to_string_lossy(), &[arguments, &["-b", broker]].concat())
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
