//! A partitioner of one's own: everything of a tenant goes to one partition, whatever the record's key.

use ottla_client::core::parse_addresses;
use ottla_client::{PartitionChoice, Partitioner, Producer, ProducerRecord, ProducerSettings};
use std::error::Error;

/// The tenant is what stands before the first slash of the key.
struct ByTenant;

impl Partitioner for ByTenant {
    fn partition(&mut self, choice: &PartitionChoice<'_>) -> i32 {
        let key = choice.key.unwrap_or_default();
        let tenant = key.split(|byte| *byte == b'/').next().unwrap_or_default();
        tenant.iter().fold(0_i32, |sum, byte| (sum + i32::from(*byte)) % choice.partitions)
    }
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Box<dyn Error>> {
    let broker = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".into());
    let settings = ProducerSettings::new(parse_addresses(&broker)?);
    let producer = Producer::with_partitioner(settings, Box::new(ByTenant));
    for n in 0..10 {
        let key = format!("tenant-{}/invoice-{n}", n % 2);
        let record = ProducerRecord {
            topic: "invoices-rust".into(),
            key: Some(key.clone().into()),
            value: Some(format!("order {n}").into()),
            ..Default::default()
        };
        let delivered = producer.send(record).await?.await?;
        println!("{key}: order {n} (partition {}, offset {:?})", delivered.partition, delivered.offset);
    }
    Ok(())
}
