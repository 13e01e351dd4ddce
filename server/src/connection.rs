//! What waits to be sent on one connection.

use broker::{Fragment, Reply};
use bytes::Buf;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// File ranges up to this size are read and sent with what surrounds them; larger ones go by `sendfile`.
const COPY_BYTES_MAX: u32 = 16 << 10;
/// What one connection may send in one turn, so that others get theirs.
const TURN_BYTES_MAX: u64 = 1 << 20;

/// What waits to be sent on one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Fragment>,
    /// Bytes in the queue.
    pub(crate) bytes: u64,
}

/// How a turn of sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Nothing is left.
    All,
    /// The turn is over, more can be sent.
    Some,
    /// The socket takes no more at the moment.
    Blocked,
}

impl Outbox {
    pub(crate) fn push(&mut self, reply: Reply) {
        self.bytes += reply.len();
        self.queue.extend(reply.fragments);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Sends as much as the socket and the turn allow.
    pub(crate) fn send(&mut self, stream: &TcpStream) -> io::Result<Sent> {
        let mut turn = TURN_BYTES_MAX;
        while !self.queue.is_empty() {
            if turn == 0 {
                return Ok(Sent::Some);
            }
            match self.send_some(stream) {
                Ok(sent) => {
                    self.bytes -= sent;
                    turn = turn.saturating_sub(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::Blocked),
                Err(error) => return Err(error),
            }
        }
        Ok(Sent::All)
    }

    fn send_some(&mut self, stream: &TcpStream) -> io::Result<u64> {
        self.load_small_files()?;
        match self.queue.front_mut() {
            Some(Fragment::Bytes(_)) => self.send_bytes(stream),
            Some(Fragment::File { file, position, length }) => {
                let Some(descriptor) = file.descriptor() else {
                    return Err(io::Error::other("a file without a descriptor"));
                };
                let (mut from, count) = (*position, *length as usize);
                let sent = stream.try_io(Interest::WRITABLE, || {
                    Ok(rustix::fs::sendfile(stream.as_fd(), descriptor, Some(&mut from), count)?)
                })?;
                if sent == 0 {
                    // The file ended before the range: what was promised in the frame's size cannot come.
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "a log file is shorter than it was",
                    ));
                }
                self.advance_file(sent);
                Ok(sent as u64)
            }
            None => Ok(0),
        }
    }

    fn advance_file(&mut self, sent: usize) {
        let Some(Fragment::File { position, length, .. }) = self.queue.front_mut() else { return };
        *position += sent as u64;
        *length -= u32::try_from(sent).unwrap_or(*length);
        if *length == 0 {
            self.queue.pop_front();
        }
    }

    /// Reads small ranges near the front, so that they leave together with their surroundings.
    fn load_small_files(&mut self) -> io::Result<()> {
        for fragment in self.queue.iter_mut().take(IO_SLICES) {
            if let Fragment::File { file, position, length } = fragment
                && *length <= COPY_BYTES_MAX
            {
                let mut buffer = vec![0; *length as usize];
                let read = file.read_at(&mut buffer, *position).map_err(io::Error::other)?;
                if read < buffer.len() {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "a log file is shorter than it was",
                    ));
                }
                *fragment = Fragment::Bytes(buffer.into());
            }
        }
        Ok(())
    }

    fn send_bytes(&mut self, stream: &TcpStream) -> io::Result<u64> {
        let bytes_of = |fragment: &Fragment| match fragment {
            Fragment::Bytes(bytes) => Some(bytes.clone()),
            Fragment::File { .. } => None,
        };
        let parts: Vec<_> = self.queue.iter().take(IO_SLICES).map_while(bytes_of).collect();
        let slices: Vec<io::IoSlice<'_>> = parts.iter().map(|bytes| io::IoSlice::new(bytes)).collect();
        // What precedes a file range waits for it in the socket, else the reader is woken for a few bytes.
        let more = matches!(self.queue.get(parts.len()), Some(Fragment::File { .. }));
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        let mut sent = stream.try_io(Interest::WRITABLE, || {
            Ok(sendmsg(stream, &slices, &mut SendAncillaryBuffer::default(), flags)?)
        })?;
        let total = sent as u64;
        while sent > 0 {
            let Some(Fragment::Bytes(bytes)) = self.queue.front_mut() else { break };
            let taken = sent.min(bytes.len());
            bytes.advance(taken);
            sent -= taken;
            if bytes.is_empty() {
                self.queue.pop_front();
            }
        }
        Ok(total)
    }
}

/// Slices that one write takes.
const IO_SLICES: usize = 64;
