//! Whose a partition directory is.
//!
//! The topic's id stands in `partition.metadata`. It is written without waiting for the device, for thousands of
//! partitions may be created at once, and becomes durable with the log's first flush. Batches in a directory
//! without a readable id, for which no flush was recorded, are therefore nobody's: they are set aside for the
//! operator, not deleted (rule B11).

use super::OpenLogError;
use crate::dir::LogDir;
use crate::disk::{Disk, DiskError, DiskFile, OpenMode};
use crate::durable::read_small;
use crate::names::{FileKind, PARTITION_METADATA, Stage, parse_segment_file};
use crate::text;
use base::{TopicId, hit, planted};
use std::io::IoSlice;
use std::sync::Arc;

/// Compares the directory's topic with the one expected. A directory that does not say gets it written, and keeps
/// its batches only if a log of that topic was flushed here; the file returned has to be flushed.
pub(super) fn claim(
    logs: &LogDir,
    dir: &str,
    topic: TopicId,
    was_flushed: bool,
) -> Result<Option<Arc<dyn DiskFile>>, OpenLogError> {
    let disk = &**logs.disk();
    let path = format!("{dir}/{PARTITION_METADATA}");
    match read_small(disk, &path)?.and_then(|text| text::decode_partition_metadata(&text)) {
        Some(found) if found == topic || planted!(E5) => return Ok(None),
        Some(found) => return Err(OpenLogError::WrongTopic { found }),
        None => {}
    }
    if !was_flushed && has_batches(disk, dir)? {
        hit!(stray_set_aside);
        logs.set_aside(dir, topic)?;
        disk.create_dir(dir)?;
    }
    let file = disk.open(&path, OpenMode::Replace)?;
    let text = text::encode_partition_metadata(topic);
    file.write_at(&mut [IoSlice::new(text.as_bytes())], 0)?;
    Ok(Some(file))
}

fn has_batches(disk: &dyn Disk, dir: &str) -> Result<bool, DiskError> {
    for entry in disk.list(dir)? {
        if let Some((_, FileKind::Log, Stage::Live)) = parse_segment_file(&entry.name)
            && disk.open(&format!("{dir}/{}", entry.name), OpenMode::Read)?.length()? > 0
        {
            return Ok(true);
        }
    }
    Ok(false)
}
