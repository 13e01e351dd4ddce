use super::*;
use alloc::vec;
use alloc::vec::Vec;
use base::{EndOffset, LastOffset, Rng, Timestamp};

fn sample(meta: BatchMeta, records: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(meta);
    for k in 0..i64::from(records) {
        let value = vec![7; usize::try_from(k * 37).unwrap()];
        let headers =
            [RecordHeader { key: b"trace", value: None }, RecordHeader { key: b"", value: Some(b"v") }];
        builder.push(&RecordFields {
            timestamp: 1_000_000 - k,
            key: (k % 2 == 0).then_some(b"key"),
            value: (k % 3 != 0).then_some(&value),
            headers: &headers[..usize::try_from(k % 3).unwrap()],
        });
    }
    builder.finish()
}

fn patch(batch: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = BatchHeader::decode(batch).unwrap();
    change(&mut header);
    let mut bytes = batch.to_vec();
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    header.crc = crc32c(&bytes[CRC_START..]);
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    bytes
}

#[test]
fn crc_is_castagnoli() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(b""), 0);
    let mut pieces = Crc32c::new();
    pieces.update(b"1234");
    pieces.update(b"56789");
    assert_eq!(pieces.finish(), 0xe306_9283);
}

#[test]
fn layout_is_kafkas() {
    // One record, key "k", value "v", timestamp 5, as the protocol guide lays a v2 batch out.
    let mut builder = BatchBuilder::new(BatchMeta { base_offset: 3, ..BatchMeta::default() });
    builder.push(&RecordFields { timestamp: 5, key: Some(b"k"), value: Some(b"v"), headers: &[] });
    let bytes = builder.finish();
    let body = [16, 0, 0, 0, 2, b'k', 2, b'v', 0];
    assert_eq!(&bytes[HEADER_BYTES..], body);
    assert_eq!(bytes[..8], 3i64.to_be_bytes());
    assert_eq!(bytes[8..12], (i32::try_from(49 + body.len()).unwrap()).to_be_bytes());
    assert_eq!(bytes[12..17], [0xff, 0xff, 0xff, 0xff, 2]);
    assert_eq!(bytes[17..21], crc32c(&bytes[21..]).to_be_bytes());
    assert_eq!(bytes[21..27], [0; 6]);
    assert_eq!(bytes[27..43], [[0, 0, 0, 0, 0, 0, 0, 5]; 2].concat());
    assert_eq!(bytes[43..57], [0xff; 14]);
    assert_eq!(bytes[57..61], [0, 0, 0, 1]);
}

#[test]
fn what_was_built_is_read_back() {
    let bytes = sample(BatchMeta::default(), 50);
    let batch = Batch::parse(&bytes).unwrap();
    batch.check_crc().unwrap();
    batch.header().check_full().unwrap();
    let header = batch.header();
    assert_eq!(
        (header.record_count, header.base_timestamp, header.max_timestamp),
        (50, 1_000_000, 1_000_000)
    );
    for (k, record) in (0i64..).zip(Records::new(batch.payload(), 50)) {
        let record = record.unwrap();
        assert_eq!(i64::from(record.offset_delta), k);
        assert_eq!(record.timestamp_delta, -k);
        assert_eq!(record.key, (k % 2 == 0).then_some(&b"key"[..]));
        assert_eq!(record.value.map(<[u8]>::len), (k % 3 != 0).then_some(usize::try_from(k * 37).unwrap()));
        assert_eq!(record.headers().len(), usize::try_from(k % 3).unwrap());
        assert_eq!(record.headers().count(), usize::try_from(k % 3).unwrap());
    }
    assert_eq!(Records::new(batch.payload(), 50).check_sequential(), Ok(Some((0, 0))));
    assert_eq!(Records::new(&[], 0).check_sequential(), Ok(None));
}

#[test]
fn size_estimates_hold() {
    let record = RecordFields { timestamp: 9, key: Some(b"abc"), value: None, headers: &[] };
    let mut builder = BatchBuilder::new(BatchMeta::default());
    let before = builder.total_bytes();
    builder.push(&record);
    assert!(builder.total_bytes() - before <= BatchBuilder::record_bytes_max(&record));
    let total = builder.total_bytes();
    assert_eq!(builder.finish().len(), total);
}

#[test]
fn every_truncation_is_an_error_and_none_panics() {
    let bytes = sample(BatchMeta::default(), 5);
    for cut in 0..bytes.len() {
        let error = Batch::parse(&bytes[..cut]).unwrap_err();
        assert!(matches!(error, BatchError::Truncated { .. }), "cut at {cut}: {error}");
        assert_eq!(
            CheckedBatches::from_produce(&bytes[..cut]).unwrap_err(),
            BatchError::NotOneBatch { found: 0 },
            "cut at {cut}"
        );
    }
    let payload = &bytes[HEADER_BYTES..];
    for cut in 0..payload.len() {
        assert!(Records::new(&payload[..cut], 5).any(|r| r.is_err()), "cut at {cut}");
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let bytes = sample(BatchMeta { base_offset: 0, ..BatchMeta::default() }, 5);
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // Base offset and leader epoch lie outside the CRC; the first must be zero here, the second is free.
        let in_epoch = (12 * 8..16 * 8).contains(&bit);
        assert_eq!(CheckedBatches::from_produce(&bad).is_ok(), in_epoch, "bit {bit}");
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = Rng::new(1);
    let good = sample(BatchMeta::default(), 5);
    for _ in 0..20_000 {
        let mut bytes = vec![0; rng.index(200)];
        rng.fill(&mut bytes);
        let overlay = rng.index(good.len().min(bytes.len()) + 1);
        bytes[..overlay].copy_from_slice(&good[..overlay]);
        let walked: usize = parse_batches(&bytes).flatten().map(|b| b.bytes().len()).sum();
        assert!(walked <= bytes.len());
        let mut records = Records::new(&bytes, 1_000);
        for record in records.by_ref().flatten() {
            assert_eq!(record.headers().count(), record.headers().len());
        }
        assert!(records.next().is_none());
    }
}

#[test]
fn produce_refuses_what_kafka_refuses() {
    let good = sample(BatchMeta::default(), 3);
    assert_eq!(CheckedBatches::from_produce(&good).unwrap().bytes(), good);
    let refuse = |bytes: &[u8]| CheckedBatches::from_produce(bytes).unwrap_err();

    assert_eq!(refuse(&[]), BatchError::NotOneBatch { found: 0 });
    assert_eq!(refuse(&[&good[..], &good].concat()), BatchError::NotOneBatch { found: 2 });
    let torn_second = [&good[..], &good[..20]].concat();
    assert_eq!(CheckedBatches::from_produce(&torn_second).unwrap().bytes(), good);

    let mut old = good.clone();
    old[16] = 1;
    assert_eq!(refuse(&old), BatchError::UnsupportedMagic { magic: 1 });
    let mut short = good.clone();
    short[8..12].copy_from_slice(&48i32.to_be_bytes());
    assert_eq!(refuse(&short), BatchError::TooShort { length: 48 });
    short[8..12].copy_from_slice(&(-1i32).to_be_bytes());
    assert_eq!(refuse(&short), BatchError::TooShort { length: -1 });

    assert_eq!(
        refuse(&patch(&good, |h| h.base_offset = 4)),
        BatchError::BaseOffsetNotZero { base_offset: 4 }
    );
    assert_eq!(
        refuse(&patch(&good, |h| h.attributes = h.attributes.with_control(true))),
        BatchError::ControlFromClient
    );
    assert_eq!(
        refuse(&patch(&good, |h| h.producer_id = 1)),
        BatchError::NegativeSequence { base_sequence: -1 }
    );
    assert_eq!(
        refuse(&patch(&good, |h| h.attributes = Attributes(5))),
        BatchError::UnknownCompression { id: 5 }
    );
    assert_eq!(
        refuse(&patch(&good, |h| h.record_count = 2)),
        BatchError::CountMismatch { count: 2, expected: 3 }
    );
    assert!(matches!(refuse(&patch(&good, |h| h.record_count = -1)), BatchError::CountMismatch { .. }));
    assert!(matches!(
        refuse(&patch(&good, |h| h.last_offset_delta = -1)),
        BatchError::InvalidOffsetRange { .. }
    ));
    let huge = patch(&good, |h| {
        h.record_count = i32::MAX;
        h.last_offset_delta = i32::MAX - 1;
    });
    assert!(matches!(refuse(&huge), BatchError::CountMismatch { .. }));
}

#[test]
fn a_leader_may_send_thinned_batches_but_only_in_order() {
    let first = patch(&sample(BatchMeta { base_offset: 10, ..BatchMeta::default() }, 3), |h| {
        h.last_offset_delta = 9;
    });
    let second = sample(BatchMeta { base_offset: 25, ..BatchMeta::default() }, 2);
    let both = [&first[..], &second].concat();
    let torn = [&both[..], &first[..30]].concat();
    let checked = CheckedBatches::from_leader(&torn, EndOffset(10)).unwrap().unwrap();
    assert_eq!(checked.bytes(), both);
    let ends: Vec<_> = checked.iter().map(|b| b.header().end_offset()).collect();
    assert_eq!(ends, [EndOffset(20), EndOffset(27)]);
    assert_eq!(
        CheckedBatches::from_leader(&both, EndOffset(11)).unwrap_err(),
        BatchError::OffsetsNotIncreasing { expected: 11, found: 10 }
    );
    let swapped = [&second[..], &first].concat();
    assert!(CheckedBatches::from_leader(&swapped, EndOffset(0)).is_err());
    assert!(CheckedBatches::from_leader(&first[..30], EndOffset(0)).unwrap().is_none());
    assert!(CheckedBatches::from_broker(&both).is_err(), "the thinned batch is not ours");
    assert!(CheckedBatches::from_broker(&second).is_ok());
}

#[test]
fn hostile_records_are_refused() {
    let one = |payload: &[u8]| Records::new(payload, 1).next().unwrap().map(|_| ()).unwrap_err();
    // Longer than what is there.
    assert_eq!(one(&[100, 0, 0, 0, 1, 1, 0]), RecordError::BadLength { length: 50, present: 6 });
    // A negative record length.
    assert_eq!(one(&[1, 0, 0, 0, 1, 1, 0]), RecordError::BadLength { length: -1, present: 6 });
    // A varint that never ends, and one with bits beyond 32.
    assert_eq!(one(&[0xff; 20]), RecordError::BadVarint);
    assert_eq!(one(&[0xff, 0xff, 0xff, 0xff, 0x1f, 0]), RecordError::BadVarint);
    // A key of length −2.
    assert_eq!(one(&[12, 0, 0, 0, 3, 1, 0]), RecordError::BadLength { length: -2, present: 2 });
    // Ten headers in no bytes, and a negative number of headers.
    assert_eq!(one(&[12, 0, 0, 0, 1, 1, 20]), RecordError::BadHeaderCount { count: 10 });
    assert_eq!(one(&[12, 0, 0, 0, 1, 1, 1]), RecordError::BadHeaderCount { count: -1 });
    // A byte too many within the record.
    assert_eq!(one(&[14, 0, 0, 0, 1, 1, 0, 9]), RecordError::TrailingBytes { left: 1 });
    // Declared and found differ, either way.
    let plain = [12, 0, 0, 0, 1, 1, 0];
    assert_eq!(
        Records::new(&plain, 2).last().unwrap().unwrap_err(),
        RecordError::CountMismatch { declared: 2, found: 1 }
    );
    let two = [plain, plain].concat();
    assert_eq!(
        Records::new(&two, 1).last().unwrap().unwrap_err(),
        RecordError::CountMismatch { declared: 1, found: 2 }
    );
    assert_eq!(
        Records::new(&two, 2).check_sequential(),
        Err(RecordError::OffsetDeltaNotSequential { expected: 1, found: 0 })
    );
}

#[test]
fn too_many_headers_are_refused() {
    let header = RecordHeader { key: b"", value: None };
    for (count, ok) in [(HEADERS_MAX, true), (HEADERS_MAX + 1, false)] {
        let mut builder = BatchBuilder::new(BatchMeta::default());
        builder.push(&RecordFields { headers: &vec![header; count], ..RecordFields::default() });
        assert_eq!(Records::new(builder.payload(), 1).next().unwrap().is_ok(), ok, "{count}");
    }
}

#[test]
fn sequences_wrap_to_zero() {
    let bytes = sample(BatchMeta::default(), 3);
    let header = |base_sequence| {
        let bytes = patch(&bytes, |h| h.base_sequence = base_sequence);
        BatchHeader::decode(&bytes).unwrap()
    };
    assert_eq!(header(7).last_sequence(), 9);
    assert_eq!(header(i32::MAX).last_sequence(), 1);
    assert_eq!(header(i32::MAX - 2).last_sequence(), i32::MAX);
    assert_eq!(header(-1).last_sequence(), -1);
}

#[test]
fn append_time_patches_the_crc_instead_of_reading_the_payload() {
    for records in [1, 40, 400] {
        let mut bytes = sample(BatchMeta::default(), records);
        let mut header = BatchHeader::decode(&bytes).unwrap();
        stamp_log_append_time(&mut header, Timestamp(1_700_000_000_123));
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        let batch = Batch::parse(&bytes).unwrap();
        batch.check_crc().unwrap();
        assert_eq!(batch.header().attributes.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(batch.header().max_timestamp, 1_700_000_000_123);
    }
}

#[test]
fn compressed_payloads_are_the_callers() {
    let mut builder = BatchBuilder::new(BatchMeta { transactional: true, ..BatchMeta::default() });
    builder.push(&RecordFields { value: Some(&[0; 500]), ..RecordFields::default() });
    let bytes = builder.finish_compressed(Compression::Zstd, b"squeezed");
    let batch = Batch::parse(&bytes).unwrap();
    batch.check_crc().unwrap();
    batch.header().check_full().unwrap();
    assert_eq!(batch.payload(), b"squeezed");
    assert_eq!(batch.header().attributes.compression(), Ok(Compression::Zstd));
    assert!(batch.header().attributes.is_transactional());
}

#[test]
fn the_cleaners_batches_keep_gaps_and_horizon() {
    let meta = BatchMeta { base_offset: 100, delete_horizon: Some(5_000), ..BatchMeta::default() };
    let mut builder = BatchBuilder::new(meta);
    builder.push_at(4, &RecordFields { timestamp: 4_000, ..RecordFields::default() });
    builder.extend_to(9);
    builder.set_max_timestamp(4_000);
    let bytes = builder.finish();
    let batch = Batch::parse(&bytes).unwrap();
    batch.header().check().unwrap();
    assert!(batch.header().check_full().is_err());
    assert_eq!(batch.header().last_offset(), LastOffset(109));
    assert_eq!((batch.header().base_timestamp, batch.header().max_timestamp), (5_000, 4_000));
    assert!(batch.header().attributes.has_delete_horizon());
    let record = Records::new(batch.payload(), 1).next().unwrap().unwrap();
    assert_eq!((record.offset_delta, record.timestamp_delta), (4, -1_000));
}

#[test]
fn markers_read_back_and_junk_is_none() {
    for end in [EndTxn::Abort, EndTxn::Commit] {
        let marker = EndTxnMarker { end, coordinator_epoch: 9 };
        let bytes = marker.batch(5, 2, Timestamp(77));
        let checked = CheckedBatches::from_broker(&bytes).unwrap();
        let batch = checked.iter().next().unwrap();
        assert!(batch.header().attributes.is_control() && batch.header().attributes.is_transactional());
        assert_eq!((batch.header().producer_id, batch.header().producer_epoch), (5, 2));
        let record = Records::new(batch.payload(), 1).next().unwrap().unwrap();
        assert_eq!(EndTxnMarker::parse(&record), Some(marker));
    }
    for (key, value) in [(&[0, 0, 0][..], &[0; 6][..]), (&[0, 0, 0, 2], &[0; 6]), (&[0, 0, 0, 1], &[0; 5])] {
        let mut builder = BatchBuilder::new(BatchMeta::default());
        builder.push(&RecordFields { key: Some(key), value: Some(value), ..RecordFields::default() });
        let record = Records::new(builder.payload(), 1).next().unwrap().unwrap();
        assert_eq!(EndTxnMarker::parse(&record), None);
    }
}

#[test]
fn a_batch_may_be_left_empty() {
    let meta = BatchMeta { base_offset: 7, producer_id: 3, base_sequence: 5, ..BatchMeta::default() };
    let mut builder = BatchBuilder::new(meta);
    builder.extend_to(4);
    builder.set_max_timestamp(99);
    let bytes = builder.finish();
    let batch = Batch::parse(&bytes).unwrap();
    batch.check_crc().unwrap();
    batch.header().check().unwrap();
    let header = batch.header();
    assert_eq!((bytes.len(), header.record_count, header.last_offset()), (HEADER_BYTES, 0, LastOffset(11)));
    assert_eq!((header.last_sequence(), header.max_timestamp), (9, 99));
    assert_eq!(Records::new(batch.payload(), 0).count(), 0);
}
