//! A log that was recovered and must not be seen yet.

use super::{Log, OpenLogError, OpenReport};
use crate::dir::LogDir;
use crate::disk::DiskFile;
use std::sync::Arc;

/// A recovered log whose tail may be in the page cache only: another crash could take it, so that nothing can be done
/// with it but to settle it (rule B6), by itself or with others by [`LogDir::settle`].
#[derive(Debug)]
#[must_use = "a log that is not settled is not open"]
pub struct Unsettled {
    log: Log,
    /// Files of the tail, if anything past the flush point was kept or cut.
    in_doubt: Vec<Arc<dyn DiskFile>>,
    report: OpenReport,
}

impl Unsettled {
    pub(super) const fn new(log: Log, in_doubt: Vec<Arc<dyn DiskFile>>, report: OpenReport) -> Self {
        Self { log, in_doubt, report }
    }

    /// What recovery found and did.
    #[must_use]
    pub const fn report(&self) -> OpenReport {
        self.report
    }

    /// Settles the log by itself. Waits for the device.
    ///
    /// # Errors
    /// As [`LogDir::settle`].
    pub fn settle(self) -> Result<Log, OpenLogError> {
        let dir = Arc::clone(self.log.dir());
        dir.make_durable(std::slice::from_ref(&self))?;
        self.settled()
    }

    pub(crate) fn dir(&self) -> &LogDir {
        self.log.dir()
    }

    /// The partition's directory.
    pub(crate) fn path(&self) -> &str {
        &self.log.path
    }

    /// Files that have to be made durable, and their directory with them.
    pub(crate) fn in_doubt(&self) -> &[Arc<dyn DiskFile>] {
        &self.in_doubt
    }

    pub(crate) const fn is_in_doubt(&self) -> bool {
        !self.in_doubt.is_empty()
    }

    /// The log, now that it is durable; and only now are segments before its start removed, and snapshots with them:
    /// those that stay belong to its end.
    pub(crate) fn settled(self) -> Result<Log, OpenLogError> {
        let mut log = self.log;
        log.finish_deletion()?;
        Ok(log)
    }
}
