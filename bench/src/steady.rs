//! A producer that writes all the time, whatever happens to the cluster.

use crate::Done;
use crate::producer::{Message, Producer};
use crate::standstill::{Standstill, commands};
use std::collections::BTreeMap;
use std::time::Instant;

const VALUE: &[u8] = &[b'v'; 100];
/// The most that is caught up at once.
const CATCH_UP: usize = 100;

/// Sends `rate` records per second to each partition, with librdkafka at its defaults but for what `settings` say, and
/// answers the commands of [`Standstill`] about acknowledgements.
pub fn produce(topic: &str, partitions: usize, rate: f64, settings: &BTreeMap<String, String>) -> Done {
    let mut producer = Producer::new(settings, topic)?;
    let mut standstill = Standstill::of(partitions);
    let commands = commands();
    let (start, mut sent) = (Instant::now(), 0_usize);
    loop {
        let due = (start.elapsed().as_secs_f64() * rate) as usize;
        let more = due.saturating_sub(sent).min(CATCH_UP);
        for _ in 0..more {
            for partition in 0..partitions {
                let taken = producer.produce(i32::try_from(partition)?, &mut [Message::of(VALUE)])?;
                if taken == 0 {
                    return Err("librdkafka's queue is full: nothing was acknowledged for too long".into());
                }
            }
        }
        sent += more;
        producer.poll(1, |partition| standstill.note(usize::try_from(partition).unwrap_or(0)))?;
        if let Ok(command) = commands.try_recv() {
            standstill.answer(&command);
        }
    }
}
