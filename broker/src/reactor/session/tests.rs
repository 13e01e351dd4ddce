use super::*;

fn request(session_id: i32, session_epoch: i32, partitions: &[i32], forgotten: &[i32]) -> FetchRequest {
    let part = |index: &i32| FetchPartition { partition: *index, ..FetchPartition::default() };
    let topic = |partitions: &[i32]| FetchTopic {
        topic: "t".into(),
        partitions: partitions.iter().map(part).collect(),
        ..FetchTopic::default()
    };
    let topics = if partitions.is_empty() { vec![] } else { vec![topic(partitions)] };
    let gone =
        ForgottenTopic { topic: "t".into(), partitions: forgotten.to_vec(), ..ForgottenTopic::default() };
    FetchRequest {
        session_id,
        session_epoch,
        topics,
        forgotten_topics_data: vec![gone],
        ..FetchRequest::default()
    }
}

fn indexes(parts: &[(PartitionKey, FetchPartition)]) -> Vec<i32> {
    parts.iter().map(|(key, _)| key.index).collect()
}

fn open(sessions: &mut Sessions, partitions: &[i32]) -> i32 {
    match sessions.begin(&mut request(0, 0, partitions, &[])).unwrap() {
        (Context::New(id), _) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_remembers_adds_and_forgets() {
    let mut sessions = Sessions::new(3, 10);
    let id = open(&mut sessions, &[0, 1]);
    assert_eq!(id & 0xff, 3);
    let (_, parts) = sessions.begin(&mut request(id, 1, &[2], &[0])).unwrap();
    assert_eq!(indexes(&parts), [1, 2]);
    assert_eq!(
        sessions.begin(&mut request(id, 1, &[], &[])).unwrap_err(),
        ErrorCode::InvalidFetchSessionEpoch
    );
    assert_eq!(
        sessions.begin(&mut request(id + 256, 1, &[], &[])).unwrap_err(),
        ErrorCode::FetchSessionIdNotFound
    );
    let (context, parts) = sessions.begin(&mut request(id, -1, &[5], &[])).unwrap();
    assert!(matches!(context, Context::Full));
    assert_eq!(indexes(&parts), [5]);
    assert_eq!(sessions.len(), 0);
}

#[test]
fn only_what_changed_is_told() {
    let mut sessions = Sessions::new(0, 10);
    let id = open(&mut sessions, &[0]);
    let (context, parts) = sessions.begin(&mut request(id, 1, &[], &[])).unwrap();
    let key = &parts[0].0;
    let data =
        |high_watermark, error_code| PartitionData { high_watermark, error_code, ..PartitionData::default() };
    assert!(sessions.must_tell(&context, key, &data(5, 0)));
    sessions.told(&context, key, &data(5, 0));
    assert!(!sessions.must_tell(&context, key, &data(5, 0)));
    assert!(sessions.must_tell(&context, key, &data(6, 0)));
    assert!(sessions.must_tell(&context, key, &data(5, 3)));
}

#[test]
fn a_full_cache_evicts_the_one_used_longest_ago() {
    let mut sessions = Sessions::new(0, 2);
    let first = open(&mut sessions, &[0]);
    let second = open(&mut sessions, &[0]);
    sessions.begin(&mut request(first, 1, &[], &[])).unwrap();
    let _third = open(&mut sessions, &[0]);
    assert!(sessions.begin(&mut request(second, 1, &[], &[])).is_err());
    assert!(sessions.begin(&mut request(first, 2, &[], &[])).is_ok());
    let mut none = Sessions::new(0, 0);
    assert!(matches!(none.begin(&mut request(0, 0, &[0], &[])).unwrap().0, Context::Full));
}
