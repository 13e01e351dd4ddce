//! The first acknowledgement of a broker that is starting, and the raw disk.

use crate::Done;
use crate::raw::{PATIENCE, call, connect};
use std::fs::File;
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};
use wire::metadata::{MetadataRequest, MetadataRequestTopic};
use wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::record::{BatchBuilder, BatchMeta, RecordFields};
use wire::{Records, Str};

const METADATA_VERSION: i16 = 9;
const PRODUCE_VERSION: i16 = 9;
/// Between attempts.
const PAUSE: Duration = Duration::from_millis(1);

/// Says `ready`, tries until the broker acknowledges a record (acks=all), and says `acked`.
pub fn ack(address: &str, topic: &str) -> Done {
    println!("ready");
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if connect(address).is_ok_and(|stream| attempt(stream, topic).unwrap_or(false)) {
            println!("acked");
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Err("no record was acknowledged".into())
}

/// On one connection, until a record is acknowledged or something is wrong with the connection.
fn attempt(mut stream: TcpStream, topic: &str) -> Done<bool> {
    let name = Some(Str::from(topic.to_owned()));
    let metadata = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name, ..Default::default() }]),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    loop {
        let answer = call(&mut stream, METADATA_VERSION, &metadata)?;
        let leads = |partition: &wire::metadata::MetadataResponsePartition| partition.error_code == 0;
        if answer.topics.iter().any(|topic| topic.error_code == 0 && topic.partitions.iter().any(leads)) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    loop {
        let answer = call(&mut stream, PRODUCE_VERSION, &produce(topic))?;
        let acked = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
        if acked.map(|partition| partition.error_code).all(|code| code == 0) {
            return Ok(true);
        }
        std::thread::sleep(PAUSE);
    }
}

fn produce(topic: &str) -> ProduceRequest {
    let mut batch = BatchBuilder::new(BatchMeta::default());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let timestamp = i64::try_from(now.as_millis()).unwrap_or(0);
    batch.push(&RecordFields { timestamp, value: Some(b"first"), ..Default::default() });
    let partition =
        PartitionProduceData { records: Some(Records::Bytes(batch.finish().into())), ..Default::default() };
    let name = Str::from(topic.to_owned());
    let topic = TopicProduceData { name, partition_data: vec![partition], ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

/// What `fdatasync` takes after an append of 4 KiB, in microseconds.
pub fn sync(path: &str) -> Done {
    const APPENDS: u64 = 1_000;
    const BYTES: usize = 4096;
    let file = File::create(path)?;
    let mut times = Vec::new();
    for n in 0..APPENDS {
        file.write_all_at(&[1; BYTES], n * BYTES as u64)?;
        let start = Instant::now();
        file.sync_data()?;
        times.push(start.elapsed().as_micros());
    }
    times.sort_unstable();
    println!("p50={}\np99={}", times[times.len() / 2], times[times.len() * 99 / 100]);
    std::fs::remove_file(path)?;
    Ok(())
}
