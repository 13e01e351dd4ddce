//! The brokers that are measured, as processes.

use super::load::Target;
use super::{Bench, empty, now, ottla, pause, program};
use crate::shell::{capture, root, run, say};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Whose broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// The release build of this repository.
    Ours,
    /// Apache Kafka 4.4.0, one node, heap of 1 GiB.
    Kafka,
    /// `bench/src/bin/floor.rs`.
    Floor,
}

/// A running broker.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    /// Where clients connect.
    pub(crate) address: String,
    /// Where its files lie.
    pub(crate) data: PathBuf,
}

const KAFKA_HEAP: &str = "-Xmx1g";
/// What Kafka's own start script gives the JVM.
const KAFKA_JVM: [&str; 5] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];
const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";
/// How long a broker may take to listen.
const PATIENCE: Duration = Duration::from_secs(90);

/// Fetches Kafka, and its tools for the Java producer.
pub(crate) fn fetch() -> Result<(), String> {
    for (project, target) in [("bench/kafka.xml", "kafka"), ("clients/java/tools.xml", "tools")] {
        let target = jars(target);
        if target.is_dir() {
            continue;
        }
        let output = format!("-DoutputDirectory={}", target.display());
        run("mvn", &["-q", "-B", "-f", project, "dependency:copy-dependencies", &output])?;
    }
    Ok(())
}

fn jars(name: &str) -> PathBuf {
    root().join("target/bench/jars").join(name)
}

/// A class path of `kafka` (the broker) or `tools`.
pub(crate) fn class_path(name: &str) -> String {
    format!("{}/*", jars(name).display())
}

impl Broker {
    /// Starts a broker on a directory; `settings` are Kafka's keys.
    pub(crate) fn start(on: On, data: &Path, settings: &[&str]) -> Result<Self, String> {
        let port = free_port()?;
        let mut broker = Self::spawn(on, data, port, settings)?;
        broker.wait()?;
        Ok(broker)
    }

    /// The same without waiting for it to listen.
    pub(crate) fn spawn(on: On, data: &Path, port: u16, settings: &[&str]) -> Result<Self, String> {
        std::fs::create_dir_all(data).map_err(|error| error.to_string())?;
        let log = File::options().create(true).append(true).open(data.with_extension("log"));
        let log = log.map_err(|error| error.to_string())?;
        let address = format!("127.0.0.1:{port}");
        let mut command = match on {
            On::Ours => ours(data, &address, settings),
            On::Kafka => kafka(data, port, settings)?,
            On::Floor => floor(data, port),
        };
        let output = log.try_clone().map_err(|error| error.to_string())?;
        let child = command.stdin(Stdio::null()).stdout(output).stderr(log).spawn();
        let child = child.map_err(|error| format!("{on:?} cannot be started: {error}"))?;
        Ok(Self { child, address, data: data.to_owned() })
    }

    fn wait(&mut self) -> Result<(), String> {
        let start = now();
        while TcpStream::connect(&self.address).is_err() {
            let ended = self.child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || start.elapsed() > PATIENCE {
                return Err(format!("a broker does not come up; see {}.log", self.data.display()));
            }
            pause(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What a load is put on.
    pub(crate) fn target(&self) -> Target {
        Target { servers: self.address.clone(), pids: vec![self.pid()] }
    }

    /// User and system time so far, in seconds.
    pub(crate) fn cpu(&self) -> Result<f64, String> {
        cpu_of(self.pid())
    }

    /// Resident memory in MiB: now (`VmRSS`) or at most so far (`VmHWM`).
    pub(crate) fn memory(&self, which: &str) -> Result<f64, String> {
        memory_of(self.pid(), which)
    }

    /// Creates a topic with our own command line, which works with any broker.
    pub(crate) fn create(&self, topic: &str, partitions: u32, configs: &[&str]) -> Result<(), String> {
        let partitions = partitions.to_string();
        let mut args = vec!["topic", "create", topic, "-b", &self.address, "-p", &partitions];
        configs.iter().for_each(|config| args.extend(["-c", config]));
        capture(&ottla().to_string_lossy(), &args).map(|_| ())
    }

    pub(crate) fn delete(&self, topic: &str) -> Result<(), String> {
        capture(&ottla().to_string_lossy(), &["topic", "delete", topic, "-b", &self.address]).map(|_| ())
    }

    /// Sends a signal that `kill` knows and waits for the end.
    pub(crate) fn end(mut self, signal: &str) -> Result<(), String> {
        capture("kill", &[signal, &self.pid().to_string()])?;
        self.child.wait().map(|_| ()).map_err(|error| error.to_string())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of a process so far, in seconds.
pub(crate) fn cpu_of(pid: u32) -> Result<f64, String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|e| e.to_string())?;
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = |n: usize| rest.split_whitespace().nth(n).and_then(|ticks| ticks.parse::<f64>().ok());
    let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
        return Err("a stat file without times".into());
    };
    Ok((user + system) / 100.0)
}

/// Resident memory of a process in MiB: now (`VmRSS`) or at most so far (`VmHWM`).
pub(crate) fn memory_of(pid: u32, which: &str) -> Result<f64, String> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| format!("no {which} of a broker"))
}

/// A port that nobody listens on at the moment.
pub(crate) fn free_port() -> Result<u16, String> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|error| error.to_string())
}

fn ours(data: &Path, address: &str, settings: &[&str]) -> Command {
    let mut command = Command::new(ottla());
    command.args(["dev", "--listen", address, "--http", "127.0.0.1:0", "--data-dir"]).arg(data);
    settings.iter().for_each(|setting| {
        command.args(["--set", setting]);
    });
    command
}

fn floor(data: &Path, port: u16) -> Command {
    let mut command = Command::new(program("floor"));
    command.arg(port.to_string()).arg(data);
    command
}

fn kafka(data: &Path, port: u16, settings: &[&str]) -> Result<Command, String> {
    let controller = free_port()?;
    let logs = data.join("logs");
    let file = data.join("server.properties");
    let mut text = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\nlog.dirs={}\n\
         offsets.topic.replication.factor=1\nlog.segment.delete.delay.ms=1000\n",
        logs.display()
    );
    settings.iter().for_each(|setting| text.push_str(&format!("{setting}\n")));
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    if !logs.join("meta.properties").exists() {
        format_kafka(&file)?;
    }
    Ok(java(&file))
}

/// Kafka's format step on the directory of a config file.
pub(crate) fn format_kafka(config: &Path) -> Result<(), String> {
    let (class_path, config) = (class_path("kafka"), config.to_string_lossy());
    let tool = ["-cp", &class_path, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", &config];
    capture("java", &tool).map(|_| ())
}

/// A Kafka broker by its config file.
pub(crate) fn java(config: &Path) -> Command {
    let mut command = Command::new("java");
    command.args([KAFKA_HEAP, "-Xms1g"]).args(KAFKA_JVM).args(["-cp", &class_path("kafka"), "kafka.Kafka"]);
    command.arg(config);
    command
}

impl Bench {
    /// The long-lived broker of a kind, started when first needed.
    pub(crate) fn broker(&mut self, on: On) -> Result<&Broker, String> {
        let dir = self.data.join(format!("{on:?}").to_lowercase());
        if self.place(on).is_none() {
            empty(&dir)?;
            say(&format!("starting {on:?}"));
            let started = Broker::start(on, &dir, &[])?;
            *self.place(on) = Some(started);
        }
        self.place(on).as_ref().ok_or_else(|| "a broker has vanished".to_owned())
    }

    /// True if it runs already.
    pub(crate) fn runs(&mut self, on: On) -> bool {
        self.place(on).is_some()
    }

    fn place(&mut self, on: On) -> &mut Option<Broker> {
        match on {
            On::Ours => &mut self.ours,
            On::Kafka => &mut self.kafka,
            On::Floor => &mut self.floor,
        }
    }

    /// A directory of its own for a broker that one measurement starts.
    pub(crate) fn fresh_dir(&mut self, name: &str) -> Result<PathBuf, String> {
        let dir = self.data.join(name);
        empty(&dir)?;
        Ok(dir)
    }
}

/// Lines of a child's output.
pub(crate) fn lines(child: &mut Child) -> Result<impl Iterator<Item = String> + use<>, String> {
    let output = child.stdout.take().ok_or("no output")?;
    Ok(BufReader::new(output).lines().map_while(Result::ok))
}
