use super::*;
use crate::fetch::FetchRequest;
use crate::message::Message;
use crate::metadata::{MetadataRequest, MetadataRequestTopic};
use alloc::vec;

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::default();
    write(&mut w);
    w.finish().unwrap().bytes.to_vec()
}

fn refused<M: Message>(message: &M, version: i16) -> (EncodeReason, &'static str) {
    let error = message.to_bytes(version).unwrap_err();
    (error.reason, error.field)
}

#[test]
fn lengths_take_both_encodings() {
    let text = Str::from("ab");
    assert_eq!(written(|w| w.string(false, &text)), [0, 2, b'a', b'b']);
    assert_eq!(written(|w| w.string(true, &text)), [3, b'a', b'b']);
    assert_eq!(written(|w| w.opt_string(false, None)), [0xff, 0xff]);
    assert_eq!(written(|w| w.opt_string(true, None)), [0]);
    assert_eq!(written(|w| w.opt_bytes(false, None)), [0xff; 4]);
    assert_eq!(written(|w| w.bytes(true, &vec![7; 127].into()))[..3], [0x80, 1, 7]);
    assert_eq!(written(|w| w.array(false, &[1i8], |w, x| w.i8(*x))), [0, 0, 0, 1, 1]);
    assert_eq!(written(|w| w.opt_struct(Some(&5i8), |w, x| w.i8(*x))), [1, 5]);
    assert_eq!(written(|w| w.opt_struct(None::<&i8>, |w, x| w.i8(*x))), [0xff]);
}

#[test]
fn known_and_unknown_tags_come_in_one_order() {
    let mut unknown = UnknownTags::default();
    assert!(unknown.insert(9, Bytes::from_static(b"z")));
    assert!(unknown.insert(1, Bytes::from_static(b"a")));
    assert!(!unknown.insert(9, Bytes::new()));
    let bytes = written(|w| {
        let mut tags = w.tags(2, &unknown);
        tags.field(true, 0, |w| w.i8(5));
        tags.field(false, 3, |w| w.i8(6));
        tags.field(true, 4, |w| w.raw(&[8; 200]));
        tags.finish();
    });
    assert_eq!(bytes[..11], [4, 0, 1, 5, 1, 1, b'a', 4, 0xc8, 1, 8]);
    assert_eq!(bytes[bytes.len() - 4..], [8, 9, 1, b'z']);
}

#[test]
fn an_unknown_tag_cannot_take_the_place_of_a_known_one() {
    let mut unknown = UnknownTags::default();
    unknown.insert(0, Bytes::new());
    let request = FetchRequest { unknown_tags: unknown, cluster_id: Some("x".into()), ..Default::default() };
    assert_eq!(refused(&request, 12), (EncodeReason::TagTaken, ""));
}

#[test]
fn what_a_version_lacks_is_refused_unless_ignorable() {
    let request = FetchRequest { replica_id: 3, rack_id: "ignored below 11".into(), ..Default::default() };
    assert!(request.to_bytes(4).is_ok());
    assert_eq!(refused(&request, 15), (EncodeReason::FieldNotInVersion, "ReplicaId"));
    assert_eq!(refused(&request, 3), (EncodeReason::UnsupportedVersion, ""));
    let mut unknown_tags = UnknownTags::default();
    unknown_tags.insert(100, Bytes::new());
    let request = FetchRequest { unknown_tags, ..Default::default() };
    assert_eq!(refused(&request, 11), (EncodeReason::FieldNotInVersion, "tagged fields"));
}

#[test]
fn null_is_refused_where_a_version_has_none() {
    let request = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(refused(&request, 0), (EncodeReason::NullNotInVersion, "Topics"));
    assert!(request.to_bytes(1).is_ok());
    let topic = MetadataRequestTopic { name: None, ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    assert_eq!(refused(&request, 9), (EncodeReason::NullNotInVersion, "Name"));
    assert!(request.to_bytes(10).is_ok());
}

#[test]
fn strings_end_where_kafkas_do() {
    let text = |length| Str::from(alloc::string::String::from_utf8(vec![b'x'; length]).unwrap());
    for compact in [false, true] {
        assert!(written(|w| w.string(compact, &text(0x7fff))).len() > 0x7fff);
        let mut w = Writer::default();
        w.string(compact, &text(0x8000));
        assert_eq!(w.finish().unwrap_err().reason, EncodeReason::StringTooLong);
    }
}

#[test]
fn the_first_error_stays() {
    let mut w = Writer::default();
    w.refuse(EncodeReason::TooLong, "a");
    w.refuse(EncodeReason::TagTaken, "b");
    assert_eq!(w.finish(), Err(EncodeError { reason: EncodeReason::TooLong, field: "a" }));
}
