//! What goes in: a log of this machine, or whatever file or pipe the user names.

use crate::shell::say;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Where package managers write down what they did.
const MACHINE_LOGS: &[&str] =
    &["/var/log/dpkg.log", "/var/log/pacman.log", "/var/log/dnf.rpm.log", "/var/log/apk.log"];
/// More lines than this are left where they are: the tour keeps them in memory to compare.
const LINES_MAX: usize = 100_000;
/// Fewer make no tour.
const LINES_MIN: usize = 300;
/// In a package manager's log, the package.
const KEY_FIELD: usize = 5;

/// Which lines, and how they get their keys.
pub(crate) struct Input {
    path: String,
    key_field: usize,
}

/// A line and the field that is its key; a line without that field has none.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) key: Option<String>,
    pub(super) text: String,
}

impl Line {
    /// As kcat wants it.
    pub(super) fn keyed(&self, key_end: char) -> Vec<u8> {
        let key = self.key.as_ref().map(|key| format!("{key}{key_end}")).unwrap_or_default();
        format!("{key}{}\n", self.text).into_bytes()
    }
}

impl Input {
    /// The package manager's log, unless the arguments name another.
    pub(crate) fn choose(arguments: &[&str]) -> Result<Self, String> {
        let mut input = Self { path: String::new(), key_field: KEY_FIELD };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match (*argument, rest.next()) {
                ("--file", Some(path)) => input.path = (*path).to_owned(),
                ("--key-field", Some(field)) => {
                    input.key_field =
                        field.parse().map_err(|_| format!("--key-field {field} is no number"))?;
                }
                (other, _) => {
                    return Err(format!("tour does not know {other}: expected --file F, --key-field N"));
                }
            }
        }
        if input.path.is_empty() {
            let log = MACHINE_LOGS.iter().find(|path| Path::new(path).exists());
            input.path =
                (*log.ok_or("no package manager's log is here: name a file or pipe with --file")?).to_owned();
        }
        Ok(input)
    }

    pub(super) fn name(&self) -> &str {
        if self.path == "-" { "standard input" } else { &self.path }
    }

    pub(super) const fn key_field(&self) -> usize {
        self.key_field
    }

    /// The lines; empty ones are left out, as kcat sends none.
    pub(super) fn lines(&self) -> Result<Vec<Line>, String> {
        let failed = |error| format!("{}: {error}", self.path);
        let source: Box<dyn Read> = if self.path == "-" {
            Box::new(std::io::stdin())
        } else {
            Box::new(std::fs::File::open(&self.path).map_err(failed)?)
        };
        let mut lines = Vec::new();
        for line in BufReader::new(source).split(b'\n') {
            let line = line.map_err(failed)?;
            let text = String::from_utf8_lossy(&line).trim_end_matches('\r').replace('\u{1f}', " ");
            if !text.is_empty() {
                lines.push(Line { key: self.key(&text), text });
            }
            if lines.len() == LINES_MAX {
                say(&format!("only the first {LINES_MAX} lines are taken"));
                break;
            }
        }
        if lines.len() < LINES_MIN {
            return Err(format!("{} has {} lines; the tour needs {LINES_MIN}", self.name(), lines.len()));
        }
        Ok(lines)
    }

    fn key(&self, text: &str) -> Option<String> {
        text.split_whitespace().nth(self.key_field.checked_sub(1)?).map(str::to_owned)
    }
}
