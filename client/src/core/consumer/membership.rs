//! The consumer as a member: news of the group become partitions, positions become commits.

use super::group::{Membership, News};
use super::{Call, ConsumeError, Consumer, ConsumerEvent, Position, TopicPartition};
use crate::core::cluster::{Answer, Target};
use crate::core::error::{CallError, code_of};
use base::{EndOffset, Instant, Now};
use wire::offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use wire::{ErrorCode, Str};

/// The consumer's side of its group.
pub(super) struct Group {
    pub(super) membership: Membership,
    /// What the user still has to let go of.
    revoking: Option<Vec<TopicPartition>>,
    /// Offsets to be committed once the coordinator is known.
    commit: Option<Vec<(TopicPartition, EndOffset)>>,
    /// What was committed last.
    committed: Vec<(TopicPartition, EndOffset)>,
    commit_at: Instant,
    /// The user has dealt with everything that was handed out.
    pub(super) processed: bool,
    leaving: bool,
}

impl Group {
    pub(super) const fn new(membership: Membership) -> Self {
        Self {
            membership,
            revoking: None,
            commit: None,
            committed: Vec::new(),
            commit_at: Instant::ZERO,
            processed: true,
            leaving: false,
        }
    }
}

impl Consumer {
    /// Joins the group of the settings and reads what it assigns. Without a group in the settings nothing
    /// happens.
    pub fn subscribe(&mut self, now: Now, topics: &[Str]) {
        topics.iter().for_each(|topic| self.cluster.watch(topic));
        if let Some(group) = &mut self.group {
            group.leaving = false;
            group.membership.subscribe(now, topics);
        }
        self.advance(now);
    }

    /// Says that everything handed out so far, records and events, has been dealt with: it may be committed, and
    /// revoked partitions may go to others. [`Consumer::poll_records`] says the same.
    pub fn proceed(&mut self, now: Now) {
        let has_events = !self.events.is_empty();
        if let Some(group) = &mut self.group {
            group.processed = true;
            if let Some(partitions) = group.revoking.take_if(|_| !has_events) {
                self.let_go(now, &partitions);
            }
        }
        self.advance(now);
    }

    fn let_go(&mut self, now: Now, partitions: &[TopicPartition]) {
        self.auto_commit(now, true);
        partitions.iter().for_each(|partition| drop(self.partitions.remove(partition)));
        // The commit is before the join on the coordinator's connection, so it arrives before.
        if let Some(group) = &mut self.group {
            group.membership.let_go(now, partitions);
        }
    }

    /// Commits offsets: those given, or the positions. The outcome is an event.
    pub fn commit(&mut self, now: Now, offsets: Option<Vec<(TopicPartition, EndOffset)>>) {
        let offsets = offsets.unwrap_or_else(|| self.positions());
        if let Some(group) = &mut self.group {
            group.commit = Some(offsets);
        }
        self.advance(now);
    }

    /// Leaves the group, after committing if that is automatic; [`Consumer::has_left`] says when it is done.
    pub fn leave(&mut self, now: Now) {
        self.auto_commit(now, true);
        if let Some(group) = &mut self.group {
            group.leaving = true;
            group.membership.leave(now, &mut self.cluster);
        }
        self.partitions.clear();
        self.advance(now);
    }

    /// Whether the consumer is in no group and no commit is under way.
    #[must_use]
    pub fn has_left(&self) -> bool {
        let committing = self.calls.values().any(|call| matches!(call, Call::Commit { .. }));
        self.group.as_ref().is_none_or(|group| group.membership.is_out()) && !committing
    }

    fn positions(&self) -> Vec<(TopicPartition, EndOffset)> {
        let known = self.partitions.iter().filter_map(|(p, state)| Some((p.clone(), state.offset()?)));
        known.collect()
    }

    pub(super) fn advance_group(&mut self, now: Now) {
        let needed = self.needs_coordinator();
        let Some(group) = &mut self.group else { return };
        group.membership.advance(now, &mut self.cluster, needed);
        while let Some(news) = self.group.as_mut().and_then(|group| group.membership.poll_news()) {
            self.take_news(news);
        }
        self.auto_commit(now, false);
        self.send_commit(now);
        self.fetch_committed(now);
        let needed = self.needs_coordinator();
        let at = self.group.as_ref().and_then(|group| group.membership.wake_at(needed));
        if let Some(at) = at {
            self.wake(at);
        }
    }

    fn needs_coordinator(&self) -> bool {
        let commit = self.group.as_ref().is_some_and(|group| group.commit.is_some());
        commit || self.partitions.values().any(|state| matches!(state.position, Position::Committed))
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Assign(partitions) => {
                partitions.iter().for_each(|partition| self.add(partition.clone(), Position::Committed));
                self.events.push_back(ConsumerEvent::Assigned(partitions));
            }
            News::Revoke(partitions) => {
                for partition in &partitions {
                    if let Some(state) = self.partitions.get_mut(partition) {
                        // What was not handed out stays for the next owner.
                        state.unread = None;
                        state.paused = true;
                    }
                }
                if let Some(group) = &mut self.group {
                    group.revoking = Some(partitions.clone());
                }
                self.events.push_back(ConsumerEvent::Revoked(partitions));
            }
            News::Lost(partitions) => {
                partitions.iter().for_each(|partition| drop(self.partitions.remove(partition)));
                if let Some(group) = &mut self.group {
                    group.revoking = None;
                    group.commit = None;
                }
                self.events.push_back(ConsumerEvent::Lost(partitions));
            }
            News::Refused(code) => self.events.push_back(ConsumerEvent::Refused(code)),
        }
    }

    /// Commits the positions if that is automatic, something changed, and it is time or `at_once`.
    fn auto_commit(&mut self, now: Now, at_once: bool) {
        let positions = self.positions();
        let Some(group) = &mut self.group else { return };
        let Some(interval) = group.membership.settings().auto_commit else { return };
        let due = at_once || (now.mono >= group.commit_at && group.processed);
        if !due || group.commit.is_some() {
            return;
        }
        group.commit_at = now.mono + interval;
        if positions != group.committed && !positions.is_empty() {
            group.commit = Some(positions);
            if at_once {
                self.send_commit(now);
            }
        }
        let at = self.group.as_ref().map_or(now.mono, |group| group.commit_at);
        self.wake(at);
    }

    fn send_commit(&mut self, now: Now) {
        let Some(group) = &mut self.group else { return };
        let Some(coordinator) = group.membership.coordinator() else { return };
        let Some(offsets) = group.commit.take() else { return };
        let (member_id, generation, instance_id) = group.membership.identity();
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for (TopicPartition { topic, partition }, offset) in &offsets {
            let committed = OffsetCommitRequestPartition {
                partition_index: *partition,
                committed_offset: offset.0,
                committed_metadata: Some(Str::EMPTY),
                ..OffsetCommitRequestPartition::default()
            };
            match topics.last_mut().filter(|last| last.name == *topic) {
                Some(last) => last.partitions.push(committed),
                None => topics.push(OffsetCommitRequestTopic {
                    name: topic.clone(),
                    partitions: vec![committed],
                    ..OffsetCommitRequestTopic::default()
                }),
            }
        }
        let request = OffsetCommitRequest {
            group_id: Str::from(&group.membership.settings().id),
            generation_id_or_member_epoch: generation,
            member_id,
            group_instance_id: instance_id,
            topics,
            ..OffsetCommitRequest::default()
        };
        let timeout = self.settings.cluster.request_timeout;
        // Version 10 names topics by id (KIP-848).
        let call = self.cluster.call(now, Target::Coordinator(coordinator), 7..=9, request, timeout);
        self.calls.insert(call, Call::Commit { offsets });
    }

    pub(super) fn settle_commit(
        &mut self,
        now: Now,
        offsets: Vec<(TopicPartition, EndOffset)>,
        outcome: Result<Answer, CallError>,
    ) {
        let Some(group) = &mut self.group else { return };
        let code = match outcome.and_then(|answer| answer.decode::<OffsetCommitRequest>()) {
            Err(error) => error.code(),
            Ok(response) => {
                let codes =
                    response.topics.iter().flat_map(|topic| &topic.partitions).map(|p| code_of(p.error_code));
                codes.max_by_key(|code| *code != ErrorCode::None).unwrap_or_default()
            }
        };
        if code == ErrorCode::None {
            group.committed.clone_from(&offsets);
        } else if !group.leaving && !group.membership.is_out() {
            group.membership.settle_refusal(now, code, &mut self.cluster);
        }
        let outcome = if code == ErrorCode::None { Ok(()) } else { Err(code) };
        self.events.push_back(ConsumerEvent::Committed { offsets, outcome });
    }

    /// Asks the coordinator where the group goes on.
    fn fetch_committed(&mut self, now: Now) {
        let Some(group) = &self.group else { return };
        let Some(coordinator) = group.membership.coordinator() else { return };
        let mut topics: Vec<OffsetFetchRequestTopic> = Vec::new();
        let mut asked = Vec::new();
        let mut wakes = Vec::new();
        for (partition, state) in &mut self.partitions {
            if !matches!(state.position, Position::Committed) {
                continue;
            }
            if now.mono < state.not_before {
                wakes.push(state.not_before);
                continue;
            }
            state.position = Position::CommittedAsked;
            asked.push((partition.clone(), state.generation));
            match topics.last_mut().filter(|last| last.name == partition.topic) {
                Some(last) => last.partition_indexes.push(partition.partition),
                None => topics.push(OffsetFetchRequestTopic {
                    name: partition.topic.clone(),
                    partition_indexes: vec![partition.partition],
                    ..OffsetFetchRequestTopic::default()
                }),
            }
        }
        if !asked.is_empty() {
            let group_id = Str::from(&group.membership.settings().id);
            let request =
                OffsetFetchRequest { group_id, topics: Some(topics), ..OffsetFetchRequest::default() };
            let timeout = self.settings.cluster.request_timeout;
            let call = self.cluster.call(now, Target::Coordinator(coordinator), 2..=7, request, timeout);
            self.calls.insert(call, Call::Committed { partitions: asked });
        }
        wakes.into_iter().for_each(|at| self.wake(at));
    }

    pub(super) fn settle_committed(
        &mut self,
        now: Now,
        asked: &[(TopicPartition, u64)],
        outcome: Result<Answer, CallError>,
    ) {
        let response = outcome.and_then(|answer| answer.decode::<OffsetFetchRequest>());
        let all = match &response {
            Err(error) => error.code(),
            Ok(response) => code_of(response.error_code),
        };
        if all != ErrorCode::None
            && let Some(group) = &mut self.group
        {
            group.membership.settle_refusal(now, all, &mut self.cluster);
        }
        for (partition, generation) in asked {
            let current = self.partitions.get_mut(partition).filter(|state| state.generation == *generation);
            let Some(state) = current else { continue };
            state.position = Position::Committed;
            let answers =
                response.iter().flat_map(|r| &r.topics).filter(|topic| topic.name == partition.topic);
            let mut answers = answers.flat_map(|topic| &topic.partitions);
            let answer = answers.find(|answer| answer.partition_index == partition.partition);
            let code = answer.map_or(ErrorCode::UnknownServerError, |answer| code_of(answer.error_code));
            let code = if all == ErrorCode::None { code } else { all };
            match answer.filter(|_| code == ErrorCode::None) {
                None => self.fail(now, partition, ConsumeError::Refused(code)),
                Some(answer) => self.go_on_at(now, partition, answer.committed_offset),
            }
        }
    }

    /// −1 means that the group has committed nothing there.
    fn go_on_at(&mut self, now: Now, partition: &TopicPartition, offset: i64) {
        let reset = self.settings.offset_reset.seek();
        let Some(state) = self.partitions.get_mut(partition) else { return };
        match (offset >= 0, reset) {
            (true, _) => state.position = Position::At(EndOffset(offset)),
            (false, Some(seek)) => state.position = Position::Wanted(seek),
            (false, None) => {
                self.fail(now, partition, ConsumeError::OutOfRange { offset: EndOffset(offset) });
            }
        }
    }
}
