//! `Workspace`: what a compressor can keep between two batches.
//!
//! Only zstd has something to keep. Its contexts are large, and to set them up costs more than a small batch
//! itself: with a kept one, 1 KB decompresses in 2.7 µs instead of 22, 16 KB in 17 instead of 47, and 1 KB
//! compresses in 8 instead of 42. Whoever handles batch after batch keeps one workspace per thread.

use crate::decoder::ZSTD_WINDOW_LOG_MAX;
use crate::{Codec, CodecError, Decoder, compress, decoder};
use std::fmt;
use zstd::bulk::Compressor;
use zstd::zstd_safe::{DCtx, DParameter, ResetDirective};

/// Contexts that are made on first use and then kept. Carries nothing from one call to the next.
#[derive(Default)]
pub struct Workspace {
    compressor: Option<Compressor<'static>>,
    decompressor: Option<DCtx<'static>>,
}

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
        decoder::read_into(self.decoder(codec, input, ceiling)?, input.len(), output)
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

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (compressor, decompressor) = (self.compressor.is_some(), self.decompressor.is_some());
        f.debug_struct("Workspace")
            .field("compressor", &compressor)
            .field("decompressor", &decompressor)
            .finish()
    }
}
