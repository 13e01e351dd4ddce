//! Two brokers of which one leads and, from some moment on, the other.

use crate::core::{Address, ClusterSettings};
use crate::shell::admin::{Admin, OffsetSpec};
use base::Span;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wire::api_versions::{ApiVersion, ApiVersionsResponse};
use wire::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use wire::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use wire::{ApiKey, ErrorCode, Message as _, Reader, RequestHead};

const BYTES_MAX: usize = 1 << 20;

/// What both know.
struct Fake {
    ports: [u16; 2],
    /// How often the first one is asked as the leader before metadata name the second.
    stale: usize,
    asked: [AtomicUsize; 2],
}

impl Fake {
    async fn start(stale: usize) -> Arc<Self> {
        let listeners = [TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await];
        let listeners = listeners.map(Result::unwrap);
        let ports = [0, 1].map(|at: usize| listeners[at].local_addr().unwrap().port());
        let fake = Arc::new(Self { ports, stale, asked: Default::default() });
        for (at, listener) in listeners.into_iter().enumerate() {
            let fake = fake.clone();
            tokio::spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(fake.clone().talk(at, socket));
                }
            });
        }
        fake
    }

    async fn talk(self: Arc<Self>, at: usize, mut socket: TcpStream) {
        let mut buffer = BytesMut::new();
        loop {
            while let Ok(Some(frame)) = wire::frame::split_frame(&mut buffer, BYTES_MAX) {
                let reply = self.answer(at, frame);
                socket.write_all(&reply).await.unwrap();
            }
            if socket.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
    }

    fn answer(&self, at: usize, frame: Bytes) -> Bytes {
        let mut reader = Reader::new(frame);
        let head = RequestHead::decode(&mut reader).unwrap();
        let api = ApiKey::try_from(head.api_key).unwrap();
        let (version, number) = (head.version, head.correlation_id);
        let encoded = if api == ApiKey::ApiVersions {
            wire::encode_response(api, version, number, &versions())
        } else if api == ApiKey::Metadata {
            wire::encode_response(api, version, number, &self.metadata())
        } else {
            assert_eq!(api, ApiKey::ListOffsets);
            let request = ListOffsetsRequest::decode(&mut reader, version).unwrap();
            wire::encode_response(api, version, number, &self.offsets(at, &request))
        };
        encoded.unwrap().bytes
    }

    /// Partition 0 moves; partition 1 stays with the first broker.
    fn metadata(&self) -> MetadataResponse {
        let has_moved = self.asked[0].load(Ordering::SeqCst) > self.stale;
        let broker = |at: i32, port: u16| MetadataResponseBroker {
            node_id: at,
            host: "127.0.0.1".into(),
            port: i32::from(port),
            ..MetadataResponseBroker::default()
        };
        let partition = |index: i32, leader_id: i32| MetadataResponsePartition {
            partition_index: index,
            leader_id,
            ..MetadataResponsePartition::default()
        };
        let topic = MetadataResponseTopic {
            name: Some("t".into()),
            partitions: vec![partition(0, i32::from(has_moved)), partition(1, 0)],
            ..MetadataResponseTopic::default()
        };
        MetadataResponse {
            brokers: vec![broker(0, self.ports[0]), broker(1, self.ports[1])],
            topics: vec![topic],
            ..MetadataResponse::default()
        }
    }

    fn offsets(&self, at: usize, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let indexes: Vec<i32> =
            request.topics[0].partitions.iter().map(|part| part.partition_index).collect();
        if indexes.contains(&0) {
            self.asked[at].fetch_add(1, Ordering::SeqCst);
        }
        let answer = |index: i32| {
            let leads = at == usize::from(index == 0);
            let code = if leads { ErrorCode::None } else { ErrorCode::NotLeaderOrFollower };
            ListOffsetsPartitionResponse {
                partition_index: index,
                error_code: code.code(),
                offset: if leads { i64::from(index) + 40 } else { -1 },
                ..ListOffsetsPartitionResponse::default()
            }
        };
        let partitions = indexes.into_iter().map(answer).collect();
        let topic = ListOffsetsTopicResponse { name: "t".into(), partitions, ..Default::default() };
        ListOffsetsResponse { topics: vec![topic], ..ListOffsetsResponse::default() }
    }
}

fn versions() -> ApiVersionsResponse {
    let all = [(ApiKey::ApiVersions, 0, 4), (ApiKey::Metadata, 4, 12), (ApiKey::ListOffsets, 1, 7)];
    let version = |(api, min_version, max_version): (ApiKey, i16, i16)| ApiVersion {
        api_key: api.code(),
        min_version,
        max_version,
        ..ApiVersion::default()
    };
    ApiVersionsResponse { api_keys: all.map(version).to_vec(), ..ApiVersionsResponse::default() }
}

fn admin(fake: &Fake, request_timeout: Span) -> Admin {
    let bootstrap = vec![Address { host: "127.0.0.1".into(), port: fake.ports[0] }];
    let retry_backoff = (Span::from_millis(5), Span::from_millis(10));
    Admin::new(ClusterSettings {
        request_timeout,
        retry_backoff,
        fail_fast: true,
        ..ClusterSettings::new(bootstrap)
    })
}

#[tokio::test]
async fn a_leader_that_has_moved_is_looked_up_again() {
    for stale in [0, 3] {
        let fake = Fake::start(stale).await;
        let admin = admin(&fake, Span::from_secs(10));
        let found = admin.list_offsets("t", None, OffsetSpec::Latest).await.unwrap();
        let found: Vec<_> = found.iter().map(|at| (at.partition, at.offset.unwrap().0)).collect();
        assert_eq!(found, [(0, 40), (1, 41)], "each is found once");
        assert_eq!(fake.asked[0].load(Ordering::SeqCst), stale + 1);
        assert_eq!(fake.asked[1].load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn who_never_leads_is_asked_no_longer_than_a_request_may_take() {
    let fake = Fake::start(usize::MAX).await;
    let admin = admin(&fake, Span::from_millis(200));
    let error = admin.list_offsets("t", None, OffsetSpec::Latest).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotLeaderOrFollower);
    assert!(fake.asked[0].load(Ordering::SeqCst) > 3);
}
