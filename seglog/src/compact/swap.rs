//! Putting compacted segments in the place of their sources.

use crate::dir::LogDir;
use crate::disk::{Disk, DiskError, DiskErrorKind};
use crate::durable::remove_if_there;
use crate::log::Lease;
use crate::names::{FileKind, Stage, parse_segment_file};
use crate::scan::{Hop, ScanError};
use crate::segment::path;
use base::hit;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The files of a segment that a compaction writes.
const WRITTEN: [FileKind; 3] = [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex];

/// Segments that the log has taken over while their files still bear their `.swap` names.
#[derive(Debug)]
pub(crate) struct Swap {
    pub(crate) dir: Arc<LogDir>,
    pub(crate) path: Arc<str>,
    /// Base of the new segment, and the sources that it replaces.
    pub(crate) groups: Vec<(i64, Vec<i64>)>,
    pub(crate) done: Mutex<bool>,
    /// Until the partition is deleted.
    pub(crate) lease: Lease,
}

impl Swap {
    /// Removes the sources and gives the new segments their names. Waits for the device; once is enough.
    pub(crate) fn run(&self) -> Result<(), DiskError> {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if !*done {
            self.lease.hold_if_there(|| {
                let mut groups = self.groups.iter();
                groups.try_for_each(|(base, sources)| {
                    put_in_place(&**self.dir.disk(), &self.path, *base, sources)
                })
            })?;
            *done = true;
        }
        Ok(())
    }
}

/// Completes what a crash interrupted: a `.swap` log is whole, or it would not bear that name.
pub(crate) fn complete_swaps(disk: &dyn Disk, dir: &str) -> Result<(), ScanError> {
    let mut live = BTreeSet::new();
    let mut swaps = BTreeSet::new();
    for entry in disk.list(dir)? {
        match parse_segment_file(&entry.name) {
            Some((base, FileKind::Log, Stage::Live)) => _ = live.insert(base),
            Some((base, FileKind::Log, Stage::Swap)) => _ = swaps.insert(base),
            Some(_) | None => {}
        }
    }
    for base in swaps {
        hit!(swap_completed_on_open);
        let file = disk.open(&path(dir, base, FileKind::Log, Stage::Swap), crate::disk::OpenMode::Read)?;
        let mut hop = Hop::new(&*file, 0, file.length()?, base);
        while hop.next()?.is_some() {}
        let sources: Vec<i64> = live.range(base..hop.expected()).copied().collect();
        put_in_place(disk, dir, base, &sources)?;
    }
    Ok(())
}

/// Removes what no compaction will finish any more. Waits for the device.
pub(crate) fn remove_unfinished(disk: &dyn Disk, dir: &str) -> Result<(), DiskError> {
    let mut removed = false;
    for entry in disk.list(dir)? {
        if let Some((_, _, Stage::Cleaned | Stage::Swap)) = parse_segment_file(&entry.name) {
            remove_if_there(disk, &format!("{dir}/{}", entry.name))?;
            removed = true;
        }
    }
    if removed { disk.sync_dir(dir) } else { Ok(()) }
}

/// Renames the files of a segment from one stage to another, the log last.
pub(super) fn rename(disk: &dyn Disk, dir: &str, base: i64, from: Stage, to: Stage) -> Result<(), DiskError> {
    for kind in WRITTEN.into_iter().rev() {
        match disk.rename(&path(dir, base, kind, from), &path(dir, base, kind, to)) {
            Err(error) if error.kind == DiskErrorKind::NotFound && kind != FileKind::Log => {}
            other => other?,
        }
    }
    Ok(())
}

/// First the sources go, durably; only then the new segment takes the name of one of them. Were both there
/// after a crash, the old one would be read for its offsets.
fn put_in_place(disk: &dyn Disk, dir: &str, base: i64, sources: &[i64]) -> Result<(), DiskError> {
    for source in sources {
        for kind in [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::TxnIndex, FileKind::Log] {
            // The source whose name is wanted is replaced in one step, below.
            if kind != FileKind::Log || *source != base {
                remove_if_there(disk, &path(dir, *source, kind, Stage::Live))?;
            }
        }
    }
    disk.sync_dir(dir)?;
    rename(disk, dir, base, Stage::Swap, Stage::Live)?;
    disk.sync_dir(dir)
}
