use super::*;
use alloc::vec;

fn reader(bytes: &[u8]) -> Reader {
    Reader::new(Bytes::copy_from_slice(bytes))
}

fn reason<T>(outcome: Result<T, DecodeError>) -> DecodeReason {
    outcome.err().unwrap().reason
}

#[test]
fn strings_share_the_frame() {
    let frame = Bytes::from(vec![0, 3, b'a', b'b', b'c', 3, b'd', b'e']);
    let mut r = Reader::new(frame.clone());
    let (legacy, compact) = (r.string(false).unwrap(), r.string(true).unwrap());
    assert_eq!((legacy.as_str(), compact.as_str()), ("abc", "de"));
    assert_eq!(legacy.as_bytes().as_ptr(), frame[2..].as_ptr());
    assert_ne!(legacy.detached().as_bytes().as_ptr(), legacy.as_bytes().as_ptr());
    assert_eq!(legacy.detached(), legacy);
    assert_eq!(r.finish(), Ok(()));
}

#[test]
fn bad_strings_are_told_apart() {
    assert_eq!(reason(reader(&[0xff, 0xff]).string(false)), DecodeReason::UnexpectedNull);
    assert_eq!(reader(&[0xff, 0xff]).opt_string(false, true), Ok(None));
    assert_eq!(reason(reader(&[0xff, 0xff]).opt_string(false, false)), DecodeReason::UnexpectedNull);
    assert_eq!(reason(reader(&[0]).string(true)), DecodeReason::UnexpectedNull);
    assert_eq!(reason(reader(&[0xff, 0xfe]).string(false)), DecodeReason::NegativeLength);
    assert_eq!(reason(reader(&[0, 2, b'a']).string(false)), DecodeReason::Short);
    assert_eq!(reason(reader(&[0, 1, 0xff]).string(false)), DecodeReason::InvalidUtf8);
    // 32,767 bytes are the longest string; the compact encoding could say more.
    let mut longest = vec![b'x'; 3 + 0x8000];
    longest[..3].copy_from_slice(&[0x80, 0x80, 0x02]);
    assert_eq!(reader(&longest).string(true).unwrap().len(), 0x7fff);
    longest[..3].copy_from_slice(&[0x81, 0x80, 0x02]);
    assert_eq!(reason(reader(&longest).string(true)), DecodeReason::StringTooLong);
}

#[test]
fn varints_are_read_padded_but_never_beyond_their_type() {
    assert_eq!(reader(&[0x80, 0x80, 0x80, 0x80, 0x00]).uvarint(), Ok(0));
    assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).uvarint(), Ok(u32::MAX));
    assert_eq!(reason(reader(&[0xff, 0xff, 0xff, 0xff, 0x1f]).uvarint()), DecodeReason::InvalidVarint);
    assert_eq!(reason(reader(&[0x80; 6]).uvarint()), DecodeReason::InvalidVarint);
    assert_eq!(reason(reader(&[0x80; 4]).uvarint()), DecodeReason::Short);
    let mut longest = [0xff; 10];
    longest[9] = 1;
    assert_eq!(reader(&longest).uvarlong(), Ok(u64::MAX));
    longest[9] = 2;
    assert_eq!(reason(reader(&longest).uvarlong()), DecodeReason::InvalidVarint);
}

#[test]
fn a_count_is_believed_only_as_far_as_the_bytes_go() {
    assert_eq!(reader(&[0, 0, 0, 2, 1, 2]).array(false, 1, Reader::i8), Ok(vec![1, 2]));
    assert_eq!(reason(reader(&[0, 0, 0, 3, 1, 2]).array(false, 1, Reader::i8)), DecodeReason::Short);
    assert_eq!(reason(reader(&[0x7f, 0xff, 0xff, 0xff, 1]).array(false, 1, Reader::i8)), DecodeReason::Short);
    assert_eq!(reason(reader(&[0xff; 4]).array(false, 1, Reader::i8)), DecodeReason::UnexpectedNull);
    assert_eq!(reader(&[0]).opt_array(true, true, 1, Reader::i8), Ok(None));
    assert_eq!(
        reason(reader(&[0xff, 0xff, 0xff, 0xfe]).opt_array(false, true, 1, Reader::i8)),
        DecodeReason::NegativeLength
    );
    let mut many = vec![0; 4 + ARRAY_ELEMENTS_MAX + 1];
    many[..4].copy_from_slice(&u32::try_from(ARRAY_ELEMENTS_MAX + 1).unwrap().to_be_bytes());
    assert_eq!(reason(reader(&many).array(false, 1, Reader::i8)), DecodeReason::TooManyElements);
    many[3] -= 1;
    assert_eq!(reader(&many).array(false, 1, Reader::i8).unwrap().len(), ARRAY_ELEMENTS_MAX);
}

#[test]
fn arrays_of_wide_elements_end_where_the_budget_does() {
    type Wide = [u64; 16];
    let read = |r: &mut Reader| r.i8().map(|_| Wide::default());
    let count = DECODED_BYTES_MIN / size_of::<Wide>();
    let mut bytes = vec![0; 4 + count + 1];
    bytes[..4].copy_from_slice(&u32::try_from(count).unwrap().to_be_bytes());
    assert_eq!(reader(&bytes).array(false, 1, read).unwrap().len(), count);
    bytes[..4].copy_from_slice(&u32::try_from(count + 1).unwrap().to_be_bytes());
    assert_eq!(reason(reader(&bytes).array(false, 1, read)), DecodeReason::TooManyElements);
}

#[test]
fn a_budget_holds_for_all_arrays_together() {
    let bytes = Bytes::from_static(&[3, 0, 0, 3, 0, 0]);
    let read = |budget| {
        let mut r = Reader::with_budget(bytes.clone(), budget);
        (r.array(true, 1, |r| r.i8().map(i64::from)).is_ok(), r.array(true, 1, Reader::i8).is_ok())
    };
    assert_eq!(read(18), (true, true));
    assert_eq!(read(17), (true, false));
    assert!(!read(15).0);
}

#[test]
fn unknown_tags_are_kept_in_order_and_known_ones_must_fit() {
    let read = |bytes: &[u8]| {
        let mut unknown = UnknownTags::default();
        let mut known = None;
        let outcome = reader(bytes).tags(&mut unknown, |r, tag| {
            let is_known = tag == 1 || tag == 100;
            if is_known {
                known = Some(r.i16()?);
            }
            Ok(is_known)
        });
        outcome.map(|()| (known, unknown.as_slice().to_vec()))
    };
    assert_eq!(read(&[0]), Ok((None, vec![])));
    let (b, c) = (Bytes::from_static(b"b"), Bytes::from_static(b""));
    assert_eq!(read(&[3, 9, 0, 1, 2, 0, 7, 2, 1, b'b']), Ok((Some(7), vec![(2, b), (9, c)])));
    // The size is not that of the value; a tag twice, known or unknown, small or large.
    for bytes in [
        &[1, 1, 3, 0, 7, 0][..],
        &[2, 1, 2, 0, 7, 1, 2, 0, 7],
        &[2, 5, 0, 5, 0],
        &[2, 100, 2, 0, 7, 100, 2, 0, 7],
        &[2, 0xc8, 1, 0, 0xc8, 1, 0],
    ] {
        assert_eq!(reason(read(bytes)), DecodeReason::InvalidTag, "{bytes:?}");
    }
    // The value ends before its type does.
    assert_eq!(reason(read(&[1, 1, 1, 0, 7])), DecodeReason::Short);
    assert_eq!(reason(read(&[1, 5, 2, 0])), DecodeReason::Short);
    assert_eq!(reason(read(&[65])), DecodeReason::TooManyTags);
    let mut large = vec![0; TAGGED_BYTES_MAX + 6];
    large[..5].copy_from_slice(&[1, 5, 0x81, 0x80, 0x04]);
    assert_eq!(reason(read(&large)), DecodeReason::TooManyTags);
    large[2] = 0x80;
    assert!(read(&large).is_ok());
}

#[test]
fn errors_say_where() {
    let mut r = reader(&[0, 0, 0, 1, 0, 5, b'x']);
    r.i32().unwrap();
    assert_eq!(r.string(false), Err(DecodeError { reason: DecodeReason::Short, at: 6 }));
    let mut r = reader(&[0; 3]);
    r.i8().unwrap();
    assert_eq!(r.finish(), Err(DecodeError { reason: DecodeReason::TrailingBytes, at: 1 }));
}
