//! Snappy as Kafka has it: raw blocks in the framing of the xerial library for Java.
//!
//! The framing: a header of 16 bytes (magic, version, oldest compatible version), then blocks, each behind its
//! length in four bytes. librdkafka and others send one raw block without framing, which is told by the magic.

use crate::CodecError;
use snap::raw::{Decoder, Encoder, decompress_len};
use std::io::{self, Read};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_BYTES: usize = 16;
/// What the Java library puts into one block.
const BLOCK_BYTES: usize = 32 << 10;
/// A raw block cannot grow more: the densest element is three bytes that stand for 64.
const GROWTH_MAX: usize = 22;

pub(crate) fn compress_into(
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    output.extend_from_slice(&MAGIC);
    output.extend_from_slice(&1u32.to_be_bytes());
    output.extend_from_slice(&1u32.to_be_bytes());
    let mut encoder = Encoder::new();
    let mut compressed = vec![0; snap::raw::max_compress_len(input.len().min(BLOCK_BYTES))];
    for block in input.chunks(BLOCK_BYTES) {
        let length = encoder.compress(block, &mut compressed)?;
        output.extend_from_slice(&u32::try_from(length)?.to_be_bytes());
        output.extend_from_slice(&compressed[..length]);
    }
    Ok(())
}

/// Decompresses block by block.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    /// Not yet decompressed.
    input: &'a [u8],
    framed: bool,
    /// The present block, and how much of it has been read.
    block: Vec<u8>,
    read: usize,
    /// No block may be larger: what is above would not be handed out anyway.
    ceiling: u64,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8], ceiling: u64) -> Self {
        let framed = input.len() >= HEADER_BYTES && input.starts_with(&MAGIC);
        let input = if framed { &input[HEADER_BYTES..] } else { input };
        Self { input, framed, block: Vec::new(), read: 0, ceiling }
    }

    /// Cuts the next raw block off the input; `None` at the end.
    fn next_block(&mut self) -> io::Result<Option<&'a [u8]>> {
        if !self.framed {
            let block = std::mem::take(&mut self.input);
            return Ok((!block.is_empty()).then_some(block));
        }
        // Streams may have been joined, each with its header.
        while self.input.len() >= HEADER_BYTES && self.input.starts_with(&MAGIC) {
            self.input = &self.input[HEADER_BYTES..];
        }
        if self.input.is_empty() {
            return Ok(None);
        }
        let (length, rest) = self.input.split_first_chunk().ok_or_else(corrupt)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| corrupt())?;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(corrupt)?;
        self.input = rest;
        Ok(Some(block))
    }

    fn fill(&mut self) -> io::Result<bool> {
        while self.read == self.block.len() {
            let Some(block) = self.next_block()? else { return Ok(false) };
            let length = decompress_len(block).map_err(|_| corrupt())?;
            // Believed only if the block can hold as much.
            if length > block.len().saturating_mul(GROWTH_MAX) {
                return Err(corrupt());
            }
            if length as u64 > self.ceiling {
                return Err(CodecError::TooLarge { ceiling: self.ceiling }.into());
            }
            self.block.resize(length, 0);
            self.read = 0;
            let written = Decoder::new().decompress(block, &mut self.block).map_err(|_| corrupt())?;
            self.block.truncate(written);
        }
        Ok(true)
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.fill()? {
            return Ok(0);
        }
        let ready = &self.block[self.read..];
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.read += count;
        Ok(count)
    }
}

fn corrupt() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
