//! What has been read from one connection and not yet handed on.

use bytes::{BufMut as _, Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
/// Frames up to this size need no leave: connections are counted, and each may have so much.
const FREE_BYTES_MAX: usize = 64 << 10;
/// The unit of the budget.
const UNIT_BYTES: usize = 1 << 10;

/// The memory that larger frames of all connections may take while they arrive. Who finds it used up waits its turn; a
/// client that stalls loses its place in half a minute.
#[derive(Clone, Debug)]
pub(crate) struct Arriving {
    units: Arc<Semaphore>,
    total: usize,
}

impl Arriving {
    /// `None` for no limit.
    pub(crate) fn new(bytes_max: Option<u64>) -> Self {
        Self::of(bytes_max.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX))
    }

    fn of(bytes: usize) -> Self {
        let total = (bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(total)), total }
    }

    /// Waits for its turn.
    pub(crate) async fn leave(&self, units: u32) -> Option<OwnedSemaphorePermit> {
        // Fails only if the semaphore is closed, which nobody does.
        self.units.clone().acquire_many_owned(units).await.ok()
    }
}

/// Received bytes. Memory grows with what comes and never with what is merely announced, so that the size in front
/// of a frame reserves nothing.
#[derive(Debug)]
pub(crate) struct Inbox {
    buffer: BytesMut,
    /// Room for the next read.
    room: usize,
    frame_bytes_max: usize,
    arriving: Arriving,
    /// The leave that the frame under way has.
    leave: Option<OwnedSemaphorePermit>,
}

impl Inbox {
    pub(crate) fn new(frame_bytes_max: usize, arriving: Arriving) -> Self {
        Self { buffer: BytesMut::new(), room: READ_BYTES_MIN, frame_bytes_max, arriving, leave: None }
    }

    /// What has to be waited for before more is read: units of memory. `None` if reading may go on.
    pub(crate) fn needs(&mut self) -> Option<u32> {
        let size = frame_size(&self.buffer, self.frame_bytes_max).ok().flatten()?;
        if size <= FREE_BYTES_MAX || self.leave.is_some() {
            return None;
        }
        // A frame beyond the whole budget comes alone.
        let units = u32::try_from(size.div_ceil(UNIT_BYTES).min(self.arriving.total)).ok()?;
        match self.arriving.units.clone().try_acquire_many_owned(units) {
            Ok(leave) => {
                self.leave = Some(leave);
                None
            }
            Err(_) => Some(units),
        }
    }

    /// What [`Inbox::needs`] asked for.
    pub(crate) fn take(&mut self, leave: Option<OwnedSemaphorePermit>) {
        self.leave = leave;
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
        if read < room {
            // The socket is empty: another read would only say so. What comes from now on is an event of its own,
            // and the end of the stream is remembered apart.
            let _emptied =
                stream.try_io(Interest::READABLE, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
        }
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
        let frame = wire::split_frame(&mut self.buffer, self.frame_bytes_max)?;
        if frame.is_some() {
            self.leave = None;
        }
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(arriving: &Arriving, size: usize) -> Inbox {
        let mut inbox = Inbox::new(100 << 20, arriving.clone());
        inbox.buffer.put_i32(i32::try_from(size).unwrap());
        inbox
    }

    #[test]
    fn large_frames_wait_until_there_is_memory_for_them() {
        let arriving = Arriving::of(256 << 10);
        let mut first = inbox(&arriving, 200 << 10);
        let mut second = inbox(&arriving, 100 << 10);
        assert_eq!(first.needs(), None);
        assert_eq!(second.needs(), Some(100));
        assert_eq!(inbox(&arriving, 64 << 10).needs(), None, "small frames come always");
        first.buffer.put_bytes(0, 200 << 10);
        assert_eq!(first.next_frame().unwrap().unwrap().len(), 200 << 10);
        assert_eq!(second.needs(), None);
    }

    #[test]
    fn a_frame_larger_than_the_budget_comes_alone() {
        let arriving = Arriving::of(256 << 10);
        let mut large = inbox(&arriving, 50 << 20);
        assert_eq!(large.needs(), None);
        assert_eq!(inbox(&arriving, 65 << 10).needs(), Some(65));
        drop(large);
        assert_eq!(inbox(&arriving, 65 << 10).needs(), None, "a connection that ends gives back what it had");
    }
}
