//! The page of deviations: every difference that a script marks, with its reason.

use super::file::{Block, Piece, Script};
use super::{folder, read, repository, scripts};
use std::path::PathBuf;

/// Lines of one difference that the page shows; a script has all of them.
const LINES_MAX: usize = 14;

const HEAD: &str = "# Where we answer differently from Apache Kafka

Generated from the scripts in `broker/tests/scripts` (`UPDATE=1 cargo test -p ottla-sim deviations`), which are played
against Apache Kafka 4.4.0 as well: a difference that is no more turns the lane red. Lines with `ottla|` are ours, lines
with `kafka|` Kafka's, the others are common. What else is different on purpose stands at the end.
";

/// Where the page lies.
pub(super) fn path() -> PathBuf {
    repository().join("docs/deviations.md")
}

/// The whole page.
pub(super) fn page() -> Result<String, String> {
    let mut text = HEAD.to_owned();
    let mut last_api = String::new();
    for path in scripts(&[folder()])? {
        let shown = path.strip_prefix(folder()).unwrap_or(&path).display().to_string();
        let api = shown.split('/').next().unwrap_or_default().replace('_', " ");
        let script = Script::parse(&read(&path)?).map_err(|error| format!("{shown}: {error}"))?;
        for block in script.blocks.iter().filter(|block| block.is_different()) {
            if api != last_api {
                text.push_str(&format!("\n## {api}\n"));
                last_api.clone_from(&api);
            }
            text.push_str(&section(block, &shown));
        }
    }
    text.push('\n');
    text.push_str(&read(&folder().join("unscripted.md"))?);
    Ok(text)
}

fn section(block: &Block, script: &str) -> String {
    let mut text = format!("\n`{script}`\n\n```text\n");
    for command in block.commands() {
        text.push_str(&command);
        text.push('\n');
    }
    text.push_str("```\n");
    let mut lines = Vec::new();
    for (at, piece) in block.outcome.iter().enumerate() {
        let Piece::Differ { ottla, kafka, why } = piece else { continue };
        lines.extend(ottla.iter().map(|line| format!("ottla| {line}")));
        lines.extend(kafka.iter().map(|line| format!("kafka| {line}")));
        if block.next_reason(at) != Some(why) {
            text.push_str(&format!("\n{why}\n\n```text\n{}\n```\n", shortened(&lines)));
            lines.clear();
        }
    }
    text
}

fn shortened(lines: &[String]) -> String {
    if lines.len() <= LINES_MAX {
        return lines.join("\n");
    }
    format!("{}\n… {} more lines", lines[..LINES_MAX].join("\n"), lines.len() - LINES_MAX)
}
