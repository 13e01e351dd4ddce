//! What every log-backed machine looks like: decide while reading, change only by replaying records.

use crate::{Instant, Now};
use alloc::vec::Vec;

/// A deterministic, synchronous state machine behind a log.
///
/// `Hard` is what the log says and nothing else; `Soft` (deadlines, parked joins, caches) may vanish at any
/// instant without harming safety. Requests change `Hard` only through the records that they decide.
pub trait Machine {
    /// State derived from the log alone.
    type Hard: Default;
    /// State that may be lost at any time.
    type Soft: Default;
    /// What the machine is asked to do.
    type Command;
    /// A fact of the log.
    type Record;
    /// What the asker gets, together with a token that names the asker.
    type Reply;
    /// Names a waiting asker; opaque to the machine.
    type Token;

    /// Turns a command into records and replies. Replies leave only after the records have committed; a
    /// decision without records waits for those that were decided before it.
    fn decide(
        hard: &Self::Hard,
        soft: &mut Self::Soft,
        now: Now,
        command: Self::Command,
    ) -> Decision<Self::Record, Self::Token, Self::Reply>;

    /// Applies a fact. Infallible: the same code runs after a request, on load and on a standby.
    fn replay(hard: &mut Self::Hard, record: &Self::Record);
}

/// The outcome of [`Machine::decide`].
#[must_use = "a dropped decision is a lost write and a lost reply"]
#[derive(Debug)]
pub struct Decision<R, T, A> {
    /// To be appended as one atomic unit; empty for a read.
    pub records: Vec<R>,
    /// To be sent once the records, and all before them, have committed.
    pub replies: Vec<(T, A)>,
    /// When the machine next wants a tick, if nothing else happens.
    pub wake_at: Option<Instant>,
}

impl<R, T, A> Default for Decision<R, T, A> {
    fn default() -> Self {
        Self { records: Vec::new(), replies: Vec::new(), wake_at: None }
    }
}

impl<R, T, A> Decision<R, T, A> {
    /// A decision that writes nothing and answers one asker.
    pub fn reply(token: T, reply: A) -> Self {
        Self { replies: alloc::vec![(token, reply)], ..Self::default() }
    }

    /// Adds a record.
    pub fn record(&mut self, record: R) -> &mut Self {
        self.records.push(record);
        self
    }

    /// Adds a reply.
    pub fn answer(&mut self, token: T, reply: A) -> &mut Self {
        self.replies.push((token, reply));
        self
    }

    /// Asks for a tick at `at` or earlier.
    pub fn wake(&mut self, at: Instant) -> &mut Self {
        self.wake_at = Some(self.wake_at.map_or(at, |old| old.min(at)));
        self
    }
}
