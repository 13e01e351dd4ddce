//! A blocking connection that knows which versions its broker speaks.

use crate::connect::{Done, Failure};
use bytes::Bytes;
use client::core::Address;
use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;
use wire::api_versions::ApiVersionsRequest;
use wire::{ApiKey, Message as _, Reader, Request, Str, decode_response_head, encode_request};

/// What the generator calls itself.
pub(super) const CLIENT_ID: Str = Str::from_static("ottla-perf");
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// A connection to one broker.
pub(super) struct Socket {
    stream: TcpStream,
    versions: BTreeMap<i16, i16>,
    correlation: i32,
}

impl Socket {
    pub(super) fn connect(address: &Address, timeout: Duration) -> Done<Self> {
        let fail = |error: io::Error| Failure::unhealthy(format!("cannot connect to {address}: {error}"));
        let mut found = (address.host.as_str(), address.port).to_socket_addrs().map_err(fail)?;
        let first = found.next().ok_or_else(|| Failure::unhealthy(format!("{address} has no IP address")))?;
        let stream = TcpStream::connect_timeout(&first, timeout).map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        stream.set_read_timeout(Some(timeout)).map_err(fail)?;
        let mut socket =
            Self { stream, versions: BTreeMap::from([(ApiKey::ApiVersions.code(), 0)]), correlation: 0 };
        let response = socket.call(0, &ApiVersionsRequest::default())?;
        socket.versions = response.api_keys.iter().map(|api| (api.api_key, api.max_version)).collect();
        Ok(socket)
    }

    /// The highest version that both sides have, `ours` at most.
    pub(super) fn version(&self, api: ApiKey, ours: i16) -> Done<i16> {
        let theirs = self.versions.get(&api.code());
        theirs
            .map(|theirs| ours.min(*theirs))
            .ok_or_else(|| Failure::failed(format!("the broker lacks {api}")))
    }

    /// One request and its answer.
    pub(super) fn call<R: Request>(&mut self, version: i16, request: &R) -> Done<R::Response> {
        self.correlation += 1;
        let encoded = encode_request(self.correlation, Some(&CLIENT_ID), version, request);
        let encoded = encoded.map_err(|error| Failure::failed(error.to_string()))?;
        self.stream.write_all(&encoded.bytes)?;
        let frame = read_frame(&mut self.stream, Vec::new())?;
        decode::<R>(frame, version).map(|(_, response)| response)
    }

    /// The socket, to be read and written by two threads.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

/// The correlation id and the response of a frame.
pub(super) fn decode<R: Request>(frame: Bytes, version: i16) -> Done<(i32, R::Response)> {
    let mut reader = Reader::new(frame);
    let head = decode_response_head(&mut reader, R::KEY, version);
    let correlation = head.map_err(|error| Failure::failed(error.to_string()))?;
    let response = R::Response::decode(&mut reader, version);
    Ok((correlation, response.map_err(|error| Failure::failed(error.to_string()))?))
}

/// The next frame, into the memory of `buffer`.
pub(super) fn read_frame(stream: &mut impl Read, mut buffer: Vec<u8>) -> io::Result<Bytes> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(i32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if size > ANSWER_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too large"));
    }
    // Only what has never been used is cleared; a buffer that comes back costs nothing.
    buffer.resize(size, 0);
    stream.read_exact(&mut buffer)?;
    Ok(buffer.into())
}
