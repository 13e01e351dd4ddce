//! `ottla perf …`: a load generator that costs little beside what it measures.
//!
//! Requests are encoded once; what changes from one to the next (correlation id, sequence, time stamp) is patched
//! in place, and checksums follow by linearity. Each connection has two threads of its own with plain blocking
//! sockets: timers of an async runtime tick in milliseconds, which is what is to be measured here. With a rate
//! the loop is open: a request has an intended time, and its latency counts from there, so that a broker that
//! stalls cannot make the generator look away.

mod batches;
mod consume;
mod e2e;
mod plan;
mod produce;
mod progress;
mod report;
mod socket;

use crate::connect::Done;
use clap::Subcommand;

/// `ottla perf …`
#[derive(Debug, Subcommand)]
pub(crate) enum Perf {
    /// Measure producing.
    Produce(produce::Produce),
    /// Measure consuming.
    Consume(consume::Consume),
    /// Measure the time from the intended send of a record to its arrival at a consumer.
    E2e(e2e::E2e),
}

impl Perf {
    pub(crate) fn run(self) -> Done {
        match self {
            Self::Produce(produce) => produce.run(),
            Self::Consume(consume) => consume.run(),
            Self::E2e(e2e) => e2e.run(),
        }
    }
}
