//! What AlterConfigs and IncrementalAlterConfigs share: from resources to one command, and back to an outcome for
//! each resource. What cannot be asked at all is answered here, in the order of the request.

use super::{ViewContext, broker_loggers, outcome};
use cluster::Resource;
use cluster::config::ResourceKind;
use cluster::controller::{Command, ConfigChange, Outcome, Refusal, Reply, Subject, check_topic_name};
use wire::{ErrorCode, Str};

/// A resource of a request and what is to be changed.
pub(super) struct Wanted<'a> {
    pub(super) kind: i8,
    pub(super) name: &'a Str,
    pub(super) changes: Outcome<Vec<ConfigChange>>,
}

impl<'a> Wanted<'a> {
    /// `change` reads one change, or refuses it and with it the whole resource.
    pub(super) fn new<C>(
        kind: i8,
        name: &'a Str,
        configs: &[C],
        change: fn(&C) -> Outcome<ConfigChange>,
    ) -> Self {
        Self { kind, name, changes: configs.iter().map(change).collect() }
    }
}

/// A change that has to bring a value and does not.
pub(super) fn without_value<T>(key: &Str) -> Outcome<T> {
    refuse(format!("Null value not supported for : {key}"))
}

/// An item of the response.
pub(super) struct Altered {
    pub(super) kind: i8,
    pub(super) name: Str,
    pub(super) error_code: i16,
    pub(super) error_message: Option<Str>,
}

/// A refusal of what makes no sense.
pub(super) fn refuse<T>(message: String) -> Outcome<T> {
    Err(Refusal { code: ErrorCode::InvalidRequest, message })
}

/// How a resource is changed.
enum Plan<'a> {
    /// By the controller.
    Controlled(Subject),
    /// Here, at once.
    Loggers(&'a [ConfigChange]),
}

/// What to ask the controller.
pub(super) fn command(wanted: &[Wanted<'_>], replace: bool, validate_only: bool) -> Command {
    let controlled = |at| match plan(wanted, at, replace) {
        Ok(Plan::Controlled(subject)) => Some(subject),
        Ok(Plan::Loggers(_)) | Err(_) => None,
    };
    Command::AlterConfigs { subjects: (0..wanted.len()).filter_map(controlled).collect(), validate_only }
}

/// What became of each resource.
pub(super) fn altered(
    wanted: &[Wanted<'_>],
    (replace, validate_only): (bool, bool),
    cx: &ViewContext<'_>,
    reply: Reply,
) -> Vec<Altered> {
    let Reply::Changed(outcomes) = reply else { return Vec::new() };
    let mut outcomes = outcomes.into_iter();
    let one = |(at, wanted_one): (usize, &Wanted<'_>)| {
        let changed = match plan(wanted, at, replace) {
            Ok(Plan::Controlled(_)) => outcomes.next().unwrap_or(Ok(())),
            Ok(Plan::Loggers(changes)) => broker_loggers::alter(cx, wanted_one.name, changes, validate_only),
            Err(refusal) => Err(refusal),
        };
        let changed = changed.map_err(|refusal| explained(cx, wanted_one, refusal));
        let (error_code, error_message) = outcome(&changed);
        Altered { kind: wanted_one.kind, name: wanted_one.name.clone(), error_code, error_message }
    };
    wanted.iter().enumerate().map(one).collect()
}

/// A broker that does not exist is, to Kafka, not the broker that was asked.
fn explained(cx: &ViewContext<'_>, wanted: &Wanted<'_>, refusal: Refusal) -> Refusal {
    if refusal.code != ErrorCode::BrokerIdNotRegistered {
        return refusal;
    }
    let own = cx.view.node.config.node_id;
    let message = format!("Unexpected broker id, expected {own}, but received {}", wanted.name);
    Refusal { code: ErrorCode::InvalidRequest, message }
}

fn plan<'a>(wanted: &'a [Wanted<'_>], at: usize, replace: bool) -> Outcome<Plan<'a>> {
    let Wanted { kind, name, changes } = &wanted[at];
    let same = |other: &&Wanted<'_>| other.kind == *kind && other.name == *name;
    if wanted.iter().filter(same).count() > 1 {
        return refuse("Each resource must appear at most once.".into());
    }
    let Some(known) = ResourceKind::from_wire(*kind) else {
        return refuse(format!("Unexpected resource type {kind}."));
    };
    match known {
        ResourceKind::Topic if name.is_empty() => {
            return refuse("Default topic resources are not allowed.".into());
        }
        ResourceKind::Topic => check_topic_name(name)?,
        ResourceKind::BrokerLogger if replace => {
            return refuse("Levels of loggers can be changed by IncrementalAlterConfigs only.".into());
        }
        ResourceKind::BrokerLogger => {
            return changes.as_deref().map(Plan::Loggers).map_err(Clone::clone);
        }
        ResourceKind::Broker | ResourceKind::ClientMetrics | ResourceKind::Group => {}
    }
    Ok(Plan::Controlled(Subject {
        resource: Resource { kind: known, name: name.as_str().into() },
        changes: changes.clone()?,
        replace,
    }))
}
