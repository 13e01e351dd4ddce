#![no_main]

#[path = "../src/messages.rs"]
#[allow(dead_code, reason = "the same file serves every target, each of which uses a part")]
mod messages;

libfuzzer_sys::fuzz_target!(|data: &[u8]| messages::responses(data));
