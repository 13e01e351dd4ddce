//! The producer's handle.

use super::clock::seed;
use super::driver::{Driven, Driver};
use crate::core::partitioner::Partitioner;
use crate::core::producer::{
    Delivered, DeliveryId, ProduceError, Producer as ProducerCore, ProducerRecord, ProducerSettings,
    SendError,
};
use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

type Outcome = Result<Delivered, ProduceError>;

impl Driven for ProducerCore {
    type Waiters = HashMap<DeliveryId, oneshot::Sender<Outcome>>;

    fn settle(&mut self, waiters: &mut Self::Waiters) {
        while let Some(delivery) = self.poll_delivery() {
            if let Some(waiter) = waiters.remove(&delivery.id) {
                // Whoever dropped the future does not want to know.
                let _unwanted = waiter.send(delivery.outcome);
            }
        }
    }
}

/// Produces records.
///
/// ```no_run
/// use ottla_client::{Producer, ProducerRecord, ProducerSettings, core::parse_addresses};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let producer = Producer::new(ProducerSettings::new(parse_addresses("localhost:9092")?));
/// let record = ProducerRecord { topic: "greetings".into(), value: Some("hello".into()), ..Default::default() };
/// let delivery = producer.send(record).await?;
/// let delivered = delivery.await?;
/// println!("partition {} offset {:?}", delivered.partition, delivered.offset);
/// # Ok(())
/// # }
/// ```
pub struct Producer {
    driver: Driver<ProducerCore>,
}

/// The outcome of one record, in time. Dropping it does not take the record back.
#[derive(Debug)]
pub struct Deliver(oneshot::Receiver<Outcome>);

impl Producer {
    /// A producer on the current runtime; it connects by itself.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(settings: ProducerSettings) -> Self {
        Self { driver: Driver::spawn(ProducerCore::new(settings, seed())) }
    }

    /// As [`Producer::new`], with a partitioner of your own.
    #[must_use]
    pub fn with_partitioner(settings: ProducerSettings, partitioner: Box<dyn Partitioner>) -> Self {
        Self { driver: Driver::spawn(ProducerCore::new(settings, seed()).with_partitioner(partitioner)) }
    }

    /// Accepts a record once the buffer has room, and gives a future of its outcome.
    ///
    /// # Errors
    /// [`SendError::TooLarge`].
    pub async fn send(&self, record: ProducerRecord) -> Result<Deliver, SendError> {
        let mut record = match self.try_send(record) {
            Err(SendError::BufferFull(record)) => Some(*record),
            other => return other,
        };
        self.driver
            .wait(|core, waiters, now| match core.send(now, record.take()?) {
                Ok(id) => Some(Ok(register(waiters, id))),
                Err(SendError::BufferFull(back)) => {
                    record = Some(*back);
                    None
                }
                Err(error @ SendError::TooLarge { .. }) => Some(Err(error)),
            })
            .await
    }

    /// Accepts a record if the buffer has room now.
    ///
    /// # Errors
    /// [`SendError::BufferFull`] with the record, or [`SendError::TooLarge`].
    pub fn try_send(&self, record: ProducerRecord) -> Result<Deliver, SendError> {
        self.driver.act_lazily(|core, waiters, now| core.send(now, record).map(|id| register(waiters, id)))
    }

    /// Sends everything without lingering and waits until nothing is outstanding.
    pub async fn flush(&self) {
        self.driver.act(|core, _, now| core.flush(now));
        self.driver.wait(|core, _, _| (core.outstanding() == 0).then_some(())).await;
    }
}

fn register(waiters: &mut HashMap<DeliveryId, oneshot::Sender<Outcome>>, id: DeliveryId) -> Deliver {
    let (sender, receiver) = oneshot::channel();
    waiters.insert(id, sender);
    Deliver(receiver)
}

impl Future for Deliver {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        // The sender goes unused only when the producer was dropped with the record outstanding.
        Pin::new(&mut self.0).poll(cx).map(|got| got.unwrap_or(Err(ProduceError::OutcomeUnknown)))
    }
}
