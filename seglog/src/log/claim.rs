//! Whose a partition directory is.
//!
//! The topic's id stands in `partition.metadata`. It is written without waiting for the device, for thousands of
//! partitions may be created at once, and becomes durable with the log's first flush. Batches in a directory
//! without a readable id, for which no flush was recorded, are therefore nobody's: they are set aside for the
//! operator, not deleted (rule B11).

use super::OpenLogError;
use crate::disk::{Disk, DiskError, DiskErrorKind, DiskFile, OpenMode};
use crate::durable::read_small;
use crate::names::{FileKind, PARTITION_METADATA, Stage, parse_segment_file};
use crate::text;
use base::{TopicId, hit};
use std::io::IoSlice;
use std::sync::Arc;

/// What the name of a directory that was set aside ends with, as Kafka has it.
const STRAY: &str = "-stray";
/// How many directories of one partition and topic may be set aside.
const STRAYS_MAX: u32 = 100;

/// Compares the directory's topic with the one expected. A directory that does not say gets it written, and keeps
/// its batches only if a log of that topic was flushed here; the file returned has to be flushed.
pub(super) fn claim(
    disk: &dyn Disk,
    dir: &str,
    topic: TopicId,
    was_flushed: bool,
) -> Result<Option<Arc<dyn DiskFile>>, OpenLogError> {
    let path = format!("{dir}/{PARTITION_METADATA}");
    match read_small(disk, &path)?.and_then(|text| text::decode_partition_metadata(&text)) {
        Some(found) if found == topic => return Ok(None),
        Some(found) => return Err(OpenLogError::WrongTopic { found }),
        None => {}
    }
    if !was_flushed && has_batches(disk, dir)? {
        hit!(stray_set_aside);
        set_aside(disk, dir, topic)?;
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

fn set_aside(disk: &dyn Disk, dir: &str, topic: TopicId) -> Result<(), DiskError> {
    let hex: String = topic.0.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut result = Ok(());
    for number in 0..STRAYS_MAX {
        result = disk.rename(dir, &format!("{dir}.{hex}{number}{STRAY}"));
        match &result {
            Err(error) if error.kind == DiskErrorKind::AlreadyExists => {}
            Ok(()) | Err(_) => break,
        }
    }
    result?;
    disk.sync_dir("")
}
