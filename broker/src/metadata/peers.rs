//! The other members of the quorum: links to them, and what they say.

use super::Metadata;
use super::remote::{Asker, Errand};
use crate::effects::{Down, Effects};
use crate::peer::{Address, Book, Greeted, Heard, Identity, Links};
use crate::view::News;
use base::{BrokerId, Instant, Now, Rng, Span, hit};
use bytes::Bytes;
use cluster::Image;
use cluster::config::NodeConfig;
use cluster::controller::Command;
use quorum::{RaftId, Role};
use std::collections::{BTreeMap, BTreeSet};
use wire::peer_quorum::PeerQuorumRequest;

/// A tick of the quorum: an election timeout is ten to twenty of them.
const TICK: Span = Span::from_millis(50);
/// How long nobody leads before everybody is greeted again, and how long until the next time.
const UNLED_MAX: Span = Span::from_secs(2);

/// The other members, and the way to them.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) links: Links<BrokerId>,
    pub(super) book: Book,
    own: BrokerId,
    /// Who has greeted last as a node that another member is, as far as is known here: a stranger, or that node's new disk.
    doubles: BTreeMap<BrokerId, Identity>,
    next_tick: Instant,
    /// When all are greeted again, if nobody leads until then.
    greets_again: Option<Instant>,
}

impl Peers {
    pub(super) fn new(identity: Identity, config: &NodeConfig, image: &Image, rng: Rng) -> Self {
        let mut book = Book::new(config);
        let own = identity.node;
        book.note(&identity);
        let all: Vec<_> = image.brokers().map(|broker| broker.id).collect();
        book.note_registered(image, &all);
        Self {
            links: Links::new(identity, rng),
            book,
            own,
            doubles: BTreeMap::new(),
            next_tick: Instant::ZERO,
            greets_again: None,
        }
    }

    /// Sends messages of the quorum. What cannot be sent is lost: the quorum says it again.
    pub(super) fn send(&mut self, messages: Vec<(RaftId, Bytes)>, fx: &mut Effects) {
        for (to, message) in messages {
            let Some(node) = self.book.node(to) else { continue };
            let request = PeerQuorumRequest { message, ..PeerQuorumRequest::default() };
            let _not_up = self.links.tell(node, &request, fx);
        }
    }

    fn want(&mut self, node: BrokerId, fx: &mut Effects) {
        if node != self.own
            && let Some(address) = self.book.address(node).cloned()
        {
            self.links.want(node, &address, fx);
        }
    }
}

impl Metadata {
    /// Lets time pass for the quorum. Who was kept from running ticks once: it has heard of nobody, and nobody was silent.
    pub(super) fn tick_quorum(&mut self, now: Now, fx: &mut Effects) {
        if self.quorum.is_alone() {
            return;
        }
        if self.peers.next_tick <= now.mono {
            self.peers.next_tick = now.mono + TICK;
            self.quorum.tick();
        }
        fx.wake(self.peers.next_tick);
    }

    /// Who hears of a leader has a link to it. That one may have become a member after all that is known here, on a new disk of
    /// a node that was one before: what leads is no stranger.
    pub(super) fn want_leader(&mut self, fx: &mut Effects) {
        if let Some(leader) = self.quorum.leader().filter(|leader| self.peers.book.node(*leader).is_none()) {
            let double = self.peers.doubles.values().find(|who| RaftId::of(who.directory) == leader).cloned();
            double.into_iter().for_each(|who| self.peers.book.note(&who));
        }
        if self.controller_node().is_some_and(|node| !self.peers.links.is_wanted(node)) {
            hit!(leader_is_no_member_yet);
            self.want_links(fx);
        }
    }

    /// Who hears of no leader makes sure that it is known where it is. One that has just joined is known from its greeting
    /// alone: whoever it has greeted forgets that when it loses its power, and nothing comes over the link to tell.
    pub(super) fn greet_while_unled(&mut self, now: Now, fx: &mut Effects) {
        if self.quorum.leader().is_some() || self.quorum.is_alone() {
            self.peers.greets_again = None;
            return;
        }
        let due = *self.peers.greets_again.get_or_insert(now.mono + UNLED_MAX);
        if due <= now.mono {
            self.peers.greets_again = Some(now.mono + UNLED_MAX);
            self.peers.links.greet_again(now.mono, fx);
        }
    }

    /// The node that leads the quorum, if that is another one and known.
    pub(super) fn controller_node(&self) -> Option<BrokerId> {
        self.peers.book.node(self.quorum.leader()?).filter(|node| *node != self.peers.own)
    }

    /// Where the controller is, for those who ask at the wrong place.
    pub(super) fn controller_address(&self) -> Option<(BrokerId, Address)> {
        let node = self.controller_node()?;
        Some((node, self.peers.book.address(node)?.clone()))
    }

    /// Who leads has links to all members; everybody else to the voters, one of whom leads or will, and to who leads.
    pub(super) fn want_links(&mut self, fx: &mut Effects) {
        let membership = self.quorum.membership();
        let leads = self.quorum.role() == Role::Leader;
        let voters = membership.voters.iter().chain(&membership.outgoing);
        let members: BTreeSet<RaftId> =
            if leads { membership.members().collect() } else { voters.copied().collect() };
        let book = &self.peers.book;
        let mut wanted: BTreeSet<BrokerId> = members.iter().filter_map(|member| book.node(*member)).collect();
        if wanted.len() < members.len() || members.is_empty() {
            // Some are not known yet: whoever has an address says who it is.
            wanted.extend(book.known());
        }
        wanted.extend(self.controller_node());
        for gone in self.peers.links.wanted().filter(|node| !wanted.contains(node)).collect::<Vec<_>>() {
            self.peers.links.forget(gone, fx);
            self.fetch_failed_from(gone);
        }
        for node in wanted {
            self.peers.want(node, fx);
        }
    }

    /// A node has greeted over a link that it opened. One that is no member and says that it is a node which there is
    /// already does not take that one's address from it.
    pub(super) fn greeted(&mut self, who: &Identity, fx: &mut Effects) {
        let membership = self.quorum.membership();
        let is_member = membership.contains(RaftId::of(who.directory));
        if !is_member && membership.members().any(|id| self.peers.book.node(id) == Some(who.node)) {
            hit!(greeting_of_a_double);
            self.peers.doubles.insert(who.node, who.clone());
            return;
        }
        self.peers.book.note(who);
        if is_member {
            self.want_links(fx);
        }
    }

    /// Something came over a link, or a link came or went.
    pub(super) fn heard(&mut self, now: Now, heard: Heard<BrokerId>, fx: &mut Effects) {
        match heard {
            Heard::Up { to, who: Greeted { node, directory, .. } } if node == to || Book::is_nameless(to) => {
                if self.departures.is_back(node) {
                    self.publish(self.view.replicas.clone(), News::default(), fx);
                }
                if Book::is_nameless(to) {
                    hit!(server_says_who_it_is);
                    self.peers.book.name(to, node);
                }
                self.peers.book.note_directory(node, directory);
                // Over a link to where it was before, nothing is answered any more.
                self.link_gone(now, to, fx);
                self.want_links(fx);
            }
            Heard::Up { to, .. } => {
                // Somebody else is at that address now.
                hit!(peer_is_another);
                let _down = self.peers.links.give_up(now.mono, to, fx);
            }
            Heard::Down { to, why, was_up } => {
                if was_up {
                    self.link_lost(now, to, fx);
                }
                if why == Down::Refused {
                    self.process_is_gone(now, to, fx);
                }
            }
            Heard::Answer { to, number, version, body } => {
                if let Some(body) = self.take_piece(now, to, number, body, fx) {
                    self.answered_elsewhere(now, number, version, body, fx);
                }
            }
        }
    }

    fn link_lost(&mut self, now: Now, to: BrokerId, fx: &mut Effects) {
        if self.committed.serves(to) {
            self.departures.hung_up(to, now.mono);
            self.publish(self.view.replicas.clone(), News::default(), fx);
        }
        self.link_gone(now, to, fx);
    }

    fn link_gone(&mut self, now: Now, to: BrokerId, fx: &mut Effects) {
        self.fetch_failed_from(to);
        self.asked_in_vain(now, to, fx);
    }

    /// Nobody listens where a node was: its process has ended. Nobody waits for timeouts.
    fn process_is_gone(&mut self, now: Now, node: BrokerId, fx: &mut Effects) {
        if let Some(leader) = self.quorum.leader()
            && self.peers.book.node(leader) == Some(node)
        {
            self.quorum.leader_is_gone(leader);
        }
        if self.leading.speculative.as_ref().is_some_and(|image| image.serves(node)) {
            hit!(gone_process_fenced);
            self.put(now, Asker::Sessions, Errand::Command(Command::FenceBroker { id: node }), fx);
        }
    }
}
