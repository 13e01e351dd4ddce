//! A broker behind a socket. Blocking and one request at a time: the scripts wait for their answers anyway.

use super::play::{Heard, Patience, Target};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long to see whether something comes.
const MOMENT: Duration = Duration::from_millis(150);
/// How long an answer may take.
const LONG: Duration = Duration::from_secs(5);
/// A response that claims more than this is none.
const FRAME_MAX: usize = 64 << 20;

/// Connections to one broker.
pub(super) struct Broker {
    address: String,
    connections: BTreeMap<String, TcpStream>,
    /// How long it may take to follow its controller.
    settles_after: Duration,
}

impl Broker {
    pub(super) fn new(address: &str, settles_after: Duration) -> Self {
        Self { address: address.to_owned(), connections: BTreeMap::new(), settles_after }
    }

    fn connection(&mut self, name: &str) -> Result<&mut TcpStream, String> {
        if !self.connections.contains_key(name) {
            let stream = TcpStream::connect(&self.address);
            let stream = stream.map_err(|error| format!("{}: {error}", self.address))?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            self.connections.insert(name.to_owned(), stream);
        }
        self.connections.get_mut(name).ok_or_else(|| "no connection".into())
    }
}

impl Target for Broker {
    fn send(&mut self, connection: &str, frame: &[u8]) -> Result<(), String> {
        let size = u32::try_from(frame.len()).map_err(|error| error.to_string())?;
        let mut bytes = size.to_be_bytes().to_vec();
        bytes.extend_from_slice(frame);
        // A connection that the other side has closed is found out when its answer is awaited.
        let _closed = self.connection(connection)?.write_all(&bytes);
        Ok(())
    }

    fn hear(&mut self, connection: &str, patience: Patience) -> Result<Heard, String> {
        let stream = self.connection(connection)?;
        let time = if patience == Patience::Long { LONG } else { MOMENT };
        stream.set_read_timeout(Some(time)).map_err(|error| error.to_string())?;
        let mut size = [0; 4];
        if let Err(error) = stream.read_exact(&mut size) {
            return Ok(match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Heard::Nothing,
                _ => Heard::Closed,
            });
        }
        let size = usize::try_from(u32::from_be_bytes(size)).map_err(|error| error.to_string())?;
        if size > FRAME_MAX {
            return Err(format!("a response of {size} bytes"));
        }
        stream.set_read_timeout(Some(LONG)).map_err(|error| error.to_string())?;
        let mut frame = vec![0; size];
        stream.read_exact(&mut frame).map_err(|error| error.to_string())?;
        Ok(Heard::Frame(frame))
    }

    fn close(&mut self, connection: &str) {
        self.connections.remove(connection);
    }

    fn pass(&mut self, time: Duration) -> Result<(), String> {
        pause(time);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), String> {
        pause(self.settles_after);
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "over sockets time passes by itself")]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}
