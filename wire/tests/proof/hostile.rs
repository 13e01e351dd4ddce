//! Hostile bytes: cut anywhere, lengths and counts overwritten anywhere. No panic, and memory in proportion.

use crate::allocation::peak_of;
use bytes::Bytes;
use ottla_wire::limits::{DECODED_BYTES_MIN, DECODED_BYTES_PER_BYTE};
use ottla_wire::testing::{Sample, Sampler, Shape};
use ottla_wire::{Message, MetadataRecord, Request, RequestHead, Stored};
use std::ops::RangeInclusive;

/// What is written over the bytes: lengths of every width and encoding that promise too much, nulls where
/// there should be none, varints that do not end, non-UTF-8.
const POISON: [&[u8]; 9] = [
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0x00, 0x00, 0x00],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x00, 0x0f, 0x42, 0x40],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff; 11],
    &[0x80, 0x80, 0x04],
    &[0x00],
    &[0xfe, 0x01],
];

/// What decoding `length` bytes may hold at once: the budget of arrays, half of it again while one of them
/// moves, and a tagged field or two.
fn allowance(length: usize) -> usize {
    (length * DECODED_BYTES_PER_BYTE).max(DECODED_BYTES_MIN) * 3 / 2 + 16 * 1024
}

fn endure<M: Message>(bytes: Bytes, version: i16) -> bool {
    let allowed = allowance(bytes.len());
    let (outcome, peak) = peak_of(|| M::from_bytes(bytes, version).is_ok());
    assert!(peak <= allowed, "{} v{version}: {peak} bytes, {allowed} allowed", std::any::type_name::<M>());
    outcome
}

fn survive_damage<M: Sample>(versions: RangeInclusive<i16>) {
    for version in versions {
        for seed in 0..3 {
            let whole =
                M::sample(&mut Sampler::new(seed, Shape::Mixed), version).to_bytes(version).unwrap().bytes;
            for cut in 0..whole.len() {
                let what = format!("{} v{version} cut at {cut}", std::any::type_name::<M>());
                assert!(!endure::<M>(whole.slice(..cut), version), "{what}");
            }
            for at in 0..whole.len() {
                for poison in POISON {
                    let mut bytes = whole.to_vec();
                    let end = (at + poison.len()).min(bytes.len());
                    bytes[at..end].copy_from_slice(&poison[..end - at]);
                    endure::<M>(bytes.into(), version);
                }
            }
        }
    }
}

/// Most of a mebibyte of one byte, or of a count followed by one byte: as many structs as the bytes can hold.
fn survive_monotony<M: Message>(versions: RangeInclusive<i16>) {
    const LENGTH: usize = 7 << 17;
    assert!(allowance(LENGTH) <= 64 << 20);
    for version in versions {
        for byte in [0u8, 1, 2, 0x7f, 0xff] {
            endure::<M>(vec![byte; LENGTH].into(), version);
            for prefix in [&[0x00, 0x0f, 0x00, 0x00][..], &[0x80, 0x80, 0x3c]] {
                for at in [0, 1, 4, 9, 17] {
                    let mut bytes = vec![byte; LENGTH];
                    bytes[at..at + prefix.len()].copy_from_slice(prefix);
                    endure::<M>(bytes.into(), version);
                }
            }
        }
    }
}

macro_rules! every_api {
    ($($module:ident, $request:ident, $response:ident;)*) => {
        #[test]
        fn damaged_requests_and_responses_are_endured() {
            $(
                survive_damage::<ottla_wire::$module::$request>(ottla_wire::$module::$request::VERSIONS);
                survive_damage::<ottla_wire::$module::$response>(ottla_wire::$module::$request::VERSIONS);
            )*
        }

        #[test]
        fn monotonous_requests_and_responses_are_endured() {
            $(
                survive_monotony::<ottla_wire::$module::$request>(ottla_wire::$module::$request::VERSIONS);
                survive_monotony::<ottla_wire::$module::$response>(ottla_wire::$module::$request::VERSIONS);
            )*
        }
    };
}
ottla_wire::with_requests!(every_api);

macro_rules! every_stored {
    ($($message:path;)*) => {
        #[test]
        fn damaged_stored_messages_are_endured() {
            $(survive_damage::<$message>(<$message>::VERSIONS);)*
        }
    };
}
ottla_wire::with_stored!(every_stored);

#[test]
fn damaged_heads_and_metadata_records_are_endured() {
    let record = MetadataRecord::NoOp(ottla_wire::stored::metadata::NoOpRecord::default());
    let record = record.to_bytes(i16::MAX).unwrap();
    for poison in POISON {
        for at in 0..=10 {
            let mut bytes = vec![0, 3, 0, 12, 0, 0, 0, 1, 0, 1, b'x'];
            bytes.truncate(at);
            bytes.extend_from_slice(poison);
            let _ = RequestHead::decode(&mut ottla_wire::Reader::new(bytes.into()));
            let mut bytes = record.to_vec();
            bytes.truncate(at);
            bytes.extend_from_slice(poison);
            let _ = MetadataRecord::from_bytes(bytes.into());
        }
    }
}
