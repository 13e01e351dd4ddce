//! The life of partition directories: found at start, renamed when deleted, removed later.

use super::{LogDir, PartitionKey};
use crate::disk::{DiskError, DiskErrorKind};
use crate::durable::{remove_if_there, sync_parent};
use crate::names::PartitionName;
use base::TopicId;
use std::sync::Arc;

/// What the name of a deleted partition's directory ends with, as Kafka has it.
const DELETED: &str = "-delete";

/// What the name of a directory that was set aside ends with, as Kafka has it.
const STRAY: &str = "-stray";
/// Most bytes that a file's name may have.
const NAME_BYTES_MAX: usize = 255;
/// How many directories of one partition and topic may lie about.
const TRIES_MAX: u32 = 100;

/// Removes a directory of a deleted partition.
#[derive(Debug)]
pub struct RemoveDirJob {
    dir: Arc<LogDir>,
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

    /// Takes a partition away: its name is free again at once, though not durably before the job has run; its
    /// files go with the job. The partition's log must have been [abandoned](crate::Log::abandon), if it was open.
    ///
    /// # Errors
    /// As the disk.
    pub fn delete_partition(
        self: &Arc<Self>,
        name: &PartitionName,
        topic: TopicId,
    ) -> Result<RemoveDirJob, DiskError> {
        let path = self.rename_free(&name.to_string(), topic, DELETED)?;
        self.points().forget(PartitionKey { topic, partition: name.partition() });
        Ok(RemoveDirJob { dir: Arc::clone(self), path })
    }

    /// What deletions that were interrupted have left.
    ///
    /// # Errors
    /// As the disk.
    pub fn deleted_partitions(self: &Arc<Self>) -> Result<Vec<RemoveDirJob>, DiskError> {
        let dirs = self.disk.list("")?.into_iter();
        let deleted = dirs.filter(|entry| entry.is_dir && entry.name.ends_with(DELETED));
        Ok(deleted.map(|entry| RemoveDirJob { dir: Arc::clone(self), path: entry.name }).collect())
    }

    /// Gives a directory that is nobody's another name, for the operator to look at (rule B11). Waits for the
    /// device.
    ///
    /// # Errors
    /// As the disk.
    pub fn set_aside(&self, name: &str, topic: TopicId) -> Result<(), DiskError> {
        self.rename_free(name, topic, STRAY)?;
        let synced = self.disk.sync_dir("");
        self.fence_on_error(synced)
    }

    /// Renames a directory to the first free name of its kind: an earlier one of the same topic may be there
    /// still, for a partition that is deleted comes back when its creation is replayed once more.
    fn rename_free(&self, name: &str, topic: TopicId, ending: &str) -> Result<String, DiskError> {
        let hex: String = topic.0.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut number = 0;
        loop {
            let ending = format!(".{hex}.{number}{ending}");
            let mut target = name.to_owned();
            target.truncate(NAME_BYTES_MAX - ending.len());
            target.push_str(&ending);
            match self.disk.rename(name, &target) {
                Err(error) if error.kind == DiskErrorKind::AlreadyExists && number < TRIES_MAX => number += 1,
                result => return result.map(|()| target),
            }
        }
    }
}

impl RemoveDirJob {
    /// Removes the files and the directory, once its new name is durable. Waits for the device.
    ///
    /// # Errors
    /// As the disk. What stays is found by [`LogDir::deleted_partitions`].
    pub fn run(&self) -> Result<(), DiskError> {
        // Else a crash might show the old name with some of the files gone.
        let synced = sync_parent(&*self.dir.disk, &self.path);
        self.dir.fence_on_error(synced)?;
        let disk = &*self.dir.disk;
        let entries = match disk.list(&self.path) {
            Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            remove_if_there(disk, &format!("{}/{}", self.path, entry.name))?;
        }
        disk.remove_dir(&self.path)
    }
}
