//! When metadata is asked for, and for which topics.

use super::ClusterSettings;
use crate::core::CallId;
use crate::core::error::CallError;
use base::Instant;
use std::collections::BTreeSet;
use wire::Str;
use wire::metadata::{MetadataRequest, MetadataRequestTopic};

#[derive(Default)]
pub(super) struct Refresh {
    topics: BTreeSet<Str>,
    all: bool,
    wanted: bool,
    in_flight: Option<CallId>,
    /// The back-off: no request before.
    not_before: Instant,
    /// When what is known is too old; `None` before the first answer.
    stale_at: Option<Instant>,
    failures: u32,
    error: Option<CallError>,
    version: u64,
}

/// What the next request asks for.
pub(super) struct Wanted {
    topics: Option<Vec<Str>>,
}

impl Wanted {
    pub(super) fn build(self, settings: &ClusterSettings) -> MetadataRequest {
        let named = |name: Str| MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() };
        MetadataRequest {
            topics: self.topics.map(|topics| topics.into_iter().map(named).collect()),
            allow_auto_topic_creation: settings.allow_auto_create,
            ..MetadataRequest::default()
        }
    }
}

impl Refresh {
    pub(super) fn watch(&mut self, topic: &Str) {
        if !self.topics.contains(topic) {
            self.topics.insert(topic.detached());
            self.wanted = true;
            // A new topic is no repetition: it need not wait for the back-off of the last answer.
            if self.failures == 0 {
                self.not_before = Instant::ZERO;
            }
        }
    }

    pub(super) fn watch_all(&mut self) {
        self.wanted |= !self.all;
        self.all = true;
    }

    pub(super) fn request(&mut self) {
        self.wanted = true;
    }

    pub(super) fn request_if_watching(&mut self) {
        self.wanted |= self.all || !self.topics.is_empty();
    }

    pub(super) const fn is_all(&self) -> bool {
        self.all
    }

    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    pub(super) const fn error(&self) -> Option<&CallError> {
        self.error.as_ref()
    }

    pub(super) const fn in_flight(&self) -> Option<CallId> {
        self.in_flight
    }

    /// What to ask for now, if anything.
    pub(super) fn due(&mut self, now: Instant) -> Option<Wanted> {
        let stale = self.stale_at.is_some_and(|at| now >= at);
        if self.in_flight.is_some() || !(self.wanted || stale) || now < self.not_before {
            return None;
        }
        // Set before the request exists, so that submitting it does not ask again.
        self.in_flight = Some(CallId(u64::MAX));
        self.wanted = false;
        let topics = (!self.all).then(|| self.topics.iter().cloned().collect());
        Some(Wanted { topics })
    }

    pub(super) fn sent(&mut self, call: CallId) {
        self.in_flight = Some(call);
    }

    pub(super) fn finished(
        &mut self,
        now: Instant,
        outcome: Result<(), CallError>,
        settings: &ClusterSettings,
    ) {
        self.in_flight = None;
        match outcome {
            Ok(()) => {
                self.failures = 0;
                self.error = None;
                self.version += 1;
                self.stale_at = Some(now + settings.metadata_max_age);
                self.not_before = now + settings.retry_pause(1);
            }
            Err(error) => {
                self.failures += 1;
                self.error = Some(error);
                self.wanted = true;
                self.not_before = now + settings.retry_pause(self.failures);
            }
        }
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        if self.in_flight.is_some() {
            return None;
        }
        let wanted = self.wanted.then_some(self.not_before);
        let stale = self.stale_at.map(|at| at.max(self.not_before));
        wanted.or(stale)
    }
}
