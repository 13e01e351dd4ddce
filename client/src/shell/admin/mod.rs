//! Looking at clusters and changing them: topics, configs, groups, records.

mod cluster;
mod configs;
mod error;
mod groups;
mod members;
mod offsets;
mod quorum;
mod reassignments;
mod retry;
mod topics;

pub use cluster::{BrokerDescription, ClusterDescription, LogDir, LogDirPartition};
pub use configs::{AlterOp, ConfigEntry, ConfigResource, ConfigSource};
pub use error::AdminError;
pub use groups::{GroupDescription, GroupListing, GroupMember, GroupOffset};
pub use offsets::{OffsetAt, OffsetSpec};
pub use quorum::{QuorumDescription, QuorumMember};
pub use reassignments::{OngoingReassignment, Reassignment};
pub use topics::{CreatedTopic, NewTopic, TopicDescription, TopicListing};

use super::clock::seed;
use super::driver::{Driven, Driver};
use crate::core::{Answer, CallError, CallId, Cluster, ClusterSettings, Target};
use base::Span;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::sync::oneshot;
use wire::{ErrorCode, Request};

type Outcome = Result<Answer, CallError>;

impl Driven for Cluster {
    type Waiters = HashMap<CallId, oneshot::Sender<Outcome>>;

    fn settle(&mut self, waiters: &mut Self::Waiters) {
        while let Some(done) = self.poll_completion() {
            if let Some(waiter) = waiters.remove(&done.call) {
                let _unwanted = waiter.send(done.outcome);
            }
        }
    }
}

/// The most times that a call is repeated; the back-off makes that about as long as a request may take.
const ATTEMPTS_MAX: u32 = 30;

/// Looks at a cluster and changes it.
///
/// ```no_run
/// use ottla_client::{Admin, NewTopic, core::{ClusterSettings, parse_addresses}};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let admin = Admin::new(ClusterSettings::new(parse_addresses("localhost:9092")?));
/// admin.create_topic(NewTopic { partitions: Some(3), ..NewTopic::named("orders") }).await?;
/// for topic in admin.list_topics().await? {
///     println!("{} has {} partitions", topic.name, topic.partitions);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Admin {
    driver: Driver<Cluster>,
    settings: ClusterSettings,
}

impl Admin {
    /// An admin on the current runtime; it connects at the first call.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(settings: ClusterSettings) -> Self {
        // Looking at a topic must not create it.
        let settings = ClusterSettings { allow_auto_create: false, ..settings };
        Self { driver: Driver::spawn(Cluster::new(settings.clone(), seed())), settings }
    }

    /// One call, not repeated: any request of the protocol to any broker.
    ///
    /// # Errors
    /// When no answer came or it cannot be read. What the broker refuses stands in the response.
    pub async fn call<R: Request + Send + Sync + 'static>(
        &self,
        target: Target,
        versions: RangeInclusive<i16>,
        request: R,
    ) -> Result<R::Response, CallError> {
        let (sender, receiver) = oneshot::channel();
        let timeout = self.settings.request_timeout;
        self.driver.act(|core, waiters, now| {
            waiters.insert(core.call(now, target, versions, request, timeout), sender);
        });
        let answer = receiver.await.unwrap_or(Err(CallError::TimedOut { api: R::KEY }))?;
        answer.decode::<R>()
    }

    /// Calls until the answer is final: repeats what is lost on the way, and what the broker refuses only for
    /// now. `verdict` finds the code that decides. Only for requests that may be carried out twice.
    async fn call_until<R: Request + Send + Sync + Clone + 'static>(
        &self,
        target: Target,
        versions: RangeInclusive<i16>,
        request: R,
        verdict: impl Fn(&R::Response) -> ErrorCode,
    ) -> Result<R::Response, CallError> {
        let mut waited = Span::ZERO;
        for attempt in 1..ATTEMPTS_MAX {
            let outcome = self.call(target, versions.clone(), request.clone()).await;
            let again = match &outcome {
                Ok(response) => verdict(response).is_retriable(),
                // Nobody there at once is the answer, where the settings say so.
                Err(CallError::Unreachable { .. }) => !self.settings.fail_fast,
                Err(error) => error.is_retriable(),
            };
            let pause = self.settings.retry_pause(attempt);
            waited = waited + pause;
            if !again || waited > self.settings.request_timeout {
                return outcome;
            }
            self.driver.act(|core, _, _| core.request_refresh());
            tokio::time::sleep(Duration::from_nanos(pause.as_nanos())).await;
        }
        self.call(target, versions, request).await
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.settings.request_timeout.as_millis()).unwrap_or(i32::MAX)
    }
}
