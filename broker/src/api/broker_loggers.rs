//! The loggers of the node that is asked, as DescribeConfigs tells and IncrementalAlterConfigs changes them.

use super::ViewContext;
use crate::loggers::{LogLevel, ROOT_LOGGER};
use cluster::controller::{ConfigChange, ConfigOp, Outcome, Refusal};
use std::collections::BTreeMap;
use wire::ErrorCode;
use wire::describe_configs::DescribeConfigsResourceResult;

/// Where Kafka says that levels come from: DYNAMIC_BROKER_LOGGER_CONFIG.
const SOURCE: i8 = 6;

/// Every logger with its level.
pub(super) fn describe(cx: &ViewContext<'_>, node: &str) -> Outcome<Vec<DescribeConfigsResourceResult>> {
    check_node(cx, node)?;
    let described = |(logger, level): (String, LogLevel)| DescribeConfigsResourceResult {
        name: logger.into(),
        value: Some(level.name().into()),
        config_source: SOURCE,
        ..DescribeConfigsResourceResult::default()
    };
    Ok(cx.loggers.all().into_iter().map(described).collect())
}

/// Sets levels, all or none.
pub(super) fn alter(
    cx: &ViewContext<'_>,
    node: &str,
    changes: &[ConfigChange],
    validate_only: bool,
) -> Outcome<()> {
    for (at, change) in changes.iter().enumerate() {
        if changes[..at].iter().any(|earlier| earlier.key == change.key) {
            let message = format!("Error due to duplicate config keys: {}", change.key);
            return refuse(ErrorCode::InvalidRequest, message);
        }
    }
    check_node(cx, node)?;
    let known = cx.loggers.all();
    let checked: Vec<_> = changes.iter().map(|change| check(&known, change)).collect::<Outcome<_>>()?;
    if !validate_only {
        cx.loggers.set(&checked);
    }
    Ok(())
}

fn check<'c>(
    known: &BTreeMap<String, LogLevel>,
    change: &'c ConfigChange,
) -> Outcome<(&'c str, Option<LogLevel>)> {
    let logger = change.key.as_str();
    if matches!(change.op, ConfigOp::Append(_) | ConfigOp::Subtract(_)) {
        return refuse(ErrorCode::InvalidRequest, "A logger has one level, not a list of them.".into());
    }
    if !known.contains_key(logger) {
        return refuse(ErrorCode::InvalidConfig, format!("Logger {logger} does not exist!"));
    }
    match &change.op {
        ConfigOp::Set(level) => match LogLevel::named(level) {
            Some(level) => Ok((logger, Some(level))),
            None => {
                let message =
                    format!("Cannot set the log level of {logger} to {level}: there is no such level.");
                refuse(ErrorCode::InvalidConfig, message)
            }
        },
        ConfigOp::Delete if logger == ROOT_LOGGER => {
            refuse(ErrorCode::InvalidRequest, "The root logger always has a level.".into())
        }
        ConfigOp::Delete | ConfigOp::Append(_) | ConfigOp::Subtract(_) => Ok((logger, None)),
    }
}

/// Levels are those of the node that is asked.
fn check_node(cx: &ViewContext<'_>, name: &str) -> Outcome<()> {
    let own = cx.view.node.config.node_id;
    match name.parse::<i32>() {
        Ok(id) if id == own.0 => Ok(()),
        Ok(id) => {
            let message = format!("Unexpected broker id, expected {own}, but received {id}");
            refuse(ErrorCode::InvalidRequest, message)
        }
        Err(_) => {
            refuse(ErrorCode::InvalidRequest, format!("Broker id must be an integer, but it is: {name:?}"))
        }
    }
}

fn refuse<T>(code: ErrorCode, message: String) -> Outcome<T> {
    Err(Refusal { code, message })
}
