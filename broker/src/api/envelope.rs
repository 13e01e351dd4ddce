//! Envelope (58): a client's request for the controller, as the node passes it on that the client has reached (KIP-590).

use super::{Acl, Api, Malformed};
use crate::effects::{Asked, Effects, Reply};
use crate::reactor::Reactor;
use base::Now;
use bytes::Bytes;
use wire::envelope::{EnvelopeRequest, EnvelopeResponse};
use wire::frame::SIZE_BYTES;
use wire::{ErrorCode, Reader, RequestHead};

pub(crate) struct Envelope;

impl Api for Envelope {
    type Request = EnvelopeRequest;
    const ACL: Acl = Acl::Node;
}

pub(super) fn handle(
    reactor: &mut Reactor,
    asked: Asked,
    _now: Now,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let request = super::decode::<Envelope>(&asked)?;
    let mut reader = Reader::new(request.request_data);
    let head = RequestHead::decode(&mut reader).map_err(Malformed::Request)?;
    let inner =
        Asked { head, body: reader.rest(), envelope: Some(Box::new(asked.head.clone())), ..asked.clone() };
    if !reactor.unwrapped(inner, fx) {
        let reply = refuse(&asked.head, ErrorCode::InvalidRequest)?;
        reactor.complete(asked.token, Reply::bytes(reply), fx);
    }
    Ok(())
}

/// Puts the answer to the client's request into the envelope's.
pub(crate) fn wrap(envelope: &RequestHead, answer: &Bytes) -> Result<Bytes, Malformed> {
    let response_data = Some(answer.slice(SIZE_BYTES.min(answer.len())..));
    encode(envelope, EnvelopeResponse { response_data, ..EnvelopeResponse::default() })
}

/// The client's request was not carried out here.
pub(crate) fn refuse(envelope: &RequestHead, code: ErrorCode) -> Result<Bytes, Malformed> {
    encode(envelope, EnvelopeResponse { error_code: code as i16, ..EnvelopeResponse::default() })
}

fn encode(envelope: &RequestHead, response: EnvelopeResponse) -> Result<Bytes, Malformed> {
    let encoded =
        wire::encode_response(wire::ApiKey::Envelope, envelope.version, envelope.correlation_id, &response);
    encoded.map(|encoded| encoded.bytes).map_err(Malformed::Response)
}
