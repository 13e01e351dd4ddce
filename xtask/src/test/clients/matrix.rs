//! The matrix of clients and features: no cell stays empty, and the page in `docs` says what was run.

use crate::shell::root;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What every client has to show, or has to say that it cannot.
pub(super) const FEATURES: &[&str] = &[
    "none",
    "gzip",
    "snappy",
    "lz4",
    "zstd",
    "keys, nulls, headers, order",
    "largest record",
    "idempotent producer",
    "groups, commits",
    "assignors",
    "static membership",
    "seek by offset and time",
    "administering",
];

/// Where the page is.
const PAGE: &str = "docs/clients.md";

/// What one client did.
pub(super) struct Column {
    client: &'static str,
    cells: BTreeMap<String, String>,
}

impl Column {
    pub(super) fn new(client: &'static str) -> Self {
        Self { client, cells: BTreeMap::new() }
    }

    pub(super) fn fill(&mut self, feature: &str, outcome: &str) {
        self.cells.insert(feature.to_owned(), outcome.to_owned());
    }

    /// Out of a program's lines: `cell TAB feature TAB outcome`.
    pub(super) fn parse(client: &'static str, output: &str) -> Result<Self, String> {
        let mut column = Self::new(client);
        for line in output.lines() {
            if let ["cell", feature, outcome] = line.split('\t').collect::<Vec<_>>().as_slice() {
                column.fill(feature, outcome);
            }
        }
        column.complete()
    }

    /// The column, unless it has gaps or cells that no row has.
    pub(super) fn complete(self) -> Result<Self, String> {
        let missing = FEATURES.iter().find(|feature| !self.cells.contains_key(**feature));
        let unknown = self.cells.keys().find(|feature| !FEATURES.contains(&feature.as_str()));
        match (missing, unknown) {
            (None, None) => Ok(self),
            (Some(feature), _) => Err(format!("{} shows nothing for {feature:?}", self.client)),
            (_, Some(feature)) => Err(format!("{} shows {feature:?}, which is no row", self.client)),
        }
    }
}

/// The matrix as Markdown.
pub(super) fn table(columns: &[Column]) -> Result<String, String> {
    let mut text = String::from("| |");
    let put = |text: &mut String, cell: &str| write!(text, " {cell} |").map_err(|error| error.to_string());
    for column in columns {
        put(&mut text, column.client)?;
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(columns.len()));
    text.push('\n');
    for feature in FEATURES {
        text.push('|');
        put(&mut text, feature)?;
        for column in columns {
            put(&mut text, &column.cells[*feature])?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// Compares what was run with what the page says; `UPDATE=1` rewrites the page.
pub(super) fn check_page(sections: &[(&str, &str)]) -> Result<(), String> {
    let path = root().join(PAGE);
    let old = std::fs::read_to_string(&path).map_err(|error| format!("{PAGE}: {error}"))?;
    let mut new = old.clone();
    for (name, content) in sections {
        new = replace(&new, name, content)?;
    }
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(&path, new).map_err(|error| format!("{PAGE}: {error}"));
    }
    if new == old { Ok(()) } else { Err(format!("{PAGE} is stale: run this lane with UPDATE=1")) }
}

/// Puts `content` between the marks of a section.
fn replace(page: &str, name: &str, content: &str) -> Result<String, String> {
    let (begin, end) = (format!("<!-- {name}: generated -->\n"), format!("<!-- {name}: end -->"));
    let parts = page.split_once(&begin).and_then(|(head, rest)| Some((head, rest.split_once(&end)?.1)));
    let (head, tail) = parts.ok_or_else(|| format!("{PAGE} lacks the marks of {name}"))?;
    Ok(format!("{head}{begin}{content}{end}{tail}"))
}
