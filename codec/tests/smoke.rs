//! The fuzz target for codecs, fed from a fixed generator: what CI runs of `fuzz/`.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../../fuzz/src/codecs.rs"]
mod body;

use base::{Rng, rounds};
use ottla_codec::{Codec, compress};

#[test]
fn codecs_endure_the_fuzzer() {
    let mut rng = Rng::new(11);
    let text = b"the same words again and again and again and again".repeat(20);
    for (index, codec) in (0u8..).zip(Codec::ALL) {
        let whole = [&[index << 1][..], &compress(codec, None, &text).unwrap()].concat();
        body::codecs(&whole);
        for _ in 0..rounds(4_000) {
            let mut mutant = whole.clone();
            for _ in 0..=rng.below(3) {
                let at = 1 + rng.index(mutant.len() - 1);
                mutant[at] = u8::try_from(rng.below(256)).unwrap();
            }
            mutant.truncate(mutant.len() - rng.index(mutant.len() / 8 + 1) * rng.index(2));
            body::codecs(&mutant);
        }
        for length in [0, 1, 7, 300, 70_000] {
            let mut noise = vec![index << 1 | 1; 1 + length];
            rng.fill(&mut noise[1..]);
            body::codecs(&noise);
        }
    }
}
