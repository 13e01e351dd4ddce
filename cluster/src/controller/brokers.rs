//! Broker registrations, features and producer ids.

use super::{Outcome, PRODUCER_ID_BLOCK, Refusal, Reply};
use crate::image::Image;
use crate::record::Record;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::{BrokerId, ProducerId};
use wire::ErrorCode;

/// The features this program serves, with the least and greatest level of each. Only what is served is
/// finalized; `metadata.version` 33 is Kafka 4.4's.
pub const FEATURES: &[(&str, i16, i16)] = &[("metadata.version", 7, 33)];

pub(super) fn allocate_producer_ids(image: &Image, broker: BrokerId, records: &mut Vec<Record>) -> Reply {
    let first = image.next_producer_id;
    records.push(Record::ProducerIds { broker, next: ProducerId(first.0 + PRODUCER_ID_BLOCK) });
    Reply::ProducerIds { first, count: PRODUCER_ID_BLOCK }
}

pub(super) fn unfence(image: &Image, id: BrokerId, epoch: i64, records: &mut Vec<Record>) -> Reply {
    let known = image.broker(id).filter(|broker| broker.epoch == epoch);
    Reply::Done(match known {
        Some(_) => {
            records.push(Record::BrokerFence { id, epoch, fenced: false });
            Ok(())
        }
        None => Err(Refusal::new(
            ErrorCode::StaleBrokerEpoch,
            format!("Broker {id} has no registration with epoch {epoch}: it must register again."),
        )),
    })
}

pub(super) fn update_features(
    image: &Image,
    updates: Vec<(String, i16)>,
    records: &mut Vec<Record>,
) -> Reply {
    let check = |(name, level): &(String, i16)| -> Outcome<()> {
        let known = FEATURES.iter().find(|(known, _, _)| known == name);
        let Some((_, low, high)) = known else {
            return Err(Refusal::new(
                ErrorCode::InvalidUpdateVersion,
                format!(
                    "Invalid update version {level} for feature {name}. The controller does not support this feature."
                ),
            ));
        };
        if !(low..=high).contains(&level) {
            return Err(Refusal::new(
                ErrorCode::InvalidUpdateVersion,
                format!(
                    "Invalid update version {level} for feature {name}. Supported are versions {low}-{high}."
                ),
            ));
        }
        Ok(())
    };
    if let Some(refusal) = updates.iter().find_map(|update| check(update).err()) {
        return Reply::Done(Err(refusal));
    }
    let current = |name: &str| image.features().find(|(known, _)| *known == name).map(|(_, level)| level);
    for (name, level) in updates {
        if current(&name) != Some(level) {
            records.push(Record::FeatureLevel { name, level });
        }
    }
    Reply::Done(Ok(()))
}
