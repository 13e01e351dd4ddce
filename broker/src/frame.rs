//! Between frames and messages: the one place where headers are taken off and put on.

use crate::api::Malformed;
use crate::effects::{Asked, Fragment, Reply};
use bytes::Bytes;
use wire::{Encoded, Reader, Request};

/// Decodes the body that follows a request's header.
pub(crate) fn decode_body<R: Request>(asked: &Asked) -> Result<R, Malformed> {
    R::decode(&mut Reader::new(asked.body.clone()), asked.head.version).map_err(Malformed::Request)
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
