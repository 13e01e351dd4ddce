//! Frames: four bytes of size, a header, a message. Cutting them out of a stream, reading and making them.

use crate::api_key::ApiKey;
use crate::error::{DecodeError, EncodeError, EncodeReason};
use crate::header::{RequestHeader, ResponseHeader};
use crate::message::{Message, Request};
use crate::reader::Reader;
use crate::text::Str;
use crate::writer::{Encoded, Writer};
use bytes::{Buf, Bytes, BytesMut};
use core::fmt;

/// Bytes of the size in front of a frame.
pub const SIZE_BYTES: usize = 4;

/// The stream cannot be cut any further: the connection has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A size below zero.
    NegativeSize {
        /// What stood there.
        size: i32,
    },
    /// A size above what the caller allows.
    TooLarge {
        /// Bytes announced.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NegativeSize { size } => write!(f, "frame of negative size {size}"),
            Self::TooLarge { size, max } => write!(f, "frame of {size} bytes, allowed are {max}"),
        }
    }
}

impl core::error::Error for FrameError {}

/// Takes the next whole frame, without its size, off the front of `buffer`; `None` until it is there.
/// A size beyond `max` is refused as soon as it is seen, so that nobody waits for, or makes room for, more.
///
/// # Errors
/// When the size is negative or above `max`; `buffer` is unchanged then.
pub fn split_frame(buffer: &mut BytesMut, max: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(size) = frame_size(buffer, max)? else { return Ok(None) };
    if buffer.len() < SIZE_BYTES + size {
        return Ok(None);
    }
    buffer.advance(SIZE_BYTES);
    Ok(Some(buffer.split_to(size).freeze()))
}

/// The size of the frame at the front of `buffer`, once its four bytes are there.
///
/// # Errors
/// As [`split_frame`].
pub fn frame_size(buffer: &[u8], max: usize) -> Result<Option<usize>, FrameError> {
    let Some(bytes) = buffer.first_chunk() else { return Ok(None) };
    let size = i32::from_be_bytes(*bytes);
    match usize::try_from(size) {
        Err(_) => Err(FrameError::NegativeSize { size }),
        Ok(size) if size > max => Err(FrameError::TooLarge { size, max }),
        Ok(size) => Ok(Some(size)),
    }
}

/// What precedes the body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The API, known or not.
    pub api_key: i16,
    /// The version, supported or not.
    pub version: i16,
    /// The client's number for the request; the response repeats it.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Str>,
}

impl RequestHead {
    /// Reads the header and leaves the reader at the body. The header of an API that Kafka does not know is
    /// read without tagged fields; its body means nothing anyway.
    ///
    /// # Errors
    /// When the bytes are not a header.
    pub fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let mut ahead = r.clone();
        let api_key = ahead.i16()?;
        let version = ahead.i16()?;
        let flexible = ApiKey::try_from(api_key).is_ok_and(|api| api.is_flexible(version));
        let header = RequestHeader::decode(r, request_header_version(flexible))?;
        Ok(Self { api_key, version, correlation_id: header.correlation_id, client_id: header.client_id })
    }
}

/// A request's header and body as one, without a size: for who passes it on.
///
/// # Errors
/// When a client's name is too long to be said.
pub fn join_request(head: &RequestHead, body: &[u8]) -> Result<Bytes, EncodeError> {
    let header = RequestHeader {
        request_api_key: head.api_key,
        request_api_version: head.version,
        correlation_id: head.correlation_id,
        client_id: head.client_id.clone(),
        ..RequestHeader::default()
    };
    let flexible = ApiKey::try_from(head.api_key).is_ok_and(|api| api.is_flexible(head.version));
    let mut w = Writer::default();
    header.encode(&mut w, request_header_version(flexible));
    w.raw(body);
    Ok(w.finish()?.bytes)
}

/// Reads the header of a response, leaves the reader at the body and gives the correlation id.
///
/// # Errors
/// When the bytes are not a header.
pub fn decode_response_head(r: &mut Reader, api: ApiKey, version: i16) -> Result<i32, DecodeError> {
    let header = ResponseHeader::decode(r, response_header_version(api, version))?;
    Ok(header.correlation_id)
}

/// A request as a frame, its size included.
///
/// # Errors
/// When the version cannot say it.
pub fn encode_request<R: Request>(
    correlation_id: i32,
    client_id: Option<&Str>,
    version: i16,
    request: &R,
) -> Result<Encoded, EncodeError> {
    let header = RequestHeader {
        request_api_key: R::KEY.code(),
        request_api_version: version,
        correlation_id,
        client_id: client_id.cloned(),
        ..RequestHeader::default()
    };
    let mut w = begin_frame();
    header.encode(&mut w, request_header_version(R::KEY.is_flexible(version)));
    request.encode(&mut w, version);
    finish_frame(w)
}

/// A response as a frame, its size included. Bytes that are elsewhere count in the size and are noted as
/// splices.
///
/// # Errors
/// When the version cannot say it.
pub fn encode_response<M: Message>(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    response: &M,
) -> Result<Encoded, EncodeError> {
    let header = ResponseHeader { correlation_id, ..ResponseHeader::default() };
    let mut w = begin_frame();
    header.encode(&mut w, response_header_version(api, version));
    response.encode(&mut w, version);
    finish_frame(w)
}

fn request_header_version(flexible: bool) -> i16 {
    if flexible { 2 } else { 1 }
}

fn response_header_version(api: ApiKey, version: i16) -> i16 {
    i16::from(api.is_response_header_flexible(version))
}

fn begin_frame() -> Writer {
    let mut w = Writer::with_capacity(64);
    w.i32(0);
    w
}

fn finish_frame(mut w: Writer) -> Result<Encoded, EncodeError> {
    match i32::try_from(w.len() - SIZE_BYTES) {
        Ok(size) => w.overwrite(0, size.to_be_bytes()),
        Err(_) => w.refuse(EncodeReason::TooLong, "frame"),
    }
    w.finish()
}

#[cfg(test)]
mod tests;
