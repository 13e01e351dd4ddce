//! A connection's replies leave in the order of its requests, however they become ready.

use crate::effects::{Asked, Reply};
use base::{BrokerId, Instant};
use std::collections::VecDeque;
use std::sync::Arc;

/// Requests of one connection that may wait for their replies. The shell stops reading beyond it.
pub const IN_FLIGHT_MAX: usize = 64;

/// One client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The client's address.
    pub(crate) peer: Arc<str>,
    /// The name of the listener that it came in by.
    pub(crate) listener: Arc<str>,
    /// The node at the other end, once it has greeted.
    pub(crate) node: Option<BrokerId>,
    /// The slot of the oldest request without a reply.
    first: u64,
    waiting: VecDeque<Waiting>,
}

/// A request without a reply, or one whose reply waits for those before it.
#[derive(Debug)]
struct Waiting {
    came: Came,
    slot: Slot,
}

/// What came, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Came {
    /// The API, which may not exist.
    pub(crate) api_key: i16,
    pub(crate) at: Instant,
}

#[derive(Debug)]
enum Slot {
    Empty,
    /// The request waits for the controller or for leaders, and runs again afterwards.
    Again(Box<Asked>),
    Ready(Reply),
}

impl Connection {
    pub(crate) fn new(peer: String, listener: Arc<str>) -> Self {
        Self { peer: peer.into(), listener, node: None, first: 0, waiting: VecDeque::new() }
    }

    /// Takes the next place in the order.
    pub(crate) fn open_slot(&mut self, api_key: i16, at: Instant) -> u64 {
        self.waiting.push_back(Waiting { came: Came { api_key, at }, slot: Slot::Empty });
        self.first + self.waiting.len() as u64 - 1
    }

    /// Requests without a reply.
    pub(crate) fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    /// Where a request stands among those without a reply.
    fn place(&self, slot: u64) -> Option<usize> {
        usize::try_from(slot.checked_sub(self.first)?).ok()
    }

    fn slot(&mut self, slot: u64) -> Option<&mut Slot> {
        let at = self.place(slot)?;
        self.waiting.get_mut(at).map(|waiting| &mut waiting.slot)
    }

    /// When a request came that has no reply yet.
    pub(crate) fn came(&self, slot: u64) -> Option<Instant> {
        self.waiting.get(self.place(slot)?).map(|waiting| waiting.came.at)
    }

    /// Keeps a request that is to run again.
    pub(crate) fn keep(&mut self, asked: Asked) {
        if let Some(place) = self.slot(asked.token.slot) {
            *place = Slot::Again(Box::new(asked));
        }
    }

    /// Takes back a request that was kept.
    pub(crate) fn take_kept(&mut self, slot: u64) -> Option<Asked> {
        let place = self.slot(slot)?;
        match core::mem::replace(place, Slot::Empty) {
            Slot::Again(asked) => Some(*asked),
            other @ (Slot::Empty | Slot::Ready(_)) => {
                *place = other;
                None
            }
        }
    }

    /// Puts a reply in its place and returns all that can leave now.
    pub(crate) fn complete(&mut self, slot: u64, reply: Reply) -> Vec<(Came, Reply)> {
        if let Some(place) = self.slot(slot) {
            *place = Slot::Ready(reply);
        }
        let mut ready = Vec::new();
        while let Some(Waiting { came, slot: Slot::Ready(reply) }) = self.waiting.front_mut() {
            ready.push((*came, core::mem::take(reply)));
            self.waiting.pop_front();
            self.first += 1;
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn replies_leave_in_the_order_of_requests() {
        let reply = |text: &'static str| Reply::bytes(Bytes::from_static(text.as_bytes()));
        let mut connection = Connection::new(String::new(), "PLAINTEXT".into());
        let came = |at| Came { api_key: 3, at: Instant::from_nanos(at) };
        let slots: Vec<u64> = (0..3).map(|at| connection.open_slot(3, Instant::from_nanos(at))).collect();
        assert!(connection.complete(slots[2], reply("c")).is_empty());
        assert!(connection.complete(slots[1], reply("b")).is_empty());
        let left: Vec<_> = connection.complete(slots[0], reply("a")).iter().map(|(came, _)| *came).collect();
        assert_eq!(left, [came(0), came(1), came(2)]);
        assert_eq!(connection.in_flight(), 0);
        assert!(connection.complete(slots[0], reply("late")).is_empty(), "a late reply is dropped");
    }
}
