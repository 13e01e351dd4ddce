use super::*;
use crate::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use crate::metadata::MetadataRequest;
use crate::splice::{Records, Splice};
use alloc::vec;
use alloc::vec::Vec;

fn body_of(frame: &Encoded) -> Bytes {
    let mut buffer = BytesMut::from(&frame.bytes[..]);
    let body = split_frame(&mut buffer, 1 << 20).unwrap().unwrap();
    assert!(buffer.is_empty());
    body
}

#[test]
fn frames_come_out_of_a_stream_one_by_one_and_only_whole() {
    let mut stream = BytesMut::new();
    for byte in [0u8, 0, 0, 2, 7] {
        assert_eq!(split_frame(&mut stream, 2), Ok(None));
        stream.extend_from_slice(&[byte]);
    }
    stream.extend_from_slice(&[8, 0, 0, 0, 0, 9]);
    assert_eq!(split_frame(&mut stream, 2), Ok(Some(Bytes::from_static(&[7, 8]))));
    assert_eq!(split_frame(&mut stream, 2), Ok(Some(Bytes::new())));
    assert_eq!(split_frame(&mut stream, 2), Ok(None));
    assert_eq!(&stream[..], [9]);
}

#[test]
fn sizes_beyond_the_limit_are_refused_before_their_bytes_come() {
    let mut stream = BytesMut::from(&[0u8, 0, 0, 3][..]);
    assert_eq!(split_frame(&mut stream, 2), Err(FrameError::TooLarge { size: 3, max: 2 }));
    let mut stream = BytesMut::from(&[0xffu8; 4][..]);
    assert_eq!(split_frame(&mut stream, 2), Err(FrameError::NegativeSize { size: -1 }));
}

#[test]
fn a_request_is_laid_out_as_kafka_does() {
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    let client = Str::from("me");
    let frame = encode_request(7, Some(&client), 1, &request).unwrap();
    let mut expected = vec![0, 0, 0, 16, 0, 3, 0, 1, 0, 0, 0, 7, 0, 2, b'm', b'e', 0, 0, 0, 0];
    assert_eq!(frame.bytes, expected);
    // Flexible: the client id keeps its two-byte length (KIP-511), tagged fields follow it.
    let frame = encode_request(7, Some(&client), 9, &request).unwrap();
    expected.splice(3..4, [18]);
    expected.splice(7..8, [9]);
    // No tags, an empty compact array, three flags, no tags.
    expected.splice(16.., [0, 1, 1, 0, 0, 0]);
    assert_eq!(frame.bytes, expected);
}

#[test]
fn a_request_head_comes_back_whatever_the_header_version() {
    for version in [0, 12] {
        let frame = encode_request(-5, None, version, &MetadataRequest::default()).unwrap();
        let mut r = Reader::new(body_of(&frame));
        let head = RequestHead::decode(&mut r).unwrap();
        assert_eq!(head, RequestHead { api_key: 3, version, correlation_id: -5, client_id: None });
        assert_eq!(MetadataRequest::decode(&mut r, version), Ok(MetadataRequest::default()));
        assert_eq!(r.finish(), Ok(()));
    }
}

#[test]
fn heads_of_unknown_apis_and_future_versions_are_read() {
    let unknown = [0x7f, 0xff, 0, 1, 0, 0, 0, 9, 0xff, 0xff, 42];
    let mut r = Reader::new(Bytes::copy_from_slice(&unknown));
    let head = RequestHead::decode(&mut r).unwrap();
    assert_eq!((head.api_key, head.correlation_id, r.remaining()), (0x7fff, 9, 1));
    // A client of the future asks for the versions: the broker answers version 0 with an error code.
    let request = ApiVersionsRequest { client_software_name: "x".into(), ..Default::default() };
    let mut frame = encode_request(1, None, 3, &request).unwrap().bytes.to_vec();
    frame[6..8].copy_from_slice(&99i16.to_be_bytes());
    let mut r = Reader::new(Bytes::from(frame).slice(4..));
    let head = RequestHead::decode(&mut r).unwrap();
    assert_eq!((head.api_key, head.version, head.correlation_id), (18, 99, 1));
}

#[test]
fn the_response_header_of_api_versions_has_no_tags() {
    let frame = encode_response(ApiKey::ApiVersions, 3, 6, &ApiVersionsResponse::default()).unwrap();
    assert_eq!(&frame.bytes[..8], [0, 0, 0, 12, 0, 0, 0, 6]);
    let frame = encode_response(ApiKey::Fetch, 12, 6, &FetchResponse::default()).unwrap();
    assert_eq!(&frame.bytes[4..9], [0, 0, 0, 6, 0]);
    let mut r = Reader::new(body_of(&frame));
    assert_eq!(decode_response_head(&mut r, ApiKey::Fetch, 12), Ok(6));
    assert_eq!(FetchResponse::decode(&mut r, 12), Ok(FetchResponse::default()));
    assert_eq!(r.finish(), Ok(()));
}

#[test]
fn records_elsewhere_count_in_the_size_and_leave_splices() {
    let response = |records: Vec<Records>| FetchResponse {
        responses: vec![FetchableTopicResponse {
            partitions: records
                .into_iter()
                .map(|records| PartitionData { records: Some(records), ..Default::default() })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let batches: Vec<Bytes> = vec![vec![1u8; 300].into(), vec![2u8; 5].into(), vec![].into()];
    for version in [4, 11, 12, 18] {
        let here = response(batches.iter().cloned().map(Records::Bytes).collect());
        let there = response(
            batches
                .iter()
                .map(|batch| Records::Elsewhere { length: u32::try_from(batch.len()).unwrap() })
                .collect(),
        );
        let here = encode_response(ApiKey::Fetch, version, 1, &here).unwrap();
        let there = encode_response(ApiKey::Fetch, version, 1, &there).unwrap();
        assert_eq!(here.splices, []);
        assert_eq!(there.len(), here.len());
        let mut whole = Vec::new();
        let mut from = 0;
        for (Splice { position, length }, batch) in there.splices.iter().zip(&batches) {
            whole.extend_from_slice(&there.bytes[from..*position]);
            whole.extend_from_slice(&batch[..*length as usize]);
            from = *position;
        }
        whole.extend_from_slice(&there.bytes[from..]);
        assert_eq!(whole, here.bytes, "v{version}");
    }
}

#[test]
fn a_frame_beyond_its_size_field_is_refused() {
    let partition =
        PartitionData { records: Some(Records::Elsewhere { length: 0x7fff_ffff }), ..Default::default() };
    let topic = FetchableTopicResponse { partitions: vec![partition], ..Default::default() };
    let response = FetchResponse { responses: vec![topic], ..Default::default() };
    let refused = encode_response(ApiKey::Fetch, 12, 1, &response).unwrap_err();
    assert_eq!((refused.reason, refused.field), (EncodeReason::TooLong, "frame"));
}
