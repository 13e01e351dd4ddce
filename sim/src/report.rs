//! What happened in a run, for the table at the end.

use std::collections::BTreeMap;

/// The kinds of fault; a campaign in which one never happened is red.
pub const FAULTS: &[&str] = &[
    "crash between calls",
    "crash inside a call",
    "crash inside a job",
    "crash while starting",
    "clean shutdown",
    "connection broken",
    "disk full",
    "fsync error",
    "process ended itself",
];

/// The marks that a campaign must reach.
pub const MARKS: &[&str] = &[
    "append_without_space",
    "directory_fenced",
    "duplicate_batch_found",
    "epochs_rebuilt",
    "fetch_out_of_range",
    "metadata_waits_for_space",
    "round_flushed_file_system",
    "tail_cut",
];

/// Counts of one run, or of many.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Marks by name.
    pub marks: BTreeMap<&'static str, u64>,
    /// Times the node started.
    pub starts: u64,
    /// Times it crashed.
    pub crashes: u64,
    /// Replies that clients got.
    pub replies: u64,
    /// Values acknowledged.
    pub acked: usize,
    /// Offset commits acknowledged.
    pub committed: usize,
    /// Assignments that group members got.
    pub assigned: usize,
    /// Milliseconds that passed in the simulated world.
    pub millis: u64,
    /// Records found at the end.
    pub read: usize,
    /// Acknowledged records of `replicated` topics that power failures took: allowed, and expected.
    pub lost_volatile: usize,
    /// True once a disk error was injected: the node may end itself, or refuse to start, until it is over.
    pub(crate) disk_faulted: bool,
}

impl Report {
    pub(crate) fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (name, count) in &other.marks {
            *self.marks.entry(name).or_default() += count;
        }
        self.starts += other.starts;
        self.crashes += other.crashes;
        self.replies += other.replies;
        self.acked += other.acked;
        self.read += other.read;
        self.millis += other.millis;
        self.committed += other.committed;
        self.assigned += other.assigned;
        self.lost_volatile += other.lost_volatile;
    }
}
