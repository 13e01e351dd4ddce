//! The consumer's handle.

use super::clock::seed;
use super::driver::{Driven, Driver};
use crate::core::consumer::{
    Consumer as ConsumerCore, ConsumerEvent, ConsumerRecord, ConsumerSettings, Seek, TopicPartition,
};
use base::EndOffset;
use wire::Str;

impl Driven for ConsumerCore {
    type Waiters = ();

    fn settle(&mut self, (): &mut ()) {}
}

/// Reads records.
///
/// ```no_run
/// use ottla_client::{Consumer, ConsumerSettings, Seek, TopicPartition, core::parse_addresses};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let consumer = Consumer::new(ConsumerSettings::new(parse_addresses("localhost:9092")?));
/// let partition = TopicPartition { topic: "greetings".into(), partition: 0 };
/// consumer.assign(&[(partition, Seek::Beginning)]);
/// loop {
///     for record in consumer.poll(500).await.records {
///         println!("{} {:?}", record.offset, record.value);
///     }
/// }
/// # }
/// ```
pub struct Consumer {
    driver: Driver<ConsumerCore>,
}

/// What a poll brings; at least one of the two is not empty.
#[derive(Debug, Default)]
pub struct Polled {
    /// Records in the order of their partitions.
    pub records: Vec<ConsumerRecord>,
    /// What happened besides.
    pub events: Vec<ConsumerEvent>,
}

impl Consumer {
    /// A consumer on the current runtime; it connects once it has something to read.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(settings: ConsumerSettings) -> Self {
        Self { driver: Driver::spawn(ConsumerCore::new(settings, seed())) }
    }

    /// Reads these partitions from now on and no others; those it read before keep their positions.
    pub fn assign(&self, partitions: &[(TopicPartition, Seek)]) {
        self.driver.act(|core, (), now| core.assign(now, partitions));
    }

    /// The partitions that are read.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.driver.act_lazily(|core, (), _| core.assignment().cloned().collect())
    }

    /// Goes on reading elsewhere. False if the partition is not assigned.
    pub fn seek(&self, partition: &TopicPartition, seek: Seek) -> bool {
        self.driver.act(|core, (), now| core.seek(now, partition, seek))
    }

    /// Stops handing out records of a partition, or goes on.
    pub fn pause(&self, partition: &TopicPartition, paused: bool) {
        self.driver.act(|core, (), now| core.pause(now, partition, paused));
    }

    /// The offset of the next record that will be handed out, once it is known.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<EndOffset> {
        self.driver.act_lazily(|core, (), _| core.position(partition))
    }

    /// Joins the group of the settings and reads what it assigns.
    pub fn subscribe(&self, topics: &[Str]) {
        self.driver.act(|core, (), now| core.subscribe(now, topics));
    }

    /// Commits offsets: those given, or the positions. The outcome comes with a later poll.
    pub fn commit(&self, offsets: Option<Vec<(TopicPartition, EndOffset)>>) {
        self.driver.act(|core, (), now| core.commit(now, offsets));
    }

    /// Leaves the group, after committing the positions if that is automatic.
    pub async fn leave(&self) {
        self.driver.act(|core, (), now| core.leave(now));
        self.driver.wait(|core, (), _| core.has_left().then_some(())).await;
    }

    /// Waits for records or events and hands out at most `max` records. Dropping the future loses nothing.
    ///
    /// Polling says that everything handed out before has been dealt with: it may be committed, and revoked
    /// partitions may go to others.
    pub async fn poll(&self, max: usize) -> Polled {
        self.driver.act(|core, (), now| core.proceed(now));
        self.driver.wait(|core, (), _| (core.has_records() || core.has_events()).then_some(())).await;
        self.driver.act(|core, (), now| Polled {
            records: core.poll_records(now, max),
            events: std::iter::from_fn(|| core.poll_event()).collect(),
        })
    }
}
