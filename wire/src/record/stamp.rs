//! Rewriting a batch to the broker's clock (`message.timestamp.type=LogAppendTime`).

use super::attributes::TimestampType;
use super::crc::crc32c_after_prefix_change;
use super::header::BatchHeader;
use super::{CRC_START, HEADER_BYTES};
use base::Timestamp;

/// Sets the timestamp type to log append time and the max timestamp to `now`, which is then the time of every
/// record; the CRC is patched, not computed again. The header's other fields and the payload stay.
///
/// `header` must have a correct CRC.
pub fn stamp_log_append_time(header: &mut BatchHeader, now: Timestamp) {
    let old = header.encode();
    header.attributes = header.attributes.with_timestamp_type(TimestampType::LogAppendTime);
    header.max_timestamp = now.0;
    let new = header.encode();
    let payload = header.total_bytes().saturating_sub(HEADER_BYTES as u64);
    header.crc = crc32c_after_prefix_change(header.crc, &old[CRC_START..], &new[CRC_START..], payload);
}
