//! Fetch sessions (KIP-227): the broker remembers what is fetched, and only changes are said.

use super::TopicPartition;
use base::{EndOffset, Uuid};
use std::collections::BTreeMap;
use wire::fetch::{FetchPartition, FetchTopic, ForgottenTopic};

/// What one broker remembers of us.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Zero before the broker has given one, or where it gives none.
    id: i32,
    /// Zero for a full request; then counted up.
    epoch: i32,
    known: BTreeMap<TopicPartition, Asked>,
    /// A request is under way.
    pub(super) busy: bool,
}

/// What is asked of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) topic_id: Uuid,
    pub(super) offset: EndOffset,
    pub(super) leader_epoch: i32,
    pub(super) last_epoch: i32,
    pub(super) bytes_max: i32,
}

/// The part of a request that depends on the session.
pub(super) struct Said {
    pub(super) session_id: i32,
    pub(super) session_epoch: i32,
    pub(super) topics: Vec<FetchTopic>,
    pub(super) forgotten: Vec<ForgottenTopic>,
}

impl Session {
    /// What to say so that the broker fetches exactly `wanted`.
    pub(super) fn say(&mut self, wanted: BTreeMap<TopicPartition, Asked>) -> Said {
        let full = self.epoch == 0;
        let changed =
            wanted.iter().filter(|(partition, asked)| full || self.known.get(*partition) != Some(*asked));
        let topics = grouped(changed);
        // A partition whose topic was created anew is both forgotten and asked for.
        let gone = self.known.iter().filter(|(partition, asked)| {
            wanted.get(*partition).is_none_or(|new| new.topic_id != asked.topic_id)
        });
        let forgotten = if full { Vec::new() } else { forget(gone) };
        self.known = wanted;
        self.busy = true;
        Said { session_id: self.id, session_epoch: self.epoch, topics, forgotten }
    }

    /// The broker answered within the session `id`.
    pub(super) const fn answered(&mut self, id: i32) {
        self.busy = false;
        if id == 0 {
            // The broker has no room for a session: every request is full.
            self.id = 0;
            self.epoch = 0;
        } else {
            self.id = id;
            self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
        }
    }

    /// The session is lost, or nobody knows: begin a new one in its place.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

fn grouped<'a>(partitions: impl Iterator<Item = (&'a TopicPartition, &'a Asked)>) -> Vec<FetchTopic> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (partition, asked) in partitions {
        let wanted = FetchPartition {
            partition: partition.partition,
            current_leader_epoch: asked.leader_epoch,
            fetch_offset: asked.offset.0,
            last_fetched_epoch: -1,
            partition_max_bytes: asked.bytes_max,
            ..FetchPartition::default()
        };
        match topics.last_mut().filter(|topic| topic.topic == partition.topic) {
            Some(topic) => topic.partitions.push(wanted),
            None => topics.push(FetchTopic {
                topic: partition.topic.clone(),
                topic_id: asked.topic_id,
                partitions: vec![wanted],
                ..FetchTopic::default()
            }),
        }
    }
    topics
}

fn forget<'a>(partitions: impl Iterator<Item = (&'a TopicPartition, &'a Asked)>) -> Vec<ForgottenTopic> {
    let mut topics: Vec<ForgottenTopic> = Vec::new();
    for (partition, asked) in partitions {
        match topics.last_mut().filter(|topic| topic.topic == partition.topic) {
            Some(topic) => topic.partitions.push(partition.partition),
            None => topics.push(ForgottenTopic {
                topic: partition.topic.clone(),
                topic_id: asked.topic_id,
                partitions: vec![partition.partition],
                ..ForgottenTopic::default()
            }),
        }
    }
    topics
}
