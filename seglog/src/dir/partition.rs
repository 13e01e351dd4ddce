//! The life of partition directories: found at start, renamed when deleted, removed later.

use super::{LogDir, PartitionKey};
use crate::disk::{Disk, DiskError, DiskErrorKind};
use crate::durable::{remove_if_there, sync_parent};
use crate::log::Log;
use crate::names::PartitionName;
use base::{TopicId, Uuid};
use std::sync::Arc;

/// What the name of a deleted partition's directory ends with, as Kafka has it.
const DELETED: &str = "-delete";

/// Removes a directory of a deleted partition.
#[derive(Debug)]
pub struct RemoveDirJob {
    disk: Arc<dyn Disk>,
    path: String,
}

impl LogDir {
    /// The partitions that have a directory here.
    ///
    /// # Errors
    /// As the disk.
    pub fn partitions(&self) -> Result<Vec<PartitionName>, DiskError> {
        let dirs = self.disk.list("")?.into_iter().filter(|entry| entry.is_dir);
        Ok(dirs.filter_map(|entry| PartitionName::parse(&entry.name)).collect())
    }

    /// Takes a partition away: its name is free again at once and durably, its files go with the job. The
    /// partition's log must not be used any more. `unique` makes the directory's new name. Waits for the
    /// device.
    ///
    /// # Errors
    /// As the disk.
    pub fn delete_partition(
        &self,
        name: &PartitionName,
        key: PartitionKey,
        unique: Uuid,
    ) -> Result<RemoveDirJob, DiskError> {
        let hex: String = unique.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut target = name.to_string();
        // A file name has at most 255 bytes.
        target.truncate(255 - 1 - hex.len() - DELETED.len());
        let target = format!("{target}.{hex}{DELETED}");
        self.disk.rename(&name.to_string(), &target)?;
        let synced = sync_parent(&*self.disk, &target);
        self.fence_on_error(synced)?;
        self.points().forget(key);
        Ok(RemoveDirJob { disk: Arc::clone(&self.disk), path: target })
    }

    /// What deletions that were interrupted have left.
    ///
    /// # Errors
    /// As the disk.
    pub fn deleted_partitions(&self) -> Result<Vec<RemoveDirJob>, DiskError> {
        let dirs = self.disk.list("")?.into_iter();
        let deleted = dirs.filter(|entry| entry.is_dir && entry.name.ends_with(DELETED));
        Ok(deleted.map(|entry| RemoveDirJob { disk: Arc::clone(&self.disk), path: entry.name }).collect())
    }
}

/// Takes away the directory of a partition whose topic has been deleted, if it still belongs to `topic`, and
/// removes it. Waits for the device. Safe to repeat; what a crash leaves behind is found by
/// [`LogDir::deleted_partitions`].
///
/// # Errors
/// As the disk.
pub fn remove_partition(dir: &LogDir, name: &PartitionName, topic: TopicId) -> Result<(), DiskError> {
    match Log::topic_of(dir, name) {
        Ok(Some(found)) if found == topic => {}
        // Gone already, or the directory of a younger topic of that name.
        Ok(_) | Err(_) => return Ok(()),
    }
    let key = PartitionKey { topic, partition: name.partition() };
    dir.delete_partition(name, key, topic.0)?.run()
}

impl RemoveDirJob {
    /// Removes the files and the directory.
    ///
    /// # Errors
    /// As the disk. What stays is found by [`LogDir::deleted_partitions`].
    pub fn run(&self) -> Result<(), DiskError> {
        let entries = match self.disk.list(&self.path) {
            Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            remove_if_there(&*self.disk, &format!("{}/{}", self.path, entry.name))?;
        }
        self.disk.remove_dir(&self.path)
    }
}
