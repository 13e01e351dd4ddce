use super::*;
use base::{Rng, Uuid};
use std::format;

fn bytes(hex: &str) -> Bytes {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn decoded(key: &str, value: Option<&str>) -> Record {
    match decode(bytes(key), value.map(bytes), None) {
        Ok(Decoded::Record(record)) => record,
        other => panic!("{other:?}"),
    }
}

fn plain(record: &Record) -> (Bytes, Option<Bytes>) {
    match encode(record) {
        Ok(Encoded::Plain { key, value }) => (key, value),
        other => panic!("{other:?}"),
    }
}

const OFFSET_KEY: &str = "000100016700017400000007";
const GROUP_KEY: &str = "0002000167";

fn offset() -> CommittedOffset {
    CommittedOffset {
        offset: EndOffset(42),
        leader_epoch: Some(LeaderEpoch(3)),
        metadata: Label::from("m"),
        commit_timestamp: Timestamp(1_000),
        expire_timestamp: None,
        topic_id: TopicId(Uuid(core::array::from_fn(|k| u8::try_from(k).unwrap()))),
    }
}

fn group() -> GroupMetadata {
    GroupMetadata {
        generation: Generation(5),
        protocol_type: ProtocolType::from_wire("consumer"),
        protocol: ProtocolName::from_wire("range"),
        leader: MemberId::from_wire("a-1"),
        state_timestamp: Some(Timestamp(1_234)),
        members: std::vec![MemberMetadata {
            member: MemberId::from("a-1"),
            instance: InstanceId::from_wire("i"),
            client_id: Label::from("a"),
            client_host: Label::from("/1.2.3.4"),
            rebalance_timeout: Span::from_secs(60),
            session_timeout: Span::from_secs(10),
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"asg"),
        }],
    }
}

fn offset_record(value: Option<CommittedOffset>) -> Record {
    Record::OffsetCommit { key: load_key("g", "t", 7), value }
}

fn group_record(metadata: Option<GroupMetadata>) -> Record {
    Record::GroupMetadata { group: GroupId::from("g"), metadata }
}

/// The hex was written down from the format's description by another program.
#[test]
fn writes_what_kafka_writes() {
    let bare = CommittedOffset {
        leader_epoch: None,
        metadata: Label::from(""),
        topic_id: TopicId::ZERO,
        ..offset()
    };
    let expiring = CommittedOffset {
        leader_epoch: None,
        topic_id: TopicId::ZERO,
        expire_timestamp: Some(Timestamp(2_000)),
        ..offset()
    };
    let empty = GroupMetadata { state_timestamp: Some(Timestamp(1_234)), ..GroupMetadata::default() };
    for (record, key, value) in [
        (
            offset_record(Some(offset())),
            OFFSET_KEY,
            Some("0004000000000000002a00000003026d00000000000003e8010010000102030405060708090a0b0c0d0e0f"),
        ),
        (offset_record(Some(bare)), OFFSET_KEY, Some("0004000000000000002affffffff0100000000000003e800")),
        (
            offset_record(Some(expiring)),
            OFFSET_KEY,
            Some("0001000000000000002a00016d00000000000003e800000000000007d0"),
        ),
        (offset_record(None), OFFSET_KEY, None),
        (
            group_record(Some(group())),
            GROUP_KEY,
            Some(
                "000409636f6e73756d6572000000050672616e676504612d3100000000000004d20204612d3102690261092f312e32\
                 2e332e340000ea600000271004737562046173670000",
            ),
        ),
        (group_record(Some(empty)), GROUP_KEY, Some("00040100000000000000000000000004d20100")),
        (group_record(None), GROUP_KEY, None),
    ] {
        let expected = Encoded::Plain { key: bytes(key), value: value.map(bytes) };
        assert_eq!(encode(&record).unwrap(), expected, "{record:?}");
        assert_eq!(decoded(key, value), record);
    }
}

#[test]
fn reads_what_older_brokers_wrote() {
    let plain = CommittedOffset { topic_id: TopicId::ZERO, ..offset() };
    let v3 = "0003000000000000002a0000000300016d00000000000003e8";
    assert_eq!(decoded(OFFSET_KEY, Some(v3)), offset_record(Some(plain.clone())));
    let oldest = offset_record(Some(CommittedOffset { leader_epoch: None, ..plain }));
    let v0 = "0000000000000000002a00016d00000000000003e8";
    assert_eq!(decoded(OFFSET_KEY, Some(v0)), oldest);
    let legacy_key = "000000016700017400000007";
    assert_eq!(decoded(legacy_key, Some(v0)), oldest);
    assert_eq!(decoded(legacy_key, None), offset_record(None));
    let mut old = group();
    old.state_timestamp = None;
    old.members[0].instance = None;
    old.members[0].rebalance_timeout = old.members[0].session_timeout;
    let v0 = "00000008636f6e73756d657200000005000572616e67650003612d31000000010003612d3100016100082f312e322e332e34\
              000027100000000373756200000003617367";
    assert_eq!(decoded(GROUP_KEY, Some(v0)), group_record(Some(old)));
}

#[test]
fn what_is_not_ours_is_skipped_and_what_is_damaged_is_not() {
    for number in [3_i16, 5, 22, i16::MAX, -1] {
        let key = Bytes::copy_from_slice(&number.to_be_bytes());
        assert_eq!(decode(key, None, None), Ok(Decoded::Foreign { number }));
    }
    let newer = bytes("0005000000000000002a");
    let error = decode(bytes(OFFSET_KEY), Some(newer), None).unwrap_err();
    assert_eq!(error.reason, DecodeReason::UnsupportedVersion);
    assert!(decode(Bytes::new(), None, None).is_err());
    assert!(decode(bytes(GROUP_KEY), Some(Bytes::new()), None).is_err());
}

/// The bytes of a staged offset are those of a committed one; the batch makes the difference.
#[test]
fn a_staged_offset_belongs_to_its_batch() {
    let producer = Producer { id: base::ProducerId(7), epoch: base::ProducerEpoch(1) };
    let record = Record::StagedOffset { producer, key: load_key("g", "t", 7), value: offset() };
    let (key, value) = plain(&offset_record(Some(offset())));
    let encoded = encode(&record).unwrap();
    assert_eq!(encoded, Encoded::Transactional { producer, key: key.clone(), value: value.clone().unwrap() });
    assert_eq!(decode(key.clone(), value, Some(producer)), Ok(Decoded::Record(record)));
    assert_eq!(decode(key, None, Some(producer)), Ok(Decoded::Record(offset_record(None))));
}

/// Cut anywhere, a record is an error and never a panic or another record.
#[test]
fn a_cut_record_is_damage() {
    for record in [offset_record(Some(offset())), group_record(Some(group()))] {
        let (key, value) = plain(&record);
        let value = value.unwrap();
        for cut in 0..value.len() {
            assert!(decode(key.clone(), Some(value.slice(..cut)), None).is_err(), "value cut at {cut}");
        }
        for cut in 0..key.len() {
            assert!(decode(key.slice(..cut), None, None).is_err(), "key cut at {cut}");
        }
    }
}

#[test]
fn random_records_come_back_and_stay_below_their_bound() {
    let mut rng = Rng::new(11);
    for _ in 0..2_000 {
        let record = if rng.chance(1, 2) { random_group(&mut rng) } else { random_offset(&mut rng) };
        let (key, value) = plain(&record);
        let size = key.len() + value.as_ref().map_or(0, Bytes::len);
        assert!(size <= record.size_bound(), "{size} bytes for {record:?}");
        assert_eq!(decode(key, value, None), Ok(Decoded::Record(record)));
    }
}

fn text(rng: &mut Rng) -> std::string::String {
    const LETTERS: [char; 4] = ['a', 'é', '漢', '-'];
    (0..rng.below(40)).map(|_| LETTERS[rng.index(LETTERS.len())]).collect()
}

fn random_offset(rng: &mut Rng) -> Record {
    let value = CommittedOffset {
        offset: EndOffset(i64::from_be_bytes(rng.next_u64().to_be_bytes())),
        metadata: Label::from(text(rng).as_str()),
        ..offset()
    };
    let key = load_key(&text(rng), &text(rng), i32::try_from(rng.below(1 << 31)).unwrap());
    Record::OffsetCommit { key, value: Some(value) }
}

fn random_group(rng: &mut Rng) -> Record {
    let members = (0..rng.below(5)).map(|at| {
        let payload: Bytes = text(rng).into();
        MemberMetadata {
            member: MemberId::from(format!("{at}{}", text(rng)).as_str()),
            instance: rng.chance(1, 2).then(|| InstanceId::from(text(rng).as_str())),
            client_id: Label::from(text(rng).as_str()),
            subscription: payload.clone(),
            assignment: payload,
            ..group().members.remove(0)
        }
    });
    let metadata = GroupMetadata {
        members: members.collect(),
        leader: rng.chance(1, 2).then(|| MemberId::from(text(rng).as_str())),
        ..group()
    };
    Record::GroupMetadata { group: GroupId::from(text(rng).as_str()), metadata: Some(metadata) }
}
