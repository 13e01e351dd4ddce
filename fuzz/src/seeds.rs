//! Writes seeds into `corpus/`: without them a fuzzer spends its first hours on finding out what a message is.

#[path = "messages.rs"]
#[allow(dead_code, reason = "the same file serves every target, each of which uses a part")]
mod messages;

use ottla_codec::{Codec, compress};
use ottla_wire::record::{BatchBuilder, BatchMeta, RecordFields};
use ottla_wire::testing::{Sample, Sampler, Shape};
use ottla_wire::{Request, Stored};
use std::ops::RangeInclusive;
use std::path::Path;
use std::{fs, io};

const SEEDS: u64 = 2;

fn write(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

fn message<M: Sample>(target: &str, index: usize, versions: RangeInclusive<i16>) -> io::Result<()> {
    for (step, version) in versions.enumerate() {
        for seed in 0..SEEDS {
            let sample = M::sample(&mut Sampler::new(seed, Shape::Mixed), version);
            let Ok(encoded) = sample.to_bytes(version) else { continue };
            let mut bytes = vec![index as u8, step as u8];
            bytes.extend_from_slice(&encoded.bytes);
            write(target, &format!("seed-{index}-{version}-{seed}"), &bytes)?;
        }
    }
    Ok(())
}

macro_rules! apis {
    ($($module:ident, $request:ident, $response:ident;)*) => {
        fn apis() -> io::Result<()> {
            let mut index = 0;
            $(
                let versions = ottla_wire::$module::$request::VERSIONS;
                message::<ottla_wire::$module::$request>("requests", index, versions.clone())?;
                message::<ottla_wire::$module::$response>("responses", index, versions)?;
                index += 1;
            )*
            let _ = index;
            Ok(())
        }
    };
}
ottla_wire::with_requests!(apis);

macro_rules! stored {
    ($($message:path;)*) => {
        fn stored() -> io::Result<()> {
            let mut index = 0;
            $(
                message::<$message>("stored", index, <$message>::VERSIONS)?;
                index += 1;
            )*
            let _ = index;
            Ok(())
        }
    };
}
ottla_wire::with_stored!(stored);

fn main() -> io::Result<()> {
    apis()?;
    stored()?;
    for records in [0, 1, 3] {
        let mut builder = BatchBuilder::new(BatchMeta::default());
        for k in 0..records {
            builder.push(&RecordFields {
                timestamp: k,
                key: Some(b"key"),
                value: Some(b"value"),
                headers: &[],
            });
        }
        let mut bytes = vec![1];
        bytes.extend_from_slice(&builder.finish());
        write("batches", &format!("seed-{records}"), &bytes)?;
    }
    for (index, codec) in Codec::ALL.into_iter().enumerate() {
        let text = b"the same words again and again and again and again".repeat(20);
        let mut bytes = vec![(index as u8) << 1];
        bytes.extend(compress(codec, None, &text).unwrap_or_default());
        write("codecs", &format!("seed-{codec}"), &bytes)?;
    }
    Ok(())
}
