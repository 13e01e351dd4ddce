use super::*;
use base::Rng;
use wire::record::{Attributes, EndTxn};

fn batch(id: i64, epoch: i16, base_sequence: i32, count: i32, base_offset: i64) -> BatchHeader {
    BatchHeader {
        base_offset,
        batch_length: 49,
        partition_leader_epoch: 0,
        crc: 0,
        attributes: Attributes::default(),
        last_offset_delta: count - 1,
        base_timestamp: 0,
        max_timestamp: base_offset * 10,
        producer_id: id,
        producer_epoch: epoch,
        base_sequence,
        record_count: count,
    }
}

fn applied(batches: &[BatchHeader]) -> ProducerStates {
    let mut states = ProducerStates::default();
    for header in batches {
        states.apply(header, None, Timestamp(1_000));
    }
    states
}

fn transactional(mut header: BatchHeader) -> BatchHeader {
    header.attributes = header.attributes.with_transactional(true);
    header
}

#[test]
fn the_next_sequence_passes_and_others_do_not() {
    let states = applied(&[batch(1, 0, 0, 3, 0), batch(1, 0, 3, 2, 3)]);
    assert_eq!(states.check_client(&batch(1, 0, 5, 1, 0), false), Ok(Verdict::New));
    for sent in [6, 2, 1_000] {
        let refused = states.check_client(&batch(1, 0, sent, 1, 0), false);
        assert_eq!(refused, Err(ProducerError::OutOfOrder { sent, last: 4 }));
    }
}

#[test]
fn a_retry_is_found_among_the_last_five_only() {
    let all: Vec<_> = (0..7).map(|k| batch(1, 0, k * 2, 2, i64::from(k) * 2)).collect();
    let states = applied(&all);
    for (k, header) in (0i64..).zip(&all) {
        let found = states.check_client(header, false);
        if k < 2 {
            assert!(matches!(found, Err(ProducerError::OutOfOrder { .. })), "{k}");
        } else {
            let Ok(Verdict::Duplicate(batch)) = found else { panic!("{k}: {found:?}") };
            assert_eq!((batch.base_offset(), batch.last_offset, batch.timestamp), (k * 2, k * 2 + 1, k * 20));
        }
    }
    // Only the whole batch is the same batch.
    assert!(states.check_client(&batch(1, 0, 12, 1, 0), false).is_err());
    assert!(states.check_client(&batch(1, 0, 10, 4, 0), false).is_err());
}

#[test]
fn sequences_wrap() {
    let states = applied(&[batch(1, 0, i32::MAX - 1, 2, 0)]);
    assert_eq!(states.check_client(&batch(1, 0, 0, 1, 0), false), Ok(Verdict::New));
    let across = batch(1, 0, i32::MAX, 3, 0);
    let states = applied(&[batch(1, 0, i32::MAX - 1, 1, 0), across]);
    assert!(matches!(states.check_client(&across, false), Ok(Verdict::Duplicate(_))));
    assert_eq!(states.check_client(&batch(1, 0, 2, 1, 0), false), Ok(Verdict::New));
    assert!(states.check_client(&batch(1, 0, 3, 1, 0), false).is_err());
}

#[test]
fn a_new_epoch_begins_at_zero_and_old_ones_are_fenced() {
    let states = applied(&[batch(1, 3, 0, 5, 0)]);
    assert_eq!(states.check_client(&batch(1, 4, 0, 1, 0), false), Ok(Verdict::New));
    assert_eq!(
        states.check_client(&batch(1, 4, 5, 1, 0), false),
        Err(ProducerError::OutOfOrder { sent: 5, last: -1 })
    );
    assert_eq!(
        states.check_client(&batch(1, 2, 5, 1, 0), false),
        Err(ProducerError::InvalidEpoch { sent: ProducerEpoch(2), current: ProducerEpoch(3) })
    );
    let states = applied(&[batch(1, 3, 0, 5, 0), batch(1, 4, 0, 2, 5)]);
    let old = states.check_client(&batch(1, 3, 0, 5, 0), false);
    assert!(matches!(old, Err(ProducerError::InvalidEpoch { .. })), "an old epoch's batch is no duplicate");
}

#[test]
fn an_unknown_producer_is_believed_unless_strictness_is_asked_for() {
    let states = ProducerStates::default();
    assert_eq!(states.check_client(&batch(1, 0, 7, 1, 0), false), Ok(Verdict::New));
    assert_eq!(
        states.check_client(&batch(1, 0, 7, 1, 0), true),
        Err(ProducerError::UnknownProducer { sent: 7 })
    );
    assert_eq!(states.check_client(&batch(1, 0, 0, 1, 0), true), Ok(Verdict::New));
}

#[test]
fn markers_close_transactions_and_bump_the_epoch() {
    let mut states = applied(&[batch(9, 0, 0, 1, 3), transactional(batch(1, 0, 0, 5, 10))]);
    assert_eq!(states.first_open_transaction(), Some(LastOffset(10)));
    assert_eq!(states.check_client(&batch(1, 0, 5, 1, 0), false), Err(ProducerError::TransactionOpen));
    assert_eq!(states.check_client(&transactional(batch(1, 0, 5, 1, 0)), false), Ok(Verdict::New));
    assert_eq!(states.check_broker(&batch(1, 0, -1, 1, 0)), Err(ProducerError::TransactionOpen));

    let mut header = transactional(batch(1, 1, -1, 1, 15));
    header.attributes = header.attributes.with_control(true);
    assert_eq!(states.check_broker(&header), Ok(()));
    states.apply(&header, Some(EndTxnMarker { end: EndTxn::Commit, coordinator_epoch: 4 }), Timestamp(2_000));
    let state = states.get(ProducerId(1)).unwrap();
    assert_eq!((state.epoch, state.coordinator_epoch), (ProducerEpoch(1), 4));
    assert_eq!((state.txn_first_offset, state.batches().len()), (None, 0));
    assert_eq!(state.seen, Timestamp(2_000));
    assert_eq!(states.check_client(&batch(1, 1, 0, 1, 0), false), Ok(Verdict::New));
    assert!(states.check_client(&batch(1, 1, 5, 1, 0), false).is_err());
    assert!(matches!(states.check_broker(&batch(1, 0, -1, 1, 0)), Err(ProducerError::InvalidEpoch { .. })));
}

#[test]
fn time_and_nothing_else_expires_producers() {
    let mut states = applied(&[batch(1, 0, 0, 1, 0), transactional(batch(2, 0, 0, 1, 1))]);
    states.expire(Timestamp(1_999), Span::from_millis(1_000));
    assert_eq!(states.iter().count(), 2);
    states.expire(Timestamp(2_000), Span::from_millis(1_000));
    assert!(states.get(ProducerId(1)).is_none());
    assert!(states.get(ProducerId(2)).is_some(), "its transaction is open");
    states.expire(Timestamp(0), Span::ZERO);
    assert_eq!(states.iter().count(), 1);
}

#[test]
fn snapshots_read_back_with_the_last_batch_of_each_window() {
    let mut states =
        applied(&[batch(1, 2, 0, 3, 0), batch(1, 2, 3, 2, 3), transactional(batch(5, 0, 0, 4, 5))]);
    states.apply(
        &{
            let mut header = batch(7, 1, -1, 1, 9);
            header.attributes = header.attributes.with_control(true);
            header
        },
        Some(EndTxnMarker { end: EndTxn::Abort, coordinator_epoch: 3 }),
        Timestamp(1_000),
    );
    let read = decode(&encode(&states)).unwrap();
    assert_eq!(read.get(ProducerId(5)).unwrap().txn_first_offset, Some(5));
    assert_eq!(read.get(ProducerId(7)), states.get(ProducerId(7)));
    assert_eq!(read.check_client(&batch(1, 2, 5, 1, 0), true), Ok(Verdict::New));
    assert!(matches!(read.check_client(&batch(1, 2, 3, 2, 0), true), Ok(Verdict::Duplicate(_))));
    assert_eq!(decode(&encode(&ProducerStates::default())), Some(ProducerStates::default()));
}

#[test]
fn every_flipped_bit_of_a_snapshot_is_found() {
    let good = encode(&applied(&[batch(1, 2, 0, 3, 0), batch(4, 2, 0, 3, 3)]));
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&bad).is_none(), "bit {bit}");
    }
    for cut in 0..good.len() {
        assert!(decode(&good[..cut]).is_none(), "cut at {cut}");
    }
}

#[test]
fn the_number_of_producers_is_bounded_and_the_latest_stay() {
    let mut states = ProducerStates::default();
    let total = i64::try_from(PRODUCERS_MAX).unwrap() + 10;
    for id in 0..total {
        states.apply(&batch(id, 0, 0, 1, id), None, Timestamp(0));
    }
    assert!(states.iter().count() <= PRODUCERS_MAX);
    assert!(states.get(ProducerId(0)).is_none());
    assert!(states.get(ProducerId(total - 1)).is_some());
    assert!(states.iter().count() > PRODUCERS_MAX / 2);
}

/// Producers that number their batches and retry at random are never refused and never doubled.
#[test]
fn honest_producers_are_answered_right() {
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let mut states = ProducerStates::default();
        let mut sent: Vec<(BatchHeader, i64)> = Vec::new();
        let (mut sequence, mut offset) = (i32::MAX - 20, 0i64);
        for _ in 0..100 {
            if !sent.is_empty() && rng.chance(1, 3) {
                let back = rng.index(sent.len().min(WINDOW));
                let (header, base) = sent[sent.len() - 1 - back];
                let Ok(Verdict::Duplicate(found)) = states.check_client(&header, true) else {
                    panic!("seed {seed}")
                };
                assert_eq!(found.base_offset(), base);
            } else {
                let count = 1 + i32::try_from(rng.below(4)).unwrap();
                let header = batch(1, 0, sequence, count, offset);
                let strict = !sent.is_empty();
                assert_eq!(states.check_client(&header, strict), Ok(Verdict::New), "seed {seed}");
                states.apply(&header, None, Timestamp(0));
                sent.push((header, offset));
                sequence = sequence.wrapping_add(count) & i32::MAX;
                offset += i64::from(count);
            }
        }
    }
}
