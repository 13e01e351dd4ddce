//! The only binary: the server's modes and the command line.
#![forbid(unsafe_code)]

mod serve;
mod throttle;

mod cluster;
mod config;
mod connect;
mod consume;
mod format;
mod group;
mod members;
mod moves;
mod nodes;
mod output;
mod perf;
mod produce;
mod topic;

use clap::{Parser, Subcommand};
use connect::{Done, Failure};
use server::Levels;
use std::process::ExitCode;
use std::sync::LazyLock;

/// Ottla: an event streaming platform that speaks Kafka's protocol.
#[derive(Debug, Parser)]
#[command(name = "ottla", version = VERSION.as_str(), propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log: a level (error, warn, info, debug, trace), also by logger: info,ottla.network=debug.
    #[arg(long, global = true, env = "OTTLA_LOG", default_value = "info")]
    log: Levels,
    /// The form of log lines.
    #[arg(long, global = true, value_enum, default_value_t = serve::LogForm::Text)]
    log_format: serve::LogForm,
}

/// Version, commit (whoever builds a release says it in `OTTLA_COMMIT`), and the Kafka release whose protocol is spoken.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let commit = option_env!("OTTLA_COMMIT").unwrap_or("unknown");
    format!("{} (commit {commit}, Kafka protocol 4.4)", env!("CARGO_PKG_VERSION"))
});

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a platform on this machine for development: no config file, no format step.
    Dev(serve::Dev),
    /// Run a node by its config file (Kafka's server.properties syntax).
    Server(serve::Server),
    /// Create, list, describe, alter and delete topics.
    #[command(subcommand)]
    Topic(topic::Topic),
    /// Produce records from standard input or files.
    Produce(produce::Produce),
    /// Print the records of topics.
    Consume(consume::Consume),
    /// List, describe and delete consumer groups.
    #[command(subcommand)]
    Group(group::Group),
    /// Look at configuration and change it.
    #[command(subcommand)]
    Config(config::Config),
    /// Measure a cluster under load.
    #[command(subcommand)]
    Perf(perf::Perf),
    /// Look at the cluster.
    #[command(subcommand)]
    Cluster(cluster::Cluster),
}

/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 timeout or unhealthy.
fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                output::note(&format!("ottla: {failure}"));
            }
            ExitCode::from(failure.exit)
        }
    }
}

impl Cli {
    fn run(self) -> Done {
        match self.command {
            Command::Dev(dev) if dev.is_several() => dev
                .run_several(self.log_format, &self.log)
                .map_err(|error| Failure::failed(error.to_string())),
            Command::Dev(dev) => serve(self.log_format, self.log, |logging| dev.run(logging)),
            Command::Server(server) => serve(self.log_format, self.log, |logging| server.run(logging)),
            Command::Topic(topic) => topic.run(),
            Command::Produce(produce) => produce.run(),
            Command::Consume(consume) => consume.run(),
            Command::Group(group) => group.run(),
            Command::Config(config) => config.run(),
            Command::Perf(perf) => perf.run(),
            Command::Cluster(cluster) => cluster.run(),
        }
    }
}

/// Runs a node; only nodes log.
fn serve(
    form: serve::LogForm,
    levels: Levels,
    run: impl FnOnce(server::Logging) -> Result<(), Box<dyn std::error::Error>>,
) -> Done {
    run(server::start_logging(form.into(), levels)).map_err(|error| Failure::failed(error.to_string()))
}
