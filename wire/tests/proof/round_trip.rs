//! decode(encode(x)) == x, for random x of every message and version.

use ottla_wire::testing::{Sample, Sampler, Shape};
use ottla_wire::{Reader, Request, Stored};
use std::ops::RangeInclusive;

const ROUNDS: u64 = 40;

fn survives<M: Sample>(versions: RangeInclusive<i16>, shape: Shape) {
    for version in versions {
        for seed in 0..if shape == Shape::Mixed { ROUNDS } else { 1 } {
            let sample = M::sample(&mut Sampler::new(seed, shape), version);
            let what = format!("{} v{version} seed {seed}", std::any::type_name::<M>());
            let encoded = sample.to_bytes(version).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(encoded.splices, []);
            let mut r = Reader::new(encoded.bytes);
            let decoded = M::decode(&mut r, version).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(decoded, sample, "{what}");
            assert_eq!(r.finish(), Ok(()), "{what}");
        }
    }
}

fn refuses_other_versions<M: Sample>(versions: &RangeInclusive<i16>) {
    for version in [i16::MIN, *versions.start() - 1, *versions.end() + 1, i16::MAX] {
        let what = format!("{} v{version}", std::any::type_name::<M>());
        assert!(M::default().to_bytes(version).is_err(), "{what}");
        assert!(M::from_bytes(vec![0; 64].into(), version).is_err(), "{what}");
    }
}

macro_rules! every_api {
    ($($module:ident, $request:ident, $response:ident;)*) => {
        fn every_api(shape: Shape) {
            $(
                let versions = ottla_wire::$module::$request::VERSIONS;
                survives::<ottla_wire::$module::$request>(versions.clone(), shape);
                survives::<ottla_wire::$module::$response>(versions.clone(), shape);
                refuses_other_versions::<ottla_wire::$module::$request>(&versions);
                refuses_other_versions::<ottla_wire::$module::$response>(&versions);
            )*
        }
    };
}
ottla_wire::with_requests!(every_api);

macro_rules! every_stored {
    ($($message:path;)*) => {
        fn every_stored(shape: Shape) {
            $(
                survives::<$message>(<$message>::VERSIONS, shape);
                refuses_other_versions::<$message>(&<$message>::VERSIONS);
            )*
        }
    };
}
ottla_wire::with_stored!(every_stored);

#[test]
fn random_messages_survive() {
    every_api(Shape::Mixed);
    every_stored(Shape::Mixed);
}

/// The reader's memory budget must never refuse a legal message, so try those with the fewest bytes per
/// struct, well above the size from which the budget counts.
#[test]
fn the_densest_messages_survive() {
    every_api(Shape::Sparse(20_000));
    every_stored(Shape::Sparse(20_000));
}
