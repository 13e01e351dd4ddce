//! OffsetCommit, OffsetFetch, OffsetDelete, and topics that are gone.

use super::command::{
    CommitOffsets, CommitPartition, CommitTopic, DeleteOffsets, DeletedTopic, FetchOffsets, FetchTopic,
};
use super::error::{CommitError, DeleteOffsetsError};
use super::hard::{Hard, HardGroup, PartitionOffsets};
use super::ids::{GroupId, TopicName};
use super::live::{LiveGroup, Phase};
use super::record::{CommittedOffset, OffsetKey, Producer, Record};
use super::reply::{FetchedOffset, FetchedTopic, GroupState, TopicOutcome};
use super::soft::Soft;
use super::turn::{Outcome, Turn};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use base::{Now, PartitionIndex, Timestamp, TopicId, hit};

// --- commit ---

/// What is to be committed, at once or with a transaction.
#[derive(Clone, Copy)]
pub(super) struct Commit<'a> {
    pub(super) request: &'a CommitOffsets,
    /// Whose transaction decides, if one does.
    pub(super) producer: Option<Producer>,
}

/// Answers every partition; keeps those that may be kept.
pub(super) fn commit(
    hard: &Hard,
    soft: &mut Soft,
    now: Now,
    commit: Commit<'_>,
    out: &mut Outcome,
) -> Vec<TopicOutcome<CommitError>> {
    let request = commit.request;
    let checked = check_commit(hard, soft, now, commit, out);
    let metadata_max = soft.config().offset_metadata_max;
    let mut verdicts = outcomes(&request.topics, |partition| {
        checked.err().or_else(|| {
            let length = partition.metadata.as_str().encode_utf16().count();
            (length > metadata_max).then_some(CommitError::OffsetMetadataTooLarge)
        })
    });
    let records = commit_records(commit, now.wall, &verdicts);
    if records.iter().map(Record::size_bound).sum::<usize>() > soft.config().append_bytes_max {
        hit!(commit_too_large);
        verdicts = outcomes(&request.topics, |_| Some(CommitError::InvalidCommitOffsetSize));
    } else {
        out.records.extend(records);
    }
    verdicts
}

fn outcomes(
    topics: &[CommitTopic],
    verdict: impl Fn(&CommitPartition) -> Option<CommitError>,
) -> Vec<TopicOutcome<CommitError>> {
    let outcome = |topic: &CommitTopic| TopicOutcome {
        name: topic.name.clone(),
        id: topic.id,
        partitions: topic.partitions.iter().map(|entry| (entry.partition, verdict(entry))).collect(),
    };
    topics.iter().map(outcome).collect()
}

fn commit_records(commit: Commit<'_>, now: Timestamp, verdicts: &[TopicOutcome<CommitError>]) -> Vec<Record> {
    let mut records = Vec::new();
    for (topic, verdict) in commit.request.topics.iter().zip(verdicts) {
        for (entry, (_, error)) in topic.partitions.iter().zip(&verdict.partitions) {
            if error.is_none() {
                records.push(commit_record(commit, topic, entry, now));
            }
        }
    }
    records
}

fn commit_record(
    Commit { request, producer }: Commit<'_>,
    topic: &CommitTopic,
    entry: &CommitPartition,
    now: Timestamp,
) -> Record {
    let key =
        OffsetKey { group: request.group.clone(), topic: topic.name.clone(), partition: entry.partition };
    let expire_timestamp = request.retention.map(|retention| now.plus(retention));
    // The one stored format with an expiry has neither epoch nor topic id; clients that old send none.
    let is_modern = expire_timestamp.is_none();
    let value = CommittedOffset {
        offset: entry.offset,
        leader_epoch: entry.leader_epoch.filter(|_| is_modern),
        metadata: entry.metadata.clone(),
        commit_timestamp: now,
        expire_timestamp,
        topic_id: if is_modern { topic.id } else { TopicId::ZERO },
    };
    match producer {
        Some(producer) => Record::StagedOffset { producer, key, value },
        None => Record::OffsetCommit { key, value: Some(value) },
    }
}

/// May this sender commit for this group now? A commit is also a sign of life.
fn check_commit(
    hard: &Hard,
    soft: &mut Soft,
    now: Now,
    commit: Commit<'_>,
    out: &mut Outcome,
) -> Result<(), CommitError> {
    let request = commit.request;
    if hard.group(&request.group).is_none() {
        // A consumer that manages its partitions itself brings its group into being.
        return if request.generation.is_some() { Err(CommitError::GroupIdNotFound) } else { Ok(()) };
    }
    if soft.live(&request.group).is_some() {
        return soft.with(hard, &request.group, now, out, |turn| turn.check_commit(commit));
    }
    if request.generation.is_some() { Err(CommitError::UnknownMemberId) } else { Ok(()) }
}

impl Turn<'_> {
    fn check_commit(&mut self, Commit { request, producer }: Commit<'_>) -> Result<(), CommitError> {
        let is_empty = matches!(self.live.phase, Phase::Empty);
        let is_nobody = request.member.is_none() && request.instance.is_none();
        // A producer may leave out whom it acts for, as all did before KIP-447.
        let is_waived = is_empty || (producer.is_some() && is_nobody);
        if is_waived && !request.generation.is_some() {
            return Ok(());
        }
        self.live.roster.check(request.member.as_ref(), request.instance.as_ref())?;
        if request.generation != self.live.generation {
            return Err(CommitError::IllegalGeneration);
        }
        if producer.is_some() {
            return Ok(());
        }
        if matches!(self.live.phase, Phase::CompletingRebalance { .. }) {
            return Err(CommitError::RebalanceInProgress);
        }
        if let Some(member) = &request.member {
            self.live.renew_session(member, self.now.mono);
        }
        Ok(())
    }
}

// --- fetch ---

/// The group's committed offsets: those asked for, or all.
pub(super) fn fetch(hard: &Hard, request: FetchOffsets) -> Vec<FetchedTopic> {
    let group = hard.group(&request.group);
    let is_stable = request.is_stable_required;
    match request.topics {
        Some(topics) => topics.into_iter().map(|topic| fetch_topic(group, topic, is_stable)).collect(),
        None => group.map(|group| fetch_all(group, is_stable)).unwrap_or_default(),
    }
}

fn fetch_topic(group: Option<&HardGroup>, topic: FetchTopic, is_stable: bool) -> FetchedTopic {
    let fetched = |partition| {
        if is_stable && group.is_some_and(|group| group.is_staged(&topic.name, partition)) {
            return FetchedOffset::Unstable;
        }
        let committed = group.and_then(|group| group.offset(&topic.name, partition));
        let is_other = |id: TopicId| id != TopicId::ZERO && topic.id != TopicId::ZERO && id != topic.id;
        // A topic that was created anew under the old name does not inherit.
        match committed {
            Some(committed) if !is_other(committed.topic_id) => FetchedOffset::Committed(committed.clone()),
            Some(_) | None => FetchedOffset::None,
        }
    };
    let partitions = topic.partitions.iter().map(|partition| (*partition, fetched(*partition))).collect();
    FetchedTopic { name: topic.name, id: topic.id, partitions }
}

fn fetch_all(group: &HardGroup, is_stable: bool) -> Vec<FetchedTopic> {
    let fetched = |topic: &TopicName, partition, committed: &CommittedOffset| {
        let is_unstable = is_stable && group.is_staged(topic, partition);
        if is_unstable { FetchedOffset::Unstable } else { FetchedOffset::Committed(committed.clone()) }
    };
    let topic = |(name, partitions): (&TopicName, &PartitionOffsets)| FetchedTopic {
        name: name.clone(),
        id: TopicId::ZERO,
        partitions: partitions
            .iter()
            .map(|(partition, committed)| (*partition, fetched(name, *partition, committed)))
            .collect(),
    };
    group.offsets().iter().map(topic).collect()
}

// --- delete ---

/// Forgets offsets of topics that no member reads.
pub(super) fn delete(
    hard: &Hard,
    soft: &Soft,
    request: &DeleteOffsets,
    out: &mut Outcome,
) -> Result<Vec<TopicOutcome<DeleteOffsetsError>>, DeleteOffsetsError> {
    if request.group.as_str().is_empty() {
        return Err(DeleteOffsetsError::InvalidGroupId);
    }
    let group = hard.group(&request.group).ok_or(DeleteOffsetsError::GroupIdNotFound)?;
    let live = soft.live(&request.group);
    if live.is_some_and(|live| live.state() != GroupState::Empty && !live.is_consumer()) {
        return Err(DeleteOffsetsError::NonEmptyGroup);
    }
    let mut outcomes = Vec::with_capacity(request.topics.len());
    for (name, partitions) in &request.topics {
        let error = is_read(live, name).then_some(DeleteOffsetsError::GroupSubscribedToTopic);
        if error.is_none() {
            out.records.extend(tombstones(&request.group, group, name, partitions));
        }
        let partitions = partitions.iter().map(|partition| (*partition, error)).collect();
        outcomes.push(TopicOutcome { name: name.clone(), id: TopicId::ZERO, partitions });
    }
    Ok(outcomes)
}

/// A group without members reads nothing.
pub(super) fn is_read(live: Option<&LiveGroup>, topic: &TopicName) -> bool {
    live.is_some_and(|live| live.is_subscribed_to(topic))
}

fn tombstones(
    id: &GroupId,
    group: &HardGroup,
    topic: &TopicName,
    partitions: &[PartitionIndex],
) -> Vec<Record> {
    let known = partitions.iter().filter(|partition| {
        group.offset(topic, **partition).is_some() || group.is_staged(topic, **partition)
    });
    known.map(|partition| tombstone(id, topic, *partition)).collect()
}

pub(super) fn tombstone(group: &GroupId, topic: &TopicName, partition: PartitionIndex) -> Record {
    Record::OffsetCommit {
        key: OffsetKey { group: group.clone(), topic: topic.clone(), partition },
        value: None,
    }
}

impl HardGroup {
    /// What makes all offsets of the group forgotten, those of open transactions too.
    pub(super) fn offset_tombstones(&self, id: &GroupId) -> Vec<Record> {
        let committed = self.offsets().iter();
        let committed =
            committed.flat_map(|(topic, partitions)| partitions.keys().map(move |at| (topic, *at)));
        let staged = self.staged.iter().map(|(topic, partition, _)| (topic, partition));
        let only_staged = staged.filter(|(topic, partition)| self.offset(topic, *partition).is_none());
        committed.chain(only_staged).map(|(topic, partition)| tombstone(id, topic, partition)).collect()
    }
}

/// Forgets all offsets of topics that are gone. The records may be appended in several batches.
pub(super) fn topics_deleted(hard: &Hard, topics: &[DeletedTopic], out: &mut Outcome) {
    for (id, group) in hard.groups() {
        for topic in topics {
            let gone = offsets_of(group, topic);
            out.records.extend(gone.into_iter().map(|partition| tombstone(id, &topic.name, partition)));
        }
    }
}

/// The partitions of a topic that is gone, as far as the group has offsets for it and not for a younger topic
/// of the same name.
fn offsets_of(group: &HardGroup, topic: &DeletedTopic) -> BTreeSet<PartitionIndex> {
    let is_same = |offset: &CommittedOffset| offset.topic_id == TopicId::ZERO || offset.topic_id == topic.id;
    let committed = group.offsets().get(&topic.name).into_iter().flatten();
    let committed = committed.filter(|(_, offset)| is_same(offset)).map(|(partition, _)| *partition);
    let staged =
        group.staged.iter().filter(|(name, _, offset)| **name == topic.name && offset.is_some_and(is_same));
    committed.chain(staged.map(|(_, partition, _)| partition)).collect()
}
