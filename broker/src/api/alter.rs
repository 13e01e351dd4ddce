//! What AlterConfigs and IncrementalAlterConfigs share: from resources to one command, and back to an outcome for
//! each resource. What cannot be asked at all is answered here, in the order of the request.

use super::{ViewContext, outcome};
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

/// What to ask the controller.
pub(super) fn command(wanted: &[Wanted<'_>], replace: bool, validate_only: bool) -> Command {
    let subjects = (0..wanted.len()).filter_map(|at| subject(wanted, at, replace).ok()).collect();
    Command::AlterConfigs { subjects, validate_only }
}

/// What became of each resource.
pub(super) fn altered(
    wanted: &[Wanted<'_>],
    replace: bool,
    cx: &ViewContext<'_>,
    reply: Reply,
) -> Vec<Altered> {
    let Reply::Changed(outcomes) = reply else { return Vec::new() };
    let mut outcomes = outcomes.into_iter();
    let one = |(at, wanted_one): (usize, &Wanted<'_>)| {
        let changed = match subject(wanted, at, replace) {
            Ok(_) => outcomes.next().unwrap_or(Ok(())),
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

fn subject(wanted: &[Wanted<'_>], at: usize, replace: bool) -> Outcome<Subject> {
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
        ResourceKind::BrokerLogger => {
            let message = "The levels of loggers cannot be changed in this version.".into();
            let code = if replace { ErrorCode::InvalidRequest } else { ErrorCode::InvalidConfig };
            return Err(Refusal { code, message });
        }
        ResourceKind::Broker | ResourceKind::ClientMetrics | ResourceKind::Group => {}
    }
    Ok(Subject {
        resource: Resource { kind: known, name: name.as_str().into() },
        changes: changes.clone()?,
        replace,
    })
}
