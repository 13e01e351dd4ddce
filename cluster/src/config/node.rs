//! A node's own settings, typed: who it is, where it listens, and its limits.

use super::key::{ConfigError, ConfigKey, Effect, Kind, Update, Valid, items, row};
use super::layers::{Layers, Overrides};
use super::{BALANCER_KEY, DURABILITY_KEY};
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use base::{BrokerId, Span};

/// Keys that Kafka does not have.
pub(super) const OWN_KEYS: &[ConfigKey] = &[
    row(
        BALANCER_KEY,
        Kind::Boolean,
        Some("true"),
        Valid::Any,
        Update::Dynamic,
        None,
        Effect::Used(
            "Whether replicas and preferred leaders move by themselves to brokers that have fewer; set it for the cluster.",
        ),
    ),
    row(
        DURABILITY_KEY,
        Kind::String,
        Some("flushed"),
        Valid::OneOf(&["flushed", "replicated"]),
        Update::Dynamic,
        None,
        Effect::Used("The durability of topics that do not set flush.messages: flushed or replicated."),
    ),
    row(
        "ottla.metadata.snapshot.entries",
        Kind::Int,
        Some("5000"),
        Valid::AtLeast(1),
        Update::ReadOnly,
        None,
        Effect::Used("Entries of the metadata log after which a snapshot is taken."),
    ),
    row(
        "ottla.metrics.group.offsets.max",
        Kind::Int,
        Some("10000"),
        Valid::AtLeast(0),
        Update::ReadOnly,
        None,
        Effect::Used("How many groups and committed offsets /metrics lists one by one; 0 for none."),
    ),
];

/// Kafka's names of the two ways to choose the replica that a consumer reads from (KIP-392).
pub(super) const LEADER_SELECTOR: &str = "org.apache.kafka.common.replica.LeaderSelector";
pub(super) const RACK_AWARE_SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Holds partitions and serves clients.
    pub broker: bool,
    /// May lead the cluster.
    pub controller: bool,
}

/// Where clients connect: `NAME://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The listener's name, upper case.
    pub name: String,
    /// A host name or address; empty means all interfaces.
    pub host: String,
    /// The TCP port; zero lets the system choose.
    pub port: u16,
}

/// A controller as the file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Its node id.
    pub id: BrokerId,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// A node's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// This node's number.
    pub node_id: BrokerId,
    /// What it does.
    pub roles: Roles,
    /// Where it stands.
    pub rack: Option<String>,
    /// Where it listens for clients.
    pub listeners: Vec<Listener>,
    /// What clients are told; empty means the listeners themselves.
    pub advertised: Vec<Listener>,
    /// The listeners that are for nodes alone, by name.
    pub controller_listeners: Vec<String>,
    /// The listener that brokers use among themselves where none is for nodes alone, by name.
    pub inter_broker_listener: Option<String>,
    /// The controllers that form the cluster; empty means this node alone.
    pub voters: Vec<Voter>,
    /// Whether a controller without a vote asks for one.
    pub votes_by_itself: bool,
    /// Nodes of a cluster that this node is to join: hosts and ports.
    pub bootstrap_servers: Vec<(String, u16)>,
    /// The data directory.
    pub log_dir: String,
    /// Partitions of a topic created without a count.
    pub num_partitions: i32,
    /// The target replication factor of topics created without one.
    pub default_replication_factor: i16,
    /// Whether asking for an unknown topic creates it.
    pub auto_create_topics: bool,
    /// Whether topics may be deleted.
    pub delete_topics: bool,
    /// Partitions of `__consumer_offsets`.
    pub offsets_partitions: i32,
    /// The target replication factor of `__consumer_offsets`.
    pub offsets_replication_factor: i16,
    /// The segment size of `__consumer_offsets`, in bytes.
    pub offsets_segment_bytes: i32,
    /// How long the offsets of an empty group are kept.
    pub offsets_retention: Span,
    /// How often that is checked.
    pub offsets_retention_check: Span,
    /// The longest metadata text of a commit, in bytes.
    pub offset_metadata_bytes_max: u32,
    /// The shortest session timeout.
    pub group_session_timeout_min: Span,
    /// The longest session timeout.
    pub group_session_timeout_max: Span,
    /// How long a new group waits before its first rebalance.
    pub group_initial_rebalance_delay: Span,
    /// The most members of a group.
    pub group_size_max: u32,
    /// The largest request frame in bytes.
    pub request_bytes_max: u32,
    /// The most bytes that requests of all connections take while they arrive; `None` for no limit.
    pub queued_bytes_max: Option<u64>,
    /// How long a connection may stay idle; `None` for ever.
    pub connections_idle_max: Option<Span>,
    /// How long a broker may be silent before the controller fences it.
    pub broker_session_timeout: Span,
    /// How often a broker says that it is alive.
    pub broker_heartbeat_interval: Span,
    /// Whether preferred replicas are made leaders now and then.
    pub auto_leader_rebalance: bool,
    /// How often that is.
    pub leader_imbalance_check: Span,
    /// How long a follower may be without something that its leader has before it is not in sync any more.
    pub replica_lag_max: Span,
    /// How long a leader may let a follower wait that has everything.
    pub replica_fetch_wait_max: Span,
    /// Fewer bytes than these are waited for.
    pub replica_fetch_bytes_min: i32,
    /// The most bytes that a follower fetches of one partition.
    pub replica_fetch_bytes_max: i32,
    /// The most bytes that a follower fetches at a time.
    pub replica_fetch_response_bytes_max: i32,
    /// The longest pause of a partition whose fetch failed.
    pub replica_fetch_backoff: Span,
    /// The length of a window in which throttled copies are counted.
    pub replication_quota_window: Span,
    /// How many of them the rate that is shown is measured over.
    pub replication_quota_windows: u32,
    /// Whether consumers are sent to a replica in their own rack.
    pub reads_in_rack: bool,
    /// The most incremental fetch sessions.
    pub fetch_sessions_max: u32,
    /// The most bytes that one fetch returns.
    pub fetch_bytes_max: u32,
    /// How long an idle producer is remembered.
    pub producer_id_expiration: Span,
    /// How often retention is applied.
    pub retention_check: Span,
    /// How often partitions that may need it are looked at for compaction.
    pub cleaner_backoff: Span,
    /// Entries of the metadata log after which a snapshot is taken.
    pub snapshot_entries: usize,
    /// The most groups and committed offsets that the metrics list one by one.
    pub metrics_group_offsets_max: usize,
}

impl NodeConfig {
    /// The settings of a node with these layers.
    ///
    /// # Errors
    /// Names the key whose value does not fit.
    pub fn resolve(layers: &Layers<'_>) -> Result<Self, ConfigError> {
        let get = Getter { layers };
        let config = Self {
            node_id: BrokerId(get.int("node.id")?),
            roles: get.roles()?,
            rack: Some(get.text("broker.rack").into_owned()).filter(|rack| !rack.is_empty()),
            listeners: get.listeners("listeners")?,
            advertised: get.listeners("advertised.listeners")?,
            controller_listeners: get.names("controller.listener.names"),
            inter_broker_listener: get.names("inter.broker.listener.name").pop(),
            voters: get.voters()?,
            votes_by_itself: get.flag("controller.quorum.auto.join.enable"),
            bootstrap_servers: get.bootstrap_servers()?,
            log_dir: get.log_dir()?,
            num_partitions: get.int("num.partitions")?,
            default_replication_factor: get.int("default.replication.factor")?,
            auto_create_topics: get.flag("auto.create.topics.enable"),
            delete_topics: get.flag("delete.topic.enable"),
            offsets_partitions: get.int("offsets.topic.num.partitions")?,
            offsets_replication_factor: get.int("offsets.topic.replication.factor")?,
            offsets_segment_bytes: get.int("offsets.topic.segment.bytes")?,
            offsets_retention: Span::from_secs(60) * get.int::<u64>("offsets.retention.minutes")?,
            offsets_retention_check: get.span("offsets.retention.check.interval.ms")?,
            offset_metadata_bytes_max: get.int("offset.metadata.max.bytes")?,
            group_session_timeout_min: get.span("group.min.session.timeout.ms")?,
            group_session_timeout_max: get.span("group.max.session.timeout.ms")?,
            group_initial_rebalance_delay: get.span("group.initial.rebalance.delay.ms")?,
            group_size_max: get.int("group.max.size")?,
            request_bytes_max: get.int("socket.request.max.bytes")?,
            queued_bytes_max: get.queued_bytes_max()?,
            connections_idle_max: get.limit("connections.max.idle.ms")?,
            broker_session_timeout: get.span("broker.session.timeout.ms")?,
            broker_heartbeat_interval: get.span("broker.heartbeat.interval.ms")?,
            auto_leader_rebalance: get.flag("auto.leader.rebalance.enable"),
            leader_imbalance_check: Span::from_secs(get.int("leader.imbalance.check.interval.seconds")?),
            replica_lag_max: get.span("replica.lag.time.max.ms")?,
            replica_fetch_wait_max: get.span("replica.fetch.wait.max.ms")?,
            replica_fetch_bytes_min: get.int("replica.fetch.min.bytes")?,
            replica_fetch_bytes_max: get.int("replica.fetch.max.bytes")?,
            replica_fetch_response_bytes_max: get.int("replica.fetch.response.max.bytes")?,
            replica_fetch_backoff: get.span("replica.fetch.backoff.ms")?,
            replication_quota_window: Span::from_secs(get.int("replication.quota.window.size.seconds")?),
            replication_quota_windows: get.int("replication.quota.window.num")?,
            reads_in_rack: get.text("replica.selector.class") == RACK_AWARE_SELECTOR,
            fetch_sessions_max: get.int("max.incremental.fetch.session.cache.slots")?,
            fetch_bytes_max: get.int("fetch.max.bytes")?,
            producer_id_expiration: get.span("producer.id.expiration.ms")?,
            retention_check: get.span("log.retention.check.interval.ms")?,
            cleaner_backoff: get.span("log.cleaner.backoff.ms")?,
            snapshot_entries: get.int("ottla.metadata.snapshot.entries")?,
            metrics_group_offsets_max: get.int("ottla.metrics.group.offsets.max")?,
        };
        super::listeners::check(&config, &get.text("listener.security.protocol.map"))?;
        Ok(config)
    }

    /// True for a listener that is for nodes alone.
    #[must_use]
    pub fn is_for_nodes(&self, listener: &str) -> bool {
        self.controller_listeners.iter().any(|name| name == listener)
    }

    /// The listener by which other nodes reach this one: the first that is for nodes alone, else the one that brokers use
    /// among themselves, else the first.
    #[must_use]
    pub fn peer_listener(&self) -> Option<&Listener> {
        let named = |name: &String| self.listeners.iter().find(|listener| listener.name == *name);
        let own = self.listeners.iter().find(|listener| self.is_for_nodes(&listener.name));
        own.or_else(|| self.inter_broker_listener.as_ref().and_then(named)).or_else(|| self.listeners.first())
    }

    /// Checks that every key is known and every value fits its key.
    ///
    /// # Errors
    /// The first key that does not.
    pub fn check(settings: &Overrides) -> Result<(), ConfigError> {
        settings.iter().try_for_each(|(name, value)| super::check_broker(name, value))
    }
}

pub(super) struct Getter<'a> {
    pub(super) layers: &'a Layers<'a>,
}

impl<'a> Getter<'a> {
    pub(super) fn text(&self, name: &str) -> Cow<'a, str> {
        self.layers.broker_value(name).0.unwrap_or_default()
    }

    pub(super) fn int<T: TryFrom<i64>>(&self, name: &str) -> Result<T, ConfigError> {
        let text = self.text(name);
        let number = text.trim().parse::<i64>().ok().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| wrong(name, &text, "expected a number in range"))
    }

    fn span(&self, name: &str) -> Result<Span, ConfigError> {
        self.int::<i64>(name).map(Span::from_wire_millis)
    }

    fn limit(&self, name: &str) -> Result<Option<Span>, ConfigError> {
        let millis = self.int::<i64>(name)?;
        Ok((0..i64::MAX).contains(&millis).then(|| Span::from_wire_millis(millis)))
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name).trim() == "true"
    }

    /// Every request must find its place.
    fn queued_bytes_max(&self) -> Result<Option<u64>, ConfigError> {
        let name = "queued.max.request.bytes";
        let bytes: i64 = self.int(name)?;
        if bytes > 0 && bytes < self.int::<i64>("socket.request.max.bytes")? {
            return Err(wrong(name, &bytes.to_string(), "expected at least socket.request.max.bytes"));
        }
        Ok(u64::try_from(bytes).ok().filter(|bytes| *bytes > 0))
    }

    fn roles(&self) -> Result<Roles, ConfigError> {
        let text = self.text("process.roles");
        let mut roles = Roles { broker: false, controller: false };
        for item in items(&text) {
            match item {
                "broker" => roles.broker = true,
                "controller" => roles.controller = true,
                _ => return Err(wrong("process.roles", &text, "expected broker, controller or both")),
            }
        }
        if roles.broker || roles.controller {
            return Ok(roles);
        }
        Err(wrong("process.roles", &text, "expected broker, controller or both"))
    }

    fn log_dir(&self) -> Result<String, ConfigError> {
        let text = match self.text("log.dirs") {
            dirs if dirs.is_empty() => self.text("log.dir"),
            dirs => dirs,
        };
        let mut dirs = items(&text);
        match (dirs.next(), dirs.next()) {
            (Some(dir), None) => Ok(dir.to_string()),
            _ => Err(wrong("log.dirs", &text, "expected exactly one directory")),
        }
    }

    fn listeners(&self, name: &str) -> Result<Vec<Listener>, ConfigError> {
        let text = self.text(name);
        let parse = |item| {
            parse_listener(item).ok_or_else(|| {
                wrong(name, item, "expected NAME://HOST:PORT, for instance PLAINTEXT://127.0.0.1:9092")
            })
        };
        items(&text).map(parse).collect()
    }

    /// Names of listeners, upper case.
    fn names(&self, name: &str) -> Vec<String> {
        items(&self.text(name)).map(str::to_ascii_uppercase).collect()
    }

    fn bootstrap_servers(&self) -> Result<Vec<(String, u16)>, ConfigError> {
        let name = "controller.quorum.bootstrap.servers";
        let text = self.text(name);
        let parse = |item| parse_address(item).ok_or_else(|| wrong(name, item, "expected HOST:PORT"));
        items(&text).map(parse).collect()
    }

    fn voters(&self) -> Result<Vec<Voter>, ConfigError> {
        let name = "controller.quorum.voters";
        let text = self.text(name);
        let parse = |item| parse_voter(item).ok_or_else(|| wrong(name, item, "expected ID@HOST:PORT"));
        items(&text).map(parse).collect()
    }
}

pub(super) fn wrong(name: &str, value: &str, why: &str) -> ConfigError {
    ConfigError(format!("Invalid value {value} for configuration {name}: {why}"))
}

fn parse_listener(text: &str) -> Option<Listener> {
    let (name, address) = text.split_once("://")?;
    let (host, port) = parse_address(address)?;
    Some(Listener { name: name.to_ascii_uppercase(), host, port })
}

fn parse_voter(text: &str) -> Option<Voter> {
    let (id, address) = text.split_once('@')?;
    let (host, port) = parse_address(address)?;
    Some(Voter { id: BrokerId(id.parse().ok()?), host, port })
}

fn parse_address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    Some((host.to_string(), port.parse().ok()?))
}
