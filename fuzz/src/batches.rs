//! Any bytes as a record set: no panic, and batches and records that pass the checks can be built again.

use base::EndOffset;
use ottla_wire::record::{
    Batch, BatchBuilder, BatchHeader, BatchMeta, CRC_START, CheckedBatches, Compression, HEADER_BYTES,
    Record, RecordFields, RecordHeader, Records, crc32c, parse_batches,
};

/// The first byte says whether to mend the checksum of the first batch, the rest is a record set.
pub(crate) fn batches(data: &[u8]) {
    let [mend, set @ ..] = data else { return };
    let mut set = set.to_vec();
    if mend & 1 == 1 {
        mend_crc(&mut set);
    }
    let _ = CheckedBatches::from_produce(&set);
    let _ = CheckedBatches::from_broker(&set);
    let _ = CheckedBatches::from_leader(&set, EndOffset(0));
    for batch in parse_batches(&set) {
        let Ok(batch) = batch else { return };
        check(&batch);
    }
}

fn mend_crc(set: &mut [u8]) {
    let Some(Ok(batch)) = parse_batches(set).next() else { return };
    let length = batch.bytes().len();
    let header = BatchHeader { crc: crc32c(&set[CRC_START..length]), ..*batch.header() };
    set[..HEADER_BYTES].copy_from_slice(&header.encode());
}

fn check(batch: &Batch<'_>) {
    let header = batch.header();
    assert_eq!(header.encode(), batch.bytes()[..HEADER_BYTES]);
    let _ = (batch.check_crc(), header.check_full());
    if header.attributes.compression() != Ok(Compression::None) {
        return;
    }
    let walk = Records::new(batch.payload(), header.record_count);
    let sequential = walk.clone().check_sequential().is_ok();
    let records: Result<Vec<Record<'_>>, _> = walk.collect();
    if let Ok(records) = records
        && sequential
    {
        rebuild(header.base_timestamp, &records);
    }
}

fn rebuild(base_timestamp: i64, records: &[Record<'_>]) {
    let Some(first) = records.first() else { return };
    let mut builder = BatchBuilder::new(BatchMeta::default());
    for record in records {
        // Deltas are relative to the first record's time in what we build.
        let Some(timestamp) = base_timestamp.checked_add(record.timestamp_delta) else { return };
        let start = base_timestamp.saturating_add(first.timestamp_delta);
        if timestamp.checked_sub(start).is_none() {
            return;
        }
        let headers: Vec<RecordHeader<'_>> = record.headers().collect();
        assert_eq!(headers.len(), record.headers().len());
        builder.push(&RecordFields { timestamp, key: record.key, value: record.value, headers: &headers });
    }
    let bytes = builder.finish();
    let batch = Batch::parse(&bytes).expect("a built batch parses");
    batch.check_crc().expect("a built batch has its checksum");
    let again: Vec<_> = Records::new(batch.payload(), batch.header().record_count).collect();
    assert_eq!(again.len(), records.len());
    for (again, record) in again.into_iter().zip(records) {
        let again = again.expect("a built record is read");
        assert_eq!((again.key, again.value), (record.key, record.value));
        assert!(again.headers().eq(record.headers()));
    }
}
