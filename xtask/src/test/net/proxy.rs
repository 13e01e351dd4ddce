//! A TCP proxy of our own between nodes, and between clients and nodes: every listener is advertised as a door of it.
//!
//! Who calls at a node's private listener says so in the first frame (`PeerGreet`), which is how each pair of nodes gets
//! weather of its own. A door is always open: a node that is gone does not refuse, as one whose machine is gone does not.

use super::weather::{End, Pass, Rng, Shared, Way, Weather};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// What a node says first to another.
const PEER_GREET: i16 = 20_000;
/// Size, key, version, number, and the length of the client id: what every request begins with.
const HEAD: usize = 14;
/// What a greeting has between the client id and the end of the node's id: no tags, the cluster's id, the node's.
const GREETING: usize = 1 + 16 + 4;
/// No client id is longer.
const NAME_MAX: usize = 256;
/// Keeps what it has of a frame for its next connection, and ends when that makes no sense (kafkajs 2.2.4,
/// `Connection.processData`): what it is told ends between frames.
const FRAGILE: &[u8] = b"kafkajs";
/// Bytes that travel together, and how many such pieces are under way on a connection.
const PIECE: usize = 16 << 10;
const UNDER_WAY: usize = 64;
/// A drip's parts per second.
const PARTS: u64 = 50;

/// Which of a node's listeners is behind a door.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::test) enum Listener {
    Nodes,
    Clients,
}

/// One advertised address, and what is behind it.
struct Door {
    node: i32,
    listener: Listener,
    target: String,
}

/// The proxy. Its threads end with it, or with what they connect.
pub(in crate::test) struct Net {
    sky: Shared,
    doors: Vec<String>,
    seed: u64,
}

impl Net {
    pub(in crate::test) fn new(seed: u64) -> Self {
        Self { sky: Shared::default(), doors: Vec::new(), seed }
    }

    /// Takes calls at one address for a node's listener at another.
    pub(in crate::test) fn open(
        &mut self,
        door: &str,
        node: i32,
        listener: Listener,
        target: &str,
    ) -> Result<(), String> {
        let socket = TcpListener::bind(door).map_err(|error| format!("{door}: {error}"))?;
        let (sky, seed) = (self.sky.clone(), self.seed);
        let behind = Door { node, listener, target: target.to_owned() };
        start(move || take_calls(&socket, &std::sync::Arc::new(behind), &sky, seed))?;
        self.doors.push(door.to_owned());
        Ok(())
    }

    pub(in crate::test) fn set(&self, ways: &[Way], weather: Weather) {
        ways.iter().for_each(|way| self.sky.set(*way, weather));
    }

    pub(in crate::test) fn tear(&self, way: Way) {
        self.sky.tear(way);
    }

    pub(in crate::test) fn heal(&self, ends_connections: bool) {
        self.sky.heal(ends_connections);
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.sky.end();
        for door in &self.doors {
            // Wakes who takes calls there; nobody does when the system has no socket left, and then nothing waits.
            let _ = TcpStream::connect(door);
        }
    }
}

fn start(work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let started = std::thread::Builder::new().name("net".into()).spawn(work);
    started.map(drop).map_err(|error| format!("no thread for a connection: {error}"))
}

fn take_calls(socket: &TcpListener, door: &std::sync::Arc<Door>, sky: &Shared, seed: u64) {
    for (call, stream) in (1..).zip(socket.incoming()) {
        if sky.is_over() {
            return;
        }
        let Ok(stream) = stream else { continue };
        let (door, sky) = (door.clone(), sky.clone());
        let rng = Rng::new(seed ^ (call << 16));
        // A call that fails is one that the caller sees end.
        let _ = start(move || drop(connect(stream, &door, &sky, rng)));
    }
}

/// Connects who calls with what is behind the door, unless a cut is between them.
fn connect(caller: TcpStream, door: &Door, sky: &Shared, mut rng: Rng) -> Result<(), String> {
    let failed = |error: io::Error| error.to_string();
    let first = read_beginning(&caller).map_err(failed)?;
    let caller_is = caller_in(&first).ok_or("no request of Kafka's protocol")?;
    let from = match door.listener {
        Listener::Nodes => End::Node(caller_is.node.ok_or("no node")?),
        Listener::Clients => End::Clients,
    };
    let there: Way = (from, End::Node(door.node));
    let back: Way = (there.1, there.0);
    if !sky.is_open([there, back]) {
        return Ok(());
    }
    let callee = TcpStream::connect(&door.target).map_err(failed)?;
    caller.set_nodelay(true).and_then(|()| callee.set_nodelay(true)).map_err(failed)?;
    let pair =
        |one: &TcpStream, other: &TcpStream| -> io::Result<_> { Ok((one.try_clone()?, other.try_clone()?)) };
    let (source, target) = pair(&callee, &caller).map_err(failed)?;
    let (backwards, seed) = (sky.clone(), rng.below(usize::MAX));
    let answers = Course { way: back, ends_between_frames: caller_is.is_fragile };
    start(move || carry(source, target, answers, Vec::new(), &backwards, Rng::new(seed as u64)))?;
    carry(caller, callee, Course { way: there, ends_between_frames: false }, first, sky, rng);
    Ok(())
}

/// What goes over one direction of a connection.
#[derive(Clone, Copy)]
struct Course {
    way: Way,
    ends_between_frames: bool,
}

/// Carries what comes from one socket to another until either ends.
fn carry(source: TcpStream, target: TcpStream, course: Course, first: Vec<u8>, sky: &Shared, rng: Rng) {
    let torn = sky.torn(course.way);
    let (pieces, arriving) = sync_channel(UNDER_WAY);
    let (Ok(reading), eyes) = (source.try_clone(), sky.clone()) else { return };
    if start(move || read(reading, &pieces, first, course.way, &eyes, rng)).is_err() {
        return;
    }
    let ended = write(&arriving, &target, course, torn, sky);
    // Only what ends by itself may still be answered.
    let how = if ended.is_ok() { Shutdown::Write } else { Shutdown::Both };
    let _ = target.shutdown(how);
    if ended.is_err() {
        let _ = source.shutdown(Shutdown::Both);
    }
}

/// Bytes under way, and when they arrive.
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
}

fn read(
    mut source: TcpStream,
    pieces: &SyncSender<Piece>,
    first: Vec<u8>,
    way: Way,
    sky: &Shared,
    mut rng: Rng,
) {
    let mut latest = now();
    let mut bytes = first;
    loop {
        if !bytes.is_empty() {
            // Nothing overtakes what was before it.
            latest = latest.max(now() + rng.between(sky.delay(way)));
            if pieces.send(Piece { due: latest, bytes }).is_err() {
                return;
            }
        }
        bytes = vec![0; PIECE];
        match source.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.truncate(count),
        }
    }
}

/// Ends well when the source has ended and all of it has arrived.
fn write(
    arriving: &Receiver<Piece>,
    target: &TcpStream,
    Course { way, ends_between_frames }: Course,
    torn: u64,
    sky: &Shared,
) -> io::Result<()> {
    for Piece { due, bytes } in arriving {
        sleep(due.saturating_duration_since(now()));
        match sky.pass(way, torn) {
            Pass::Go(pace) => drip(target, &bytes, pace)?,
            Pass::Torn => {
                let (half, _) = bytes.split_at(if ends_between_frames { 0 } else { bytes.len() / 2 });
                let mut target = target;
                target.write_all(half)?;
                return Err(ErrorKind::ConnectionAborted.into());
            }
        }
    }
    match sky.pass(way, torn) {
        Pass::Go(_) => Ok(()),
        Pass::Torn => Err(ErrorKind::ConnectionAborted.into()),
    }
}

fn drip(mut target: &TcpStream, bytes: &[u8], pace: Option<u64>) -> io::Result<()> {
    let Some(pace) = pace else { return target.write_all(bytes) };
    let part = usize::try_from(pace.div_ceil(PARTS)).unwrap_or(1);
    for part in bytes.chunks(part) {
        target.write_all(part)?;
        sleep(Duration::from_millis(1_000 / PARTS));
    }
    Ok(())
}

/// As much of the first request as says who calls. The request may be a long one: kafkajs goes on where it was when it
/// connects again.
fn read_beginning(mut caller: &TcpStream) -> io::Result<Vec<u8>> {
    let mut head = [0; HEAD];
    caller.read_exact(&mut head)?;
    let is_greeting = head[4..6] == PEER_GREET.to_be_bytes();
    let name = usize::try_from(i16::from_be_bytes([head[12], head[13]])).unwrap_or(0);
    if name > NAME_MAX {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut rest = vec![0; name + if is_greeting { GREETING } else { 0 }];
    caller.read_exact(&mut rest)?;
    Ok([&head[..], &rest].concat())
}

/// What the first frame says of who calls.
#[derive(Debug, PartialEq, Eq)]
struct Caller {
    /// If it greets as one.
    node: Option<i32>,
    is_fragile: bool,
}

fn caller_in(frame: &[u8]) -> Option<Caller> {
    let key = i16::from_be_bytes(*frame.get(4..)?.first_chunk()?);
    let rest = frame.get(12..)?;
    let length = usize::try_from(i16::from_be_bytes(*rest.first_chunk()?)).unwrap_or(0);
    let name = rest.get(2..2 + length)?;
    let node = rest.get(2 + length + 1 + 16..).and_then(<[u8]>::first_chunk);
    let node = node.filter(|_| key == PEER_GREET).map(|node| i32::from_be_bytes(*node));
    Some(Caller { node, is_fragile: name.starts_with(FRAGILE) })
}

#[expect(clippy::disallowed_methods, reason = "weather takes real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "weather takes real time")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_calls_is_found_in_the_first_frame() {
        let head = [&[0, 0, 0, 52][..], &PEER_GREET.to_be_bytes(), &[0; 6], &[0, 5], b"ottla", &[0]].concat();
        let frame = [&head[..], &[7; 16], &3_i32.to_be_bytes(), &[1; 16]].concat();
        assert_eq!(caller_in(&frame), Some(Caller { node: Some(3), is_fragile: false }));
        assert_eq!(caller_in(&frame[..head.len() + 18]), Some(Caller { node: None, is_fragile: false }));
        let asks = [&[0, 0, 0, 17][..], &[0, 18], &[0; 6], &[0, 7], b"kafkajs"].concat();
        assert_eq!(caller_in(&asks), Some(Caller { node: None, is_fragile: true }));
        assert_eq!(caller_in(&asks[..15]), None);
    }

    #[test]
    fn a_first_request_may_be_longer_than_what_is_read_of_it() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        let (server, _) = socket.accept().unwrap();
        let asks = [&[0, 1, 0, 0][..], &[0, 0], &[0; 6], &[0, 7], b"kafkajs"].concat();
        client.write_all(&asks).unwrap();
        assert_eq!(read_beginning(&server).unwrap(), asks);
    }
}
