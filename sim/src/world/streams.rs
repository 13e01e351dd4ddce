//! The clients: how they are connected, ask, and are answered.

use super::network::{Piece, Way};
use super::queue::Event;
use super::{Span, World};
use crate::client::{Client, describe};
use crate::history::History;
use broker::{ConnId, Fragment, Reply};
use bytes::{Bytes, BytesMut};
use seglog::disk::DiskErrorKind;

impl World {
    /// Connects a client to the node that it wants to talk to, if that serves.
    pub(super) fn connect(&mut self, name: u64) {
        let Some(client) = self.clients.get_mut(&name) else { return };
        let at = client.route.at();
        let is_open = !self.net.is_cut(super::network::Place::Clients, super::network::Place::Node(at));
        if !self.nodes[at].is_serving() || !is_open {
            client.route.try_another(&mut self.schedule);
            return;
        }
        client.connected = true;
        let conn = self.open_for_client(name, at);
        self.connections.insert(name, conn);
    }

    pub(super) fn client_of(&self, conn: ConnId) -> Option<u64> {
        self.connections.iter().find(|(_, own)| **own == conn).map(|(name, _)| *name)
    }

    pub(super) fn send_reply(&mut self, conn: ConnId, reply: &Reply) -> Result<(), String> {
        if reply.is_empty() {
            return Ok(());
        }
        let mut frame = BytesMut::new();
        for fragment in &reply.fragments {
            match fragment {
                Fragment::Bytes(bytes) => frame.extend_from_slice(bytes),
                Fragment::File { file, position, length } => {
                    let mut buffer = vec![0; *length as usize];
                    let read = match file.read_at(&mut buffer, *position) {
                        Ok(read) => read,
                        Err(error) if matches!(error.kind, DiskErrorKind::Io(_)) => {
                            // What began and cannot be ended ends the connection.
                            self.break_off(conn);
                            return Ok(());
                        }
                        Err(error) => return Err(error.to_string()),
                    };
                    if read < buffer.len() {
                        return Err("a reply promises bytes that its file does not have".into());
                    }
                    frame.extend_from_slice(&buffer);
                }
            }
        }
        self.trace.add(&frame);
        let frame = super::network::frame_in(&frame.freeze())?;
        self.send(conn, Way::Out, Piece::Frame(frame));
        Ok(())
    }

    pub(super) fn reply(&mut self, name: u64, frame: Bytes) -> Result<(), String> {
        let Some(client) = self.clients.get_mut(&name) else { return Ok(()) };
        self.trace.event(self.now.as_nanos(), "reply", || {
            let start = frame.iter().take(100).copied().collect::<Vec<_>>();
            format!("client {name}: {} bytes {}", frame.len(), start.escape_ascii())
        });
        client.reply(frame, &mut self.history)?;
        self.report.replies += 1;
        if client.route.is_elsewhere() {
            self.hang_up(name);
        }
        self.populate();
        // Who knows nobody to ask does not ask all the time.
        let is_lost = self.clients.get(&name).is_some_and(Client::is_looking);
        let slowness = if is_lost { 10 } else { u64::from(self.slowness) };
        let delay = self.some_micros(50, 20_000 * slowness);
        self.let_act(name, delay);
        Ok(())
    }

    pub(super) fn client_acts(&mut self, name: u64) -> Result<(), String> {
        let wall = self.wall().wall;
        let Some(client) = self.clients.get_mut(&name) else { return Ok(()) };
        if client.acts_at.take_if(|at| *at == self.now).is_none()
            || client.is_waiting()
            || (self.history.is_of_cluster() && is_over(client, &self.history))
        {
            return Ok(());
        }
        if !client.connected {
            self.connect(name);
            // Who looks for a node that serves among many is in no hurry.
            let delay = self.some_micros(1_000, if self.is_cluster() { 300_000 } else { 50_000 });
            self.let_act(name, delay);
            return Ok(());
        }
        if let Some(frame) = client.next_request(&mut self.rng, wall, &mut self.history) {
            let (correlation, at) = (client.correlation(), client.route.at() + 1);
            self.sent += u32::from(!client.is_looking());
            self.trace.event(self.now.as_nanos(), "ask", || {
                format!("client {name} of n{at}: {}", describe(&frame))
            });
            self.trace.add(&frame);
            let Some(conn) = self.connections.get(&name).copied() else { return Ok(()) };
            self.send(conn, Way::In, Piece::Frame(frame));
            if self.is_cluster() {
                let patience = self.some_micros(500_000, 8_000_000);
                self.at(patience, Event::Impatient(name, correlation));
            }
        }
        Ok(())
    }

    /// A client that has waited for too long tries again elsewhere.
    pub(super) fn lose_patience(&mut self, name: u64, correlation: i32) {
        let Some(client) = self.clients.get_mut(&name) else { return };
        if client.is_waiting() && client.correlation() == correlation {
            client.route.try_another(&mut self.schedule);
            self.hang_up(name);
        }
    }

    /// A client's process is gone: the node hears of it before anything that is still under way.
    pub(super) fn hang_up(&mut self, name: u64) {
        if let Some(conn) = self.connections.get(&name).copied() {
            self.hang_up_client(conn);
        }
        self.disconnect(name);
    }

    pub(super) fn disconnect(&mut self, name: u64) {
        self.connections.remove(&name);
        if let Some(client) = self.clients.get_mut(&name) {
            client.disconnected(&mut self.history);
            let delay = self.some_micros(1_000, 20_000);
            self.let_act(name, delay);
        }
    }

    /// Lets a client act after a while, unless it will before that.
    pub(super) fn let_act(&mut self, name: u64, delay: Span) {
        let at = self.now + delay;
        let Some(client) = self.clients.get_mut(&name) else { return };
        if client.acts_at.is_none_or(|earlier| earlier > at) {
            client.acts_at = Some(at);
            self.at(delay, Event::Client(name));
        }
    }
}

/// True for a client of a topic that was deleted.
fn is_over(client: &Client, history: &History) -> bool {
    client.partition().is_some_and(|(topic, _)| history.era(topic) > 0)
}
