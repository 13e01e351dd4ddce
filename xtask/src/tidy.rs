//! `cargo xtask tidy`: rules of the house that no compiler checks.

use crate::shell::root;
use std::fs;
use std::path::{Path, PathBuf};

/// Which of our crates each crate may depend on (besides itself).
const EDGES: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("wire", &["base"]),
    ("codec", &["base"]),
    ("seglog", &["base", "wire"]),
    ("quorum", &["base", "wire"]),
    ("cluster", &["base", "wire"]),
    ("coordinator", &["base", "wire", "cluster"]),
    ("broker", &["base", "wire", "codec", "seglog", "quorum", "cluster", "coordinator"]),
    ("client", &["base", "wire", "codec"]),
    ("server", &["base", "wire", "codec", "seglog", "quorum", "cluster", "coordinator", "broker", "client"]),
    ("cli", &["base", "wire", "codec", "cluster", "client", "server"]),
    (
        "sim",
        &[
            "base",
            "wire",
            "codec",
            "seglog",
            "quorum",
            "cluster",
            "coordinator",
            "broker",
            "client",
            "schema",
        ],
    ),
    ("schema", &[]),
    ("xtask", &["schema"]),
];

/// Crates that must be `no_std`.
const FENCED: &[&str] = &["base", "wire", "cluster", "coordinator"];
/// The longest a file may be without a written reason.
const LINES_MAX: usize = 600;
/// What a file that is longer begins a line with.
const REASON: &str = "// tidy: length —";
/// Words that no committed file may hold: paths of one machine.
const FORBIDDEN: &[&str] = &["/work/", "/root/"];

pub(crate) fn check() -> Result<(), String> {
    let mut wrong = Vec::new();
    for (name, allowed) in EDGES {
        check_edges(name, allowed, &mut wrong);
    }
    for name in FENCED {
        check_fence(name, &mut wrong);
    }
    for (name, _) in EDGES {
        for file in sources(&root().join(name)) {
            check_file(&file, &mut wrong);
        }
    }
    check_marks(&mut wrong);
    check_scripts(&mut wrong);
    wrong.extend(crate::licences::check().err());
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn check_edges(name: &str, allowed: &[&str], wrong: &mut Vec<String>) {
    let manifest = read(&root().join(name).join("Cargo.toml"));
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    for line in dependencies.lines() {
        let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let ours = EDGES.iter().any(|(crate_name, _)| *crate_name == dependency);
        if ours && !allowed.contains(&dependency) {
            wrong.push(format!("{name} must not depend on {dependency}: see ARCHITECTURE.md, allowed edges"));
        }
    }
    if name == "sim" && dependencies.contains("tokio") {
        wrong.push("sim must not depend on tokio: its world is one thread and one seed".into());
    }
}

fn check_fence(name: &str, wrong: &mut Vec<String>) {
    let library = read(&root().join(name).join("src/lib.rs"));
    if !library.contains("#![no_std]") || !library.contains("#![forbid(unsafe_code)]") {
        wrong.push(format!("{name} must be #![no_std] and #![forbid(unsafe_code)]"));
    }
}

fn check_file(file: &Path, wrong: &mut Vec<String>) {
    let text = read(file);
    let shown = file.strip_prefix(root()).unwrap_or(file).display().to_string();
    let generated = shown.contains("generated");
    if !generated && text.lines().count() > LINES_MAX && !text.contains(REASON) {
        wrong.push(format!("{shown} has more than {LINES_MAX} lines: split it, or write `{REASON} why`"));
    }
    let first = text.lines().next().unwrap_or_default();
    let test = shown.ends_with("tests.rs") || shown.contains("/tests/");
    if !test && !first.starts_with("//!") {
        wrong.push(format!("{shown} does not begin with what it is for (//!)"));
    }
    if let Some(word) = FORBIDDEN.iter().find(|word| text.contains(**word))
        && !shown.ends_with("xtask/src/tidy.rs")
    {
        wrong.push(format!("{shown} names a path of one machine: {word}"));
    }
}

/// Every mark that the simulator demands stands in the code.
fn check_marks(wrong: &mut Vec<String>) {
    let report = read(&root().join("sim/src/report.rs"));
    let demanded = report.split("pub const MARKS").nth(1).unwrap_or_default();
    let demanded = demanded.split("];").next().unwrap_or_default();
    let code: String =
        EDGES.iter().flat_map(|(name, _)| sources(&root().join(name))).map(|file| read(&file)).collect();
    for mark in demanded.split('"').skip(1).step_by(2) {
        if !code.contains(&format!("hit!({mark})")) {
            wrong.push(format!("the simulator demands the mark {mark}, which no code says"));
        }
    }
    for mark in code.split("hit!(").skip(1).filter_map(|rest| rest.split_once(')')).map(|(mark, _)| mark) {
        let is_name = mark.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && !mark.is_empty();
        if is_name && mark != "duplicate_batch_answered" && !report.contains(&format!("\"{mark}\"")) {
            wrong.push(format!("the mark {mark} is neither demanded of the simulator nor excused from it"));
        }
    }
}

/// Every API of the table has a folder with scripts.
fn check_scripts(wrong: &mut Vec<String>) {
    let apis = read(&root().join("broker/src/api/mod.rs"));
    let table = apis.split("pub const TABLE").nth(1).and_then(|rest| rest.split("];").next());
    for row in table.unwrap_or_default().lines().filter_map(|line| line.trim().split_once("::<")) {
        let api = row.1.split("::").next().unwrap_or_default();
        let folder = root().join("broker/tests/scripts").join(api);
        let scripts = fs::read_dir(&folder).map_or(0, |entries| entries.flatten().count());
        if scripts == 0 {
            wrong.push(format!("the API {api} has no script in broker/tests/scripts/{api}"));
        }
    }
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}
