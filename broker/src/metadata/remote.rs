//! Questions for the controller, wherever it is: answered here, passed on, or kept until somebody leads.

use super::{Metadata, refuse};
use crate::api::{
    AllocateProducerIds, AlterPartition, AssignReplicasToDirs, BrokerHeartbeat, BrokerRegistration,
    CreateTopics, ResponseOf, ToController, refuse_envelope, refused,
};
use crate::effects::{Asked, Effects, Mail, Owner, Reply};
use crate::peer::Links;
use base::{BrokerId, Instant, Now, Span, hit};
use bytes::{BufMut, Bytes, BytesMut};
use cluster::controller::{Command, Reply as Answer};
use std::collections::{BTreeMap, VecDeque};
use wire::envelope::{EnvelopeRequest, EnvelopeResponse};
use wire::{ErrorCode, Message as _, Reader};

/// How long a question may wait for a controller that answers it.
const PATIENCE: Span = Span::from_secs(15);
/// The pause before a controller is asked again that was none.
const PAUSE: Span = Span::from_millis(20);

/// Who asked the controller.
#[derive(Debug)]
pub(super) enum Asker {
    /// A client, or another node.
    Client(Asked),
    /// Another owner of this node.
    Owner { from: Owner, ticket: u64 },
    /// This owner, on its way to serving.
    Own,
    /// This owner, for replicas whose files are damaged.
    Repair,
    /// The controller itself, that looks whether brokers live.
    Sessions,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Errand {
    /// A command.
    Command(Command),
    /// What the client's request says.
    Request,
}

#[derive(Debug)]
struct Question {
    asker: Asker,
    errand: Errand,
    /// It is not asked before.
    from: Instant,
    /// It is given up then.
    until: Instant,
}

/// How an answer from elsewhere is read.
type Read = fn(&mut Reader, i16) -> Option<Answer>;

#[derive(Debug)]
struct UnderWay {
    node: BrokerId,
    question: Question,
    /// `None` for a client's request, whose answer goes to the client as it is.
    read: Option<Read>,
}

/// Questions that are not answered here. Bounded by the requests in flight and the owners of this node.
#[derive(Debug, Default)]
pub(super) struct Remote {
    waiting: VecDeque<Question>,
    under_way: BTreeMap<i32, UnderWay>,
}

impl Metadata {
    /// True if this node is the controller.
    pub(crate) const fn is_controller(&self) -> bool {
        self.leading.is_here()
    }

    /// Passes on a request that only the controller can answer.
    pub(crate) fn pass_on(&mut self, now: Now, asked: Asked, fx: &mut Effects) {
        self.put(now, Asker::Client(asked), Errand::Request, fx);
    }

    /// Sees to it that the controller is asked.
    pub(super) fn put(&mut self, now: Now, asker: Asker, errand: Errand, fx: &mut Effects) {
        let until = now.mono + PATIENCE;
        self.put_question(now, Question { asker, errand, from: now.mono, until }, fx);
    }

    fn put_question(&mut self, now: Now, question: Question, fx: &mut Effects) {
        if self.leading.is_here() {
            let Question { asker, errand, .. } = question;
            return match (asker, errand) {
                (asker, Errand::Command(command)) => self.decide(now, asker, command, fx),
                (Asker::Client(asked), Errand::Request) => self.carry_out(now, asked, fx),
                (Asker::Owner { .. } | Asker::Own | Asker::Repair | Asker::Sessions, Errand::Request) => {}
            };
        }
        if let Asker::Client(asked) = &question.asker
            && asked.envelope.is_some()
        {
            // Whoever has sent it here knows of other places.
            return self.give_up(now, question, fx);
        }
        let node = self.controller_node().filter(|node| self.peers.links.is_up(*node));
        match node {
            Some(node) if question.from <= now.mono => self.send_question(now, node, question, fx),
            Some(_) | None => self.remote.waiting.push_back(question),
        }
    }

    fn send_question(&mut self, now: Now, node: BrokerId, question: Question, fx: &mut Effects) {
        let links = &mut self.peers.links;
        let sent = match (&question.asker, &question.errand) {
            (Asker::Client(asked), Errand::Request) => {
                send_envelope(links, node, asked, fx).map(|number| (number, None))
            }
            (_, Errand::Command(command)) => {
                send_command(links, node, command, fx).map(|(number, read)| (number, Some(read)))
            }
            (Asker::Owner { .. } | Asker::Own | Asker::Repair | Asker::Sessions, Errand::Request) => None,
        };
        match sent {
            Some((number, read)) => {
                self.remote.under_way.insert(number, UnderWay { node, question, read });
            }
            // Only the controller itself has other questions.
            None => self.give_up(now, question, fx),
        }
    }

    /// An answer of the controller on another node.
    pub(super) fn answered_elsewhere(
        &mut self,
        now: Now,
        number: i32,
        version: i16,
        mut body: Reader,
        fx: &mut Effects,
    ) {
        let Some(UnderWay { question, read, .. }) = self.remote.under_way.remove(&number) else { return };
        match (read, question.asker) {
            (None, Asker::Client(asked)) => {
                self.envelope_opened(now, asked, question.until, (version, &mut body), fx)
            }
            (Some(read), asker) => match read(&mut body, version) {
                Some(answer) if is_not_controller(&answer) => {
                    self.later(now, Question { asker, ..question }, fx);
                }
                Some(answer) => self.give(now, asker, answer, fx),
                None => self.give_up(now, Question { asker, ..question }, fx),
            },
            (None, Asker::Owner { .. } | Asker::Own | Asker::Repair | Asker::Sessions) => {}
        }
    }

    fn envelope_opened(
        &mut self,
        now: Now,
        asked: Asked,
        until: Instant,
        (version, body): (i16, &mut Reader),
        fx: &mut Effects,
    ) {
        let opened = EnvelopeResponse::decode(body, version).ok();
        match opened {
            Some(EnvelopeResponse { error_code: 0, response_data: Some(data), .. }) => {
                let token = asked.token;
                let reply = Reply::bytes(framed(&data));
                fx.tell(Owner::Reactor(token.reactor), Mail::Reply { token, reply });
            }
            Some(answer) if answer.error_code == ErrorCode::NotController.code() => {
                let question =
                    Question { asker: Asker::Client(asked), errand: Errand::Request, from: now.mono, until };
                self.later(now, question, fx);
            }
            Some(_) | None => refuse(asked.token, "the controller could not read it".into(), fx),
        }
    }

    fn later(&mut self, now: Now, question: Question, fx: &mut Effects) {
        hit!(question_asked_again);
        let from = now.mono + PAUSE;
        fx.wake(from);
        self.remote.waiting.push_back(Question { from, ..question });
    }

    /// This node is not the controller any more: whoever leads next is asked again.
    pub(super) fn ask_again(&mut self, now: Now, asker: Asker, errand: Errand, fx: &mut Effects) {
        match asker {
            // Whoever leads looks for itself.
            Asker::Sessions => {}
            Asker::Client(_) | Asker::Owner { .. } | Asker::Own | Asker::Repair => {
                self.put(now, asker, errand, fx);
            }
        }
    }

    /// The link to a node is lost: nobody knows what became of what it was asked. Asking again does no harm.
    pub(super) fn asked_in_vain(&mut self, now: Now, node: BrokerId, fx: &mut Effects) {
        let lost: Vec<i32> = self
            .remote
            .under_way
            .iter()
            .filter(|(_, under_way)| under_way.node == node)
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            if let Some(UnderWay { question, .. }) = self.remote.under_way.remove(&number) {
                self.later(now, question, fx);
            }
        }
    }

    /// Another leads than whoever was asked, who may be stopped or cut off: the link to it lives on and says nothing.
    fn ask_who_leads_now(&mut self, now: Now, fx: &mut Effects) {
        let leads = if self.leading.is_here() { None } else { self.controller_node() };
        if leads.is_none() && !self.leading.is_here() {
            return;
        }
        let asked = self.remote.under_way.extract_if(.., |_, under_way| Some(under_way.node) != leads);
        for (_, UnderWay { question, .. }) in asked.collect::<Vec<_>>() {
            hit!(question_asked_elsewhere);
            self.put_question(now, question, fx);
        }
    }

    /// Asks what waits, now that somebody may lead, and gives up what has waited too long.
    pub(super) fn ask_what_waits(&mut self, now: Now, fx: &mut Effects) {
        self.ask_who_leads_now(now, fx);
        for _ in 0..self.remote.waiting.len() {
            let Some(question) = self.remote.waiting.pop_front() else { break };
            if question.until <= now.mono {
                hit!(question_given_up);
                self.give_up(now, question, fx);
            } else {
                self.put_question(now, question, fx);
            }
        }
        let late = |(_, under_way): &(&i32, &UnderWay)| under_way.question.until <= now.mono;
        let late: Vec<i32> = self.remote.under_way.iter().filter(late).map(|(number, _)| *number).collect();
        for number in late {
            if let Some(UnderWay { question, .. }) = self.remote.under_way.remove(&number) {
                self.give_up(now, question, fx);
            }
        }
        let waiting = self.remote.waiting.iter();
        let due = waiting.map(|q| if q.from > now.mono { q.from } else { q.until });
        let due = due.chain(self.remote.under_way.values().map(|under_way| under_way.question.until));
        if let Some(at) = due.min() {
            fx.wake(at);
        }
    }

    fn give_up(&mut self, now: Now, question: Question, fx: &mut Effects) {
        match question.asker {
            Asker::Client(asked) => match &asked.envelope {
                Some(envelope) => {
                    let refusal = refuse_envelope(envelope, ErrorCode::NotController);
                    let token = asked.token;
                    let mail = match refusal {
                        Ok(bytes) => Mail::Reply { token, reply: Reply::bytes(bytes) },
                        Err(error) => Mail::Refused { token, reason: format!("{error:?}") },
                    };
                    fx.tell(Owner::Reactor(token.reactor), mail);
                }
                // A connection that is closed is retried by every client; the request had no effect.
                None => refuse(asked.token, "there is no controller".into(), fx),
            },
            asker @ (Asker::Owner { .. } | Asker::Own | Asker::Repair | Asker::Sessions) => {
                self.give(now, asker, refused(ErrorCode::NotController), fx);
            }
        }
    }
}

fn is_not_controller(answer: &Answer) -> bool {
    matches!(answer, Answer::Done(Err(refusal)) if refusal.code == ErrorCode::NotController)
}

/// The size comes before what it is of.
fn framed(data: &Bytes) -> Bytes {
    let mut frame = BytesMut::with_capacity(4 + data.len());
    frame.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(data);
    frame.freeze()
}

fn send_envelope(
    links: &mut Links<BrokerId>,
    node: BrokerId,
    asked: &Asked,
    fx: &mut Effects,
) -> Option<i32> {
    let request = EnvelopeRequest {
        request_data: wire::frame::join_request(&asked.head, &asked.body).ok()?,
        client_host_address: Bytes::copy_from_slice(asked.peer.as_bytes()),
        ..EnvelopeRequest::default()
    };
    links.ask(node, &request, fx)
}

/// `None` for what only the controller asks itself.
fn send_command(
    links: &mut Links<BrokerId>,
    node: BrokerId,
    command: &Command,
    fx: &mut Effects,
) -> Option<(i32, Read)> {
    match command {
        Command::RegisterBroker { .. } => send::<BrokerRegistration>(links, node, command, fx),
        Command::Heartbeat(_) => send::<BrokerHeartbeat>(links, node, command, fx),
        Command::AlterPartitions { .. } => send::<AlterPartition>(links, node, command, fx),
        Command::AllocateProducerIds { .. } => send::<AllocateProducerIds>(links, node, command, fx),
        Command::AssignReplicas { .. } => send::<AssignReplicasToDirs>(links, node, command, fx),
        Command::CreateTopics { .. } => send::<CreateTopics>(links, node, command, fx),
        Command::DeleteTopics { .. }
        | Command::GrowTopics { .. }
        | Command::AlterConfigs { .. }
        | Command::ExpireSessions
        | Command::FenceBroker { .. }
        | Command::ReassignPartitions { .. }
        | Command::ElectLeaders { .. }
        | Command::UnregisterBroker { .. }
        | Command::Balance { .. }
        | Command::UpdateFeatures { .. } => None,
    }
}

fn send<A: ToController>(
    links: &mut Links<BrokerId>,
    node: BrokerId,
    command: &Command,
    fx: &mut Effects,
) -> Option<(i32, Read)> {
    let number = links.ask(node, &A::request(command)?, fx)?;
    Some((number, read::<A>))
}

fn read<A: ToController>(body: &mut Reader, version: i16) -> Option<Answer> {
    <ResponseOf<A> as wire::Message>::decode(body, version).ok().map(A::reply)
}
