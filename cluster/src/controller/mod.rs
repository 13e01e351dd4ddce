//! The controller: every change of the metadata is decided here, against an image that already holds what was
//! decided before.
//!
//! The owner keeps two images: the committed one, and a *speculative* one onto which each decision is replayed
//! at once. Decisions read the speculative image; when this node stops leading, it is dropped.

mod balance;
mod brokers;
mod configs;
mod lifecycle;
mod moves;
mod names;
mod partitions;
mod topics;

use crate::config::Overrides;
use crate::image::{Delta, Image};
use crate::partition::PartitionState;
use crate::record::{Endpoint, Record, Registration};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use base::{BrokerId, Decision, Instant, Machine, Now, PartitionIndex, ProducerId, Rng, Span, TopicId, Uuid};
use wire::ErrorCode;

pub use brokers::{FEATURES, FeatureUpdate};
pub use configs::{ConfigChange, ConfigOp, Subject};
pub use lifecycle::{Alive, Heartbeat};
pub use moves::{Election, Move};
pub use names::check_topic_name;
pub use partitions::{Assignment, PartitionChange};
pub use topics::{CreatedTopic, Factor, GrowTopic, NewTopic, TopicRef};

/// Producer ids that one allocation hands out.
pub const PRODUCER_ID_BLOCK: i64 = 1_000;
/// The most partitions that one request may create.
pub const PARTITIONS_PER_REQUEST_MAX: i32 = 10_000;

/// How long a broker has to serve before leadership comes back to it by itself. A client that has tried a dead broker for a
/// while does not look at it again before its longest pause is over: ten seconds and up to half of that more in librdkafka
/// (`reconnect.backoff.max.ms` and its jitter). It would stand still for that long.
pub const SETTLED_AFTER: Span = Span::from_secs(15);

/// Why something was refused: Kafka's code and a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kafka's error.
    pub code: ErrorCode,
    /// What is wrong and what to do.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A refusal with Kafka's own words.
impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.message())
    }
}

/// The outcome for one item of a request.
pub type Outcome<T> = Result<T, Refusal>;

/// What the controller is asked.
#[derive(Clone, Debug)]
pub enum Command {
    /// Create topics.
    CreateTopics {
        /// What to create.
        topics: Vec<NewTopic>,
        /// Only say what would happen.
        validate_only: bool,
    },
    /// Delete topics.
    DeleteTopics {
        /// Which.
        topics: Vec<TopicRef>,
    },
    /// Add partitions to topics.
    GrowTopics {
        /// Which, and how many partitions they shall have.
        topics: Vec<GrowTopic>,
        /// Only say what would happen.
        validate_only: bool,
    },
    /// Change configs.
    AlterConfigs {
        /// Whose, and how; each owner's changes are made together or not at all.
        subjects: Vec<Subject>,
        /// Only say what would happen.
        validate_only: bool,
    },
    /// Hand out a block of producer ids.
    AllocateProducerIds {
        /// To whom.
        broker: BrokerId,
    },
    /// A broker started.
    RegisterBroker {
        /// Its id.
        id: BrokerId,
        /// This start of its process.
        incarnation: Uuid,
        /// Where it listens.
        endpoints: Vec<Endpoint>,
        /// The listener by which other nodes reach it.
        peer_listener: String,
        /// Where it stands.
        rack: Option<String>,
        /// The ids of its data directories.
        directories: Vec<Uuid>,
        /// The epoch in which it closed them properly; −1 if it did not.
        closed_in: i64,
    },
    /// A broker says that it is alive.
    Heartbeat(Heartbeat),
    /// Fence a broker that was not heard of for too long, if there is one.
    ExpireSessions,
    /// Fence a broker at once: its process is known to be gone.
    FenceBroker {
        /// Its id.
        id: BrokerId,
    },
    /// A broker wants other replicas in sync where it leads (AlterPartition).
    AlterPartitions {
        /// The broker.
        broker: BrokerId,
        /// Its registration.
        epoch: i64,
        /// Where, and which.
        changes: Vec<PartitionChange>,
    },
    /// A broker says in which of its directories replicas are (KIP-858).
    AssignReplicas {
        /// The broker.
        broker: BrokerId,
        /// Its registration.
        epoch: i64,
        /// Which, and where.
        assignments: Vec<Assignment>,
    },
    /// Move replicas (AlterPartitionReassignments).
    ReassignPartitions {
        /// Which, and where to.
        moves: Vec<Move>,
        /// There may be more or fewer replicas afterwards.
        may_change_factor: bool,
    },
    /// Choose leaders on purpose.
    ElectLeaders {
        /// How.
        election: Election,
        /// Which; `None` for all.
        partitions: Option<Vec<(String, PartitionIndex)>>,
    },
    /// Forget a broker.
    UnregisterBroker {
        /// Its id.
        id: BrokerId,
    },
    /// Do what follows from the brokers that there are.
    Balance {
        /// Preferred replicas shall lead.
        leaders: bool,
    },
    /// Set the level of features.
    UpdateFeatures {
        /// What to change.
        updates: Vec<FeatureUpdate>,
        /// Only say what would happen.
        validate_only: bool,
    },
}

/// The controller's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Per topic, in the order of the request.
    Created(Vec<Outcome<CreatedTopic>>),
    /// Per topic, in the order of the request: its name and id.
    Deleted(Vec<(TopicRef, Outcome<(String, TopicId)>)>),
    /// Per topic, config owner or replica, in the order of the request.
    Changed(Vec<Outcome<()>>),
    /// The first id of the block.
    ProducerIds {
        /// Inclusive.
        first: ProducerId,
        /// How many.
        count: i64,
    },
    /// The registration's epoch.
    Registered {
        /// To be carried by all later requests of that broker.
        epoch: i64,
    },
    /// What a living broker has to know.
    Alive(Alive),
    /// Who was fenced; there may be more.
    Expired(Option<BrokerId>),
    /// Per partition, in the order of the request: its state now.
    Partitions(Vec<Outcome<PartitionState>>),
    /// Per partition: whether it has another leader now.
    Elected(Vec<(String, PartitionIndex, Outcome<()>)>),
    /// What could be done at once was done.
    Balanced {
        /// There is more to do when that has happened.
        is_more: bool,
        /// Replicas are on the move now, or others are preferred.
        has_moved: bool,
    },
    /// Done, or refused as a whole.
    Done(Outcome<()>),
}

/// What a controller needs besides the metadata; may vanish at any time.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// Partitions of a topic that is created without a count.
    pub num_partitions: i32,
    /// The target replication factor of a topic that is created without one.
    pub replication_factor: i16,
    /// The same for internal topics.
    pub internal_replication_factor: i16,
    /// Whether topics may be deleted.
    pub delete_topics: bool,
    /// The settings of this node's file, for checks that depend on them.
    pub fixed: Overrides,
    /// How long a broker may be silent.
    pub session_timeout: Span,
    /// When each broker was heard of last by this controller.
    pub sessions: BTreeMap<BrokerId, Instant>,
    /// Since when each broker has served without a break, as far as this controller has seen.
    pub serves_since: BTreeMap<BrokerId, Instant>,
    /// The topic ids to come: seeded once by the shell's entropy.
    pub rng: Option<Rng>,
}

/// Names an asker.
pub type Token = u64;

/// The controller's machine.
pub struct Controller;

type Decided = Decision<Record, Token, Reply>;

impl Machine for Controller {
    type Hard = Option<Image>;
    type Soft = Defaults;
    type Command = (Token, Command);
    type Record = Record;
    type Reply = Reply;
    type Token = Token;

    fn decide(
        hard: &Self::Hard,
        soft: &mut Self::Soft,
        now: Now,
        (token, command): Self::Command,
    ) -> Decided {
        let Some(image) = hard else { return Decision::default() };
        let mut records = Vec::new();
        let reply = match command {
            Command::CreateTopics { topics, validate_only } => {
                topics::create(image, soft, topics, validate_only, &mut records)
            }
            Command::DeleteTopics { topics } => topics::delete(image, soft, topics, &mut records),
            Command::GrowTopics { topics, validate_only } => {
                topics::grow(image, topics, validate_only, &mut records)
            }
            Command::AlterConfigs { subjects, validate_only } => {
                configs::alter(image, subjects, validate_only, &mut records)
            }
            Command::AllocateProducerIds { broker } => {
                brokers::allocate_producer_ids(image, broker, &mut records)
            }
            Command::RegisterBroker {
                id,
                incarnation,
                endpoints,
                peer_listener,
                rack,
                directories,
                closed_in,
            } => {
                // The entry that this decision will be.
                let epoch = i64::try_from(image.index).unwrap_or(i64::MAX) + 1;
                let fenced = true;
                let registration = Registration {
                    id,
                    incarnation,
                    epoch,
                    endpoints,
                    peer_listener,
                    rack,
                    directories,
                    fenced,
                };
                lifecycle::register(image, soft, registration, closed_in, &mut records)
            }
            Command::Heartbeat(beat) => lifecycle::heartbeat(image, soft, now, beat, &mut records),
            Command::FenceBroker { id } => lifecycle::fence(image, soft, id, &mut records),
            Command::ExpireSessions => {
                let (reply, wake_at) = lifecycle::expire(image, soft, now, &mut records);
                return Decision { records, replies: alloc::vec![(token, reply)], wake_at };
            }
            Command::AlterPartitions { broker, epoch, changes } => {
                partitions::alter(image, soft, (broker, epoch), &changes, &mut records)
            }
            Command::AssignReplicas { broker, epoch, assignments } => {
                partitions::assign(image, soft, (broker, epoch), &assignments, &mut records)
            }
            Command::ReassignPartitions { moves, may_change_factor } => {
                moves::reassign(image, soft, &moves, may_change_factor, &mut records)
            }
            Command::ElectLeaders { election, partitions } => {
                moves::elect(image, election, partitions, &mut records)
            }
            Command::UnregisterBroker { id } => moves::unregister(image, soft, id, &mut records),
            Command::Balance { leaders } => balance::balance(image, soft, now, leaders, &mut records),
            Command::UpdateFeatures { updates, validate_only } => {
                brokers::update_features(image, updates, validate_only, &mut records)
            }
        };
        Decision { records, replies: alloc::vec![(token, reply)], wake_at: None }
    }

    fn replay(hard: &mut Self::Hard, record: &Record) {
        if let Some(image) = hard {
            image.replay(record, &mut Delta::default());
        }
    }
}

impl Defaults {
    /// How many replicas a topic gets for which nobody has said it.
    pub(crate) fn target_factor(&self, topic: &str) -> i16 {
        if crate::is_internal(topic) { self.internal_replication_factor } else { self.replication_factor }
    }

    /// What only this controller has seen, and the next has to see for itself.
    pub fn forget(&mut self) {
        self.sessions.clear();
        self.serves_since.clear();
    }

    /// Whether a broker has served for so long that its clients have found it again.
    pub(crate) fn is_settled(&self, id: BrokerId, now: Instant) -> bool {
        self.serves_since.get(&id).is_some_and(|since| now.since(*since) >= SETTLED_AFTER)
    }

    pub(crate) fn next_topic_id(&mut self) -> TopicId {
        TopicId(self.rng.get_or_insert_with(|| Rng::new(0)).uuid())
    }
}

#[cfg(test)]
mod tests;
