//! Links over real sockets.

use super::*;
use crate::router::Mailbox;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener as Listener, TcpStream as Stream};
use std::sync::mpsc::{Receiver, channel};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const FRAME_BYTES_MAX: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);
const OWNER: Owner = Owner::Metadata;

/// A thread of links, and what an owner hears of them.
struct Office {
    wanted: UnboundedSender<ToLinks>,
    heard: Receiver<Input>,
}

impl Office {
    fn open() -> Self {
        let (wanted, wishes) = unbounded_channel();
        let (metadata, heard) = channel();
        let other = || Mailbox::Thread(channel().0);
        let owners = Owners {
            reactors: Vec::new(),
            metadata: Mailbox::Thread(metadata),
            groups: other(),
            replication: other(),
        };
        let (end, _nobody) = unbounded_channel();
        crate::thread::start("links", end, move || run(wishes, owners, FRAME_BYTES_MAX).unwrap()).unwrap();
        Self { wanted, heard }
    }

    fn want(&self, mut fx: Effects) {
        self.wanted.send(ToLinks::take(OWNER, &mut fx).unwrap()).unwrap();
    }

    fn send(&self, link: u64, frames: &[Bytes]) {
        let sends = frames.iter().map(|frame| (LinkId(link), frame.clone())).collect();
        self.want(Effects { sends, ..Effects::default() });
    }

    fn hang_up(&self, link: u64) {
        self.want(Effects { hang_ups: vec![LinkId(link)], ..Effects::default() });
    }

    /// Opens a link to somebody who listens.
    fn link(&self, link: u64, listener: &Listener) -> Stream {
        self.want(dial(link, "127.0.0.1", listener.local_addr().unwrap().port()));
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(self.hear(), format!("linked {link}"));
        stream
    }

    /// The next that the owner hears, as text.
    fn hear(&self) -> String {
        match self.heard.recv_timeout(PATIENCE).unwrap() {
            Input::Linked { link } => format!("linked {}", link.0),
            Input::LinkFrame { link, frame } => {
                format!("frame {} {}", link.0, String::from_utf8_lossy(&frame))
            }
            Input::LinkDown { link, why } => format!("down {} {why:?}", link.0),
            other @ (Input::Connected { .. }
            | Input::Frame { .. }
            | Input::Closed { .. }
            | Input::Mail(_)
            | Input::JobDone(_)
            | Input::Tick) => panic!("{other:?}"),
        }
    }

    /// True if nothing has come until another link is through with its beginning.
    fn is_silent(&self) -> bool {
        drop(self.link(99, &listen()));
        self.hear() == "down 99 Lost"
    }
}

fn dial(link: u64, host: &str, port: u16) -> Effects {
    Effects { dials: vec![Dial { link: LinkId(link), host: host.to_owned(), port }], ..Effects::default() }
}

fn listen() -> Listener {
    Listener::bind("127.0.0.1:0").unwrap()
}

fn frame(text: &str) -> Bytes {
    let size = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&size[..], text.as_bytes()].concat().into()
}

/// Reads one frame as the peer does.
fn read(stream: &mut Stream) -> String {
    let mut size = [0; 4];
    stream.read_exact(&mut size).unwrap();
    let mut text = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn who_lives_and_does_not_listen_refuses_and_all_else_is_lost() {
    let office = Office::open();
    let port = listen().local_addr().unwrap().port();
    office.want(dial(1, "127.0.0.1", port));
    assert_eq!(office.hear(), "down 1 Refused");
    office.want(dial(2, "no-such-host.invalid", 9));
    assert_eq!(office.hear(), "down 2 Lost");
}

#[test]
fn frames_keep_their_order_both_ways() {
    let (office, listener) = (Office::open(), listen());
    let mut peer = office.link(1, &listener);
    let frames: Vec<_> = (0..1000).map(|n| frame(&format!("question {n}"))).collect();
    office.send(1, &frames[..1]);
    office.send(1, &frames[1..]);
    for n in 0..1000 {
        assert_eq!(read(&mut peer), format!("question {n}"));
    }
    let answers: Vec<u8> = (0..100).flat_map(|n| frame(&format!("answer {n}"))).collect();
    let (slow, rest) = answers.split_at(30);
    for byte in slow {
        peer.write_all(&[*byte]).unwrap();
    }
    peer.write_all(rest).unwrap();
    for n in 0..100 {
        assert_eq!(office.hear(), format!("frame 1 answer {n}"));
    }
}

#[test]
fn what_is_sent_before_the_link_is_there_is_lost() {
    let (office, listener) = (Office::open(), listen());
    let port = listener.local_addr().unwrap().port();
    office.want(Effects { sends: vec![(LinkId(1), frame("early"))], ..dial(1, "127.0.0.1", port) });
    let (mut peer, _) = listener.accept().unwrap();
    assert_eq!(office.hear(), "linked 1");
    office.send(1, &[frame("in time")]);
    assert_eq!(read(&mut peer), "in time");
}

#[test]
fn a_link_that_the_peer_ends_is_lost_after_what_came_over_it() {
    let (office, listener) = (Office::open(), listen());
    let mut peer = office.link(1, &listener);
    peer.write_all(&frame("last words")).unwrap();
    drop(peer);
    assert_eq!(office.hear(), "frame 1 last words");
    assert_eq!(office.hear(), "down 1 Lost");
    office.send(1, &[frame("too late")]);
    assert!(office.is_silent());
}

#[test]
fn nothing_is_heard_of_a_link_after_its_owner_hung_up() {
    let (office, listener) = (Office::open(), listen());
    let mut peer = office.link(1, &listener);
    office.hang_up(1);
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0, "the peer sees the end");
    // What the peer says now comes to nobody, whether or not its own end has noticed.
    let _reset = peer.write_all(&frame("are you there"));
    assert!(office.is_silent());
    office.want(dial(2, "127.0.0.1", listener.local_addr().unwrap().port()));
    office.hang_up(2);
    office.hang_up(3);
    let mut heard = OwnLinks::default();
    heard.note(&dial(2, "h", 1));
    assert!(heard.admit(&Input::Linked { link: LinkId(2) }));
    heard.note(&Effects { hang_ups: vec![LinkId(2)], ..Effects::default() });
    assert!(!heard.admit(&Input::Linked { link: LinkId(2) }), "what was on its way is held back");
    assert!(heard.admit(&Input::Tick));
}

#[test]
fn a_peer_that_takes_nothing_is_lost_once_too_much_waits_for_it() {
    let (office, listener) = (Office::open(), listen());
    let peer = office.link(1, &listener);
    let large = frame(&"x".repeat(FRAME_BYTES_MAX));
    // What the kernel takes for itself is not counted.
    office.send(1, &vec![large; 160]);
    assert_eq!(office.hear(), "down 1 Lost");
    assert!(office.is_silent());
    drop(peer);
}

#[test]
fn a_frame_beyond_the_bound_ends_the_link() {
    let (office, listener) = (Office::open(), listen());
    let mut peer = office.link(1, &listener);
    peer.write_all(&u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes()).unwrap();
    assert_eq!(office.hear(), "down 1 Lost");
}
