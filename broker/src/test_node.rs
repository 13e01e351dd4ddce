//! A node for tests: all owners over a disk in memory, driven to rest after every input.
//!
//! Jobs run at once unless the test holds them back. Time stands still unless the test moves it.

use crate::{Boot, Booted, ConnId, Effects, Fragment, Input, Job, Owner, boot};
use base::{Now, Span, Timestamp, Uuid};
use bytes::Bytes;
use cluster::Endpoint;
use cluster::config::{Layers, NodeConfig, Overrides};
use seglog::disk::MemDisk;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use wire::create_topics::{CreatableTopic, CreateTopicsRequest};
use wire::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use wire::find_coordinator::FindCoordinatorRequest;
use wire::metadata::MetadataRequest;
use wire::{Message as _, Reader, Request};

/// Which jobs a test holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Nothing,
    Flushes,
    Loads,
    Warms,
}

pub(crate) struct TestNode {
    pub(crate) disk: MemDisk,
    booted: Booted,
    pub(crate) now: Now,
    queue: VecDeque<(Owner, Input)>,
    pub(crate) hold: Hold,
    held: Vec<(Owner, Job)>,
    replies: BTreeMap<ConnId, VecDeque<Bytes>>,
    pub(crate) closed: Vec<ConnId>,
    pub(crate) log: Vec<String>,
    next_connection: u64,
}

/// A request that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    conn: ConnId,
    version: i16,
}

fn settings() -> Overrides {
    [
        ("log.dirs", "data"),
        ("offsets.topic.num.partitions", "4"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("offsets.retention.minutes", "60"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

impl TestNode {
    /// A node on an empty disk, with the offsets topic and a topic `t` of three partitions.
    pub(crate) fn new() -> Self {
        let mut node = Self::holding(
            MemDisk::new(),
            Now { wall: Timestamp(1_000_000_000), ..Now::default() },
            Hold::Nothing,
        );
        node.create("t", 3);
        node.ask(0, &FindCoordinatorRequest { key: "g".into(), ..Default::default() });
        node
    }

    /// A node on a disk that may be another one's.
    fn holding(disk: MemDisk, now: Now, hold: Hold) -> Self {
        let (none, fixed) = (Overrides::new(), settings());
        let layers = Layers { broker: &none, cluster: &none, fixed: &fixed };
        let boot_now = Boot {
            config: NodeConfig::resolve(&layers).unwrap(),
            fixed,
            disk: Arc::new(disk.clone()),
            directory: "data".into(),
            boot_id: format!("boot-{}", disk.operations()),
            endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: "node".into(), port: 9092 }],
            reactors: 1,
            seed: 7,
        };
        let booted = boot(boot_now, now).unwrap();
        let mut node = Self {
            disk,
            booted,
            now,
            queue: VecDeque::new(),
            hold,
            held: Vec::new(),
            replies: BTreeMap::new(),
            closed: Vec::new(),
            log: Vec::new(),
            next_connection: 0,
        };
        let mut fx = Effects::default();
        node.booted.metadata.start(now, &mut fx);
        node.carry_out(Owner::Metadata, fx);
        node.rest();
        assert!(node.booted.metadata.is_serving());
        node
    }

    /// The power goes, with all that was not flushed, and comes back.
    pub(crate) fn crash(&mut self) {
        let disk = self.disk.crash_clone(&mut base::Rng::new(3), 0);
        *self = Self::holding(disk, self.now, Hold::Nothing);
    }

    /// The process ends and starts again; the page cache is still there.
    pub(crate) fn restart(&mut self, hold: Hold) {
        let disk = self.disk.crash_clone(&mut base::Rng::new(3), 100);
        *self = Self::holding(disk, self.now, hold);
    }

    fn carry_out(&mut self, owner: Owner, fx: Effects) {
        assert_eq!(fx.fatal, None);
        for job in fx.jobs {
            let is_held = match self.hold {
                Hold::Nothing => false,
                Hold::Flushes => matches!(job, Job::Flush),
                Hold::Loads => matches!(job, Job::LoadShard(_)),
                Hold::Warms => matches!(job, Job::Warm(_)),
            };
            if is_held {
                self.held.push((owner, job));
            } else {
                let done = job.run(&self.booted.shared);
                self.queue.push_back((owner, Input::JobDone(done)));
            }
        }
        self.queue.extend(fx.mail.into_iter().map(|(to, mail)| (to, Input::Mail(mail))));
        for (conn, reply) in fx.replies {
            let mut frame = Vec::new();
            for fragment in reply.fragments {
                match fragment {
                    Fragment::Bytes(bytes) => frame.extend_from_slice(&bytes),
                    Fragment::File { file, position, length } => {
                        let start = frame.len();
                        frame.resize(start + length as usize, 0);
                        assert_eq!(file.read_at(&mut frame[start..], position), Ok(length as usize));
                    }
                }
            }
            let frame = Bytes::from(frame).slice(wire::frame::SIZE_BYTES..);
            self.replies.entry(conn).or_default().push_back(frame);
        }
        self.closed.extend(fx.close);
        self.log.extend(fx.log.into_iter().map(|line| line.text));
    }

    fn rest(&mut self) {
        while let Some((owner, input)) = self.queue.pop_front() {
            let mut fx = Effects::default();
            match owner {
                Owner::Reactor(id) => {
                    self.booted.reactors[usize::from(id)].handle(self.now, input, &mut fx);
                }
                Owner::Metadata => self.booted.metadata.handle(self.now, input, &mut fx),
                Owner::Groups => self.booted.groups.handle(self.now, input, &mut fx),
                Owner::Replication => self.booted.replication.handle(self.now, input, &mut fx),
            }
            self.carry_out(owner, fx);
        }
    }

    /// Lets the jobs run that were held back.
    pub(crate) fn release(&mut self) {
        self.hold = Hold::Nothing;
        for (owner, job) in core::mem::take(&mut self.held) {
            let done = job.run(&self.booted.shared);
            self.queue.push_back((owner, Input::JobDone(done)));
        }
        self.rest();
    }

    /// Both clocks go on, second by second.
    pub(crate) fn advance(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let second = Span::from_secs(1);
            self.now = Now { mono: self.now.mono + second, wall: self.now.wall.plus(second) };
            self.queue.push_back((Owner::Groups, Input::Tick));
            self.queue.push_back((Owner::Reactor(0), Input::Tick));
            self.rest();
        }
    }

    /// Sends a request on a connection of its own.
    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) -> Sent {
        let conn = self.connect();
        self.send_on(conn, version, request)
    }

    pub(crate) fn connect(&mut self) -> ConnId {
        self.connect_by("PLAINTEXT")
    }

    pub(crate) fn connect_by(&mut self, listener: &str) -> ConnId {
        self.next_connection += 1;
        let conn = ConnId(self.next_connection);
        let connected = Input::Connected { conn, peer: "10.0.0.7".into(), listener: listener.into() };
        self.queue.push_back((Owner::Reactor(0), connected));
        conn
    }

    pub(crate) fn close(&mut self, conn: ConnId) {
        self.queue.push_back((Owner::Reactor(0), Input::Closed { conn }));
        self.rest();
    }

    /// Sends a request on a connection that there is.
    pub(crate) fn send_on<R: Request>(&mut self, conn: ConnId, version: i16, request: &R) -> Sent {
        let encoded = wire::encode_request(1, Some(&"client".into()), version, request).unwrap();
        let frame = encoded.bytes.slice(wire::frame::SIZE_BYTES..);
        self.queue.push_back((Owner::Reactor(0), Input::Frame { conn, frame }));
        self.rest();
        Sent { conn, version }
    }

    pub(crate) fn reactor(&mut self) -> &mut crate::Reactor {
        &mut self.booted.reactors[0]
    }

    /// The reply to a request, once it is there.
    pub(crate) fn reply<R: Request>(&mut self, sent: Sent) -> Option<R::Response> {
        let frame = self.replies.get_mut(&sent.conn)?.pop_front()?;
        let mut reader = Reader::new(frame);
        wire::decode_response_head(&mut reader, R::KEY, sent.version).unwrap();
        let response = R::Response::decode(&mut reader, sent.version).unwrap();
        assert_eq!(reader.remaining(), 0, "bytes after a {} response", R::KEY.name());
        Some(response)
    }

    /// Sends a request that is answered without anything else happening.
    pub(crate) fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let sent = self.send(version, request);
        self.reply::<R>(sent).unwrap_or_else(|| panic!("no reply to {} v{version}", R::KEY.name()))
    }

    /// The same in the newest version.
    pub(crate) fn latest<R: Request>(&mut self, request: &R) -> R::Response {
        self.ask(*R::VERSIONS.end(), request)
    }

    pub(crate) fn create(&mut self, name: &str, partitions: i32) {
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        };
        let created = self.ask(2, &CreateTopicsRequest { topics: vec![topic], ..Default::default() });
        assert_eq!(created.topics[0].error_code, 0);
    }

    pub(crate) fn delete(&mut self, name: &str) {
        let topic = DeleteTopicState { name: Some(name.into()), ..Default::default() };
        let deleted = self.latest(&DeleteTopicsRequest { topics: vec![topic], ..Default::default() });
        assert_eq!(deleted.responses[0].error_code, 0);
    }

    pub(crate) fn topic_id(&mut self, name: &str) -> Uuid {
        let metadata = self.latest(&MetadataRequest { topics: None, ..Default::default() });
        let is_it = |topic: &&wire::metadata::MetadataResponseTopic| topic.name.as_deref() == Some(name);
        metadata.topics.iter().find(is_it).unwrap().topic_id
    }

    /// A partition of the offsets topic.
    pub(crate) fn shard(&self, group: &str) -> Arc<crate::replica::Replica> {
        let view = self.booted.metadata.view();
        let (index, _) = view.group_partition(group).unwrap();
        let topic = view.image.topic(crate::view::OFFSETS_TOPIC).unwrap().id;
        view.replica(topic, index).unwrap().clone()
    }
}
