//! The only binary: the server's modes and the command line.
#![forbid(unsafe_code)]

mod serve;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 timeout or unhealthy.
const FAILED: u8 = 1;

/// Ottla: an event streaming platform that speaks Kafka's protocol.
#[derive(Debug, Parser)]
#[command(name = "ottla", version = VERSION, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log: a level (error, warn, info, debug) or a filter such as info,ottla_server=debug.
    #[arg(long, global = true, env = "OTTLA_LOG", default_value = "info")]
    log: String,
    /// The form of log lines.
    #[arg(long, global = true, value_enum, default_value_t = serve::LogForm::Text)]
    log_format: serve::LogForm,
}

/// Version, and the Kafka release whose protocol is spoken.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (Kafka protocol 4.4)");

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a platform on this machine for development: no config file, no format step.
    Dev(serve::Dev),
    /// Run a node by its config file (Kafka's server.properties syntax).
    Server(serve::Server),
    /// Look at configuration.
    #[command(subcommand)]
    Config(serve::Config),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    server::start_logging(cli.log_format.into(), &cli.log);
    let done = match cli.command {
        Command::Dev(dev) => dev.run(),
        Command::Server(server) => server.run(),
        Command::Config(config) => config.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            serve::say_error(&*error);
            ExitCode::from(FAILED)
        }
    }
}
