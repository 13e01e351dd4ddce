//! Incremental fetch sessions (KIP-227): the client names its partitions once and then only what changes.

use base::{Rng, hit};
use std::collections::BTreeMap;
use wire::ErrorCode;

/// One client's session.
#[derive(Debug)]
struct Session {
    epoch: i32,
    /// For eviction: the session used longest ago goes first.
    used: u64,
    reader: u64,
}

/// How a fetch is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// All partitions are named in the request and told in the answer.
    Full,
    /// A new session: all partitions are told, later ones only when something changed.
    New(i32),
    /// A known session: only what changed is told.
    Incremental(i32),
}

impl Context {
    /// True if only what changed is told.
    pub(crate) const fn is_incremental(self) -> bool {
        matches!(self, Self::Incremental(_))
    }
}

/// The session that a request is about, and its reader. Readers that have no session any more are named in `gone`.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) context: Context,
    /// `None` for a request outside of sessions.
    pub(crate) reader: Option<u64>,
    pub(crate) gone: Vec<u64>,
}

/// The sessions of one reactor.
#[derive(Debug)]
pub(crate) struct Sessions {
    sessions: BTreeMap<i32, Session>,
    max: usize,
    reactor: u16,
    rng: Rng,
    clock: u64,
}

/// Session ids carry their reactor, so that two reactors never hand out the same.
const REACTOR_BITS: u32 = 8;

impl Sessions {
    pub(crate) fn new(reactor: u16, max: u32) -> Self {
        let rng = Rng::new(u64::from(reactor) + 1);
        Self { sessions: BTreeMap::new(), max: max as usize, reactor, rng, clock: 0 }
    }

    /// Finds out under which session a request goes; `new_reader` is for a session that begins.
    pub(crate) fn begin(
        &mut self,
        (id, epoch): (i32, i32),
        new_reader: impl FnOnce() -> u64,
    ) -> Result<Begun, ErrorCode> {
        const FINAL_EPOCH: i32 = -1;
        const INITIAL_EPOCH: i32 = 0;
        if epoch != FINAL_EPOCH && epoch != INITIAL_EPOCH {
            return self.resume(id, epoch);
        }
        let mut gone: Vec<u64> =
            self.sessions.remove(&id).map(|session| session.reader).into_iter().collect();
        if epoch == FINAL_EPOCH || self.max == 0 {
            return Ok(Begun { context: Context::Full, reader: None, gone });
        }
        if self.sessions.len() >= self.max {
            hit!(fetch_session_evicted);
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used).map(|(id, _)| *id);
            let evicted = oldest.and_then(|id| self.sessions.remove(&id));
            gone.extend(evicted.map(|session| session.reader));
        }
        let id = self.new_id();
        self.clock += 1;
        let reader = new_reader();
        self.sessions.insert(id, Session { epoch: 1, used: self.clock, reader });
        Ok(Begun { context: Context::New(id), reader: Some(reader), gone })
    }

    fn new_id(&mut self) -> i32 {
        loop {
            let random = self.rng.between(1, (1 << (31 - REACTOR_BITS)) - 1);
            let id = (random << REACTOR_BITS) | u64::from(self.reactor & 0xff);
            let id = i32::try_from(id).unwrap_or(1);
            if !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    fn resume(&mut self, id: i32, epoch: i32) -> Result<Begun, ErrorCode> {
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            hit!(fetch_session_epoch_refused);
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        self.clock += 1;
        session.used = self.clock;
        Ok(Begun { context: Context::Incremental(id), reader: Some(session.reader), gone: Vec::new() })
    }
}

#[cfg(test)]
mod tests;
