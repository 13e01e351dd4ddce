//! Records as bytes: Kafka's own metadata records, several to a log entry.
//!
//! An entry is a count and, per record, a length and the framed record. A record of a type that this program
//! does not know, or does not act on, stops the reader: a node that cannot apply committed metadata must not
//! go on (rule E1).

use crate::config::ResourceKind;
use crate::partition::PartitionState;
use crate::record::{Endpoint, Record, Registration, Resource};
use alloc::string::ToString;
use alloc::vec::Vec;
use base::{BrokerId, LeaderEpoch, PartitionIndex, ProducerId, TopicId};
use bytes::Bytes;
use wire::stored::MetadataRecord;
use wire::stored::metadata::{
    AbortTransactionRecord, BeginTransactionRecord, BrokerEndpoint, ConfigRecord, EndTransactionRecord,
    FeatureLevelRecord, FenceBrokerRecord, PartitionRecord, ProducerIdsRecord, RegisterBrokerRecord,
    RemoveTopicRecord, TopicRecord, UnfenceBrokerRecord, UnregisterBrokerRecord,
};
use wire::{DecodeError, EncodeError, Reader, Writer};

/// Why an entry of the metadata log cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The bytes are not records.
    Garbled(DecodeError),
    /// A record that this program does not act on.
    Unsupported(&'static str),
    /// A record whose values contradict its type.
    Invalid(&'static str),
}

impl From<DecodeError> for RecordError {
    fn from(error: DecodeError) -> Self {
        Self::Garbled(error)
    }
}

/// The records of one decision as one log entry.
///
/// # Errors
/// When a value is too long for the log's format.
pub fn encode_entry(records: &[Record]) -> Result<Bytes, EncodeError> {
    let mut w = Writer::with_capacity(64 * records.len());
    w.uvarint(u32::try_from(records.len()).unwrap_or(u32::MAX));
    for record in records {
        w.bytes(true, &to_wire(record).to_bytes(i16::MAX)?);
    }
    Ok(w.finish()?.bytes)
}

/// The records of a log entry.
///
/// # Errors
/// When the entry cannot be applied here.
pub fn decode_entry(entry: Bytes) -> Result<Vec<Record>, RecordError> {
    let mut r = Reader::new(entry);
    let count = r.uvarint()?;
    let mut records = Vec::new();
    for _ in 0..count {
        records.push(from_wire(MetadataRecord::from_bytes(r.bytes(true)?)?)?);
    }
    r.finish()?;
    Ok(records)
}

fn to_wire(record: &Record) -> MetadataRecord {
    match record {
        Record::Topic { name, id, implicit_factor } => TopicRecord {
            name: name.as_ref().into(),
            topic_id: id.0,
            implicit_factor: *implicit_factor,
            ..Default::default()
        }
        .into(),
        Record::Partition { topic, index, state } => partition_to_wire(*topic, *index, state).into(),
        Record::RemoveTopic { id } => RemoveTopicRecord { topic_id: id.0, ..Default::default() }.into(),
        Record::Config { resource, key, value } => ConfigRecord {
            resource_type: resource.kind as i8,
            resource_name: resource.name.as_ref().into(),
            name: key.as_str().into(),
            value: value.as_deref().map(Into::into),
            ..Default::default()
        }
        .into(),
        Record::FeatureLevel { name, level } => {
            FeatureLevelRecord { name: name.as_str().into(), feature_level: *level, ..Default::default() }
                .into()
        }
        Record::ProducerIds { broker, next } => {
            ProducerIdsRecord { broker_id: broker.0, next_producer_id: next.0, ..Default::default() }.into()
        }
        Record::RegisterBroker(registration) => registration_to_wire(registration).into(),
        Record::BrokerFence { id, epoch, fenced: true } => {
            FenceBrokerRecord { id: id.0, epoch: *epoch, ..Default::default() }.into()
        }
        Record::BrokerFence { id, epoch, fenced: false } => {
            UnfenceBrokerRecord { id: id.0, epoch: *epoch, ..Default::default() }.into()
        }
        Record::Begin => BeginTransactionRecord::default().into(),
        Record::End => EndTransactionRecord::default().into(),
        Record::Abort => AbortTransactionRecord::default().into(),
        Record::UnregisterBroker { id, epoch } => {
            UnregisterBrokerRecord { broker_id: id.0, broker_epoch: *epoch, ..Default::default() }.into()
        }
    }
}

fn partition_to_wire(topic: TopicId, index: PartitionIndex, state: &PartitionState) -> PartitionRecord {
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|id| id.0).collect();
    PartitionRecord {
        partition_id: index.0,
        topic_id: topic.0,
        replicas: ids(&state.replicas),
        adding_replicas: ids(&state.adding),
        removing_replicas: ids(&state.removing),
        isr: ids(&state.isr),
        leader: state.leader.map_or(-1, |id| id.0),
        leader_epoch: state.leader_epoch.0,
        partition_epoch: state.partition_epoch,
        eligible_leader_replicas: (!state.elr.is_empty()).then(|| ids(&state.elr)),
        ..Default::default()
    }
}

fn registration_to_wire(registration: &Registration) -> RegisterBrokerRecord {
    let endpoint = |endpoint: &Endpoint| BrokerEndpoint {
        name: endpoint.listener.as_str().into(),
        host: endpoint.host.as_str().into(),
        port: endpoint.port,
        ..Default::default()
    };
    RegisterBrokerRecord {
        broker_id: registration.id.0,
        incarnation_id: registration.incarnation,
        broker_epoch: registration.epoch,
        end_points: registration.endpoints.iter().map(endpoint).collect(),
        rack: registration.rack.as_deref().map(Into::into),
        fenced: registration.fenced,
        log_dirs: registration.directories.clone(),
        peer_listener: registration.peer_listener.as_str().into(),
        ..Default::default()
    }
}

fn from_wire(record: MetadataRecord) -> Result<Record, RecordError> {
    Ok(match record {
        MetadataRecord::Topic(r) => Record::Topic {
            name: r.name.as_str().into(),
            id: TopicId(r.topic_id),
            implicit_factor: r.implicit_factor,
        },
        MetadataRecord::Partition(r) => partition_from_wire(r)?,
        MetadataRecord::RemoveTopic(r) => Record::RemoveTopic { id: TopicId(r.topic_id) },
        MetadataRecord::Config(r) => config_from_wire(&r)?,
        MetadataRecord::FeatureLevel(r) => {
            Record::FeatureLevel { name: r.name.to_string(), level: r.feature_level }
        }
        MetadataRecord::ProducerIds(r) => {
            Record::ProducerIds { broker: BrokerId(r.broker_id), next: ProducerId(r.next_producer_id) }
        }
        MetadataRecord::RegisterBroker(r) => Record::RegisterBroker(registration_from_wire(r)),
        MetadataRecord::FenceBroker(r) => {
            Record::BrokerFence { id: BrokerId(r.id), epoch: r.epoch, fenced: true }
        }
        MetadataRecord::UnfenceBroker(r) => {
            Record::BrokerFence { id: BrokerId(r.id), epoch: r.epoch, fenced: false }
        }
        MetadataRecord::UnregisterBroker(r) => {
            Record::UnregisterBroker { id: BrokerId(r.broker_id), epoch: r.broker_epoch }
        }
        MetadataRecord::BeginTransaction(_) => Record::Begin,
        MetadataRecord::EndTransaction(_) => Record::End,
        MetadataRecord::AbortTransaction(_) => Record::Abort,
        MetadataRecord::PartitionChange(_)
        | MetadataRecord::BrokerRegistrationChange(_)
        | MetadataRecord::NoOp(_)
        | MetadataRecord::RegisterController(_)
        | MetadataRecord::ClearElr(_) => return Err(RecordError::Unsupported(record.name())),
    })
}

fn partition_from_wire(r: PartitionRecord) -> Result<Record, RecordError> {
    let ids = |ids: Vec<i32>| -> Vec<BrokerId> { ids.into_iter().map(BrokerId).collect() };
    if r.replicas.is_empty() || r.partition_id < 0 {
        return Err(RecordError::Invalid("a partition without number or replicas"));
    }
    let state = PartitionState {
        replicas: ids(r.replicas),
        adding: ids(r.adding_replicas),
        removing: ids(r.removing_replicas),
        isr: ids(r.isr),
        elr: ids(r.eligible_leader_replicas.unwrap_or_default()),
        leader: Some(BrokerId(r.leader)).filter(|id| id.0 >= 0),
        leader_epoch: LeaderEpoch(r.leader_epoch),
        partition_epoch: r.partition_epoch,
    };
    Ok(Record::Partition { topic: TopicId(r.topic_id), index: PartitionIndex(r.partition_id), state })
}

fn config_from_wire(r: &ConfigRecord) -> Result<Record, RecordError> {
    let kind = ResourceKind::from_wire(r.resource_type)
        .ok_or(RecordError::Invalid("a config of an unknown kind"))?;
    Ok(Record::Config {
        resource: Resource { kind, name: r.resource_name.as_str().into() },
        key: r.name.to_string(),
        value: r.value.as_ref().map(ToString::to_string),
    })
}

fn registration_from_wire(r: RegisterBrokerRecord) -> Registration {
    let endpoint =
        |e: BrokerEndpoint| Endpoint { listener: e.name.to_string(), host: e.host.to_string(), port: e.port };
    Registration {
        id: BrokerId(r.broker_id),
        incarnation: r.incarnation_id,
        epoch: r.broker_epoch,
        endpoints: r.end_points.into_iter().map(endpoint).collect(),
        peer_listener: r.peer_listener.to_string(),
        rack: r.rack.as_ref().map(ToString::to_string),
        directories: r.log_dirs,
        fenced: r.fenced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Uuid;

    fn one_of_each() -> Vec<Record> {
        let id = TopicId(Uuid([7; 16]));
        let resource = Resource { kind: ResourceKind::Topic, name: "t".into() };
        let registration = Registration {
            id: BrokerId(0),
            incarnation: Uuid([1; 16]),
            epoch: 3,
            endpoints: alloc::vec![Endpoint { listener: "PLAINTEXT".into(), host: "h".into(), port: 9092 }],
            peer_listener: "PLAINTEXT".into(),
            rack: Some("r1".into()),
            directories: alloc::vec![Uuid([2; 16])],
            fenced: true,
        };
        let state = PartitionState {
            adding: alloc::vec![BrokerId(2)],
            ..PartitionState::new(alloc::vec![BrokerId(0), BrokerId(2)])
        };
        alloc::vec![
            Record::Topic { name: "t".into(), id, implicit_factor: true },
            Record::Partition { topic: id, index: PartitionIndex(0), state },
            Record::Config {
                resource: resource.clone(),
                key: "retention.ms".into(),
                value: Some("1".into())
            },
            Record::Config { resource, key: "retention.ms".into(), value: None },
            Record::FeatureLevel { name: "metadata.version".into(), level: 33 },
            Record::ProducerIds { broker: BrokerId(0), next: ProducerId(1000) },
            Record::RegisterBroker(registration),
            Record::BrokerFence { id: BrokerId(0), epoch: 3, fenced: false },
            Record::BrokerFence { id: BrokerId(0), epoch: 3, fenced: true },
            Record::UnregisterBroker { id: BrokerId(0), epoch: 3 },
            Record::RemoveTopic { id },
            Record::Begin,
            Record::End,
            Record::Abort,
        ]
    }

    #[test]
    fn every_record_survives_the_log() {
        let records = one_of_each();
        let entry = encode_entry(&records).unwrap();
        assert_eq!(decode_entry(entry.clone()), Ok(records));
        for end in 0..entry.len() {
            assert!(decode_entry(entry.slice(..end)).is_err(), "cut at {end}");
        }
    }
}
