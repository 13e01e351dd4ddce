//! Between frames and messages: the one place where headers are taken off and put on.

use crate::api::Malformed;
use crate::effects::{Asked, Fragment, Reply};
use bytes::Bytes;
use wire::limits::{DECODED_BYTES_MIN, DECODED_BYTES_PER_BYTE};
use wire::{Encoded, Reader, Request};

/// Memory that the decoded form of one request may take beside its frame. Records are not decoded; what is: names,
/// and numbers per partition, of which this holds millions.
const DECODED_BYTES_MAX: usize = 256 << 20;

/// Decodes the body that follows a request's header.
pub(crate) fn decode_body<R: Request>(asked: &Asked) -> Result<R, Malformed> {
    let body = asked.body.clone();
    let budget = decoded_bytes_max(body.len());
    R::decode(&mut Reader::with_budget(body, budget), asked.head.version).map_err(Malformed::Request)
}

/// What `wire` grants to a body of that size, but no more than the bound of a whole request.
const fn decoded_bytes_max(body: usize) -> usize {
    let granted = body.saturating_mul(DECODED_BYTES_PER_BYTE);
    let granted = if granted < DECODED_BYTES_MIN { DECODED_BYTES_MIN } else { granted };
    if granted < DECODED_BYTES_MAX { granted } else { DECODED_BYTES_MAX }
}

/// Encodes a response without file ranges.
pub(crate) fn encode_reply<R: Request>(asked: &Asked, response: &R::Response) -> Result<Bytes, Malformed> {
    let encoded = encode::<R>(asked, response)?;
    assert!(encoded.splices.is_empty(), "a response with file ranges goes through encode_fragments");
    Ok(encoded.bytes)
}

fn encode<R: Request>(asked: &Asked, response: &R::Response) -> Result<Encoded, Malformed> {
    wire::encode_response(R::KEY, asked.head.version, asked.head.correlation_id, response)
        .map_err(Malformed::Response)
}

/// Encodes a response whose records lie in files: `files` holds one fragment per `Records::Elsewhere`, in order.
pub(crate) fn encode_fragments<R: Request>(
    asked: &Asked,
    response: &R::Response,
    files: Vec<Fragment>,
) -> Result<Reply, Malformed> {
    let encoded = encode::<R>(asked, response)?;
    assert_eq!(encoded.splices.len(), files.len(), "one fragment per splice");
    let mut fragments = Vec::with_capacity(2 * files.len() + 1);
    let mut from = 0;
    for (splice, file) in encoded.splices.iter().zip(files) {
        fragments.push(Fragment::Bytes(encoded.bytes.slice(from..splice.position)));
        fragments.push(file);
        from = splice.position;
    }
    if from < encoded.bytes.len() {
        fragments.push(Fragment::Bytes(encoded.bytes.slice(from..)));
    }
    Ok(Reply { fragments })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_request_gets_less_memory_than_its_size_would_grant() {
        assert_eq!(decoded_bytes_max(0), DECODED_BYTES_MIN);
        assert_eq!(decoded_bytes_max(10_000), 480_000);
        assert_eq!(decoded_bytes_max(100 << 20), DECODED_BYTES_MAX);
    }
}
