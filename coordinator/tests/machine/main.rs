//! Tests of the group machine from outside: scripts, a random model, stored bytes.
#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect shall panic")]

mod script;
mod show;
mod world;

/// Every script of the folder is a test; `UPDATE=1` rewrites what they expect.
#[test]
fn scripts() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    script::run_folder(&folder);
}
