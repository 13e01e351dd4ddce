//! Compression of a whole record set at once.

use crate::{Codec, CodecError, Workspace, snappy};
use flate2::Compression;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use std::io::Write as _;

/// Compresses `input`. Without a level, Kafka's default applies.
///
/// # Errors
/// When the codec has no such level, or its compressor fails.
pub fn compress(codec: Codec, level: Option<i32>, input: &[u8]) -> Result<Vec<u8>, CodecError> {
    Workspace::default().compress(codec, level, input)
}

/// Compresses `input` onto the end of `output`, so that a batch header can stand before it. After an error
/// `output` may have grown.
///
/// # Errors
/// As [`compress`].
pub fn compress_into(
    codec: Codec,
    level: Option<i32>,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), CodecError> {
    Workspace::default().compress_into(codec, level, input, output)
}

pub(crate) fn with(
    workspace: &mut Workspace,
    codec: Codec,
    level: Option<i32>,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), CodecError> {
    if let Some(level) = level.filter(|level| !codec.accepts_level(*level)) {
        return Err(CodecError::InvalidLevel { codec, level });
    }
    match codec {
        Codec::None => {
            output.extend_from_slice(input);
            Ok(())
        }
        Codec::Gzip => gzip(level, input, output),
        Codec::Snappy => snappy::compress_into(input, output),
        Codec::Lz4 => lz4(input, output),
        Codec::Zstd => zstd(workspace, level, input, output),
    }
    .map_err(|_| CodecError::Failed { codec })
}

/// What a compressor can say; its words are of no use to the caller.
type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn gzip(level: Option<i32>, input: &[u8], output: &mut Vec<u8>) -> Outcome {
    // −1 asks for the default.
    let level = level.and_then(|level| u32::try_from(level).ok());
    let level = level.map_or_else(Compression::default, Compression::new);
    let mut encoder = GzEncoder::new(output, level);
    encoder.write_all(input)?;
    encoder.finish()?;
    Ok(())
}

/// The level is checked but not used: this compressor has one, which is also what Kafka's default means (its
/// other levels select a slower search that saves a few percent).
///
/// Blocks are independent, and neither checksums nor the content size are written: Kafka's own reader refuses
/// linked blocks and stumbles over a content size.
fn lz4(input: &[u8], output: &mut Vec<u8>) -> Outcome {
    let frame = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(frame, output);
    encoder.write_all(input)?;
    encoder.finish()?;
    Ok(())
}

fn zstd(workspace: &mut Workspace, level: Option<i32>, input: &[u8], output: &mut Vec<u8>) -> Outcome {
    let level = level.or(Codec::Zstd.default_level()).unwrap_or_default();
    // All at once, so that the compressor knows the size and takes tables and a window to match.
    let compressed = workspace.compressor(level)?.compress(input)?;
    output.extend_from_slice(&compressed);
    Ok(())
}
