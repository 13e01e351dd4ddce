//! The protocol of one connection: which versions the broker speaks, which answer belongs to which request.
//!
//! Answers come in the order of the requests, so what is in flight is a queue, and a request that times out
//! makes the connection useless: all later answers would wait behind it.

use super::CallId;
use super::error::CallError;
use base::Instant;
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use wire::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use wire::{
    ApiKey, DecodeError, Encoded, ErrorCode, Message as _, Reader, Str, decode_response_head, encode_request,
    split_frame,
};

/// One connection of one client; never used again after it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// The version of ApiVersions that is tried first (KIP-511: a broker that lacks it says so in version 0).
const API_VERSIONS_FIRST: i16 = 4;
const SOFTWARE_NAME: Str = Str::from_static("ottla");
const SOFTWARE_VERSION: Str = Str::from_static(env!("CARGO_PKG_VERSION"));

/// Makes the frame of a request in a version and with a correlation id.
pub(crate) type Encode =
    Box<dyn Fn(i16, i32, Option<&Str>) -> Result<Encoded, wire::EncodeError> + Send + Sync>;

/// What a frame that arrived means.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// The versions are known; requests may go.
    Ready,
    /// An answer.
    Answer { call: CallId, version: i16, body: Reader },
}

/// What a frame meant, if it is for others, and bytes to send in return.
pub(crate) type Step = (Option<Arrival>, Option<Bytes>);

/// Why a connection has to be closed.
#[derive(Debug)]
pub(crate) enum Broken {
    Protocol(DecodeError),
    Frame(wire::FrameError),
    Unexpected(&'static str),
    Refused(ErrorCode),
}

#[derive(Debug)]
struct Sent {
    /// `None` for our own ApiVersions.
    call: Option<CallId>,
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    deadline: Instant,
}

#[derive(Debug)]
pub(crate) struct Connection {
    client_id: Option<Str>,
    frame_bytes_max: usize,
    versions: Option<BTreeMap<i16, RangeInclusive<i16>>>,
    inbox: BytesMut,
    in_flight: VecDeque<Sent>,
    next_correlation: i32,
}

impl Connection {
    pub(crate) fn new(client_id: Option<Str>, frame_bytes_max: usize) -> Self {
        Self {
            client_id,
            frame_bytes_max,
            versions: None,
            inbox: BytesMut::new(),
            in_flight: VecDeque::new(),
            next_correlation: 0,
        }
    }

    /// The first bytes to send.
    pub(crate) fn open(&mut self, deadline: Instant) -> Result<Bytes, CallError> {
        self.ask_versions(API_VERSIONS_FIRST, deadline)
    }

    fn ask_versions(&mut self, version: i16, deadline: Instant) -> Result<Bytes, CallError> {
        let request = ApiVersionsRequest {
            client_software_name: SOFTWARE_NAME,
            client_software_version: SOFTWARE_VERSION,
            ..ApiVersionsRequest::default()
        };
        let correlation_id = self.correlate();
        let encoded = encode_request(correlation_id, self.client_id.as_ref(), version, &request)
            .map_err(CallError::Encode)?;
        let api = ApiKey::ApiVersions;
        self.in_flight.push_back(Sent { call: None, api, version, correlation_id, deadline });
        Ok(encoded.bytes)
    }

    fn correlate(&mut self) -> i32 {
        let id = self.next_correlation;
        self.next_correlation = id.wrapping_add(1) & i32::MAX;
        id
    }

    /// True once requests may go.
    pub(crate) const fn is_ready(&self) -> bool {
        self.versions.is_some()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The highest version that both sides can use.
    pub(crate) fn version_of(&self, api: ApiKey, ours: &RangeInclusive<i16>) -> Result<i16, CallError> {
        let broker = self.versions.as_ref().and_then(|all| all.get(&api.code()));
        let version = broker.map(|broker| (*ours.end()).min(*broker.end()));
        match (version, broker) {
            (Some(version), Some(broker)) if version >= *ours.start() && version >= *broker.start() => {
                Ok(version)
            }
            _ => Err(CallError::UnsupportedVersion { api, ours: ours.clone(), broker: broker.cloned() }),
        }
    }

    /// The bytes of a request, which counts as in flight unless the broker will not answer it (acks=0).
    pub(crate) fn send(
        &mut self,
        call: CallId,
        request: &Outgoing<'_>,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let Outgoing { api, versions, encode, answered } = *request;
        let version = self.version_of(api, versions)?;
        let correlation_id = self.correlate();
        let encoded = encode(version, correlation_id, self.client_id.as_ref()).map_err(CallError::Encode)?;
        if answered {
            self.in_flight.push_back(Sent { call: Some(call), api, version, correlation_id, deadline });
        }
        Ok(encoded.bytes)
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
    }

    /// The meaning of the next whole frame and, during the negotiation, bytes to send.
    pub(crate) fn next_arrival(&mut self) -> Result<Option<Step>, Broken> {
        let Some(frame) = split_frame(&mut self.inbox, self.frame_bytes_max).map_err(Broken::Frame)? else {
            return Ok(None);
        };
        let sent = self.in_flight.pop_front().ok_or(Broken::Unexpected("an answer without a request"))?;
        let mut body = Reader::new(frame);
        let id = decode_response_head(&mut body, sent.api, sent.version).map_err(Broken::Protocol)?;
        if id != sent.correlation_id {
            return Err(Broken::Unexpected("an answer to another request"));
        }
        match sent.call {
            Some(call) => Ok(Some((Some(Arrival::Answer { call, version: sent.version, body }), None))),
            None => self.handle_versions(body, &sent).map(Some),
        }
    }

    fn handle_versions(&mut self, mut body: Reader, sent: &Sent) -> Result<Step, Broken> {
        let refused = body.clone().i16().map_err(Broken::Protocol)? == ErrorCode::UnsupportedVersion as i16;
        let version = if refused { 0 } else { sent.version };
        let response = ApiVersionsResponse::decode(&mut body, version).map_err(Broken::Protocol)?;
        if refused {
            return self.retry_versions(&response, sent);
        }
        let code = super::error::code_of(response.error_code);
        if code != ErrorCode::None {
            return Err(Broken::Refused(code));
        }
        let ranges = response.api_keys.iter().map(|api| (api.api_key, api.min_version..=api.max_version));
        self.versions = Some(ranges.collect());
        Ok((Some(Arrival::Ready), None))
    }

    /// The broker lacks our version of ApiVersions; it may have said which it has, else 0 is safe.
    fn retry_versions(&mut self, response: &ApiVersionsResponse, sent: &Sent) -> Result<Step, Broken> {
        if sent.version == 0 {
            return Err(Broken::Refused(ErrorCode::UnsupportedVersion));
        }
        let ours = ApiKey::ApiVersions.code();
        let offered = response.api_keys.iter().find(|api| api.api_key == ours);
        let version = offered.map_or(0, |api| api.max_version.clamp(0, sent.version - 1));
        let bytes = self
            .ask_versions(version, sent.deadline)
            .map_err(|_| Broken::Unexpected("versions that cannot be asked for"))?;
        Ok((None, Some(bytes)))
    }

    /// When the oldest request in flight times out.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.in_flight.iter().map(|sent| sent.deadline).min()
    }

    /// Calls whose answers will never come, and what they called.
    pub(crate) fn abandon(&mut self) -> Vec<(CallId, ApiKey)> {
        self.in_flight.drain(..).filter_map(|sent| Some((sent.call?, sent.api))).collect()
    }
}

/// A request as a connection needs it.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) api: ApiKey,
    pub(crate) versions: &'a RangeInclusive<i16>,
    pub(crate) encode: &'a Encode,
    pub(crate) answered: bool,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Protocol(error) => write!(f, "unreadable answer: {error}"),
            Self::Frame(error) => write!(f, "{error}"),
            Self::Unexpected(what) => f.write_str(what),
            Self::Refused(code) => write!(f, "refused with {}", code.name()),
        }
    }
}
