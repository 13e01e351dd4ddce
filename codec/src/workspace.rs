//! `Workspace`: what a compressor can keep between two batches.
//!
//! zstd's contexts are large, and to set them up costs more than a small batch itself: with a kept one, 1 KB
//! decompresses in 2.7 µs instead of 22, 16 KB in 17 instead of 47, and 1 KB compresses in 8 instead of 42. The
//! decoder of lz4 has two buffers of some blocks each. Whoever handles batch after batch keeps one workspace per
//! thread.

use crate::decoder::{Lz4, ZSTD_WINDOW_LOG_MAX};
use crate::{Codec, CodecError, Decoder, RATIO_CHECK_FROM, compress, decoder};
use std::fmt;
use zstd::bulk::Compressor;
use zstd::zstd_safe::{DCtx, DParameter, ResetDirective};

/// Contexts that are made on first use and then kept. Carries nothing from one call to the next.
#[derive(Default)]
pub struct Workspace {
    compressor: Option<Compressor<'static>>,
    decompressor: Option<DCtx<'static>>,
    lz4: Option<Box<Lz4>>,
}

/// The largest blocks of lz4 for which a decoder is kept: those of 256 KiB, by their number in a frame's head. Clients
/// write 64 KiB.
const LZ4_BLOCK_KEPT: u8 = 5;

impl Workspace {
    /// As [`compress`](crate::compress()).
    ///
    /// # Errors
    /// As there.
    pub fn compress(
        &mut self,
        codec: Codec,
        level: Option<i32>,
        input: &[u8],
    ) -> Result<Vec<u8>, CodecError> {
        // Records usually shrink to less than half; growing once more costs little.
        let mut output = Vec::with_capacity(input.len() / 2 + 64);
        self.compress_into(codec, level, input, &mut output)?;
        Ok(output)
    }

    /// As [`compress_into`](crate::compress_into).
    ///
    /// # Errors
    /// As there.
    pub fn compress_into(
        &mut self,
        codec: Codec,
        level: Option<i32>,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        compress::with(self, codec, level, input, output)
    }

    /// As [`decompress`](crate::decompress).
    ///
    /// # Errors
    /// As there.
    pub fn decompress(&mut self, codec: Codec, input: &[u8], ceiling: u64) -> Result<Vec<u8>, CodecError> {
        decoder::read_all(self.decoder(codec, input, ceiling)?, input.len())
    }

    /// The same in place of what `output` holds, so that its memory serves again.
    ///
    /// # Errors
    /// As there; `output` then holds part of the result.
    pub fn decompress_into(
        &mut self,
        codec: Codec,
        input: &[u8],
        ceiling: u64,
        output: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        if codec == Codec::Zstd && self.decompress_at_once(input, ceiling, output) {
            return Ok(());
        }
        let mut decoder = self.decoder(codec, input, ceiling)?;
        decoder::read_into(&mut decoder, input.len(), output)?;
        let kept = decoder.into_lz4();
        // The sixth byte of a frame says how large its blocks are.
        if input.get(5).is_some_and(|descriptor| (descriptor >> 4) & 7 <= LZ4_BLOCK_KEPT) {
            self.lz4 = kept;
        }
        Ok(())
    }

    /// zstd without the detour over its window, if the result fits into what `output` has room for. Whatever is
    /// wrong, or merely unusual, is left to the decoder, which knows its name.
    fn decompress_at_once(&mut self, input: &[u8], ceiling: u64, output: &mut Vec<u8>) -> bool {
        let Ok(context) = self.decompressor() else { return false };
        output.clear();
        output.reserve(input.len().saturating_mul(4));
        let room = output.capacity() as u64;
        // Beyond that the decoder looks at the proportion of output to input as it goes.
        if room > ceiling.min(RATIO_CHECK_FROM) || !has_usual_window(input) {
            return false;
        }
        context.decompress(output, input).is_ok()
    }

    /// As [`Decoder::new`].
    ///
    /// # Errors
    /// As there.
    pub fn decoder<'a>(
        &'a mut self,
        codec: Codec,
        input: &'a [u8],
        ceiling: u64,
    ) -> Result<Decoder<'a>, CodecError> {
        if codec == Codec::Lz4 {
            return Decoder::lz4(self.lz4.take().unwrap_or_default(), input, ceiling);
        }
        if codec != Codec::Zstd {
            return Decoder::new(codec, input, ceiling);
        }
        let context = self.decompressor().map_err(|_| CodecError::Failed { codec })?;
        Decoder::zstd(zstd::stream::read::Decoder::with_context(input, context), input, ceiling)
    }

    /// The compressor, set to `level`.
    pub(crate) fn compressor(&mut self, level: i32) -> std::io::Result<&mut Compressor<'static>> {
        let compressor = match self.compressor.take() {
            Some(mut compressor) => {
                compressor.set_compression_level(level)?;
                compressor
            }
            None => Compressor::new(level)?,
        };
        Ok(self.compressor.insert(compressor))
    }

    /// The decompressor, with nothing begun. `Err` holds zstd's error number.
    fn decompressor(&mut self) -> Result<&mut DCtx<'static>, usize> {
        let context = match self.decompressor.take() {
            Some(mut context) => {
                context.reset(ResetDirective::SessionOnly)?;
                context
            }
            None => {
                let mut context = DCtx::create();
                context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
                context
            }
        };
        Ok(self.decompressor.insert(context))
    }
}

/// True if the frame asks for no larger window than is read (RFC 8878, 3.1.1.1).
fn has_usual_window(frame: &[u8]) -> bool {
    let [_, _, _, _, descriptor, window, ..] = frame else { return false };
    let is_single_segment = descriptor & 0x20 != 0;
    let (exponent, mantissa) = (u32::from(window >> 3), window & 7);
    is_single_segment || 10 + exponent + u32::from(mantissa > 0) <= ZSTD_WINDOW_LOG_MAX
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (compressor, decompressor) = (self.compressor.is_some(), self.decompressor.is_some());
        f.debug_struct("Workspace")
            .field("compressor", &compressor)
            .field("decompressor", &decompressor)
            .field("lz4", &self.lz4.is_some())
            .finish()
    }
}
