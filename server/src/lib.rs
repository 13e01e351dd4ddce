//! The shell of one node: sockets, threads, timers, HTTP, config file, signals. It decides nothing.
#![forbid(unsafe_code)]

mod accept;
mod admission;
mod clock;
mod connection;
mod forming;
mod http;
mod inbox;
mod links;
mod listen;
mod logging;
mod owner;
mod patience;
mod reactor;
mod router;
mod run;
pub mod settings;
mod thread;

pub use broker::loggers::Levels;
pub use logging::{LogFormat, Logging, start as start_logging};
pub use run::{Announced, Options, ServerError, run};
