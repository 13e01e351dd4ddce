//! Settling: what recovery found past the flush points is made durable before anybody sees it (rule B6), for all
//! logs that are opened together at once. File by file this is most of what a start after a kill takes.

use super::round::sync_each;
use super::{LogDir, SYNC_FS_FILES};
use crate::disk::{DiskError, DiskErrorKind};
use crate::durable::sync_parent;
use crate::log::{Log, OpenLogError, Unsettled};
use base::{hit, planted};

impl LogDir {
    /// Makes recovered logs durable and hands them out, in the order given. Waits for the device.
    ///
    /// # Errors
    /// [`OpenLogError::Fenced`] and [`OpenLogError::Disk`]. If what was recovered cannot be made durable none of the
    /// logs is handed out and the directory is fenced, as after a failed flush.
    ///
    /// # Panics
    /// If one of the logs lies in another directory.
    pub fn settle(&self, logs: Vec<Unsettled>) -> Vec<Result<Log, OpenLogError>> {
        match self.make_durable(&logs) {
            Ok(()) => logs.into_iter().map(Unsettled::settled).collect(),
            Err(error) => logs.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    pub(crate) fn make_durable(&self, logs: &[Unsettled]) -> Result<(), OpenLogError> {
        assert!(logs.iter().all(|log| std::ptr::eq(log.dir(), self)), "a log is settled where it lies");
        if planted!(B6) || !logs.iter().any(Unsettled::is_in_doubt) {
            return Ok(());
        }
        if self.fenced().is_some() && !planted!(B1) {
            return Err(OpenLogError::Fenced);
        }
        let durable = self.sync_tails(logs);
        if let Err(error) = &durable {
            if error.kind == DiskErrorKind::Crashed {
                hit!(recovered_not_settled);
            }
            if !planted!(B1) {
                self.fence(error);
            }
        }
        Ok(durable?)
    }

    fn sync_tails(&self, logs: &[Unsettled]) -> Result<(), DiskError> {
        let mut files = logs.iter().flat_map(Unsettled::in_doubt);
        if files.clone().nth(SYNC_FS_FILES - 1).is_some() {
            hit!(tails_flushed_with_file_system);
            self.sync_fs()?;
            // A write may have failed before this process was there, and another program may have been told.
            return files.try_for_each(|file| file.check_written());
        }
        sync_each(files)?;
        let mut paths = logs.iter().filter(|log| log.is_in_doubt()).map(Unsettled::path);
        paths.try_for_each(|path| sync_parent(&**self.disk(), &format!("{path}/")))
    }
}
