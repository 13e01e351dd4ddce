//! PeerSnapshot (ours): a piece of the file of the latest snapshot of the metadata, for a member that is too far behind for
//! the log.

use super::{Acl, Api, Malformed};
use crate::effects::{Asked, Effects};
use crate::metadata::Metadata;
use base::Now;
use wire::ErrorCode;
use wire::peer_snapshot::{PeerSnapshotRequest, PeerSnapshotResponse};

pub(super) struct PeerSnapshot;

/// The most bytes of one piece.
const PIECE_BYTES_MAX: u32 = 1 << 20;

impl Api for PeerSnapshot {
    type Request = PeerSnapshotRequest;
    const ACL: Acl = Acl::Node;
}

pub(super) fn handle(
    metadata: &mut Metadata,
    asked: Asked,
    _now: Now,
    fx: &mut Effects,
) -> Result<(), Malformed> {
    let request = super::decode::<PeerSnapshot>(&asked)?;
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    let point = (number(request.index), number(request.term));
    let max = u32::try_from(request.max_bytes).unwrap_or(0).min(PIECE_BYTES_MAX);
    let response = match metadata.piece(point, number(request.position), max as usize) {
        Ok(Some((size, chunk))) => PeerSnapshotResponse {
            size: i64::try_from(size).unwrap_or(i64::MAX),
            chunk,
            ..PeerSnapshotResponse::default()
        },
        // There is a newer one by now: it will be offered.
        Ok(None) => refused(ErrorCode::SnapshotNotFound),
        Err(_) => refused(ErrorCode::KafkaStorageError),
    };
    let reply = super::encode::<PeerSnapshot>(&asked, response);
    metadata.reply(&asked, reply, fx);
    Ok(())
}

fn refused(code: ErrorCode) -> PeerSnapshotResponse {
    PeerSnapshotResponse { error_code: code as i16, ..PeerSnapshotResponse::default() }
}
