//! Raft's messages as they travel between nodes: a format of our own, so that no byte from outside reaches the old
//! protobuf decoder that the crate brings along.
//!
//! Version, kind, flags, then the numbers, all of fixed width and big-endian; then entries, context and snapshot. Only the
//! kinds below travel: a proposal or a hand-over from the network cannot even be said.

use crate::entry::{EntryKind, Membership, RaftId, SnapshotPoint};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use protobuf::Message as _;
use raft::eraftpb::{
    self, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, EntryType, MessageType,
};

const VERSION: u8 = 1;
/// What travels, with its stored number.
const KINDS: [(u8, MessageType); 10] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgRequestPreVote),
    (6, MessageType::MsgRequestPreVoteResponse),
    (7, MessageType::MsgHeartbeat),
    (8, MessageType::MsgHeartbeatResponse),
    (9, MessageType::MsgSnapshot),
    (10, MessageType::MsgTimeoutNow),
];
/// How a change of the membership comes and goes, with its stored number.
const TRANSITIONS: [(u8, ConfChangeTransition); 3] = [
    (0, ConfChangeTransition::Auto),
    (1, ConfChangeTransition::Implicit),
    (2, ConfChangeTransition::Explicit),
];
const CHANGES: [(u8, ConfChangeType); 3] =
    [(0, ConfChangeType::AddNode), (1, ConfChangeType::RemoveNode), (2, ConfChangeType::AddLearnerNode)];
const REJECT: u8 = 1;
const SNAPSHOT: u8 = 2;
/// Members that a membership or a change of it may name; a quorum has a handful.
const MEMBERS_MAX: usize = 1_000;

/// The bytes of a message; `None` for one that does not travel.
pub(crate) fn encode(message: &eraftpb::Message) -> Option<Bytes> {
    let (kind, _) = KINDS.iter().find(|(_, kind)| *kind == message.get_msg_type())?;
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    out.put_u8(*kind);
    let flags = [(message.reject, REJECT), (message.snapshot.is_some(), SNAPSHOT)];
    out.put_u8(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
    numbers(message).into_iter().for_each(|number| out.put_u64(number));
    put_bytes(&mut out, &message.context);
    out.put_u32(u32::try_from(message.entries.len()).ok()?);
    for entry in &message.entries {
        put_entry(&mut out, entry)?;
    }
    if message.snapshot.is_some() {
        put_snapshot(&mut out, &SnapshotPoint::from_raft(message.get_snapshot()));
    }
    Some(out.freeze())
}

/// The message that the bytes are; `None` if they are none. Allocates no more than there are bytes.
pub(crate) fn decode(bytes: &[u8]) -> Option<eraftpb::Message> {
    let mut from = bytes;
    (from.try_get_u8().ok()? == VERSION).then_some(())?;
    let code = from.try_get_u8().ok()?;
    let (_, kind) = KINDS.iter().find(|(known, _)| *known == code)?;
    let flags = from.try_get_u8().ok()?;
    let mut message = eraftpb::Message::new();
    message.set_msg_type(*kind);
    message.reject = flags & REJECT != 0;
    for field in fields(&mut message) {
        *field = from.try_get_u64().ok()?;
    }
    message.context = take_bytes(&mut from)?;
    let entries = from.try_get_u32().ok()?;
    for _ in 0..entries {
        message.mut_entries().push(take_entry(&mut from)?);
    }
    if flags & SNAPSHOT != 0 {
        message.set_snapshot(take_snapshot(&mut from)?.to_raft());
    }
    from.is_empty().then_some(message)
}

const fn numbers(m: &eraftpb::Message) -> [u64; 9] {
    [m.to, m.from, m.term, m.log_term, m.index, m.commit, m.commit_term, m.request_snapshot, m.reject_hint]
}

/// The same, to be filled.
const fn fields(m: &mut eraftpb::Message) -> [&mut u64; 9] {
    [
        &mut m.to,
        &mut m.from,
        &mut m.term,
        &mut m.log_term,
        &mut m.index,
        &mut m.commit,
        &mut m.commit_term,
        &mut m.request_snapshot,
        &mut m.reject_hint,
    ]
}

fn put_entry(out: &mut BytesMut, entry: &eraftpb::Entry) -> Option<()> {
    let normal = entry.get_entry_type() == EntryType::EntryNormal;
    let kind = if normal { EntryKind::Normal } else { EntryKind::Membership };
    out.put_u8(kind.code());
    out.put_u64(entry.index);
    out.put_u64(entry.term);
    if normal {
        put_bytes(out, &entry.data);
        return Some(());
    }
    // What this node holds was made by this module or by the crate.
    let change = ConfChangeV2::parse_from_bytes(&entry.data).ok()?;
    let transition = TRANSITIONS.iter().find(|(_, known)| *known == change.get_transition())?;
    out.put_u8(transition.0);
    out.put_u32(u32::try_from(change.changes.len()).ok()?);
    for single in &change.changes {
        let kind = CHANGES.iter().find(|(_, known)| *known == single.get_change_type())?;
        out.put_u8(kind.0);
        out.put_u64(single.node_id);
    }
    Some(())
}

fn take_entry(from: &mut &[u8]) -> Option<eraftpb::Entry> {
    let mut entry = eraftpb::Entry::new();
    let kind = EntryKind::from_code(from.try_get_u8().ok()?)?;
    entry.index = from.try_get_u64().ok()?;
    entry.term = from.try_get_u64().ok()?;
    match kind {
        EntryKind::Normal => entry.data = take_bytes(from)?,
        EntryKind::Membership => {
            entry.set_entry_type(EntryType::EntryConfChangeV2);
            entry.data = take_change(from)?.write_to_bytes().ok()?.into();
        }
    }
    Some(entry)
}

fn take_change(from: &mut &[u8]) -> Option<ConfChangeV2> {
    let code = from.try_get_u8().ok()?;
    let mut change = ConfChangeV2::new();
    change.set_transition(TRANSITIONS.iter().find(|(known, _)| *known == code)?.1);
    let count = usize::try_from(from.try_get_u32().ok()?).ok().filter(|count| *count <= MEMBERS_MAX)?;
    for _ in 0..count {
        let mut single = ConfChangeSingle::new();
        let code = from.try_get_u8().ok()?;
        single.set_change_type(CHANGES.iter().find(|(known, _)| *known == code)?.1);
        single.node_id = from.try_get_u64().ok()?;
        change.mut_changes().push(single);
    }
    Some(change)
}

fn put_snapshot(out: &mut BytesMut, point: &SnapshotPoint) {
    out.put_u64(point.index);
    out.put_u64(point.term);
    let Membership { voters, learners, outgoing, learners_next } = &point.membership;
    for ids in [voters, learners, outgoing, learners_next] {
        out.put_u32(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        ids.iter().for_each(|id| out.put_u64(id.0));
    }
    put_bytes(out, &point.seal);
}

fn take_snapshot(from: &mut &[u8]) -> Option<SnapshotPoint> {
    let (index, term) = (from.try_get_u64().ok()?, from.try_get_u64().ok()?);
    let mut ids = || {
        let count = usize::try_from(from.try_get_u32().ok()?).ok().filter(|count| *count <= MEMBERS_MAX)?;
        let ids = (0..count).map(|_| from.try_get_u64().ok().map(RaftId)).collect::<Option<Vec<_>>>()?;
        ids.windows(2).all(|pair| pair[0] < pair[1]).then_some(ids)
    };
    let membership = Membership { voters: ids()?, learners: ids()?, outgoing: ids()?, learners_next: ids()? };
    Some(SnapshotPoint { index, term, membership, seal: take_bytes(from)? })
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

fn take_bytes(from: &mut &[u8]) -> Option<Bytes> {
    let length = usize::try_from(from.try_get_u32().ok()?).ok()?;
    let (taken, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(Bytes::copy_from_slice(taken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Rng;

    fn entry(kind: EntryType, data: Bytes) -> eraftpb::Entry {
        let mut entry = eraftpb::Entry::new();
        entry.set_entry_type(kind);
        (entry.index, entry.term, entry.data) = (7, 3, data);
        entry
    }

    fn change() -> ConfChangeV2 {
        let mut single = ConfChangeSingle::new();
        single.set_change_type(ConfChangeType::AddLearnerNode);
        single.node_id = 9;
        let mut change = ConfChangeV2::new();
        change.set_transition(ConfChangeTransition::Explicit);
        change.mut_changes().push(single);
        change
    }

    fn full() -> eraftpb::Message {
        let mut message = eraftpb::Message::new();
        message.set_msg_type(MessageType::MsgAppend);
        for (field, number) in fields(&mut message).into_iter().zip(11..) {
            *field = number;
        }
        message.reject = true;
        message.context = Bytes::from_static(b"why");
        message.mut_entries().push(entry(EntryType::EntryNormal, Bytes::from_static(b"what")));
        let data = change().write_to_bytes().unwrap().into();
        message.mut_entries().push(entry(EntryType::EntryConfChangeV2, data));
        let membership = Membership::of_voters([1, 2, 3].map(RaftId));
        let point = SnapshotPoint { index: 5, term: 2, membership, seal: Bytes::from_static(b"seal") };
        message.set_snapshot(point.to_raft());
        message
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(decode(&encode(&full()).unwrap()), Some(full()));
        let empty = entry(EntryType::EntryConfChangeV2, Bytes::new());
        let mut leaves = eraftpb::Message::new();
        leaves.set_msg_type(MessageType::MsgAppend);
        leaves.mut_entries().push(empty);
        assert_eq!(decode(&encode(&leaves).unwrap()), Some(leaves), "the end of a joint membership");
    }

    #[test]
    fn what_must_not_travel_cannot_be_said() {
        for kind in [MessageType::MsgPropose, MessageType::MsgTransferLeader, MessageType::MsgHup] {
            let mut message = eraftpb::Message::new();
            message.set_msg_type(kind);
            assert_eq!(encode(&message), None, "{kind:?}");
        }
    }

    #[test]
    fn no_bytes_are_too_bad() {
        let good = encode(&full()).unwrap();
        for end in 0..good.len() {
            assert_eq!(decode(&good[..end]), None, "cut at {end}");
        }
        let mut rng = Rng::new(1);
        for _ in 0..20_000 {
            let mut bad = good.to_vec();
            for _ in 0..rng.between(1, 4) {
                let at = rng.index(bad.len());
                bad[at] = u8::try_from(rng.below(256)).unwrap();
            }
            if let Some(message) = decode(&bad) {
                assert_eq!(
                    decode(&encode(&message).unwrap()),
                    Some(message),
                    "what is taken can be passed on"
                );
            }
        }
    }
}
