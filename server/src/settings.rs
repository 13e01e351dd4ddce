//! Where settings come from: a file in Kafka's `server.properties` syntax, the environment, the command line.

use cluster::config::{ConfigError, Layers, NodeConfig, Overrides};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Settings that cannot be used, with what to do.
#[derive(Debug)]
pub struct SettingsError(pub String);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}

impl From<ConfigError> for SettingsError {
    fn from(error: ConfigError) -> Self {
        Self(error.0)
    }
}

/// The prefix of environment variables that are settings: `OTTLA_NUM_PARTITIONS` is `num.partitions`.
const PREFIX: &str = "OTTLA_";
/// Variables with that prefix that are not settings of a node.
const NOT_SETTINGS: &[&str] = &["OTTLA_BOOTSTRAP_SERVER", "OTTLA_LOG"];

/// Reads a properties file.
///
/// # Errors
/// When the file cannot be read, or a line is no `key=value`.
pub fn read_file(path: &Path) -> Result<Overrides, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| SettingsError(format!("Cannot read the config file {}: {error}", path.display())))?;
    parse_properties(&text).map_err(|line| SettingsError(format!("{}: {line}", path.display())))
}

/// Parses `key=value` lines; `#` and `!` begin comments, a backslash at the end continues a line.
fn parse_properties(text: &str) -> Result<Overrides, String> {
    let mut settings = Overrides::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while line.ends_with('\\') && !line.ends_with("\\\\") {
            line.pop();
            line.push_str(lines.next().map_or("", |(_, next)| next.trim_start()));
        }
        let (key, value) =
            line.split_once(['=', ':']).ok_or_else(|| format!("line {number} is no key=value: {line}"))?;
        settings.insert(key.trim().to_owned(), value.trim().replace("\\\\", "\\"));
    }
    Ok(settings)
}

/// The settings among environment variables.
#[must_use]
pub fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Overrides {
    let setting = |(name, value): (String, String)| {
        let key = name.strip_prefix(PREFIX)?.to_ascii_lowercase().replace('_', ".");
        (!NOT_SETTINGS.contains(&name.as_str())).then_some((key, value))
    };
    variables.filter_map(setting).collect()
}

/// Parses the `key=value` of a `--set`.
///
/// # Errors
/// When there is no `=`.
pub fn parse_set(text: &str) -> Result<(String, String), SettingsError> {
    let (key, value) = text.split_once('=').ok_or_else(|| {
        SettingsError(format!("--set {text}: expected key=value, for instance --set num.partitions=3"))
    })?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Checks settings and makes them a node's config.
///
/// # Errors
/// The first key that is unknown or whose value does not fit.
pub fn resolve(settings: &Overrides) -> Result<NodeConfig, SettingsError> {
    NodeConfig::check(settings)?;
    let none = BTreeMap::new();
    Ok(NodeConfig::resolve(&Layers { broker: &none, cluster: &none, fixed: settings })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_kafkas_properties() {
        let text = "# comment\n\n! other\nlog.dirs = /a\\\n   b\nlisteners: PLAINTEXT://h:1\nempty=\n";
        let settings = parse_properties(text).unwrap();
        assert_eq!(settings["log.dirs"], "/ab");
        assert_eq!(settings["listeners"], "PLAINTEXT://h:1");
        assert_eq!(settings["empty"], "");
        assert_eq!(parse_properties("a=1\nnonsense").unwrap_err(), "line 2 is no key=value: nonsense");
    }

    #[test]
    fn the_environment_speaks_in_capitals() {
        let variables = [("OTTLA_NUM_PARTITIONS", "3"), ("OTTLA_LOG", "debug"), ("PATH", "x")];
        let settings = from_environment(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        assert_eq!(settings.into_iter().collect::<Vec<_>>(), [("num.partitions".to_owned(), "3".to_owned())]);
    }

    #[test]
    fn an_unknown_key_names_its_neighbour() {
        let settings = [("num.partition".to_owned(), "3".to_owned())].into();
        assert!(resolve(&settings).unwrap_err().0.contains("Did you mean num.partitions?"));
    }
}
