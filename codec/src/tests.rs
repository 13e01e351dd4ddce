//! Foreign bytes, round trips, damage and bombs.
use super::*;
use base::Rng;
use std::io::{Read as _, Write as _};

const GOLDEN: &str = include_str!("tests/golden.txt");
const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const PLENTY: u64 = 64 << 20;

fn small() -> Vec<u8> {
    b"hello, ottla".to_vec()
}

/// More than two of the largest default blocks of any framing.
fn large() -> Vec<u8> {
    let line = |i: usize| format!("{:05} the same words again and again\n", i * 7 % 10);
    (0..4000).map(line).collect::<String>().into_bytes()
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Records as clients send them, more or less: words, numbers, noise.
fn sample(rng: &mut Rng, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        match rng.below(3) {
            0 => bytes.extend_from_slice(b"{\"user\":\"somebody\",\"amount\":"),
            1 => bytes.extend_from_slice(rng.below(1 << 40).to_string().as_bytes()),
            _ => {
                let mut noise = [0; 9];
                rng.fill(&mut noise);
                bytes.extend_from_slice(&noise);
            }
        }
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn what_other_producers_write_is_read() {
    let mut count = 0;
    for line in GOLDEN.lines().filter(|line| !line.starts_with('#')) {
        let [codec, producer, input, digits] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let expected = if input == "small" { small() } else { large() };
        let codec = Codec::from_name(codec).unwrap();
        let output = decompress(codec, &unhex(digits), expected.len() as u64);
        assert!(output.as_ref() == Ok(&expected), "{codec} {producer} {input}: {:?}", output.err());
        count += 1;
    }
    assert_eq!(count, 26);
}

#[test]
fn every_codec_gives_back_what_it_took() {
    let mut rng = Rng::new(1);
    for codec in Codec::ALL {
        for length in [0, 1, 11, 1000, 32 << 10, (32 << 10) + 1, 64 << 10, 200_000] {
            let input = sample(&mut rng, length);
            let compressed = compress(codec, None, &input).unwrap();
            assert!(length < 1000 || codec == Codec::None || compressed.len() < length, "{codec} {length}");
            let output = decompress(codec, &compressed, length as u64);
            assert!(output.as_ref() == Ok(&input), "{codec} {length}: {:?}", output.err());
        }
    }
}

#[test]
fn every_level_of_kafka_is_taken_and_no_other() {
    let input = large();
    for (codec, levels, wrong) in [
        (Codec::Gzip, &[-1, 1, 6, 9][..], &[0, -2, 10][..]),
        (Codec::Lz4, &[1, 9, 17], &[0, 18, -1]),
        (Codec::Zstd, &[-131_072, -1, 0, 1, 3, 19, 22], &[-131_073, 23]),
        (Codec::Snappy, &[], &[0, 1]),
        (Codec::None, &[], &[0, 1]),
    ] {
        for level in levels {
            let compressed = compress(codec, Some(*level), &input).unwrap();
            assert!(decompress(codec, &compressed, PLENTY).as_ref() == Ok(&input), "{codec} {level}");
        }
        for level in wrong {
            let refused = compress(codec, Some(*level), &input);
            assert_eq!(refused, Err(CodecError::InvalidLevel { codec, level: *level }));
        }
    }
    let sizes = [1, 9].map(|level| compress(Codec::Gzip, Some(level), &input).unwrap().len());
    assert!(sizes[1] < sizes[0], "{sizes:?}");
}

#[test]
fn compression_goes_behind_what_is_there() {
    for codec in Codec::ALL {
        let mut output = vec![7; 61];
        compress_into(codec, None, &small(), &mut output).unwrap();
        assert_eq!(output[..61], [7; 61]);
        assert_eq!(decompress(codec, &output[61..], PLENTY), Ok(small()), "{codec}");
    }
}

#[test]
fn the_ceiling_is_exact_and_errors_stay() {
    for codec in Codec::ALL {
        let input = large();
        let compressed = compress(codec, None, &input).unwrap();
        let ceiling = input.len() as u64 - 1;
        assert_eq!(decompress(codec, &compressed, ceiling), Err(CodecError::TooLarge { ceiling }), "{codec}");
        assert_eq!(decompress(codec, &compressed, 0), Err(CodecError::TooLarge { ceiling: 0 }), "{codec}");
        let mut decoder = Decoder::new(codec, &compressed, 10).unwrap();
        let mut buffer = [0; 4096];
        let error = loop {
            match decoder.read(&mut buffer) {
                Ok(count) => assert!((1..=10).contains(&count), "{codec}"),
                Err(error) => break error,
            }
        };
        assert_eq!(CodecError::of(&error), Some(CodecError::TooLarge { ceiling: 10 }));
        let error = decoder.read(&mut buffer).unwrap_err();
        assert_eq!(CodecError::of(&error), Some(CodecError::TooLarge { ceiling: 10 }));
    }
}

/// Input that was cut is an error, never a shorter output.
#[test]
fn cut_input_is_corrupt_wherever_it_was_cut() {
    let mut rng = Rng::new(2);
    for codec in CODECS {
        for input in [small(), sample(&mut rng, 70_000)] {
            let compressed = compress(codec, None, &input).unwrap();
            let framing = if codec == Codec::Snappy { 16 } else { 0 };
            let cuts =
                (0..compressed.len()).filter(|cut| compressed.len() < 200 || *cut < 40 || cut % 997 == 0);
            for cut in cuts.chain([compressed.len() - 4, compressed.len() - 1]) {
                // The xerial framing has no end mark: cut between two blocks, it is a shorter stream.
                let Ok(output) = decompress(codec, &compressed[..cut], PLENTY) else { continue };
                assert!(
                    codec == Codec::Snappy && (cut == framing || output.len() % (32 << 10) == 0),
                    "{codec} {cut}"
                );
            }
        }
    }
}

#[test]
fn an_lz4_frame_without_its_end_mark_is_corrupt() {
    let compressed = compress(Codec::Lz4, None, &large()).unwrap();
    assert!(compressed.ends_with(&[0; 4]));
    let cut = &compressed[..compressed.len() - 4];
    assert_eq!(decompress(Codec::Lz4, cut, PLENTY), Err(CodecError::Corrupt { codec: Codec::Lz4 }));
}

#[test]
fn damage_never_panics_and_never_passes_the_ceiling() {
    let mut rng = Rng::new(3);
    for codec in CODECS {
        let whole = compress(codec, None, &sample(&mut rng, 5000)).unwrap();
        for _ in 0..3000 {
            let mut bytes = whole.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.index(bytes.len());
                bytes[at] = u8::try_from(rng.below(256)).unwrap();
            }
            if let Ok(output) = decompress(codec, &bytes, 6000) {
                assert!(output.len() <= 6000);
            }
        }
        let noise: Vec<u8> = (0..64u8).map(|k| k.wrapping_mul(37)).collect();
        assert_eq!(decompress(codec, &noise, PLENTY), Err(CodecError::Corrupt { codec }), "{codec}");
        assert_eq!(decompress(codec, &[], PLENTY), Err(CodecError::Corrupt { codec }), "{codec}");
    }
}

/// 80 MiB of zeros, piece by piece.
fn bomb(codec: Codec) -> Vec<u8> {
    let zeros = vec![0; 80 << 20];
    match codec {
        Codec::Zstd => zstd::bulk::compress(&zeros, 3).unwrap(),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(&zeros).unwrap();
            encoder.finish().unwrap()
        }
        Codec::None | Codec::Snappy | Codec::Lz4 => compress(codec, None, &zeros).unwrap(),
    }
}

#[test]
fn bombs_are_refused_by_their_ratio_long_before_a_high_ceiling() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let bomb = bomb(codec);
        let refused = decompress(codec, &bomb, u64::MAX).unwrap_err();
        let CodecError::Disproportionate { input, output } = refused else { panic!("{codec}: {refused}") };
        assert_eq!(input, bomb.len() as u64);
        assert!(output > RATIO_CHECK_FROM && output < (80 << 20), "{codec}: {output}");
    }
    // 250:1 is legal: lz4 can do no more, and real data does it.
    let zeros = bomb(Codec::Lz4);
    assert_eq!(decompress(Codec::Lz4, &zeros, u64::MAX).unwrap().len(), 80 << 20);
}

#[test]
fn a_snappy_block_is_not_believed_beyond_what_it_can_hold() {
    // A raw block that claims a gibibyte in eight bytes, and one that claims a mebibyte it could hold.
    let claim = [0x80, 0x80, 0x80, 0x80, 0x04, 0, b'x', 0];
    assert_eq!(
        decompress(Codec::Snappy, &claim, u64::MAX),
        Err(CodecError::Corrupt { codec: Codec::Snappy })
    );
    let mut large = vec![0x80, 0x80, 0x40];
    large.resize(60_000, 0xfe);
    assert_eq!(decompress(Codec::Snappy, &large, 1000), Err(CodecError::TooLarge { ceiling: 1000 }));
}

#[test]
fn joined_streams_are_one() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Zstd] {
        let mut joined = compress(codec, None, b"ab").unwrap();
        compress_into(codec, None, b"cd", &mut joined).unwrap();
        assert_eq!(decompress(codec, &joined, 4), Ok(b"abcd".to_vec()), "{codec}");
    }
    // Kafka's own reader takes one frame of lz4 and ignores the rest.
    let mut joined = compress(Codec::Lz4, None, b"ab").unwrap();
    compress_into(Codec::Lz4, None, b"cd", &mut joined).unwrap();
    assert_eq!(decompress(Codec::Lz4, &joined, 4), Ok(b"ab".to_vec()));
}

#[test]
fn the_decoder_reads_in_pieces_of_any_size() {
    let mut rng = Rng::new(4);
    let input = sample(&mut rng, 100_000);
    for codec in Codec::ALL {
        let compressed = compress(codec, None, &input).unwrap();
        let mut decoder = Decoder::new(codec, &compressed, PLENTY).unwrap();
        let mut output = Vec::new();
        let mut buffer = [0; 5000];
        loop {
            let wanted = 1 + rng.index(buffer.len());
            match decoder.read(&mut buffer[..wanted]).unwrap() {
                0 => break,
                count => output.extend_from_slice(&buffer[..count]),
            }
        }
        assert!(output == input, "{codec}");
        assert_eq!(decoder.output(), 100_000);
        assert_eq!(decoder.read(&mut buffer).unwrap(), 0);
    }
}

#[test]
fn names_and_numbers_are_kafkas() {
    for (codec, id, name) in [
        (Codec::None, 0, "none"),
        (Codec::Gzip, 1, "gzip"),
        (Codec::Snappy, 2, "snappy"),
        (Codec::Lz4, 3, "lz4"),
        (Codec::Zstd, 4, "zstd"),
    ] {
        assert_eq!((codec.id(), codec.name()), (id, name));
        assert_eq!((Codec::from_id(id), Codec::from_name(name)), (Some(codec), Some(codec)));
    }
    assert_eq!((Codec::from_id(5), Codec::from_name("lzma")), (None, None));
}

/// Nothing of one call may show in the next, least of all after an error or another level.
#[test]
fn a_kept_workspace_gives_what_a_fresh_one_gives() {
    let mut rng = Rng::new(5);
    let mut kept = Workspace::default();
    for round in 0..200 {
        let codec = Codec::ALL[rng.index(5)];
        let length = rng.index(20_000);
        let input = sample(&mut rng, length);
        let level = (codec == Codec::Zstd).then(|| [-5, 1, 3, 19][rng.index(4)]);
        let compressed = kept.compress(codec, level, &input).unwrap();
        assert_eq!(compressed, compress(codec, level, &input).unwrap(), "{codec} {round}");
        match rng.below(3) {
            0 => {
                let cut = &compressed[..compressed.len() / 2];
                assert_eq!(
                    kept.decompress(codec, cut, PLENTY),
                    decompress(codec, cut, PLENTY),
                    "{codec} {round}"
                );
            }
            1 => {
                let mut decoder = kept.decoder(codec, &compressed, 7).unwrap();
                let _ = decoder.read(&mut [0; 5]);
            }
            _ => {}
        }
        assert_eq!(kept.decompress(codec, &compressed, length as u64), Ok(input), "{codec} {round}");
    }
}

#[test]
fn memory_that_serves_again_shows_nothing_of_what_it_held() {
    let mut workspace = Workspace::default();
    let mut output = Vec::new();
    for codec in Codec::ALL {
        for input in [vec![7; 100_000], b"short".to_vec()] {
            let compressed = compress(codec, None, &input).unwrap();
            workspace.decompress_into(codec, &compressed, PLENTY, &mut output).unwrap();
            assert!(output == input, "{codec}");
        }
    }
}
