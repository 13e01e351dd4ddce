//! Batches of records as values and back: `[{producer_id: 7, codec: gzip, records: ["key:value"]}]`.
//!
//! What is as usual is left out: no producer, no compression, the timestamp [`TIMESTAMP`], no headers. Requests
//! can also say what no client should: `crc: false`, `magic: 1`, `count: 9`, `last_offset_delta: 9`.

use super::value::Value;
use codec::Codec;
use wire::record::{
    Attributes, Batch, BatchBuilder, BatchMeta, CRC_START, Compression, HEADER_BYTES, RecordFields,
    RecordHeader, Records, TimestampType, crc32c, parse_batches,
};

/// The timestamp of a record that says none.
const TIMESTAMP: i64 = 1_700_000_000_000;
/// The most that a batch of a script decompresses to.
const PAYLOAD_MAX: u64 = 64 << 20;

/// The bytes of a list of batches.
pub(super) fn encode(batches: &Value) -> Result<Vec<u8>, String> {
    let Value::List(batches) = batches else { return Err("expected [batches]".into()) };
    batches.iter().map(batch).collect::<Result<Vec<_>, _>>().map(|batches| batches.concat())
}

const KNOWN: &[&str] = &[
    "base_offset",
    "leader_epoch",
    "producer_id",
    "producer_epoch",
    "base_sequence",
    "codec",
    "transactional",
    "control",
    "records",
    "crc",
    "magic",
    "count",
    "last_offset_delta",
];

fn batch(value: &Value) -> Result<Vec<u8>, String> {
    if let Value::Struct(fields) = value
        && let Some((name, _)) = fields.iter().find(|(name, _)| !KNOWN.contains(&name.as_str()))
    {
        return Err(format!("a batch has no {name}"));
    }
    let mut builder = BatchBuilder::new(meta(value)?);
    for record in value.field("records").map_or(&[][..], Value::elements) {
        push(&mut builder, record)?;
    }
    let codec = match value.field("codec") {
        Some(Value::Word(name)) => {
            Codec::from_name(name).ok_or_else(|| format!("there is no codec {name}"))?
        }
        Some(other) => return Err(format!("{other:?} is no codec")),
        None => Codec::None,
    };
    let mut bytes = match Compression::from_id(i16::from(codec.id())) {
        Some(Compression::None) | None => builder.finish(),
        Some(compression) => {
            let payload = codec::compress(codec, None, builder.payload()).map_err(|e| e.to_string())?;
            builder.finish_compressed(compression, &payload)
        }
    };
    damage(value, &mut bytes)?;
    Ok(bytes)
}

fn meta(value: &Value) -> Result<BatchMeta, String> {
    let int = |name: &str, default: i64| value.field(name).and_then(Value::int).unwrap_or(default);
    let small = |name: &str, default| i32::try_from(int(name, default)).map_err(|e| format!("{name}: {e}"));
    let flag = |name: &str| value.field(name) == Some(&Value::Bool(true));
    Ok(BatchMeta {
        base_offset: int("base_offset", 0),
        partition_leader_epoch: small("leader_epoch", -1)?,
        transactional: flag("transactional"),
        control: flag("control"),
        producer_id: int("producer_id", -1),
        producer_epoch: i16::try_from(int("producer_epoch", -1)).map_err(|e| e.to_string())?,
        base_sequence: small("base_sequence", -1)?,
        ..BatchMeta::default()
    })
}

fn push(builder: &mut BatchBuilder, record: &Value) -> Result<(), String> {
    let mut fields = RecordFields { timestamp: TIMESTAMP, ..RecordFields::default() };
    if let Value::Text(text) = record {
        let (key, value) = text.split_once(':').map_or((None, text.as_str()), |(k, v)| (Some(k), v));
        fields.key = key.map(str::as_bytes);
        fields.value = Some(value.as_bytes());
        builder.push(&fields);
        return Ok(());
    }
    fields.key = record.field("key").and_then(bytes_of);
    fields.value = record.field("value").and_then(bytes_of);
    fields.timestamp = record.field("timestamp").and_then(Value::int).unwrap_or(TIMESTAMP);
    let headers = record.field("headers").map_or(&[][..], Value::elements);
    let headers: Vec<RecordHeader<'_>> = headers
        .iter()
        .map(|header| RecordHeader {
            key: header.field("key").and_then(bytes_of).unwrap_or_default(),
            value: header.field("value").and_then(bytes_of),
        })
        .collect();
    fields.headers = &headers;
    let delta = record.field("offset_delta").and_then(Value::int);
    match delta.map(i32::try_from) {
        Some(delta) => builder.push_at(delta.map_err(|e| e.to_string())?, &fields),
        None => builder.push(&fields),
    }
    Ok(())
}

fn bytes_of(value: &Value) -> Option<&[u8]> {
    if let Value::Bytes(bytes) = value { Some(bytes) } else { value.text().map(str::as_bytes) }
}

/// Does to a batch what no client should.
fn damage(value: &Value, bytes: &mut [u8]) -> Result<(), String> {
    for (name, at) in [("last_offset_delta", 23), ("count", 57)] {
        if let Some(number) = value.field(name).and_then(Value::int) {
            let number = i32::try_from(number).map_err(|e| e.to_string())?;
            bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
        }
    }
    let mut crc = crc32c(&bytes[CRC_START..]);
    if value.field("crc") == Some(&Value::Bool(false)) {
        crc ^= 1;
    }
    bytes[CRC_START - 4..CRC_START].copy_from_slice(&crc.to_be_bytes());
    if let Some(magic) = value.field("magic").and_then(Value::int) {
        bytes[16] = u8::try_from(magic).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// The batches in bytes; the last may be cut off.
pub(super) fn decode(bytes: &[u8]) -> Result<Value, String> {
    let mut found = Vec::new();
    for batch in parse_batches(bytes) {
        match batch {
            Ok(batch) => found.push(shown(&batch)?),
            Err(_) => found.push(Value::Word("cut".into())),
        }
    }
    Ok(Value::List(found))
}

fn shown(batch: &Batch<'_>) -> Result<Value, String> {
    batch.check_crc().map_err(|error| format!("{error:?}"))?;
    let header = batch.header();
    let attributes = header.attributes;
    let mut fields: Vec<(String, Value)> = Vec::new();
    let mut add = |name: &str, usual: i64, number: i64| {
        if number != usual {
            fields.push((name.to_owned(), Value::Int(number)));
        }
    };
    add("base_offset", 0, header.base_offset);
    add("leader_epoch", 0, i64::from(header.partition_leader_epoch));
    add("producer_id", -1, header.producer_id);
    add("producer_epoch", -1, i64::from(header.producer_epoch));
    add("base_sequence", -1, i64::from(header.base_sequence));
    add("last_offset_delta", i64::from(header.record_count) - 1, i64::from(header.last_offset_delta));
    let compression = attributes.compression().map_err(|error| format!("{error:?}"))?;
    if compression != Compression::None {
        let name = Codec::from_id(u8::try_from(compression.id()).unwrap_or(0)).map_or("?", Codec::name);
        fields.push(("codec".into(), Value::Word(name.into())));
    }
    let flags = [
        ("log_append_time", attributes.timestamp_type() == TimestampType::LogAppendTime),
        ("transactional", attributes.is_transactional()),
        ("control", attributes.is_control()),
    ];
    for (name, set) in flags {
        if set {
            fields.push((name.into(), Value::Bool(true)));
        }
    }
    fields.push(("records".into(), records(batch, compression, attributes)?));
    Ok(Value::Struct(fields))
}

fn records(batch: &Batch<'_>, compression: Compression, attributes: Attributes) -> Result<Value, String> {
    let header = batch.header();
    let codec = u8::try_from(compression.id()).ok().and_then(Codec::from_id).unwrap_or_default();
    let plain =
        codec::decompress(codec, &batch.bytes()[HEADER_BYTES..], PAYLOAD_MAX).map_err(|e| e.to_string())?;
    let stamped = attributes.timestamp_type() == TimestampType::LogAppendTime;
    let mut found = Vec::new();
    for (at, record) in (0..).zip(Records::new(&plain, header.record_count)) {
        let record = record.map_err(|error| format!("{error:?}"))?;
        let mut fields: Vec<(String, Value)> = Vec::new();
        if record.offset_delta != at {
            fields.push(("offset_delta".into(), Value::Int(i64::from(record.offset_delta))));
        }
        let timestamp = header.base_timestamp + record.timestamp_delta;
        if timestamp != TIMESTAMP && !stamped {
            fields.push(("timestamp".into(), Value::Int(timestamp)));
        }
        let headers: Vec<Value> = record.headers().map(|header| shown_header(&header)).collect();
        if !headers.is_empty() {
            fields.push(("headers".into(), Value::List(headers)));
        }
        found.push(shown_record(fields, record.key, record.value));
    }
    Ok(Value::List(found))
}

fn shown_header(header: &RecordHeader<'_>) -> Value {
    let value = header.value.map_or(Value::Null, Value::of_bytes);
    Value::Struct(vec![("key".into(), Value::of_bytes(header.key)), ("value".into(), value)])
}

fn shown_record(mut fields: Vec<(String, Value)>, key: Option<&[u8]>, value: Option<&[u8]>) -> Value {
    let key = key.map(Value::of_bytes);
    let value = value.map_or(Value::Null, Value::of_bytes);
    match (&key, value.text()) {
        (Some(Value::Text(key)), Some(value)) if fields.is_empty() && !key.contains(':') => {
            return Value::Text(format!("{key}:{value}"));
        }
        (None, Some(value)) if fields.is_empty() && !value.contains(':') => return Value::Text(value.into()),
        _ => {}
    }
    fields.extend(key.map(|key| ("key".to_owned(), key)));
    fields.push(("value".into(), value));
    Value::Struct(fields)
}
