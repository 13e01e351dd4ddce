//! A node that belongs to no cluster yet: it forms one with the voters that its file names, or asks to be admitted.
//!
//! No client is served meanwhile. What has to be durable is written at once: nothing else waits for this node. Once the
//! directory is a member's, the machine is done and the node is opened as every other.

mod charter;

use crate::api;
use crate::boot::{Boot, BootError};
use crate::effects::{ConnId, Effects, Input, Level, Reply};
use crate::metadata::{StoreError, become_founder, become_member};
use crate::peer::{Address, Greeted, Heard, Identity, Links, forming_from_wire, forming_to_wire};
use base::{BrokerId, Instant, Now, Rng, Span, Uuid, hit};
use bytes::Bytes;
use charter::Promise;
use cluster::config::NodeConfig;
use quorum::RaftId;
use quorum::forming::{Charter, Forming, Founder, Message, Outcome, Output, Standing};
use seglog::dir::LogDir;
use seglog::text::DirIdentity;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::peer_form::PeerFormRequest;
use wire::peer_greet::{PeerGreetRequest, PeerGreetResponse};
use wire::peer_join::{PeerJoinRequest, PeerJoinResponse};
use wire::{ApiKey, Message as _, Reader, RequestHead};

/// How often those who have not answered are asked again.
const ROUND: Span = Span::from_millis(200);

/// Whom a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    /// A voter that the file names.
    Voter(BrokerId),
    /// The address of somebody, by its place in the file.
    Server(usize),
    /// The controller, as somebody has told.
    Leader,
}

/// What the node is about.
#[derive(Debug)]
enum Way {
    /// To form a cluster.
    Form(Forming),
    /// To be admitted to one.
    Join,
}

/// A node on its way into a cluster.
#[derive(Debug)]
pub struct Founding {
    config: NodeConfig,
    dir: Arc<LogDir>,
    own: Founder,
    links: Links<Target>,
    /// Who is at the other end of the links that are up.
    greeted: BTreeMap<Target, Greeted>,
    /// Questions for admission: who was asked, by number.
    asked: BTreeMap<i32, Target>,
    way: Way,
    /// Connections of others, and who has greeted over them.
    callers: BTreeMap<ConnId, Option<BrokerId>>,
    next_round: Instant,
    /// What the operator was told last.
    told: String,
    is_done: bool,
}

impl Founding {
    /// `None` if the directory is to begin a cluster of its own, or belongs to one.
    pub(crate) fn open(boot: &Boot, dir: &Arc<LogDir>, now: Now) -> Result<Option<Self>, BootError> {
        let config = &boot.config;
        if crate::metadata::is_member(dir).map_err(BootError::Metadata)? {
            return Ok(None);
        }
        let promise = charter::read(dir).map_err(BootError::Metadata)?;
        let is_named = config.voters.iter().any(|voter| voter.id == config.node_id);
        let is_alone =
            config.bootstrap_servers.is_empty() && config.voters.iter().all(|v| v.id == config.node_id);
        if is_alone {
            return match promise.and_then(|promise| promise.charter) {
                Some(charter) => Err(BootError::Promised { cluster_id: charter.cluster_id }),
                None => Ok(None),
            };
        }
        if let (None, Some(identity)) = (&promise, dir.identity()) {
            return Err(BootError::Foreign { cluster_id: identity.cluster_id.clone() });
        }
        let mut rng = Rng::new(boot.seed);
        let promise = match promise {
            Some(promise) => promise,
            None => Promise::new(dir, &mut rng).map_err(BootError::Metadata)?,
        };
        let own = Founder { node: config.node_id, directory: promise.directory };
        let standing = promise.charter.map_or(Standing::Empty, Standing::Prepared);
        let voters = config.voters.iter().map(|voter| voter.id).collect();
        let way = if is_named && config.bootstrap_servers.is_empty() {
            Way::Form(Forming::new(own, voters, standing, rng.uuid()))
        } else {
            Way::Join
        };
        let identity = Identity {
            cluster_id: Uuid::ZERO,
            node: own.node,
            directory: own.directory,
            address: boot.peer_address()?,
            is_controller: config.roles.controller,
        };
        Ok(Some(Self {
            config: config.clone(),
            dir: dir.clone(),
            own,
            links: Links::new(identity, rng.fork(1)),
            greeted: BTreeMap::new(),
            asked: BTreeMap::new(),
            way,
            callers: BTreeMap::new(),
            next_round: now.mono,
            told: String::new(),
            is_done: false,
        }))
    }

    /// Begins: looks for the others.
    pub fn start(&mut self, now: Now, fx: &mut Effects) {
        let address = |host: &String, port| Address { host: host.clone(), port };
        for voter in self.config.voters.iter().filter(|voter| voter.id != self.own.node) {
            self.links.want(Target::Voter(voter.id), &address(&voter.host, voter.port), fx);
        }
        for (at, (host, port)) in self.config.bootstrap_servers.iter().enumerate() {
            self.links.want(Target::Server(at), &address(host, *port), fx);
        }
        self.round(now, fx);
    }

    /// True once the directory is a member's: the node is to be opened again.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.is_done
    }

    /// Who has not answered, for people.
    #[must_use]
    pub fn waits_for(&self) -> Vec<String> {
        let silent = |target: &Target| !self.greeted.contains_key(target);
        let name = |target: Target| match target {
            Target::Voter(id) => format!("node {id}"),
            Target::Server(at) => self
                .config
                .bootstrap_servers
                .get(at)
                .map_or_else(String::new, |(host, port)| format!("{host}:{port}")),
            Target::Leader => "the controller".to_owned(),
        };
        self.links.wanted().filter(silent).map(name).collect()
    }

    /// Takes an input and says what follows.
    pub fn handle(&mut self, now: Now, input: Input, fx: &mut Effects) {
        let heard = match input {
            Input::Connected { conn, .. } => {
                self.callers.insert(conn, None);
                None
            }
            Input::Closed { conn } => {
                self.callers.remove(&conn);
                None
            }
            Input::Frame { conn, frame } => {
                self.called(conn, frame, fx);
                None
            }
            Input::Linked { link } => {
                self.links.linked(now.mono, link, fx);
                None
            }
            Input::LinkFrame { link, frame } => self.links.frame(now.mono, link, &frame, fx),
            Input::LinkDown { link, why } => self.links.down(now.mono, link, why, fx),
            Input::Tick | Input::Mail(_) | Input::JobDone(_) => None,
        };
        heard.into_iter().for_each(|heard| self.heard(heard, fx));
        for heard in self.links.tick(now.mono, fx) {
            self.heard(heard, fx);
        }
        self.round(now, fx);
    }

    /// Asks again whoever may not have heard.
    fn round(&mut self, now: Now, fx: &mut Effects) {
        if self.is_done || now.mono < self.next_round {
            return fx.wake(self.next_round);
        }
        self.next_round = now.mono + ROUND;
        fx.wake(self.next_round);
        match &mut self.way {
            Way::Form(forming) => {
                let output = forming.tick();
                self.follow(output, fx);
            }
            Way::Join => self.ask_for_admission(fx),
        }
    }

    // --- forming ---

    /// Does what follows from a step of forming.
    fn follow(&mut self, output: Output, fx: &mut Effects) {
        let mut next = Some(output);
        while let Some(output) = next.take() {
            for (to, message) in &output.send {
                let request = forming_to_wire(message);
                let _not_up = self.links.tell(Target::Voter(*to), &request, fx);
            }
            if let Some(conflict) = output.conflict {
                self.tell_operator(Level::Error, format!("No cluster can be formed: {conflict}"), fx);
            }
            if let Some(standing) = output.save {
                next = self.save(standing, fx);
            }
            match output.outcome {
                Some(Outcome::Join { cluster_id, through }) => {
                    hit!(founder_finds_a_cluster);
                    self.tell_operator(
                        Level::Info,
                        format!(
                            "Node {through} belongs to cluster {cluster_id}: asking to be admitted to it"
                        ),
                        fx,
                    );
                    self.way = Way::Join;
                    return self.ask_for_admission(fx);
                }
                Some(Outcome::Founded(charter)) => {
                    self.tell_operator(Level::Info, format!("Founded cluster {}", charter.cluster_id), fx);
                    self.is_done = true;
                }
                None => {}
            }
        }
    }

    fn save(&mut self, standing: Standing, fx: &mut Effects) -> Option<Output> {
        let Way::Form(forming) = &mut self.way else { return None };
        let saved = match (&standing, forming.standing()) {
            (Standing::Prepared(charter), _) => charter::promise(&self.dir, self.own.directory, charter),
            (Standing::Member(_), Standing::Prepared(charter)) => become_one_of(&self.dir, self.own, charter),
            (Standing::Member(_) | Standing::Empty, _) => Ok(()),
        };
        match saved {
            Ok(()) => Some(forming.saved()),
            Err(error) => {
                fx.fatal = Some(format!("the data directory cannot be prepared: {error}"));
                None
            }
        }
    }

    // --- joining ---

    /// Whoever belongs to a cluster has said so with its greeting.
    fn met(&mut self, who: Greeted, fx: &mut Effects) {
        match &mut self.way {
            Way::Join => self.ask_for_admission(fx),
            Way::Form(forming) if !who.cluster_id.is_zero() => {
                let standing = Standing::Member(who.cluster_id);
                let told = Message::Tell { voters: Vec::new(), directory: who.directory, standing };
                let output = forming.handle(who.node, told);
                self.follow(output, fx);
            }
            Way::Form(_) => {}
        }
    }

    fn ask_for_admission(&mut self, fx: &mut Effects) {
        self.asked.clear();
        let request = PeerJoinRequest {
            node_id: self.own.node.0,
            directory_id: self.own.directory,
            ..PeerJoinRequest::default()
        };
        let belongs = self.greeted.iter().filter(|(_, who)| !who.cluster_id.is_zero());
        for to in belongs.map(|(to, _)| *to).collect::<Vec<_>>() {
            if let Some(number) = self.links.ask(to, &request, fx) {
                self.asked.insert(number, to);
            }
        }
    }

    fn admitted(&mut self, answer: &PeerJoinResponse, fx: &mut Effects) {
        if answer.error_code == 0 {
            hit!(node_admitted);
            let joined = identify(&self.dir, self.own, answer.cluster_id)
                .and_then(|()| become_member(&self.dir, answer.cluster_id, RaftId::of(self.own.directory)));
            match joined {
                Ok(()) => {
                    self.tell_operator(Level::Info, format!("Joined cluster {}", answer.cluster_id), fx);
                    self.is_done = true;
                }
                Err(error) => fx.fatal = Some(format!("the data directory cannot be prepared: {error}")),
            }
            return;
        }
        if answer.leader_id >= 0 {
            let address = Address { host: answer.leader_host.as_str().to_owned(), port: answer.leader_port };
            self.links.want(Target::Leader, &address, fx);
        } else if let Some(text) = &answer.error_message {
            self.tell_operator(Level::Warn, format!("Not admitted to the cluster yet: {text}"), fx);
        }
    }

    // --- links and callers ---

    fn heard(&mut self, heard: Heard<Target>, fx: &mut Effects) {
        match heard {
            Heard::Up { to, who } => {
                self.greeted.insert(to, who);
                self.met(who, fx);
            }
            Heard::Down { to, .. } => {
                self.greeted.remove(&to);
            }
            Heard::Answer { number, mut body, .. } => {
                let answer = self.asked.remove(&number).map(|_| PeerJoinResponse::decode(&mut body, 0));
                if let Some(Ok(answer)) = answer
                    && !self.is_done
                {
                    self.admitted(&answer, fx);
                }
            }
        }
    }

    /// A node has sent something. Whatever is none of a beginning is for those who are members.
    fn called(&mut self, conn: ConnId, frame: Bytes, fx: &mut Effects) {
        let Some(from) = self.callers.get(&conn).copied() else { return };
        let mut reader = Reader::new(frame);
        let key = RequestHead::decode(&mut reader)
            .ok()
            .and_then(|head| Some((ApiKey::try_from(head.api_key).ok()?, head)));
        match (key, from) {
            (Some((ApiKey::PeerGreet, head)), _) => match PeerGreetRequest::decode(&mut reader, 0) {
                Ok(greeting) => self.greet(conn, &head, &greeting, fx),
                Err(_) => self.hang_up(conn, fx),
            },
            (Some((ApiKey::PeerForm, head)), Some(from)) => {
                let message =
                    PeerFormRequest::decode(&mut reader, head.version).ok().and_then(forming_from_wire);
                match message {
                    Some(message) => self.asked_by(from, message, fx),
                    None => self.hang_up(conn, fx),
                }
            }
            _ => self.hang_up(conn, fx),
        }
    }

    fn greet(&mut self, conn: ConnId, head: &RequestHead, greeting: &PeerGreetRequest, fx: &mut Effects) {
        self.callers.insert(conn, Some(BrokerId(greeting.node_id)));
        let answer = PeerGreetResponse {
            node_id: self.own.node.0,
            directory_id: self.own.directory,
            apis: api::taken_from_peers(),
            ..PeerGreetResponse::default()
        };
        match wire::encode_response(ApiKey::PeerGreet, 0, head.correlation_id, &answer) {
            Ok(encoded) => fx.replies.push((conn, Reply::bytes(encoded.bytes))),
            Err(_) => self.hang_up(conn, fx),
        }
    }

    fn asked_by(&mut self, from: BrokerId, message: Message, fx: &mut Effects) {
        if let (Way::Form(forming), false) = (&mut self.way, self.is_done) {
            let output = forming.handle(from, message);
            self.follow(output, fx);
        }
    }

    fn hang_up(&mut self, conn: ConnId, fx: &mut Effects) {
        self.callers.remove(&conn);
        fx.close.push(conn);
    }

    /// Once per news: rounds are many.
    fn tell_operator(&mut self, level: Level, text: String, fx: &mut Effects) {
        if self.told != text {
            fx.log(level, text.clone());
            self.told = text;
        }
    }
}

fn become_one_of(dir: &LogDir, own: Founder, charter: &Charter) -> Result<(), StoreError> {
    identify(dir, own, charter.cluster_id)?;
    become_founder(dir, charter.cluster_id, RaftId::of(own.directory), charter.membership())
}

fn identify(dir: &LogDir, own: Founder, cluster_id: Uuid) -> Result<(), StoreError> {
    let identity =
        DirIdentity { cluster_id: cluster_id.to_string(), node_id: own.node.0, directory_id: own.directory };
    Ok(dir.write_identity(&identity)?)
}
