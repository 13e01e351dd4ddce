//! Nodes that have gone, and for how long clients are spared what would cost them a second.
//!
//! Who asks for a leader that has just died and is told of it again asks next after a second (librdkafka, whose interval
//! that is): the answer waits for the successor instead, and a few milliseconds for the news that one is needed.
//!
//! Who reads in the same answer of the successor and of a broker that is not there any more may lose both (librdkafka: a
//! partition that moves away from a broker while that is taken down is left without a leader until the next answer, a
//! second later): a broker that is fenced is told of for a while yet.

use base::{BrokerId, Instant, Span, hit};
use std::collections::BTreeMap;

/// How long news of a node's end may take until it is here. Clients have it as fast, and ask at once.
const NEWS: Span = Span::from_millis(5);
/// How long a successor is awaited: most are there in a fraction of it.
const AWAITED: Span = Span::from_secs(1);
/// How long clients are told of a broker that has been fenced: those that lost it have asked for leaders by then.
const TOLD: Span = Span::from_secs(5);

/// The nodes that have gone lately.
#[derive(Clone, Debug, Default)]
pub(crate) struct Departures {
    /// Those that have hung up, and until when their successors are awaited.
    hung_up: BTreeMap<BrokerId, Instant>,
    /// Those that have been fenced, and until when clients are told of them.
    fenced: BTreeMap<BrokerId, Instant>,
}

impl Departures {
    /// Notes that a node has hung up.
    pub(crate) fn hung_up(&mut self, node: BrokerId, now: Instant) {
        self.hung_up.retain(|_, until| *until > now);
        self.hung_up.insert(node, now + AWAITED);
    }

    /// Notes that a node can be talked to. True if it had hung up before.
    pub(crate) fn is_back(&mut self, node: BrokerId) -> bool {
        self.hung_up.remove(&node).is_some()
    }

    /// Notes that a broker serves now or does so no more.
    pub(crate) fn serves(&mut self, node: BrokerId, serves: bool, now: Instant) {
        self.fenced.retain(|_, until| *until > now);
        if serves {
            self.fenced.remove(&node);
        } else {
            hit!(fenced_broker_told_of);
            self.fenced.insert(node, now + TOLD);
        }
    }

    /// Until when it is worth waiting for another leader than this one, for somebody who asked at `asked`, if it still is.
    pub(crate) fn awaited(&self, leader: BrokerId, asked: Instant, now: Instant) -> Option<Instant> {
        let hung_up = self.hung_up.get(&leader).copied().filter(|until| *until > now);
        if hung_up.is_some() {
            hit!(successor_awaited);
        }
        hung_up.or(Some(asked + NEWS).filter(|until| *until > now))
    }

    /// Whether clients are still told of a broker that is fenced.
    pub(crate) fn is_told(&self, broker: BrokerId, now: Instant) -> bool {
        self.fenced.get(&broker).is_some_and(|until| *until > now)
    }
}
