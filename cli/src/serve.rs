//! `dev`, `server` and `config check`: running a node.

use crate::nodes::{self, Common};
use clap::{Args, ValueEnum};
use cluster::config::Overrides;
use server::{Announced, Levels, LogFormat, Logging, Options, settings};
use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

type Done = Result<(), Box<dyn Error>>;

/// The form of log lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogForm {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl From<LogForm> for LogFormat {
    fn from(form: LogForm) -> Self {
        match form {
            LogForm::Text => Self::Text,
            LogForm::Json => Self::Json,
        }
    }
}

/// `ottla dev`.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Where data is kept; created if need be [default: ./ottla-data, with --brokers ./ottla-cluster]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How many nodes: 1, 3 or 5. More than one are processes of their own, on ports that follow --listen.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = node_count)]
    brokers: u16,
    /// With --brokers: leave a node that has died as it is.
    #[arg(long)]
    no_restart: bool,
    /// Where Kafka clients connect; port 0 lets the system choose.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    listen: String,
    /// What clients are told to connect to, if it differs.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Where health and metrics are served; port 0 lets the system choose.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    http: String,
    /// A setting, by Kafka's key: --set num.partitions=3. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How many seconds requests under way may take after a signal.
    #[arg(long, value_name = "S", default_value_t = 30)]
    shutdown_timeout: u64,
}

/// `ottla server`.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where health and metrics are served.
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// A setting that overrides the file. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How many seconds requests under way may take after a signal.
    #[arg(long, value_name = "S", default_value_t = 30)]
    shutdown_timeout: u64,
    /// End when this process ends, which must be the one that started us.
    #[arg(long, value_name = "PID", hide = true)]
    ends_with: Option<u32>,
}

fn node_count(text: &str) -> Result<u16, String> {
    let count = text.parse().ok().filter(|count| matches!(count, 1 | 3 | 5));
    count.ok_or_else(|| "expected 1, 3 or 5: a majority of the nodes must be there to decide".to_owned())
}

impl Dev {
    /// Whether it runs processes of its own, which log.
    pub(crate) const fn is_several(&self) -> bool {
        self.brokers > 1
    }

    /// Several nodes on this machine.
    pub(crate) fn run_several(self, form: LogForm, levels: &Levels) -> Done {
        let form = form.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let timeout = self.shutdown_timeout.to_string();
        let arguments = ["--shutdown-timeout", &timeout, "--log-format", &form, "--log", &spelled(levels)];
        let sets: Result<_, _> = self.set.iter().map(|set| settings::parse_set(set)).collect();
        nodes::run(&Common {
            count: self.brokers,
            data_dir: self.data_dir.unwrap_or_else(|| nodes::default_directory().to_owned()),
            listen: host_port(&self.listen, "--listen")?,
            advertise: self.advertise.as_deref().map(|text| host_port(text, "--advertise")).transpose()?,
            http: host_port(&self.http, "--http")?,
            settings: sets?,
            arguments: arguments.map(str::to_owned).to_vec(),
            restarts: !self.no_restart,
        })
    }

    pub(crate) fn run(self, logging: Logging) -> Done {
        let data_dir = self.data_dir.unwrap_or_else(|| "./ottla-data".into());
        let mut given = Overrides::from([
            ("log.dirs".to_owned(), data_dir.to_string_lossy().into_owned()),
            ("listeners".to_owned(), format!("PLAINTEXT://{}", self.listen)),
        ]);
        if let Some(advertise) = &self.advertise {
            given.insert("advertised.listeners".to_owned(), format!("PLAINTEXT://{advertise}"));
        }
        given.extend(settings::from_environment(environment()));
        add_sets(&mut given, &self.set)?;
        let http = Some(host_port(&self.http, "--http")?);
        run(given, http, logging, self.shutdown_timeout, announce_dev)
    }
}

/// Levels as `--log` takes them.
fn spelled(levels: &Levels) -> String {
    let root = levels.root.name().to_ascii_lowercase();
    let own =
        levels.own.iter().map(|(logger, level)| format!("{logger}={}", level.name().to_ascii_lowercase()));
    std::iter::once(root).chain(own).collect::<Vec<_>>().join(",")
}

impl Server {
    pub(crate) fn run(self, logging: Logging) -> Done {
        if let Some(parent) = self.ends_with {
            nodes::end_with(parent)?;
        }
        let mut given = settings::read_file(&self.config)?;
        given.extend(settings::from_environment(environment()));
        add_sets(&mut given, &self.set)?;
        let http = self.http.as_deref().map(|http| host_port(http, "--http")).transpose()?;
        run(given, http, logging, self.shutdown_timeout, announce)
    }
}

/// `ottla config check`.
pub(crate) fn check(file: &Path) -> Done {
    settings::resolve(&settings::read_file(file)?)?;
    say(&format!("{}: every key is known and every value fits", file.display()));
    Ok(())
}

fn environment() -> impl Iterator<Item = (String, String)> {
    // Names and values that are not Unicode cannot be settings.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn add_sets(given: &mut Overrides, sets: &[String]) -> Done {
    for set in sets {
        let (key, value) = settings::parse_set(set)?;
        given.insert(key, value);
    }
    Ok(())
}

fn host_port(text: &str, flag: &str) -> Result<(String, u16), Box<dyn Error>> {
    let wrong = || format!("{flag} {text}: expected HOST:PORT, for instance 127.0.0.1:8080");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), port.parse().map_err(|_| wrong())?))
}

fn run(
    given: Overrides,
    http: Option<(String, u16)>,
    logging: Logging,
    shutdown_timeout: u64,
    announce: fn(&Announced),
) -> Done {
    let shutdown_timeout = Duration::from_secs(shutdown_timeout);
    let announce = Box::new(announce);
    server::run(Options { settings: given, http, logging, shutdown_timeout, announce })?;
    Ok(())
}

/// The actual addresses, one `name=host:port` per line, for scripts.
fn announce(announced: &Announced) {
    say(&format!("kafka={}", announced.kafka));
    if let Some(http) = announced.http {
        say(&format!("http={http}"));
    }
}

/// The addresses, then what to try next.
fn announce_dev(announced: &Announced) {
    announce(announced);
    let broker = &announced.kafka;
    say(&format!(
        "\nOttla serves Kafka clients on {broker}; data is in {}.\nTry it:\n  \
         echo hello | kcat -b {broker} -P -t greetings\n  \
         kcat -b {broker} -C -t greetings -e\nStop it with Ctrl-C.",
        announced.directory
    ));
}

/// Prints a line; a reader that has gone away is no reason to stop a server.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _gone = writeln!(out, "{line}").and_then(|()| out.flush());
}
