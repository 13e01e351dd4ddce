//! Links to other nodes: opened when somebody is wanted, greeted before anything else is said, opened again when lost.
//!
//! A link is known by whom it is to lead to (`K`). An address is never an identity: who is at the other end says so, and
//! is hung up on if it belongs to another cluster. What is asked over a link that is lost is not answered; whoever asked
//! hears that the link is down and asks again over the next.

use super::Address;
use crate::effects::{Dial, Down, Effects, Level, LinkId};
use base::{BrokerId, Instant, Rng, Span, Uuid, hit};
use bytes::Bytes;
use core::ops::RangeInclusive;
use std::collections::{BTreeMap, BTreeSet};
use wire::frame::{decode_response_head, encode_request};
use wire::peer_greet::{PeerApi, PeerGreetRequest, PeerGreetResponse};
use wire::{ApiKey, Message, Reader, Request, Str};

/// The pause after a first failure; it doubles with each further one.
const BACKOFF_MIN: Span = Span::from_millis(20);
/// The longest pause.
const BACKOFF_MAX: Span = Span::from_millis(500);
/// A link that was up for so long has worked: whoever ends one at once, again and again, is not dialled at once again.
const WORKED: Span = Span::from_millis(500);
/// How long the other end may take to greet. A process that has ended since it was dialled never does, and nobody says so.
const GREETING_MAX: Span = Span::from_secs(1);

/// Who a node is to its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Zero as long as it belongs to none.
    pub(crate) cluster_id: Uuid,
    pub(crate) node: BrokerId,
    pub(crate) directory: Uuid,
    /// Where peers reach it.
    pub(crate) address: Address,
    /// It may get a vote: its file gives it the role of a controller.
    pub(crate) is_controller: bool,
}

/// Who is at the other end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Greeted {
    /// Zero if it belongs to none yet.
    pub(crate) cluster_id: Uuid,
    pub(crate) node: BrokerId,
    pub(crate) directory: Uuid,
}

/// What came over a link, or became of it.
#[derive(Debug)]
pub(crate) enum Heard<K> {
    /// It is there, and this is who is at its other end.
    Up { to: K, who: Greeted },
    /// It is not there any more, or could not be opened. `was_up`: something may have been asked over it.
    Down { to: K, why: Down, was_up: bool },
    /// The answer to the question of this number.
    Answer { to: K, number: i32, version: i16, body: Reader },
}

#[derive(Debug)]
enum State {
    /// Until it is dialled again.
    Resting(Instant),
    Dialing,
    /// Until it is given up.
    Greeting(Instant),
    /// Since then.
    Up(Instant),
}

#[derive(Debug)]
struct Link {
    id: LinkId,
    address: Address,
    state: State,
    /// Failures in a row.
    failures: u32,
    /// Questions without an answer: their API and version.
    asked: BTreeMap<i32, (ApiKey, i16)>,
    /// Until when the other end has to answer that it is still there.
    answers_until: Option<Instant>,
    /// What the other end takes, as it has greeted: the versions of each API.
    takes: BTreeMap<i16, RangeInclusive<i16>>,
}

/// The links of one owner.
#[derive(Debug)]
pub(crate) struct Links<K> {
    own: Identity,
    links: BTreeMap<K, Link>,
    names: BTreeMap<LinkId, K>,
    /// When something is due, per link.
    due: BTreeSet<(Instant, K)>,
    next_link: u64,
    next_number: i32,
    rng: Rng,
}

impl<K: Copy + Ord + std::fmt::Debug> Links<K> {
    pub(crate) fn new(own: Identity, rng: Rng) -> Self {
        Self {
            own,
            links: BTreeMap::new(),
            names: BTreeMap::new(),
            due: BTreeSet::new(),
            next_link: 0,
            next_number: 0,
            rng,
        }
    }

    /// Sees to it that there is a link to `to`, which is at `address` now.
    pub(crate) fn want(&mut self, to: K, address: &Address, fx: &mut Effects) {
        match self.links.get_mut(&to) {
            Some(link) if link.address == *address => {}
            Some(_) => {
                self.forget(to, fx);
                self.open(to, address.clone(), fx);
            }
            None => self.open(to, address.clone(), fx),
        }
    }

    /// Ends a link for good.
    pub(crate) fn forget(&mut self, to: K, fx: &mut Effects) {
        let Some(link) = self.links.remove(&to) else { return };
        self.names.remove(&link.id);
        self.due.retain(|(_, other)| *other != to);
        if !matches!(link.state, State::Resting(_)) {
            fx.hang_ups.push(link.id);
        }
    }

    /// Whom there are links to, up or not.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = K> + '_ {
        self.links.keys().copied()
    }

    /// True if there is to be a link to this one.
    pub(crate) fn is_wanted(&self, to: K) -> bool {
        self.links.contains_key(&to)
    }

    /// True once both ends have greeted.
    pub(crate) fn is_up(&self, to: K) -> bool {
        self.links.get(&to).is_some_and(|link| matches!(link.state, State::Up(_)))
    }

    /// Asks something, in the newest version that both ends know; the number names the answer. `None` while the link is
    /// not up, or if it cannot be said.
    pub(crate) fn ask<R: Request>(&mut self, to: K, request: &R, fx: &mut Effects) -> Option<i32> {
        let (number, version) = self.say(to, request, fx)?;
        self.links.get_mut(&to)?.asked.insert(number, (R::KEY, version));
        Some(number)
    }

    /// Says something that is not answered. `None` while the link is not up, or if it cannot be said.
    pub(crate) fn tell<R: Request>(&mut self, to: K, request: &R, fx: &mut Effects) -> Option<i32> {
        self.say(to, request, fx).map(|(number, _)| number)
    }

    fn say<R: Request>(&mut self, to: K, request: &R, fx: &mut Effects) -> Option<(i32, i16)> {
        let link = self.links.get(&to).filter(|link| matches!(link.state, State::Up(_)))?;
        let Some(version) = newest_common(&R::VERSIONS, link.takes.get(&(R::KEY as i16))) else {
            hit!(link_peer_cannot_be_told);
            fx.log(Level::Warn, format!("The node at {} does not know {:?} yet", link.address, R::KEY));
            return None;
        };
        self.next_number = self.next_number.wrapping_add(1).max(1);
        match encode_request(self.next_number, Some(&Str::from("ottla")), version, request) {
            Ok(encoded) => {
                fx.sends.push((link.id, encoded.bytes));
                Some((self.next_number, version))
            }
            Err(error) => {
                fx.log(Level::Error, format!("a request to {to:?} cannot be encoded: {error:?}"));
                None
            }
        }
    }

    /// A dial has succeeded: greets.
    pub(crate) fn linked(&mut self, now: Instant, id: LinkId, fx: &mut Effects) {
        let Some(to) = self.names.get(&id).copied() else { return };
        self.greet(to, fx);
        let Some(link) = self.links.get_mut(&to) else { return };
        link.state = State::Greeting(now + GREETING_MAX);
        self.due.insert((now + GREETING_MAX, to));
        fx.wake(now + GREETING_MAX);
    }

    /// Greets everybody once more: an end that has lost its power looks like one that has nothing to say, and it has
    /// forgotten who greeted it before.
    pub(crate) fn greet_again(&mut self, now: Instant, fx: &mut Effects) {
        let is_quiet = |link: &Link| matches!(link.state, State::Up(_)) && link.answers_until.is_none();
        let quiet: Vec<K> = self.links.iter().filter(|(_, link)| is_quiet(link)).map(|(to, _)| *to).collect();
        for to in quiet {
            self.greet(to, fx);
            let Some(link) = self.links.get_mut(&to) else { continue };
            link.answers_until = Some(now + GREETING_MAX);
            self.due.insert((now + GREETING_MAX, to));
            fx.wake(now + GREETING_MAX);
        }
    }

    fn greet(&mut self, to: K, fx: &mut Effects) {
        self.next_number = self.next_number.wrapping_add(1).max(1);
        let Identity { cluster_id, node, directory, address, is_controller } = &self.own;
        let greeting = PeerGreetRequest {
            cluster_id: *cluster_id,
            node_id: node.0,
            directory_id: *directory,
            host: address.host.as_str().into(),
            port: address.port,
            is_controller: *is_controller,
            ..PeerGreetRequest::default()
        };
        let Some(link) = self.links.get_mut(&to) else { return };
        let number = self.next_number;
        if let Ok(encoded) = encode_request(number, Some(&Str::from("ottla")), 0, &greeting) {
            link.asked.insert(number, (ApiKey::PeerGreet, 0));
            fx.sends.push((link.id, encoded.bytes));
        }
    }

    /// A frame has come over a link.
    pub(crate) fn frame(
        &mut self,
        now: Instant,
        id: LinkId,
        frame: &Bytes,
        fx: &mut Effects,
    ) -> Option<Heard<K>> {
        let to = self.names.get(&id).copied()?;
        let link = self.links.get_mut(&to)?;
        let Some((number, key, version, body)) = answer_in(frame, &mut link.asked) else {
            hit!(link_garbled);
            fx.log(Level::Warn, format!("The peer at {} answers what was not asked", link.address));
            return Some(self.fail(now, to, Down::Lost, true, fx));
        };
        if key != ApiKey::PeerGreet {
            return Some(Heard::Answer { to, number, version, body });
        }
        let was_up = self.is_up(to);
        match self.greeted(now, to, body) {
            Ok(_) if was_up => None,
            Ok(who) => Some(Heard::Up { to, who }),
            Err(reason) => {
                hit!(link_refused);
                let address = self.links.get(&to).map(|link| link.address.to_string()).unwrap_or_default();
                fx.log(Level::Warn, format!("The node at {address} is no peer: {reason}"));
                Some(self.fail(now, to, Down::Lost, true, fx))
            }
        }
    }

    fn greeted(&mut self, now: Instant, to: K, mut body: Reader) -> Result<Greeted, String> {
        let greeting = PeerGreetResponse::decode(&mut body, 0).map_err(|error| error.to_string())?;
        if greeting.error_code != 0 {
            let told = greeting.error_message.map(|text| text.as_str().to_owned());
            return Err(told.unwrap_or_else(|| format!("error {}", greeting.error_code)));
        }
        let (own, theirs) = (self.own.cluster_id, greeting.cluster_id);
        if own != theirs && !own.is_zero() && !theirs.is_zero() {
            return Err(format!("it belongs to cluster {theirs}, and this node to {own}"));
        }
        if let Some(link) = self.links.get_mut(&to) {
            if !matches!(link.state, State::Up(_)) {
                link.state = State::Up(now);
            }
            link.answers_until = None;
            let range = |api: PeerApi| (api.api_key, api.min_version..=api.max_version);
            link.takes = greeting.apis.into_iter().map(range).collect();
        }
        Ok(Greeted { cluster_id: theirs, node: BrokerId(greeting.node_id), directory: greeting.directory_id })
    }

    /// A link could not be opened, or has ended.
    pub(crate) fn down(&mut self, now: Instant, id: LinkId, why: Down, fx: &mut Effects) -> Option<Heard<K>> {
        let to = self.names.get(&id).copied()?;
        Some(self.fail(now, to, why, false, fx))
    }

    /// Ends a link that answers nothing any more, to open another.
    pub(crate) fn give_up(&mut self, now: Instant, to: K, fx: &mut Effects) -> Heard<K> {
        self.fail(now, to, Down::Lost, true, fx)
    }

    fn fail(&mut self, now: Instant, to: K, why: Down, hangs_up: bool, fx: &mut Effects) -> Heard<K> {
        let Some(link) = self.links.get_mut(&to) else { return Heard::Down { to, why, was_up: false } };
        let was_up = matches!(link.state, State::Up(_));
        let has_worked = matches!(link.state, State::Up(since) if now.since(since) >= WORKED);
        if has_worked {
            link.failures = 0;
        }
        self.names.remove(&link.id);
        if hangs_up {
            fx.hang_ups.push(link.id);
        }
        link.asked.clear();
        link.answers_until = None;
        // What worked until now is tried again at once: a refusal then tells that the process is gone.
        let pause = if has_worked { Span::ZERO } else { backoff(link.failures, &mut self.rng) };
        link.failures += 1;
        link.state = State::Resting(now + pause);
        self.due.insert((now + pause, to));
        fx.wake(now + pause);
        Heard::Down { to, why, was_up }
    }

    /// Does what is due: dials again, gives up on those who do not greet.
    pub(crate) fn tick(&mut self, now: Instant, fx: &mut Effects) -> Vec<Heard<K>> {
        let mut heard = Vec::new();
        while let Some((at, to)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            let Some(link) = self.links.get_mut(&to) else { continue };
            match link.state {
                State::Resting(until) if until <= now => self.dial(to, fx),
                State::Greeting(until) if until <= now => {
                    hit!(link_not_greeted);
                    heard.push(self.fail(now, to, Down::Lost, true, fx));
                }
                State::Up(_) if link.answers_until.is_some_and(|until| until <= now) => {
                    hit!(link_dead_and_quiet);
                    heard.push(self.fail(now, to, Down::Lost, true, fx));
                }
                State::Resting(_) | State::Greeting(_) | State::Dialing | State::Up(_) => {}
            }
        }
        if let Some((at, _)) = self.due.first() {
            fx.wake(*at);
        }
        heard
    }

    fn open(&mut self, to: K, address: Address, fx: &mut Effects) {
        let (id, asked) = (LinkId(0), BTreeMap::new());
        let link = Link {
            id,
            address,
            state: State::Dialing,
            failures: 0,
            asked,
            answers_until: None,
            takes: BTreeMap::new(),
        };
        self.links.insert(to, link);
        self.dial(to, fx);
    }

    fn dial(&mut self, to: K, fx: &mut Effects) {
        let Some(link) = self.links.get_mut(&to) else { return };
        self.next_link += 1;
        link.id = LinkId(self.next_link);
        link.state = State::Dialing;
        self.names.insert(link.id, to);
        let Address { host, port } = link.address.clone();
        fx.dials.push(Dial { link: link.id, host, port });
    }
}

/// Somewhere between half and all of what has doubled with each failure.
fn backoff(failures: u32, rng: &mut Rng) -> Span {
    let doubled = (BACKOFF_MIN * (1 << failures.min(10))).min(BACKOFF_MAX).as_nanos() / 1_000;
    Span::from_micros(rng.between(doubled / 2, doubled))
}

/// The newest version that both ends know.
fn newest_common(own: &RangeInclusive<i16>, theirs: Option<&RangeInclusive<i16>>) -> Option<i16> {
    let version = *own.end().min(theirs?.end());
    (own.contains(&version) && theirs?.contains(&version)).then_some(version)
}

/// Which question a frame answers, and the answer.
fn answer_in(frame: &Bytes, asked: &mut BTreeMap<i32, (ApiKey, i16)>) -> Option<(i32, ApiKey, i16, Reader)> {
    let number = i32::from_be_bytes(*frame.first_chunk()?);
    let (key, version) = asked.remove(&number)?;
    let mut body = Reader::new(frame.clone());
    decode_response_head(&mut body, key, version).ok()?;
    Some((number, key, version, body))
}

#[cfg(test)]
mod tests;
