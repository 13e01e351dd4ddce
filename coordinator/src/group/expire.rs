//! Committed offsets that nobody will ask for again, and groups that have nothing left.
//!
//! The rule is KIP-211's: offsets of a group expire after it has been empty for `offsets.retention.minutes`;
//! in a stable consumer group those expire that no member subscribes to; standalone commits expire by their
//! own age; and a commit that chose its own expiry (versions up to 4) is held to it. A group in the middle of
//! a rebalance or of a transaction loses nothing, and neither does an offset whose age is not known (D2).
//!
//! Wall-clock time decides, so the shell does not ask while that clock is in doubt.

use super::admin::state_of;
use super::event::Event;
use super::hard::{Hard, HardGroup};
use super::ids::{GroupId, TopicName};
use super::live::LiveGroup;
use super::offsets::{is_read, tombstone};
use super::record::{CommittedOffset, Record};
use super::reply::GroupState;
use super::soft::Soft;
use super::turn::Outcome;
use base::{Now, Span, Timestamp, hit, planted};

/// From when on the age of a group's offsets counts.
#[derive(Clone, Copy)]
enum Since {
    /// From each commit.
    Commit,
    /// From when the group became empty, or from the commit if the log does not say when that was.
    Empty(Option<Timestamp>),
}

/// Appends tombstones for what has expired, as many as one decision may append. True if the pass is to be
/// continued. The records may be appended in several batches.
pub(super) fn expire(hard: &Hard, soft: &mut Soft, now: Now, out: &mut Outcome) -> bool {
    let first = soft.expire_from.take().unwrap_or_else(|| GroupId::from(""));
    let mut room = soft.config().append_bytes_max;
    for (id, group) in hard.groups_from(&first) {
        let before = out.records.len();
        let is_done = expire_group(soft, (id, group), now, &mut room, out);
        let offsets = out.records[before..].iter().filter(|record| record.is_offset()).count();
        if out.records.len() > before {
            soft.events.push(Event::Expired { group: id.clone(), offsets });
        }
        if !is_done && !out.records.is_empty() {
            hit!(expiry_continued);
            soft.expire_from = Some(id.clone());
            return true;
        }
    }
    false
}

/// False if there was no room for a tombstone.
fn expire_group(
    soft: &Soft,
    (id, group): (&GroupId, &HardGroup),
    now: Now,
    room: &mut usize,
    out: &mut Outcome,
) -> bool {
    let Some(is_bare) = expire_offsets(soft, (id, group), now, room, out) else { return false };
    if !is_bare || !may_remove(soft, id) {
        return true;
    }
    hit!(empty_group_removed);
    let record = Record::GroupMetadata { group: id.clone(), metadata: None };
    let has_room = take_room(room, &record);
    if has_room {
        out.record(record);
    }
    has_room
}

/// An id that was given out keeps its group alive until it is used or expires.
fn may_remove(soft: &Soft, id: &GroupId) -> bool {
    state_of(soft, id) == GroupState::Empty && soft.live(id).is_none()
}

/// True if no offset of the group is left; none if there was no room for a tombstone.
fn expire_offsets(
    soft: &Soft,
    (id, group): (&GroupId, &HardGroup),
    now: Now,
    room: &mut usize,
    out: &mut Outcome,
) -> Option<bool> {
    let live = soft.live(id);
    let since = expires_since(group, live);
    let retention = soft.config().offsets_retention;
    let mut is_bare = group.staged.is_empty();
    for (topic, partitions) in group.offsets() {
        let is_kept = !may_expire(live, topic);
        for (partition, committed) in partitions {
            let is_staged = group.is_staged(topic, *partition);
            let is_expired = !is_staged
                && !is_kept
                && since.is_some_and(|since| has_expired(committed, since, now.wall, retention));
            if !is_expired {
                is_bare = false;
                continue;
            }
            let record = tombstone(id, topic, *partition);
            if !take_room(room, &record) {
                return None;
            }
            out.record(record);
        }
    }
    Some(is_bare)
}

fn take_room(room: &mut usize, record: &Record) -> bool {
    let left = room.checked_sub(record.size_bound());
    *room = left.unwrap_or(0);
    left.is_some()
}

fn may_expire(live: Option<&LiveGroup>, topic: &TopicName) -> bool {
    planted!(D2) || !is_read(live, topic)
}

fn expires_since(group: &HardGroup, live: Option<&LiveGroup>) -> Option<Since> {
    let saved = group.metadata.as_ref();
    let state = live.map_or(GroupState::Empty, LiveGroup::state);
    let is_typed = match live {
        Some(live) => live.protocol_type.is_some(),
        None => saved.is_some_and(|metadata| metadata.protocol_type.is_some()),
    };
    let is_readable = live.is_some_and(|live| live.is_consumer() && live.subscribed.is_some());
    if planted!(D2) {
        return Some(Since::Commit);
    }
    match state {
        GroupState::Empty if is_typed => {
            Some(Since::Empty(saved.and_then(|metadata| metadata.state_timestamp)))
        }
        GroupState::Empty => Some(Since::Commit),
        GroupState::Stable if is_readable => Some(Since::Commit),
        GroupState::Stable
        | GroupState::PreparingRebalance
        | GroupState::CompletingRebalance
        | GroupState::Dead => None,
    }
}

fn has_expired(committed: &CommittedOffset, since: Since, now: Timestamp, retention: Span) -> bool {
    if let Some(at) = committed.expire_timestamp {
        return now >= at;
    }
    let from = match since {
        Since::Empty(Some(at)) => at,
        Since::Empty(None) | Since::Commit => committed.commit_timestamp,
    };
    from.0 >= 0 && now >= from.plus(retention)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::ids::Label;
    use base::{EndOffset, TopicId};

    fn committed_at(millis: i64) -> CommittedOffset {
        CommittedOffset {
            offset: EndOffset(1),
            leader_epoch: None,
            metadata: Label::from(""),
            commit_timestamp: Timestamp(millis),
            expire_timestamp: None,
            topic_id: TopicId::ZERO,
        }
    }

    /// Old logs hold commits and groups without a time.
    #[test]
    fn what_has_no_age_does_not_expire() {
        let (now, retention) = (Timestamp(10_000), Span::from_millis(1_000));
        let unknown = committed_at(-1);
        for since in [Since::Commit, Since::Empty(None), Since::Empty(Some(Timestamp::NONE))] {
            assert!(!has_expired(&unknown, since, now, retention));
        }
        assert!(has_expired(&unknown, Since::Empty(Some(Timestamp(9_000))), now, retention));
        assert!(has_expired(&committed_at(9_000), Since::Empty(None), now, retention));
        assert!(!has_expired(&committed_at(9_001), Since::Empty(None), now, retention));
    }
}
