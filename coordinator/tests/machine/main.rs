//! Tests of the group machine from outside: scripts, a random model, stored bytes.
#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect shall panic")]

mod hostile;
mod model;
mod script;
mod show;
mod world;

use base::plant::{Bug, arm};
use std::path::PathBuf;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Every script of the folder is a test; `UPDATE=1` rewrites what they expect. Together they reach every
/// marked line.
#[test]
fn scripts() {
    script::run_folder(&folder("tests/scripts"));
    let reached = base::marks::take();
    let missed: Vec<_> = marks().into_iter().filter(|mark| !reached.contains_key(mark.as_str())).collect();
    assert!(missed.is_empty(), "no script reaches {missed:?}");
}

/// The marks in the machine's source.
fn marks() -> Vec<String> {
    let mut marks = Vec::new();
    for entry in std::fs::read_dir(folder("src/group")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let text = std::fs::read_to_string(path).unwrap();
            let found = text.split("hit!(").skip(1).filter_map(|rest| rest.split_once(')'));
            marks.extend(found.map(|(name, _)| name.to_owned()));
        }
    }
    assert!(marks.len() > 10, "the marks have moved");
    marks
}

/// What the laws and the transcripts are worth: each planted bug is seen by them.
#[test]
fn planted_bugs_are_found() {
    for bug in [Bug::D2, Bug::D3, Bug::D5] {
        arm(Some(bug));
        let is_found = script::finds_a_bug(&folder("tests/scripts"));
        arm(None);
        assert!(is_found, "{bug:?} goes unnoticed");
    }
}

/// The random members find the one that scripts could have been written around.
#[test]
fn random_members_find_unwritten_state() {
    arm(Some(Bug::D3));
    let is_found = (0..50).any(|seed| std::panic::catch_unwind(|| model::run(seed, 300)).is_err());
    arm(None);
    assert!(is_found, "D3 goes unnoticed");
}

/// Random members against the laws, over seeds that are always the same; `SEEDS=n` runs more, `SEED=n` one.
#[test]
fn random_members() {
    let number =
        |name| std::env::vars().find(|(key, _)| key == name).map(|(_, value)| value.parse().unwrap());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(150),
    };
    for seed in seeds {
        println!("SEED={seed}");
        model::run(seed, 300);
    }
}

/// Whatever a log says, the machine lives with it.
#[test]
fn a_log_of_any_content_is_lived_with() {
    (0..400).for_each(hostile::run);
}
