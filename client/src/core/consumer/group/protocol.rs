//! What members tell each other through the coordinator: subscriptions and assignments, each behind two bytes of
//! version.

use super::assignor::{Assignor, Member};
use crate::core::consumer::TopicPartition;
use bytes::{Bytes, BytesMut};
use wire::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition as TopicPartitions,
};
use wire::{Message as _, Reader, Str, Writer};

/// The version that is written; older and newer ones are read.
const VERSION: i16 = 3;

/// What this member says of itself for one assignor.
pub(super) fn subscription(
    assignor: Assignor,
    topics: &[Str],
    owned: &[TopicPartition],
    (held, generation): (&[TopicPartition], i32),
) -> Bytes {
    let message = ConsumerProtocolSubscription {
        topics: topics.to_vec(),
        user_data: (assignor == Assignor::Sticky).then(|| sticky_memory(held, generation)),
        owned_partitions: grouped(owned),
        generation_id: generation,
        ..ConsumerProtocolSubscription::default()
    };
    versioned(&message)
}

/// The eager sticky assignor remembers in its user data what was given up for the rebalance: topics with
/// partitions, then the generation.
fn sticky_memory(held: &[TopicPartition], generation: i32) -> Bytes {
    let mut w = Writer::default();
    w.array(false, &grouped(held), |w, topic| topic.encode(w, 1));
    w.i32(generation);
    w.finish().map(|encoded| encoded.bytes).unwrap_or_default()
}

/// An assignment for one member.
pub(super) fn assignment(partitions: &[TopicPartition]) -> Bytes {
    let assigned_partitions = grouped(partitions);
    versioned(&ConsumerProtocolAssignment { assigned_partitions, ..ConsumerProtocolAssignment::default() })
}

fn versioned<M: wire::Message>(message: &M) -> Bytes {
    let mut bytes = BytesMut::from(&VERSION.to_be_bytes()[..]);
    // Our own topics and partitions are within every limit of the format.
    let body = message.to_bytes(VERSION).map(|encoded| encoded.bytes).unwrap_or_default();
    bytes.extend_from_slice(&body);
    bytes.freeze()
}

/// A member by what it said; `None` if that is unreadable.
pub(super) fn member(
    assignor: Assignor,
    id: &Str,
    instance_id: Option<Str>,
    metadata: &Bytes,
) -> Option<Member> {
    let (version, body) = split(metadata)?;
    let message = ConsumerProtocolSubscription::from_bytes(body, version).ok()?;
    let memory = message.user_data.filter(|_| assignor == Assignor::Sticky).and_then(remembered);
    let (owned, generation) = memory.unwrap_or((flat(&message.owned_partitions), message.generation_id));
    let topics = message.topics.iter().map(Str::detached).collect();
    Some(Member { id: id.detached(), instance_id, topics, owned, generation })
}

fn remembered(bytes: Bytes) -> Option<(Vec<TopicPartition>, i32)> {
    let mut r = Reader::new(bytes);
    let held = r.array(false, 6, |r| TopicPartitions::decode(r, 1)).ok()?;
    Some((flat(&held), r.i32().unwrap_or(-1)))
}

/// The partitions of an assignment; empty bytes mean none.
pub(super) fn assigned(bytes: &Bytes) -> Option<Vec<TopicPartition>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let (version, body) = split(bytes)?;
    let message = ConsumerProtocolAssignment::from_bytes(body, version).ok()?;
    Some(flat(&message.assigned_partitions))
}

/// Later versions only add fields at the end, so they are read as the latest that is known.
fn split(bytes: &Bytes) -> Option<(i16, Bytes)> {
    let version = i16::from_be_bytes(*bytes.first_chunk()?);
    (version >= 0).then(|| (version.min(VERSION), bytes.slice(2..)))
}

fn grouped(partitions: &[TopicPartition]) -> Vec<TopicPartitions> {
    let mut sorted = partitions.to_vec();
    sorted.sort();
    let mut topics: Vec<TopicPartitions> = Vec::new();
    for TopicPartition { topic, partition } in sorted {
        match topics.last_mut().filter(|last| last.topic == topic) {
            Some(last) => last.partitions.push(partition),
            None => topics.push(TopicPartitions { topic, partitions: vec![partition] }),
        }
    }
    topics
}

fn flat(topics: &[TopicPartitions]) -> Vec<TopicPartition> {
    let one = |topic: &TopicPartitions| {
        let name = topic.topic.detached();
        topic
            .partitions
            .clone()
            .into_iter()
            .map(move |partition| TopicPartition { topic: name.clone(), partition })
    };
    topics.iter().flat_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions() -> Vec<TopicPartition> {
        [("u", 3), ("t", 1), ("t", 0)]
            .map(|(topic, partition)| TopicPartition { topic: topic.into(), partition })
            .to_vec()
    }

    #[test]
    fn what_a_member_says_is_what_the_leader_reads() {
        let mut sorted = partitions();
        sorted.sort();
        for assignor in [Assignor::Range, Assignor::Sticky, Assignor::CooperativeSticky] {
            let owned = if assignor == Assignor::Sticky { Vec::new() } else { partitions() };
            let said = subscription(assignor, &["t".into(), "u".into()], &owned, (&partitions(), 7));
            let read = member(assignor, &"m".into(), None, &said).unwrap();
            assert_eq!((read.owned, read.generation), (sorted.clone(), 7), "{assignor:?}");
            assert_eq!(read.topics, ["t", "u"]);
        }
        assert_eq!(assigned(&assignment(&partitions())), Some(sorted));
        assert_eq!(assigned(&Bytes::new()), Some(Vec::new()));
    }

    #[test]
    fn what_is_unreadable_is_refused() {
        assert_eq!(assigned(&Bytes::from_static(&[0])), None);
        assert_eq!(assigned(&Bytes::from_static(&[0xff, 0xff, 0, 0])), None);
        assert_eq!(
            member(Assignor::Range, &"m".into(), None, &Bytes::from_static(&[0, 0, 0, 0, 0, 9])),
            None
        );
    }
}
