//! Findings as a Markdown table and as JSON under `bench/results`, one file per row.

use super::machine;
use super::rows::ROWS;
use super::series::{Series, Spread};
use crate::shell::{root, say};
use std::fmt::Write as _;

/// A measured row.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) shown: &'static [(&'static str, &'static str)],
    pub(crate) goals: Vec<Judged>,
    pub(crate) series: Series,
    pub(crate) blocks: usize,
}

/// A goal and what came of it.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) text: &'static str,
    pub(crate) spread: Spread,
    pub(crate) unit: &'static str,
    pub(crate) bound: String,
    pub(crate) verdict: &'static str,
}

const HEAD: &str = "| row | measured (median) | goals: median (range) |\n|---|---|---|";

/// A finding as a line of the table.
pub(crate) fn row(finding: &Finding) -> String {
    let sides: Vec<_> = finding.series.sides.iter().filter_map(|(label, _)| side(finding, label)).collect();
    let goals: Vec<_> = finding.goals.iter().map(judged).collect();
    let void = match finding.series.void {
        0 => String::new(),
        void => format!("<br>{void} blocks void"),
    };
    format!(
        "| `{}`: {}{void} | {} | {} |",
        finding.name,
        finding.title,
        sides.join("<br>"),
        goals.join("<br>")
    )
}

/// Nothing for a side that has none of the figures that are shown.
fn side(finding: &Finding, label: &str) -> Option<String> {
    let figure = |(metric, unit): &(&str, &str)| {
        let spread = finding.series.spread(label, metric)?;
        Some(format!("{} {unit}", number(spread.median)))
    };
    let figures: Vec<_> = finding.shown.iter().filter_map(figure).collect();
    (!figures.is_empty()).then(|| format!("{label}: {}", figures.join(", ")))
}

fn judged(judged: &Judged) -> String {
    let Judged { text, spread: Spread { median, low, high }, unit, bound, verdict } = judged;
    let (median, low, high) = (number(*median), number(*low), number(*high));
    let verdict = if *verdict == "missed" { "**missed**" } else { verdict };
    format!("{text}: {median}{unit} ({low}–{high}), goal {bound}: {verdict}")
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1_000.0 => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at) % 3 == 0 && digit != '-' {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// Writes a finding where the next report finds it.
pub(crate) fn keep(finding: &Finding) -> Result<(), String> {
    let dir = root().join("bench/results");
    std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    let path = dir.join(format!("{}.json", finding.name));
    std::fs::write(&path, json(finding)).map_err(|error| format!("{}: {error}", path.display()))
}

fn json(finding: &Finding) -> String {
    let mut text = String::from("{\n");
    // Writing to a string cannot fail.
    let _ = write!(text, "  \"row\": {:?},\n  \"machine\": {:?},\n", finding.name, machine());
    let _ = write!(text, "  \"blocks\": {},\n  \"void\": {},\n", finding.blocks, finding.series.void);
    let _ = writeln!(text, "  \"line\": {:?},", row(finding));
    let goals: Vec<_> = finding.goals.iter().map(goal_json).collect();
    let _ = write!(text, "  \"goals\": [\n{}\n  ],\n", goals.join(",\n"));
    let sides: Vec<_> = finding
        .series
        .sides
        .iter()
        .map(|(label, samples)| {
            let samples: Vec<_> = samples
                .iter()
                .map(|sample| {
                    let figures: Vec<_> =
                        sample.iter().map(|(name, value)| format!("\"{name}\": {value:.6}")).collect();
                    format!("      {{ {} }}", figures.join(", "))
                })
                .collect();
            format!("    {label:?}: [\n{}\n    ]", samples.join(",\n"))
        })
        .collect();
    let _ = write!(text, "  \"sides\": {{\n{}\n  }}\n}}\n", sides.join(",\n"));
    text
}

fn goal_json(judged: &Judged) -> String {
    let Judged { text, spread, bound, verdict, .. } = judged;
    let Spread { median, low, high } = spread;
    format!(
        "    {{ \"goal\": {text:?}, \"bound\": {bound:?}, \"median\": {median:.6}, \"low\": {low:.6}, \
         \"high\": {high:.6}, \"verdict\": {verdict:?} }}"
    )
}

/// Prints the table of all rows that were ever measured here.
pub(crate) fn show() -> Result<(), String> {
    say(&format!("\n{HEAD}"));
    for row in ROWS {
        let path = root().join("bench/results").join(format!("{}.json", row.name));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("\"line\": \""));
        match line.and_then(|line| line.strip_suffix("\",")) {
            Some(line) => say(line),
            None => say(&format!("| `{}`: {} | not measured | |", row.name, row.title)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(123.4), "123");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(0.1234), "0.123");
    }
}
