//! What may vanish at any instant: live groups, parked askers, deadlines.

use super::config::GroupConfig;
use super::event::Event;
use super::hard::Hard;
use super::ids::GroupId;
use super::live::LiveGroup;
use super::reply::GroupState;
use super::turn::{Outcome, Turn};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::{Instant, Now, Span, hit, planted};

/// The part of a shard that the log does not hold. A fresh one loads itself from the log on first use, which
/// gives every member a whole session to show up.
#[derive(Debug, Default)]
pub struct Soft {
    config: GroupConfig,
    is_loaded: bool,
    /// Every group with members, and those with ids given out. Invariant: each exists in the log.
    groups: BTreeMap<GroupId, LiveGroup>,
    /// One entry per live group that has a deadline: no deadline of it is earlier.
    alarms: BTreeSet<(Instant, GroupId)>,
    /// Where a pass of expiry goes on that one decision could not finish.
    pub(super) expire_from: Option<GroupId>,
    /// Of the last decision only.
    pub(super) events: Vec<Event>,
}

impl Soft {
    /// A fresh one under the operator's settings.
    #[must_use]
    pub fn new(config: GroupConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &GroupConfig {
        &self.config
    }

    /// Puts other settings in force. Running deadlines stay as they are.
    pub fn set_config(&mut self, config: GroupConfig) {
        self.config = config;
    }

    /// What the last decision brought about, for the log and the counters of the shell.
    pub fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events)
    }

    /// The state of a group that the log knows, and how many members it has.
    #[must_use]
    pub fn standing(&self, group: &GroupId) -> (GroupState, usize) {
        let live = self.live(group);
        live.map_or((GroupState::Empty, 0), |live| (live.state(), live.roster.len()))
    }

    pub(super) fn live(&self, group: &GroupId) -> Option<&LiveGroup> {
        self.groups.get(group)
    }

    /// Loads what the log says, once.
    pub(super) fn load(&mut self, hard: &Hard, now: Now, out: &mut Outcome) {
        if core::mem::replace(&mut self.is_loaded, true) || planted!(D5) {
            return;
        }
        for (id, group) in hard.groups() {
            let has_members = group.metadata.as_ref().is_some_and(|metadata| !metadata.members.is_empty());
            if has_members {
                self.with(hard, id, now, out, |turn| turn.shrink_if_too_large());
            }
        }
    }

    /// Does a step on one group, which is loaded if need be and dropped if the log alone describes it after.
    pub(super) fn with<T>(
        &mut self,
        hard: &Hard,
        id: &GroupId,
        now: Now,
        out: &mut Outcome,
        step: impl FnOnce(&mut Turn<'_>) -> T,
    ) -> T {
        let live = self.groups.entry(id.clone()).or_insert_with(|| load_group(hard, id, now.mono));
        let result = step(&mut Turn { id, live, config: &self.config, now, out, events: &mut self.events });
        self.settle(id);
        result
    }

    /// Brings the alarm of a group in line with its deadlines. An alarm may be early, never late.
    fn settle(&mut self, id: &GroupId) {
        let Some(live) = self.groups.get_mut(id) else { return };
        let is_idle = live.is_idle();
        let due = live.due().filter(|_| !is_idle);
        let alarm = core::mem::replace(&mut live.alarm, due);
        if alarm != due {
            if let Some(at) = alarm {
                self.alarms.remove(&(at, id.clone()));
            }
            if let Some(at) = due {
                self.alarms.insert((at, id.clone()));
            }
        }
        if is_idle {
            self.groups.remove(id);
        }
    }

    /// Acts on all deadlines that have passed.
    pub(super) fn tick(&mut self, hard: &Hard, now: Now, out: &mut Outcome) {
        let later = (now.mono + Span::from_nanos(1), GroupId::from(""));
        let due: Vec<_> = self.alarms.range(..later).map(|(_, id)| id.clone()).collect();
        for id in due {
            self.with(hard, &id, now, out, |turn| turn.tick());
        }
    }

    /// Forgets a group that is deleted.
    pub(super) fn forget(&mut self, id: &GroupId) {
        if let Some(live) = self.groups.remove(id)
            && let Some(at) = live.alarm
        {
            self.alarms.remove(&(at, id.clone()));
        }
    }

    /// Empties itself, telling everybody who waits. What follows would load the log anew.
    pub(super) fn resign(&mut self, out: &mut Outcome) {
        hit!(shard_resigned);
        for live in core::mem::take(&mut self.groups).values_mut() {
            super::admin::dismiss_all(live, out);
        }
        self.alarms.clear();
        self.is_loaded = false;
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.alarms.first().map(|(at, _)| *at)
    }
}

fn load_group(hard: &Hard, id: &GroupId, now: Instant) -> LiveGroup {
    let saved = hard.group(id).and_then(|group| group.metadata.as_ref());
    saved.map(|saved| LiveGroup::load(saved, now)).unwrap_or_default()
}
