//! See Cargo.toml for what belongs here.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
