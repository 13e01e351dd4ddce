//! A few brokers without metadata owners: what the controller decides is decided here, and everybody hears of it at once
//! unless a test holds it back. Jobs run at once unless they are held back; time stands still unless the test moves it.

use crate::departures::Departures;
use crate::flusher::Flusher;
use crate::peer::{Address, Identity};
use crate::replica::{Opening, Replica};
use crate::replication::Replication;
use crate::shared::Shared;
use crate::view::{News, Node as NodeSettings, Replicas, View};
use crate::{ConnId, Down, Effects, Fragment, Input, Job, LinkId, Mail, Owner, Reactor};
use base::{BrokerId, LeaderEpoch, Machine as _, Now, PartitionIndex, Rng, Span, TopicId, Uuid};
use bytes::Bytes;
use cluster::config::{Layers, NodeConfig, Overrides, ThrottleRates};
use cluster::controller::{Command, Controller, Defaults, Heartbeat, NewTopic, Reply, TopicRef};
use cluster::{Delta, Endpoint, Image, PartitionState};
use seglog::Unsettled;
use seglog::dir::LogDir;
use seglog::disk::MemDisk;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use wire::{ApiKey, Message as _, Reader, Request, RequestHead};

pub(super) const TOPIC: &str = "t";

pub(super) struct Broker {
    pub(super) disk: MemDisk,
    settings: Arc<NodeSettings>,
    shared: Arc<Shared>,
    pub(super) reactor: Reactor,
    replication: Replication,
    pub(super) view: Arc<View>,
    queue: VecDeque<(Owner, Input)>,
    /// Connections to others: whose reactor, and what it calls them.
    links: BTreeMap<LinkId, (usize, ConnId)>,
    /// The same from the other end.
    callers: BTreeMap<ConnId, (usize, LinkId)>,
    replies: BTreeMap<ConnId, VecDeque<Bytes>>,
    held: Vec<(Owner, Job)>,
    pub(super) holds_flushes: bool,
    pub(super) holds_cuts: bool,
    /// It hears nothing of what the controller decides.
    pub(super) is_deaf: bool,
    pub(super) is_up: bool,
    pub(super) log: Vec<String>,
}

pub(super) struct World {
    pub(super) brokers: Vec<Broker>,
    pub(super) now: Now,
    pub(super) image: Image,
    defaults: Defaults,
    next_conn: u64,
    /// Pairs that cannot reach each other.
    severed: BTreeSet<(usize, usize)>,
    /// Whose answers to other brokers are kept, and the kept ones.
    pub(super) keeps_answers: Option<usize>,
    kept: Vec<(usize, LinkId, Bytes)>,
    /// Whose reports are kept, and the kept ones.
    pub(super) keeps_reports: Option<usize>,
    reports: Vec<(usize, ConnId, Bytes)>,
    fixed: Overrides,
}

/// A request that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    broker: usize,
    conn: ConnId,
    version: i16,
}

fn id(at: usize) -> BrokerId {
    BrokerId(i32::try_from(at).unwrap())
}

impl World {
    /// Brokers 0 to `count` − 1, all serving, with other settings than the defaults.
    pub(super) fn new(count: usize, settings: &[(&str, &str)]) -> Self {
        let fixed = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut world = Self {
            brokers: Vec::new(),
            now: Now { wall: base::Timestamp(1_000_000_000), ..Now::default() },
            image: Image::new(Uuid::random([7; 16])),
            defaults: Defaults {
                num_partitions: 1,
                replication_factor: 1,
                delete_topics: true,
                ..Defaults::default()
            },
            next_conn: 0,
            severed: BTreeSet::new(),
            keeps_answers: None,
            kept: Vec::new(),
            keeps_reports: None,
            reports: Vec::new(),
            fixed,
        };
        for at in 0..count {
            let broker = world.open(at, MemDisk::new());
            world.brokers.push(broker);
            world.register(at, -1);
        }
        world.rest();
        world
    }

    fn open(&self, at: usize, disk: MemDisk) -> Broker {
        let none = Overrides::new();
        let mut fixed = self.fixed.clone();
        fixed.insert("node.id".into(), at.to_string());
        fixed.insert("log.dirs".into(), "data".into());
        fixed.insert("listeners".into(), "PEERS://:9000,CLIENTS://:9100".into());
        fixed.insert("controller.listener.names".into(), "PEERS".into());
        let config = NodeConfig::resolve(&Layers { broker: &none, cluster: &none, fixed: &fixed }).unwrap();
        let cluster_id = self.image.cluster_id.to_string();
        let directory_id = Uuid::random([u8::try_from(at).unwrap() + 1; 16]);
        let directory = "data".into();
        let settings = Arc::new(NodeSettings { config, fixed, cluster_id, directory_id, directory });
        let dir = LogDir::open(Arc::new(disk.clone()), &format!("boot-{}", disk.operations())).unwrap();
        let shared = Arc::new(Shared::new(Arc::new(disk.clone()), Flusher::new(dir)));
        let image = Arc::new(self.image.clone());
        let view = Arc::new(View {
            node: settings.clone(),
            image,
            replicas: Replicas::default(),
            departures: Departures::default(),
            news: Arc::default(),
        });
        let identity = Identity {
            cluster_id: self.image.cluster_id,
            node: id(at),
            directory: directory_id,
            address: Address { host: format!("n{at}"), port: 9_000 },
            is_controller: true,
        };
        Broker {
            disk,
            settings,
            reactor: Reactor::new(0, view.clone(), shared.clone()),
            replication: Replication::new(view.clone(), shared.clone(), identity, Rng::new(at as u64)),
            shared,
            view,
            queue: VecDeque::new(),
            links: BTreeMap::new(),
            callers: BTreeMap::new(),
            replies: BTreeMap::new(),
            held: Vec::new(),
            holds_flushes: false,
            holds_cuts: false,
            is_deaf: false,
            is_up: true,
            log: Vec::new(),
        }
    }

    // --- the controller ---

    pub(super) fn control(&mut self, command: Command) -> Reply {
        let decided =
            Controller::decide(&Some(self.image.clone()), &mut self.defaults, self.now, (1, command));
        let mut delta = Delta::default();
        for record in &decided.records {
            self.image.replay(record, &mut delta);
        }
        self.image.index += 1;
        for at in 0..self.brokers.len() {
            self.publish(at);
        }
        decided.replies.into_iter().next().unwrap().1
    }

    /// Shows a broker what the metadata are now.
    pub(super) fn publish(&mut self, at: usize) {
        let (image, now) = (Arc::new(self.image.clone()), self.now);
        let broker = &mut self.brokers[at];
        if broker.is_deaf || !broker.is_up {
            return;
        }
        let rates = image.with_layers(id(at), &broker.settings.fixed, ThrottleRates::resolve);
        broker.shared.throttles.set(rates);
        let mut replicas = broker.view.replicas.clone();
        let mut fx = Effects::default();
        for (key, replica) in &broker.view.replicas {
            if image.topic_by_id(key.0).is_none() {
                replica.delete(&mut fx);
                replicas.remove_mut(key);
            }
        }
        for topic in image.topics() {
            for (index, state) in (0..).map(PartitionIndex).zip(&topic.partitions) {
                if let Some(replica) = replicas.get(&(topic.id, index)) {
                    replica.assume(id(at), state, now.mono, &mut fx);
                } else if state.is_on(id(at)) {
                    let config = image.topic_config(&topic.name, id(at), &broker.settings.fixed);
                    let opening = Opening {
                        dir: broker.shared.flusher.dir(),
                        topic: topic.id,
                        name: &topic.name,
                        index,
                        config: Arc::new(config),
                        producer_expiration: Span::from_secs(1_000),
                        high_watermark: base::EndOffset::ZERO,
                    };
                    let log = opening.recover(now).and_then(Unsettled::settle).unwrap();
                    let replica = Replica::new(opening, log);
                    replica.assume(id(at), state, now.mono, &mut fx);
                    replicas.insert_mut((topic.id, index), Arc::new(replica));
                }
            }
        }
        let all = |topic: &Arc<cluster::Topic>| {
            let (id, count) = (topic.id, i32::try_from(topic.partitions.len()).unwrap());
            (0..count).map(move |index| (id, PartitionIndex(index)))
        };
        let difference = broker.view.image.difference(&image);
        let news = News {
            partitions: image.topics().flat_map(all).collect(),
            removed: difference.removed,
            has_brokers: !difference.brokers.is_empty(),
        };
        broker.view = Arc::new(View {
            node: broker.settings.clone(),
            image,
            replicas,
            departures: Departures::default(),
            news: Arc::new(news),
        });
        let view = broker.view.clone();
        for owner in [Owner::Reactor(0), Owner::Replication] {
            fx.mail.insert(0, (owner, Mail::View(view.clone())));
        }
        self.carry_out(at, Owner::Metadata, fx);
    }

    /// It hears again what the controller decides, and of all that was decided meanwhile the last.
    pub(super) fn hear(&mut self, at: usize) {
        self.brokers[at].is_deaf = false;
        self.publish(at);
        self.rest();
    }

    /// True for a broker that believes to lead, rightly or not.
    pub(super) fn leads(&self, at: usize) -> bool {
        self.replica(at).check_epoch(LeaderEpoch::UNKNOWN).is_ok()
    }

    fn register(&mut self, at: usize, closed_in: i64) {
        let endpoint =
            |listener: &str, port: u16| Endpoint { listener: listener.into(), host: format!("n{at}"), port };
        let reply = self.control(Command::RegisterBroker {
            id: id(at),
            incarnation: Uuid::random([9; 16]),
            endpoints: vec![endpoint("CLIENTS", 9_100), endpoint("PEERS", 9_000)],
            peer_listener: "PEERS".into(),
            rack: None,
            directories: Vec::new(),
            closed_in,
        });
        assert!(matches!(reply, Reply::Registered { .. }), "{reply:?}");
        self.fence(at, false);
    }

    /// The controller takes a broker for dead.
    pub(super) fn fence(&mut self, at: usize, wants_fence: bool) {
        let epoch = self.image.broker(id(at)).unwrap().epoch;
        let replayed = self.image.index;
        let beat = Heartbeat { broker: id(at), epoch, replayed, wants_fence };
        self.control(Command::Heartbeat(beat));
        self.rest();
    }

    /// A topic with one partition on these brokers, led by the first.
    pub(super) fn create(&mut self, replicas: &[usize], configs: &[(&str, &str)]) {
        self.create_another(TOPIC, replicas, configs);
    }

    pub(super) fn create_another(&mut self, name: &str, replicas: &[usize], configs: &[(&str, &str)]) {
        let brokers: Vec<BrokerId> = replicas.iter().copied().map(id).collect();
        let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())));
        let topic = NewTopic {
            name: name.into(),
            partitions: -1,
            replication_factor: -1,
            assignments: vec![(0, brokers)],
            configs: configs.collect(),
        };
        let reply = self.control(Command::CreateTopics { topics: vec![topic], validate_only: false });
        let Reply::Created(outcomes) = &reply else { panic!("{reply:?}") };
        assert!(outcomes[0].is_ok(), "{reply:?}");
        self.rest();
    }

    pub(super) fn delete(&mut self) {
        self.control(Command::DeleteTopics { topics: vec![TopicRef::Name(TOPIC.into())] });
        self.rest();
    }

    pub(super) fn topic_id(&self) -> TopicId {
        self.image.topic(TOPIC).unwrap().id
    }

    pub(super) fn state(&self) -> &PartitionState {
        &self.image.topic(TOPIC).unwrap().partitions[0]
    }

    pub(super) fn leader(&self) -> usize {
        usize::try_from(self.state().leader.unwrap().0).unwrap()
    }

    pub(super) fn epoch(&self) -> LeaderEpoch {
        self.state().leader_epoch
    }

    pub(super) fn isr(&self) -> Vec<i32> {
        self.state().isr.iter().map(|id| id.0).collect()
    }

    // --- brokers ---

    pub(super) fn replica(&self, at: usize) -> Arc<Replica> {
        self.brokers[at].view.replica(self.topic_id(), PartitionIndex(0)).unwrap().clone()
    }

    /// Start, high watermark and end of a broker's log.
    pub(super) fn bounds(&self, at: usize) -> (i64, i64, i64) {
        let bounds = self.replica(at).bounds().unwrap();
        (bounds.start.0, bounds.high_watermark.0, bounds.end.0)
    }

    /// The bytes of a broker's log, from an offset on.
    pub(super) fn content(&self, at: usize, from: i64) -> Vec<u8> {
        let replica = self.replica(at);
        let (start, end) = replica.extent();
        let from = base::EndOffset(from).max(start);
        let Some(slice) = replica.slice(from, end).unwrap() else { return Vec::new() };
        let mut bytes = vec![0; usize::try_from(slice.length).unwrap()];
        slice.file.read_at(&mut bytes, slice.position).unwrap();
        bytes
    }

    /// The process ends; of what was not flushed `survive` percent are there when it starts again.
    pub(super) fn crash(&mut self, at: usize) {
        self.brokers[at].is_up = false;
        self.brokers[at].queue.clear();
        for other in 0..self.brokers.len() {
            self.drop_links(at, other);
        }
        self.rest();
    }

    pub(super) fn start(&mut self, at: usize, survive: u8) {
        let disk = self.brokers[at].disk.crash_clone(&mut Rng::new(3), survive);
        self.brokers[at] = self.open(at, disk);
        let before = self.image.broker(id(at)).map_or(-1, |broker| broker.epoch);
        self.register(at, if survive == 100 { before } else { -1 });
        self.rest();
    }

    pub(super) fn release_flushes(&mut self, at: usize) {
        self.brokers[at].holds_flushes = false;
        self.brokers[at].holds_cuts = false;
        for (owner, job) in core::mem::take(&mut self.brokers[at].held) {
            let done = job.run(&self.brokers[at].shared);
            self.brokers[at].queue.push_back((owner, Input::JobDone(done)));
        }
        self.rest();
    }

    pub(super) fn release_answers(&mut self) {
        self.keeps_answers = None;
        for (to, link, frame) in core::mem::take(&mut self.kept) {
            self.brokers[to].queue.push_back((Owner::Replication, Input::LinkFrame { link, frame }));
        }
        self.rest();
    }

    pub(super) fn release_reports(&mut self) {
        self.keeps_reports = None;
        for (to, conn, frame) in core::mem::take(&mut self.reports) {
            self.brokers[to].queue.push_back((Owner::Reactor(0), Input::Frame { conn, frame }));
        }
        self.rest();
    }

    // --- the network ---

    pub(super) fn sever(&mut self, one: usize, other: usize) {
        self.severed.extend([(one, other), (other, one)]);
        self.drop_links(one, other);
        self.rest();
    }

    pub(super) fn heal(&mut self) {
        self.severed.clear();
        self.advance(1_000);
    }

    fn drop_links(&mut self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            let gone: Vec<_> = self.brokers[from]
                .links
                .iter()
                .filter(|(_, (target, _))| *target == to)
                .map(|it| *it.0)
                .collect();
            for link in gone {
                self.end_link(from, link);
                let down = Input::LinkDown { link, why: Down::Lost };
                self.brokers[from].queue.push_back((Owner::Replication, down));
            }
        }
    }

    fn end_link(&mut self, from: usize, link: LinkId) {
        let Some((to, conn)) = self.brokers[from].links.remove(&link) else { return };
        self.brokers[to].callers.remove(&conn);
        self.brokers[to].queue.push_back((Owner::Reactor(0), Input::Closed { conn }));
    }

    fn dial(&mut self, from: usize, dial: &crate::Dial) {
        let to: usize = dial.host.strip_prefix('n').unwrap().parse().unwrap();
        assert_eq!(dial.port, 9_000, "not the peers' listener");
        let link = dial.link;
        if self.severed.contains(&(from, to)) || !self.brokers[to].is_up {
            let down = Input::LinkDown { link, why: Down::Lost };
            return self.brokers[from].queue.push_back((Owner::Replication, down));
        }
        let conn = self.connect_by(to, "PEERS");
        self.brokers[from].links.insert(link, (to, conn));
        self.brokers[to].callers.insert(conn, (from, link));
        self.brokers[from].queue.push_back((Owner::Replication, Input::Linked { link }));
    }

    fn connect_by(&mut self, to: usize, listener: &str) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let input = Input::Connected { conn, peer: "10.0.0.7".into(), listener: listener.into() };
        self.brokers[to].queue.push_back((Owner::Reactor(0), input));
        conn
    }

    fn send_link(&mut self, from: usize, link: LinkId, frame: &Bytes) {
        let Some((to, conn)) = self.brokers[from].links.get(&link).copied() else { return };
        let frame = frame.slice(wire::frame::SIZE_BYTES..);
        let head = RequestHead::decode(&mut Reader::new(frame.clone())).unwrap();
        if self.keeps_reports == Some(from) && head.api_key == ApiKey::PeerProgress as i16 {
            return self.reports.push((to, conn, frame));
        }
        self.brokers[to].queue.push_back((Owner::Reactor(0), Input::Frame { conn, frame }));
    }

    // --- driving ---

    fn carry_out(&mut self, at: usize, owner: Owner, fx: Effects) {
        assert_eq!(fx.fatal, None);
        let broker = &mut self.brokers[at];
        for job in fx.jobs {
            let (is_flush, is_cut) = (matches!(job, Job::Flush), matches!(job, Job::Cut { .. }));
            if (broker.holds_flushes && is_flush) || (broker.holds_cuts && is_cut) {
                broker.held.push((owner, job));
            } else {
                let done = job.run(&broker.shared);
                broker.queue.push_back((owner, Input::JobDone(done)));
            }
        }
        broker.log.extend(fx.log.into_iter().map(|line| line.text));
        for (to, mail) in fx.mail {
            match (to, mail) {
                (Owner::Metadata, Mail::Control { from, ticket, command }) => {
                    let reply = self.control(command);
                    let mail = Mail::Controlled { ticket, reply };
                    self.brokers[at].queue.push_back((from, Input::Mail(mail)));
                }
                (Owner::Metadata, _) => {}
                (to, mail) => self.brokers[at].queue.push_back((to, Input::Mail(mail))),
            }
        }
        for (conn, reply) in fx.replies {
            self.reply_to(at, conn, &reply.fragments);
        }
        for link in fx.hang_ups {
            self.end_link(at, link);
        }
        fx.dials.iter().for_each(|dial| self.dial(at, dial));
        fx.sends.iter().for_each(|(link, frame)| self.send_link(at, *link, frame));
    }

    fn reply_to(&mut self, at: usize, conn: ConnId, fragments: &[Fragment]) {
        let mut frame = Vec::new();
        for fragment in fragments {
            match fragment {
                Fragment::Bytes(bytes) => frame.extend_from_slice(bytes),
                Fragment::File { file, position, length } => {
                    let start = frame.len();
                    frame.resize(start + *length as usize, 0);
                    assert_eq!(file.read_at(&mut frame[start..], *position), Ok(*length as usize));
                }
            }
        }
        let frame = Bytes::from(frame).slice(wire::frame::SIZE_BYTES..);
        match self.brokers[at].callers.get(&conn).copied() {
            Some((to, link)) if self.keeps_answers == Some(at) => self.kept.push((to, link, frame)),
            Some((to, link)) => {
                self.brokers[to].queue.push_back((Owner::Replication, Input::LinkFrame { link, frame }));
            }
            None => self.brokers[at].replies.entry(conn).or_default().push_back(frame),
        }
    }

    /// Until nothing happens any more without time going on.
    pub(super) fn rest(&mut self) {
        let mut steps = 0;
        loop {
            let next = (0..self.brokers.len())
                .find_map(|at| self.brokers[at].queue.pop_front().map(|(owner, input)| (at, owner, input)));
            let Some((at, owner, input)) = next else { return };
            steps += 1;
            assert!(steps < 100_000, "it never comes to rest");
            if !self.brokers[at].is_up {
                continue;
            }
            let (mut fx, now) = (Effects::default(), self.now);
            match owner {
                Owner::Reactor(_) => self.brokers[at].reactor.handle(now, input, &mut fx),
                Owner::Replication => self.brokers[at].replication.handle(now, input, &mut fx),
                // Jobs that the making of a view began.
                Owner::Metadata | Owner::Groups => {
                    if let Input::JobDone(done) = input {
                        self.brokers[at].shared.job_done(now, done, &mut fx);
                    }
                }
            }
            self.carry_out(at, owner, fx);
        }
    }

    /// Both clocks go on.
    pub(super) fn advance(&mut self, millis: u64) {
        for _ in 0..millis.div_ceil(100) {
            let step = Span::from_millis(100);
            self.now = Now { mono: self.now.mono + step, wall: self.now.wall.plus(step) };
            for broker in self.brokers.iter_mut().filter(|broker| broker.is_up) {
                broker.queue.push_back((Owner::Reactor(0), Input::Tick));
                broker.queue.push_back((Owner::Replication, Input::Tick));
            }
            self.rest();
        }
    }

    // --- clients ---

    pub(super) fn send<R: Request>(&mut self, broker: usize, version: i16, request: &R) -> Sent {
        let conn = self.connect_by(broker, "CLIENTS");
        let encoded = wire::encode_request(1, Some(&"client".into()), version, request).unwrap();
        let frame = encoded.bytes.slice(wire::frame::SIZE_BYTES..);
        self.brokers[broker].queue.push_back((Owner::Reactor(0), Input::Frame { conn, frame }));
        self.rest();
        Sent { broker, conn, version }
    }

    pub(super) fn reply<R: Request>(&mut self, sent: Sent) -> Option<R::Response> {
        let frame = self.brokers[sent.broker].replies.get_mut(&sent.conn)?.pop_front()?;
        let mut reader = Reader::new(frame);
        wire::decode_response_head(&mut reader, R::KEY, sent.version).unwrap();
        Some(R::Response::decode(&mut reader, sent.version).unwrap())
    }
}
