//! Connections, from clients to nodes and between nodes: bytes take time, keep their order, wait while the network
//! is cut, and are lost with their connection.
//!
//! As TCP has it: what was sent through a cut arrives once the cut is mended, or the connection breaks at the end that has
//! waited too long for a sign of it. Who has nothing under way hears nothing. A process that dies takes its connections
//! along, and the other ends are told; a machine that is off tells nobody anything.

use super::queue::{Event, Seat};
use super::{Span, World};
use crate::node::{self, CLIENTS, Listening, PEERS};
use base::Instant;
use broker::{ConnId, Dial, Down, Input, LinkId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How long bytes may be under way before their connection breaks (TCP_USER_TIMEOUT).
const GIVES_UP_AFTER: Span = Span::from_secs(5);
/// After so many new connections those are forgotten that nobody has any more.
const FORGETS_EVERY: u64 = 256;
/// How often a connection is tried to be opened through a cut, a second apart.
const DIALS: u32 = 3;

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the node that listens.
    In,
    /// To whoever opened it.
    Out,
}

/// What goes over a connection.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// It is open.
    Open,
    /// Nobody listens.
    Refusal,
    /// A frame without its size.
    Frame(Bytes),
    /// It has ended.
    End,
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug)]
enum Dialler {
    Client(u64),
    Node(Seat, LinkId),
}

/// Where bytes come from or go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// All clients are in one place.
    Clients,
    Node(usize),
}

#[derive(Debug, Default)]
struct Stream {
    /// When the latest bytes arrive: earlier ones come before.
    last: Option<Instant>,
    /// What waits for the network, in order.
    held: VecDeque<Piece>,
    /// When its sender takes the connection for broken.
    gives_up: Option<Instant>,
}

#[derive(Debug)]
struct Wire {
    dialler: Dialler,
    /// The node that it leads to.
    node: usize,
    listener: Listening,
    /// Who has accepted it.
    acceptor: Option<Seat>,
    /// The acceptor knows that it has ended.
    has_ended: bool,
    streams: [Stream; 2],
}

/// All connections, and what is wrong with the network.
#[derive(Debug, Default)]
pub(super) struct Network {
    wires: BTreeMap<ConnId, Wire>,
    links: BTreeMap<(Seat, LinkId), ConnId>,
    next: u64,
    /// How many outages keep bytes from getting from one place to another.
    pub(super) cuts: BTreeMap<(Place, Place), u32>,
    /// Between these bytes take long.
    pub(super) slow: BTreeSet<(Place, Place)>,
}

impl Network {
    fn open(&mut self, dialler: Dialler, node: usize, listener: Listening) -> ConnId {
        self.next += 1;
        let conn = ConnId(self.next);
        let streams = [Stream::default(), Stream::default()];
        let wire = Wire { dialler, node, listener, acceptor: None, has_ended: false, streams };
        self.wires.insert(conn, wire);
        conn
    }

    pub(super) fn is_cut(&self, one: Place, other: Place) -> bool {
        self.cuts.contains_key(&(one, other))
    }
}

impl Wire {
    const fn ends(&self, way: Way) -> (Place, Place) {
        let outside = match self.dialler {
            Dialler::Client(_) => Place::Clients,
            Dialler::Node(seat, _) => Place::Node(seat.node),
        };
        match way {
            Way::In => (outside, Place::Node(self.node)),
            Way::Out => (Place::Node(self.node), outside),
        }
    }

    const fn stream(&mut self, way: Way) -> &mut Stream {
        &mut self.streams[way as usize]
    }
}

/// Opening.
impl World {
    /// A client connects to a node that serves.
    pub(super) fn open_for_client(&mut self, name: u64, node: usize) -> ConnId {
        self.forget_dead();
        let conn = self.net.open(Dialler::Client(name), node, CLIENTS);
        let seat = self.seat(node, self.nodes[node].taker(conn.0));
        if let Some(wire) = self.net.wires.get_mut(&conn) {
            wire.acceptor = Some(seat);
        }
        self.at(Span::ZERO, Event::Arrive(conn, Way::In, Piece::Open));
        conn
    }

    /// A node wants a connection to another one.
    pub(super) fn dial(&mut self, seat: Seat, dial: &Dial) -> Result<(), String> {
        let listener = [CLIENTS, PEERS].into_iter().find(|listener| listener.port == dial.port);
        let node = node::index_of(&dial.host).filter(|node| *node < self.nodes.len());
        let (Some(listener), Some(node)) = (listener, node) else {
            return Err(format!("node {} dials {}:{}", seat.node + 1, dial.host, dial.port));
        };
        self.forget_dead();
        let conn = self.net.open(Dialler::Node(seat, dial.link), node, listener);
        self.net.links.insert((seat, dial.link), conn);
        let delay = self.some_micros(20, 2_000);
        self.at(delay, Event::Dial(conn, 1));
        Ok(())
    }

    /// The wish arrives, if it does: the machine answers whether or not its process has time for it.
    pub(super) fn dialled(&mut self, conn: ConnId, times: u32) -> Result<(), String> {
        let Some((Dialler::Node(..), node)) = self.net.wires.get(&conn).map(|wire| (wire.dialler, wire.node))
        else {
            return Ok(());
        };
        if !self.has_dialler(conn) {
            return Ok(());
        }
        if self.is_cut_off(conn, Way::In) || self.is_cut_off(conn, Way::Out) {
            if times < DIALS {
                self.at(Span::from_secs(1), Event::Dial(conn, times + 1));
                return Ok(());
            }
            return self.arrived_outside(conn, Piece::End);
        }
        if !self.nodes[node].is_listening() {
            self.send(conn, Way::Out, Piece::Refusal);
            return Ok(());
        }
        let seat = self.seat(node, self.nodes[node].taker(conn.0));
        if let Some(wire) = self.net.wires.get_mut(&conn) {
            wire.acceptor = Some(seat);
        }
        self.send(conn, Way::Out, Piece::Open);
        self.arrived_inside(conn, Piece::Open)
    }
}

/// Sending.
impl World {
    /// Sends something on its way, after whatever was sent before it.
    pub(super) fn send(&mut self, conn: ConnId, way: Way, piece: Piece) {
        let delay = self.stream_delay(conn, way);
        self.at(delay, Event::Arrive(conn, way, piece));
        if self.is_cut_off(conn, Way::In) || self.is_cut_off(conn, Way::Out) {
            self.watch_out(conn, way);
        }
    }

    /// From now on the sender waits for a sign that its bytes have arrived.
    fn watch_out(&mut self, conn: ConnId, way: Way) {
        let until = self.now + GIVES_UP_AFTER;
        let Some(wire) = self.net.wires.get_mut(&conn) else { return };
        if wire.stream(way).gives_up.is_none() {
            wire.stream(way).gives_up = Some(until);
            self.at(GIVES_UP_AFTER, Event::GiveUp(conn, way));
        }
    }

    /// How long bytes take; never less than what was sent before them on the same stream.
    fn stream_delay(&mut self, conn: ConnId, way: Way) -> Span {
        let delay = self.some_micros(20, 2_000);
        let Some(wire) = self.net.wires.get(&conn) else { return delay };
        let is_slow = self.net.slow.contains(&wire.ends(way));
        let delay = if is_slow { delay * self.schedule.between(10, 300) } else { delay };
        let arrives = self.now + delay;
        let Some(wire) = self.net.wires.get_mut(&conn) else { return delay };
        let last = wire.stream(way).last.get_or_insert(arrives);
        *last = (*last).max(arrives);
        last.since(self.now)
    }

    /// A frame that a node sends over a link that it has opened.
    pub(super) fn send_over_link(&mut self, seat: Seat, link: LinkId, bytes: &Bytes) -> Result<(), String> {
        let Some(conn) = self.net.links.get(&(seat, link)).copied() else { return Ok(()) };
        let frame = frame_in(bytes)?;
        let is_open = self.net.wires.get(&conn).is_some_and(|wire| wire.acceptor.is_some());
        self.trace.add(bytes);
        if is_open {
            self.send(conn, Way::In, Piece::Frame(frame));
        }
        Ok(())
    }

    /// A node has done with a link.
    pub(super) fn hang_up_link(&mut self, seat: Seat, link: LinkId) {
        if let Some(conn) = self.net.links.remove(&(seat, link)) {
            self.send(conn, Way::In, Piece::End);
        }
    }

    /// A node closes a connection that it has accepted.
    pub(super) fn close(&mut self, conn: ConnId) {
        self.send(conn, Way::Out, Piece::End);
        self.at(Span::ZERO, Event::Arrive(conn, Way::In, Piece::End));
    }

    /// A client's process is gone: the node hears of it before anything that is still under way.
    pub(super) fn hang_up_client(&mut self, conn: ConnId) {
        self.at(Span::ZERO, Event::Arrive(conn, Way::In, Piece::End));
    }
}

/// Arriving.
impl World {
    pub(super) fn arrive(&mut self, conn: ConnId, way: Way, piece: Piece) -> Result<(), String> {
        let is_cut = self.is_cut_off(conn, way);
        let Some(wire) = self.net.wires.get_mut(&conn) else { return Ok(()) };
        if is_cut || !wire.stream(way).held.is_empty() {
            wire.stream(way).held.push_back(piece);
            self.watch_out(conn, way);
            return Ok(());
        }
        match way {
            Way::In => self.arrived_inside(conn, piece),
            Way::Out => self.arrived_outside(conn, piece),
        }
    }

    /// Something has come to the node that listens.
    fn arrived_inside(&mut self, conn: ConnId, piece: Piece) -> Result<(), String> {
        let Some(wire) = self.net.wires.get(&conn) else { return Ok(()) };
        let (Some(seat), listener, has_ended) = (wire.acceptor, wire.listener, wire.has_ended) else {
            return Ok(());
        };
        if !self.is_alive(seat) {
            // What is sent to a process that is gone is answered by its machine.
            if self.has_dialler(conn) && !matches!(piece, Piece::End) {
                self.send(conn, Way::Out, Piece::End);
            }
            return Ok(());
        }
        let input = match piece {
            Piece::Open => Input::Connected { conn, peer: "sim".into(), listener: listener.name.into() },
            Piece::Frame(frame) => Input::Frame { conn, frame },
            Piece::End | Piece::Refusal if has_ended => return Ok(()),
            Piece::End | Piece::Refusal => {
                if let Some(wire) = self.net.wires.get_mut(&conn) {
                    wire.has_ended = true;
                }
                Input::Closed { conn }
            }
        };
        self.give(seat, input)
    }

    /// Something has come back to whoever opened the connection.
    fn arrived_outside(&mut self, conn: ConnId, piece: Piece) -> Result<(), String> {
        let Some(wire) = self.net.wires.get(&conn) else { return Ok(()) };
        match wire.dialler {
            Dialler::Client(name) if self.connections.get(&name) == Some(&conn) => match piece {
                Piece::Frame(frame) => self.reply(name, frame),
                Piece::End | Piece::Refusal => {
                    self.disconnect(name);
                    Ok(())
                }
                Piece::Open => Ok(()),
            },
            Dialler::Client(_) => Ok(()),
            Dialler::Node(..) if !self.has_dialler(conn) => {
                if !wire.has_ended && !matches!(piece, Piece::End) {
                    self.send(conn, Way::In, Piece::End);
                }
                Ok(())
            }
            Dialler::Node(seat, link) => self.give(
                seat,
                match piece {
                    Piece::Open => Input::Linked { link },
                    Piece::Frame(frame) => Input::LinkFrame { link, frame },
                    Piece::End => Input::LinkDown { link, why: Down::Lost },
                    Piece::Refusal => Input::LinkDown { link, why: Down::Refused },
                },
            ),
        }
    }

    /// An owner hears of a link only as long as it has not hung up.
    pub(super) fn knows(&mut self, seat: Seat, input: &Input) -> bool {
        match input {
            Input::Linked { link } | Input::LinkFrame { link, .. } => {
                self.net.links.contains_key(&(seat, *link))
            }
            Input::LinkDown { link, .. } => self.net.links.remove(&(seat, *link)).is_some(),
            Input::Connected { .. }
            | Input::Frame { .. }
            | Input::Closed { .. }
            | Input::Mail(_)
            | Input::JobDone(_)
            | Input::Tick => true,
        }
    }
}

/// Breaking.
impl World {
    /// Now and then, connections are forgotten whose ends are both gone, or know that they have ended.
    fn forget_dead(&mut self) {
        if !self.net.next.is_multiple_of(FORGETS_EVERY) {
            return;
        }
        let is_dead = |conn: &ConnId, wire: &Wire| {
            let is_accepted = wire.acceptor.is_some_and(|seat| self.is_alive(seat)) && !wire.has_ended;
            !is_accepted && !self.has_dialler(*conn)
        };
        let dead = self.net.wires.iter().filter(|(conn, wire)| is_dead(conn, wire)).map(|(conn, _)| *conn);
        for conn in dead.collect::<Vec<_>>() {
            self.net.wires.remove(&conn);
        }
    }

    /// True if nothing gets from one end of the connection to the other that way.
    fn is_cut_off(&self, conn: ConnId, way: Way) -> bool {
        let Some(wire) = self.net.wires.get(&conn) else { return false };
        let (from, to) = wire.ends(way);
        let is_off = |place| matches!(place, Place::Node(node) if self.nodes[node].is_off);
        self.net.is_cut(from, to) || is_off(from) || is_off(to)
    }

    fn has_dialler(&self, conn: ConnId) -> bool {
        match self.net.wires.get(&conn).map(|wire| wire.dialler) {
            Some(Dialler::Client(name)) => self.connections.get(&name) == Some(&conn),
            Some(Dialler::Node(seat, link)) => {
                self.is_alive(seat) && self.net.links.get(&(seat, link)) == Some(&conn)
            }
            None => false,
        }
    }

    /// Whoever sent that way takes the connection for broken; the other end is told once it can be.
    pub(super) fn give_up(&mut self, conn: ConnId, way: Way) -> Result<(), String> {
        let now = self.now;
        let Some(wire) = self.net.wires.get_mut(&conn) else { return Ok(()) };
        if wire.stream(way).gives_up != Some(now) {
            return Ok(());
        }
        let stream = wire.stream(way);
        stream.gives_up = None;
        stream.held = VecDeque::from([Piece::End]);
        match way {
            Way::In => self.arrived_outside(conn, Piece::End),
            Way::Out => self.arrived_inside(conn, Piece::End),
        }
    }

    /// The network is whole again somewhere: what waited goes on.
    pub(super) fn resume_network(&mut self) {
        let conns: Vec<ConnId> = self.net.wires.keys().copied().collect();
        for conn in conns {
            if self.is_cut_off(conn, Way::In) || self.is_cut_off(conn, Way::Out) {
                continue;
            }
            for way in [Way::In, Way::Out] {
                let Some(wire) = self.net.wires.get_mut(&conn) else { continue };
                wire.stream(way).gives_up = None;
                let held = std::mem::take(&mut wire.stream(way).held);
                for piece in held {
                    self.send(conn, way, piece);
                }
            }
        }
    }

    /// A process is gone, and its machine says so to all whom it was connected to.
    pub(super) fn break_links_of(&mut self, node: usize) {
        let mine = |seat: Seat| seat.node == node;
        let ends: Vec<(ConnId, Way)> = self
            .net
            .wires
            .iter()
            .filter_map(|(conn, wire)| match wire.dialler {
                Dialler::Node(seat, _) if mine(seat) => (!wire.has_ended).then_some((*conn, Way::In)),
                Dialler::Client(_) | Dialler::Node(..) => {
                    (wire.node == node && self.has_dialler(*conn)).then_some((*conn, Way::Out))
                }
            })
            .collect();
        self.net.links.retain(|(seat, _), _| !mine(*seat));
        if !self.nodes[node].is_off {
            for (conn, way) in ends {
                self.send(conn, way, Piece::End);
            }
        }
    }
}

/// The frame that these bytes are, without its size.
pub(super) fn frame_in(bytes: &Bytes) -> Result<Bytes, String> {
    let size = wire::frame::frame_size(bytes, usize::MAX >> 1).ok().flatten();
    if size != Some(bytes.len() - wire::frame::SIZE_BYTES) {
        return Err("a frame whose size field is wrong".into());
    }
    Ok(bytes.slice(wire::frame::SIZE_BYTES..))
}
