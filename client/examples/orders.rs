//! Ten orders, keyed by customer, written and read by a consumer group.

use ottla_client::core::parse_addresses;
use ottla_client::{
    Consumer, ConsumerSettings, GroupSettings, OffsetReset, Producer, ProducerRecord, ProducerSettings,
};
use std::error::Error;

const TOPIC: &str = "orders-rust";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let broker = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".into());
    write(&broker).await?;
    read(&broker).await
}

async fn write(broker: &str) -> Result<(), Box<dyn Error>> {
    let producer = Producer::new(ProducerSettings::new(parse_addresses(broker)?));
    let mut deliveries = Vec::new();
    for n in 0..10 {
        let (key, value) = (format!("customer-{}", n % 3), format!("order {n}"));
        let record = ProducerRecord {
            topic: TOPIC.into(),
            key: Some(key.into()),
            value: Some(value.into()),
            ..Default::default()
        };
        deliveries.push(producer.send(record).await?);
    }
    for delivery in deliveries {
        delivery.await?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
async fn read(broker: &str) -> Result<(), Box<dyn Error>> {
    let mut settings = ConsumerSettings::new(parse_addresses(broker)?);
    settings.group = Some(GroupSettings::new("billing-rust"));
    settings.offset_reset = OffsetReset::Earliest;
    let consumer = Consumer::new(settings);
    consumer.subscribe(&[TOPIC.into()]);
    let mut seen = 0;
    while seen < 10 {
        for record in consumer.poll(10).await.records {
            let text = |bytes: &Option<bytes::Bytes>| {
                bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
            };
            let (key, value) = (text(&record.key), text(&record.value));
            println!("{key}: {value} (partition {}, offset {})", record.partition, record.offset);
            seen += 1;
        }
    }
    consumer.leave().await;
    Ok(())
}
