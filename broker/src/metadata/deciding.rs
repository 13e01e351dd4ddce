//! The controller's side: commands become decisions against the speculative image, and entries of the log.

use super::remote::{Asker, Errand};
use super::{Metadata, refuse};
use crate::api::{self, Run, ViewContext};
use crate::effects::{Asked, Effects, Level, Mail};
use crate::view::Node;
use base::{BrokerId, Instant, Machine, Now, Rng, Span, hit};
use bytes::Bytes;
use cluster::controller::{self, Command, Controller, Defaults};
use cluster::record_codec::encode_entry;
use cluster::{Delta, Image, Record};
use quorum::ProposalId;
use std::collections::{BTreeMap, VecDeque};
use wire::EncodeError;

/// The largest decision that goes into one entry.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// The pause between a broker's coming and what follows from it.
const BALANCE_AFTER: Span = Span::from_secs(1);
/// The pause between moves and the election of those that are preferred then.
const LEADERS_AFTER: Span = Span::from_secs(30);
/// A controller that has not run for so long has brokers' signs of life in its mailbox that it has not read,
const STALLED: Span = Span::from_millis(500);
/// and reads them for so long before it fences anybody for silence.
const READS_FIRST: Span = Span::from_secs(1);
/// Records per entry of a decision that is larger.
const RECORDS_PER_ENTRY: usize = 2_000;

/// A decision that has not committed yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: ProposalId,
    pub(super) replies: Vec<(controller::Token, controller::Reply)>,
}

/// What a controller has besides the metadata.
#[derive(Debug)]
pub(super) struct Leading {
    /// The committed image with everything decided since; what decisions read. `None` unless this node is the controller.
    pub(super) speculative: Option<Image>,
    pub(super) defaults: Defaults,
    pub(super) pending: VecDeque<Pending>,
    pub(super) askers: BTreeMap<controller::Token, (Asker, Errand)>,
    next_token: controller::Token,
    /// When a broker's session may be over.
    pub(super) sessions_due: Instant,
    /// When it was last looked at whether that is so.
    ran_at: Instant,
    /// When it is looked at what follows from brokers that have come.
    balance_due: Option<Instant>,
    /// When it is looked at it anyway, and preferred replicas are to lead again.
    leaders_due: Instant,
}

impl Leading {
    pub(super) fn new(node: &Node, rng: Rng) -> Self {
        let defaults = Defaults {
            num_partitions: node.config.num_partitions,
            replication_factor: node.config.default_replication_factor,
            internal_replication_factor: node.config.offsets_replication_factor,
            delete_topics: node.config.delete_topics,
            fixed: node.fixed.clone(),
            session_timeout: node.config.broker_session_timeout,
            rng: Some(rng),
            ..Defaults::default()
        };
        Self {
            speculative: None,
            defaults,
            pending: VecDeque::new(),
            askers: BTreeMap::new(),
            next_token: 0,
            sessions_due: Instant::ZERO,
            ran_at: Instant::ZERO,
            balance_due: None,
            leaders_due: Instant::ZERO,
        }
    }

    /// True while this node is the controller.
    pub(super) const fn is_here(&self) -> bool {
        self.speculative.is_some()
    }

    /// This node does not lead any more, or not yet: what was decided and not committed is void. Gives back who asked.
    pub(super) fn step_down(&mut self) -> Vec<(Asker, Errand)> {
        self.speculative = None;
        self.pending.clear();
        // Whoever leads next gives everybody a whole session.
        self.defaults.forget();
        core::mem::take(&mut self.askers).into_values().collect()
    }
}

impl Metadata {
    /// Decides a command and proposes what it writes. What reads only waits for what was decided before it.
    pub(super) fn decide(&mut self, now: Now, asker: Asker, command: Command, fx: &mut Effects) {
        let last = self.quorum.last_index();
        let Some(image) = &mut self.leading.speculative else { return };
        // Entries that no decision made count, too.
        image.index = last;
        self.leading.next_token += 1;
        let token = self.leading.next_token;
        // A client's request travels as it is; others are asked again by their command.
        let errand = match &asker {
            Asker::Client(_) => Errand::Request,
            Asker::Owner { .. } | Asker::Own | Asker::Repair | Asker::Sessions => {
                Errand::Command(command.clone())
            }
        };
        let speculative = &self.leading.speculative;
        let decided = Controller::decide(speculative, &mut self.leading.defaults, now, (token, command));
        if let Some(at) = decided.wake_at {
            self.leading.sessions_due = at;
        }
        self.leading.askers.insert(token, (asker, errand));
        if decided.records.is_empty() {
            return self.answer_after_pending(now, decided.replies, fx);
        }
        let Ok(entries) = entries_of(&decided.records) else {
            fx.fatal = Some("the controller decided what the metadata log cannot say".into());
            return;
        };
        if let Some(id) = self.propose(&entries) {
            self.speculate(id, &decided.records);
            self.leading.pending.push_back(Pending { id, replies: decided.replies });
        }
        // Else it does not lead any more: whatever was proposed is void, and whoever asked is asked for again then.
    }

    fn propose(&mut self, entries: &[Bytes]) -> Option<ProposalId> {
        let mut id = None;
        for entry in entries {
            id = Some(self.quorum.propose(entry).ok()?);
        }
        id
    }

    fn speculate(&mut self, id: ProposalId, records: &[Record]) {
        if let Some(image) = &mut self.leading.speculative {
            for record in records {
                image.replay(record, &mut Delta::default());
            }
            image.index = id.index;
        }
    }

    fn answer_after_pending(
        &mut self,
        now: Now,
        replies: Vec<(controller::Token, controller::Reply)>,
        fx: &mut Effects,
    ) {
        match self.leading.pending.back_mut() {
            Some(last) => last.replies.extend(replies),
            None => self.answer(now, replies, fx),
        }
    }

    pub(super) fn answer(
        &mut self,
        now: Now,
        replies: Vec<(controller::Token, controller::Reply)>,
        fx: &mut Effects,
    ) {
        for (token, answer) in replies {
            if let Some((asker, _)) = self.leading.askers.remove(&token) {
                self.give(now, asker, answer, fx);
            }
        }
    }

    /// Gives an answer of the controller to whoever asked.
    pub(super) fn give(&mut self, now: Now, asker: Asker, answer: controller::Reply, fx: &mut Effects) {
        match asker {
            Asker::Client(asked) => self.answer_client(now, &asked, answer, fx),
            Asker::Owner { from, ticket } => fx.tell(from, Mail::Controlled { ticket, reply: answer }),
            Asker::Own => self.own_answer(now, &answer, fx),
            Asker::Repair => self.damage_known(now, &answer, fx),
            Asker::Sessions => {
                self.own_question_answered(now, &answer, fx);
            }
        }
    }

    /// What the controller has asked itself.
    fn own_question_answered(&mut self, now: Now, answer: &controller::Reply, fx: &mut Effects) {
        if let controller::Reply::Expired(Some(_)) = answer {
            // There may be more.
            self.leading.sessions_due = now.mono;
            fx.wake(now.mono);
        }
        if let controller::Reply::Balanced { is_more, has_moved } = answer {
            if *is_more {
                self.leading.balance_due = Some(now.mono + BALANCE_AFTER);
                fx.wake(now.mono + BALANCE_AFTER);
            }
            if *has_moved {
                self.leading.leaders_due = self.leading.leaders_due.min(now.mono + LEADERS_AFTER);
                fx.wake(self.leading.leaders_due);
            }
        }
    }

    fn answer_client(&self, now: Now, asked: &Asked, answer: controller::Reply, fx: &mut Effects) {
        let row = api::any_row(asked.head.api_key);
        let Some(Run::Controller { answer: respond, .. }) = row.map(|row| row.run) else {
            return refuse(asked.token, "the controller answered something else".into(), fx);
        };
        let cx = ViewContext::new(&self.view, &self.shared, &asked.listener, now.mono);
        self.reply(asked, respond(&cx, asked, answer), fx);
    }

    /// This node has become the controller: it has committed in its own term and knows all that was decided before (A14).
    pub(super) fn take_office(&mut self, now: Now, fx: &mut Effects) {
        fx.log(Level::Info, format!("This node is the controller, in epoch {}", self.quorum.term()));
        self.leading.speculative = Some(self.committed.clone());
        (self.leading.sessions_due, self.leading.ran_at) = (now.mono, now.mono);
        self.leading.balance_due = Some(now.mono + BALANCE_AFTER);
        self.leading.leaders_due = now.mono + self.node.config.leader_imbalance_check;
        if self.open.is_some() {
            hit!(unfinished_decision_aborted);
            self.abort_open();
        }
        self.finalize_features(now, fx);
    }

    /// A leader that went away in the middle of a decision cannot finish it: nobody was told that it happened.
    fn abort_open(&mut self) {
        if let Ok(entry) = encode_entry(&[Record::Abort]) {
            // Refused only if this node does not lead any more; the next leader then aborts.
            let _refused = self.quorum.propose(&entry);
        }
    }

    /// A fresh cluster finalizes what this program serves.
    fn finalize_features(&mut self, now: Now, fx: &mut Effects) {
        let known = |name: &str| self.committed.features().any(|(finalized, _)| finalized == name);
        let missing = controller::FEATURES.iter().filter(|(name, _, high)| *high > 0 && !known(name));
        let update = |(name, _, high): &(&str, i16, i16)| controller::FeatureUpdate {
            name: (*name).to_owned(),
            level: *high,
        };
        let updates: Vec<_> = missing.map(update).collect();
        if !updates.is_empty() {
            self.decide(now, Asker::Sessions, Command::UpdateFeatures { updates, validate_only: false }, fx);
        }
    }

    /// Fences brokers that were not heard of for too long. Who is alone fences nobody.
    pub(super) fn expire_sessions(&mut self, now: Now, fx: &mut Effects) {
        if !self.leading.is_here() || self.quorum.is_alone() {
            return;
        }
        let stood_still = now.mono.since(core::mem::replace(&mut self.leading.ran_at, now.mono));
        if stood_still > STALLED {
            hit!(controller_reads_before_it_fences);
            self.leading.sessions_due = self.leading.sessions_due.max(now.mono + READS_FIRST);
        }
        if self.leading.sessions_due <= now.mono {
            self.leading.sessions_due = now.mono + self.leading.defaults.session_timeout;
            self.decide(now, Asker::Sessions, Command::ExpireSessions, fx);
        }
        fx.wake(self.leading.sessions_due);
    }
}

impl Metadata {
    /// Brokers have come or gone: what follows is done when more of them had time to come.
    pub(super) fn brokers_changed(&mut self, brokers: &[BrokerId], now: Now, fx: &mut Effects) {
        if !self.leading.is_here() || brokers.is_empty() {
            return;
        }
        let gone = brokers.iter().copied().filter(|id| self.committed.broker(*id).is_none());
        let gone: Vec<BrokerId> = gone.collect();
        self.forget_members(&gone);
        self.leading.balance_due.get_or_insert(now.mono + BALANCE_AFTER);
        fx.wake(now.mono + BALANCE_AFTER);
    }

    /// Does what follows from the brokers that there are. Who is alone has nobody to balance with.
    pub(super) fn balance_when_due(&mut self, now: Now, fx: &mut Effects) {
        if !self.leading.is_here() || self.committed.brokers().nth(1).is_none() {
            return;
        }
        let is_time = self.leading.leaders_due <= now.mono;
        if is_time {
            self.leading.leaders_due = now.mono + self.node.config.leader_imbalance_check;
        }
        if is_time || self.leading.balance_due.is_some_and(|due| due <= now.mono) {
            self.leading.balance_due = None;
            let leaders = is_time && self.node.config.auto_leader_rebalance;
            self.decide(now, Asker::Sessions, Command::Balance { leaders }, fx);
        }
        let due =
            self.leading.balance_due.map_or(self.leading.leaders_due, |at| at.min(self.leading.leaders_due));
        fx.wake(due);
    }
}

/// The entries of a decision: one if it fits, else several between a begin and an end (KIP-868).
fn entries_of(records: &[Record]) -> Result<Vec<Bytes>, EncodeError> {
    let whole = encode_entry(records)?;
    if whole.len() <= ENTRY_BYTES_MAX {
        return Ok(vec![whole]);
    }
    let mut entries = vec![encode_entry(&[Record::Begin])?];
    for chunk in records.chunks(RECORDS_PER_ENTRY) {
        entries.push(encode_entry(chunk)?);
    }
    entries.push(encode_entry(&[Record::End])?);
    Ok(entries)
}
