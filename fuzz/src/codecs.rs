//! Any bytes through every codec, both ways.

use ottla_codec::{Codec, Decoder, compress, decompress};
use std::io::Read as _;

const CEILING: u64 = 1 << 20;

/// The first byte chooses codec and direction, the rest is the data.
pub(crate) fn codecs(data: &[u8]) {
    let [choice, data @ ..] = data else { return };
    let codec = Codec::ALL[usize::from(choice >> 1) % Codec::ALL.len()];
    if choice & 1 == 0 {
        take_apart(codec, data);
    } else {
        there_and_back(codec, data);
    }
}

fn take_apart(codec: Codec, data: &[u8]) {
    let whole = decompress(codec, data, CEILING);
    if let Ok(output) = &whole {
        assert!(output.len() as u64 <= CEILING);
    }
    // Byte by byte, as far as it goes, the same comes out.
    let Ok(mut decoder) = Decoder::new(codec, data, CEILING) else { return };
    let mut pieces = Vec::new();
    let mut buffer = [0; 61];
    let outcome = loop {
        match decoder.read(&mut buffer) {
            Ok(0) => break Ok(pieces),
            Ok(count) => pieces.extend_from_slice(&buffer[..count]),
            Err(error) => break Err(error),
        }
    };
    assert_eq!(outcome.ok(), whole.ok(), "{codec}");
}

fn there_and_back(codec: Codec, data: &[u8]) {
    let compressed = compress(codec, None, data).expect("compression takes anything");
    assert_eq!(decompress(codec, &compressed, data.len() as u64).as_deref(), Ok(data), "{codec}");
}
