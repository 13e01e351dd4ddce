//! Snapshots between nodes: pieces of the file are handed out, and fetched by a member that is too far behind for the log.

use super::{Metadata, StoreError};
use crate::effects::{Effects, Level};
use base::{BrokerId, Instant, Now, Span, hit};
use bytes::{Bytes, BytesMut};
use quorum::{Offer, SnapshotPoint};
use wire::peer_snapshot::{PeerSnapshotRequest, PeerSnapshotResponse};
use wire::{Message as _, Reader};

/// Bytes of a piece.
const PIECE_BYTES: i32 = 1 << 20;
/// How long a piece may take: who is silent for longer is asked anew when it offers a snapshot again.
const PIECE_PATIENCE: Span = Span::from_secs(10);
/// A larger one is not fetched.
const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;

/// A snapshot on its way.
#[derive(Debug)]
pub(super) struct Fetching {
    point: SnapshotPoint,
    from: BrokerId,
    file: BytesMut,
    /// The question that is under way, and until when its answer is waited for.
    number: i32,
    until: Instant,
}

impl Metadata {
    /// A piece of the latest snapshot's file, with the file's size; `None` if it is not that of `point`.
    pub(crate) fn piece(
        &self,
        point: (u64, u64),
        position: u64,
        bytes_max: usize,
    ) -> Result<Option<(u64, Bytes)>, StoreError> {
        self.store.piece(point, position, bytes_max)
    }

    /// Begins to fetch what is offered.
    pub(super) fn begin_fetch(&mut self, now: Now, Offer { from, point }: Offer, fx: &mut Effects) {
        let node = self.peers.book.node(from);
        let asked = node.and_then(|node| Some((node, self.ask_piece(node, &point, 0, fx)?)));
        match asked {
            Some((from, number)) => {
                let until = now.mono + PIECE_PATIENCE;
                self.fetching = Some(Fetching { point, from, file: BytesMut::new(), number, until });
            }
            // It will be offered again.
            None => self.quorum.fetched(false),
        }
    }

    fn ask_piece(
        &mut self,
        node: BrokerId,
        point: &SnapshotPoint,
        position: u64,
        fx: &mut Effects,
    ) -> Option<i32> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let request = PeerSnapshotRequest {
            index: number(point.index),
            term: number(point.term),
            position: number(position),
            max_bytes: PIECE_BYTES,
            ..PeerSnapshotRequest::default()
        };
        self.peers.links.ask(node, &request, fx)
    }

    /// Takes an answer if it is the piece that is waited for; else gives it back.
    pub(super) fn take_piece(
        &mut self,
        now: Now,
        from: BrokerId,
        number: i32,
        mut body: Reader,
        fx: &mut Effects,
    ) -> Option<Reader> {
        let is_it = |fetching: &Fetching| fetching.from == from && fetching.number == number;
        let Some(mut fetching) = self.fetching.take_if(|fetching| is_it(fetching)) else { return Some(body) };
        let piece = PeerSnapshotResponse::decode(&mut body, 0).ok().filter(|piece| piece.error_code == 0);
        let Some(piece) = piece else {
            hit!(snapshot_fetch_refused);
            self.quorum.fetched(false);
            return None;
        };
        fetching.file.extend_from_slice(&piece.chunk);
        let size = u64::try_from(piece.size).unwrap_or(0);
        if size > SNAPSHOT_BYTES_MAX {
            let text = format!(
                "The metadata's snapshot has {size} bytes: more than {SNAPSHOT_BYTES_MAX} are not fetched"
            );
            fx.log(Level::Error, text);
            self.quorum.fetched(false);
            return None;
        }
        let have = fetching.file.len() as u64;
        if have < size && !piece.chunk.is_empty() {
            let Fetching { point, from, .. } = &fetching;
            let (point, from) = (point.clone(), *from);
            match self.ask_piece(from, &point, have, fx) {
                Some(number) => {
                    let until = now.mono + PIECE_PATIENCE;
                    self.fetching = Some(Fetching { number, until, ..fetching });
                }
                None => self.quorum.fetched(false),
            }
            return None;
        }
        let well = self.store.take_file(&fetching.point, fetching.file.freeze());
        if !well {
            fx.log(
                Level::Warn,
                format!("A snapshot of the metadata from node {from} was damaged on its way"),
            );
        }
        self.quorum.fetched(well);
        None
    }

    /// Gives up on a node that does not answer.
    pub(super) fn expire_fetch(&mut self, now: Now, fx: &mut Effects) {
        let Some(Fetching { from, until, .. }) = &self.fetching else { return };
        let (from, until) = (*from, *until);
        if until <= now.mono {
            self.fetch_failed_from(from);
        } else {
            fx.wake(until);
        }
    }

    /// The node that a snapshot came from is not there any more.
    pub(super) fn fetch_failed_from(&mut self, node: BrokerId) {
        if self.fetching.take_if(|fetching| fetching.from == node).is_some() {
            hit!(snapshot_fetch_failed);
            self.quorum.fetched(false);
        }
    }
}
