//! The fuzz targets for messages and batches, fed from a fixed generator: what CI runs of `fuzz/`.

#[path = "../../../fuzz/src/batches.rs"]
mod batches;
#[path = "../../../fuzz/src/messages.rs"]
mod messages;

use base::{Rng, rounds};
use ottla_wire::record::{BatchBuilder, BatchMeta, RecordFields, RecordHeader};
use ottla_wire::testing::{Sample, Sampler, Shape};
use ottla_wire::{Request, Stored};
use std::ops::RangeInclusive;

const MUTANTS: u64 = 60;

/// A few small wounds: bytes changed, bits turned, pieces cut out, doubled or moved.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.index(bytes.len());
        let length = rng.index((bytes.len() - at).min(8)) + 1;
        match rng.below(5) {
            0 => bytes[at] = u8::try_from(rng.below(256)).unwrap(),
            1 => bytes[at] ^= 1 << rng.below(8),
            2 => drop(bytes.drain(at..at + length)),
            3 => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes[at] = [0, 1, 2, 0x7f, 0x80, 0xff][rng.index(6)],
        }
    }
}

/// Unharmed samples, then damaged ones, through one target.
fn feed<M: Sample>(target: &messages::Target, versions: RangeInclusive<i16>) {
    assert_eq!(target.versions, versions, "{}", target.name);
    let (mut rng, mutants) = (Rng::new(7), rounds(MUTANTS));
    for version in versions {
        for seed in 0..4 {
            let sample = M::sample(&mut Sampler::new(seed, Shape::Mixed), version);
            let bytes = sample.to_bytes(version).unwrap().bytes;
            (target.check)(bytes.clone(), version);
            for _ in 0..mutants {
                let mut mutant = bytes.to_vec();
                mutate(&mut rng, &mut mutant);
                (target.check)(mutant.into(), version);
            }
        }
    }
}

macro_rules! apis {
    ($($module:ident, $request:ident, $response:ident;)*) => {
        #[test]
        fn requests_and_responses_endure_the_fuzzer() {
            let mut targets = messages::request_targets().into_iter().zip(messages::response_targets());
            $(
                let (request, response) = targets.next().unwrap();
                let versions = ottla_wire::$module::$request::VERSIONS;
                feed::<ottla_wire::$module::$request>(&request, versions.clone());
                feed::<ottla_wire::$module::$response>(&response, versions);
            )*
            assert!(targets.next().is_none());
        }
    };
}
ottla_wire::with_requests!(apis);

macro_rules! stored {
    ($($message:path;)*) => {
        #[test]
        fn stored_messages_endure_the_fuzzer() {
            let mut targets = messages::stored_targets().into_iter();
            $(feed::<$message>(&targets.next().unwrap(), <$message>::VERSIONS);)*
            assert!(targets.next().is_none());
        }
    };
}
ottla_wire::with_stored!(stored);

#[test]
fn noise_finds_no_hole() {
    let mut rng = Rng::new(8);
    for _ in 0..rounds(30_000) {
        let mut bytes = vec![0; rng.index(80)];
        rng.fill(&mut bytes);
        messages::requests(&bytes);
        messages::responses(&bytes);
        messages::stored(&bytes);
        batches::batches(&bytes);
    }
}

#[test]
fn batches_endure_the_fuzzer() {
    let mut rng = Rng::new(9);
    for records in 0..4 {
        let mut builder = BatchBuilder::new(BatchMeta::default());
        for k in 0..records {
            let headers = [RecordHeader { key: b"h", value: None }];
            builder.push(&RecordFields { timestamp: 9 - k, key: Some(b"k"), value: None, headers: &headers });
        }
        let batch = builder.finish();
        let set = [&[1][..], &batch, &batch].concat();
        batches::batches(&set);
        for _ in 0..rounds(20_000) {
            let mut mutant = set.clone();
            mutate(&mut rng, &mut mutant);
            batches::batches(&mutant);
        }
    }
}
