//! Transcripts: commands, `----`, what they bring about.
//!
//! A script is blocks separated by blank lines. A line of a block before `----` is a comment (`#`) or a
//! command `verb asker key=value …`; the lines after it are the events, in their order: `record …` (what the
//! log gets), `reply ASKER: …`, `parked ASKER`. Askers have a memory, as clients do: the member id and the
//! generation that they were told last and what they said in their last join; commands default to it and may
//! say otherwise (`member=@b`, `member=-`). `tick SPAN` lets time pass. README.md beside the scripts lists the
//! verbs. Nothing here but this file and `world` knows the machine, so that the same scripts can be run
//! against a server.

use crate::show::{self, Names, span};
use crate::world::{Step, World};
use base::{EndOffset, LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, Span, TopicId, Uuid};
use bytes::Bytes;
use ottla_coordinator::Token;
use ottla_coordinator::group::{
    Command, CommitOffsets, CommitPartition, CommitTopic, DeleteOffsets, DeletedTopic, FetchOffsets,
    FetchTopic, Generation, GroupConfig, GroupId, Heartbeat, InstanceId, JoinError, JoinGroup, JoinRefused,
    Label, LeaveGroup, Leaver, ListGroups, MemberId, Producer, Protocol, ProtocolName, ProtocolType, Reply,
    SyncGroup, TopicName,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use wire::record::{EndTxn, EndTxnMarker};

/// Runs every `*.txt` of a folder.
pub(crate) fn run_folder(folder: &Path) {
    let is_update = std::env::vars_os().any(|(key, _)| key == "UPDATE");
    let mut failures = String::new();
    for path in scripts_in(folder) {
        let text = std::fs::read_to_string(&path).unwrap();
        let actual = run(&text);
        if is_update {
            std::fs::write(&path, &actual).unwrap();
        } else if actual != text {
            writeln!(failures, "{}\n{}", path.display(), first_difference(&text, &actual)).unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// The transcripts of a folder, in the order of their names.
fn scripts_in(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", folder.display());
    paths
}

/// True if some script does not bring about what it says, or breaks a law.
pub(crate) fn finds_a_bug(folder: &Path) -> bool {
    scripts_in(folder).iter().any(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        std::panic::catch_unwind(|| run(&text)).map_or(true, |actual| actual != text)
    })
}

fn first_difference(expected: &str, actual: &str) -> String {
    let expected: Vec<_> = expected.lines().collect();
    let actual: Vec<_> = actual.lines().collect();
    let at = (0..).find(|at| expected.get(*at) != actual.get(*at)).unwrap();
    let around = expected[..at].iter().rev().take(4).rev();
    let mut text = around.fold(String::new(), |text, line| format!("{text}  {line}\n"));
    writeln!(text, "line {}", at + 1).unwrap();
    writeln!(text, "- {}", expected.get(at).unwrap_or(&"(end)")).unwrap();
    writeln!(text, "+ {}", actual.get(at).unwrap_or(&"(end)")).unwrap();
    text
}

/// Runs a script and returns it with what really happened.
fn run(text: &str) -> String {
    let mut runner = Runner::default();
    let mut blocks = Vec::new();
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let head: Vec<_> = block.lines().take_while(|line| *line != "----").collect();
        let mut events = Vec::new();
        for line in head.iter().filter(|line| !line.starts_with('#')) {
            events.extend(runner.command(line));
        }
        let mut block = head.join("\n");
        if !events.is_empty() {
            block.push_str("\n----\n");
            block.push_str(&events.join("\n"));
        }
        blocks.push(block);
    }
    runner.finish();
    blocks.join("\n\n") + "\n"
}

struct Runner {
    world: World,
    names: Names,
    askers: BTreeMap<Token, String>,
    memory: BTreeMap<String, Memory>,
    random: u8,
    shows_events: bool,
}

/// What a client remembers.
#[derive(Default)]
struct Memory {
    member: Option<MemberId>,
    generation: Option<Generation>,
    join: BTreeMap<String, String>,
}

impl Default for Runner {
    fn default() -> Self {
        Self {
            world: World::new(GroupConfig::default()),
            names: Names::default(),
            askers: BTreeMap::new(),
            memory: BTreeMap::new(),
            random: 0,
            shows_events: false,
        }
    }
}

impl Runner {
    fn command(&mut self, line: &str) -> Vec<String> {
        let line = Line::parse(line);
        let world = &mut self.world;
        let steps = match line.verb {
            "tick" => world.pass(span(line.target)),
            "crash" => {
                world.crash();
                vec![]
            }
            "config" => {
                let mut config = *world.soft.config();
                configure(&mut config, &line);
                world.soft.set_config(config);
                vec![]
            }
            "topic-deleted" => {
                let id = topic_id(line.get("id"));
                let topics = vec![DeletedTopic { name: TopicName::from(line.target), id }];
                vec![world.step(Command::TopicsDeleted(topics))]
            }
            "events" => {
                self.shows_events = true;
                vec![]
            }
            "resign" => vec![world.step(Command::Resign)],
            _ => return self.ask(&line),
        };
        self.events(steps)
    }

    fn ask(&mut self, line: &Line<'_>) -> Vec<String> {
        let token = self.world.token();
        self.askers.insert(token, line.target.into());
        let said = self.recall(line);
        let command = self.request(token, &line.or(&said));
        let step = self.world.step(command);
        let mut events = self.events(vec![step]);
        if self.world.waiting.contains(&token) {
            events.push(format!("parked {}", line.target));
        }
        events
    }

    /// What the asker said in its last join; a join may add to it.
    fn recall(&mut self, line: &Line<'_>) -> BTreeMap<String, String> {
        let memory = self.memory.entry(line.target.into()).or_default();
        if line.verb == "join" {
            let said = line.arguments.iter().filter(|(key, _)| **key != "member");
            memory.join.extend(said.map(|(key, value)| (key.to_string(), value.to_string())));
            return memory.join.clone();
        }
        let kept = memory.join.iter().filter(|(key, _)| matches!(key.as_str(), "group" | "instance"));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn events(&mut self, steps: Vec<Step>) -> Vec<String> {
        let mut lines = Vec::new();
        for step in steps {
            for (token, reply) in &step.replies {
                self.remember(*token, reply);
            }
            if self.shows_events {
                lines.extend(step.events.iter().map(|event| self.names.event(event)));
            }
            lines.extend(step.records.iter().map(|record| self.names.record(record)));
            for (token, reply) in &step.replies {
                lines.push(format!("reply {}: {}", self.askers[token], self.names.reply(reply)));
            }
        }
        lines
    }

    fn remember(&mut self, token: Token, reply: &Reply) {
        let asker = &self.askers[&token];
        let memory = self.memory.entry(asker.clone()).or_default();
        let member = match reply {
            Reply::Join(Ok(joined)) => {
                memory.generation = Some(joined.generation);
                joined.member.clone()
            }
            Reply::Join(Err(JoinRefused { member: Some(id), error: JoinError::MemberIdRequired })) => {
                id.clone()
            }
            Reply::Join(Err(_))
            | Reply::Sync(_)
            | Reply::Heartbeat(_)
            | Reply::Leave(_)
            | Reply::CommitOffsets(_)
            | Reply::TransactionEnded
            | Reply::FetchOffsets(_)
            | Reply::List(_)
            | Reply::Describe(_)
            | Reply::Delete(_)
            | Reply::DeleteOffsets(_)
            | Reply::Expired { .. } => return,
        };
        self.names.learn(asker, &member);
        memory.member = Some(member);
    }

    /// Whoever still waits at the end is told so when the shard resigns.
    fn finish(mut self) {
        self.world.step(Command::Resign);
        assert!(self.world.waiting.is_empty(), "never answered: {:?}", self.world.waiting);
    }

    fn request(&mut self, token: Token, line: &Line<'_>) -> Command {
        match line.verb {
            "join" => Command::Join(token, self.join(line)),
            "sync" => Command::Sync(token, self.sync(line)),
            "heartbeat" => Command::Heartbeat(token, self.heartbeat(line)),
            "leave" => Command::Leave(token, self.leave(line)),
            "commit" => Command::CommitOffsets(token, self.commit(line)),
            "stage" => Command::StageOffsets(token, producer(line), self.commit(line)),
            "end" => Command::EndTransaction(token, producer(line), marker(line)),
            "fetch" => Command::FetchOffsets(token, fetch(line)),
            "list" => Command::List(
                token,
                ListGroups { states: labels(line, "states"), types: labels(line, "types") },
            ),
            "describe" => Command::Describe(token, groups(line)),
            "delete" => Command::Delete(token, groups(line)),
            "forget" => Command::DeleteOffsets(token, forget(line)),
            "expire" => Command::ExpireOffsets(token),
            verb => panic!("{verb}: no such verb"),
        }
    }

    fn join(&mut self, line: &Line<'_>) -> JoinGroup {
        self.random += 1;
        let version: u8 = line.get("v").map_or(9, |version| version.parse().unwrap());
        let kind = line.get("type").unwrap_or(ProtocolType::CONSUMER);
        JoinGroup {
            group: group(line),
            member: self.member(line),
            instance: instance(line),
            client_id: Label::from(line.get("client").unwrap_or(line.target)),
            client_host: Label::from("/10.0.0.1"),
            session_timeout: line.get("session").map_or(Span::from_secs(10), span),
            rebalance_timeout: line.get("rebalance").map_or(Span::from_secs(60), span),
            protocol_type: ProtocolType::from(kind),
            protocols: protocols(line.get("protocols").unwrap_or("range:t"), kind),
            reason: line.get("reason").map(Label::from),
            random: [self.random; 16],
            is_id_required: version >= 4,
            can_skip_assignment: version >= 9,
        }
    }

    fn sync(&self, line: &Line<'_>) -> SyncGroup {
        let assignments = line.list("assign").into_iter().map(|entry| {
            let (member, work) = entry.split_once(':').unwrap();
            (self.names.id(member), Bytes::copy_from_slice(work.as_bytes()))
        });
        SyncGroup {
            group: group(line),
            member: self.member(line).unwrap_or_else(|| MemberId::from("")),
            instance: instance(line),
            generation: self.generation(line),
            protocol_type: line.get("type").map(ProtocolType::from),
            protocol: line.get("protocol").map(ProtocolName::from),
            assignments: assignments.collect(),
        }
    }

    fn heartbeat(&self, line: &Line<'_>) -> Heartbeat {
        Heartbeat {
            group: group(line),
            member: self.member(line).unwrap_or_else(|| MemberId::from("")),
            instance: instance(line),
            generation: self.generation(line),
        }
    }

    /// `members=@a,@b/instance,/instance`; without them the asker leaves.
    fn leave(&self, line: &Line<'_>) -> LeaveGroup {
        let mut members: Vec<_> = line
            .list("members")
            .into_iter()
            .map(|entry| {
                let (member, instance) = entry.split_once('/').unwrap_or((entry, ""));
                Leaver {
                    member: (!member.is_empty()).then(|| self.names.id(member)),
                    instance: InstanceId::from_wire(instance),
                    reason: None,
                }
            })
            .collect();
        if members.is_empty() {
            members.push(Leaver {
                member: self.member(line),
                instance: instance(line),
                reason: line.get("reason").map(Label::from),
            });
        }
        LeaveGroup { group: group(line), members }
    }

    fn commit(&self, line: &Line<'_>) -> CommitOffsets {
        let metadata = match line.get("metadata") {
            Some(length) if length.starts_with('x') => "x".repeat(length[1..].parse().unwrap()),
            text => text.unwrap_or_default().into(),
        };
        let topics = line.list("offsets").into_iter().map(|entry| {
            let (partition, offset) = entry.split_once(':').unwrap();
            let (name, partition) = topic_partition(partition);
            let offset = CommitPartition {
                partition,
                offset: EndOffset(offset.parse().unwrap()),
                leader_epoch: line.get("epoch").map(|epoch| LeaderEpoch(epoch.parse().unwrap())),
                metadata: Label::from(metadata.as_str()),
            };
            CommitTopic { name, id: topic_id(line.get("id")), partitions: vec![offset] }
        });
        CommitOffsets {
            group: group(line),
            member: self.member(line),
            instance: instance(line),
            generation: self.generation(line),
            retention: line.get("retention").map(span),
            topics: topics.collect(),
        }
    }

    // What the line says, else what the asker remembers.

    fn member(&self, line: &Line<'_>) -> Option<MemberId> {
        match line.get("member") {
            Some("-") => None,
            Some(name) => Some(self.names.id(name)),
            None => self.memory.get(line.target)?.member.clone(),
        }
    }

    fn generation(&self, line: &Line<'_>) -> Generation {
        let remembered = self.memory.get(line.target).and_then(|memory| memory.generation);
        match line.get("generation") {
            Some(number) => Generation(number.parse().unwrap()),
            None => remembered.unwrap_or(Generation::NONE),
        }
    }
}

struct Line<'a> {
    verb: &'a str,
    target: &'a str,
    arguments: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    /// This line, with `more` where it says nothing.
    fn or(&self, more: &'a BTreeMap<String, String>) -> Self {
        let mut arguments: BTreeMap<_, _> =
            more.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        arguments.extend(&self.arguments);
        Self { verb: self.verb, target: self.target, arguments }
    }

    fn parse(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap();
        let mut words = words.peekable();
        let target = words.next_if(|word| !word.contains('=')).unwrap_or("");
        let arguments = words.map(|word| word.split_once('=').unwrap_or_else(|| panic!("{line}: {word}?")));
        Self { verb, target, arguments: arguments.collect() }
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.arguments.get(key).copied()
    }

    fn list(&self, key: &str) -> Vec<&'a str> {
        self.get(key).map(|list| list.split(',').collect()).unwrap_or_default()
    }
}

fn configure(config: &mut GroupConfig, line: &Line<'_>) {
    for (key, value) in &line.arguments {
        match *key {
            "group.max.size" => config.size_max = value.parse().unwrap(),
            "group.initial.rebalance.delay" => config.initial_rebalance_delay = span(value),
            "offsets.retention" => config.offsets_retention = span(value),
            "offset.metadata.max.bytes" => config.offset_metadata_max = value.parse().unwrap(),
            "max.message.bytes" => config.append_bytes_max = value.parse().unwrap(),
            "pending.max" => config.pending_max = value.parse().unwrap(),
            other => panic!("{other}: no such setting"),
        }
    }
}

fn group(line: &Line<'_>) -> GroupId {
    GroupId::from(line.get("group").unwrap_or("g"))
}

fn instance(line: &Line<'_>) -> Option<InstanceId> {
    line.get("instance").filter(|name| *name != "-").map(InstanceId::from)
}

fn groups(line: &Line<'_>) -> Vec<GroupId> {
    line.list("groups").into_iter().map(GroupId::from).collect()
}

fn labels(line: &Line<'_>, key: &str) -> Vec<Label> {
    line.list(key).into_iter().map(Label::from).collect()
}

/// `range:t1+t2,sticky:t1`: for type `consumer` the topics of a subscription, else plain text.
fn protocols(list: &str, kind: &str) -> Vec<Protocol> {
    let protocol = |entry: &str| {
        let (name, text) = entry.split_once(':').unwrap_or((entry, ""));
        let is_text = kind != ProtocolType::CONSUMER || text.starts_with('!');
        let metadata =
            if is_text { Bytes::copy_from_slice(text.as_bytes()) } else { show::subscription(text) };
        Protocol { name: ProtocolName::from(name), metadata }
    };
    list.split(',').filter(|entry| !entry.is_empty()).map(protocol).collect()
}

fn fetch(line: &Line<'_>) -> FetchOffsets {
    let topics = line.get("offsets").map(|_| {
        let partitions = line.list("offsets").into_iter().map(topic_partition);
        partitions
            .map(|(name, partition)| FetchTopic {
                name,
                id: topic_id(line.get("id")),
                partitions: vec![partition],
            })
            .collect()
    });
    FetchOffsets { group: group(line), topics, is_stable_required: line.get("stable") != Some("no") }
}

fn producer(line: &Line<'_>) -> Producer {
    let id = line.get("producer").unwrap().parse().unwrap();
    Producer { id: ProducerId(id), epoch: ProducerEpoch(0) }
}

fn marker(line: &Line<'_>) -> EndTxnMarker {
    let end = if line.get("outcome") == Some("commit") { EndTxn::Commit } else { EndTxn::Abort };
    EndTxnMarker { end, coordinator_epoch: 0 }
}

fn forget(line: &Line<'_>) -> DeleteOffsets {
    let partitions = line.list("offsets").into_iter().map(topic_partition);
    let topics = partitions.map(|(name, partition)| (name, vec![partition])).collect();
    DeleteOffsets { group: group(line), topics }
}

fn topic_partition(text: &str) -> (TopicName, PartitionIndex) {
    let (topic, partition) = text.rsplit_once('-').unwrap();
    (TopicName::from(topic), PartitionIndex(partition.parse().unwrap()))
}

fn topic_id(number: Option<&str>) -> TopicId {
    number.map_or(TopicId::ZERO, |number| TopicId(Uuid([number.parse().unwrap(); 16])))
}
