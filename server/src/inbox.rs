//! What has been read from one connection and not yet handed on.

use bytes::{BufMut as _, Bytes, BytesMut};
use std::io;
use tokio::net::TcpStream;
use wire::frame::{FrameError, SIZE_BYTES, frame_size};

/// Room that is made for the first read of a connection.
const READ_BYTES_MIN: usize = 4 << 10;
/// The most room for a read that does not know what is to come.
const READ_BYTES_MAX: usize = 64 << 10;
/// The most room for a read of what is known to be left of a frame.
const FRAME_READ_BYTES_MAX: usize = 256 << 10;
/// What is left of a frame is read to its exact end if it is at least this: nothing of the next frame then lies
/// behind it, so that no record byte is ever moved and the same memory is used again and again.
const EXACT_BYTES_MIN: usize = 8 << 10;

/// Received bytes. Memory grows with what comes and never with what is merely announced, so that the size in front
/// of a frame reserves nothing.
#[derive(Debug)]
pub(crate) struct Inbox {
    buffer: BytesMut,
    /// Room for the next read.
    room: usize,
    frame_bytes_max: usize,
}

impl Inbox {
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), room: READ_BYTES_MIN, frame_bytes_max }
    }

    /// True between frames.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Gives the memory back, if nothing is in it.
    pub(crate) fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.room = READ_BYTES_MIN;
        }
    }

    /// Reads once. `WouldBlock` when nothing is there, zero at the end.
    pub(crate) fn read(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let left = self.left();
        let exact = left.filter(|left| *left >= EXACT_BYTES_MIN);
        let room = exact.map_or(self.room.min(READ_BYTES_MAX), |left| left.min(self.room));
        self.buffer.reserve(room);
        let read = stream.try_read_buf(&mut (&mut self.buffer).limit(room))?;
        self.note(read, room);
        Ok(read)
    }

    /// What is still to come of the frame whose beginning is there. An impossible size is found when it is cut.
    fn left(&self) -> Option<usize> {
        let size = frame_size(&self.buffer, self.frame_bytes_max).ok().flatten()?;
        (SIZE_BYTES + size).checked_sub(self.buffer.len())
    }

    /// A read that filled its room is followed by a larger one, a small one by a smaller.
    fn note(&mut self, read: usize, room: usize) {
        if read >= room {
            self.room = (self.room * 4).min(FRAME_READ_BYTES_MAX);
        } else if read < self.room / 8 {
            self.room = (self.room / 2).max(READ_BYTES_MIN);
        }
    }

    /// The next whole frame, without its size.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        wire::split_frame(&mut self.buffer, self.frame_bytes_max)
    }
}
