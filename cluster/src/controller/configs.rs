//! Changes of configs: checked against the table and against each other, then recorded key by key.

use super::{Outcome, Refusal, Reply};
use crate::config::{self, ConfigError, Kind, Overrides, ResourceKind, Update, items};
use crate::image::Image;
use crate::record::{Record, Resource};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use base::BrokerId;
use wire::ErrorCode;

/// What to do with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOp {
    /// Give it this value.
    Set(String),
    /// Unset it.
    Delete,
    /// Add items to a list.
    Append(String),
    /// Take items from a list.
    Subtract(String),
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// The key.
    pub key: String,
    /// What to do.
    pub op: ConfigOp,
}

/// An owner of configs and the changes to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Whose configs.
    pub resource: Resource,
    /// The changes.
    pub changes: Vec<ConfigChange>,
    /// True for the older AlterConfigs, which unsets every key that it does not name.
    pub replace: bool,
}

pub(super) fn alter(
    image: &Image,
    subjects: Vec<Subject>,
    validate_only: bool,
    records: &mut Vec<Record>,
) -> Reply {
    let outcomes = subjects.iter().map(|subject| {
        let decided = alter_one(image, subject)?;
        if !validate_only {
            records.extend(decided);
        }
        Ok(())
    });
    Reply::Changed(outcomes.collect())
}

fn alter_one(image: &Image, subject: &Subject) -> Outcome<Vec<Record>> {
    check_owner(image, &subject.resource)?;
    let empty = Overrides::new();
    let Resource { kind, name } = &subject.resource;
    let before = image.overrides(*kind, name).map_or(&empty, |set| set);
    let mut after = if subject.replace { Overrides::new() } else { before.clone() };
    for (at, change) in subject.changes.iter().enumerate() {
        if subject.changes[..at].iter().any(|earlier| earlier.key == change.key) {
            let message = format!("Error due to duplicate config keys: {}", change.key);
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        apply(&subject.resource, change, &mut after)?;
    }
    check_together(&subject.resource, &after)?;
    Ok(difference(&subject.resource, before, &after))
}

fn check_owner(image: &Image, resource: &Resource) -> Outcome<()> {
    match resource.kind {
        ResourceKind::Topic if image.topic(&resource.name).is_none() => Err(Refusal::new(
            ErrorCode::UnknownTopicOrPartition,
            format!("The topic '{}' does not exist.", resource.name),
        )),
        ResourceKind::Broker if !resource.name.is_empty() => {
            let id = resource.name.parse().ok().map(BrokerId);
            match id.and_then(|id| image.broker(id)) {
                Some(_) => Ok(()),
                None => Err(Refusal::new(
                    ErrorCode::BrokerIdNotRegistered,
                    format!("No broker with id {} found.", resource.name),
                )),
            }
        }
        ResourceKind::Topic
        | ResourceKind::Broker
        | ResourceKind::BrokerLogger
        | ResourceKind::ClientMetrics
        | ResourceKind::Group => Ok(()),
    }
}

fn apply(resource: &Resource, change: &ConfigChange, set: &mut Overrides) -> Outcome<()> {
    // Kafka's broker checks its own settings before the controller sees them, with another code.
    let of_broker = resource.kind == ResourceKind::Broker;
    let code = if of_broker { ErrorCode::InvalidRequest } else { ErrorCode::InvalidConfig };
    let invalid = |error: ConfigError| Refusal::new(code, error.0);
    let key = &change.key;
    let value = match &change.op {
        ConfigOp::Delete => {
            set.remove(key);
            return Ok(());
        }
        ConfigOp::Set(value) => value.clone(),
        ConfigOp::Append(more) => edit_list(resource, key, set, |list| {
            list.extend(
                items(more)
                    .filter(|item| !list.iter().any(|old| old == item))
                    .map(ToString::to_string)
                    .collect::<Vec<_>>(),
            );
        })?,
        ConfigOp::Subtract(fewer) => edit_list(resource, key, set, |list| {
            list.retain(|old| !items(fewer).any(|item| item == old));
        })?,
    };
    check_value(resource, key, &value).map_err(invalid)?;
    set.insert(key.clone(), value);
    Ok(())
}

fn edit_list(
    resource: &Resource,
    key: &str,
    set: &Overrides,
    edit: impl FnOnce(&mut Vec<String>),
) -> Outcome<String> {
    let found = match resource.kind {
        ResourceKind::Topic => config::topic_key(key),
        ResourceKind::Broker => config::broker_key(key),
        ResourceKind::Group => config::group_keys().find(|known| known.name == key),
        ResourceKind::BrokerLogger | ResourceKind::ClientMetrics => None,
    };
    let Some(known) = found.filter(|known| known.kind == Kind::List) else {
        let message = format!("Config value append is not allowed for config key: {key}");
        return Err(Refusal::new(ErrorCode::InvalidConfig, message));
    };
    let current = set.get(key).map_or(known.default.unwrap_or(""), String::as_str);
    let mut list: Vec<String> = items(current).map(ToString::to_string).collect();
    edit(&mut list);
    Ok(list.join(","))
}

fn check_value(resource: &Resource, key: &str, value: &str) -> Result<(), ConfigError> {
    match resource.kind {
        ResourceKind::Topic => config::check_topic(key, value),
        ResourceKind::Broker => check_broker_value(resource, key, value),
        ResourceKind::Group => match config::group_keys().find(|known| known.name == key) {
            Some(known) => known.check(value),
            None => Err(ConfigError(format!("Unknown group config name: {key}"))),
        },
        ResourceKind::BrokerLogger | ResourceKind::ClientMetrics => {
            Err(ConfigError("This kind of config is not kept by the controller.".into()))
        }
    }
}

fn check_broker_value(resource: &Resource, key: &str, value: &str) -> Result<(), ConfigError> {
    config::check_broker(key, value)?;
    match config::broker_key(key).map(|known| known.update) {
        Some(Update::Dynamic) => Ok(()),
        Some(Update::PerBroker) if !resource.name.is_empty() => Ok(()),
        Some(Update::PerBroker) => Err(ConfigError(format!(
            "Cannot update these configs at default cluster level because they are per-broker: {key}"
        ))),
        Some(Update::ReadOnly) | None => Err(ConfigError(format!(
            "Cannot update these configs dynamically: {key}. Set it in the node's file and restart the node."
        ))),
    }
}

/// Rules between keys.
fn check_together(resource: &Resource, set: &Overrides) -> Outcome<()> {
    let number = |key: &str| set.get(key).and_then(|value| value.trim().parse::<i64>().ok());
    if resource.kind != ResourceKind::Topic {
        return Ok(());
    }
    if let (Some(low), Some(high)) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"))
        && low > high
    {
        let message = format!(
            "conflict topic config setting min.compaction.lag.ms ({low}) > max.compaction.lag.ms ({high})"
        );
        return Err(Refusal::new(ErrorCode::InvalidConfig, message));
    }
    Ok(())
}

fn difference(resource: &Resource, before: &Overrides, after: &Overrides) -> Vec<Record> {
    let record = |key: &String, value: Option<String>| Record::Config {
        resource: resource.clone(),
        key: key.clone(),
        value,
    };
    let unset = before.keys().filter(|key| !after.contains_key(*key)).map(|key| record(key, None));
    let set = after.iter().filter(|(key, value)| before.get(*key) != Some(*value));
    unset.chain(set.map(|(key, value)| record(key, Some(value.clone())))).collect()
}

/// Checks the configs that a new topic brings and returns their records.
pub(super) fn for_new_topic(name: &str, set: &[(String, Option<String>)]) -> Outcome<Vec<Record>> {
    let resource = Resource { kind: ResourceKind::Topic, name: name.into() };
    let mut after = Overrides::new();
    for (key, value) in set {
        let Some(value) = value else {
            let message = format!("Null value not supported for topic configs: {key}");
            return Err(Refusal::new(ErrorCode::InvalidConfig, message));
        };
        apply(&resource, &ConfigChange { key: key.clone(), op: ConfigOp::Set(value.clone()) }, &mut after)?;
    }
    check_together(&resource, &after)?;
    Ok(difference(&resource, &Overrides::new(), &after))
}
