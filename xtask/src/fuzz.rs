//! `cargo xtask fuzz`: the long form of what the smoke tests of `wire` and `codec` run.

use std::path::Path;
use std::process::Command;

/// The targets of `fuzz/Cargo.toml`.
const TARGETS: [&str; 5] = ["requests", "responses", "stored", "batches", "codecs"];
const SECONDS: u32 = 60;

/// Runs the targets that `args` name, or all: `[TARGET] [SECONDS]`.
pub(crate) fn run(args: &[&str]) -> Result<(), String> {
    let (targets, rest) = match args {
        [target, rest @ ..] if TARGETS.contains(target) => (vec![*target], rest),
        rest => (TARGETS.to_vec(), rest),
    };
    let seconds = match rest {
        [] => SECONDS,
        [seconds] => seconds.parse().map_err(|_| format!("`{seconds}` is neither a target nor a time"))?,
        _ => return Err(format!("usage: cargo xtask fuzz [{}] [SECONDS]", TARGETS.join("|"))),
    };
    cargo(&["run", "--release", "--bin", "seeds"])?;
    for target in targets {
        fuzz(target, seconds)?;
    }
    Ok(())
}

fn fuzz(target: &str, seconds: u32) -> Result<(), String> {
    let time = format!("-max_total_time={seconds}");
    // Nothing may take more than this at once for an input of this size: limits, not the input, decide.
    let limits = ["-max_len=16384", "-malloc_limit_mb=64", "-rss_limit_mb=2048", "-timeout=10"];
    let mut args = vec!["+nightly", "fuzz", "run", target, "--", &time];
    args.extend(limits);
    cargo(&args)
}

fn cargo(args: &[&str]) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    // Through the proxy, so that `+nightly` is understood; the environment of this very cargo must not leak in.
    let status = Command::new("cargo")
        .args(args)
        .current_dir(folder)
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .status()
        .map_err(|e| format!("cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} failed", args.join(" "))) }
}
