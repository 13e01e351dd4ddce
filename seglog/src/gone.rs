//! Removing the directory of a partition whose topic has been deleted.

use crate::dir::LogDir;
use crate::disk::{DiskError, DiskErrorKind};
use crate::log::Log;
use crate::names::PartitionName;
use base::TopicId;

/// Renames a partition's directory out of the way and removes it, if it still belongs to `topic`. Waits for the
/// device. Safe to repeat: what a crash left behind under the other name is never opened as a partition.
///
/// # Errors
/// As the disk.
pub fn remove_partition(dir: &LogDir, name: &PartitionName, topic: TopicId) -> Result<(), DiskError> {
    let disk = dir.disk();
    let from = name.to_string();
    match Log::topic_of(dir, name) {
        Ok(Some(found)) if found == topic => {}
        // Gone already, or the directory of a younger topic of that name.
        Ok(_) | Err(_) => return Ok(()),
    }
    let to = format!("{from}.{}-delete", topic.0);
    match disk.rename(&from, &to) {
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    disk.sync_dir("")?;
    for entry in disk.list(&to)? {
        disk.remove(&format!("{to}/{}", entry.name))?;
    }
    disk.remove_dir(&to)
}
