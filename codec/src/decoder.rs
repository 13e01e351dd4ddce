//! Streaming decompression below a ceiling.

use crate::{Codec, CodecError, snappy};
use flate2::bufread::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use std::fmt;
use std::io::{self, Read};

/// From this much output on, the ratio of output to input is looked at.
pub const RATIO_CHECK_FROM: u64 = 16 << 20;
/// The ratio that is too much then. Real data reaches 250, lz4 cannot pass 255; gzip can reach 1030 and zstd has
/// no end.
pub const RATIO_MAX: u64 = 500;

/// The largest window of zstd that is read: what its highest level (22) uses, 128 MiB. The library reserves
/// address space for it but touches only as much as is decompressed, which the ceiling bounds.
pub(crate) const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Decompresses `input` into one buffer of at most `ceiling` bytes.
///
/// # Errors
/// When the input is not what the codec writes, or gives more than `ceiling` bytes.
pub fn decompress(codec: Codec, input: &[u8], ceiling: u64) -> Result<Vec<u8>, CodecError> {
    read_all(Decoder::new(codec, input, ceiling)?, input.len())
}

/// Everything that `decoder` gives for `input` bytes.
pub(crate) fn read_all(mut decoder: Decoder<'_>, input: usize) -> Result<Vec<u8>, CodecError> {
    let mut output = Vec::new();
    read_into(&mut decoder, input, &mut output)?;
    Ok(output)
}

/// The same in place of what `output` holds.
pub(crate) fn read_into(
    decoder: &mut Decoder<'_>,
    input: usize,
    output: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let ceiling = usize::try_from(decoder.ceiling).unwrap_or(usize::MAX);
    output.clear();
    output.reserve(ceiling.min(input.saturating_mul(3)));
    match decoder.read_to_end(output) {
        Ok(_) => Ok(()),
        Err(error) => Err(CodecError::of(&error).unwrap_or(CodecError::Corrupt { codec: decoder.codec })),
    }
}

/// Reads decompressed bytes. Errors carry a [`CodecError`] and stay: after one, every read fails.
pub struct Decoder<'a> {
    codec: Codec,
    inner: Inner<'a>,
    input: u64,
    output: u64,
    ceiling: u64,
    failed: Option<CodecError>,
}

enum Inner<'a> {
    Plain(&'a [u8]),
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Snappy(snappy::Reader<'a>),
    Lz4(Box<Lz4>),
    Zstd(Box<zstd::stream::read::Decoder<'a, &'a [u8]>>),
}

impl<'a> Decoder<'a> {
    /// Decompresses `input`, up to `ceiling` bytes.
    ///
    /// # Errors
    /// When `input` is empty, which no codec writes.
    pub fn new(codec: Codec, input: &'a [u8], ceiling: u64) -> Result<Self, CodecError> {
        let inner = match codec {
            Codec::None => Inner::Plain(input),
            Codec::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(input))),
            Codec::Snappy => Inner::Snappy(snappy::Reader::new(input, ceiling)),
            Codec::Lz4 => return Self::lz4(Box::default(), input, ceiling),
            Codec::Zstd => Inner::Zstd(Box::new(zstd(input).map_err(|_| CodecError::Failed { codec })?)),
        };
        Self::begin(codec, inner, input, ceiling)
    }

    /// Decompresses with a decoder of zstd that someone keeps.
    pub(crate) fn zstd(
        decoder: zstd::stream::read::Decoder<'a, &'a [u8]>,
        input: &[u8],
        ceiling: u64,
    ) -> Result<Self, CodecError> {
        Self::begin(Codec::Zstd, Inner::Zstd(Box::new(decoder)), input, ceiling)
    }

    /// Decompresses one LZ4 frame with a decoder that someone keeps.
    pub(crate) fn lz4(mut decoder: Box<Lz4>, input: &[u8], ceiling: u64) -> Result<Self, CodecError> {
        decoder.begin(input);
        Self::begin(Codec::Lz4, Inner::Lz4(decoder), input, ceiling)
    }

    /// The decoder of LZ4, if it is worth keeping: its frame was read to the end.
    pub(crate) fn into_lz4(self) -> Option<Box<Lz4>> {
        match self.inner {
            Inner::Lz4(decoder) if decoder.finished => Some(decoder),
            Inner::Lz4(_) | Inner::Plain(_) | Inner::Gzip(_) | Inner::Snappy(_) | Inner::Zstd(_) => None,
        }
    }

    fn begin(codec: Codec, inner: Inner<'a>, input: &[u8], ceiling: u64) -> Result<Self, CodecError> {
        if input.is_empty() && codec != Codec::None {
            return Err(CodecError::Corrupt { codec });
        }
        Ok(Self { codec, inner, input: input.len() as u64, output: 0, ceiling, failed: None })
    }

    /// Bytes given out so far.
    #[must_use]
    pub fn output(&self) -> u64 {
        self.output
    }

    fn read_checked(&mut self, buffer: &mut [u8]) -> Result<usize, CodecError> {
        let room = self.ceiling - self.output;
        if room == 0 {
            // At the ceiling only the end may follow.
            return match self.read_inner(&mut [0])? {
                0 => Ok(0),
                _ => Err(CodecError::TooLarge { ceiling: self.ceiling }),
            };
        }
        let wanted = buffer.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let count = self.read_inner(&mut buffer[..wanted])?;
        self.output += count as u64;
        if self.output > RATIO_CHECK_FROM && self.output / RATIO_MAX > self.input {
            return Err(CodecError::Disproportionate { input: self.input, output: self.output });
        }
        Ok(count)
    }

    fn read_inner(&mut self, buffer: &mut [u8]) -> Result<usize, CodecError> {
        let outcome = match &mut self.inner {
            Inner::Plain(input) => input.read(buffer),
            Inner::Gzip(decoder) => decoder.read(buffer),
            Inner::Snappy(decoder) => decoder.read(buffer),
            Inner::Lz4(decoder) => decoder.read(buffer),
            Inner::Zstd(decoder) => decoder.read(buffer),
        };
        outcome.map_err(|error| CodecError::of(&error).unwrap_or(CodecError::Corrupt { codec: self.codec }))
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        self.read_checked(buffer).map_err(|error| {
            self.failed = Some(error);
            error.into()
        })
    }
}

impl fmt::Debug for Decoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { codec, input, output, ceiling, .. } = self;
        write!(f, "Decoder({codec}, {input} bytes in, {output} of at most {ceiling} out)")
    }
}

fn zstd(input: &[u8]) -> io::Result<zstd::stream::read::Decoder<'static, &[u8]>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// One LZ4 frame; like Kafka's reader, this ignores what follows it.
pub(crate) struct Lz4 {
    frame: FrameDecoder<Starving>,
    finished: bool,
}

impl Default for Lz4 {
    fn default() -> Self {
        Self { frame: FrameDecoder::new(Starving::default()), finished: false }
    }
}

impl Lz4 {
    /// Takes the next frame. The library keeps its buffers from one to the next.
    fn begin(&mut self, input: &[u8]) {
        let source = self.frame.get_mut();
        source.input.clear();
        source.input.extend_from_slice(input);
        (source.at, source.starved, self.finished) = (0, false, false);
    }
}

impl Read for Lz4 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.finished {
            return Ok(0);
        }
        let count = self.frame.read(buffer)?;
        if count == 0 {
            // The library takes the end of the input between two blocks for the end of the frame.
            if self.frame.get_ref().starved {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.finished = true;
        }
        Ok(count)
    }
}

/// Input that remembers whether more was asked of it than it had. It has bytes of its own, so that a decoder can be
/// kept: to copy them costs a tenth of what a decoder's buffers cost to set up.
#[derive(Default)]
struct Starving {
    input: Vec<u8>,
    at: usize,
    starved: bool,
}

impl Read for Starving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = &self.input[self.at..];
        self.starved |= rest.is_empty() && !buffer.is_empty();
        let read = rest.read(buffer)?;
        self.at += read;
        Ok(read)
    }
}
