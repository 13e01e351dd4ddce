//! Decoding any bytes as any message: no panic, and what was decoded can be said again, in one way only.

use bytes::Bytes;
use ottla_wire::{Message, Request, Stored};
use std::ops::RangeInclusive;

/// A message to try.
pub(crate) struct Target {
    /// Its name, for reports.
    pub(crate) name: &'static str,
    /// Its versions.
    pub(crate) versions: RangeInclusive<i16>,
    /// Decodes, and checks what was decoded.
    pub(crate) check: fn(Bytes, i16),
}

/// The first byte chooses the API, the second the version, the rest is the body of a request.
pub(crate) fn requests(data: &[u8]) {
    run(&request_targets(), data);
}

/// As [`requests`], for responses.
pub(crate) fn responses(data: &[u8]) {
    run(&response_targets(), data);
}

/// As [`requests`], for what is stored or handed on.
pub(crate) fn stored(data: &[u8]) {
    run(&stored_targets(), data);
}

fn run(targets: &[Target], data: &[u8]) {
    let [target, version, body @ ..] = data else { return };
    let target = &targets[usize::from(*target) % targets.len()];
    let count = target.versions.clone().count();
    let Some(version) = target.versions.clone().nth(usize::from(*version) % count) else { return };
    (target.check)(Bytes::copy_from_slice(body), version);
}

fn check<M: Message>(bytes: Bytes, version: i16) {
    let Ok(message) = M::from_bytes(bytes, version) else { return };
    let name = std::any::type_name::<M>();
    let first = match message.to_bytes(version) {
        Ok(encoded) => encoded.bytes,
        Err(error) => panic!("{name} v{version}: decoded but not encoded: {error}: {message:?}"),
    };
    // Compared as bytes: a NaN in a message differs from itself.
    let again = M::from_bytes(first.clone(), version);
    let again = again.map(|message| message.to_bytes(version).map(|encoded| encoded.bytes));
    assert_eq!(again, Ok(Ok(first)), "{name} v{version}");
}

macro_rules! apis {
    ($($module:ident, $request:ident, $response:ident;)*) => {
        /// Every request.
        pub(crate) fn request_targets() -> Vec<Target> {
            vec![$(Target {
                name: stringify!($request),
                versions: ottla_wire::$module::$request::VERSIONS,
                check: check::<ottla_wire::$module::$request>,
            },)*]
        }

        /// Every response.
        pub(crate) fn response_targets() -> Vec<Target> {
            vec![$(Target {
                name: stringify!($response),
                versions: ottla_wire::$module::$request::VERSIONS,
                check: check::<ottla_wire::$module::$response>,
            },)*]
        }
    };
}
ottla_wire::with_requests!(apis);

macro_rules! stored_messages {
    ($($message:path;)*) => {
        /// Every stored message.
        pub(crate) fn stored_targets() -> Vec<Target> {
            vec![$(Target {
                name: stringify!($message),
                versions: <$message>::VERSIONS,
                check: check::<$message>,
            },)*]
        }
    };
}
ottla_wire::with_stored!(stored_messages);
