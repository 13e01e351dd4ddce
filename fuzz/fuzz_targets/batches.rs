#![no_main]

#[path = "../src/batches.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::batches(data));
