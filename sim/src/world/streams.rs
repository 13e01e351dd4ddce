//! The clients' connections: bytes take time, keep their order, and are lost with their connection.

use super::{Event, World};
use crate::client::describe;
use base::Span;
use broker::{ConnId, Fragment, Input, Owner, Reply};
use bytes::{Bytes, BytesMut};
use seglog::disk::DiskErrorKind;

impl World {
    pub(super) fn connect(&mut self, name: u64) {
        if !self.node.is_serving() {
            return;
        }
        if let Some(client) = self.clients.get_mut(&name) {
            client.connected = true;
        }
        self.next_connection += 1;
        let conn = ConnId(self.next_connection);
        self.connections.insert(name, conn);
        let owner = self.reactor_of(conn);
        let input = Input::Connected { conn, peer: "sim".into(), listener: "PLAINTEXT".into() };
        self.at(Span::ZERO, Event::Input(self.node.incarnation, owner, input));
    }

    pub(super) fn reactor_of(&self, conn: ConnId) -> Owner {
        Owner::Reactor(u16::try_from(conn.0 % u64::from(self.options.reactors)).unwrap_or(0))
    }

    pub(super) fn client_of(&self, conn: ConnId) -> Option<u64> {
        self.connections.iter().find(|(_, own)| **own == conn).map(|(name, _)| *name)
    }

    pub(super) fn send_reply(&mut self, conn: ConnId, reply: &Reply) -> Result<(), String> {
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
                            if let Some(name) = self.client_of(conn) {
                                self.hang_up(name);
                            }
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
        let size = wire::frame::frame_size(&frame, usize::MAX >> 1).ok().flatten();
        if size != Some(frame.len() - wire::frame::SIZE_BYTES) {
            return Err("a reply whose size field is wrong".into());
        }
        let frame = frame.freeze().slice(wire::frame::SIZE_BYTES..);
        let delay = self.stream_delay(conn, false);
        self.at(delay, Event::Reply(conn, frame));
        Ok(())
    }

    /// How long bytes take; never less than what was sent before them on the same stream.
    pub(super) fn stream_delay(&mut self, conn: ConnId, to_node: bool) -> Span {
        let arrives = self.now + self.some_micros(20, 2_000);
        let last = self.last_delivery.entry((conn, to_node)).or_insert(arrives);
        *last = (*last).max(arrives);
        last.since(self.now)
    }

    pub(super) fn reply(&mut self, conn: ConnId, frame: Bytes) -> Result<(), String> {
        let Some(name) = self.client_of(conn) else { return Ok(()) };
        let Some(client) = self.clients.get_mut(&name) else { return Ok(()) };
        self.trace.event(self.now.as_nanos(), "reply", || format!("client {name}: {} bytes", frame.len()));
        client.reply(frame, &mut self.history)?;
        self.report.replies += 1;
        self.populate();
        let slowness = u64::from(self.slowness);
        let delay = self.some_micros(50, 20_000 * slowness);
        self.at(delay, Event::Client(name));
        Ok(())
    }

    pub(super) fn client_acts(&mut self, name: u64) -> Result<(), String> {
        let wall = self.wall().wall;
        let Some(client) = self.clients.get_mut(&name) else { return Ok(()) };
        if client.is_waiting() {
            return Ok(());
        }
        if !client.connected {
            self.connect(name);
            let delay = self.some_micros(1_000, 50_000);
            self.at(delay, Event::Client(name));
            return Ok(());
        }
        if let Some(frame) = client.next_request(&mut self.rng, wall, &mut self.history) {
            self.sent += 1;
            self.trace.event(self.now.as_nanos(), "ask", || format!("client {name}: {}", describe(&frame)));
            self.trace.add(&frame);
            let Some(conn) = self.connections.get(&name).copied() else { return Ok(()) };
            let delay = self.stream_delay(conn, true);
            let owner = self.reactor_of(conn);
            let input = Input::Frame { conn, frame };
            self.at(delay, Event::Input(self.node.incarnation, owner, input));
        }
        Ok(())
    }

    /// A client's process is gone: the node hears of it before anything that is still under way.
    pub(super) fn hang_up(&mut self, name: u64) {
        if let Some(conn) = self.connections.get(&name).copied() {
            self.closed.insert(conn);
            let owner = self.reactor_of(conn);
            self.at(Span::ZERO, Event::Input(self.node.incarnation, owner, Input::Closed { conn }));
        }
        self.disconnect(name);
    }

    pub(super) fn disconnect(&mut self, name: u64) {
        self.connections.remove(&name);
        if let Some(client) = self.clients.get_mut(&name) {
            client.disconnected(&mut self.history);
            let delay = self.some_micros(1_000, 20_000);
            self.at(delay, Event::Client(name));
        }
    }
}
