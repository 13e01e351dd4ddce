//! Producer snapshots in Kafka's format, version 1.

use super::{ProducerBatch, ProducerState, ProducerStates};
use base::{ProducerEpoch, ProducerId, Timestamp};
use wire::record::crc32c;

const VERSION: i16 = 1;
/// Version and checksum.
const HEAD_BYTES: usize = 6;
const ENTRY_BYTES: usize = 46;

/// The bytes of a snapshot. Of each producer's window only the last batch is kept, as Kafka does it.
pub(crate) fn encode(states: &ProducerStates) -> Vec<u8> {
    let mut out = vec![0; HEAD_BYTES];
    let count = i32::try_from(states.producers.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&count.to_be_bytes());
    for (id, state) in states.iter() {
        let none = ProducerBatch { last_sequence: -1, last_offset: -1, offset_delta: 0, timestamp: -1 };
        let last = state.batches().last().copied().unwrap_or(none);
        out.extend_from_slice(&id.0.to_be_bytes());
        out.extend_from_slice(&state.epoch.0.to_be_bytes());
        out.extend_from_slice(&last.last_sequence.to_be_bytes());
        out.extend_from_slice(&last.last_offset.to_be_bytes());
        out.extend_from_slice(&last.offset_delta.to_be_bytes());
        out.extend_from_slice(&state.seen.0.to_be_bytes());
        out.extend_from_slice(&state.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&state.txn_first_offset.unwrap_or(-1).to_be_bytes());
    }
    let crc = crc32c(&out[HEAD_BYTES..]);
    out[..2].copy_from_slice(&VERSION.to_be_bytes());
    out[2..6].copy_from_slice(&crc.to_be_bytes());
    out
}

/// Reads a snapshot; `None` if it is damaged or of another version.
pub(crate) fn decode(bytes: &[u8]) -> Option<ProducerStates> {
    let (head, body) = bytes.split_at_checked(HEAD_BYTES)?;
    let crc = u32::from_be_bytes(head[2..6].try_into().ok()?);
    if head[..2] != VERSION.to_be_bytes() || crc != crc32c(body) {
        return None;
    }
    let (count, entries) = body.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    if entries.len() != count.checked_mul(ENTRY_BYTES)? {
        return None;
    }
    let producers = entries.chunks_exact(ENTRY_BYTES).map(decode_entry).collect::<Option<_>>()?;
    Some(ProducerStates { producers })
}

fn decode_entry(entry: &[u8]) -> Option<(ProducerId, ProducerState)> {
    let long = |at: usize| entry.get(at..at + 8)?.try_into().ok().map(i64::from_be_bytes);
    let int = |at: usize| entry.get(at..at + 4)?.try_into().ok().map(i32::from_be_bytes);
    let epoch = i16::from_be_bytes(entry.get(8..10)?.try_into().ok()?);
    let mut state = ProducerState::new(ProducerEpoch(epoch));
    let (last_offset, offset_delta, seen) = (long(14)?, int(22)?, long(26)?);
    if last_offset >= 0 {
        state.push(ProducerBatch { last_sequence: int(10)?, last_offset, offset_delta, timestamp: seen });
    }
    state.seen = Timestamp(seen);
    state.coordinator_epoch = int(34)?;
    state.txn_first_offset = Some(long(38)?).filter(|offset| *offset >= 0);
    Some((ProducerId(long(0)?), state))
}
