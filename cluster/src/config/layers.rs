//! Which value wins: default < file < environment and `--set` < dynamic cluster default < dynamic broker < topic.

use super::key::ConfigKey;
use super::{DURABILITY_KEY, broker_key, topic_key};
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Settings by key.
pub type Overrides = BTreeMap<String, String>;

/// Where a value comes from; the numbers are those of DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Set on the topic.
    Topic = 1,
    /// Set at run time on this broker.
    DynamicBroker = 2,
    /// Set at run time for all brokers.
    DynamicDefaultBroker = 3,
    /// From the file, the environment or the command line.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// Set on the group.
    Group = 8,
}

/// The settings that apply to one node, weakest last.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// Dynamic, for this broker.
    pub broker: &'a Overrides,
    /// Dynamic, for all brokers.
    pub cluster: &'a Overrides,
    /// From the node's file, environment and command line.
    pub fixed: &'a Overrides,
}

/// One place where a key's value could come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The key in that place.
    pub name: &'static str,
    /// Its value there.
    pub value: Option<String>,
    /// The place.
    pub source: Source,
}

/// A key's value as DescribeConfigs tells it.
#[derive(Clone, Debug)]
pub struct Described {
    /// The key.
    pub key: &'static ConfigKey,
    /// The value in force.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// All places, strongest first.
    pub synonyms: Vec<Synonym>,
}

/// A broker key that feeds a topic key, with the factor that turns its unit into the topic key's.
struct Feeder {
    name: &'static str,
    factor: i64,
}

const fn feeder(name: &'static str, factor: i64) -> Feeder {
    Feeder { name, factor }
}

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

/// The broker keys behind a topic key, strongest first.
fn feeders(key: &ConfigKey) -> Vec<Feeder> {
    match key.name {
        "retention.ms" => alloc::vec![
            feeder("log.retention.ms", 1),
            feeder("log.retention.minutes", MINUTE_MS),
            feeder("log.retention.hours", HOUR_MS),
        ],
        "segment.ms" => alloc::vec![feeder("log.roll.ms", 1), feeder("log.roll.hours", HOUR_MS)],
        "segment.jitter.ms" => {
            alloc::vec![feeder("log.roll.jitter.ms", 1), feeder("log.roll.jitter.hours", HOUR_MS)]
        }
        _ => key.broker_key.map(|name| feeder(name, 1)).into_iter().collect(),
    }
}

impl<'a> Layers<'a> {
    /// The value of a broker key and where it comes from.
    #[must_use]
    pub fn broker_value(&self, name: &str) -> (Option<Cow<'a, str>>, Source) {
        match self.set_value(name) {
            Some((value, source)) => (Some(Cow::Borrowed(value)), source),
            None => (broker_key(name).and_then(|key| key.default).map(Cow::Borrowed), Source::Default),
        }
    }

    /// The value of a topic key for a topic with these overrides, and where it comes from.
    #[must_use]
    pub fn topic_value(&self, topic: &'a Overrides, name: &str) -> (Option<Cow<'a, str>>, Source) {
        if let Some(value) = topic.get(name) {
            return (Some(Cow::Borrowed(value)), Source::Topic);
        }
        let Some(key) = topic_key(name) else { return (None, Source::Default) };
        for feeder in feeders(key) {
            if let Some((value, source)) = self.set_value(feeder.name) {
                return (Some(scale(value, feeder.factor)), source);
            }
        }
        (self.topic_default(key), Source::Default)
    }

    /// `flush.messages` unset means the cluster's durability; everything else has its own default.
    fn topic_default(&self, key: &ConfigKey) -> Option<Cow<'a, str>> {
        if key.name == "flush.messages" && self.broker_value(DURABILITY_KEY).0.as_deref() == Some("flushed") {
            return Some(Cow::Borrowed("1"));
        }
        key.default.map(Cow::Borrowed)
    }

    fn set_value(&self, name: &str) -> Option<(&'a str, Source)> {
        let places = [
            (self.broker, Source::DynamicBroker),
            (self.cluster, Source::DynamicDefaultBroker),
            (self.fixed, Source::StaticBroker),
        ];
        places.into_iter().find_map(|(layer, source)| set_in(layer, name).map(|value| (value, source)))
    }

    /// A topic key as DescribeConfigs tells it.
    #[must_use]
    pub fn describe_topic(&self, topic: &'a Overrides, key: &'static ConfigKey) -> Described {
        let (value, _) = self.topic_value(topic, key.name);
        let mut synonyms = Vec::new();
        if let Some(value) = topic.get(key.name) {
            synonyms.push(Synonym { name: key.name, value: Some(value.clone()), source: Source::Topic });
        }
        synonyms
            .extend(feeders(key).first().map(|first| self.broker_synonyms(first.name)).into_iter().flatten());
        let source = synonyms.first().map_or(Source::Default, |first| first.source);
        Described { key, value: shown(key, value), source, synonyms }
    }

    /// A broker key as DescribeConfigs tells it.
    #[must_use]
    pub fn describe_broker(&self, key: &'static ConfigKey) -> Described {
        let (value, source) = self.broker_value(key.name);
        Described { key, value: shown(key, value), source, synonyms: self.broker_synonyms(key.name) }
    }

    /// All places of a broker key and of those that it overrides. As Kafka has it, coarser keys are told only beside
    /// the key itself.
    fn broker_synonyms(&self, name: &'static str) -> Vec<Synonym> {
        let mut synonyms = Vec::new();
        for link in chain(&name) {
            self.push_broker_synonyms(link, &mut synonyms);
        }
        let own = synonyms.iter().position(|synonym| synonym.name == name);
        own.map(|own| synonyms.split_off(own)).unwrap_or_default()
    }

    fn push_broker_synonyms(&self, name: &str, synonyms: &mut Vec<Synonym>) {
        let Some(key) = broker_key(name) else { return };
        let places = [
            (self.broker, Source::DynamicBroker),
            (self.cluster, Source::DynamicDefaultBroker),
            (self.fixed, Source::StaticBroker),
        ];
        for (layer, source) in places {
            if let Some(value) = set_in(layer, name) {
                synonyms.push(Synonym {
                    name: key.name,
                    value: shown(key, Some(Cow::Borrowed(value))),
                    source,
                });
            }
        }
        if let Some(default) = key.default {
            let value = shown(key, Some(Cow::Borrowed(default)));
            synonyms.push(Synonym { name: key.name, value, source: Source::Default });
        }
    }
}

/// The keys of a chain from one on: the same in coarser units.
fn chain<'n>(name: &'n &'static str) -> &'n [&'static str] {
    const CHAINS: &[&[&str]] = &[
        &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
        &["log.roll.ms", "log.roll.hours"],
        &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
    ];
    let found = CHAINS.iter().find_map(|chain| {
        let at = chain.iter().position(|link| link == name)?;
        Some(&chain[at..])
    });
    found.unwrap_or(core::slice::from_ref(name))
}

/// What a layer says of a key. The number of a node has two names, either of which may be the one that is set.
fn set_in<'a>(layer: &'a Overrides, name: &str) -> Option<&'a str> {
    let other = match name {
        "broker.id" => Some("node.id"),
        "node.id" => Some("broker.id"),
        _ => None,
    };
    layer.get(name).or_else(|| layer.get(other?)).map(String::as_str)
}

/// Secrets are never shown.
fn shown(key: &ConfigKey, value: Option<Cow<'_, str>>) -> Option<String> {
    value.filter(|_| !key.is_sensitive()).map(Cow::into_owned)
}

fn scale(value: &str, factor: i64) -> Cow<'_, str> {
    match value.trim().parse::<i64>() {
        // A negative value means "no limit" in every unit.
        Ok(number) if factor != 1 && number >= 0 => Cow::Owned(number.saturating_mul(factor).to_string()),
        Ok(_) | Err(_) => Cow::Borrowed(value),
    }
}
