//! The quorum's two small files: what the member has promised, and the latest snapshot.

use super::StoreError;
use base::Uuid;
use bytes::{BufMut, Bytes, BytesMut};
use cluster::record_codec::{decode_entry, encode_entry};
use cluster::{Delta, Image, Record};
use quorum::{HardState, Membership, RaftId, SnapshotPoint};
use seglog::dir::LogDir;
use seglog::disk::OpenMode;
use seglog::durable::{read_small, seal, unseal, write_small};
use wire::record::crc32c;
use wire::{Reader, Writer};

/// Term, vote and membership.
const STATE_FILE: &str = "quorum-state";
const STATE_MAGIC: [u8; 4] = *b"OTQS";
/// The latest snapshot.
const SNAPSHOT_FILE: &str = "metadata-snapshot";
const SNAPSHOT_MAGIC: [u8; 4] = *b"OTMS";
const VERSION: u32 = 2;
/// Where a snapshot's file says its index and its term: after the seal and the cluster's id.
const POINT_AT: usize = 12 + 16;
/// Records per entry of a snapshot file.
const SNAPSHOT_CHUNK: usize = 500;

/// What `quorum-state` holds.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) id: RaftId,
    pub(super) hard_state: HardState,
    /// The latest membership with its index, if it is newer than the snapshot's.
    pub(super) membership: Option<(u64, Membership)>,
}

pub(super) fn write_state(dir: &LogDir, state: &State) -> Result<(), StoreError> {
    let mut body = BytesMut::new();
    body.put_u64(state.id.0);
    body.put_u64(state.hard_state.term);
    body.put_u64(state.hard_state.vote);
    let none = (0, Membership::default());
    let (index, membership) = state.membership.as_ref().unwrap_or(&none);
    body.put_u64(*index);
    put_membership(&mut body, membership);
    write_small(&**dir.disk(), STATE_FILE, &seal(STATE_MAGIC, VERSION, &body))?;
    Ok(())
}

pub(super) fn read_state(dir: &LogDir) -> Result<Option<State>, StoreError> {
    let Some(sealed) = read_small(&**dir.disk(), STATE_FILE)? else { return Ok(None) };
    let Some((VERSION, body)) = unseal(STATE_MAGIC, &sealed) else {
        return Err(StoreError::Damaged(STATE_FILE));
    };
    let mut fields = Fields { rest: body };
    let state = (|| {
        let id = RaftId(fields.u64()?);
        let hard_state = HardState { term: fields.u64()?, vote: fields.u64()?, commit: 0 };
        let membership = Some((fields.u64()?, fields.membership()?)).filter(|(index, _)| *index > 0);
        Some(State { id, hard_state, membership })
    })();
    state.map(Some).ok_or(StoreError::Damaged(STATE_FILE))
}

/// Writes the snapshot's file and returns its point with the seal by which others know it.
pub(super) fn write_snapshot(
    dir: &LogDir,
    image: &Image,
    point: SnapshotPoint,
) -> Result<SnapshotPoint, StoreError> {
    let sealed = seal(SNAPSHOT_MAGIC, VERSION, &encode_snapshot(image, &point)?);
    write_snapshot_file(dir, &sealed)?;
    Ok(SnapshotPoint { seal: seal_of(&sealed), ..point })
}

pub(super) fn write_snapshot_file(dir: &LogDir, sealed: &[u8]) -> Result<(), StoreError> {
    write_small(&**dir.disk(), SNAPSHOT_FILE, sealed)?;
    Ok(())
}

pub(super) fn read_snapshot(dir: &LogDir) -> Result<(Image, SnapshotPoint), StoreError> {
    let sealed = read_small(&**dir.disk(), SNAPSHOT_FILE)?.ok_or(StoreError::Damaged(SNAPSHOT_FILE))?;
    parse_snapshot(&sealed).ok_or(StoreError::Damaged(SNAPSHOT_FILE))
}

/// What a snapshot's file says.
pub(super) fn parse_snapshot(sealed: &[u8]) -> Option<(Image, SnapshotPoint)> {
    let (version, body) = unseal(SNAPSHOT_MAGIC, sealed)?;
    let (image, point) = (version == VERSION).then(|| decode_snapshot(body)).flatten()?;
    Some((image, SnapshotPoint { seal: seal_of(sealed), ..point }))
}

/// A piece of the file, and the file's size, if it is still the snapshot of this index and term.
pub(super) fn read_piece(
    dir: &LogDir,
    (index, term): (u64, u64),
    position: u64,
    bytes_max: usize,
) -> Result<Option<(u64, Bytes)>, StoreError> {
    let file = dir.disk().open(SNAPSHOT_FILE, OpenMode::Read)?;
    let mut head = [0; POINT_AT + 16];
    let read = file.read_at(&mut head, 0)?;
    let number = |at: usize| head[at..at + 8].iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    if read < head.len() || (number(POINT_AT), number(POINT_AT + 8)) != (index, term) {
        return Ok(None);
    }
    let size = file.length()?;
    let left = usize::try_from(size.saturating_sub(position)).unwrap_or(usize::MAX);
    let mut piece = vec![0; left.min(bytes_max)];
    let read = file.read_at(&mut piece, position)?;
    piece.truncate(read);
    Ok(Some((size, piece.into())))
}

/// Length and checksum of the file.
pub(super) fn seal_of(file: &[u8]) -> Bytes {
    let mut seal = BytesMut::new();
    seal.put_u64(file.len() as u64);
    seal.put_u32(crc32c(file));
    seal.freeze()
}

fn encode_snapshot(image: &Image, point: &SnapshotPoint) -> Result<Bytes, StoreError> {
    let mut body = BytesMut::new();
    body.put_slice(&image.cluster_id.0);
    body.put_u64(point.index);
    body.put_u64(point.term);
    put_membership(&mut body, &point.membership);
    let records: Vec<Record> = image.snapshot().collect();
    let mut entries = Writer::with_capacity(1 << 16);
    for chunk in records.chunks(SNAPSHOT_CHUNK) {
        let entry = encode_entry(chunk).map_err(|error| StoreError::Scan(format!("{error:?}")))?;
        entries.bytes(true, &entry);
    }
    let entries = entries.finish().map_err(|error| StoreError::Scan(format!("{error:?}")))?;
    body.put_slice(&entries.bytes);
    Ok(body.freeze())
}

fn decode_snapshot(body: &[u8]) -> Option<(Image, SnapshotPoint)> {
    let (cluster_id, rest) = body.split_first_chunk::<16>()?;
    let mut fields = Fields { rest };
    let (index, term, membership) = (fields.u64()?, fields.u64()?, fields.membership()?);
    let point = SnapshotPoint { index, term, membership, seal: Bytes::new() };
    let mut image = Image::new(Uuid(*cluster_id));
    let mut reader = Reader::new(Bytes::copy_from_slice(fields.rest));
    while reader.remaining() > 0 {
        for record in decode_entry(reader.bytes(true).ok()?).ok()? {
            image.replay(&record, &mut Delta::default());
        }
    }
    (image.index, image.term) = (point.index, point.term);
    Some((image, point))
}

fn put_membership(body: &mut BytesMut, membership: &Membership) {
    let Membership { voters, learners, outgoing, learners_next } = membership;
    for ids in [voters, learners, outgoing, learners_next] {
        body.put_u32(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        ids.iter().for_each(|id| body.put_u64(id.0));
    }
}

/// Fixed-width numbers, one after the other.
struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    fn u64(&mut self) -> Option<u64> {
        let (number, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u64::from_be_bytes(*number))
    }

    fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn ids(&mut self) -> Option<Vec<RaftId>> {
        (0..self.u32()?).map(|_| self.u64().map(RaftId)).collect()
    }

    fn membership(&mut self) -> Option<Membership> {
        Some(Membership {
            voters: self.ids()?,
            learners: self.ids()?,
            outgoing: self.ids()?,
            learners_next: self.ids()?,
        })
    }
}
