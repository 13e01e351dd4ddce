use super::*;
use alloc::string::ToString;
use base::{BrokerId, PartitionIndex, Span};

fn with(pairs: &[(&str, &str)]) -> Overrides {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn topic(fixed: &[(&str, &str)], cluster: &[(&str, &str)], topic: &[(&str, &str)]) -> TopicConfig {
    let (fixed, cluster, none) = (with(fixed), with(cluster), Overrides::new());
    TopicConfig::resolve(&Layers { broker: &none, cluster: &cluster, fixed: &fixed }, &with(topic))
}

#[test]
fn every_default_fits_its_own_key() {
    for key in topic_keys().chain(broker_keys()).chain(group_keys()) {
        if let Some(default) = key.default {
            assert_eq!(key.check(default), Ok(()), "{}", key.name);
        }
        assert!(key.broker_key.is_none_or(|name| broker_key(name).is_some()), "{}", key.name);
    }
}

#[test]
fn defaults_are_kafkas_but_for_durability() {
    let config = topic(&[], &[], &[]);
    assert_eq!(config.durability, Durability::Flushed);
    assert_eq!(config.retention, Some(Span::from_secs(7 * 24 * 3600)));
    assert_eq!(config.segment_bytes, 1 << 30);
    assert_eq!(config.timestamp_before_max, None);
    assert_eq!(config.timestamp_after_max, Some(Span::from_secs(3600)));
    assert_eq!(config.compression, Compression::Producer);
}

#[test]
fn the_stronger_layer_wins() {
    let hours = ("log.retention.hours", "2");
    assert_eq!(topic(&[hours], &[], &[]).retention, Some(Span::from_secs(7200)));
    let ms = ("log.retention.ms", "5000");
    assert_eq!(topic(&[hours], &[ms], &[]).retention, Some(Span::from_secs(5)));
    assert_eq!(topic(&[hours], &[ms], &[("retention.ms", "-1")]).retention, None);
}

#[test]
fn durability_follows_the_topic_then_the_cluster() {
    let max = i64::MAX.to_string();
    assert_eq!(topic(&[], &[], &[("flush.messages", &max)]).durability, Durability::Replicated);
    assert_eq!(topic(&[(DURABILITY_KEY, "replicated")], &[], &[]).durability, Durability::Replicated);
    let flushed = topic(&[(DURABILITY_KEY, "replicated")], &[], &[("flush.messages", "1")]);
    assert_eq!(flushed.durability, Durability::Flushed);
}

#[test]
fn wrong_values_and_names_say_what_would_fit() {
    let text = |result: Result<(), ConfigError>| result.unwrap_err().0;
    assert_eq!(
        text(check_topic("segment.bytes", "10")),
        "Invalid value 10 for configuration segment.bytes: Value must be at least 1048576"
    );
    assert!(
        text(check_topic("cleanup.policy", "shrink")).ends_with("String must be one of: compact, delete")
    );
    assert!(text(check_topic("retention.mss", "1")).ends_with("Did you mean retention.ms?"));
    assert!(check_topic("cleanup.policy", "").is_ok(), "an empty policy keeps everything (KIP-1161)");
    assert!(check_topic("compression.gzip.level", "0").is_err());
}

#[test]
fn a_node_reads_its_listeners() {
    let none = Overrides::new();
    let fixed = with(&[("listeners", "PLAINTEXT://[::1]:0"), ("log.dirs", "data"), ("node.id", "0")]);
    let node = NodeConfig::resolve(&Layers { broker: &none, cluster: &none, fixed: &fixed }).unwrap();
    assert_eq!(node.listeners, [Listener { name: "PLAINTEXT".into(), host: "::1".into(), port: 0 }]);
    assert_eq!(node.node_id, base::BrokerId(0));
    let fixed = with(&[("listeners", "9092"), ("log.dirs", "data")]);
    let error = NodeConfig::resolve(&Layers { broker: &none, cluster: &none, fixed: &fixed }).unwrap_err();
    assert!(error.0.contains("PLAINTEXT://127.0.0.1:9092"), "{error}");
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// A node with these settings, or why there is none.
fn node(pairs: Pairs<'_>) -> Result<NodeConfig, alloc::string::String> {
    let (none, mut fixed) = (Overrides::new(), with(pairs));
    fixed.entry("log.dirs".to_string()).or_insert_with(|| "data".to_string());
    NodeConfig::resolve(&Layers { broker: &none, cluster: &none, fixed: &fixed }).map_err(|error| error.0)
}

const THREE: (&str, &str) = ("listeners", "PLAINTEXT://:9092,OUTSIDE://:9094,CONTROLLER://10.0.0.1:9093");

#[test]
fn a_node_has_listeners_for_clients_and_for_nodes() {
    let own = node(&[THREE]).unwrap();
    assert_eq!(own.peer_listener().unwrap().name, "CONTROLLER", "the default of controller.listener.names");
    let named = node(&[THREE, ("inter.broker.listener.name", "outside")]).unwrap();
    assert_eq!(named.peer_listener().unwrap().name, "CONTROLLER");
    let without = [("controller.listener.names", "NONE"), ("inter.broker.listener.name", "OUTSIDE")];
    assert_eq!(node(&[&[THREE], &without[..]].concat()).unwrap().peer_listener().unwrap().name, "OUTSIDE");
    assert!(node(&[THREE, ("advertised.listeners", "OUTSIDE://kafka.example.org:9094")]).is_ok());
}

#[test]
fn listeners_that_do_not_go_together_are_refused_by_their_key() {
    let cases: &[(Pairs<'_>, &str, &str)] = &[
        (&[("listeners", "A://h:1,a://h:2")], "listeners", "a name of its own"),
        (&[("listeners", "A://h:1,B://h:1")], "listeners", "an address of its own"),
        (&[("listeners", "CONTROLLER://h:1")], "listeners", "one for clients"),
        (&[("listeners", "SSL://h:1")], "listeners", "PLAINTEXT only"),
        (
            &[("listeners", "OUT://h:1"), ("listener.security.protocol.map", "OUT:SASL_SSL")],
            "listeners",
            "makes it SASL_SSL",
        ),
        (&[THREE, ("advertised.listeners", "INSIDE://h:1")], "advertised.listeners", "names of entries"),
        (&[THREE, ("advertised.listeners", "CONTROLLER://h:1")], "advertised.listeners", "for clients"),
        (
            &[THREE, ("inter.broker.listener.name", "X")],
            "inter.broker.listener.name",
            "an entry in listeners",
        ),
        (
            &[THREE, ("inter.broker.listener.name", "CONTROLLER")],
            "inter.broker.listener.name",
            "not among controller.listener.names",
        ),
        (
            &[THREE, ("inter.broker.listener.name", "PLAINTEXT"), ("advertised.listeners", "OUTSIDE://h:1")],
            "inter.broker.listener.name",
            "an entry in advertised.listeners",
        ),
        (&[THREE, ("process.roles", "broker")], "process.roles", "controllers: name them"),
        (
            &[THREE, ("process.roles", "broker"), ("node.id", "2"), ("controller.quorum.voters", "2@h:9093")],
            "controller.quorum.voters",
            "no voter 2",
        ),
    ];
    for (settings, key, why) in cases {
        let error = node(settings).unwrap_err();
        assert!(error.contains(&alloc::format!("configuration {key}: ")) && error.contains(why), "{error}");
    }
    let several_ports_to_be_chosen = node(&[("listeners", "A://h:0,B://h:0")]);
    assert!(several_ports_to_be_chosen.is_ok());
}

fn reference() -> alloc::string::String {
    extern crate std;
    let mut text = alloc::string::String::from(
        "# Configuration\n\nGenerated from the config table (`UPDATE=1 cargo test -p ottla-cluster reference`). Keys, types and defaults are\nKafka 4.4's. Precedence: default < file < environment (`OTTLA_NUM_PARTITIONS`) < `--set` < dynamic cluster default <\ndynamic broker < topic. Keys that are not listed here are accepted, so that existing files and tools work, and\nchange nothing.\n",
    );
    let mut section = |title: &str, keys: &mut dyn Iterator<Item = &'static ConfigKey>| {
        text.push_str(&alloc::format!(
            "\n## {title}\n\n| key | type | default | changes | what it does |\n|---|---|---|---|---|\n"
        ));
        for key in keys.filter(|key| matches!(key.effect, Effect::Used(_))) {
            let default = key.default.map_or("—".to_string(), |value| alloc::format!("`{value}`"));
            let update = match key.update {
                Update::ReadOnly => "at restart",
                Update::PerBroker => "per broker",
                Update::Dynamic => "at once",
            };
            let (name, kind, what) = (key.name, key.kind_name().to_ascii_lowercase(), key.documentation());
            text.push_str(&alloc::format!("| `{name}` | {kind} | {default} | {update} | {what} |\n"));
        }
    };
    section("Topics", &mut topic_keys());
    section("Nodes", &mut broker_keys());
    text.push_str(
        "\n## Defaults that are not Kafka's\n\n| key | default | Kafka's | why |\n|---|---|---|---|\n",
    );
    for (name, theirs, why) in OWN_DEFAULTS {
        let ours = broker_key(name).and_then(|key| key.default).unwrap_or("none");
        text.push_str(&alloc::format!("| `{name}` | `{ours}` | `{theirs}` | {why} |\n"));
    }
    text.push_str(
        "\nOn a node with `ottla.durability=flushed`, topics that do not set `flush.messages` have it at 1. Every key of a\nbroker and of a topic is held against Apache Kafka's by scripts ([deviations](deviations.md#describe-configs)).\n",
    );
    text
}

#[test]
fn throttled_replicas_are_all_or_named() {
    let key = topic_key(LEADER_THROTTLED_KEY).unwrap();
    let held = |text: &str| {
        let config = topic(&[], &[], &[(LEADER_THROTTLED_KEY, text)]);
        let holds = |index, broker| config.leader_throttled.holds(PartitionIndex(index), BrokerId(broker));
        [holds(0, 1), holds(0, 2), holds(1, 1)]
    };
    for (text, holds) in
        [("", [false; 3]), ("*", [true; 3]), ("0:1", [true, false, false]), ("0:2, 1:1", [false, true, true])]
    {
        assert_eq!((key.check(text), held(text)), (Ok(()), holds), "{text}");
    }
    for text in ["0", "a:1", "0:", "0:-1", "0:1:2", "*,0:1"] {
        assert!(key.check(text).is_err(), "{text}");
    }
}

#[test]
fn a_throttle_is_the_brokers_own_else_that_of_all() {
    let none = Overrides::new();
    let (broker, cluster) =
        (with(&[(LEADER_RATE_KEY, "5")]), with(&[(LEADER_RATE_KEY, "7"), (FOLLOWER_RATE_KEY, "0")]));
    let rates = |broker, cluster| ThrottleRates::resolve(&Layers { broker, cluster, fixed: &none });
    assert_eq!(rates(&none, &none), ThrottleRates { leader: None, follower: None });
    assert_eq!(rates(&broker, &cluster), ThrottleRates { leader: Some(5), follower: Some(0) });
    assert_eq!(rates(&none, &cluster), ThrottleRates { leader: Some(7), follower: Some(0) });
}

#[test]
fn a_default_that_is_said_to_differ_does() {
    for (name, theirs, _) in OWN_DEFAULTS {
        assert_ne!(broker_key(name).unwrap().default.unwrap_or("none"), *theirs, "{name}");
    }
}

#[test]
fn the_number_of_a_node_has_two_names() {
    let none = Overrides::new();
    for name in ["broker.id", "node.id"] {
        let fixed = with(&[(name, "7"), ("log.dirs", "data")]);
        let layers = Layers { broker: &none, cluster: &none, fixed: &fixed };
        assert_eq!(NodeConfig::resolve(&layers).unwrap().node_id, base::BrokerId(7), "{name}");
        assert_eq!(layers.broker_value("broker.id").0.as_deref(), Some("7"));
    }
}

#[test]
fn single_addresses_can_have_bounds_of_their_own() {
    let none = Overrides::new();
    let own = "192.0.2.1:7, [2001:db8::1]:0,127.0.0.1:3,example.org:9";
    let broker = with(&[("max.connections.per.ip.overrides", own), ("max.connections.per.ip", "5")]);
    let layers = Layers { broker: &broker, cluster: &none, fixed: &none };
    let limits = ConnectionLimits::resolve(&layers).unwrap();
    let of = |ip: &str| limits.of(ip.parse().unwrap());
    assert_eq!([of("192.0.2.1"), of("2001:db8::1"), of("127.0.0.1"), of("192.0.2.2")], [7, 0, 3, 5]);
    assert_eq!(of("::1"), u32::MAX, "loopback is bounded when it is named");
    for wrong in ["192.0.2.1", "192.0.2.1:x", ":", "a:1,b"] {
        assert!(check_broker("max.connections.per.ip.overrides", wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_memory_for_requests_holds_the_largest_of_them() {
    let none = Overrides::new();
    let resolve = |bytes: &str| {
        let fixed = with(&[("queued.max.request.bytes", bytes), ("log.dirs", "data")]);
        let node = NodeConfig::resolve(&Layers { broker: &none, cluster: &none, fixed: &fixed });
        node.map(|node| node.queued_bytes_max)
    };
    assert_eq!(resolve("104857600"), Ok(Some(104_857_600)));
    assert_eq!(resolve("-1"), Ok(None));
    assert_eq!(resolve("0"), Ok(None));
    assert!(resolve("104857599").unwrap_err().0.contains("socket.request.max.bytes"));
}

#[test]
fn the_reference_is_fresh() {
    extern crate std;
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    let fresh = reference();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "docs/config.md is stale: run UPDATE=1 cargo test -p ottla-cluster");
}
