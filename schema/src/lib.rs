//! The texts of `wire/schema` as values: what Kafka's messages are made of, and since when.
//!
//! Two readers need it and must not link `wire`: the generator, which has to run while `wire` does not compile,
//! and the scripts, whose encoder is there to contradict the generated one. It knows text, no files and no bytes.
#![forbid(unsafe_code)]

mod names;
mod parse;
mod schema;

pub use names::snake;
pub use parse::parse;
pub use schema::{Field, Fixed, Kind, Message, Schema, Type, Versions};
