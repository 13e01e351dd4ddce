use super::*;

fn open(sessions: &mut Sessions, reader: u64) -> i32 {
    match sessions.begin((0, 0), || reader).unwrap().context {
        Context::New(id) => id,
        other @ (Context::Full | Context::Incremental(_)) => panic!("{other:?}"),
    }
}

fn none() -> u64 {
    panic!("no session begins here")
}

#[test]
fn a_session_goes_from_epoch_to_epoch_and_ends() {
    let mut sessions = Sessions::new(3, 10);
    let id = open(&mut sessions, 7);
    assert_eq!(id & 0xff, 3);
    let begun = sessions.begin((id, 1), none).unwrap();
    assert_eq!((begun.context, begun.reader), (Context::Incremental(id), Some(7)));
    assert_eq!(sessions.begin((id, 1), none).unwrap_err(), ErrorCode::InvalidFetchSessionEpoch);
    assert_eq!(sessions.begin((id + 256, 1), none).unwrap_err(), ErrorCode::FetchSessionIdNotFound);
    let begun = sessions.begin((id, -1), none).unwrap();
    assert_eq!((begun.context, begun.reader, begun.gone), (Context::Full, None, vec![7]));
    assert_eq!(sessions.begin((id, 2), none).unwrap_err(), ErrorCode::FetchSessionIdNotFound);
}

#[test]
fn a_full_cache_evicts_the_one_used_longest_ago() {
    let mut sessions = Sessions::new(0, 2);
    let first = open(&mut sessions, 1);
    let second = open(&mut sessions, 2);
    sessions.begin((first, 1), none).unwrap();
    let begun = sessions.begin((0, 0), || 3).unwrap();
    assert_eq!((begun.reader, begun.gone), (Some(3), vec![2]));
    assert!(sessions.begin((second, 1), none).is_err());
    assert!(sessions.begin((first, 2), none).is_ok());
    assert_eq!(Sessions::new(0, 0).begin((0, 0), none).unwrap().context, Context::Full);
}

#[test]
fn a_session_that_begins_anew_lets_its_old_reader_go() {
    let mut sessions = Sessions::new(0, 2);
    let id = open(&mut sessions, 1);
    let begun = sessions.begin((id, 0), || 2).unwrap();
    assert_eq!((begun.reader, begun.gone), (Some(2), vec![1]));
}
