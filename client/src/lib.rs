//! See Cargo.toml for what belongs here.
