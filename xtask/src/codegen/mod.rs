//! `cargo xtask codegen`: from the schema texts in `wire/schema` to the Rust in `wire/src/generated`.
//!
//! The output is committed, so that neither a build script nor a macro runs when `wire` is compiled, and so
//! that a reviewer sees what a schema line does. The syntax is described in `wire/schema/README.md`.

mod emit;
mod layout;
mod names;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// File name under `wire/src/generated` → content.
type Output = BTreeMap<PathBuf, String>;

/// Writes what is stale and removes what no schema asks for.
pub(crate) fn write() -> Result<(), String> {
    let root = generated_root();
    let output = generate()?;
    for path in existing(&root)? {
        if !output.contains_key(&path) {
            fs::remove_file(root.join(&path)).map_err(|e| at(&path, &e))?;
        }
    }
    for (path, content) in &output {
        let full = root.join(path);
        if fs::read_to_string(&full).is_ok_and(|present| present == *content) {
            continue;
        }
        if let Some(parent) = full.parent() {
            fs::create_dir_all(parent).map_err(|e| at(parent, &e))?;
        }
        fs::write(&full, content).map_err(|e| at(&full, &e))?;
    }
    Ok(())
}

/// Fails when what is committed is not what the schemas say.
pub(crate) fn check() -> Result<(), String> {
    let root = generated_root();
    let output = generate()?;
    let mut stale: Vec<PathBuf> =
        existing(&root)?.into_iter().filter(|path| !output.contains_key(path)).collect();
    for (path, content) in output {
        if !fs::read_to_string(root.join(&path)).is_ok_and(|present| present == content) {
            stale.push(path);
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = stale.iter().map(|path| path.display().to_string()).collect();
    Err(format!("stale, run `cargo xtask codegen`: {}", names.join(", ")))
}

fn generate() -> Result<Output, String> {
    let mut files = Vec::new();
    for (folder, names) in [("", schema_names("")?), ("records", schema_names("records")?)] {
        for name in names {
            let path = Path::new(folder).join(format!("{name}.txt"));
            let text = fs::read_to_string(schema_root().join(&path))
                .map_err(|e| at(&schema_root().join(&path), &e))?;
            let parsed = schema::parse(&text).map_err(|e| format!("{}:{e}", path.display()))?;
            let laid = layout::lay_out(parsed).map_err(|e| format!("{}: {e}", path.display()))?;
            files.push((folder, name, laid));
        }
    }
    let mut output = Output::new();
    for (folder, name, file) in &files {
        let source = Path::new(folder).join(format!("{name}.txt"));
        let code = emit::file(file, &source.display().to_string());
        output.insert(Path::new(folder).join(format!("{name}.rs")), rustfmt(&code)?);
    }
    let names = |wanted: &str| -> Vec<&str> {
        files.iter().filter(|(folder, ..)| *folder == wanted).map(|(_, name, _)| name.as_str()).collect()
    };
    output.insert("records/mod.rs".into(), rustfmt(&emit::records_index(&names("records")))?);
    let apis: Vec<_> = files.iter().map(|(_, name, file)| (name.as_str(), file)).collect();
    output.insert("mod.rs".into(), rustfmt(&emit::index(&names(""), &apis))?);
    let paths: Vec<(String, _)> = files
        .iter()
        .map(|(folder, name, file)| {
            (if folder.is_empty() { name.clone() } else { format!("stored::{name}") }, file)
        })
        .collect();
    output.insert("sample.rs".into(), rustfmt(&emit::sample::file(&paths))?);
    Ok(output)
}

fn schema_names(folder: &str) -> Result<Vec<String>, String> {
    let folder = schema_root().join(folder);
    let mut names: Vec<String> = fs::read_dir(&folder)
        .map_err(|e| at(&folder, &e))?
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(".txt").map(str::to_owned)
        })
        .collect();
    names.sort();
    Ok(names)
}

/// The Rust files that are there, relative to `root`.
fn existing(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for folder in ["", "records"] {
        let Ok(entries) = fs::read_dir(root.join(folder)) else { continue };
        for entry in entries {
            let entry = entry.map_err(|e| at(root, &e))?;
            if entry.path().extension().is_some_and(|extension| extension == "rs") {
                found.push(Path::new(folder).join(entry.file_name()));
            }
        }
    }
    Ok(found)
}

fn rustfmt(code: &str) -> Result<String, String> {
    use std::io::Write as _;
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(repository())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("rustfmt: {e}"))?;
    let mut stdin = child.stdin.take().ok_or("rustfmt: no stdin")?;
    let input = code.to_owned();
    // rustfmt reads everything before it writes, so one thread is enough.
    stdin.write_all(input.as_bytes()).map_err(|e| format!("rustfmt: {e}"))?;
    drop(stdin);
    let output = child.wait_with_output().map_err(|e| format!("rustfmt: {e}"))?;
    if !output.status.success() {
        return Err("rustfmt refused the generated code".to_owned());
    }
    String::from_utf8(output.stdout).map_err(|e| format!("rustfmt: {e}"))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

fn schema_root() -> PathBuf {
    repository().join("wire/schema")
}

fn generated_root() -> PathBuf {
    repository().join("wire/src/generated")
}

fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
