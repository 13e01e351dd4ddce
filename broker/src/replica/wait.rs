//! Those who wait for a partition's high watermark.

use super::Told;
use crate::effects::Owner;
use base::EndOffset;
use std::collections::{BTreeMap, BTreeSet};

/// Names something that waits: an owner's ticket, and which part of it this partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Waiter {
    pub(crate) owner: Owner,
    pub(crate) ticket: u64,
    pub(crate) part: u32,
}

/// All who wait for one partition. Bounded by the requests in flight and the readers that there are.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// For everything before an offset to be safe.
    safe: BTreeSet<(EndOffset, Waiter)>,
    /// For all in-sync replicas to begin at an offset.
    starts: BTreeSet<(EndOffset, Waiter)>,
    /// For anything new to read; the value is the bytes that were safe when they last looked. Each is told once
    /// and then no more until it asks again: whoever does not look costs one mail and not one per append.
    readers: BTreeMap<Waiter, u64>,
    /// Followers that have all there is, by the bytes that there were: told in the same way of what is appended, and of
    /// what becomes safe.
    followers: BTreeMap<Waiter, u64>,
}

impl Waiters {
    pub(super) fn until(&mut self, end: EndOffset, waiter: Waiter) {
        self.safe.insert((end, waiter));
    }

    pub(super) fn until_begun(&mut self, start: EndOffset, waiter: Waiter) {
        self.starts.insert((start, waiter));
    }

    pub(super) fn has_trims(&self) -> bool {
        !self.starts.is_empty()
    }

    /// All in-sync replicas begin at an offset.
    pub(super) fn begun(&mut self, start: EndOffset) -> Vec<(Waiter, Told)> {
        let mut told = Vec::new();
        while let Some((wanted, waiter)) = self.starts.first().copied()
            && wanted <= start
        {
            self.starts.pop_first();
            told.push((waiter, Told::Safe));
        }
        told
    }

    pub(super) fn watch(&mut self, waiter: Waiter, safe_bytes: u64) {
        self.readers.insert(waiter, safe_bytes);
    }

    pub(super) fn watch_end(&mut self, follower: Waiter, bytes: u64) {
        self.followers.insert(follower, bytes);
    }

    pub(super) fn unwatch(&mut self, waiter: Waiter) {
        self.readers.remove(&waiter);
        self.followers.remove(&waiter);
    }

    /// Something was appended.
    pub(super) fn wake_followers(&mut self, bytes: u64) -> Vec<(Waiter, Told)> {
        let news =
            |(waiter, seen): (Waiter, u64)| (waiter, Told::Readable(bytes.saturating_sub(seen).max(1)));
        core::mem::take(&mut self.followers).into_iter().map(news).collect()
    }

    /// The high watermark has moved.
    pub(super) fn wake(
        &mut self,
        high_watermark: EndOffset,
        safe_bytes: u64,
        bytes: u64,
    ) -> Vec<(Waiter, Told)> {
        let mut told = Vec::new();
        while let Some((end, waiter)) = self.safe.first().copied()
            && end <= high_watermark
        {
            self.safe.pop_first();
            told.push((waiter, Told::Safe));
        }
        let readers = core::mem::take(&mut self.readers);
        // Whoever waits for anything at all is told even if bytes were not counted.
        let news =
            |(waiter, seen): (Waiter, u64)| (waiter, Told::Readable(safe_bytes.saturating_sub(seen).max(1)));
        told.extend(readers.into_iter().map(news));
        told.extend(self.wake_followers(bytes));
        told
    }

    /// Something that readers are told along with records has changed: no reason to answer, but to look again.
    pub(super) fn nudge(&mut self) -> Vec<(Waiter, Told)> {
        let readers = core::mem::take(&mut self.readers).into_keys();
        // Followers are to do the same.
        let followers = core::mem::take(&mut self.followers).into_keys();
        let followers = followers.map(|waiter| (waiter, Told::Readable(1)));
        readers.map(|waiter| (waiter, Told::Readable(0))).chain(followers).collect()
    }

    /// The partition is gone, or somebody else's: whoever waits here waits in vain.
    pub(super) fn all_gone(&mut self) -> Vec<(Waiter, Told)> {
        let starts = core::mem::take(&mut self.starts);
        let safe = core::mem::take(&mut self.safe).into_iter().chain(starts);
        let safe = safe.map(|(_, waiter)| (waiter, Told::Gone));
        let readers = core::mem::take(&mut self.readers).into_keys();
        let readers = readers.chain(core::mem::take(&mut self.followers).into_keys());
        safe.chain(readers.map(|waiter| (waiter, Told::Readable(u64::MAX)))).collect()
    }
}
