//! Members that act at random, lose answers, crash and come back; a coordinator whose log commits with a delay
//! and that forgets now and then all but what was committed. After every step the laws hold for what members
//! were told; when all behave at last, the groups come to rest.

use crate::world::{Step, World};
use base::{EndOffset, PartitionIndex, ProducerEpoch, ProducerId, Rng, Span, TopicId};
use bytes::Bytes;
use ottla_coordinator::Token;
use ottla_coordinator::group::{
    Command, CommitOffsets, CommitPartition, CommitTopic, Generation, GroupConfig, GroupId, GroupState,
    Heartbeat, HeartbeatError, InstanceId, JoinError, JoinGroup, JoinRefused, Joined, Label, LeaveGroup,
    Leaver, MemberId, OffsetKey, Producer, Protocol, ProtocolName, ProtocolType, Record, Reply, SyncError,
    SyncGroup, Synced, TopicName,
};
use std::collections::BTreeMap;
use wire::record::{EndTxn, EndTxnMarker};

const GROUPS: [&str; 2] = ["g", "h"];

/// Runs one seed; panics when a law is broken or the groups do not come to rest.
pub(crate) fn run(seed: u64, steps: usize) {
    let mut model = Model::new(seed);
    for _ in 0..steps {
        model.act();
    }
    model.settle();
}

struct Model {
    rng: Rng,
    world: World,
    clients: Vec<Client>,
    laws: Laws,
    /// Decided and not committed: records and replies wait, and a crash takes them.
    uncommitted: Vec<Step>,
    /// How much of the log is committed.
    committed: usize,
    next_offset: i64,
    /// Nothing is lost any more.
    is_calm: bool,
}

/// A member of one group, as a client library would drive it.
struct Client {
    group: GroupId,
    instance: Option<InstanceId>,
    member: Option<MemberId>,
    generation: Generation,
    topics: u64,
    doing: Doing,
    /// The heartbeat under way.
    beat: Option<Token>,
}

/// What a client is about.
enum Doing {
    Nothing,
    Joining(Token),
    Joined { members: Vec<MemberId> },
    Syncing(Token),
    Working,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let config = GroupConfig {
            size_max: if rng.chance(1, 4) { 4 } else { 100 },
            initial_rebalance_delay: Span::from_secs(rng.below(4)),
            offsets_retention: Span::from_secs(rng.between(30, 3_000)),
            ..GroupConfig::default()
        };
        let clients = (0..rng.between(1, 6)).map(|at| Client::new(at, &mut rng)).collect();
        let (laws, uncommitted) = (Laws::default(), Vec::new());
        Self {
            world: World::new(config),
            rng,
            clients,
            laws,
            uncommitted,
            committed: 0,
            next_offset: 0,
            is_calm: false,
        }
    }

    fn act(&mut self) {
        match self.rng.below(40) {
            0 => self.crash(),
            1 => self.expire(),
            2 => self.delete(),
            10 => self.end_transaction(),
            3..=9 => self.pass(),
            11..=15 => self.commit_log(),
            _ => {
                let at = self.rng.index(self.clients.len());
                self.client_acts(at);
            }
        }
    }

    // --- the coordinator's side ---

    fn crash(&mut self) {
        self.world.crash_back_to(self.committed);
        self.uncommitted.clear();
        // What was not written may be decided anew, otherwise.
        self.laws.told.clear();
    }

    fn expire(&mut self) {
        let token = self.world.token();
        self.step(Command::ExpireOffsets(token));
    }

    fn delete(&mut self) {
        let token = self.world.token();
        let group = GroupId::from(GROUPS[self.rng.index(2)]);
        self.step(Command::Delete(token, vec![group]));
    }

    fn end_transaction(&mut self) {
        let token = self.world.token();
        let producer = self.producer();
        let end = if self.rng.chance(2, 3) { EndTxn::Commit } else { EndTxn::Abort };
        self.step(Command::EndTransaction(token, producer, EndTxnMarker { end, coordinator_epoch: 0 }));
    }

    fn producer(&mut self) -> Producer {
        let id = i64::try_from(self.rng.below(3)).unwrap();
        Producer { id: ProducerId(id), epoch: ProducerEpoch(0) }
    }

    fn pass(&mut self) {
        let longest = if self.rng.chance(1, 10) { 70_000 } else { 4_000 };
        let span = Span::from_millis(self.rng.below(longest));
        for step in self.world.pass(span) {
            self.take(step);
        }
    }

    fn step(&mut self, command: Command) {
        let step = self.world.step(command);
        self.take(step);
    }

    fn take(&mut self, step: Step) {
        self.uncommitted.push(step);
        if self.is_calm || self.rng.chance(2, 3) {
            self.commit_log();
        }
    }

    /// What was decided becomes true, and is told.
    fn commit_log(&mut self) {
        self.committed = self.world.log.len();
        for step in core::mem::take(&mut self.uncommitted) {
            step.records.iter().for_each(|record| self.laws.record(record));
            for (token, reply) in step.replies {
                self.laws.reply(token, &reply);
                // One answer in eight never arrives.
                if self.is_calm || !self.rng.chance(1, 8) {
                    self.deliver(token, reply);
                }
            }
        }
        self.laws.check_offsets(&self.world);
    }

    // --- the clients' side ---

    fn client_acts(&mut self, at: usize) {
        let roll = self.rng.below(100);
        let client = &mut self.clients[at];
        match &client.doing {
            Doing::Nothing => self.join(at),
            // Whoever waits in vain asks again, later.
            Doing::Joining(_) if roll < 8 => self.join(at),
            Doing::Syncing(_) if roll < 8 => self.sync(at, vec![]),
            Doing::Joining(_) | Doing::Syncing(_) => {}
            Doing::Joined { members } => {
                let members = members.clone();
                self.sync(at, members);
            }
            Doing::Working if roll < 50 => self.heartbeat(at),
            Doing::Working if roll < 80 => self.commit(at),
            Doing::Working if roll < 86 => {
                client.topics = self.rng.below(3);
                self.join(at);
            }
            Doing::Working if roll < 92 => self.leave(at),
            Doing::Working => self.restart(at),
        }
    }

    /// The process dies; a static member comes back under its name, any other as a stranger.
    fn restart(&mut self, at: usize) {
        self.clients[at].member = None;
        self.clients[at].doing = Doing::Nothing;
    }

    fn join(&mut self, at: usize) {
        let token = self.world.token();
        let mut random = [0; 16];
        self.rng.fill(&mut random);
        let client = &mut self.clients[at];
        client.doing = Doing::Joining(token);
        let request = client.join_request(random);
        self.laws.asked.insert(token, client.asked());
        self.step(Command::Join(token, request));
    }

    /// A leader names everybody it was told of, each with work of its own.
    fn sync(&mut self, at: usize, members: Vec<MemberId>) {
        let token = self.world.token();
        let salt = self.rng.next_u64();
        let work = |member: MemberId| (member.clone(), Bytes::from(format!("{member}:{salt:x}")));
        let client = &mut self.clients[at];
        client.doing = Doing::Syncing(token);
        self.laws.asked.insert(token, client.asked());
        let request = SyncGroup {
            group: client.group.clone(),
            member: client.id(),
            instance: client.instance.clone(),
            generation: client.generation,
            protocol_type: None,
            protocol: None,
            assignments: members.into_iter().map(work).collect(),
        };
        self.step(Command::Sync(token, request));
    }

    fn heartbeat(&mut self, at: usize) {
        let token = self.world.token();
        let client = &self.clients[at];
        let request = Heartbeat {
            group: client.group.clone(),
            member: client.id(),
            instance: client.instance.clone(),
            generation: client.generation,
        };
        self.clients[at].beat = Some(token);
        self.step(Command::Heartbeat(token, request));
    }

    fn commit(&mut self, at: usize) {
        let token = self.world.token();
        self.next_offset += 1;
        let partition = PartitionIndex(i32::try_from(self.rng.below(3)).unwrap());
        let entry = CommitPartition {
            partition,
            offset: EndOffset(self.next_offset),
            leader_epoch: None,
            metadata: Label::from(""),
        };
        let topic = TopicName::from(if self.rng.chance(1, 2) { "t0" } else { "t1" });
        let client = &self.clients[at];
        let request = CommitOffsets {
            group: client.group.clone(),
            member: client.member.clone(),
            instance: client.instance.clone(),
            generation: client.generation,
            retention: None,
            topics: vec![CommitTopic { name: topic, id: TopicId::ZERO, partitions: vec![entry] }],
        };
        if self.rng.chance(1, 3) {
            let producer = self.producer();
            self.step(Command::StageOffsets(token, producer, request));
        } else {
            self.step(Command::CommitOffsets(token, request));
        }
    }

    fn leave(&mut self, at: usize) {
        let token = self.world.token();
        let client = &mut self.clients[at];
        let (member, instance) = (client.member.take(), client.instance.clone());
        client.doing = Doing::Nothing;
        let group = client.group.clone();
        let members = vec![Leaver { member, instance, reason: None }];
        self.step(Command::Leave(token, LeaveGroup { group, members }));
    }

    fn deliver(&mut self, token: Token, reply: Reply) {
        let client = self.clients.iter_mut().find(|client| client.waits_for(token));
        match (client, reply) {
            (Some(client), Reply::Join(result)) => client.join_answered(result),
            (Some(client), Reply::Sync(result)) => client.sync_answered(result),
            (Some(client), Reply::Heartbeat(Err(error))) => client.heartbeat_failed(error),
            (Some(_) | None, _) => {}
        }
    }

    // --- the end ---

    /// From here on nobody dies and nothing is lost: within a few minutes each group is stable with all of
    /// its clients, as far as it has room, and each knows its assignment.
    fn settle(&mut self) {
        self.is_calm = true;
        for _ in 0..600 {
            for step in self.world.pass(Span::from_secs(1)) {
                self.take(step);
            }
            for at in 0..self.clients.len() {
                self.behave(at);
            }
        }
        self.commit_log();
        self.check_at_rest();
        self.world.step(Command::Resign);
        assert!(self.world.waiting.is_empty(), "never answered: {:?}", self.world.waiting);
    }

    fn behave(&mut self, at: usize) {
        match &self.clients[at].doing {
            Doing::Nothing => self.join(at),
            // The request whose answer was lost long ago times out in the client.
            Doing::Joining(token) | Doing::Syncing(token) if !self.world.waiting.contains(token) => {
                self.join(at)
            }
            Doing::Joining(_) | Doing::Syncing(_) => {}
            Doing::Joined { members } => {
                let members = members.clone();
                self.sync(at, members);
            }
            Doing::Working => self.heartbeat(at),
        }
    }

    fn check_at_rest(&mut self) {
        for group in self.world.describe_all() {
            let clients: Vec<_> = self.clients.iter().filter(|client| client.group == group.group).collect();
            let working: Vec<_> =
                clients.iter().filter(|client| matches!(client.doing, Doing::Working)).collect();
            let room = self.world.soft.config().size_max.min(clients.len());
            assert_eq!(working.len(), room, "{}: not all work", group.group);
            let expected = if room == 0 { GroupState::Empty } else { GroupState::Stable };
            assert_eq!(group.state, expected, "{}", group.group);
            assert_eq!(group.members.len(), room, "{}: ghosts", group.group);
            for member in &group.members {
                assert!(working.iter().any(|client| client.member.as_ref() == Some(&member.member)));
                let work = String::from_utf8_lossy(&member.assignment).into_owned();
                // A static member keeps its work under a new id.
                let own =
                    member.instance.as_ref().map_or(member.member.to_string(), |name| format!("{name}-"));
                assert!(work.starts_with(&own), "{} does the work of {work}", member.member);
            }
        }
    }
}

impl Client {
    fn new(at: u64, rng: &mut Rng) -> Self {
        Self {
            group: GroupId::from(GROUPS[rng.index(2)]),
            instance: rng.chance(1, 3).then(|| InstanceId::from(format!("i{at}").as_str())),
            member: None,
            generation: Generation::NONE,
            topics: 0,
            doing: Doing::Nothing,
            beat: None,
        }
    }

    fn id(&self) -> MemberId {
        self.member.clone().unwrap_or_else(|| MemberId::from(""))
    }

    fn asked(&self) -> Asked {
        let who = match (&self.instance, &self.member) {
            (Some(instance), _) => instance.to_string(),
            (None, member) => member.as_ref().map(ToString::to_string).unwrap_or_default(),
        };
        Asked { group: self.group.clone(), who, member: self.id(), generation: self.generation }
    }

    fn waits_for(&self, token: Token) -> bool {
        let is_request = matches!(self.doing, Doing::Joining(own) | Doing::Syncing(own) if own == token);
        is_request || (matches!(self.doing, Doing::Working) && self.beat == Some(token))
    }

    fn join_request(&self, random: [u8; 16]) -> JoinGroup {
        let topics: Vec<_> = (0..=self.topics).map(|topic| format!("t{topic}")).collect();
        let metadata = crate::show::subscription(&topics.join("+"));
        JoinGroup {
            group: self.group.clone(),
            member: self.member.clone(),
            instance: self.instance.clone(),
            client_id: Label::from("c"),
            client_host: Label::from("/10.0.0.1"),
            session_timeout: Span::from_secs(10),
            rebalance_timeout: Span::from_secs(20),
            protocol_type: ProtocolType::from("consumer"),
            protocols: vec![Protocol { name: ProtocolName::from("range"), metadata }],
            reason: None,
            random,
            is_id_required: true,
            can_skip_assignment: true,
        }
    }

    fn join_answered(&mut self, result: Result<Joined, JoinRefused>) {
        self.doing = Doing::Nothing;
        match result {
            Ok(joined) => {
                let members = if joined.skip_assignment { Vec::new() } else { joined.members };
                self.doing =
                    Doing::Joined { members: members.into_iter().map(|member| member.member).collect() };
                self.member = Some(joined.member);
                self.generation = joined.generation;
            }
            Err(JoinRefused { member, error: JoinError::MemberIdRequired }) => self.member = member,
            Err(JoinRefused { error: JoinError::RebalanceInProgress, .. }) => {}
            Err(_) => self.member = None,
        }
    }

    fn sync_answered(&mut self, result: Result<Synced, SyncError>) {
        self.doing = Doing::Nothing;
        match result {
            Ok(_) => self.doing = Doing::Working,
            Err(SyncError::UnknownMemberId | SyncError::FencedInstanceId) => self.member = None,
            Err(_) => {}
        }
    }

    fn heartbeat_failed(&mut self, error: HeartbeatError) {
        self.doing = Doing::Nothing;
        if matches!(error, HeartbeatError::UnknownMemberId | HeartbeatError::FencedInstanceId) {
            self.member = None;
        }
    }
}

/// What must never happen, whoever does what.
#[derive(Default)]
struct Laws {
    /// Whose request a token is.
    asked: BTreeMap<Token, Asked>,
    /// Who was told to lead which generation, since the last crash.
    told: BTreeMap<GroupId, (Generation, Option<String>)>,
    /// Acknowledged and not forgotten on request.
    committed: BTreeMap<OffsetKey, EndOffset>,
    /// Written by transactions that have not ended. Offsets count up, so the larger was written later.
    staged: BTreeMap<(ProducerId, OffsetKey), EndOffset>,
    /// The newest written generation of each group.
    written: BTreeMap<GroupId, Generation>,
    /// What each written generation assigned to each member.
    assigned: BTreeMap<(MemberId, Generation), Bytes>,
}

/// A join or a sync under way.
struct Asked {
    group: GroupId,
    /// A static member keeps its name under all its ids.
    who: String,
    member: MemberId,
    generation: Generation,
}

impl Laws {
    fn record(&mut self, record: &Record) {
        match record {
            Record::GroupMetadata { group, metadata: None } => {
                self.written.remove(group);
                self.told.remove(group);
            }
            Record::GroupMetadata { group, metadata: Some(metadata) } => {
                let before = self.written.insert(group.clone(), metadata.generation);
                assert!(before <= Some(metadata.generation), "{group}: generation {before:?} is past");
                for member in &metadata.members {
                    let key = (member.member.clone(), metadata.generation);
                    let first = self.assigned.entry(key).or_insert_with(|| member.assignment.clone());
                    assert_eq!(*first, member.assignment, "two assignments in one generation");
                }
            }
            Record::OffsetCommit { key, value: Some(value) } => {
                let before = self.committed.insert(key.clone(), value.offset);
                assert!(before < Some(value.offset), "{key:?} went back from {before:?}");
            }
            Record::OffsetCommit { key, value: None } => {
                self.committed.remove(key);
                self.staged.retain(|(_, staged), _| staged != key);
            }
            Record::StagedOffset { producer, key, value } => {
                self.staged.insert((producer.id, key.clone()), value.offset);
            }
            Record::TransactionEnd { producer, marker } => {
                let ended = self.staged.extract_if(.., |(id, _), _| *id == producer.id);
                for ((_, key), offset) in ended.filter(|_| marker.end == EndTxn::Commit) {
                    let newest = self.committed.entry(key).or_insert(offset);
                    *newest = offset.max(*newest);
                }
            }
        }
    }

    fn reply(&mut self, token: Token, reply: &Reply) {
        let Some(asked) = self.asked.remove(&token) else { return };
        if let Reply::Join(Ok(joined)) = reply {
            self.joined(asked, joined);
        } else if let Reply::Sync(Ok(synced)) = reply {
            let written = self.assigned.get(&(asked.member.clone(), asked.generation));
            assert_eq!(written, Some(&synced.assignment), "{}: told and not written", asked.member);
        }
    }

    /// Generations only go up, and each has one leader.
    fn joined(&mut self, asked: Asked, joined: &Joined) {
        let (generation, leader) = self.told.entry(asked.group.clone()).or_insert((joined.generation, None));
        assert!(
            *generation <= joined.generation,
            "{}: told of {} after {generation}",
            asked.group,
            joined.generation
        );
        if *generation < joined.generation {
            (*generation, *leader) = (joined.generation, None);
        }
        if joined.leader.as_ref() == Some(&joined.member) {
            let who = if asked.who.is_empty() { joined.member.to_string() } else { asked.who };
            assert_eq!(*leader.get_or_insert_with(|| who.clone()), who, "two leaders");
            assert!(!joined.members.is_empty(), "a leader without members");
        }
    }

    fn check_offsets(&self, world: &World) {
        let mut count = 0;
        for (key, offset) in &self.committed {
            let group = world.hard.group(&key.group).unwrap_or_else(|| panic!("{key:?} is lost"));
            let kept = group.offset(&key.topic, key.partition).unwrap_or_else(|| panic!("{key:?} is lost"));
            assert_eq!(kept.offset, *offset, "{key:?}");
            count += 1;
        }
        let kept = world.hard.groups().flat_map(|(_, group)| group.offsets().values()).map(BTreeMap::len);
        assert_eq!(count, kept.sum::<usize>(), "offsets that nobody committed");
    }
}
