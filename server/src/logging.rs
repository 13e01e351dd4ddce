//! Where log lines go: standard error, as text for people or JSON for machines, as much as the loggers' levels say.

use broker::loggers::{Levels, LogFilter, LogLevel};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry, reload};

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A log that has started.
#[derive(Debug)]
pub struct Logging {
    pub(crate) levels: Levels,
    pub(crate) filter: Filter,
}

/// What lets lines through.
#[derive(Debug)]
pub(crate) struct Filter(reload::Handle<Targets, Registry>);

/// Starts logging.
#[must_use]
pub fn start(format: LogFormat, levels: Levels) -> Logging {
    let (filter, handle) = reload::Layer::new(targets(&levels));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // A reader of the log who has gone away is no reason to end.
    let lines = lines.log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.compact().boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    // A second start in one process keeps the first.
    drop(tracing::subscriber::set_global_default(Registry::default().with(filter).with(lines)));
    Logging { levels, filter: Filter(handle) }
}

impl LogFilter for Filter {
    fn follow(&self, levels: &Levels) {
        // It can only be gone if another log was started first: then that one stays as it is.
        let _gone = self.0.reload(targets(levels));
    }
}

fn targets(levels: &Levels) -> Targets {
    let own = levels.own.iter().map(|(logger, level)| (logger.clone(), filter(*level)));
    Targets::new().with_targets(own).with_default(filter(levels.root))
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Fatal => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
