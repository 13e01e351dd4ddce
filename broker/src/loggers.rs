//! The loggers of this process and their levels, as DescribeConfigs and IncrementalAlterConfigs know them. What is set
//! lives as long as the process. Whoever writes log lines follows a [`LogFilter`]; nothing is written from here.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The logger that all others inherit from.
pub const ROOT_LOGGER: &str = "root";

/// The loggers there are besides the root. A logger without a level has that of the nearest one whose name begins its
/// own, which is how log lines are matched as well.
pub const LOGGERS: &[&str] = &["ottla", GROUPS, METADATA, NETWORK, NODE, REPLICATION];
/// What the group coordinators say.
pub const GROUPS: &str = "ottla.groups";
/// What the controller says, and whoever looks after partitions.
pub const METADATA: &str = "ottla.metadata";
/// What is said of connections.
pub const NETWORK: &str = "ottla.network";
/// What is said of the process.
pub const NODE: &str = "ottla.node";
/// What is said of following other leaders, and of being followed.
pub const REPLICATION: &str = "ottla.replication";

/// How much is logged, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing: what is fatal here is said when the process ends.
    Fatal,
    /// Something did not work and somebody must act.
    Error,
    /// Something odd, too.
    Warn,
    /// What an operator likes to know, too.
    Info,
    /// What helps to find out why, too.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    const ALL: [Self; 6] = [Self::Fatal, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// Kafka's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fatal => "FATAL",
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }

    /// The level of exactly this name, as Kafka's requests spell it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// The levels that were set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// For loggers that have none of their own, nor a parent with one.
    pub root: LogLevel,
    /// By the beginning of a logger's name.
    pub own: BTreeMap<String, LogLevel>,
}

impl Default for Levels {
    fn default() -> Self {
        Self { root: LogLevel::Info, own: BTreeMap::new() }
    }
}

impl Levels {
    /// The level in force for a logger: that of the longest name which begins its own.
    #[must_use]
    pub fn of(&self, logger: &str) -> LogLevel {
        let begins = self.own.iter().filter(|(name, _)| logger.starts_with(name.as_str()));
        begins.max_by_key(|(name, _)| name.len()).map_or(self.root, |(_, level)| *level)
    }

    /// Every logger with the level in force, by name.
    fn all(&self) -> BTreeMap<String, LogLevel> {
        let known = LOGGERS.iter().map(|name| (*name).to_owned()).chain(self.own.keys().cloned());
        let mut all: BTreeMap<_, _> = known.map(|name| (name.clone(), self.of(&name))).collect();
        all.insert(ROOT_LOGGER.into(), self.root);
        all
    }

    fn set(&mut self, logger: &str, level: Option<LogLevel>) {
        match (logger, level) {
            (ROOT_LOGGER, Some(level)) => self.root = level,
            // The root always has one.
            (ROOT_LOGGER, None) => {}
            (_, Some(level)) => drop(self.own.insert(logger.to_owned(), level)),
            (_, None) => drop(self.own.remove(logger)),
        }
    }
}

/// A text that says no levels, with what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelsError(String);

impl fmt::Display for LevelsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LevelsError {}

impl FromStr for Levels {
    type Err = LevelsError;

    /// Reads `info`, or `info,ottla.network=debug`: a level for all, and levels by logger; in any case of letters.
    fn from_str(text: &str) -> Result<Self, LevelsError> {
        let mut levels = Self::default();
        for part in text.split(',').map(str::trim) {
            let (logger, level) = part.split_once('=').unwrap_or((ROOT_LOGGER, part));
            let Some(known) = LogLevel::named(&level.trim().to_ascii_uppercase()) else {
                let all = LogLevel::ALL.map(LogLevel::name).join(", ");
                return Err(LevelsError(format!("{level:?} is no log level; there are {all}")));
            };
            levels.set(logger.trim(), Some(known));
        }
        Ok(levels)
    }
}

/// Where levels take effect.
pub trait LogFilter: Send + Sync + fmt::Debug {
    /// From now on these hold.
    fn follow(&self, levels: &Levels);
}

/// The loggers of this process.
#[derive(Debug, Default)]
pub struct Loggers {
    levels: Mutex<Levels>,
    filter: OnceLock<Box<dyn LogFilter>>,
}

impl Loggers {
    /// Says where levels take effect and which hold at first. The first to say so stays.
    pub fn start(&self, levels: Levels, filter: Box<dyn LogFilter>) {
        if self.filter.set(filter).is_ok() {
            self.change(|own| *own = levels);
        }
    }

    /// Every logger with the level in force, by name.
    pub(crate) fn all(&self) -> BTreeMap<String, LogLevel> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).all()
    }

    /// Gives loggers a level, or their parent's, all at once.
    pub(crate) fn set(&self, changes: &[(&str, Option<LogLevel>)]) {
        self.change(|levels| changes.iter().for_each(|(logger, level)| levels.set(logger, *level)));
    }

    fn change(&self, change: impl FnOnce(&mut Levels)) {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut levels);
        if let Some(filter) = self.filter.get() {
            filter.follow(&levels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Debug, Default)]
    struct Kept(Arc<Mutex<Vec<Levels>>>);

    impl LogFilter for Kept {
        fn follow(&self, levels: &Levels) {
            self.0.lock().unwrap().push(levels.clone());
        }
    }

    #[test]
    fn a_logger_has_the_level_of_its_nearest_parent() {
        let levels: Levels = "warn,ottla=info,ottla.network=debug".parse().unwrap();
        assert_eq!(levels.of("hyper"), LogLevel::Warn);
        assert_eq!(levels.of("ottla.groups"), LogLevel::Info);
        assert_eq!(levels.of("ottla.network"), LogLevel::Debug);
        assert_eq!(levels.all()["ottla.metadata"], LogLevel::Info);
    }

    #[test]
    fn a_change_takes_effect_where_lines_are_written_and_can_be_taken_back() {
        let (loggers, kept) = (Loggers::default(), Arc::default());
        loggers.start(Levels::default(), Box::new(Kept(Arc::clone(&kept))));
        loggers.set(&[("ottla.network", Some(LogLevel::Trace)), (ROOT_LOGGER, Some(LogLevel::Error))]);
        assert_eq!(loggers.all()["ottla.network"], LogLevel::Trace);
        assert_eq!(loggers.all()["ottla.groups"], LogLevel::Error);
        loggers.set(&[("ottla.network", None)]);
        let followed: Vec<_> = kept.lock().unwrap().iter().map(|levels| levels.of("ottla.network")).collect();
        assert_eq!(followed, [LogLevel::Info, LogLevel::Trace, LogLevel::Error]);
    }

    #[test]
    fn a_text_that_says_no_level_is_refused() {
        for text in ["", "loud", "info,ottla=", "ottla"] {
            assert!(text.parse::<Levels>().is_err(), "{text}");
        }
    }
}
