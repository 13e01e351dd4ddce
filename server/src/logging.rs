//! Where log lines go: standard error, as text for people or JSON for machines.

use tracing_subscriber::EnvFilter;

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Starts logging. `filter` is a level or a `tracing` filter such as `info,ottla_server=debug`.
pub fn start(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = match format {
        LogFormat::Text => tracing::subscriber::set_global_default(builder.compact().finish()),
        LogFormat::Json => tracing::subscriber::set_global_default(builder.json().finish()),
    };
    // A second start in one process keeps the first.
    drop(started);
}
