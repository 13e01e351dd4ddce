//! Broker registrations, features and producer ids.

use super::{Outcome, PRODUCER_ID_BLOCK, Refusal, Reply};
use crate::image::Image;
use crate::record::Record;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::{BrokerId, ProducerId};
use wire::ErrorCode;

/// The features of Kafka 4.4, with the least and greatest level of each that this program serves. Level 0 is off;
/// `metadata.version` 33 is Kafka 4.4's.
pub const FEATURES: &[(&str, i16, i16)] = &[
    ("eligible.leader.replicas.version", 0, 0),
    ("group.version", 0, 0),
    ("kraft.version", 0, 0),
    ("metadata.version", 7, 33),
    ("share.version", 0, 0),
    ("streams.version", 0, 0),
    ("transaction.version", 0, 0),
];

pub(super) fn allocate_producer_ids(image: &Image, broker: BrokerId, records: &mut Vec<Record>) -> Reply {
    let first = image.next_producer_id;
    records.push(Record::ProducerIds { broker, next: ProducerId(first.0 + PRODUCER_ID_BLOCK) });
    Reply::ProducerIds { first, count: PRODUCER_ID_BLOCK }
}

/// A new level of a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// Its name.
    pub name: String,
    /// The level.
    pub level: i16,
}

pub(super) fn update_features(
    image: &Image,
    updates: Vec<FeatureUpdate>,
    validate_only: bool,
    records: &mut Vec<Record>,
) -> Reply {
    if let Some(refusal) = updates.iter().find_map(|update| check_feature(image, update).err()) {
        return Reply::Done(Err(refusal));
    }
    for FeatureUpdate { name, level } in updates {
        if current_level(image, &name) != level && !validate_only {
            records.push(Record::FeatureLevel { name, level });
        }
    }
    Reply::Done(Ok(()))
}

/// A feature that is not finalized is off.
fn current_level(image: &Image, name: &str) -> i16 {
    image.features().find(|(known, _)| *known == name).map_or(0, |(_, level)| level)
}

fn check_feature(image: &Image, update: &FeatureUpdate) -> Outcome<()> {
    let FeatureUpdate { name, level } = update;
    let refuse = |why: String| {
        let message = format!("Invalid update version {level} for feature {name}. {why}");
        Err(Refusal::new(ErrorCode::InvalidUpdateVersion, message))
    };
    let Some((_, low, high)) = FEATURES.iter().find(|(known, _, _)| known == name) else {
        return refuse("The controller does not support this feature.".into());
    };
    if !(low..=high).contains(&level) {
        return refuse(format!("Supported are versions {low}-{high}."));
    }
    // What a later level has written, an earlier one may not be able to read.
    match current_level(image, name) {
        current if *level < current => refuse(format!("It is {current} and cannot be lowered.")),
        _ => Ok(()),
    }
}
