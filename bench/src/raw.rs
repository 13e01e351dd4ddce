//! Kafka's protocol without a client library: one request at a time on one connection.

use crate::Done;
use bytes::Bytes;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;
use wire::{Message as _, Reader, Request, decode_response_head, encode_request};

/// How long a broker may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn connect(address: &str) -> Done<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub fn call<R: Request>(stream: &mut TcpStream, version: i16, request: &R) -> Done<R::Response> {
    let encoded = encode_request(1, None, version, request).map_err(|error| error.to_string())?;
    stream.write_all(&encoded.bytes)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut frame = vec![0; usize::try_from(i32::from_be_bytes(size))?];
    stream.read_exact(&mut frame)?;
    let mut reader = Reader::new(Bytes::from(frame));
    decode_response_head(&mut reader, R::KEY, version)?;
    Ok(R::Response::decode(&mut reader, version)?)
}
