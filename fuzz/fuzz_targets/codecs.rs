#![no_main]

#[path = "../src/codecs.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::codecs(data));
