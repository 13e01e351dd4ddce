//! The floor broker: the least that a produce path can do on this machine.
//!
//! One thread. Frames come in, the CRC of each batch is checked, offsets are given, one write per partition, one
//! reply. There are no locks, no producers' sequences, no record checks, no indexes, no flush and no recovery:
//! it is a yardstick and not a broker. Every topic exists; its name ends with how many partitions it has.

use bytes::{BufMut as _, Bytes, BytesMut};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io;
use std::io::IoSlice;
use std::path::PathBuf;
use std::rc::Rc;
use tokio::net::{TcpListener, TcpStream};
use wire::api_versions::{ApiVersion, ApiVersionsResponse};
use wire::frame::frame_size;
use wire::init_producer_id::InitProducerIdResponse;
use wire::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use wire::produce::{PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse};
use wire::record::{HEADER_BYTES, parse_batches};
use wire::{ApiKey, Message, Reader, Records, RequestHead, encode_response, split_frame};

type Done<T = ()> = Result<T, Box<dyn Error>>;

const FRAME_BYTES_MAX: usize = 100 << 20;
/// Room for a read that does not know how much is to come.
const READ_BYTES: usize = 64 << 10;
/// What is left of a frame is read to its exact end from here on, so that nothing of the next has to be moved.
const EXACT_BYTES_MIN: usize = 8 << 10;
/// Oldest and newest versions; Fetch is only named because librdkafka looks for it.
const APIS: [(ApiKey, i16, i16); 5] = [
    (ApiKey::Produce, 0, 12),
    (ApiKey::Fetch, 0, 11),
    (ApiKey::Metadata, 0, 9),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::InitProducerId, 0, 4),
];

struct Floor {
    port: u16,
    dir: PathBuf,
    logs: RefCell<BTreeMap<(String, i32), Log>>,
    scratch: RefCell<BytesMut>,
}

struct Log {
    file: File,
    position: u64,
    offset: i64,
}

fn main() -> Done {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("usage: floor PORT DIR");
    let (port, dir): (u16, _) = (next()?.parse()?, PathBuf::from(next()?));
    std::fs::create_dir_all(&dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let port = listener.local_addr()?.port();
        println!("kafka=127.0.0.1:{port}");
        let floor = Floor {
            port,
            dir,
            logs: RefCell::default(),
            scratch: RefCell::new(BytesMut::with_capacity(1 << 10)),
        };
        let floor = Rc::new(floor);
        loop {
            let (stream, _) = listener.accept().await?;
            let floor = floor.clone();
            tokio::task::spawn_local(async move {
                if let Err(error) = serve(&floor, &stream).await {
                    eprintln!("a connection ended: {error}");
                }
            });
        }
    })
}

async fn serve(floor: &Floor, stream: &TcpStream) -> Done {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::new();
    loop {
        stream.readable().await?;
        match read(stream, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        while let Some(frame) = split_frame(&mut buffer, FRAME_BYTES_MAX)? {
            if let Some(reply) = floor.answer(frame)? {
                write_all(stream, &reply).await?;
            }
        }
    }
}

fn read(stream: &TcpStream, buffer: &mut BytesMut) -> io::Result<usize> {
    let size = frame_size(buffer, FRAME_BYTES_MAX).map_err(io::Error::other)?;
    let left = size.map_or(0, |size| 4 + size - buffer.len());
    let room = if left >= EXACT_BYTES_MIN { left } else { READ_BYTES };
    buffer.reserve(room);
    stream.try_read_buf(&mut buffer.limit(room))
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Floor {
    fn answer(&self, frame: Bytes) -> Done<Option<Vec<u8>>> {
        let mut reader = Reader::new(frame);
        let head = RequestHead::decode(&mut reader)?;
        let key = ApiKey::try_from(head.api_key).map_err(|_| "an unknown API")?;
        let (version, id) = (head.version, head.correlation_id);
        let done = |message: Result<wire::Encoded, _>| -> Done<Option<Vec<u8>>> {
            Ok(Some(Vec::from(message.map_err(|error: wire::EncodeError| error.to_string())?.bytes)))
        };
        match key {
            ApiKey::ApiVersions => {
                let known = APIS.iter().any(|(api, _, newest)| *api == key && version <= *newest);
                let version = if known { version } else { 0 };
                done(encode_response(key, version, id, &api_versions(known)))
            }
            ApiKey::Metadata => {
                let request = MetadataRequest::decode(&mut reader, version)?;
                done(encode_response(key, version, id, &self.metadata(request)))
            }
            ApiKey::InitProducerId => {
                let response = InitProducerIdResponse { producer_id: 1, ..Default::default() };
                done(encode_response(key, version, id, &response))
            }
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut reader, version)?;
                let answered = request.acks != 0;
                let response = self.produce(request)?;
                if answered { done(encode_response(key, version, id, &response)) } else { Ok(None) }
            }
            other => Err(format!("{other} is more than a floor does").into()),
        }
    }

    fn metadata(&self, request: MetadataRequest) -> MetadataResponse {
        let partition = |index| MetadataResponsePartition {
            partition_index: index,
            leader_id: 1,
            replica_nodes: vec![1],
            isr_nodes: vec![1],
            ..Default::default()
        };
        let topics = request.topics.unwrap_or_default().into_iter().map(|topic| MetadataResponseTopic {
            partitions: (0..partitions_of(topic.name.as_deref().unwrap_or(""))).map(partition).collect(),
            name: topic.name,
            ..Default::default()
        });
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: 1,
                host: "127.0.0.1".into(),
                port: self.port.into(),
                ..Default::default()
            }],
            cluster_id: Some("floor".into()),
            controller_id: 1,
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn produce(&self, request: ProduceRequest) -> Done<ProduceResponse> {
        let mut responses = Vec::with_capacity(request.topic_data.len());
        for topic in request.topic_data {
            let mut parts = Vec::with_capacity(topic.partition_data.len());
            for part in topic.partition_data {
                let Some(Records::Bytes(records)) = part.records else { return Err("no records".into()) };
                let base_offset = self.append(&topic.name, part.index, &records)?;
                parts.push(PartitionProduceResponse {
                    index: part.index,
                    base_offset,
                    log_append_time_ms: -1,
                    log_start_offset: 0,
                    ..Default::default()
                });
            }
            let (name, topic_id) = (topic.name, topic.topic_id);
            responses.push(TopicProduceResponse {
                name,
                topic_id,
                partition_responses: parts,
                ..Default::default()
            });
        }
        Ok(ProduceResponse { responses, ..Default::default() })
    }

    fn append(&self, topic: &str, partition: i32, records: &Bytes) -> Done<i64> {
        let batch = parse_batches(records).next().ok_or("no batch")??;
        batch.check_crc()?;
        let mut logs = self.logs.borrow_mut();
        let key = (topic.to_owned(), partition);
        let log = match logs.entry(key) {
            std::collections::btree_map::Entry::Occupied(log) => log.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let file = File::create(self.dir.join(format!("{topic}-{partition}.log")))?;
                place.insert(Log { file, position: 0, offset: 0 })
            }
        };
        let base = log.offset;
        let mut header = *batch.header();
        header.base_offset = base;
        let mut scratch = self.scratch.borrow_mut();
        scratch.clear();
        scratch.put_slice(&header.encode());
        debug_assert_eq!(scratch.len(), HEADER_BYTES, "a header has a fixed size");
        let total = scratch.len() + batch.payload().len();
        let parts = [IoSlice::new(&scratch), IoSlice::new(batch.payload())];
        let written = rustix::io::pwritev(&log.file, &parts, log.position)?;
        if written != total {
            return Err("a short write".into());
        }
        log.position += total as u64;
        log.offset = header.end_offset().0;
        Ok(base)
    }
}

fn partitions_of(topic: &str) -> i32 {
    topic.rsplit('-').next().and_then(|count| count.parse().ok()).unwrap_or(1)
}

fn api_versions(known: bool) -> ApiVersionsResponse {
    let api = |(api, oldest, newest): &(ApiKey, i16, i16)| ApiVersion {
        api_key: api.code(),
        min_version: *oldest,
        max_version: *newest,
        ..Default::default()
    };
    // 35: unsupported version; the client asks again.
    let error_code = if known { 0 } else { 35 };
    ApiVersionsResponse { error_code, api_keys: APIS.iter().map(api).collect(), ..Default::default() }
}
