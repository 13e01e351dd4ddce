//! The Kafka wire protocol: messages (generated), error codes, record batches, framing.
//!
//! Bytes in, values out, and back. No behaviour, no sockets, no clock.
//!
//! The messages live in one module per API (`metadata::MetadataRequest`), written by `cargo xtask codegen`
//! from `wire/schema`, and all together in [`messages`]. A decoded message shares the buffer of its frame.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod api_key;
pub mod error;
pub mod error_code;
pub mod frame;
mod generated;
pub mod limits;
pub mod message;
pub mod reader;
pub mod record;
pub mod splice;
pub mod stored;
pub mod tags;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;
pub mod writer;

pub use api_key::ApiKey;
pub use error::{DecodeError, DecodeReason, EncodeError, EncodeReason};
pub use error_code::ErrorCode;
pub use frame::{
    FrameError, RequestHead, decode_response_head, encode_request, encode_response, split_frame,
};
pub use generated::*;
pub use message::{Message, Request, Stored};
pub use reader::Reader;
pub use splice::{Records, Splice};
pub use stored::MetadataRecord;
pub use tags::UnknownTags;
pub use text::Str;
pub use writer::{Encoded, Writer};
